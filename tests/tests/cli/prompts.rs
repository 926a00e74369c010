//! `--prompts` of the analyses: rows of a file, rows that are left out, and results with an axis of prompts.

use std::path::Path;

use resolvent_field::Labelled;
use resolvent_model::gaussian;
use tempfile::TempDir;

use super::{on_host, run, tiny, utf8};

/// Width of the stream of the model of these tests.
const WIDTH: usize = 30;

/// Eight pairs of two lengths with a role, and two rows that do not fit.
fn file(folder: &TempDir) -> String {
    let mut text = "clean_tokens,corrupted_tokens,target,against,role.changed\n".to_owned();
    for i in 0..8 {
        let (clean, corrupted) = (format!("{i},3,4,1,5"), format!("{i},3,9,1,5"));
        let cut = if i % 2 == 0 { 5 } else { 4 };
        let row = |text: &str| text.split(',').take(cut).collect::<Vec<_>>().join(",");
        text += &format!("\"{}\",\"{}\",#3,#11,2\n", row(&clean), row(&corrupted));
    }
    text += "\"1,2,3\",\"1,2\",#3,#11,1\n\"1,x\",\"1,2\",#3,#11,1\n";
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, text).expect("writes");
    utf8(&path)
}

fn analysed(command: &str, folder: &TempDir) -> (String, String, Labelled) {
    let (rows, out) = (file(folder), folder.path().join("out.safetensors"));
    let arguments: Vec<&str> = command.split(' ').collect();
    let ran = on_host(&[&arguments[..], &["--prompts", &rows, "--model", tiny(), "--out", &utf8(&out)]].concat());
    let stderr = ran.stderr.clone();
    (ran.done(), stderr, Labelled::read(Path::new(&out)).expect("a result"))
}

