//! Writes a page with every kind of figure, from made-up numbers. Each figure is also written as SVG and PNG.
//!
//! Usage: `cargo run -p resolvent-report --example gallery -- FOLDER`.

use std::f64::consts::TAU;
use std::path::PathBuf;

use resolvent_report::{
    Axis, Bars, Block, Category, Cell, Estimate, Figure, Grid, Heatmap, Lines, Map, Page, Point, Reference, Result,
    Scatter, Section, Series, Statement, Table, Verdict,
};

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/gallery".to_owned()));
    if let Err(e) = std::fs::create_dir_all(&folder) {
        eprintln!("error: {}: {e}", folder.display());
        std::process::exit(1);
    }
    let page = page();
    for (i, figure) in page.sections.iter().flat_map(|s| &s.blocks).filter_map(drawn).enumerate() {
        for ending in ["svg", "png"] {
            figure.write(&folder.join(format!("figure-{i}.{ending}")))?;
        }
    }
    let path = folder.join("gallery.html");
    page.write(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}

fn drawn(block: &Block) -> Option<&Figure> {
    match block {
        Block::Figure(figure, _) => Some(figure),
        _ => None,
    }
}

/// Returns a number between -1 and 1 that has no visible pattern in `i`, but is the same in each run.
fn noise(i: usize) -> f64 {
    let x = (i as f64 * 12.9898 + 4.1414).sin() * 43_758.547;
    2.0 * (x - x.floor()) - 1.0
}

/// Returns a number whose distribution over `i` is about normal.
fn normal(i: usize) -> f64 {
    (0..6).map(|k| noise(6 * i + k)).sum::<f64>() / 1.4
}

const PROMPT: [&str; 14] =
    ["When", " Mary", " and", " John", " went", " to", " the", " store", ",", " Mary", " gave", " a", " drink", " to"];

fn tokens(count: usize) -> Vec<String> {
    PROMPT.iter().cycle().take(count).map(|&t| t.to_owned()).collect()
}

fn levels(count: usize) -> Vec<String> {
    (0..count).map(|l| format!("h{l}")).collect()
}

fn effect() -> Heatmap {
    let (rows, columns) = (9, PROMPT.len());
    let value = |i: usize| {
        let (level, token) = (i / columns, i % columns);
        match (level, token) {
            (0, 9) => 21.34,
            (0, _) | (8, 0..=12) => 0.0,
            (_, 13) => 20.8 - 0.4 * level as f64 + noise(i),
            (_, t) if t < 9 => 0.0,
            _ => 3.5 * noise(i) * (1.0 - level as f64 / 9.0),
        }
    };
    let mut values: Vec<f32> = (0..rows * columns).map(|i| value(i) as f32).collect();
    values[3 * columns + 1] = f32::NAN;
    let mut map = Heatmap::new("Patch effect", levels(rows), tokens(columns), values);
    map.subtitle = "J = logit(\" Mary\") - logit(\" John\"): corrupted -12.2363, clean 9.1078".to_owned();
    map.unit = "J(patched) − J(corrupted)".to_owned();
    map.marked = vec![(0, 9)];
    map.marked_as = "where the prompts differ".to_owned();
    map
}

fn norms(columns: usize, scale: f64) -> Heatmap {
    let rows = 13;
    let value = |i: usize| {
        let (level, token) = ((i / columns) as f64, (i % columns) as f64);
        if token < 3.0 { 0.0 } else { scale * (0.2 + level / 12.0) * (1.2 + noise(i)) * (1.0 + token / 30.0) }
    };
    let values = (0..rows * columns).map(|i| value(i) as f32).collect();
    let mut map = Heatmap::new("Response field", levels(rows), tokens(columns), values);
    map.map = Map::Sequential;
    map.unit = "|G s|".to_owned();
    map.marked = vec![(2, 3)];
    map.marked_as = "source".to_owned();
    map
}

fn prediction(count: usize, spread: f64) -> Scatter {
    let mut plot = Scatter::new(
        "Predicted and actual effects",
        Axis::linear("first-order prediction"),
        Axis::linear("patch effect"),
    );
    plot.groups = ["h0 to h2", "h3 to h5", "h6 to h8"].map(str::to_owned).to_vec();
    plot.points = (0..count)
        .map(|i| {
            let x = 3.0 * normal(i);
            let y = x + spread * normal(i + count) - 0.03 * x * x;
            Point { x, y, group: i % 3, label: format!("h{}, {:?}", i % 9, PROMPT[i % 14]) }
        })
        .collect();
    plot.prediction()
}

