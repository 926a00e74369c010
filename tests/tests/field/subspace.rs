//! Subspace patches: effects of their parts, and the kernels of readers, against the reference.

use resolvent_field::{Case, Labelled, Subspace, SubspaceOptions, subspace};
use resolvent_model::{Edit, Model, Observable, ReaderSet, Run, RunOptions, Site, Source, gaussian};
use resolvent_tests::truth::inner;
use resolvent_tests::{Golden, Subject, Twin, observed, subjects, tangents};

use super::{array, close, truth};

const CLEAN: [u32; 5] = [3, 14, 15, 9, 2];
const CORRUPTED: [u32; 5] = [3, 8, 15, 4, 2];
const TOKEN: usize = 3;

fn j() -> Observable {
    Observable::logit_diff(4, 20, 4) - Observable::log_prob(7, 3)
}

fn both(model: &Model, site: Site, prompts: [&[u32]; 2]) -> [Run; 2] {
    let runs = model.run_all(&prompts, &RunOptions { sites: vec![site], ..RunOptions::default() }).expect("runs");
    [0, 1].map(|i| runs[i].clone())
}

fn found(on: &Subject, twin: &Twin, site: Site, of: &Subspace, readers: ReaderSet) -> Labelled {
    let [clean, corrupted] = both(&twin.on(on), site, [&CLEAN, &CORRUPTED]);
    let j = j();
    let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
    let options = SubspaceOptions { readers, random: 3, seed: 4 };
    subspace(&case, (site, TOKEN), of, options).unwrap_or_else(|e| panic!("{} {site} {of}: {e}", on.name()))
}

/// Returns clean minus corrupted at the token in the reference.
fn moved(twin: &Twin, site: Site) -> Vec<f64> {
    let row = |tokens: &[u32]| {
        let all = twin.capture(&twin.primal(tokens, &[]), site);
        let width = all.len() / tokens.len();
        all[TOKEN * width..(TOKEN + 1) * width].to_vec()
    };
    row(&CLEAN).iter().zip(row(&CORRUPTED)).map(|(a, b)| a - b).collect()
}

/// Returns the derivatives of what `to` has at the token by every element of `from`, in the reference: rows by outputs.
fn readers(twin: &Twin, from: Site, to: Site) -> Vec<Vec<f64>> {
    let width = moved(twin, from).len();
    let column = |i: usize| {
        let vector = (0..width).map(|k| f32::from(u8::from(k == i))).collect();
        let trace = twin.tangent(&CORRUPTED, &[], &[Source { site: from, token: TOKEN, vector }]);
        let all = tangents(&twin.capture_of(&trace, to));
        let n = all.len() / CORRUPTED.len();
        all[TOKEN * n..(TOKEN + 1) * n].to_vec()
    };
    let columns: Vec<Vec<f64>> = (0..width).map(column).collect();
    (0..columns[0].len()).map(|row| columns.iter().map(|column| column[row]).collect()).collect()
}

/// Returns orthonormal vectors with the span of these, by Gram and Schmidt.
fn basis(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for row in rows {
        let mut rest = row.clone();
        for _ in 0..2 {
            rest = without(&rest, &basis);
        }
        let size = inner(&rest, &rest).sqrt();
        if size > 1e-9 * inner(row, row).sqrt() {
            basis.push(rest.iter().map(|x| x / size).collect());
        }
    }
    basis
}

/// Returns what remains of a vector without its part along orthonormal ones.
fn without(x: &[f64], basis: &[Vec<f64>]) -> Vec<f64> {
    let mut rest = x.to_vec();
    for b in basis {
        let along = inner(b, x);
        rest.iter_mut().zip(b).for_each(|(x, b)| *x -= along * b);
    }
    rest
}