/// Each analysis takes prompts: its arrays have an axis for them, and two rows are named and left out.
#[test]
fn every_analysis_takes_many_prompts() {
    for (command, array, axes) in [
        ("run", "field", "prompt,level,token,d"),
        ("sensitivity", "norm", "prompt,level,token"),
        ("patch", "effect", "prompt,level,token"),
        ("patch --sites z --predictors relp,curvature", "predicted.z", "prompt,predictor,block,head,token"),
        ("transfer --controls 1", "fraction", "prompt,level,token"),
        ("edges --by-token --exact", "exact_by_token", "prompt,edge,token"),
        ("edges --by-token --exact --random 1", "random_exact_by_token", "prompt,edge,token"),
        ("edges --into=-1,-2", "exact", "prompt,writer"),
        ("edges --from input,m0 --to a1.h0,logits", "together", "prompt,value"),
        ("regime --sites=0,-1 --direction random", "radius", "prompt,site"),
        ("quadratic --at 0,-1 -k 2", "curvature", "prompt,direction"),
        ("green --source 0,1", "norm", "prompt,level,token"),
        ("invert --goal 0.1 --from=-1,-1", "achieved", "prompt,goal"),
        ("growth --at -1,0", "gain", "prompt,block,token"),
        ("subspace --site blocks.1.hook_resid_pre --controls 2", "kernel", "prompt,direction"),
        ("patch --interactions 3", "interaction_size", "prompt,value"),
        ("patch --interactions-at 0,changed 1,-1 --joint add", "interaction_actual", "prompt,source,with"),
        ("patch --sites z --interactions-at 0,1,changed 1,0,-1", "interaction", "prompt,source,with"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (stdout, stderr, result) = analysed(command, &folder);
        assert!(stdout.starts_with("8 prompts, 2 left out; tokens from the end"), "{command}: {stdout}");
        assert!(stdout.contains("checks: "), "{command}: {stdout}");
        assert!(stderr.contains("line 10 is left out: ") && stderr.contains("line 11 is left out: "), "{stderr}");
        let found = result.array(array).unwrap_or_else(|| panic!("{command}: no `{array}`"));
        assert_eq!(found.axes.iter().map(|a| a.0).collect::<Vec<_>>().join(","), axes, "{command}");
        assert_eq!(found.axes[0].1, 8, "{command}");
        assert_eq!(result.array("lengths").expect("lengths").data[..2], [5.0, 4.0], "{command}");
        assert_eq!(result.metadata["rows_left_out"], "2", "{command}");
    }
}

/// Interactions at places and roles have the means of the single prompts, and rows without the role are left out.
#[test]
fn interactions_are_between_places_of_all_prompts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (stdout, _, result) = analysed("patch --interactions-at 0,changed 1,changed 2,-1", &folder);
    let map = stdout.split("mean interactions of patches, both put in").nth(1).expect("a map");
    for name in
        ["0,changed", "1,changed", "2,-1", "sizes, over those of both effects", "share that do more than in sum"]
    {
        assert!(map.lines().any(|line| line.starts_with(name)), "{name}: {map}");
    }
    assert_eq!(result.texts("interaction_places"), ["0,changed", "1,changed", "2,-1"]);
    let of = |name: &str| result.array(name).expect("an array");
    let (all, mean) = (of("interaction_actual"), of("interaction_actual.mean"));
    assert_eq!((&all.axes[..], &mean.axes[..]), (&[("prompt", 8), ("source", 3), ("with", 3)][..], &all.axes[1..]));
    let of_pair = all.data.iter().skip(1).step_by(9).map(|x| f64::from(*x)).sum::<f64>() / 8.0;
    assert!((of_pair - f64::from(mean.data[1])).abs() <= 1e-6 * of_pair.abs(), "{of_pair} {}", mean.data[1]);
    let sites = result.texts("interaction_sites");
    assert!(sites[0].ends_with("blocks.1.hook_resid_post@4") && sites[1].ends_with("blocks.1.hook_resid_post@3"));
    // A single prompt has no roles; places of another kind have other parts.
    let single = |places: &[&str]| {
        let pair = ["patch", "--tokens", "3,1,4", "--corrupted-tokens", "3,9,4", "--target", "#3", "--model", tiny()];
        on_host(&[&pair[..], &["--interactions-at"], places].concat()).failed()
    };
    assert!(single(&["0,changed", "1,1"]).contains("no token has the role `changed`: the prompt names no roles"));
    assert!(single(&["0,1,1"]).contains("invalid place `0,1,1`: a patch of resid is at LEVEL,TOKEN"));
    assert!(single(&["0"]).contains("invalid place `0`: expected LEVEL,TOKEN"));
    let both = ["patch", "--interactions", "2", "--interactions-at", "0,1", "--prompts", "x.csv"];
    assert_eq!(on_host(&both).code, Some(2));
}

/// Features of a dictionary over prompts: the same ones for all of them, with their directions and a plot.
#[test]
fn features_of_many_prompts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [d, n] = [WIDTH, 20];
    let cfg =
        format!(r#"{{"architecture": "standard", "d_in": {d}, "d_sae": {n}, "hook_name": "blocks.1.hook_mlp_out"}}"#);
    std::fs::write(folder.path().join("cfg.json"), cfg).expect("writes");
    let weights = Labelled::default()
        .with("W_enc", &[("d", d), ("feature", n)], gaussian(1, d * n))
        .with("W_dec", &[("feature", n), ("d", d)], gaussian(2, d * n))
        .with("b_enc", &[("feature", n)], vec![0.1; n])
        .with("b_dec", &[("d", d)], vec![0.0; d]);
    weights.write(&folder.path().join("sae_weights.safetensors")).expect("writes");
    let [plot, directions] = ["plot.svg", "directions.safetensors"].map(|name| utf8(&folder.path().join(name)));
    let command = format!(
        "features --dictionary {} --exact --top 5 --plot {plot} --directions {directions}",
        utf8(folder.path())
    );
    let (stdout, stderr, result) = analysed(&command, &folder);
    assert!(stdout.starts_with("8 prompts, 2 left out; tokens from the end"), "{stdout}");
    assert!(stdout.contains("mean over prompts") && stdout.contains("checks: parts"), "{stdout}");
    assert!(stderr.contains("directions.safetensors") && stderr.contains("plot.svg"), "{stderr}");
    let features = result.array("features").expect("features");
    assert_eq!(features.axes, [("prompt", 8), ("feature", 5)]);
    assert!(features.data.chunks(5).all(|row| row == &features.data[..5]), "all prompts have the same features");
    assert_eq!(Labelled::read(Path::new(&directions)).expect("a basis").array("source").expect("it").axes[1].1, 5);
    assert!(std::fs::read_to_string(&plot).expect("a plot").contains("mean over 8 prompts, tokens from the end"));
}

