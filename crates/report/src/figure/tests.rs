//! Tests of figures: an XML parser reads their SVG.

use roxmltree::{Document, Node};

use crate::*;

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|&n| n.to_owned()).collect()
}

/// Returns the elements with a class.
fn of_class<'a>(svg: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
    let has = |n: &Node<'_, '_>| n.attribute("class").is_some_and(|c| c.split(' ').any(|c| c == class));
    svg.descendants().filter(has).collect()
}

fn hover(node: &Node<'_, '_>) -> String {
    let title = node.children().find(|c| c.has_tag_name(("http://www.w3.org/2000/svg", "title")));
    title.and_then(|t| t.text()).unwrap_or_default().to_owned()
}

fn written(nodes: &[Node<'_, '_>]) -> Vec<String> {
    nodes.iter().filter_map(|n| n.children().filter_map(|c| c.text()).next_back().map(str::to_owned)).collect()
}

fn number(node: &Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).and_then(|v| v.parse().ok()).unwrap_or(f64::NAN)
}

fn map() -> Heatmap {
    let values = vec![0.0, -3.21, 4.0, f32::NAN, 1.0, 2.0];
    Heatmap::new("effect", texts(&["h0", "h1"]), texts(&["When", " Mary", "\n"]), values)
}

#[test]
fn a_heatmap_has_a_cell_a_value_and_its_text() {
    let svg = Figure::from(map()).svg();
    let svg = Document::parse(&svg).expect("is XML");
    let cells = of_class(&svg, "cell");
    assert_eq!(cells.len(), 6);
    let told: Vec<String> = cells.iter().map(hover).collect();
    assert!(told.contains(&"h0, 1 \" Mary\": -3.21".to_owned()), "{told:?}");
    assert!(told.contains(&"h1, 0 \"When\": no value".to_owned()), "{told:?}");
    assert!(told.contains(&"h1, 2 \"\\n\": 2".to_owned()), "{told:?}");
    let none = of_class(&svg, "none");
    assert_eq!(none.iter().map(hover).collect::<Vec<_>>(), ["h1, 0 \"When\": no value"]);
    assert_eq!(written(&of_class(&svg, "position")), ["0", "1", "2"]);
    assert_eq!(written(&of_class(&svg, "column")), ["When", "·Mary", "↵"]);
    assert_eq!(written(&of_class(&svg, "number")).len(), 5);
    // The last level is on top.
    let rows = of_class(&svg, "row");
    assert_eq!(written(&rows), ["h0", "h1"]);
    assert!(number(&rows[1], "y") < number(&rows[0], "y"));
}

#[test]
fn colours_of_a_diverging_map_are_centred_at_zero() {
    let svg = Figure::from(map()).svg();
    let svg = Document::parse(&svg).expect("is XML");
    let fill = |text: &str| {
        let cells = of_class(&svg, "cell");
        let cell = cells.iter().find(|c| hover(c).ends_with(text)).expect("there");
        cell.attribute("fill").expect("painted").to_owned()
    };
    let channels = |hex: String| {
        let value = u32::from_str_radix(&hex[1..], 16).expect("a colour");
        let [_, r, g, b] = value.to_be_bytes();
        (r, g, b)
    };
    let (r, g, b) = channels(fill(": 0"));
    assert!(r.abs_diff(b) < 8 && r.abs_diff(g) < 8, "zero is grey: {r} {g} {b}");
    let (r, _, b) = channels(fill("-3.21"));
    assert!(b > r, "below is blue");
    let (r, _, b) = channels(fill(": 4"));
    assert!(r > b, "above is red");
}

/// Two maps with the same limit have the same scale.
#[test]
fn a_limit_is_the_end_of_the_scale() {
    let mut limited = map();
    limited.limit = Some(400.0);
    let svg = Figure::from(limited).svg();
    let ticks = written(&of_class(&Document::parse(&svg).expect("is XML"), "tick"));
    assert_eq!(ticks, ["−400", "−200", "0", "200", "400"]);
}

#[test]
fn marked_cells_have_an_outline_and_places_outside_do_not() {
    let mut marked = map();
    marked.marked = vec![(1, 2), (9, 9)];
    marked.marked_as = "source".to_owned();
    let svg = Figure::from(marked).svg();
    let svg = Document::parse(&svg).expect("is XML");
    assert_eq!(of_class(&svg, "marked").len(), 1);
    assert!(written(&of_class(&svg, "legend")).contains(&"source".to_owned()));
}

