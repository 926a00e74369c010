//! Tests of the figures of each analysis, and of their contents.

use resolvent_field::Labelled;

use super::figures;
use crate::{Figure, Map};

const MAP: [(&str, usize); 2] = [("level", 2), ("token", 3)];

fn labels() -> Vec<String> {
    ["When", " Mary", " to"].map(str::to_owned).to_vec()
}

fn result(analysis: &str) -> Labelled {
    Labelled::default().note("analysis", analysis)
}

#[test]
fn run_has_the_norm_of_the_field() {
    let field = vec![3.0, 4.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 6.0, 8.0, 0.0, 0.0];
    let result = result("run").with("field", &[("level", 2), ("token", 3), ("d", 2)], field);
    let figures = figures(&result, &labels());
    let [Figure::Heatmap(map)] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!(map.values, [5.0, 0.0, 1.0, 2.0, 10.0, 0.0]);
    assert_eq!((map.map, &map.columns), (Map::Sequential, &labels()));
}

#[test]
fn sensitivity_has_its_norm_and_says_what_j_is() {
    let result = result("sensitivity")
        .with("norm", &MAP, vec![1.0; 6])
        .with("value", &[("value", 1)], vec![0.5])
        .note("observable_text", "logit(\" Mary\")");
    let figures = figures(&result, &labels()[..1]);
    let [Figure::Heatmap(map)] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!(map.subtitle, "J = logit(\" Mary\") = 0.5000");
    // Tokens without a text are numbered.
    assert_eq!(map.columns, ["When", "1", "2"]);
}

#[test]
fn patch_has_both_maps_on_one_scale_and_a_scatter_of_differing_places() {
    let result = result("patch")
        .with("effect", &MAP, vec![0.0, 2.0, 0.0, 0.0, 1.0, -1.5])
        .with("first_order", &MAP, vec![0.0, -4.0, 0.0, 0.0, 0.0, -1.0])
        .with("corrupted_value", &[("value", 1)], vec![-1.0])
        .with("clean_value", &[("value", 1)], vec![1.0]);
    let figures = figures(&result, &labels());
    let [Figure::Heatmap(effect), Figure::Heatmap(predicted), Figure::Scatter(scatter)] = &figures[..] else {
        panic!("{figures:?}")
    };
    assert_eq!((effect.limit, predicted.limit), (Some(4.0), Some(4.0)));
    assert_eq!(effect.subtitle, "J: corrupted -1.0000, clean 1.0000");
    let points: Vec<_> = scatter.points.iter().map(|p| (p.x, p.y, p.label.as_str())).collect();
    assert_eq!(points, [(-4.0, 2.0, "h0, 1 \" Mary\""), (0.0, 1.0, "h1, 1 \" Mary\""), (-1.0, -1.5, "h1, 2 \" to\"")]);
    assert_eq!(scatter.groups, ["h0", "h1"]);
    assert_eq!(scatter.points.iter().map(|p| p.group).collect::<Vec<_>>(), [0, 1, 1]);
    assert!(scatter.equal && scatter.subtitle.ends_with("n = 3"));
}

#[test]
fn predictors_of_a_patch_are_shown_side_by_side() {
    let result = result("patch")
        .with("effect", &MAP, vec![0.0, 2.0, 0.0, 0.0, 1.0, -1.5])
        .with("first_order", &MAP, vec![0.0, -4.0, 0.0, 0.0, -2.0, 3.0])
        .with(
            "predicted",
            &[("predictor", 2), MAP[0], MAP[1]],
            vec![0.0, -4.0, 0.0, 0.0, -2.0, 3.0, 0.0, 2.0, 0.0, 0.0, 1.0, -1.5],
        )
        .with("cost", &[("predictor", 2)], vec![2.0, 40.4])
        .note("sweep_cost.resid", "12.5")
        .note("predictors", "first_order,curvature");
    let figures = figures(&result, &labels());
    let [.., Figure::Bars(errors), Figure::Bars(bars), Figure::Table(costs)] = &figures[..] else {
        panic!("{figures:?}")
    };
    assert_eq!(bars.groups, ["first order", "curvature"]);
    let [category] = &bars.categories[..] else { panic!("{bars:?}") };
    assert_eq!(category.name, "resid");
    // The table of costs also has the cost of the patches themselves.
    assert_eq!(costs.columns, ["sites", "all patches run", "first order", "curvature"]);
    assert_eq!(costs.rows, [["resid".into(), 12.5f32.into(), 2.0f32.into(), 40.4f32.into()]]);
    let values: Vec<f64> = category.estimates.iter().flatten().map(|e| e.value).collect();
    assert!((values[0] + 1.0).abs() < 1e-9 && (values[1] - 1.0).abs() < 1e-9, "{values:?}");
    // The errors come before the correlations. Predictions of twice the size and the wrong sign have a relative error
    // of 3.
    let values: Vec<f64> = errors.categories[0].estimates.iter().flatten().map(|e| e.value).collect();
    assert!((values[0] - 3.0).abs() < 1e-6 && values[1] < 1e-6, "{values:?}");
}