#[test]
fn means_have_intervals_and_roles() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (stdout, _, result) = analysed("patch", &folder);
    assert!(stdout.contains("mean patch effect by role") && stdout.contains("changed"), "{stdout}");
    let of = |name: &str| &result.array(name).unwrap_or_else(|| panic!("no `{name}`")).data;
    let (mean, low, high) = (of("effect.role"), of("effect.role_low"), of("effect.role_high"));
    assert!(mean.iter().zip(low).zip(high).all(|((m, l), h)| l <= m && m <= h), "{low:?} {mean:?} {high:?}");
    // Only the four longer prompts have the fifth token from the end, too few for an interval.
    let (mean, low) = (of("effect.mean"), of("effect.low"));
    assert!(mean[0].is_finite() && low[0].is_nan() && low[1].is_finite());
    assert_eq!(of("counts")[..], [4.0, 8.0, 8.0, 8.0, 8.0]);
}

#[test]
fn strict_stops_at_the_first_row() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = file(&folder);
    let line = on_host(&["patch", "--prompts", &rows, "--strict", "--model", tiny()]).failed();
    assert!(line.contains("line 11: invalid token ids `1,x`") && line.contains("without --strict"), "{line}");
    let line = on_host(&["patch", "--prompts", "absent.csv", "--model", tiny()]).failed();
    assert!(line.contains("absent.csv"), "{line}");
    let line = on_host(&["sensitivity", "--prompts", &rows, "--rows", "0", "--model", tiny()]).failed();
    assert!(line.contains("--rows 0 leaves no prompt; give 1 or more"), "{line}");
    let none = utf8(&folder.path().join("none.csv"));
    std::fs::write(&none, "clean_tokens,target\n\"3,99\",#3\n").expect("writes");
    let ran = on_host(&["sensitivity", "--prompts", &none, "--model", tiny()]);
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(ran.code == Some(1) && last.contains("no prompt can be analysed; line 2: token 99"), "{}", ran.stderr);
    let line = on_host(&["sensitivity", "--prompts", &rows, "--task", "x", "--model", tiny()]).failed();
    assert!(line.contains("no task `x` among the prompts; there are prompts"), "{line}");
}

/// An observable of the command line takes the place of the rows' own.
#[test]
fn one_observable_for_all_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_, _, result) = analysed("sensitivity --observe entropy()@0", &folder);
    assert_eq!(result.metadata["observable"], "entropy()@0");
    let (_, _, result) = analysed("sensitivity --target #3|#4 --against #5", &folder);
    assert!(result.metadata["observable"].contains("0.5 * logit(#3)@4 + 0.5 * logit(#4)@4 - logit(#5)@4"));
}

/// What a row says takes no option beside it: an option that could not act is refused, not ignored.
#[test]
fn options_of_one_prompt_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = file(&folder);
    for options in [
        "patch --corrupted-tokens 1,2",
        "transfer --donor-tokens 1,2",
        "sensitivity --direction random",
        "run --tokens 1,2",
    ] {
        let arguments: Vec<&str> = options.split(' ').collect();
        let ran = on_host(&[&arguments[..], &["--prompts", &rows, "--model", tiny()]].concat());
        assert_eq!(ran.code, Some(2), "{options}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("cannot be used with"), "{options}: {}", ran.stderr);
    }
    // Between which places, and in which bases, must mean the same in every prompt.
    for (options, reason) in [
        ("--basis random", "needs --from LEVEL,TOKEN and --to LEVEL,TOKEN"),
        ("--basis random --from 0 --to 2,-1", "needs --from LEVEL,TOKEN and --to LEVEL,TOKEN"),
        ("--from 0,-1 --to 2,-1", "the vectors of the basis pca differ from prompt to prompt"),
        ("--basis random --from 0,-1 --to 2,-1 --donor-tokens 1,2", "leave --donor and --donor-tokens out"),
    ] {
        let arguments: Vec<&str> = options.split(' ').collect();
        let ran = on_host(&[&["slice", "--prompts", &rows, "--model", tiny()][..], &arguments].concat());
        // Rows that do not fit are named first.
        let line = ran.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(ran.code == Some(1) && line.contains(reason), "{options}: {}", ran.stderr);
    }
}

