//! Dictionaries: sparse autoencoders and transcoders from files of SAELens.
//!
//! A dictionary encodes an activation x as few features, `a = act(W_enc (x - b) + b_enc)`, and decodes them as
//! `b_dec + sum_f a_f W_dec[f]`: an autoencoder the same activation, a transcoder another one. A transcoder may have a
//! skip connection, which adds `W_skip x`. What a dictionary misses is its error.

mod config;

use std::path::{Path, PathBuf};

use faer::MatRef;
use rayon::prelude::*;
use resolvent_model::{Run, Site, Sizes, StreamNorm};

use crate::certificate::{dot, norm};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::labelled::Labelled;
use config::{Architecture, DictionaryConfig, Normalization, fail};

/// Rows that are encoded at a time, which bounds the memory of activations of all features.
const ROWS: usize = 64;

/// A dictionary. Weights are f32; files in F16 and BF16 are widened.
#[derive(Debug)]
pub struct Dictionary {
    path: PathBuf,
    config: DictionaryConfig,
    /// `[d_in, d_sae]`
    w_enc: Vec<f32>,
    /// `[d_sae, d_out]`
    w_dec: Vec<f32>,
    /// `[d_sae]`; of a gated dictionary those of the magnitudes.
    b_enc: Vec<f32>,
    /// `[d_out]`
    b_dec: Vec<f32>,
    /// `[d_out, d_in]`, of a transcoder with a skip connection.
    w_skip: Option<Vec<f32>>,
    /// Thresholds (jumprelu), scales of the magnitudes beside biases of the gates (gated), or norms of decoder rows
    /// (topk).
    more: Vec<Vec<f32>>,
}

/// A row of an activation as features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Code {
    /// The active features, ascending, and the factor of each one's row of the decoder.
    pub features: Vec<(u32, f32)>,
    /// What is decoded without any feature, `[d_out]`.
    pub bias: Vec<f32>,
    /// What a skip connection adds, `[d_out]`; empty without one.
    pub skip: Vec<f32>,
}

impl Code {
    /// Returns the factor of a feature; 0 if it is not active.
    pub fn factor(&self, feature: u32) -> f32 {
        self.features.binary_search_by_key(&feature, |(f, _)| *f).map_or(0.0, |at| self.features[at].1)
    }
}

impl Dictionary {
    /// Opens a folder with `cfg.json` and `sae_weights.safetensors`.
    ///
    /// # Errors
    /// A file that is missing or damaged, a kind of dictionary that is not supported, or a tensor of the wrong shape.
    pub fn open(folder: &Path) -> Result<Self> {
        let config = DictionaryConfig::read(&folder.join("cfg.json"))?;
        let path = folder.join("sae_weights.safetensors");
        let file = Input::open(&path)?;
        let [d_in, d_sae, d_out] = config.widths;
        let matrix = |name, rows, columns| Ok::<_, Error>(file.needed(name, &[Some(rows), Some(columns)])?.1);
        let vector = |name, length| Ok::<_, Error>(file.needed(name, &[Some(length)])?.1);
        let mut w_dec = matrix("W_dec", d_sae, d_out)?;
        if config.scaled {
            let factors = vector("scaling_factor", d_sae)?;
            w_dec.chunks_mut(d_out).zip(factors).for_each(|(row, by)| row.iter_mut().for_each(|x| *x *= by));
        }
        let more = match config.architecture {
            Architecture::Standard => Vec::new(),
            Architecture::JumpRelu => vec![vector("threshold", d_sae)?],
            Architecture::Gated => {
                let scales = vector("r_mag", d_sae)?.iter().map(|r| r.exp()).collect();
                vec![scales, vector("b_gate", d_sae)?]
            }
            Architecture::TopK { rescaled: false, .. } => Vec::new(),
            Architecture::TopK { .. } => vec![w_dec.chunks(d_out).map(|row| norm(row) as f32).collect()],
        };
        let b_enc = vector(if config.architecture == Architecture::Gated { "b_mag" } else { "b_enc" }, d_sae)?;
        let (w_enc, b_dec) = (matrix("W_enc", d_in, d_sae)?, vector("b_dec", d_out)?);
        let w_skip = config.skips.then(|| matrix("W_skip", d_out, d_in)).transpose()?;
        Ok(Self { path: folder.to_owned(), config, w_enc, w_dec, b_enc, b_dec, w_skip, more })
    }

    /// Returns the folder that it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of features.
    pub fn features(&self) -> usize {
        self.config.widths[1]
    }

    /// Returns whether it is a transcoder with a skip connection.
    pub fn skips(&self) -> bool {
        self.w_skip.is_some()
    }