/// Spaces are made visible in tokens only. Other names do not change, and have no positions.
#[test]
fn spaces_are_marked_in_tokens_only() {
    let mut other = map();
    other.rows = texts(&["n = 4", "n = all"]);
    other.columns = texts(&["k = 1", "k = 2", "k = all"]);
    other.tokens = false;
    let svg = Figure::from(other).svg();
    let svg = Document::parse(&svg).expect("is XML");
    assert_eq!(written(&of_class(&svg, "column")), ["k = 1", "k = 2", "k = all"]);
    assert_eq!(written(&of_class(&svg, "row")), ["n = 4", "n = all"]);
    assert!(of_class(&svg, "position").is_empty());
    assert!(of_class(&svg, "cell").iter().any(|c| hover(c) == "n = 4, k = 2: -3.21"));
}

/// Positions never touch, even if there are many tokens.
#[test]
fn positions_do_not_overlap() {
    for count in [1, 12, 60, 150, 500] {
        let columns = (0..count).map(|i| format!(" token{i}")).collect();
        let svg = Figure::from(Heatmap::new("x", texts(&["h0"]), columns, vec![1.0; count])).svg();
        let svg = Document::parse(&svg).expect("is XML");
        let positions = of_class(&svg, "position");
        assert_eq!(written(&positions)[0], "0");
        for pair in positions.windows(2) {
            let apart = number(&pair[1], "x") - number(&pair[0], "x");
            let widest = scene::font::width(&count.to_string(), 11.0, false);
            assert!(apart >= widest, "{count}: {apart} of {widest}");
        }
    }
}

/// Names of columns never overlap, even if there are many columns.
#[test]
fn names_of_columns_do_not_overlap() {
    for count in [1, 5, 14, 30, 60, 150, 500] {
        let columns: Vec<String> = (0..count).map(|i| format!(" token{}", i % 7)).collect();
        let map = Heatmap::new("x", texts(&["h0"]), columns, vec![1.0; count]);
        let svg = Figure::from(map).svg();
        let svg = Document::parse(&svg).expect("is XML");
        let names = of_class(&svg, "column");
        assert!(!names.is_empty());
        for pair in names.windows(2) {
            let apart = number(&pair[1], "x") - number(&pair[0], "x");
            let turn = pair[0].attribute("transform").unwrap_or_default();
            let needed = match turn {
                "" => scene::font::width("·token0", 12.0, false),
                _ if turn.contains("-45") => 12.0 * std::f64::consts::SQRT_2,
                _ => 12.0,
            };
            assert!(apart >= needed, "{count}: {apart} of {needed}, {turn}");
        }
    }
}

#[test]
fn values_of_any_shape_are_drawn() {
    for (rows, columns, values) in
        [(0, 0, vec![]), (2, 2, vec![0.0; 4]), (2, 2, vec![1.0]), (1, 2, vec![f32::INFINITY, 1.0])]
    {
        let map = Heatmap::new("", vec!["h".to_owned(); rows], vec!["t".to_owned(); columns], values);
        for scale in [Map::Diverging, Map::Sequential] {
            let svg = Figure::from(Heatmap { map: scale, ..map.clone() }).svg();
            let svg = Document::parse(&svg).expect("is XML");
            assert_eq!(of_class(&svg, "cell").len(), rows * columns);
        }
    }
}

fn scatter(count: usize) -> Scatter {
    let mut plot = Scatter::new("s", Axis::linear("predicted"), Axis::linear("actual"));
    let point = |i: usize| {
        let x = (i as f64 * 0.7).sin();
        Point { x, y: x + 0.1 * (i as f64 * 1.3).cos(), group: i % 2, label: format!("p{i}") }
    };
    plot.points = (0..count).map(point).collect();
    plot.groups = texts(&["a", "b"]);
    plot.prediction()
}

#[test]
fn a_scatter_shows_points_groups_and_correlations() {
    let svg = Figure::from(scatter(40)).svg();
    let svg = Document::parse(&svg).expect("is XML");
    let points = of_class(&svg, "point");
    assert_eq!(points.len(), 40);
    assert_eq!(hover(&points[0]), "p0, a: (0, 0.1)");
    let tags: Vec<&str> = points[..2].iter().map(|p| p.tag_name().name()).collect();
    assert_eq!(tags, ["circle", "path"], "groups differ in shape");
    assert_ne!(points[0].attribute("fill"), points[1].attribute("fill"));
    assert_eq!(written(&of_class(&svg, "legend")), ["a", "b"]);
    let subtitle = written(&of_class(&svg, "subtitle")).join(" ");
    assert!(subtitle.starts_with("Pearson 0.99") && subtitle.ends_with("n = 40"), "{subtitle}");
    assert_eq!(of_class(&svg, "identity").len(), 1);
    assert!(of_class(&svg, "note").is_empty());
}

