//! Tests of pages of made-up studies: every statement has its section, and missing results have no figures.

use resolvent_field::Labelled;
use resolvent_field::study::{Done, LeftOut, Null, Results, statements};

use super::*;
use crate::{Block, Figure};

fn done(name: &str, result: Labelled) -> Done {
    Done { name: name.to_owned(), result }
}

fn figures(section: &Section) -> usize {
    section.blocks.iter().filter(|block| matches!(block, Block::Figure(..))).count()
}

fn studied() -> Studied {
    Studied {
        model: "toy".to_owned(),
        shape: "2 layers of width 8".to_owned(),
        tasks: vec![("colours".to_owned(), 3)],
        command: "resolvent study".to_owned(),
    }
}

/// Returns results of a study without nulls.
fn found(done: &[Done]) -> Results {
    Results { done: done.to_vec(), ..Results::default() }
}

/// Returns transfers of eight prompts, whose fractions are `best` at every level and whose controls are zero.
fn transfers(best: f32) -> Done {
    let axes = [("prompt", 8), ("level", 4)];
    let mut result = Labelled::default()
        .with("prompt", &[("prompt", 8)], (0..8).map(|i| i as f32).collect())
        .with("map", &[("level", 4), ("token", 2)], vec![best; 8])
        .note("labels", r#"["A", "<i>"]"#);
    for (name, value) in [
        ("best", best),
        ("at_changed", best),
        ("at_last", best),
        ("random_best", 0.0),
        ("random_at_changed", 0.0),
        ("random_at_last", 0.0),
        ("shuffled_best", 0.0),
        ("shuffled_at_changed", 0.0),
        ("shuffled_at_last", 0.0),
    ] {
        result = result.with(name, &axes, vec![value; 32]);
    }
    done("transfers.colours", result)
}

#[test]
fn every_statement_has_its_section() {
    let none: [Done; 0] = [];
    let scaled = [done(
        "scaling",
        Labelled::default()
            .with("correlation", &[("model", 1), ("quantity", 3), ("predictor", 4)], vec![0.5; 12])
            .note("models", "tiny"),
    )];
    for all in [&none[..], &scaled] {
        let page = study_page(&studied(), &found(all));
        let expected: Vec<&str> = statements(all, &[]).iter().map(|s| s.claim).collect();
        let shown: Vec<&str> = page.statements.iter().map(|s| s.claim.as_str()).collect();
        assert_eq!(shown, expected, "a statement without a section is not shown");
        assert_eq!(page.sections.len(), expected.len());
        for (statement, section) in page.statements.iter().zip(&page.sections) {
            assert_eq!(statement.section, section.heading);
        }
    }
}

#[test]
fn without_results_there_are_no_figures() {
    let page = study_page(&studied(), &found(&[]));
    assert!(page.sections.iter().all(|s| figures(s) == 0));
    assert!(page.statements.iter().all(|s| s.verdict == Verdict::Undecided));
    let html = page.html().expect("a page");
    assert!(html.contains("no value") && html.contains("colours (3 pairs)"));
}

#[test]
fn results_are_drawn_with_their_numbers() {
    let page = study_page(&studied(), &found(&[transfers(0.75)]));
    let section = page.sections.iter().find(|s| s.heading == "Transfer of answers").expect("a section");
    assert_eq!(figures(section), 3, "figures by task, lines and a map");
    let html = page.html().expect("a page");
    // The statement has the estimate, the caption has the task, and token labels are escaped.
    assert!(html.contains("0.75 (0.75 to 0.75), n 8"), "the figure of the statement");
    assert!(html.contains("first pair of colours"));
    assert!(html.contains("&lt;i&gt;") && !html.contains("<i>"));
    let less = study_page(&studied(), &found(&[transfers(0.0)]));
    assert_ne!(html, less.html().expect("a page"));
}

/// Circuits are drawn for each task over the share of edges; the first task has its strongest edges too.
#[test]
fn circuits_are_drawn_over_the_share_of_edges() {
    let step = |task: &str, faithful: f32| {
        let axes = [("prompt", 2), ("size", 2)];
        let result = Labelled::default()
            .note("writers", "input,a0.h0")
            .note("readers", "a0.h0<v>,logits")
            .with("edges", &[("edge", 2), ("end", 2)], vec![0.0, 0.0, 1.0, 1.0])
            .with("score", &[("edge", 2)], vec![0.5, -2.0])
            .with("rank", &[("edge", 2)], vec![1.0, 0.0])
            .with("size", &[("size", 2)], vec![1.0, 2.0])
            .with("faithfulness.mean", &[("size", 2)], vec![faithful, 1.0])
            .with("faithfulness", &axes, [faithful, 1.0].repeat(2))
            .with("completeness", &axes, [0.5, 0.0].repeat(2))
            .with("random", &axes, [0.0, 1.0].repeat(2));
        done(&format!("circuits.{task}"), result)
    };
    let page = study_page(&studied(), &found(&[step("colours", 0.5), step("names", 0.75)]));
    let section = page.sections.iter().find(|s| s.heading == "Circuits").expect("a section");
    let drawn: Vec<&Figure> =
        section.blocks.iter().filter_map(|b| if let Block::Figure(f, _) = b { Some(f) } else { None }).collect();
    let [Figure::Table(_), Figure::Grid(grid), Figure::Graph(graph), Figure::Table(table)] = &drawn[..] else {
        panic!("{drawn:?}")
    };
    let [Figure::Lines(first), Figure::Lines(second)] = &grid.figures[..] else { panic!("{grid:?}") };
    assert_eq!((&first.title[..], &first.series[0].points[..]), ("colours", &[(0.5, 0.5), (1.0, 1.0)][..]));
    assert_eq!((second.series[0].points[0], second.series.len()), ((0.5, 0.75), 3));
    assert!(graph.edges.len() == 2 && table.text().contains("a0.h0->logits"));
}

/// A statement is shown beside its nulls, and the answers come first.
#[test]
fn statements_are_shown_beside_their_nulls() {
    let axes = [("pair", 2)];
    let answers = Labelled::default()
        .with("pair", &axes, vec![0.0, 1.0])
        .with("clean", &axes, vec![2.0, -0.5])
        .with("corrupted", &axes, vec![-2.0, 1.5])
        .with("usable", &axes, vec![1.0, 0.0]);
    let mut all = found(&[done("answers.colours", answers), transfers(0.75)]);
    all.nulls = vec![(Null::Random, vec![transfers(0.25)]), (Null::Shuffled, vec![transfers(0.75)])];
    let page = study_page(&studied(), &all);
    assert!(page.lead.contains("nulls: random weights, shuffled pairs"), "{}", page.lead);
    assert_eq!(page.sections[0].heading, "Answers of the model");
    let statement = page.statements.iter().find(|s| s.section == "Transfer of answers").expect("a statement");
    assert_eq!((statement.verdict, statement.beside.as_str()), (Verdict::Holds, "not beyond shuffled pairs"));
    let html = page.html().expect("a page");
    assert!(html.contains("50 %") && html.contains("this model is beyond it"), "the tables");
    assert!(study_page(&studied(), &found(&[])).lead.contains("No null was run"));
}

/// What was left out is counted in the lead, named in the section that it concerns, and listed.
#[test]
fn the_page_says_what_was_left_out() {
    let left_out = |what: &str, failed, steps: &[&str]| LeftOut {
        what: what.to_owned(),
        reason: "J is the same in `both` <prompts>".to_owned(),
        failed,
        steps: steps.iter().map(|s| (*s).to_owned()).collect(),
    };
    let nothing = Done { name: "reduction.colours".to_owned(), result: Labelled::default() };
    assert!(!study_page(&studied(), &found(&[])).html().expect("a page").contains("left out"));
    let left_out = vec![
        left_out("task small", false, &[]),
        left_out("pair 5", false, &["transfers.colours", "inverse.colours"]),
        left_out("reduction.colours", false, &["reduction.colours"]),
        left_out("pair 7", true, &["regimes.colours"]),
    ];
    let page = study_page(&studied(), &Results { left_out, ..found(&[transfers(0.75), nothing]) });
    let text = |heading: &str| {
        let section = page.sections.iter().find(|s| s.heading == heading).expect("a section");
        let texts = section.blocks.iter().map(|b| if let Block::Text(text) = b { text.as_str() } else { "" });
        texts.collect::<Vec<_>>().join("\n")
    };
    assert!(page.lead.contains("1 of the checks or computations failed; 3 tasks, pairs or steps"), "{}", page.lead);
    assert!(text("Transfer of answers").contains("Left out here: pair 5 in 2 steps: J is the same in 'both'"));
    assert!(text("Reduced descriptions").contains("Left out here: reduction.colours: J is"));
    assert!(!text("Propagation").contains("Left out"));
    assert_eq!(figures(page.sections.iter().find(|s| s.heading == "What was left out").expect("a list")), 1);
    let html = page.html().expect("a page");
    assert!(html.contains("task small") && html.contains("&lt;prompts&gt;") && html.contains("pair 7"));
}

/// Axes of levels have whole ticks.
#[test]
fn axes_of_levels_are_whole() {
    let page = study_page(&studied(), &found(&[transfers(0.5)]));
    // All three plots are over levels 0 to 3.
    let section = page.sections.iter().find(|s| s.heading == "Transfer of answers").expect("a section");
    let lines = section.blocks.iter().filter_map(|block| match block {
        Block::Figure(Figure::Grid(grid), _) => Some(&grid.figures),
        _ => None,
    });
    let levels = lines.flatten().filter_map(|f| if let Figure::Lines(l) = f { Some(&l.x) } else { None });
    assert!(levels.clone().count() == 3 && levels.clone().all(|x| x.whole && x.label == "level"));
}

/// Sources are counted by kind and level, in both plots.
#[test]
fn found_sources_are_drawn_by_level() {
    let axes = [("source", 4)];
    let result = Labelled::default()
        .note("kinds", "linear,patch,permuted")
        .with("kind", &axes, vec![0.0, 0.0, 0.0, 1.0])
        .with("level", &axes, vec![2.0, 2.0, 0.0, 2.0])
        .with("rank", &axes, vec![0.0, 3.0, 9.0, 0.0]);
    let page = study_page(&studied(), &found(&[done("locating.colours", result)]));
    let section = page.sections.iter().find(|s| s.heading == "Finding sources").expect("a section");
    let grids = section.blocks.iter().filter_map(|b| match b {
        Block::Figure(Figure::Grid(grid), _) => Some(grid),
        _ => None,
    });
    let figures: Vec<&Figure> = grids.flat_map(|grid| &grid.figures).collect();
    let [Figure::Lines(first), Figure::Lines(five)] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!(first.series[0].points, [(0.0, 0.0), (2.0, 0.5)]);
    assert_eq!(five.series[0].points, [(0.0, 0.0), (2.0, 1.0)]);
    assert_eq!((&first.series[1].points[..], first.series[2].points.len()), (&[(2.0, 1.0)][..], 0));
}

/// Returns a step with two methods and two ranks, whose last rank is above those that summaries compare.
fn reduction(task: &str, balanced: f32) -> Done {
    let axes = [("basis", 2), ("method", 2), ("rank", 2)];
    let errors = vec![0.875, 0.75, 0.625, 0.5, 0.875, 0.75, balanced, 0.25];
    let result = Labelled::default()
        .note("methods", "pod,balanced")
        .with("ranks", &axes[2..], vec![16.0, 32.0])
        .with("error", &axes, errors)
        .with("floor", &[("value", 1)], vec![0.0625])
        .with("dimension", &axes[..1], vec![f32::NAN, 32.0])
        .with("learning", &[("part", 3), axes[2]], vec![0.75, 0.5, 0.75, 0.5, balanced, 0.25])
        .with("learning_prompts", &[("part", 3)], vec![1.0, 1.0, 2.0]);
    done(&format!("reduction.{task}"), result)
}

#[test]
fn reduced_descriptions_are_drawn_over_ranks_and_prompts() {
    let page = study_page(&studied(), &found(&[reduction("colours", 0.25), reduction("names", 0.5)]));
    let section = page.sections.iter().find(|s| s.heading == "Reduced descriptions").expect("a section");
    let drawn: Vec<&Figure> = section
        .blocks
        .iter()
        .filter_map(|b| if let Block::Figure(figure, _) = b { Some(figure) } else { None })
        .collect();
    let [Figure::Table(by_task), Figure::Grid(grid), Figure::Table(table), Figure::Lines(prompts)] = &drawn[..] else {
        panic!("{drawn:?}")
    };
    let text = by_task.text();
    assert!(text.contains("names") && text.lines().any(|line| line.starts_with("with all directions")), "{text}");
    let [Figure::Lines(one), Figure::Lines(by_role)] = &grid.figures[..] else { panic!("{grid:?}") };
    assert_eq!(one.series[0].points, [(16.0, 0.625), (32.0, 0.5)]);
    assert_eq!(
        (&by_role.series[0].name[..], &by_role.series[0].points[..]),
        ("balanced", &[(16.0, 0.375), (32.0, 0.25)][..])
    );
    assert!(by_role.series.iter().all(|series| series.band.is_empty()), "two tasks are too few for an interval");
    assert_eq!(prompts.series[1].points, [(1.0, 0.75), (2.0, 0.5)], "the rank 16 of each number of prompts");
    let text = table.text();
    let row = text.lines().find(|line| line.contains("names")).expect("a row");
    assert!(
        row.contains("0.625") && row.contains("0.5") && row.contains("more than 32") && row.contains("0.875"),
        "{text}"
    );
}

#[test]
fn flows_are_drawn_by_level() {
    let by_level = [("prompt", 2), ("level", 3)];
    let mut result = Labelled::default().note("labels", r#"["a", "b"]"#);
    for (name, values) in [
        ("tokens", vec![1.0, 2.0, 1.0, 1.0, 1.0, 1.0]),
        ("at_changed", vec![1.0, 0.5, 0.0, 1.0, 0.0, 0.0]),
        ("at_last", vec![0.0, 0.5, 1.0, 0.0, 1.0, 1.0]),
    ] {
        result = result.with(name, &by_level, values);
    }
    let result = result.with("map", &[("level", 3), ("token", 2)], vec![1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
    let page = study_page(&studied(), &found(&[done("flows.colours", result)]));
    let section = page.sections.iter().find(|s| s.heading == "Flow of effects").expect("a section");
    let figures: Vec<&Figure> = section
        .blocks
        .iter()
        .filter_map(|b| match b {
            Block::Figure(figure, _) => Some(figure),
            _ => None,
        })
        .collect();
    let [Figure::Table(_), Figure::Heatmap(map), Figure::Grid(grid)] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!((map.rows.len(), &map.columns[..]), (3, &["a".to_owned(), "b".to_owned()][..]));
    let [Figure::Lines(tokens), Figure::Lines(shares)] = &grid.figures[..] else { panic!("{grid:?}") };
    assert_eq!(tokens.series[0].points, [(0.0, 1.0), (1.0, 1.5), (2.0, 1.0)]);
    assert_eq!(shares.series[1].points, [(0.0, 0.0), (1.0, 0.75), (2.0, 1.0)]);
}
