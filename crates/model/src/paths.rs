//! Paths through the residual stream: what writes to it, what reads from it, and the edges between them.
//!
//! The residual stream at a token is a sum: the embedding, the output of every head, the output of every MLP, and
//! biases. Every reader (the queries, keys and values of a head, an MLP, the final norm) reads the sum of what was
//! written before it. So the influence of a writer on a reader has a part that no other node carries: the edge between
//! them.
//!
//! All of this needs runs that have the outputs of attention and MLPs as values of their own; see [`path_sites`].

mod check;
mod edited;
mod gradients;
mod neurons;
mod node;
mod outputs;
mod pattern;
mod reads;
mod responses;
mod rewired;
mod sweep;

pub use check::ends_at_logits;
pub use edited::StreamEdits;
pub use gradients::reader_gradients;
pub use neurons::neuron_products;
pub use node::{Edge, Reader, Writer, path_sites};
pub use outputs::{Outputs, outputs_of};
pub use pattern::Patterns;
pub use reads::{ReaderSet, reader_rows, reader_sites};
pub use rewired::rewired_values;
pub use sweep::edge_values;
