//! The harness: executors under test, seeded numbers, comparisons that cannot pass by accident, tolerances.
//!
//! One variable is read: `RESOLVENT_TEST_DEVICES`. Unset, tests run on the host executor and on the first GPU adapter,
//! software ones included, and a missing GPU fails them. `host` leaves the GPU tests out and says so. Anything else is a
//! comma list of adapters, by place or by part of the name.

mod bent;
mod compare;
pub mod fences;
mod golden;
mod hub;
mod linear;
mod plan;
mod random;
mod subject;
pub mod tolerance;
pub mod truth;
mod twin;

pub use bent::Bent;
pub use compare::{Labelled, Mismatch, Worst, compare};
pub use golden::Golden;
pub use hub::{Asked, COMMIT, HubServer, Manners, sha256};
pub use linear::{AffineWeights, LinearWeights};
pub use plan::{Allowed, Done, Plan, Record};
pub use random::Random;
pub use subject::{Subject, gpus, rounding_subjects, subjects, text_subjects};
pub use twin::{Twin, orders, tangents};
