//! Sliced Green operators: the elements of G between a pair of bases, for all causal pairs of places.
//!
//! A block of the Green operator is d x d, and there is one block for each causal pair. Between a source basis V of k
//! vectors and a readout basis U of m vectors, a block is `U(l',t')^T G(l',t'; l,t) V(l,t)`, m x k. A tangent pass
//! takes the k vectors of every source as tangents. A backward pass, used if it is cheaper, takes the m vectors of
//! every target as cotangents. All of them share the residuals of the run, and each weight is read once for a batch. So
//! the cost of a slice is mostly that of the matrix products of its tangents.

mod checks;
mod pairs;
mod passes;
mod secants;
mod strongest;
mod work;

use std::collections::BTreeMap;
use std::path::Path;

use resolvent_model::{Linearization, Mode, Observable};

use crate::bases::{Basis, BasisContext, End, Frames};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::place::shape;
use crate::readings::{Reading, to_json};
use crate::store::{Memory, Partial, Planned, Store, bytes, fits};
use passes::Passes;
use secants::Secants;

pub use pairs::PlacePairs;
pub use passes::Pass;

/// Indices of the arrays in a store.
const PAIRS: usize = 0;
const BLOCKS: usize = 1;
const VALUES: usize = 2;
const RANK: usize = 3;
/// The first of [`secants::ARRAYS`].
const SECANTS: usize = 4;

/// A sliced Green operator, ready to be computed.
pub struct Slice<'a> {
    passes: Passes<'a>,
    pass: Pass,
    secants: Option<Secants>,
    /// Token position at which vectors are read as logits.
    position: usize,
    /// Metadata of the result that depend on the bases and places.
    about: BTreeMap<String, String>,
}

/// The result of a slice.
#[derive(Clone, Debug)]
pub struct Sliced {
    /// Provenance, certificates, and the arrays if they are in memory.
    pub result: Labelled,
    /// The strongest pairs within one token, then the strongest between two tokens.
    pub strongest: Vec<Reading>,
    /// Number of chunks of the work that an interrupted run had completed.
    pub resumed: usize,
}

/// Fix named in the error of a result that is larger than the memory.
const WRITE_A_FILE: &str = "write it to a .safetensors file alone (--out), ";

/// Receives the progress (done, all), in tangent rows times blocks of the model.
pub type OnProgress<'a> = &'a mut dyn FnMut(u64, u64);