const HEADS: [(&str, usize); 3] = [("block", 2), ("head", 2), ("token", 3)];

/// Heads have maps with a row for each head, a scatter plot and a table. Kinds are in the order of the result.
#[test]
fn heads_of_a_patch_are_drawn() {
    let mut effect = vec![0.0; 12];
    (effect[4], effect[11]) = (2.0, -3.0);
    let result = result("patch")
        .with("effect.z", &HEADS, effect)
        .with("first_order.z", &HEADS, vec![0.5; 12])
        .with("effect.attn_out", &[HEADS[0], HEADS[2]], vec![1.0; 6])
        .with("first_order.attn_out", &[HEADS[0], HEADS[2]], vec![1.0; 6])
        .note("agreement.z", "n 12, Pearson 0.100, Spearman 0.200, same sign 50.0 %, slope 1.0");
    let figures = figures(&result, &labels());
    // If there are several kinds, each has a grid.
    let [Figure::Grid(heads), Figure::Grid(blocks)] = &figures[..] else { panic!("{figures:?}") };
    let [Figure::Heatmap(map), Figure::Heatmap(_), Figure::Scatter(scatter), Figure::Table(table)] = &heads.figures[..]
    else {
        panic!("{heads:?}")
    };
    assert_eq!((map.title.as_str(), map.limit), ("Patch effect, z", Some(3.0)));
    assert_eq!(map.rows, ["L0H0", "L0H1", "L1H0", "L1H1"]);
    // The plot repeats the statistics in the text of the result.
    assert_eq!(scatter.subtitle, "n 12, Pearson 0.100, Spearman 0.200, slope 1.0");
    assert!(scatter.points.iter().any(|p| p.label == "L1H1, 2 \" to\"" && p.y == -3.0));
    assert_eq!(table.rows[0][..2], [1_usize.into(), 1_usize.into()]);
    let [Figure::Heatmap(map), Figure::Heatmap(_), Figure::Scatter(_)] = &blocks.figures[..] else {
        panic!("{blocks:?}")
    };
    assert_eq!((map.title.as_str(), &map.rows[1]), ("Patch effect, attn_out", &"L1".to_owned()));
}

/// The panel has the same statistics as the text: effects below the noise floor are ties, and have no correlation.
#[test]
fn predictors_are_compared_to_the_noise_floor() {
    let noise: Vec<f32> = (0..6).map(|i| 1e-7 * (i as f32 - 2.5)).collect();
    let result = result("patch")
        .with("effect", &MAP, noise.clone())
        .with("first_order", &MAP, noise.clone())
        .with("predicted", &[("predictor", 1), MAP[0], MAP[1]], noise)
        .with("cost", &[("predictor", 1)], vec![1.0])
        .note("predictors", "first_order");
    let correlation = |result: &Labelled| {
        let figures = figures(result, &labels());
        let mut bars = figures.iter().filter_map(|f| if let Figure::Bars(b) = f { Some(b.clone()) } else { None });
        bars.next_back().and_then(|b| b.categories[0].estimates[0]).map_or(f64::NAN, |e| e.value)
    };
    assert!((correlation(&result) - 1.0).abs() < 1e-12, "without a floor");
    assert!(correlation(&result.note("noise_floor", "1e-6")).is_nan());
}

