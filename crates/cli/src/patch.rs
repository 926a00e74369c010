//! `resolvent patch`: puts values of the prompt into a corrupted prompt, one site and token at a time.

use resolvent::Labelled;
use resolvent::field::{
    BesidePatches, Case, Interacting, Joint, Predictor, PredictorOptions, SiteKind, distinct, patch_at,
    patch_of_prompts,
};
use resolvent::model::Site;
use resolvent_report::strongest_heads;

use crate::Failure;
use crate::edits::EditArgs;
use crate::interactions;
use crate::observable::RequiredObservable;
use crate::options::{CorruptedArgs, ModelArgs, PromptArgs};
use crate::output::{Output, OutputArgs, checks, heatmaps, labels};
use crate::prompts::Cases;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    corrupted: CorruptedArgs,
    /// Kinds of sites to patch, with commas: resid, mid, attn_out, mlp_out; ln1_scale, ln1_normalized, ln2_scale,
    /// ln2_normalized of norms; pre, pre_linear, post of MLPs; q, k, v, rot_q, rot_k, z, pattern of each head
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_value = "resid")]
    sites: Vec<SiteKind>,
    /// Predictors beside first order, with commas: curvature, hvp, integrated, relp
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    predictors: Vec<Predictor>,
    /// Runs between the prompts, of the predictor `integrated`
    #[arg(long, value_name = "N", default_value_t = PredictorOptions::default().steps)]
    steps: usize,
    /// Second order over first, above which the predictor `hvp` corrects a patch
    #[arg(long, value_name = "X", default_value_t = PredictorOptions::default().flag)]
    flag: f64,
    /// Interactions of the N patches of largest first-order effect, at sites of the first kind, by Hessian-vector
    /// products and by joint runs
    #[arg(long, value_name = "N", group = "interacting")]
    interactions: Option<usize>,
    /// Interactions of the patches at these places, LEVEL,TOKEN or BLOCK,TOKEN, or BLOCK,HEAD,TOKEN of heads; -1 is the
    /// last. With --prompts, TOKEN may be a role, whose last token it is
    #[arg(long, value_name = "L,T", num_args = 1.., group = "interacting", conflicts_with = "interactions")]
    interactions_at: Vec<String>,
    /// What two patches of --interactions do together: `put` both clean values in place, or `add` both displacements
    #[arg(long, value_name = "HOW", default_value = "put", requires = "interacting")]
    joint: Joint,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        return args.of_prompts(output, &cases);
    }
    let (observable, prompts) = args.corrupted.with(&model, &args.prompt, &args.observable)?;
    let kinds = distinct(args.sites.iter().copied());
    let sites: Vec<Site> = kinds.iter().flat_map(|kind| kind.sites(model.sizes())).collect();
    let runs = args.edits.run_all(&model, &prompts, &sites)?;
    let [clean, corrupted] = [0, 1].map(|i| runs[i].clone());
    let mut result = patch_at(&clean, &corrupted, &observable, &kinds)?;
    if !args.predictors.is_empty() {
        let predictors = Predictor::beside_first_order(&args.predictors);
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &observable };
        let options = PredictorOptions { steps: args.steps, flag: args.flag };
        result = result.with_predictors(&case, &kinds, &predictors, options)?;
    }
    if let Some(which) = args.interacting()? {
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &observable };
        result = result.with_interactions(&case, kinds[0], &which, args.joint)?;
    }
    output.naming(&corrupted, Some(&args.observable)).finish(&result, || {
        let value = |name| result.array(name).map_or(f32::NAN, |a| a.data[0]);
        let (from, to) = (value("corrupted_value"), value("clean_value"));
        let on = format!(" on J = {}: corrupted {from:.4}, clean {to:.4}", args.observable.title());
        let mut text = String::new();
        for kind in &kinds {
            let [effect, first_order] = kind.arrays();
            let of = if *kind == SiteKind::Resid { String::new() } else { format!(", {kind}") };
            // Only the title of the first map defines J.
            let title = format!("patch effect{of}{}", if text.is_empty() { on.as_str() } else { "" });
            let predicted = format!("first-order prediction{of}");
            text.push_str(&heatmaps(&corrupted, &result, &[(effect, &title), (first_order, &predicted)]));
            text.push('\n');
            if let Some(table) = heads(&result, *kind, &labels(&corrupted)) {
                text.push_str(&table);
                text.push('\n');
            }
        }
        text.push_str(&agreements(&result, &kinds));
        text.push_str(&interactions::of_prompt(&result));
        format!("{text}{}", checks(&result))
    })
}

