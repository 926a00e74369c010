//! Edits of attention scores and patterns, against the reference: GPT-2 and every other family.

use std::collections::HashMap;
use std::ops::Range;

use resolvent_model::{
    Change, Edit, EditedPrompt, Mode, Model, Observable, Run, RunOptions, Sampling, Site, Sizes, Source,
};
use resolvent_reference::ops::{self, Frozen};
use resolvent_reference::{Dual, FamilyModel, Scalar, Site as Stage, Trace};
use resolvent_tests::truth::{constants, inner, wide};
use resolvent_tests::{
    Golden, Labelled, Random, Subject, Twin, Worst, keys_of, norm_of, subjects, tangents, tolerance,
};
use safetensors::SafeTensors;

/// A model of any family in the engine, and its reference.
pub(super) enum Both {
    Gpt2(Box<Twin>),
    Family(&'static str, Box<FamilyModel>),
}

impl Both {
    /// Returns a GPT-2 and all other families, each with a prompt.
    pub(super) fn all() -> Vec<(Self, Vec<u32>)> {
        let small = (Self::Gpt2(Box::new(Twin::small())), vec![3, 14, 15, 9, 2, 6, 5]);
        std::iter::once(small).chain(Golden::forms().iter().map(Self::family)).collect()
    }

    pub(super) fn family(golden: &Golden) -> (Self, Vec<u32>) {
        let read = |name: &str| std::fs::read(Golden::directory(golden.name).join(name)).expect("a file");
        let (config, bytes) = (serde_json::from_slice(&read("config.json")).expect("JSON"), read("model.safetensors"));
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let floats = |data: &[u8]| wide(&bytemuck::pod_collect_to_vec::<u8, f32>(data));
        let of_floats = file.tensors().into_iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
        let weights: HashMap<String, Vec<f64>> = of_floats.map(|(name, view)| (name, floats(view.data()))).collect();
        (Self::Family(golden.name, Box::new(FamilyModel::new(&config, weights))), golden.tokens.clone())
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Gpt2(_) => "gpt2",
            Self::Family(name, _) => name,
        }
    }

    pub(super) fn on(&self, on: &Subject) -> Model {
        match self {
            Self::Gpt2(twin) => twin.on(on),
            Self::Family(name, _) => Model::open(on.device(), &Golden::directory(name)).expect("opens"),
        }
    }

    /// Returns whether the norms are layer norms.
    pub(super) fn subtracts_means(&self) -> bool {
        match self {
            Self::Gpt2(_) => true,
            Self::Family(_, model) => model.features.norm.centred,
        }
    }

    /// Runs the reference with a hook.
    pub(super) fn hooked(&self, tokens: &[u32], hook: &mut dyn FnMut(Stage, &mut [f64])) -> Trace<f64> {
        let ids: Vec<usize> = tokens.iter().map(|&id| id as usize).collect();
        match self {
            Self::Gpt2(twin) => twin.hooked(&ids, hook),
            Self::Family(_, model) => model.forward(&ids, hook),
        }
    }

    /// Freezes attention weights in the reference.
    fn frozen(mut self) -> Self {
        match &mut self {
            Self::Gpt2(_) => {}
            Self::Family(_, model) => model.features.frozen = Frozen { pattern: true, ..Frozen::default() },
        }
        match self {
            Self::Gpt2(twin) => Self::Gpt2(Box::new(twin.in_mode(Mode::FrozenAttention))),
            other => other,
        }
    }

    /// Runs the reference under edits, with a source. Families have them at scores, patterns, embeddings, h[0],
    /// outputs of heads and norms.
    pub(super) fn run<S: Scalar>(&self, tokens: &[u32], edits: &[Edit], source: Option<(&Source, S)>) -> Trace<S> {
        let (source, amplitude) = (source.map(|(source, _)| source.clone()), source.map(|(_, amplitude)| amplitude));
        match self {
            Self::Gpt2(twin) => {
                let sources: Vec<Source> = source.into_iter().collect();
                let all: Vec<(&[Source], S)> =
                    amplitude.map(|amplitude| (&sources[..], amplitude)).into_iter().collect();
                twin.run(tokens, edits, &all)
            }
            Self::Family(_, model) => {
                let ids: Vec<usize> = tokens.iter().map(|&id| id as usize).collect();
                model.forward(&ids, &mut |stage, x: &mut [S]| {
                    for edit in edits {
                        apply((Some(model), stage), x, edit);
                    }
                    if let (Some(source), Some(amplitude)) = (&source, amplitude) {
                        let (at, width, columns) = place(model, source.site);
                        if at == stage {
                            let s: Vec<S> = constants(&wide(&source.vector));
                            let s: Vec<S> = s.into_iter().map(|s| amplitude * s).collect();
                            ops::splice(x, width, source.token, columns, ops::Edit::Add(&s));
                        }
                    }
                })
            }
        }
    }
}