fn regime() -> Lines {
    let mut plot = Lines::new(
        "Error of first order",
        Axis::log("amplitude, in norms of h[l,t]"),
        Axis::log("relative error of the finite response"),
    );
    let curve = |offset: f64, slope: f64| {
        (0..15).map(move |i| {
            let a = 10f64.powf(-4.0 + 0.3 * f64::from(i));
            (a, (offset * a.powf(slope)).min(1.4) + 2e-6 / a)
        })
    };
    for (name, offset, slope) in [("h0", 2.1, 1.0), ("h4", 0.4, 1.05), ("h8", 0.06, 1.1)] {
        plot.series.push(Series::new(name, curve(offset, slope).collect()));
    }
    plot.markers = true;
    plot.references = vec![
        Reference::Level(0.2, "20 %: end of the linear regime".to_owned()),
        Reference::Upright(1e-3, "f32 noise".to_owned()),
    ];
    plot
}

fn gains() -> Lines {
    let mut plot = Lines::new("Gain over levels", Axis::linear("level"), Axis::linear("gain"));
    plot.subtitle = "mean and 90 % interval over 40 prompts".to_owned();
    for (name, phase) in [("attention frozen", 0.0), ("exact", 1.3), ("norms frozen", 2.6), ("relevance rules", 4.0)] {
        let points: Vec<(f64, f64)> = (0..25)
            .map(|l| (f64::from(l), 2.0 + (TAU * f64::from(l) / 24.0 + phase).sin() + 0.05 * f64::from(l)))
            .collect();
        let band = points.iter().enumerate().map(|(i, p)| {
            let half = 0.15 + 0.1 * noise(i).abs();
            (p.1 - half, p.1 + half)
        });
        plot.series.push(Series::new(name, points.clone()).with_band(band.collect()));
    }
    plot
}

fn correlations(dots: bool) -> Bars {
    let mut plot = Bars::new("Correlation by type of site", Axis::linear("Pearson correlation"));
    plot.subtitle = "predicted against actual effects; 95 % bootstrap intervals".to_owned();
    plot.groups = ["first order", "relevance rules"].map(str::to_owned).to_vec();
    plot.dots = dots;
    plot.references = vec![(0.0, "chance".to_owned())];
    let rows = [
        ("hook_resid_pre", 0.753, 0.968),
        ("hook_attn_out", 0.979, 0.962),
        ("hook_mlp_out", 0.195, 0.992),
        ("attn.hook_q", 0.48, 0.71),
        ("attn.hook_v", 0.91, 0.95),
    ];
    plot.categories = rows
        .into_iter()
        .enumerate()
        .map(|(i, (name, a, b))| {
            let within = |v: f64, k: usize| {
                let half = 0.12 * (1.0 - v) + 0.02 + 0.02 * noise(i + k).abs();
                Some(Estimate::within(v, v - half, (v + half).min(1.0)))
            };
            let b = if i == 3 { None } else { within(b, 9) };
            Category { name: name.to_owned(), estimates: vec![within(a, 0), b] }
        })
        .collect();
    plot
}

fn sites() -> Table {
    let row = |name: &str, numbers: [f64; 3]| -> Vec<Cell> {
        std::iter::once(Cell::from(name)).chain(numbers.map(Cell::from)).collect()
    };
    Table::new("", &["site", "Pearson", "largest effect", "places"])
        .row(row("hook_resid_pre", [0.753, 21.34, 126.0]))
        .row(row("hook_attn_out", [0.979, -3.2, 112.0]))
        .row(row("hook_mlp_out", [0.195, f64::NAN, 112.0]))
}

