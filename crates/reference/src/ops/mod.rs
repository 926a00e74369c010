//! The ops, one per file: `y = op(x)` on row-major slices, computed in the order of the written formula.

mod add;
mod attention;
mod columns;
mod divide;
mod embed;
mod frozen;
mod gain;
mod gate;
mod gelu;
mod layer_norm;
mod matmul;
mod norm_scale;
mod observe;
mod rms_norm;
mod rope;
mod softcap;
mod splice;
mod unembed;

pub use add::add;
pub use attention::{Heads, KeyEdit, Keys, attention, edited_attention};
pub use columns::columns;
pub use divide::divide;
pub use embed::embed;
pub use frozen::Frozen;
pub use gain::gain;
pub use gate::{GateForm, gate};
pub use gelu::{GeluForm, gelu};
pub use layer_norm::layer_norm;
pub use matmul::matmul;
pub use norm_scale::norm_scale;
pub use observe::{Observe, log_softmax, observe};
pub use rms_norm::rms_norm;
pub use rope::{Rotation, rope};
pub use softcap::softcap;
pub use splice::{Edit, splice};
pub use unembed::unembed;

#[cfg(test)]
pub(crate) mod check;
