//! The parts of a result that commands show on the terminal and in plots: heads, costs, scales, and zeros by
//! construction.

use std::fs;
use std::time::{Duration, Instant};

use roxmltree::Document;

use super::{command, on_host, tiny, utf8};

const PATCH: [&str; 9] =
    ["patch", "--target", "#3", "--tokens", "1,2,3,4,5", "--corrupted-tokens", "1,2,9,4,5", "--model", ""];

fn patch(more: &[&str]) -> String {
    let mut arguments = PATCH.to_vec();
    *arguments.last_mut().expect("there are some") = tiny();
    on_host(&[&arguments[..], more].concat()).done()
}

/// Returns the texts of the elements of a class.
fn texts(svg: &Document<'_>, class: &str) -> Vec<String> {
    let of = svg.descendants().filter(|n| n.attribute("class") == Some(class));
    of.filter_map(|n| n.children().filter_map(|c| c.text()).next_back().map(str::to_owned)).collect()
}

/// For heads, the terminal and the plot show maps and a table of the strongest patches.
#[test]
fn heads_are_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("heads.svg");
    let shown = patch(&["--sites", "z,q,k,v", "--plot", &utf8(&path)]);
    for kind in ["z", "q", "k", "v"] {
        for title in ["first-order prediction", "strongest patches"] {
            assert!(shown.contains(&format!("{title}, {kind}\n")), "{title} of {kind}: {shown}");
        }
        assert!(shown.contains(&format!("{kind}, all patches run")), "{shown}");
    }
    assert!(shown.contains("L1H0 ") && shown.contains("block  head  token"), "{shown}");
    let svg = fs::read_to_string(&path).expect("a file");
    let svg = Document::parse(&svg).expect("is XML");
    let titles = texts(&svg, "title");
    for title in ["Patch effect, q", "First-order prediction, v", "Strongest patches, z"] {
        assert!(titles.iter().any(|t| t == title), "{title}: {titles:?}");
    }
}

/// The costs of predictors are shown with the cost of the patches themselves, which is counted in the same way.
#[test]
fn a_sweep_has_a_cost() {
    let shown = patch(&["--predictors", "curvature"]);
    let cost = |name: &str| -> f64 {
        let line = shown.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
        let after = line.split("cost ").nth(1).and_then(|rest| rest.split(' ').next());
        after.and_then(|cost| cost.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    let (sweep, first, curvature) =
        (cost("resid, all patches run"), cost("resid.first_order"), cost("resid.curvature"));
    assert!(sweep > first && sweep < curvature, "{sweep} {first} {curvature}");
}

/// Sites at which relp is zero by construction are named in the text and in the plot. No statistic counts these zeros.
#[test]
fn zeros_by_construction_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("relp.svg");
    let shown = patch(&["--sites", "q,z", "--predictors", "relp", "--plot", &utf8(&path)]);
    let line = |name: &str| {
        let line = shown.lines().find(|l| l.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {shown}")).to_owned()
    };
    assert!(line("q.relp").contains("zero by construction: relp takes attention patterns as constants"), "{shown}");
    assert!(!line("q.relp").contains("same sign"), "{shown}");
    assert!(line("z.relp").contains("same sign"), "{shown}");
    let svg = fs::read_to_string(&path).expect("a file");
    let svg = Document::parse(&svg).expect("is XML");
    let notes = texts(&svg, "note").join(" ");
    assert!(notes.contains("relp is zero at q by construction, and not counted"), "{notes}");
}

/// The text and the plot count the same pairs. Neither counts places at which no patch can change J.
#[test]
fn text_and_plot_count_the_same_pairs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("counted.svg");
    let shown = patch(&["--plot", &utf8(&path)]);
    let line = shown.lines().find(|l| l.contains(" n ")).unwrap_or_else(|| panic!("{shown}"));
    let count = line.split(" n ").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    let count: usize = count.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    let svg = fs::read_to_string(&path).expect("a file");
    let svg = Document::parse(&svg).expect("is XML");
    let of = |class: &str| svg.descendants().filter(|n| n.attribute("class") == Some(class)).count();
    assert_eq!(of("point") + of("outside"), count, "{line}");
    assert!(count > 0 && count < 15, "15 places, of which some cannot change J: {line}");
    assert!(texts(&svg, "subtitle").join(" ").contains(&format!("n {count}")), "{line}");
}

/// Maps that are compared have the same unit. It is on a separate line, and not in the title, which has the values of
/// J.
#[test]
fn compared_maps_share_a_unit() {
    let donor = ["--donor-tokens", "1,2,9,4,5", "--controls", "2", "--scale", "0.0001"];
    let tokens = ["transfer", "--target", "#3", "--tokens", "1,2,3,4,5", "--model", tiny()];
    let shown = on_host(&[&tokens[..], &donor].concat()).done();
    let units: Vec<&str> = shown.lines().filter(|l| l.contains("in units of")).collect();
    assert_eq!(units.len(), 2, "{shown}");
    assert!(units[0] == units[1] && units[0].starts_with("(numbers below are in units of 1e-"), "{shown}");
    let title = shown.lines().next().expect("a title");
    assert!(title.starts_with("transfer fraction of J") && !title.contains("1e-"), "{shown}");
}

/// The geometry of a response, and the gain of random directions, are printed and drawn with it.
#[test]
fn geometry_and_directions_are_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("green.svg");
    let source = ["--source", "0,1", "--direction", "token:#7", "--geometry", "--directions", "4"];
    let tokens = ["green", "--tokens", "1,2,3,4,5", "--model", tiny(), "--plot"];
    let shown = on_host(&[&tokens[..], &[&utf8(&path)], &source].concat()).done();
    assert!(shown.contains("velocity ") && shown.contains("gain of 4 random directions"), "{shown}");
    let svg = fs::read_to_string(&path).expect("a file");
    let svg = Document::parse(&svg).expect("is XML");
    let titles = texts(&svg, "title");
    for title in ["Response field", "Energy", "Distance from the source", "Gain of random directions"] {
        assert!(titles.iter().any(|t| t == title), "{title}: {titles:?}");
    }
}

/// `demo` prints the first map before its study begins, and describes every step in words.
#[cfg(unix)]
#[test]
fn a_demonstration_shows_a_map_at_once() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("demo");
    let mut child = command(&["demo", "--device", "host", "--out", &utf8(&out)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let begun = Instant::now();
    let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines().map_while(Result::ok);
    let shown: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("checks: ")).collect();
    let (seconds, studied) = (begun.elapsed(), out.exists() && !super::names(&out).is_empty());
    // stderr describes the first steps.
    let mut said = BufReader::new(child.stderr.take().expect("is piped"));
    let mut words = Vec::new();
    let mut line = String::new();
    while words.len() < 3 && said.read_line(&mut line).is_ok_and(|n| n > 0) {
        words.push(std::mem::take(&mut line));
    }
    child.kill().expect("is killed");
    child.wait().expect("has ended");
    let _rest = said.read_to_string(&mut line);
    let shown = shown.join("\n");
    assert!(shown.contains("·Italy") && shown.contains("   h8 "), "{shown}\n{words:?}");
    assert!(!studied && seconds < Duration::from_secs(60), "the map took {seconds:?}");
    assert!(words[0].contains("patch one prompt into another"), "{words:?}");
    assert!(words[2].contains("capitals: what the model answers"), "{words:?}");
}
