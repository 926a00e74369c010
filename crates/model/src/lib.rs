//! A transformer as a list of operations: architecture, weights, tokenizer, sites, edits, runs and linearisations.
//!
//! Three types read a model directory: [`Architecture`] (sizes and features), [`Checkpoint`] (weights, mapped into
//! memory and read tensor by tensor) and [`Tokenizer`] (text to ids and back). A [`Model`] has its weights on a device.
//! [`Model::run`] computes the field of one prompt and stores it there. [`Run::values_under`] sweeps edits over a run.
//! [`Run::linearize`] returns the tangent map of a run in a [`Mode`]; the exact mode also has jets and Hessian-vector
//! products.
//!
//! ```
//! use resolvent_engine::Device;
//! use resolvent_model::{Mode, Model, Observable, RandomWeights, tiny};
//!
//! let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7))?;
//! let run = model.run(&[3, 1, 4, 1, 5], &[])?;
//! let j = Observable::logit_diff(2, 6, 4);
//! let chi = run.linearize(Mode::Exact).gradient(&j)?;
//! assert_eq!(chi.len(), (model.sizes().layers + 1) * 5 * model.sizes().d);
//! # Ok::<(), resolvent_model::Error>(())
//! ```

mod along;
mod arch;
#[cfg(feature = "atlas")]
mod atlas;
mod batch;
mod capture;
mod checkpoint;
mod curvature;
mod edit;
mod edit_text;
mod edited_batch;
mod error;
mod files;
mod finite;
mod floats;
mod formats;
#[cfg(test)]
mod fuzz;
mod generate;
mod gguf;
mod grouped;
mod head;
mod head_results;
#[cfg(feature = "hub")]
mod hub;
mod hvp;
mod jet;
mod key_values;
mod keys;
mod lens;
mod linear;
mod logit_tangents;
mod logits_under;
mod mapped;
mod memory_files;
mod mode;
mod model;
mod named;
mod norm_parts;
mod observable;
mod observable_text;
mod order;
mod parameters;
mod passes;
mod paths;
mod points;
mod program;
mod prompt;
mod prompt_case;
mod prompt_row;
mod prompt_rows;
mod prompt_set;
mod pullback;
mod random;
mod read;
mod readouts;
mod replaced;
mod room;
mod run;
mod site;
mod sites;
mod source;
mod splits;
mod stream_norm;
mod sweep;
mod taken;
mod tokenizer;
mod transposed;
mod upload;
mod values;
mod visit;
mod weights;
mod windows;

pub use along::{Along, ProbedRun, along_of};
pub use arch::{Activation, Architecture, Config, MAX_D_HEAD, MAX_LAYERS, Sizes};
#[cfg(feature = "atlas")]
pub use atlas::embedded_models;
pub use capture::captures;
pub use checkpoint::{Checkpoint, Dtype};
pub use edit::{Change, DeviceRow, Edit};
pub use edit_text::EditText;
pub use error::{Error, Result};
pub use files::text as file_text;
pub use generate::Sampling;
#[cfg(feature = "hub")]
pub use hub::{Hub, HubEvent, Snapshot};
pub use hvp::hvp_of;
pub use jet::{Jets, VisitOrder, jet_of};
pub use key_values::KeyValueCache;
pub use linear::{Fields, Linearization, Source, SourcedRun, jvp_of};
pub use logit_tangents::{LogitTangent, logit_tangents_of};
pub use mode::Mode;
pub use model::Model;
pub use named::DEFAULT_MODEL;
pub use observable::{Distribution, Observable, Quantity, Term};
pub use observable_text::{ObservableContext, ReadDirection, token_text};
pub use parameters::Parameter;
pub use paths::{
    Edge, Outputs, Patterns, Reader, ReaderSet, StreamEdits, Writer, edge_values, ends_at_logits, neuron_products,
    outputs_of, path_sites, reader_gradients, reader_rows, reader_sites, rewired_values,
};
pub use prompt::{check_prompt, from_end, parse_token, parse_tokens};
pub use prompt_case::{PromptCase, TokenPair, logits_text, tokens_of};
pub use prompt_row::{PromptRow, PromptText, Role};
pub use prompt_set::{PromptSet, Task};
pub use pullback::{Seed, SeededRun, vjp_of};
pub use random::{RandomWeights, gaussian, gpt2_small, tiny};
pub use replaced::Replacement;
pub use run::{EditedPrompt, Run, RunOptions};
pub use site::Site;
pub use sites::Sites;
pub use source::WeightSource;
pub use stream_norm::StreamNorm;
pub use sweep::{Chunk, EditedRun, fields_of, values_of};
pub use tokenizer::Tokenizer;
pub use values::{logits_of, values};