    /// Returns the names of the activations that are encoded and decoded.
    pub fn hooks(&self) -> [&str; 2] {
        [&self.config.hooks[0], &self.config.hooks[1]]
    }

    /// Returns the sites of the activations that are encoded and decoded, in a model of these sizes. Those of heads lie
    /// one after another. If the rows of a norm are encoded, the site is that of the stream which the block or the head
    /// reads.
    ///
    /// # Errors
    /// A name or a width that the model lacks.
    pub fn sites(&self, sizes: &Sizes) -> Result<[Vec<Site>; 2]> {
        let [d_in, _, d_out] = self.config.widths;
        let of = |hook: &str, norm: Option<StreamNorm>, width: usize| {
            let sites = match norm {
                Some(StreamNorm::Attention(l) | StreamNorm::Mlp(l)) => vec![Site::ResidPre(l)],
                Some(StreamNorm::Final) => vec![Site::level(sizes.layers, sizes)],
                None => config::sites(hook, sizes)?,
            };
            sites.iter().try_for_each(|site| site.check(sizes).map(|_| ()))?;
            let found: usize = sites.iter().map(|site| site.width(sizes)).sum();
            match found == width {
                true => Ok(sites),
                false => {
                    let reason = format!("has width {width} at {hook}, where the model has {found}");
                    Err(fail(&self.path.join("cfg.json"), format!("{reason}; give a dictionary of this model")))
                }
            }
        };
        let [input, output] = &self.config.hooks;
        Ok([of(input, config::norm(input), d_in)?, of(output, None, d_out)?])
    }

    /// Returns the row of the decoder of a feature, `[d_out]`.
    ///
    /// # Errors
    /// A feature that it lacks.
    pub fn direction(&self, feature: usize) -> Result<&[f32]> {
        let d = self.config.widths[2];
        let last = self.features() - 1;
        let missing = || Error::Input(format!("feature {feature}: the dictionary has features 0 to {last}"));
        self.w_dec.get(feature * d..(feature + 1) * d).ok_or_else(missing)
    }

    /// Returns the rows of the decoder of some features as a basis file has them: the array `source [d_out, K]`.
    ///
    /// # Errors
    /// No features, or one that it lacks.
    pub fn basis(&self, features: &[usize]) -> Result<Labelled> {
        let rows = features.iter().map(|&f| self.direction(f)).collect::<Result<Vec<_>>>()?;
        if rows.is_empty() {
            return Err(Error::Input("a basis needs one feature or more".to_owned()));
        }
        let d = self.config.widths[2];
        let columns = (0..d).flat_map(|i| rows.iter().map(move |row| row[i])).collect();
        Ok(Labelled::default().note("dictionary", self.path.display().to_string()).with(
            "source",
            &[("d", d), ("feature", rows.len())],
            columns,
        ))
    }

    /// Encodes rows of an activation, `[n, d_in]`.
    ///
    /// # Errors
    /// Rows of another width.
    pub fn encode(&self, rows: &[f32]) -> Result<Vec<Code>> {
        let [d, ..] = self.config.widths;
        if !rows.len().is_multiple_of(d) {
            return Err(Error::Input(format!("{} elements are no rows of the dictionary's width {d}", rows.len())));
        }
        Ok(rows.chunks(ROWS * d).flat_map(|rows| self.encode_some(rows)).collect())
    }

    fn encode_some(&self, rows: &[f32]) -> Vec<Code> {
        let [d, features, _] = self.config.widths;
        let mut inputs = rows.to_vec();
        let scales: Vec<[f32; 2]> = inputs.chunks_mut(d).map(|row| self.normalize(row)).collect();
        let inputs = MatRef::from_row_major_slice(&inputs, scales.len(), d);
        let products = inputs * MatRef::from_row_major_slice(&self.w_enc, d, features);
        let code = |(n, &[scale, shift]): (usize, &[f32; 2])| {
            let products: Vec<f32> = (0..features).map(|f| products[(n, f)]).collect();
            let active = self.activate(&products).into_iter().map(|(f, a)| (f, scale * a)).collect();
            // The skip connection takes the row as it is, before it is normalized.
            let row = &rows[n * d..(n + 1) * d];
            let skip = self.w_skip.iter().flat_map(|w| w.chunks(d)).map(|w| dot(w, row) as f32).collect();
            Code { features: active, bias: self.b_dec.iter().map(|b| scale * b + shift).collect(), skip }
        };
        scales.par_iter().enumerate().map(code).collect()
    }