impl Args {
    /// Returns which patches interact, if any.
    fn interacting(&self) -> Result<Option<Interacting>, Failure> {
        Ok(match (self.interactions, self.interactions_at.is_empty()) {
            (Some(count), _) => Some(Interacting::Strongest(count)),
            (None, false) => Some(Interacting::at(&self.interactions_at)?),
            (None, true) => None,
        })
    }

    /// Patches the pairs of a prompt file.
    fn of_prompts(&self, output: Output<'_>, cases: &Cases<'_>) -> Result<(), Failure> {
        let kinds = distinct(self.sites.iter().copied());
        let predictors = match self.predictors.is_empty() {
            true => Vec::new(),
            false => Predictor::beside_first_order(&self.predictors),
        };
        let interacting = self.interacting()?;
        let beside = BesidePatches {
            predictors: &predictors,
            options: PredictorOptions { steps: self.steps, flag: self.flag },
            interactions: interacting.as_ref().map(|which| (which, self.joint)),
        };
        let result = cases.all(|model, cases, progress| patch_of_prompts(model, cases, &kinds, beside, progress))?;
        let named: Vec<[(&str, String); 2]> = kinds
            .iter()
            .map(|kind| {
                let [effect, first_order] = kind.arrays();
                let of = if *kind == SiteKind::Resid { String::new() } else { format!(", {kind}") };
                [(effect, format!("patch effect{of}")), (first_order, format!("first-order prediction{of}"))]
            })
            .collect();
        let arrays: Vec<(&str, &str)> = named.iter().flatten().map(|(name, title)| (*name, &title[..])).collect();
        cases.finish(output, result, &arrays, &|result| {
            let of_kind = |kind: &SiteKind| {
                let text = result.metadata.get(&format!("agreement.{kind}"))?;
                Some(format!("{:<22} {text}\n", kind.name()))
            };
            let agreements: String = kinds.iter().filter_map(of_kind).collect();
            agreements + &interactions::of_prompts(result)
        })
    }
}

/// Number of patches in the table of the strongest heads.
const HEADS: usize = 10;

/// Formats the strongest patches of heads; `None` if sites of this kind have no heads.
fn heads(result: &Labelled, kind: SiteKind, labels: &[String]) -> Option<String> {
    let [effect, first_order] = kind.arrays().map(|name| result.array(name));
    let title = format!("strongest patches, {kind}");
    Some(strongest_heads(&title, effect?, first_order?, labels, HEADS)?.text())
}

/// Formats how well each predictor agrees with the patches at each kind of site, and the cost of the patches.
fn agreements(result: &Labelled, kinds: &[SiteKind]) -> String {
    let mut text = String::new();
    for kind in kinds {
        let first = [format!("agreement.{kind}")];
        let all = Predictor::ALL.map(|p| format!("agreement.{kind}.{p}"));
        let named = |key: &String| {
            let name = key.trim_start_matches("agreement.");
            result.metadata.get(key).map(|text| format!("{name:<22} {text}\n"))
        };
        let several: Vec<String> = all.iter().filter_map(named).collect();
        // First order is also one of the predictors, and its line is printed only once.
        text.extend(if several.is_empty() { first.iter().filter_map(named).collect() } else { several });
        if let Some((zeros, all)) = zeros(result, *kind) {
            let name = format!("{kind}, not counted");
            text.push_str(&format!(
                "{name:<22} {zeros} of {all} patches, exactly zero: equal values in both prompts, or no path to J\n"
            ));
        }
        if let Some(cost) = result.metadata.get(&format!("sweep_cost.{kind}")) {
            let name = format!("{kind}, all patches run");
            text.push_str(&format!("{name:<22} cost {cost} forward passes\n"));
        }
    }
    text
}

/// Returns how many patches of a kind are exactly zero, in effect and to first order, and how many there are.
/// `None` if no patch is zero.
fn zeros(result: &Labelled, kind: SiteKind) -> Option<(usize, usize)> {
    let [effect, first_order] = kind.arrays().map(|name| result.array(name).map(|a| &a.data));
    let (effect, first_order) = (effect?, first_order?);
    let zeros = effect.iter().zip(first_order).filter(|(e, f)| **e == 0.0 && **f == 0.0).count();
    (zeros > 0).then_some((zeros, effect.len()))
}
