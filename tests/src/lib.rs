//! The harness: executors under test, seeded numbers, comparisons that cannot pass by accident, tolerances.
//!
//! The variable `RESOLVENT_TEST_DEVICES` selects the devices. If it is unset, tests run on the host executor and on the
//! first GPU adapter, which may be a software one, and fail without a GPU. `host` leaves the GPU tests out and says so.
//! Any other value is a comma-separated list of adapters, by index or by part of the name.

mod compare;
pub mod fences;
mod golden;
mod hub;
mod hvp_check;
mod linear;
pub mod observed;
mod op_check;
mod random;
mod subject;
pub mod tolerance;
pub mod truth;
mod twin;

pub use compare::{Labelled, Mismatch, Worst, compare};
pub use golden::Golden;
pub use hub::{Asked, COMMIT, HubServer, Manners, sha256};
pub use hvp_check::HvpCheck;
pub use linear::{AffineWeights, LinearWeights};
pub use op_check::{Allowed, Done, OpCheck, Record};
pub use random::Random;
pub use subject::{Subject, gpus, rounding_subjects, subjects, variant_subjects};
pub use twin::{Twin, keys_of, norm_of, orders, tangents};