impl<'a> Slice<'a> {
    /// Prepares the slice of the operator between a source basis and a readout basis.
    ///
    /// # Errors
    /// A basis without the run or observable to which it refers, bases larger than the memory, or a device error.
    pub fn new(
        linear: &'a Linearization<'a>,
        pairs: PlacePairs,
        [source, readout]: [&Basis; 2],
        [of_source, of_readout]: [BasisContext<'_>; 2],
    ) -> Result<Self> {
        let observed = of_source.observables.first().map(Observable::position);
        let position = of_source.position.or(observed).unwrap_or(linear.run().tokens().len() - 1);
        let v = source.frames(linear, pairs.from(), End::Source, of_source)?;
        let u = readout.frames(linear, pairs.to(), End::Readout, of_readout)?;
        let mut slice = Self::with_frames(linear, pairs, [v, u])?;
        slice.position = position;
        let listed = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let observables: Vec<String> = of_source.observables.iter().map(ToString::to_string).collect();
        let donors: Vec<String> = of_source.others.iter().map(|other| listed(other.tokens())).collect();
        for (key, value) in [
            ("basis", source.to_string()),
            ("readout", readout.to_string()),
            ("observable", observables.join("; ")),
            ("donor_tokens", donors.join(";")),
        ] {
            if !value.is_empty() {
                slice.about.insert(key.to_owned(), value);
            }
        }
        Ok(slice)
    }

    /// As [`Slice::new`], between given vectors.
    ///
    /// # Errors
    /// Vectors whose width is not that of the field, or vectors larger than the memory.
    pub fn with_frames(
        linear: &'a Linearization<'a>,
        pairs: PlacePairs,
        [source, readout]: [Frames; 2],
    ) -> Result<Self> {
        let (_, tokens, d) = shape(linear.run());
        for frames in [&source, &readout] {
            if frames.width() != d || frames.rank() == 0 {
                let (rank, width) = (frames.rank(), frames.width());
                return Err(Error::Input(format!(
                    "a basis of {rank} vectors of {width} elements does not fit; give one or more that are {d} wide"
                )));
            }
        }
        let hash = blake3::hash(format!("{} {}", source.hash(), readout.hash()).as_bytes());
        let [from, to] = pairs.chosen().clone();
        let about = [("basis_hash", hash.to_hex().to_string()), ("from", from), ("to", to)];
        let about = about.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let passes = Passes { linear, pairs, source, readout };
        let pass = passes.cheaper();
        let slice = Self { passes, pass, secants: None, position: tokens - 1, about };
        let largest = slice.passes.starts(pass).iter().enumerate().map(|(i, _)| slice.chunk_bytes(i..i + 1)).max();
        let needed = slice.passes.source.bytes() + slice.passes.readout.bytes() + largest.unwrap_or(0);
        fits(linear.run(), needed, "the bases and the blocks of one place take", "")?;
        Ok(slice)
    }

    /// Selects this pass instead of the cheaper one. Secants always take tangents.
    #[must_use]
    pub fn pass(mut self, pass: Pass) -> Self {
        self.pass = if self.secants.is_some() { Pass::Forward } else { pass };
        self
    }

    /// Slices the secant Green operator instead of the tangent one: the mean of the derivatives at `nodes` nodes on the
    /// way to sources of a finite length, `amplitude |h[l,t]|` times the vectors of the source basis.
    ///
    /// More arrays, each `[N]`: `amplitude`, the length of the sources; `first_error` and `secant_error`, the relative
    /// errors of the tangent and of the secant block against that of the finite responses; `secant_bar`, the relative
    /// distance of the secant block from a rule with half of the nodes. They are NaN where a block is zero, or where
    /// rounding hides the error.
    ///
    /// # Errors
    /// No node or more than 16, an amplitude that is not a finite number above 0, a linearisation that freezes factors,
    /// or a device error.
    pub fn secants(mut self, nodes: usize, amplitude: f64) -> Result<Self> {
        if self.passes.linear.mode() != Mode::Exact {
            return Err(Error::Input("secants take exact derivatives; linearise in the mode `exact`".to_owned()));
        }
        self.secants = Some(Secants::new(self.passes.linear.run(), nodes, amplitude)?);
        self.pass = Pass::Forward;
        self.about.insert("nodes".to_owned(), nodes.to_string());
        self.about.insert("amplitude".to_owned(), amplitude.to_string());
        Ok(self)
    }

    /// Returns the selected pass.
    pub fn chosen_pass(&self) -> Pass {
        self.pass
    }

    /// Returns the pairs of the slice.
    pub fn pairs(&self) -> &PlacePairs {
        &self.passes.pairs
    }

    /// Returns the shape `[m, k]` of a block: vectors of the readout basis and of the source basis.
    pub fn shape(&self) -> [usize; 2] {
        [self.passes.readout.rank(), self.passes.source.rank()]
    }

    /// Returns the size of the arrays in bytes.
    pub fn bytes(&self) -> u64 {
        bytes(&self.arrays())
    }

    /// Checks that the arrays fit in the device's [`batch_bytes`](resolvent_engine::Options::batch_bytes).
    ///
    /// # Errors
    /// Arrays that are larger.
    pub fn fits_in_memory(&self) -> Result<()> {
        fits(self.passes.linear.run(), self.bytes(), "the result takes", WRITE_A_FILE)
    }

    fn memory(&self) -> u64 {
        self.passes.linear.run().model().device().batch_bytes()
    }

    fn arrays(&self) -> Vec<Planned> {
        let (n, m, k) = (self.pairs().len(), self.passes.readout.rank(), self.passes.source.rank());
        let mut arrays = vec![
            Planned::new("pairs", &[("pair", n), ("place", 4)]),
            Planned::new("blocks", &[("pair", n), ("readout", m), ("source", k)]),
            Planned::new("singular_values", &[("pair", n), ("value", m.min(k))]),
            Planned::new("effective_rank", &[("pair", n)]),
        ];
        if self.secants.is_some() {
            arrays.extend(secants::ARRAYS.map(|name| Planned::new(name, &[("pair", n)])));
        }
        arrays
    }

    /// Computes the slice in memory.
    ///
    /// Arrays: `pairs [N, 4]` (l', t', l, t), `blocks [N, m, k]`, `singular_values [N, min(m, k)]` and `effective_rank
    /// [N]`. The effective rank is the exponential of the entropy of the squared singular values, scaled to the sum 1;
    /// it is 0 for a block of zeros.
    ///
    /// Certificates: three blocks by the other pass; the composition of Green operators; causal zeros and slope of one
    /// response; the adjoint identity.
    ///
    /// # Errors
    /// A result larger than the memory, a device error, or a check that fails.
    pub fn compute(&self, progress: OnProgress<'_>) -> Result<Sliced> {
        compute_all(&[self], progress)?.remove(0)
    }

    /// Computes the slice into a safetensors file, which may be larger than the memory. [`Labelled::read`] reads the
    /// file.
    ///
    /// An interrupted run of the same work is resumed, and leaves the same file as an uninterrupted one. `fresh` starts
    /// again from the beginning.
    ///
    /// # Errors
    /// As [`Slice::compute`]; a file that cannot be written, or a partial file of other work.
    pub fn write(&self, path: &Path, fresh: bool, progress: OnProgress<'_>) -> Result<Sliced> {
        Labelled::check_path(path)?;
        let result = checks::probed(&[self])?.remove(0)?;
        let mut about = result.metadata.clone();
        about.insert("memory".to_owned(), self.memory().to_string());
        let mut store = Partial::open(path, &self.arrays(), &about, fresh)?;
        let resumed = store.done();
        let stores: &mut [&mut dyn Store] = &mut [&mut store];
        work::fill(&[self], stores, progress)?;
        let mut sliced = finished(&[self], vec![result], stores)?.remove(0)?;
        store.finish(&sliced.result.strings().into_iter().collect())?;
        sliced.resumed = resumed;
        Ok(sliced)
    }
}

/// Computes several slices of operators of one model in memory, and returns a result for each, or why it has none. See
/// [`Slice::compute`]. Runs of one batch share passes.
///
/// # Errors
/// A device error.
pub fn slice_all(slices: &[Slice<'_>]) -> Result<Vec<Result<Labelled>>> {
    let sliced = compute_all(&slices.iter().collect::<Vec<_>>(), &mut |_, _| {})?;
    Ok(sliced.into_iter().map(|sliced| Ok(sliced?.result)).collect())
}

/// Computes slices that were prepared one by one, as [`slice_all`]: those that could not be prepared have their errors.
/// Slices by secants pass one run at a time.
///
/// # Errors
/// A device error.
pub fn slice_each<E: From<Error>>(prepared: Vec<Result<Slice<'_>, E>>) -> Result<Vec<Result<Labelled, E>>, E> {
    let (mut slices, mut outcomes) = (Vec::with_capacity(prepared.len()), Vec::with_capacity(prepared.len()));
    for one in prepared {
        outcomes.push(match one {
            Ok(slice) if slice.secants.is_none() => {
                slices.push(slice);
                None
            }
            // One that has no source fails alone.
            Ok(slice) => Some(slice.compute(&mut |_, _| {}).map(|sliced| sliced.result).map_err(E::from)),
            Err(error) => Some(Err(error)),
        });
    }
    let mut found = slice_all(&slices)?.into_iter().map(|result| result.map_err(E::from));
    Ok(outcomes.into_iter().filter_map(|outcome| outcome.or_else(|| found.next())).collect())
}

/// Computes slices in memory.
fn compute_all(slices: &[&Slice<'_>], progress: OnProgress<'_>) -> Result<Vec<Result<Sliced>>> {
    let mut outcomes: Vec<Option<Result<Sliced>>> = Vec::new();
    outcomes.extend(slices.iter().map(|slice| slice.fits_in_memory().err().map(Err)));
    let fit: Vec<usize> = (0..slices.len()).filter(|&n| outcomes[n].is_none()).collect();
    let (mut open, mut results) = (Vec::new(), Vec::new());
    for (&n, result) in fit.iter().zip(checks::probed(&of(slices, &fit))?) {
        match result {
            Ok(result) => {
                open.push(n);
                results.push(result);
            }
            Err(error) => outcomes[n] = Some(Err(error)),
        }
    }
    let some = of(slices, &open);
    let mut memory: Vec<Memory> = some.iter().map(|slice| Memory::new(&slice.arrays())).collect();
    let mut stores: Vec<&mut dyn Store> = memory.iter_mut().map(|store| store as &mut dyn Store).collect();
    work::fill(&some, &mut stores, progress)?;
    let finished = finished(&some, results, &mut stores)?;
    for ((n, sliced), store) in open.into_iter().zip(finished).zip(memory) {
        let whole = |mut sliced: Sliced| {
            let arrays = store.into_arrays().into_iter();
            sliced.result =
                arrays.fold(sliced.result, |result, (array, numbers)| result.with(array.name, &array.axes, numbers));
            sliced
        };
        outcomes[n] = Some(sliced.map(whole));
    }
    Ok(outcomes.into_iter().flatten().collect())
}

/// Returns some of the slices.
fn of<'s, 'a>(slices: &[&'s Slice<'a>], some: &[usize]) -> Vec<&'s Slice<'a>> {
    some.iter().map(|&n| slices[n]).collect()
}

/// Adds the strongest pairs, and the check of the stored blocks.
fn finished(
    slices: &[&Slice<'_>],
    results: Vec<Labelled>,
    stores: &mut [&mut dyn Store],
) -> Result<Vec<Result<Sliced>>> {
    let checks = checks::other_pass(slices, stores)?;
    let strongest = strongest::strongest(slices, stores)?;
    let mut sliced = Vec::with_capacity(slices.len());
    for (n, ((mut result, check), strongest)) in results.into_iter().zip(checks).zip(strongest).enumerate() {
        let slice = slices[n];
        if slice.secants.is_some() {
            for (i, name) in secants::ARRAYS.into_iter().enumerate().skip(1) {
                let values = stores[n].read(SECANTS + i, 0..slice.pairs().len())?;
                result = result.note(&format!("median.{name}"), secants::median_text(&values));
            }
        }
        let json = to_json(&strongest, slice.passes.linear);
        let result = result.certify(check).map(|result| result.note("strongest", json));
        sliced.push(result.map(|result| Sliced { result, strongest, resumed: 0 }));
    }
    Ok(sliced)
}
