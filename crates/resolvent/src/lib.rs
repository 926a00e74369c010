//! A portable analysis engine for Transformer Field Theory.
//!
//! The residual stream of a fixed GPT-2 forward pass is a field `h[l, t]`. This crate computes how a source in this
//! field propagates: sensitivities, patch effects and response fields. It runs on any Vulkan, Metal or DX12 device, or
//! on the host.
//!
//! ```
//! use resolvent::prelude::*;
//!
//! let device = Device::host();                       // or open(&Options::default())?, a checked GPU
//! let model = Model::random(&device, tiny(), RandomWeights::new(7))?; // or Model::open(&device, dir)
//! let clean = model.run(&[3, 1, 4, 1, 5], &[])?;
//! let corrupted = model.run(&[3, 1, 9, 1, 5], &[])?;
//!
//! let j = Observable::logit_diff(2, 6, 4);           // logit 2 minus logit 6 at token 4
//! let chi = resolvent::sensitivity(&corrupted, &j)?; // dJ / dh[l, t]
//! let patched = resolvent::patch(&clean, &corrupted, &j)?; // every h[l, t] of one run in the other
//! let effect = patched.array("effect").expect("every patch result has it");
//! assert_eq!(effect.axes, [("level", 4), ("token", 5)]);
//!
//! let s = Source { site: Site::ResidPre(1), token: 2, vector: vec![1.0; 32] };
//! let response = corrupted.linearize(Mode::Exact).jvp(&[[s]])?; // G s, forward mode through fused attention
//! # let _ = (chi, response);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every [`Labelled`] result contains the checks that it passed ([`Certificate`]) and its provenance. A failed check is
//! an error.

pub mod bench;
pub mod doctor;
mod fault;
mod first_use;
pub mod kernel_check;
mod open;

pub use fault::Fault;
pub use open::{SelfTest, open, self_test};
pub use resolvent_engine as engine;
pub use resolvent_field as field;
pub use resolvent_field::{
    Array, Certificate, Context, Direction, Error, Labelled, Place, Result, forward, green, invert, patch,
    reconstruction, scale, sensitivity, superposition, transfer,
};
pub use resolvent_model as model;

/// The items that most programs need.
pub mod prelude {
    pub use crate::{Context, Direction, Labelled, open};
    pub use resolvent_engine::{Choice, Device, Options};
    pub use resolvent_model::{
        Config, Edit, Mode, Model, Observable, RandomWeights, Run, RunOptions, Seed, Site, Source, tiny,
    };
}