fn unit(x: &[f64]) -> Vec<f64> {
    let size = inner(x, x).sqrt();
    x.iter().map(|x| x / size).collect()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Returns the effect of adding a vector at the token in the reference.
fn effect(twin: &Twin, site: Site, by: &[f64]) -> f64 {
    let edit = Edit::add(site, TOKEN, by.iter().map(|&x| x as f32).collect());
    truth(twin, &CORRUPTED, &[edit], &j()) - truth(twin, &CORRUPTED, &[], &j())
}

/// Neurons are read by the output matrix of their MLP, which has fewer outputs than there are neurons.
#[test]
fn parts_of_a_patch_of_neurons_match_the_reference() {
    let (twin, site) = (Twin::small(), Site::MlpPost(0));
    let rows = readers(&twin, site, Site::MlpOut(0));
    let (seen, whole) = (basis(&rows), moved(&twin, site));
    assert_eq!((seen.len(), whole.len()), (18, 29));
    let u: Vec<f64> = gaussian(9, 29).iter().map(|&x| f64::from(x)).collect();
    let u = unit(&u);
    let kernel = without(&u, &seen);
    let row = minus(&u, &kernel);
    let onto = |v: &[f64]| -> Vec<f64> {
        let v = unit(v);
        v.iter().map(|x| x * inner(&v, &whole)).collect()
    };
    let patched = onto(&u);
    let patched_kernel = without(&patched, &seen);
    let want = [
        ("whole_effect", effect(&twin, site, &whole)),
        ("effect", effect(&twin, site, &patched)),
        ("row_effect", effect(&twin, site, &onto(&row))),
        ("kernel_effect", 0.0),
        ("moved_row_effect", effect(&twin, site, &minus(&patched, &patched_kernel))),
        ("moved_kernel_effect", 0.0),
        ("kernel", inner(&kernel, &kernel).sqrt()),
        ("by_kernel", inner(&kernel, &whole) / inner(&u, &whole)),
        ("moved_kernel", inner(&kernel, &kernel).sqrt()),
        ("whole_kernel", inner(&without(&whole, &seen), &whole).sqrt() / inner(&whole, &whole).sqrt()),
        ("rank", 18.0),
    ];
    let given = Subspace::Vectors(vec![u.iter().map(|&x| x as f32).collect()]);
    for on in subjects() {
        let got = found(on, &twin, site, &given, ReaderSet::Next);
        for (name, want) in want {
            let got = array(&got, name)[0];
            assert!((got - want).abs() < 5e-5 * want.abs().max(1.0), "{} {name}: {got} {want}", on.name());
        }
        let random = [4, 5, 6].map(|seed| {
            let v: Vec<f64> = unit(&gaussian(seed, 29).iter().map(|&x| f64::from(x)).collect::<Vec<f64>>());
            let v: Vec<f64> = v.iter().map(|x| x * inner(&patched, &patched).sqrt()).collect();
            effect(&twin, site, &v).powi(2) / 3.0
        });
        close(&array(&got, "random"), &[random.iter().sum::<f64>().sqrt()], 5e-5, on.name());
        assert!(got.certificates.iter().any(|c| c.name == "derivative_read"));
    }
}

/// The illusion: a direction whose kernel part alone differs between the prompts, and whose row space part alone is
/// read, has an effect that neither part has. A direction in the row space has no such part.
#[test]
fn a_dormant_path_has_an_effect_that_no_part_of_it_has() {
    let (twin, site) = (Twin::small(), Site::MlpPost(0));
    let rows = readers(&twin, site, Site::MlpOut(0));
    let (seen, whole) = (basis(&rows), moved(&twin, site));
    let differs = unit(&without(&whole, &seen));
    // A direction that is read, along which the prompts do not differ.
    let row_part = unit(&minus(&whole, &without(&whole, &seen)));
    let read = unit(&without(&rows[0], &[row_part]));
    let dormant: Vec<f32> = differs.iter().zip(&read).map(|(a, b)| (a + b) as f32).collect();
    for on in subjects() {
        let of = |u: &[f32]| found(on, &twin, site, &Subspace::Vectors(vec![u.to_vec()]), ReaderSet::Next);
        let got = of(&dormant);
        let at = |name: &str| array(&got, name)[0];
        assert!(at("effect").abs() > 0.02, "{}: {}", on.name(), at("effect"));
        assert!(at("row_effect").abs() < 1e-4 && at("kernel_effect").abs() < 1e-5, "{}", on.name());
        close(&[at("kernel"), at("by_kernel")], &[0.5f64.sqrt(), 1.0], 1e-4, on.name());
        let plain = of(&rows[0].iter().map(|&x| x as f32).collect::<Vec<f32>>());
        assert!(array(&plain, "kernel")[0] < 1e-5);
        close(&array(&plain, "effect"), &array(&plain, "row_effect"), 1e-5, on.name());
    }
}

/// Of all directions, `best` has the largest effect to first order; it is half-way between displacement and derivative.
#[test]
fn the_best_direction_is_the_best() {
    let (twin, site) = (Twin::small(), Site::ResidPre(1));
    let whole = moved(&twin, site);
    let g: Vec<f64> = (0..18)
        .map(|i| {
            let vector = (0..18).map(|k| f32::from(u8::from(k == i))).collect();
            observed::read(&j(), &twin.tangent(&CORRUPTED, &[], &[Source { site, token: TOKEN, vector }])).tangent
        })
        .collect();
    let size = |x: &[f64]| inner(x, x).sqrt();
    let want = (size(&g) * size(&whole) + inner(&g, &whole)) / 2.0;
    for on in subjects() {
        let first = |of| array(&found(on, &twin, site, &of, ReaderSet::All), "first_order")[0];
        close(&[first(Subspace::Best)], &[want], 5e-5, on.name());
        for other in [Subspace::Displacement, Subspace::Sensitivity, Subspace::Random(1), Subspace::Random(2)] {
            assert!(first(other.clone()) < want * 0.999, "{other}");
        }
    }
}

/// A layer norm hides the mean of the stream and nothing else, from the readers of the next block as from all. Before
/// the last norm, the unembedding reads.
#[test]
fn layer_norms_hide_the_mean() {
    let twin = Twin::small();
    let ones = Subspace::Vectors(vec![vec![1.0; 18], gaussian(2, 18)]);
    for on in subjects() {
        for site in [Site::ResidPre(0), Site::ResidMid(1), Site::AttnOut(0), Site::MlpOut(0), Site::ResidPost(1)] {
            for set in [ReaderSet::Next, ReaderSet::All] {
                let got = found(on, &twin, site, &ones, set);
                let kernel = array(&got, "kernel");
                assert_eq!(array(&got, "rank"), [17.0], "{site}");
                assert!((kernel[0] - 1.0).abs() < 1e-5 && kernel[1] < 1e-4, "{site}: {kernel:?}");
            }
        }
    }
}

/// Gates, root mean square norms, shared keys, norms after the projections and parallel blocks: what uses heads and
/// neurons reads their derivatives, and the stream has no kernel.
#[test]
fn readers_of_the_families() {
    for golden in Golden::forms() {
        let j = golden.observable();
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let layer_norm = model.architecture().subtracts_means();
            for site in [Site::MlpPost(0), Site::Z(0, 1), Site::ResidPre(1), Site::MlpOut(0), Site::AttnOut(0)] {
                let [clean, corrupted] = both(&model, site, [&golden.tokens, &golden.corrupted]);
                let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
                let at = (site, golden.tokens.len() - 1);
                let name = format!("{} {} {site}", golden.name, on.name());
                let got = subspace(&case, at, &Subspace::Random(1), SubspaceOptions::default());
                let got = got.unwrap_or_else(|e| panic!("{name}: {e}"));
                let width = site.width(model.sizes()) as f64;
                let rank = array(&got, "rank")[0];
                match site {
                    Site::MlpPost(_) => assert!(rank <= model.sizes().d as f64, "{name}"),
                    Site::Z(..) => assert_eq!(rank, width.min(model.sizes().d as f64), "{name}"),
                    _ => assert_eq!(rank, width - f64::from(u8::from(layer_norm)), "{name}"),
                }
            }
        }
    }
}

#[test]
fn subspaces_that_do_not_fit_are_refused() {
    let twin = Twin::small();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let refused = |site: Site, token, of: &Subspace| {
        let [clean, corrupted] = both(&model, site, [&CLEAN, &CORRUPTED]);
        let j = j();
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        subspace(&case, (site, token), of, SubspaceOptions::default()).expect_err("does not fit").to_string()
    };
    let vectors = |v: &[f32]| Subspace::Vectors(vec![v.to_vec()]);
    assert!(refused(Site::Q(0, 0), 1, &Subspace::Best).contains("nothing reads it linearly"));
    assert!(refused(Site::ResidPre(1), 7, &Subspace::Best).contains("tokens 0 to 4"));
    // The first token is the same in both prompts.
    assert!(refused(Site::ResidPre(1), 0, &Subspace::Displacement).contains("directions are zero"));
    assert!(refused(Site::ResidPre(1), 1, &vectors(&[1.0; 5])).contains("has 5 elements; the site has width 18"));
    assert!(refused(Site::ResidPre(1), 1, &vectors(&[f32::NAN; 18])).contains("not finite"));
    assert!(Subspace::parse("random:x").is_err());
    assert_eq!(Subspace::parse("random:7").expect("a seed"), Subspace::Random(7));
}