    /// Normalizes a row and subtracts the decoder's bias. Returns the factor and the summand that undo the
    /// normalization.
    fn normalize(&self, row: &mut [f32]) -> [f32; 2] {
        let d = row.len() as f64;
        let [scale, shift] = match self.config.normalization {
            Normalization::Nothing => [1.0, 0.0],
            Normalization::ConstantNorm => [norm(row) / d.sqrt(), 0.0],
            Normalization::LayerNorm => {
                let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / d;
                let squares: f64 = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
                [(squares / (d - 1.0)).sqrt(), mean]
            }
        };
        // SAELens adds 1e-5 before it divides, and does not when it undoes that.
        let divisor = if self.config.normalization == Normalization::LayerNorm { scale + 1e-5 } else { scale };
        let bias = |i: usize| if self.config.subtracts { f64::from(self.b_dec[i]) } else { 0.0 };
        let divisor = if divisor > 0.0 { divisor } else { 1.0 };
        row.iter_mut().enumerate().for_each(|(i, x)| *x = ((f64::from(*x) - shift) / divisor - bias(i)) as f32);
        [scale as f32, shift as f32]
    }

    /// Returns the active features of a row, given its products with the encoder.
    fn activate(&self, products: &[f32]) -> Vec<(u32, f32)> {
        let of = |f: usize| -> f32 {
            let x = products[f];
            match self.config.architecture {
                Architecture::Standard => (x + self.b_enc[f]).max(0.0),
                Architecture::JumpRelu => {
                    let pre = x + self.b_enc[f];
                    if pre > self.more[0][f] { pre.max(0.0) } else { 0.0 }
                }
                Architecture::Gated => {
                    let open = x + self.more[1][f] > 0.0;
                    if open { (x * self.more[0][f] + self.b_enc[f]).max(0.0) } else { 0.0 }
                }
                Architecture::TopK { rescaled, .. } => {
                    let pre = x + self.b_enc[f];
                    if rescaled { pre * self.more[0][f] } else { pre }
                }
            }
        };
        let all = (0..products.len()).map(|f| (f as u32, of(f)));
        let Architecture::TopK { k, rescaled } = self.config.architecture else {
            return all.filter(|(_, a)| *a > 0.0).collect();
        };
        let mut all: Vec<(u32, f32)> = all.collect();
        all.select_nth_unstable_by(k - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all.retain(|(_, a)| *a > 0.0);
        all.sort_unstable_by_key(|(f, _)| *f);
        if rescaled {
            // Activations are of rows of unit length; the factor of the stored row is smaller.
            all.iter_mut().for_each(|(f, a)| *a /= self.more[0][*f as usize]);
        }
        all
    }

    /// Decodes a row, `[d_out]`.
    pub fn decode(&self, code: &Code) -> Vec<f32> {
        let d = self.config.widths[2];
        let mut sums: Vec<f64> = code.bias.iter().map(|&b| f64::from(b)).collect();
        sums.iter_mut().zip(&code.skip).for_each(|(sum, skip)| *sum += f64::from(*skip));
        for &(f, factor) in &code.features {
            let row = &self.w_dec[f as usize * d..][..d];
            sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(factor) * f64::from(*w));
        }
        sums.into_iter().map(|x| x as f32).collect()
    }

    /// Decodes a row whose features are all zero, `[d_out]`.
    pub(crate) fn decode_without_features(&self, code: &Code) -> Vec<f32> {
        self.decode(&Code { features: Vec::new(), ..code.clone() })
    }

    /// Encodes the activation of a run at every token. The run must have been prepared for [`Dictionary::sites`].
    ///
    /// # Errors
    /// A dictionary of another model, a run that was not prepared, or a device error.
    pub fn codes(&self, run: &Run) -> Result<Vec<Code>> {
        let [inputs, _] = self.sites(run.model().sizes())?;
        match config::norm(&self.config.hooks[0]) {
            Some(norm) => self.encode(&run.normalized(norm)?),
            None => self.encode(&joined(run, &inputs)?),
        }
    }

    /// Returns `<W_dec[f], g>`.
    pub(crate) fn along(&self, feature: u32, g: &[f32]) -> f64 {
        let d = self.config.widths[2];
        dot(&self.w_dec[feature as usize * d..][..d], g)
    }
}

/// Returns the values of sites at every token, their columns one after another: `[T, d]`.
pub(crate) fn joined(run: &Run, sites: &[Site]) -> Result<Vec<f32>> {
    let (values, tokens) = (run.captures(sites)?, run.tokens().len());
    Ok(interleaved(&values, tokens))
}

/// Joins the rows of several values of each token.
pub(crate) fn interleaved(values: &[Vec<f32>], tokens: usize) -> Vec<f32> {
    (0..tokens)
        .flat_map(|t| {
            values
                .iter()
                .flat_map(move |rows| rows[t * rows.len() / tokens..(t + 1) * rows.len() / tokens].iter().copied())
        })
        .collect()
}