/// Returns a heatmap with hostile labels: a page must show all of them as text.
fn hostile() -> Heatmap {
    let columns = [
        "<script>alert(1)</script>",
        "\u{202e}desrever",
        "\" onload=\"x",
        "\u{0}\u{1b}[31m",
        "שלום",
        "日本語",
        "&amp;",
        "\n",
    ];
    let values = (0..16).map(|i| noise(i) as f32 * 2e-7).collect();
    let mut map = Heatmap::new("Labels <b>of</b> others", levels(2), columns.map(str::to_owned).to_vec(), values);
    map.unit = "</svg><script>".to_owned();
    map
}

fn multiples() -> Grid {
    let one = |name: &str, spread: f64| {
        let mut plot = prediction(90, spread);
        plot.title = name.to_owned();
        plot.width = 300.0;
        Figure::from(plot)
    };
    let figures = vec![one("blocks 0 to 2", 0.3), one("blocks 3 to 5", 0.8), one("blocks 6 to 8", 2.0)];
    Grid::new("Predictions get worse with depth", figures)
}

fn statement(claim: &str, verdict: Verdict, figure: &str, interval: &str, section: &str) -> Statement {
    let [claim, figure, interval, section] = [claim, figure, interval, section].map(str::to_owned);
    Statement { claim, verdict, beside: String::new(), figure, interval, section }
}

fn page() -> Page {
    let mut page = Page::new(
        "How a name finds its way through a small GPT-2",
        "Who is given the drink is decided at the second name and read from there by the last token in the first block. All numbers on this page are made up: it shows every kind of figure.",
    );
    page.statements = vec![
        statement(
            "First-order predictions rank places as patching does.",
            Verdict::Holds,
            "Spearman 0.91",
            "0.88 to 0.94",
            "Where the answer is carried",
        ),
        statement(
            "They do so at every type of site, `hook_mlp_out` included.",
            Verdict::Partly,
            "Pearson 0.20",
            "0.07 to 0.31",
            "Which sites can be predicted",
        ),
        statement(
            "The linear regime reaches as far as the displacement between two prompts.",
            Verdict::Fails,
            "radius 0.04",
            "n = 126",
            "How far linear reaches",
        ),
        statement(
            "A direction found in one prompt acts alike in another.",
            Verdict::Undecided,
            "fraction 0.4",
            "-0.1 to 0.9",
            "",
        ),
    ];
    page.sections = vec![
        Section::new("Where the answer is carried")
            .text("Each cell is what happens to `J` when that one vector `h[l,t]` of the first prompt is put into the second. Blue is below zero, red above.")
            .figure(effect(), "The second name carries all of the effect into the first block; from there on the last token holds it.")
            .details("The numbers by type of site", sites())
            .figure(norms(PROMPT.len(), 40.0), "How far a source at one place reaches: nothing left of it, and more above."),
        Section::new("How well first order predicts")
            .text("A prediction that holds lies on the dashed line.")
            .figure(prediction(126, 1.0), "Each point is a place of the field.")
            .figure(multiples(), "The same by depth.")
            .figure(prediction(12_000, 0.7), "Many places: those drawn are chosen evenly, and the note below says how many there are."),
        Section::new("Which sites can be predicted")
            .figure(Grid::new("", vec![correlations(true).into(), correlations(false).into()]), "The same numbers as dots and as bars.")
            .figure(sites(), "As a table."),
        Section::new("How far linear reaches")
            .figure(Grid::new("", vec![regime().into(), gains().into()]), "Left, both axes are logarithmic. Right, bands are intervals."),
        Section::new("Long prompts and labels of others")
            .figure(norms(60, 1e-7), "Sixty tokens.")
            .figure(norms(220, 3e6), "Two hundred and twenty tokens.")
            .figure(hostile(), "Labels may hold anything."),
    ];
    page.origins.push(resolvent_report::Origin {
        name: "patch".to_owned(),
        facts: [
            ("model", "atlas-small <script>"),
            ("executor", "host"),
            ("model_hash", "3f1c9a0d4c6b7f2e8a5d3f1c9a0d4c6b7f2e8a5d3f1c9a0d4c6b7f2e8a5d0011"),
            ("tokens", "23,5,9,11,4,7,6,8,2,5,19,21,33,7"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec(),
        checks: vec![("adjoint".to_owned(), [1.4e-8, 1e-9, 1e-5]), ("restores".to_owned(), [0.0, 0.0, 1e-5])],
    });
    page.footer = "resolvent, made with synthetic data.".to_owned();
    page
}