/// One point far from all others does not compress them. It is drawn at the edge, and the legend and a note say so.
#[test]
fn an_outlier_is_drawn_at_the_edge() {
    let mut plot = scatter(40);
    let frame = |plot: &Scatter| {
        let svg = Figure::from(plot.clone()).svg();
        let svg = Document::parse(&svg).expect("is XML");
        let at: Vec<f64> = of_class(&svg, "point").iter().map(|p| number(p, "cx")).collect();
        at.into_iter().filter(|x| x.is_finite()).fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)))
    };
    let before = frame(&plot);
    plot.points.push(Point { x: 0.5, y: 90.0, group: 1, label: "far".to_owned() });
    let after = frame(&plot);
    assert!((before.1 - before.0) - (after.1 - after.0) < 20.0, "{before:?} {after:?}");
    let svg = Figure::from(plot.clone()).svg();
    let svg = Document::parse(&svg).expect("is XML");
    let outside = of_class(&svg, "outside");
    assert_eq!(outside.iter().map(hover).collect::<Vec<_>>(), ["far, b: (0.5, 90)"]);
    assert_eq!(written(&of_class(&svg, "legend")), ["a", "b", "1 point beyond the axes, drawn at the edge"]);
    assert_eq!(written(&of_class(&svg, "note")), ["beyond the axes: far, b: (0.5, 90)"]);
    // Statistics include the outlier.
    assert!(plot.prediction().subtitle.ends_with("n = 41"));
}

#[test]
fn a_note_says_how_many_of_many_points_are_drawn() {
    let mut plot = scatter(9000);
    plot.points[5].y = f64::NAN;
    let svg = Figure::from(plot).svg();
    let svg = Document::parse(&svg).expect("is XML");
    assert_eq!(of_class(&svg, "point").len(), 4000);
    let notes = written(&of_class(&svg, "note"));
    assert_eq!(notes, ["4000 of 8999 points are drawn", "1 of 9000 points have no place on these axes"]);
}

#[test]
fn lines_break_where_there_is_no_value() {
    let mut plot = Lines::new("l", Axis::linear("level"), Axis::log("gain"));
    let points = [1.0, 2.0, f64::NAN, 4.0, 5.0, 0.0].iter().enumerate().map(|(i, &y)| (i as f64, y)).collect();
    plot.series = vec![Series::new("gain", points).with_band(vec![(0.5, 3.0); 6])];
    plot.references = vec![Reference::Level(2.5, "<limit>".to_owned()), Reference::Upright(-9.0, "left".to_owned())];
    let svg = Figure::from(plot.clone()).svg();
    let svg = Document::parse(&svg).expect("is XML");
    assert_eq!(of_class(&svg, "series").len(), 2);
    assert_eq!(of_class(&svg, "band").len(), 1);
    let told: Vec<String> = of_class(&svg, "find").iter().map(hover).collect();
    assert_eq!(told[0], "gain: (0, 1) [0.5, 3]");
    assert_eq!(told.len(), 4);
    assert!(written(&of_class(&svg, "reference")).contains(&"<limit>".to_owned()));
    assert_eq!(written(&of_class(&svg, "note")), ["2 of 6 points have no place on these axes"]);
    plot.markers = true;
    let svg = Figure::from(plot).svg();
    assert_eq!(of_class(&Document::parse(&svg).expect("is XML"), "point").len(), 4);
}

#[test]
fn bars_have_lengths_and_dots_have_intervals() {
    let mut plot = Bars::new("b", Axis::linear("r"));
    plot.groups = texts(&["a", "b"]);
    let category = |name: &str, a: f64, b: Option<Estimate>| Category {
        name: name.to_owned(),
        estimates: vec![Some(Estimate::within(a, a - 0.1, a + 0.1)), b],
    };
    plot.categories = vec![
        category("mlp", 0.5, Some(Estimate::new(1.0))),
        category("resid", -0.25, None),
        category("z", f64::NAN, None),
    ];
    let svg = Figure::from(plot.clone()).svg();
    let svg = Document::parse(&svg).expect("is XML");
    let bars = of_class(&svg, "bar");
    let told: Vec<String> = bars.iter().map(hover).collect();
    assert_eq!(told, ["mlp, a: 0.5 [0.4, 0.6]", "mlp, b: 1", "resid, a: -0.25 [-0.35, -0.15]"]);
    let widths: Vec<f64> = bars.iter().map(|b| number(b, "width")).collect();
    assert!((widths[1] / widths[0] - 2.0).abs() < 0.01 && (widths[0] / widths[2] - 2.0).abs() < 0.01, "{widths:?}");
    assert_eq!(written(&of_class(&svg, "note")), ["1 of 4 estimates have no place on this axis: z, a"]);
    plot.dots = true;
    plot.notes = vec!["left out: c".to_owned()];
    let svg = Figure::from(plot).svg();
    let svg = Document::parse(&svg).expect("is XML");
    assert_eq!(written(&of_class(&svg, "note")).last().map(String::as_str), Some("left out: c"));
    assert_eq!(of_class(&svg, "point").len(), 3);
    // Each of the two intervals has a line and two ends.
    assert_eq!(of_class(&svg, "interval").len(), 6);
}

