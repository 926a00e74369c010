//! One module an operation: shapes, residuals, launches of primal, jvp and vjp, and the host kernel.