/// A note names the kinds at which a predictor is zero by construction, and no statistic counts them.
#[test]
fn zeros_by_construction_are_named() {
    let result = result("patch")
        .with("effect.q", &HEADS, vec![1.0; 12])
        .with("first_order.q", &HEADS, vec![0.5; 12])
        .with("predicted.q", &[("predictor", 2), HEADS[0], HEADS[1], HEADS[2]], [[0.5; 12], [0.0; 12]].concat())
        .with("cost.q", &[("predictor", 2)], vec![1.0, 1.0])
        .note("predictors", "first_order,relp");
    let figures = figures(&result, &labels());
    let bars: Vec<_> = figures.iter().filter_map(|f| if let Figure::Bars(b) = f { Some(b) } else { None }).collect();
    assert_eq!(bars.len(), 2);
    for bars in bars {
        assert!(bars.categories[0].estimates[0].is_some() && bars.categories[0].estimates[1].is_none());
        let [note] = &bars.notes[..] else { panic!("{bars:?}") };
        assert!(note.starts_with("relp is zero at q by construction, and not counted: "), "{note}");
    }
}

/// Controls are drawn on the same scale as the fractions that they control.
#[test]
fn transfer_has_one_scale() {
    let result = result("transfer").with("fraction", &MAP, vec![1.0; 6]).with("random", &MAP, vec![1e-5; 6]).with(
        "value",
        &[("run", 2)],
        vec![0.0, 1.0],
    );
    let figures = figures(&result, &labels());
    let [Figure::Heatmap(fraction), Figure::Heatmap(random)] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!((fraction.limit, random.limit), (Some(1.0), Some(1.0)));
}

#[test]
fn green_draws_its_geometry() {
    let axis = [("level", 2)];
    let result = result("green")
        .with("norm", &MAP, vec![1.0; 6])
        .with("energy", &axis, vec![4.0, 8.0])
        .with("stays", &axis, vec![1.0, 0.5])
        .with("centroid", &axis, vec![0.0, 0.75])
        .with("width", &axis, vec![0.0, 0.5])
        .with("front", &axis, vec![0.0, 2.0])
        .with("by_distance", &[("level", 2), ("distance", 3)], vec![4.0, 0.0, 0.0, 4.0, 4.0, 0.0])
        .with("velocity", &[("value", 1)], vec![0.75])
        .with("gain", &[("direction", 2), ("level", 2)], vec![1.0, 2.0, 1.0, 4.0])
        .with("anisotropy", &axis, vec![1.0, 1.6])
        .with("block_norm", &MAP, vec![1.0; 6])
        .note("source", "0,0");
    let figures = figures(&result, &labels());
    let [Figure::Heatmap(_), Figure::Heatmap(norms), Figure::Grid(grid), Figure::Lines(gain), Figure::Lines(_)] =
        &figures[..]
    else {
        panic!("{figures:?}")
    };
    assert_eq!(norms.title, "Norms of the blocks");
    let [Figure::Lines(energy), Figure::Lines(_), Figure::Lines(distance), Figure::Heatmap(map)] = &grid.figures[..]
    else {
        panic!("{grid:?}")
    };
    assert!(energy.x.whole && energy.series[0].points == [(0.0, 4.0), (1.0, 8.0)]);
    assert_eq!(distance.subtitle, "velocity 0.75 tokens a level");
    assert_eq!(distance.series[2].points, [(0.0, 0.0), (1.0, 2.0)]);
    // Shares of each level, up to the last distance that has energy.
    assert_eq!((&map.values[..], map.tokens), (&[1.0, 0.0, 0.5, 0.5][..], false));
    assert_eq!(gain.series[0].points, [(0.0, 1.0), (1.0, 3.0)]);
}

#[test]
fn levels_are_grouped_by_thirds() {
    assert_eq!(super::patch::bands("h", 9), ["h0 to h2", "h3 to h5", "h6 to h8"]);
    assert_eq!(super::patch::bands("h", 13), ["h0 to h4", "h5 to h8", "h9 to h12"]);
    assert_eq!(super::patch::bands("L", 1), ["L0"]);
}

#[test]
fn green_marks_the_source() {
    let result = result("green")
        .with("norm", &MAP, vec![1.0; 6])
        .note("source", "1,2")
        .note("direction", "token: Mary")
        .note("unit", "true");
    let figures = figures(&result, &labels());
    let [Figure::Heatmap(map)] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!(map.marked, [(1, 2)]);
    assert_eq!(map.subtitle, "source at h[1,2]: token: Mary, of unit length");
}

#[test]
fn other_results_have_no_figures() {
    assert!(figures(&result("atlas"), &labels()).is_empty());
    assert!(figures(&result("patch"), &labels()).is_empty(), "arrays are missing");
    let odd = result("sensitivity").with("norm", &[("site", 6)], vec![0.0; 6]);
    assert!(figures(&odd, &labels()).is_empty());
}