/// A long name takes several lines, and no part of it is lost.
#[test]
fn long_names_of_categories_are_wrapped() {
    let mut plot = Bars::new("b", Axis::linear("r"));
    let name = "attn_out (costs 1, 514, 148, 16, 1 forward passes)";
    let estimates = vec![Some(Estimate::new(0.5))];
    plot.categories = vec![
        Category { name: name.to_owned(), estimates: estimates.clone() },
        Category { name: "z".to_owned(), estimates },
    ];
    let svg = Figure::from(plot).svg();
    let svg = Document::parse(&svg).expect("is XML");
    let rows = of_class(&svg, "row");
    let lines = written(&rows);
    assert_eq!(lines[..lines.len() - 1].join(" "), name);
    assert!(lines.len() > 2 && lines.iter().all(|l| !l.contains('…')), "{lines:?}");
    // No line overlaps the next line, nor the next category.
    for pair in rows.windows(2) {
        assert!(number(&pair[1], "y") - number(&pair[0], "y") >= 14.0);
    }
}

#[test]
fn a_grid_draws_its_figures_side_by_side() {
    let figures = vec![Figure::from(scatter(10)), scatter(20).into(), map().into()];
    let svg = Figure::from(Grid::new("all", figures)).svg();
    let svg = Document::parse(&svg).expect("is XML");
    assert_eq!(of_class(&svg, "point").len(), 30);
    assert_eq!(of_class(&svg, "cell").len(), 6);
    assert_eq!(written(&of_class(&svg, "title")).len(), 4);
    // One group is the margin, and three are the figures within it: two in the first row, one in the second.
    let places: Vec<&str> = of_class(&svg, "figure").iter().filter_map(|g| g.attribute("transform")).collect();
    assert_eq!(places.len(), 4);
    let y = |place: &str| place.split(' ').nth(1).map(str::to_owned);
    assert_eq!(y(places[1]), y(places[2]));
    assert_ne!(y(places[1]), y(places[3]));
}

/// Figures without numbers, and figures of the smallest and largest numbers, are drawn like others.
#[test]
fn any_numbers_are_drawn() {
    let ends = [0.0, -0.0, 1e-320, 1e-30, 1e30, -1e299, f64::MAX, f64::MIN, f64::INFINITY, f64::NAN];
    let axes = [Axis::linear("a"), Axis::log("b")];
    for values in std::iter::once(&[][..]).chain(ends.chunks(1)).chain(ends.chunks(2)).chain([&ends[..]]) {
        for (x, y) in [(&axes[0], &axes[1]), (&axes[1], &axes[0])] {
            let mut scatter = Scatter::new("", x.clone(), y.clone());
            scatter.points = values.iter().map(|&v| Point { x: v, y: v, group: 70, ..Point::default() }).collect();
            let mut lines = Lines::new("", x.clone(), y.clone());
            let points: Vec<(f64, f64)> = values.iter().map(|&v| (v, v)).collect();
            lines.series = vec![Series::new("", points.clone()).with_band(points)];
            lines.references = values.iter().map(|&v| Reference::Level(v, String::new())).collect();
            let mut bars = Bars::new("", x.clone());
            let estimates = values.iter().map(|&v| Some(Estimate::within(v, -v, v))).collect();
            bars.categories = vec![Category { name: String::new(), estimates }, Category::default()];
            bars.references = values.iter().map(|&v| (v, String::new())).collect();
            let table = Table::new("", &["n"]).row(values.iter().map(|&v| Cell::from(v)));
            let grid = Grid::new("", vec![scatter.prediction().into(), lines.into(), bars.into(), table.into()]);
            let svg = Figure::from(grid).svg();
            let svg = Document::parse(&svg).unwrap_or_else(|e| panic!("{values:?}: {e}"));
            let geometry = ["x", "y", "width", "height", "cx", "cy", "r", "d", "transform", "viewBox"];
            for (name, value) in svg.descendants().flat_map(|n| n.attributes().map(|a| (a.name(), a.value()))) {
                let odd = value.contains("NaN") || value.contains("inf") || value.len() > 400;
                assert!(!geometry.contains(&name) || !odd, "{values:?}: {name} is {value}");
            }
        }
    }
}

/// The smallest text is at least 11 pixels high.
#[test]
fn no_text_is_too_small_to_read() {
    let table = Table::new("t", &["a"]).row([1.0.into()]);
    for figure in [Figure::from(map()), scatter(10).into(), table.into()] {
        let svg = figure.svg();
        let svg = Document::parse(&svg).expect("is XML");
        let sizes = svg.descendants().filter_map(|n| n.attribute("font-size")?.parse::<f64>().ok());
        assert!(sizes.fold(f64::INFINITY, f64::min) >= 11.0);
    }
}