/// Returns the reference's name of a site in a family, the width of its rows, and the site's columns there.
fn place(model: &FamilyModel, site: Site) -> (Stage, usize, Range<usize>) {
    let d = model.features.width;
    match site {
        Site::Embed if model.has_positions() => (Stage::Embed, d, 0..d),
        Site::PosEmbed => (Stage::PosEmbed, d, 0..d),
        // Without learned positions both names are of one place: edits act in the given order, and then sources.
        Site::Embed | Site::ResidPre(0) => (Stage::ResidPre(0), d, 0..d),
        Site::Result(l, h) => (Stage::Result(l), model.features.heads * d, h * d..(h + 1) * d),
        Site::NormScale(norm) => (Stage::NormScale(norm_of(norm)), 1, 0..1),
        Site::Normalized(norm) => (Stage::Normalized(norm_of(norm)), d, 0..d),
        _ => panic!("{site} has no place here"),
    }
}

/// Applies an edit at the stage to which it belongs.
fn apply<S: Scalar>((family, stage): (Option<&FamilyModel>, Stage), x: &mut [S], Edit { site, token, change }: &Edit) {
    let (at, width, row, columns) = match site.key() {
        Some(key) => (keys_of(*site, *token), token + 1, 0, key..key + 1),
        None => {
            let (at, width, columns) = place(family.expect("an edit of a family"), *site);
            (at, width, *token, columns)
        }
    };
    if stage != at {
        return;
    }
    let s: Vec<S> = match change {
        Change::Add(s) | Change::Put(s) | Change::Project(s) => constants(&wide(s)),
        _ => Vec::new(),
    };
    let edit = match change {
        Change::Add(_) => ops::Edit::Add(&s),
        Change::Put(_) => ops::Edit::Put(&s),
        Change::Project(_) => ops::Edit::ProjectOut(&s),
        Change::Scale(amount) => ops::Edit::Scale(S::from_f64(f64::from(*amount))),
        Change::Take(_) => panic!("the reference takes no rows of devices"),
    };
    ops::splice(x, width, row, columns, edit);
}

/// Draws an edit of a score or of a weight that a query in the model sees.
fn edit(sizes: &Sizes, windows: &[Option<usize>], tokens: usize, random: &mut Random) -> Edit {
    let (l, h, t) = (random.below(sizes.layers), random.below(sizes.heads), random.below(tokens));
    let seen = windows[l].unwrap_or(usize::MAX).min(t + 1);
    let key = t - random.below(seen);
    let site = if random.below(2) == 0 { Site::AttnScores(l, h, key) } else { Site::Pattern(l, h, key) };
    let hidden = matches!(site, Site::AttnScores(..)) && key < t;
    match random.below(5) {
        0 if hidden => Edit::put(site, t, vec![f32::NEG_INFINITY]),
        0 | 1 => Edit::ablate(site, t),
        2 => Edit::put(site, t, vec![random.normal()]),
        3 => Edit::scale(site, t, random.normal()),
        _ => Edit::add(site, t, vec![random.normal()]),
    }
}

fn lists(both: &Both, model: &Model, tokens: usize, each: &[usize]) -> Vec<Vec<Edit>> {
    let (mut random, sizes) = (Random::new(11), model.sizes());
    let windows = match both {
        Both::Gpt2(_) => vec![None; sizes.layers],
        Both::Family(_, model) => model.features.windows.clone(),
    };
    let mut of = |&n: &usize| (0..n).map(|_| edit(sizes, &windows, tokens, &mut random)).collect();
    each.iter().map(&mut of).collect()
}

#[test]
fn runs_under_edits_of_patterns_and_scores() {
    let mut worst = [Worst::new("patterns.field"), Worst::new("patterns.logits")];
    for (both, tokens) in Both::all() {
        for on in subjects() {
            let model = both.on(on);
            let plain = both.run::<f64>(&tokens, &[], None);
            for edits in lists(&both, &model, tokens.len(), &[1, 3, 25]) {
                let case = format!("{} {edits:?}", both.name());
                let trace = both.run::<f64>(&tokens, &edits, None);
                let run = model.run(&tokens, &edits).unwrap_or_else(|e| panic!("{case}: {e}"));
                let field = Labelled::reference(trace.field.clone());
                worst[0].check(&case, &on.label(&run.field().expect("is finite")), &field, tolerance::MODEL);
                let logits = Labelled::reference(trace.logits.clone());
                worst[1].check(&case, &on.label(&run.logits().expect("is finite")), &logits, tolerance::MODEL);
                let moved = trace.field.iter().zip(&plain.field).any(|(a, b)| (a - b).abs() > 1e-4);
                assert!(moved || edits.len() < 3, "{case}: the edits change nothing");
            }
        }
    }
}