/// Slices of many prompts are those of each prompt alone, and their means; in shards too.
#[test]
fn slices_of_prompts_are_those_of_each_prompt() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let places = "--from 0,-2 1,-1 --to 2,-1 --rank 3";
    let (stdout, _, result) = analysed(&format!("slice --basis random:5 {places}"), &folder);
    let blocks = result.array("blocks").expect("blocks");
    assert_eq!(blocks.axes, [("prompt", 8), ("pair", 2), ("readout", 3), ("source", 3)]);
    let alone = |tokens: &str, more: &str| -> Labelled {
        let out = folder.path().join("alone.safetensors");
        let arguments: Vec<&str> = more.split(' ').chain(places.split(' ')).collect();
        let common = ["slice", "--tokens", tokens, "--model", tiny(), "--out", &utf8(&out)];
        on_host(&[&common[..], &arguments].concat()).done();
        Labelled::read(&out).expect("a result")
    };
    for (row, tokens) in [(0, "0,3,4,1,5"), (3, "3,3,4,1")] {
        let alone = alone(tokens, "--basis random:5");
        assert_eq!(blocks.data[row * 18..][..18], alone.array("blocks").expect("blocks").data[..], "{tokens}");
    }
    let mean = &result.array("blocks.mean").expect("means").data;
    let by_hand: f32 = (0..8).map(|row| blocks.data[row * 18]).sum::<f32>() / 8.0;
    assert!((mean[0] - by_hand).abs() < 1e-6 * by_hand.abs().max(1.0), "{} {by_hand}", mean[0]);
    assert!(stdout.contains("h[2,4] <- h[0,3]") && stdout.contains("largest singular value"), "{stdout}");
    // Shards have the bytes of the file that one process writes.
    let [shards, joined, one] =
        ["shards", "joined.safetensors", "out.safetensors"].map(|name| utf8(&folder.path().join(name)));
    let rows = file(&folder);
    let common = ["slice", "--basis", "random:5", "--prompts", &rows, "--model", tiny(), "--out-dir", &shards];
    let more = [&["--shard-size", "32"], &places.split(' ').collect::<Vec<_>>()[..]].concat();
    on_host(&[&common[..], &more].concat()).done();
    run(&["merge", &shards, "--out", &joined]).done();
    assert!(std::fs::read(joined).expect("a file") == std::fs::read(one).expect("a file"));
    // Places that coincide in some prompts give other numbers of pairs, of which there are no means.
    let (stdout, _, _) = analysed("slice --basis random:5 --from 0,3 0,-1 --to 2,-1 --rank 3", &folder);
    assert!(stdout.contains("no means: prompts of different lengths"), "{stdout}");
    // The corrupted prompt of a row is its donor, and the row's own J gives its sensitivity.
    let (_, _, moved) = analysed("slice --basis displacement --readout sensitivity --from 0,2 --to 1,2", &folder);
    assert_eq!(moved.array("blocks").expect("blocks").axes[1..], [("pair", 1), ("readout", 1), ("source", 1)]);
    let (stdout, _, whole) = analysed("slice --svd --from 0,-1 --to 2,-1 --rank 2", &folder);
    assert_eq!(whole.array("svd_values").expect("values").axes, [("prompt", 8), ("triplet", 2)]);
    assert!(stdout.contains("mean singular values of G"), "{stdout}");
}

