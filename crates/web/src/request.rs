//! What the page asks for.

use serde::Deserialize;

/// An analysis of two prompts.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Analysis {
    /// Field and logits of the clean prompt.
    Run,
    /// The most likely tokens of every level, of the prompt that `of` names.
    Lens,
    /// `dJ/dh[l,t]` in the corrupted prompt.
    Sensitivity,
    /// The effect of each clean `h[l,t]` in the corrupted prompt, beside its first-order prediction.
    Patch,
    /// The response to a source in the corrupted prompt.
    Green,
    /// Which heads and MLPs carry the difference between the prompts at a place.
    Writers,
    /// Finite and first-order responses of J to a source in the corrupted prompt, over amplitudes.
    Regime,
}

/// Which of the two prompts.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prompt {
    Clean,
    #[default]
    Corrupted,
}

/// A request of the page.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) analysis: Analysis,
    pub(crate) clean: String,
    pub(crate) corrupted: String,
    /// Token whose logit is observed at the last position.
    pub(crate) target: String,
    /// Token whose logit is subtracted.
    pub(crate) against: Option<String>,
    /// The prompt of `lens`.
    #[serde(default)]
    pub(crate) of: Prompt,
    /// Level and token of the source; negative numbers count from the end.
    pub(crate) place: Option<[i64; 2]>,
    /// Direction of the source; the displacement between the prompts if it is left out.
    pub(crate) direction: Option<String>,
    /// Amplitudes of `regime`: they multiply a displacement itself, and |h[l,t]| times any other direction.
    #[serde(default)]
    pub(crate) amplitudes: Vec<f32>,
}
