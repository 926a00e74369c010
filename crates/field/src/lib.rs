//! The analyses of the theory, one in each file. Each returns a [`Labelled`] result with axes, certificates and
//! provenance.
//!
//! | analysis | what it computes |
//! |---|---|
//! | [`forward`] | field and logits of a run |
//! | [`sensitivity`] | `chi[l, t] = dJ / dh[l, t]` |
//! | [`patch`] | the effect of putting each clean h\[l, t\] into a corrupted run, and its first-order prediction |
//! | [`predict`] | predictors of patch effects side by side, with their costs |
//! | [`attribute`] | an observable as a sum over embedding, heads, MLPs and neurons |
//! | [`lens`] | what the head would answer at each level |
//! | [`average`] | the Green operator to the last level, averaged over prompts and positions |
//! | [`features`] | the features of a sparse autoencoder or transcoder as nodes |
//! | [`subspace`] | patches along a few directions of a site, and their parts that no reader sees |
//! | [`edges`] | the effect of each edge between nodes, predicted and exact |
//! | [`circuit`] | what remains of an observable if only some edges carry the clean run |
//! | [`superposition`] | joint responses of pairs of sources, and the sums of their own responses |
//! | [`interactions`] | joint responses of pairs beyond those sums, by Hessian-vector products and by joint runs |
//! | [`regime`] | the error of the first-order response over amplitudes, and the linear radius |
//! | [`quadratic`] | an observable to second order in a few directions at a place, and how far both orders hold |
//! | [`green`] | the response field of a source, and the geometry of its propagation |
//! | [`reach`] | the mean size of responses over depth and distance in tokens |
//! | [`growth`] | transient growth of sources in the blocks, beside what eigenvalues say |
//! | [`flow`] | by which places the effect of a source or of another prompt reaches an observable |
//! | [`identities`] | identities of the derivatives that follow from symmetries of the model |
//! | [`reconstruction`] | the run's own input, passed through a linearisation in a mode |
//! | [`Slice`] | blocks of the Green operator between two bases, for all causal pairs |
//! | [`spectrum`] | leading singular triplets of the operator between places |
//! | [`reduce`] | effects of held-out patches through few directions of one level, by several methods |
//! | [`invert`] | sources that change observables as requested, verified by the model's own forward pass |
//! | [`locate`] | the place and the direction of an unknown source, from its response |
//! | [`transfer`] | how much of another prompt's answer each displacement transfers |
//! | [`scale`] | a small model's responses as predictions of those of a large model |
//! | [`compare`] | where two sets of results differ, paired by prompt, with corrected p values |
//! | [`study`] | all of these on one model and a set of prompts, with verdicts |
//!
//! A certificate that fails is an error: no analysis returns numbers that fail their own check. If a result has many
//! places and the checks of some fail, those places are marked and their numbers are NaN.

mod attribution;
mod average;
mod bases;
mod between;
mod case;
mod certificate;
mod circuit;
mod compare;
mod composition;
mod conditioning;
mod dense;
mod derivatives;
mod dictionary;
mod direction;
mod displacements;
mod distinct;
mod edges;
mod edited;
mod error;
mod facts;
mod features;
mod field_slope;
mod file;
mod finite;
mod finite_field;
mod flow;
mod forward;
mod geometry;
mod green;
mod growth;
mod identities;
mod input;
mod interaction;
mod invert;
mod json;
mod labelled;
mod lens;
mod linear_map;
mod locate;
mod lsqr;
mod nodes;
mod noise;
mod norms;
mod operator;
mod panel;
mod part;
mod patch;
mod place;
mod predictor;
mod predictors;
mod prompts;
mod quadratic;
mod quadrature;
mod radius;
mod reach;
mod read;
mod readings;
mod reconstruction;
mod reduce;
mod regime;
mod remainder;
mod row_space;
mod rsvd;
mod scale;
mod secant;
mod sensitivity;
mod shards;
mod site_kind;
mod site_sensitivity;
mod slice;
mod slope;
mod spectrum;
pub mod stats;
mod store;
pub mod study;
mod subspace;
mod superposition;
mod transfer;