/// Options of many prompts are refused beside a single one, instead of being ignored.
/// Edges of a place, and chosen ones, take no option of the analysis of all edges: none is silently ignored.
#[test]
fn parts_of_the_edges_refuse_options_of_the_whole() {
    let common = ["--tokens", "3,14,15", "--corrupted-tokens", "3,9,15", "--target", "#3", "--model", tiny()];
    for part in [&["--into", "1,1"][..], &["--from", "input"]] {
        on_host(&[&["edges"][..], &common, part].concat()).done();
        for more in [
            &["--random", "2"][..],
            &["--seed", "1"],
            &["--controls", "2"],
            &["--steps", "2"],
            &["--exact"],
            &["--by-token"],
            &["--predictors", "relp"],
        ] {
            let ran = on_host(&[&["edges"][..], &common, part, more].concat());
            let refused = ran.code == Some(2) && ran.stderr.contains("cannot be used with");
            assert!(refused && ran.stderr.contains(more[0]), "{part:?} {more:?}: {}", ran.stderr);
        }
    }
    let ran = on_host(&[&["edges", "--to", "logits"][..], &common].concat());
    assert!(ran.code == Some(2) && ran.stderr.contains("--from"), "{}", ran.stderr);
    let ran = on_host(&[&["circuit", "--threshold", "1", "--shares", "1"][..], &common].concat());
    assert!(ran.code == Some(2) && ran.stderr.contains("cannot be used with"), "{}", ran.stderr);
}

#[test]
fn options_of_many_prompts_need_them() {
    let one = ["sensitivity", "--tokens", "3,14,15", "--target", "#3", "--model", tiny()];
    for more in [
        &["--task", "x"][..],
        &["--rows", "3"],
        &["--strict"],
        &["--out-dir", "x"],
        &["--shard-size", "2"],
        &["--window", "9"],
    ] {
        let ran = on_host(&[&one[..], more].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains("cannot be used with"), "{more:?}: {}", ran.stderr);
    }
    for more in [&["--task", "x"][..], &["--rows", "3"]] {
        let ran = on_host(&[&["generate", "--tokens", "3", "--model", tiny()][..], more].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains("cannot be used with"), "{more:?}: {}", ran.stderr);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = utf8(&folder.path().join("one.csv"));
    std::fs::write(&file, "clean_tokens,target\n\"3,14,15\",#3\n").expect("writes");
    let printed = on_host(&["sensitivity", "--prompts", &file, "--model", tiny()]).done();
    assert!(printed.starts_with("1 prompt, 0 left out; tokens from the end"), "{printed}");
}

/// An option that needs another one is refused beside what excludes that one: it would be passed over.
#[test]
fn options_of_another_way_are_refused() {
    let pair = ["--tokens", "3,14,15", "--corrupted-tokens", "3,4,15", "--target", "#3", "--model", tiny()];
    let one = ["--tokens", "3,14,15", "--target", "#3", "--model", tiny()];
    let place = ["--tokens", "3,14,15", "--from", "0,1", "--to", "1,2", "--model", tiny()];
    let file = ["--tokens", "3,14,15", "--response", "x.safetensors", "--model", tiny()];
    let hidden = ["--tokens", "3,14,15", "--hide", "1,1", "--model", tiny()];
    let cases: [(&str, &[&str], &[&str]); 13] = [
        ("edges", &pair, &["--controls", "2"]),
        ("attribute", &one, &["--controls", "2"]),
        ("features", &one, &["--dictionary", "x", "--controls", "2"]),
        ("locate", &file, &["--amplitude", "2"]),
        ("locate", &file, &["--direction", "random"]),
        ("locate", &file, &["--finite"]),
        ("locate", &hidden, &["--minus", "x.safetensors"]),
        ("slice", &place, &["--basis", "random", "--oversampling", "3"]),
        ("slice", &place, &["--basis", "random", "--power", "3"]),
        ("slice", &place, &["--basis", "random", "--tolerance", "0.1"]),
        ("slice", &place, &["--basis", "random", "--seed", "3"]),
        ("slice", &place, &["--basis", "random", "--nodes", "2", "--seed", "3"]),
        ("slice", &place, &["--svd", "--amplitude", "0.2"]),
    ];
    for (command, own, more) in cases {
        let ran = on_host(&[&[command][..], own, more].concat());
        let refused = ran.code == Some(2) && ran.stderr.contains("cannot be used with");
        assert!(refused, "{command} {more:?}: {}", ran.stderr);
    }
}
