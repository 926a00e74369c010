//! The ops, one a file: `y = op(x)` on row-major slices, in the order in which the formula is written.

mod add;
mod attention;
mod embed;
mod frozen;
mod gelu;
mod layer_norm;
mod matmul;
mod splice;
mod unembed;

pub use add::add;
pub use attention::{Heads, attention};
pub use embed::embed;
pub use frozen::Frozen;
pub use gelu::{GeluForm, gelu};
pub use layer_norm::layer_norm;
pub use matmul::matmul;
pub use splice::{Edit, splice};
pub use unembed::unembed;

#[cfg(test)]
mod check;