pub use attribution::{AttributeOptions, attribute};
pub use average::{AverageOptions, AveragedOperator, average};
pub use bases::{Basis, BasisContext, End, Frames, RANK};
pub use case::Case;
pub use certificate::{ADJOINT, Certificate, SAME, SLOPE, SYMMETRY, adjoint, dot, norm, norms, symmetry};
pub use circuit::{Ablation, CircuitOptions, EdgeScore, Selection, circuit};
pub use compare::{CompareOptions, ResultSet, compare, summarise};
pub use composition::composition;
pub use dictionary::{Code, Dictionary};
pub use direction::{Context, Direction, make_unit, read_direction};
pub use distinct::distinct;
pub use edges::{EdgeOptions, EdgePredictor, edges, edges_from_to, edges_into, path_patch, paths};
pub use error::{Error, Result};
pub use features::{FeatureOptions, features};
pub use field_slope::PlacedSource;
pub use file::{check_writable, write_whole};
pub use flow::{FlowCase, FlowOptions, flow, flow_all, flow_between};
pub use forward::{forward, forward_all};
pub use geometry::Geometry;
pub use green::{GreenOptions, gains, green, green_all, green_with};
pub use growth::growth;
pub use identities::{Identity, identities};
pub use interaction::{Interacting, InteractionCase, Joint, PatchPlace, interactions, interactions_all};
pub use invert::{Goal, InvertCase, InvertOptions, Method, invert, invert_all};
pub use labelled::{Array, Labelled};
pub use lens::{LensOptions, lens};
pub use linear_map::{LinearMap, adjoint_of};
pub use locate::{LocateOptions, Observed, locate, posteriors, with_noise};
pub use lsqr::{Lsqr, LsqrOptions, lsqr};
pub use norms::{BlockNorms, Probes, block_norms};
pub use operator::Operator;
pub use part::Part;
pub use patch::{Effects, effects, patch, patch_all, patch_at};
pub use place::Place;
pub use predictor::{Predictor, PredictorOptions};
pub use predictors::{Panel, Predicted, predict, predict_all};
pub use prompts::{
    Analysis, BesidePatches, CaseRuns, Outcomes, Prompts, attribute_of_prompts, clean_alone, edges_into_of_prompts,
    edges_of_prompts, features_of_prompts, flow_of_prompts, forward_of_prompts, growth_of_prompts,
    identities_of_prompts, lens_of_prompts, over_prompts, patch_of_prompts, paths_of_prompts, sensitivity_of_prompts,
    subspace_of_prompts, transfer_of_prompts,
};
pub use quadratic::{QuadraticOptions, quadratic};
pub use radius::LINEAR;
pub use reach::reach;
pub use read::interned;
pub use readings::Reading;
pub use reconstruction::reconstruction;
pub use reduce::{ReduceOptions, Sensitivities, compared_rank, dimensions, reduce};
pub use regime::{RegimeCase, RegimeOptions, jet_radius, regime, regime_all};
pub use rsvd::{Route, Rsvd, RsvdOptions, rsvd};
pub use scale::{
    AlignedPair, OperatorOptions, OperatorPairs, PREDICTORS, QUANTITIES, RESPONSE_PREDICTORS, ScaleOptions, answers,
    operator_pairs, pairs_of_both, scale, scale_operators,
};
pub use sensitivity::{sensitivity, sensitivity_all, sensitivity_along};
pub use shards::{Cell, MANIFEST, SHARD, Shards, Spooled, Work, file_hash, read_grid};
pub use site_kind::SiteKind;
pub use site_sensitivity::sensitivity_at;
pub use slice::{OnProgress, Pass, PlacePairs, Slice, Sliced, slice_all, slice_each};
pub use spectrum::{Spectrum, spectrum};
pub use subspace::{Subspace, SubspaceOptions, subspace};
pub use superposition::superposition;
pub use transfer::{TransferOptions, transfer};
