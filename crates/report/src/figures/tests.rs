//! Which figures each analysis has, and what is in them.

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
fn patch_has_both_maps_on_one_scale_and_a_scatter_of_what_differs() {
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
    assert_eq!(
        points,
        [(-4.0, 2.0, "h0, \" Mary\""), (0.0, 1.0, "h1, \" Mary\""), (-1.0, -1.5, "h1, \" to\"")]
    );
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
        .note("predictors", "first_order,curvature");
    let figures = figures(&result, &labels());
    let Some(Figure::Bars(bars)) = figures.last() else { panic!("{figures:?}") };
    assert_eq!(bars.groups, ["first order", "curvature"]);
    let [category] = &bars.categories[..] else { panic!("{bars:?}") };
    assert_eq!(category.name, "resid (costs 2, 40)");
    let values: Vec<f64> = category.estimates.iter().flatten().map(|e| e.value).collect();
    assert!((values[0] + 1.0).abs() < 1e-9 && (values[1] - 1.0).abs() < 1e-9, "{values:?}");
    // Before the correlations, the errors: predictions that are twice as large, with the wrong sign, are off by three.
    let Some(Figure::Bars(bars)) = figures.iter().nth_back(1) else { panic!("{figures:?}") };
    let values: Vec<f64> = bars.categories[0].estimates.iter().flatten().map(|e| e.value).collect();
    assert!((values[0] - 3.0).abs() < 1e-6 && values[1] < 1e-6, "{values:?}");
}

#[test]
fn levels_are_grouped_by_thirds() {
    assert_eq!(super::patch::bands(9), ["h0 to h2", "h3 to h5", "h6 to h8"]);
    assert_eq!(super::patch::bands(13), ["h0 to h4", "h5 to h8", "h9 to h12"]);
    assert_eq!(super::patch::bands(1), ["h0"]);
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
fn other_results_have_none() {
    assert!(figures(&result("atlas"), &labels()).is_empty());
    assert!(figures(&result("patch"), &labels()).is_empty(), "arrays are missing");
    let odd = result("sensitivity").with("norm", &[("site", 6)], vec![0.0; 6]);
    assert!(figures(&odd, &labels()).is_empty());
}
