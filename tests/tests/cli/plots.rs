//! `--plot`: the elements of each plot, and file names that are refused before the work is done.

use std::fs;
use std::path::Path;

use roxmltree::Document;

use super::{Ran, names, on_host, tiny, utf8};

/// Commands, the number of cells of their plots at 3 levels and 5 tokens, and whether the plots have points.
const COMMANDS: [(&str, usize, bool); 4] = [
    ("run", 15, false),
    ("sensitivity --target #3 --against #11", 15, false),
    ("patch --target #3 --corrupted-tokens 1,2,9,4,5", 30, true),
    ("green --source 1,2 --direction token:#7 --unit", 15, false),
];

fn plotted(command: &str, path: &Path) -> Ran {
    let path = utf8(path);
    let arguments: Vec<&str> = command.split(' ').collect();
    on_host(&[&arguments[..], &["--tokens", "1,2,3,4,5", "--model", tiny(), "--plot", &path]].concat())
}

#[test]
fn every_command_draws_its_result() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (command, cells, points) in COMMANDS {
        let path = folder.path().join("plot.svg");
        let ran = plotted(command, &path);
        assert_eq!(ran.stderr.trim_end(), format!("wrote {}", path.display()), "{command}");
        assert!(ran.done().contains("checks: "), "{command}");
        let svg = fs::read_to_string(&path).expect("a file");
        let svg = Document::parse(&svg).unwrap_or_else(|e| panic!("{command}: {e}"));
        let count = |class: &str| svg.descendants().filter(|n| n.attribute("class") == Some(class)).count();
        assert_eq!(count("cell"), cells, "{command}");
        assert_eq!(count("point") > 0, points, "{command}");
        assert_eq!(count("marked"), usize::from(command.starts_with("green")), "{command}");
        let text: String = svg.descendants().filter_map(|n| n.text()).collect();
        // Without a tokenizer, labels are ids.
        assert!(text.contains("h2, 4 #5: ") && text.contains("#1"), "{command}: {text}");
        let path = folder.path().join("plot.png");
        plotted(command, &path).done();
        let png = fs::read(&path).expect("a file");
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 5000, "{command}: {} bytes", png.len());
    }
    let mut left = names(folder.path());
    left.sort();
    assert_eq!(left, ["plot.png", "plot.svg"], "temporary files are gone");
}

#[test]
fn a_plot_says_what_j_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plot.svg");
    plotted("sensitivity --target #3 --against #11", &path).done();
    let svg = fs::read_to_string(&path).expect("a file");
    assert!(svg.contains("J = logit(#3) - logit(#11) = "), "{svg}");
}

/// An invalid file name is refused before the model is opened: the model of these commands does not exist.
#[test]
fn a_plot_that_cannot_be_written_is_refused_first() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |path: &Path| {
        let path = utf8(path);
        on_host(&["run", "--tokens", "1", "--model", "no-such-model", "--plot", &path]).failed()
    };
    for name in ["plot.pdf", "plot", "plot.svg.gz", "svg"] {
        let line = refused(&folder.path().join(name));
        assert!(line.ends_with(&format!("{name}: a plot ends in .svg, .png or .html")), "{line}");
    }
    let line = refused(&folder.path().join("missing").join("plot.svg"));
    assert!(line.contains("cannot be written") && line.contains("name a file in a directory"), "{line}");
    let directory = folder.path().join("folder.png");
    fs::create_dir(&directory).expect("writable");
    assert!(refused(&directory).contains("cannot be written"));
    assert_eq!(names(folder.path()), ["folder.png"]);
}