#[test]
fn sweeps_over_edits_of_patterns_and_scores() {
    let mut worst = Worst::new("patterns.values_under");
    for (both, tokens) in Both::all() {
        let j = Observable::logit_diff(1, 4, tokens.len() - 1);
        let value = |trace: &Trace<f64>| {
            let logits = trace.logits_at(tokens.len() - 1);
            logits[1] - logits[4]
        };
        for on in subjects() {
            let model = both.on(on);
            // The run's own edits act again in each edited run.
            let own = lists(&both, &model, tokens.len(), &[4]).remove(0);
            let further = lists(&both, &model, tokens.len(), &[1, 1, 1, 1, 2, 5, 9]);
            let base = model.run(&tokens, &own).expect("runs");
            let got = base.values_under(&further, &j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let all = |further: &Vec<Edit>| [own.clone(), further.clone()].concat();
            let want = further.iter().map(|further| value(&both.run(&tokens, &all(further), None)));
            worst.check(both.name(), &on.label(&got), &Labelled::reference(want.collect()), tolerance::MODEL);
        }
    }
}

/// First derivatives of edited runs: responses against duals, and the sensitivities along the source.
#[test]
fn derivatives_under_edits_of_patterns_and_scores() {
    let mut worst = ["jvp", "vjp"].map(|of| Worst::new(&format!("patterns.{of}")));
    for mode in [Mode::Exact, Mode::FrozenAttention] {
        for (both, tokens) in Both::all() {
            let both = if mode == Mode::Exact { both } else { both.frozen() };
            let j = Observable::logit_diff(1, 4, tokens.len() - 1);
            for on in subjects() {
                let model = both.on(on);
                let edits = lists(&both, &model, tokens.len(), &[14]).remove(0);
                let run = model.run(&tokens, &edits).expect("runs");
                let vector = Random::new(3).normals(model.sizes().d);
                // So late that it reaches the last token in spite of windows.
                let token = tokens.len() - 3;
                let source = Source { site: Site::ResidPre(0), token, vector };
                let trace = both.run(&tokens, &edits, Some((&source, Dual::new(0.0, 1.0))));
                let linear = run.linearize(mode);
                let response = linear.jvp(&[[source.clone()]]).expect("runs").into_single();
                let case = format!("{} {mode:?}", both.name());
                let want = Labelled::reference(tangents(&trace.field));
                worst[0].check(&case, &on.label(&response), &want, tolerance::DERIVATIVES);
                let chi = linear.gradient(&j).expect("runs");
                let d = model.sizes().d;
                let (chi, s) = (wide(&chi[token * d..][..d]), wide(&source.vector));
                let logits = trace.logits_at(tokens.len() - 1);
                let (got, want) = (inner(&chi, &s), logits[1].tangent - logits[4].tangent);
                let size = tolerance::typical(&chi, &s).max(want.abs());
                worst[1].within(&case, on.name(), (got - want).abs() / size, 10.0 * tolerance::DERIVATIVES);
            }
        }
    }
}

#[test]
fn what_is_read_is_what_the_edits_left() {
    let mut worst = Worst::new("patterns.read");
    for (both, tokens) in Both::all() {
        for on in subjects().into_iter().take(1) {
            let model = both.on(on);
            let edits = lists(&both, &model, tokens.len(), &[20]).remove(0);
            let run = model.run(&tokens, &edits).expect("runs");
            let (sizes, n) = (*model.sizes(), tokens.len());
            for l in 0..sizes.layers {
                let (pattern, scores) = (run.pattern(l).expect("finite"), run.attention_scores(l).expect("finite"));
                let mut want = [vec![0.0; pattern.len()], vec![f64::NEG_INFINITY; pattern.len()]];
                let mut hook = |stage: Stage, x: &mut [f64]| {
                    edits.iter().for_each(|edit| apply((None, stage), x, edit));
                    let (of, h, t) = match stage {
                        Stage::Pattern(block, h, t) if block == l => (0, h, t),
                        Stage::Scores(block, h, t) if block == l => (1, h, t),
                        _ => return,
                    };
                    want[of][(h * n + t) * n..][..x.len()].copy_from_slice(x);
                };
                drop(both.hooked(&tokens, &mut hook));
                let [weights, of_scores] = want;
                worst.check(both.name(), &on.label(&pattern), &Labelled::reference(weights), tolerance::MODEL);
                for (a, b) in scores.iter().zip(of_scores) {
                    let near = (f64::from(*a) - b).abs() < 1e-4 * b.abs().max(1.0);
                    assert!(near || (*a == f32::NEG_INFINITY && b == f64::NEG_INFINITY), "{}: {a} {b}", both.name());
                }
            }
        }
    }
}

/// A hidden key leaves its weight to the others; a weight of zero does not.
#[test]
fn hiding_renormalises_and_zeroing_does_not() {
    for on in subjects() {
        let model = Twin::small().on(on);
        let tokens = [3, 14, 15, 9];
        let hidden = Edit::put(Site::AttnScores(0, 1, 0), 3, vec![f32::NEG_INFINITY]);
        let row =
            |edits: &[Edit]| model.run(&tokens, edits).expect("runs").pattern(0).expect("finite")[28..32].to_vec();
        let (plain, hidden, zeroed) = (row(&[]), row(&[hidden]), row(&[Edit::ablate(Site::Pattern(0, 1, 0), 3)]));
        let sum = |row: &[f32]| row.iter().sum::<f32>();
        assert!((sum(&plain) - 1.0).abs() < 1e-5 && (sum(&hidden) - 1.0).abs() < 1e-5, "{hidden:?}");
        assert!(hidden[0] == 0.0 && zeroed[0] == 0.0 && (sum(&zeroed) - (1.0 - plain[0])).abs() < 1e-5, "{zeroed:?}");
    }
}

#[test]
fn prompts_of_one_batch_and_new_tokens_have_their_edits() {
    for on in subjects() {
        let model = Twin::small().on(on);
        let [a, b]: [&[u32]; 2] = [&[3, 14, 15, 9, 2], &[7, 8, 1]];
        let of_a = [Edit::ablate(Site::Pattern(1, 2, 0), 4), Edit::add(Site::AttnScores(0, 0, 1), 2, vec![2.0])];
        let of_b = [Edit::put(Site::AttnScores(0, 0, 1), 2, vec![f32::NEG_INFINITY])];
        let prompts = [EditedPrompt { tokens: a, edits: &of_a }, EditedPrompt { tokens: b, edits: &of_b }];
        let batch = model.run_edited(&prompts, &[]).expect("runs");
        for (run, EditedPrompt { tokens, edits }) in batch.iter().zip(prompts) {
            let alone: Run =
                model.run_with(tokens, &RunOptions { edits: edits.to_vec(), sites: vec![] }).expect("runs");
            let (got, want) = (run.logits().expect("finite"), alone.logits().expect("finite"));
            assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4), "{}", on.name());
        }
        let new = model.generate(a, &of_a, (4, &[]), &Sampling::default()).expect("tokens");
        let mut tokens = a.to_vec();
        for token in new {
            let logits = model.run(&tokens, &of_a).expect("runs").logits_at(tokens.len() - 1).expect("finite");
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("a vocabulary");
            assert_eq!(token as usize, best, "{}", on.name());
            tokens.push(token);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let host = subjects()[0];
    let model = Twin::small().on(host);
    let error = |edit: Edit| model.run(&[3, 14, 15], &[edit]).err().expect("refused").to_string();
    let score = |key| Site::AttnScores(0, 1, key);
    assert!(error(Edit::ablate(score(2), 1)).contains("give a key from 0 to 1"));
    assert!(error(Edit::ablate(Site::Pattern(0, 9, 0), 1)).contains("heads 0 to 2"));
    assert!(error(Edit::put(Site::Pattern(0, 1, 0), 1, vec![f32::NEG_INFINITY])).contains("give a finite vector"));
    assert!(error(Edit::put(score(0), 1, vec![f32::INFINITY])).contains("give a finite vector"));
    assert!(error(Edit::put(score(0), 1, vec![0.0; 2])).contains("is 1 wide"));
    assert!(error(Edit::put(score(0), 0, vec![f32::NEG_INFINITY])).contains("hide every key that head 1 sees"));
    let run = model.run(&[3, 14, 15], &[]).expect("runs");
    let row = run.row_on_device(Site::Z(0, 0), 1).expect("a row");
    assert!(error(Edit::take(score(0), 1, row)).contains("put the value instead"));
    let read = run.capture(Site::Pattern(0, 1, 0)).expect_err("refused").to_string();
    assert!(read.contains("takes edits only"), "{read}");
    let edited = model.run(&[3, 14, 15], &[Edit::ablate(score(0), 1)]).expect("runs");
    let along = Source { site: Site::ResidPre(0), token: 0, vector: vec![1.0; model.sizes().d] };
    let second = edited.linearize(Mode::Exact).along(&[[along]], &Observable::logit_diff(1, 2, 2));
    let second = second.expect_err("refused").to_string();
    assert!(second.contains("edits of attention have no second derivatives"), "{second}");

    let windowed = Model::open(host.device(), &Golden::directory("families/mistral")).expect("opens");
    let far = windowed.run(&[1; 9], &[Edit::ablate(score(0), 8)]).err().expect("refused").to_string();
    assert!(far.contains("give one from 4 to 8"), "{far}");
}
