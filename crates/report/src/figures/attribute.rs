//! `attribute`: maps of the direct contributions of heads and of the other writers; attention patterns.

use resolvent_field::{Array, Labelled};

use super::read::{number, observable};
use crate::circuits::head;
use crate::{Figure, Heatmap, Map};

/// Patterns that are drawn: those of the heads with the largest direct contributions.
const PATTERNS: usize = 12;
/// Width of a pattern, in pixels, so that two fit side by side.
const NARROW: f64 = 440.0;

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let (Some(direct), Some(names)) = (result.array("direct"), result.list("writers")) else {
        return Vec::new();
    };
    let tokens = direct.axes.last().map_or(1, |axis| axis.1.max(1));
    let sums: Vec<f32> = direct.data.chunks(tokens).map(|row| row.iter().filter(|x| x.is_finite()).sum()).collect();
    let value = number(result, "value").map_or_else(String::new, |value| format!(" = {value:.4}"));
    let subtitle = format!("{}{value}", observable(result));
    let maps = [heads(&names, &sums), others(&names, &sums)].into_iter().flatten();
    let mut figures: Vec<Figure> = maps.map(|map| Heatmap { subtitle: subtitle.clone(), ..map }.into()).collect();
    if let Some(pattern) = result.array("pattern") {
        figures.extend(patterns(pattern, (&names, &sums), labels));
    }
    figures
}

/// Returns the map of the heads, block by head; `None` without heads.
fn heads(names: &[&str], sums: &[f32]) -> Option<Heatmap> {
    let placed: Vec<((usize, usize), f32)> =
        names.iter().zip(sums).filter_map(|(name, sum)| Some((head(name)?, *sum))).collect();
    let blocks = placed.iter().map(|((block, _), _)| block + 1).max()?;
    let heads = placed.iter().map(|((_, head), _)| head + 1).max()?;
    let mut values = vec![f32::NAN; blocks * heads];
    placed.iter().for_each(|&((block, head), sum)| values[block * heads + head] = sum);
    let (rows, columns) = ((0..blocks).map(|l| format!("L{l}")), (0..heads).map(|h| format!("H{h}")));
    let map = Heatmap::new("Direct contributions of heads", rows.collect(), columns.collect(), values);
    Some(Heatmap { map: Map::Diverging, ..map })
}

/// Returns the map of the embedding and the MLPs, one row.
fn others(names: &[&str], sums: &[f32]) -> Option<Heatmap> {
    let others: (Vec<String>, Vec<f32>) =
        names.iter().zip(sums).filter(|(name, _)| head(name).is_none()).map(|(n, s)| ((*n).to_owned(), *s)).unzip();
    let row = vec!["direct".to_owned()];
    let map = Heatmap::new("Direct contributions of the embedding and the MLPs", row, others.0, others.1);
    (!map.columns.is_empty()).then_some(Heatmap { map: Map::Diverging, ..map })
}

/// Returns the attention patterns of the heads with the largest direct contributions, queries by keys.
fn patterns(pattern: &Array, (names, sums): (&[&str], &[f32]), labels: &[String]) -> Vec<Figure> {
    let [("block", _), ("head", heads), ("query", tokens), ("key", _)] = pattern.axes[..] else { return Vec::new() };
    let mut order: Vec<(usize, usize, f32)> =
        names.iter().zip(sums).filter_map(|(name, sum)| head(name).map(|(l, h)| (l, h, *sum))).collect();
    order.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
    let texts: Vec<String> = (0..tokens).map(|t| labels.get(t).cloned().unwrap_or_else(|| t.to_string())).collect();
    let of = |&(l, h, sum): &(usize, usize, f32)| {
        let size = tokens * tokens;
        let values = pattern.data.get((l * heads + h) * size..)?.get(..size)?.to_vec();
        let title = format!("Attention pattern of a{l}.h{h}");
        let map = Heatmap::new(title, texts.clone(), texts.clone(), values);
        let subtitle = format!("queries by keys; direct contribution {sum:.4}");
        Some(Heatmap { map: Map::Sequential, subtitle, numbers: false, width: NARROW, ..map }.into())
    };
    order.iter().take(PATTERNS).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_a_map_and_the_strongest_their_patterns() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let result = Labelled::default()
            .note("analysis", "attribute")
            .note("writers", "input,a0.h0,a0.h1,m0")
            .with("direct", &[("writer", 4), ("token", 2)], vec![0.0, 0.5, 0.0, -2.0, 0.0, 1.0, 0.0, 3.0])
            .with("value", &[("value", 1)], vec![2.5])
            .with("pattern", &[("block", 1), ("head", 2), ("query", 2), ("key", 2)], vec![1.0; 8]);
        let found = figures(&result, &labels);
        let [Figure::Heatmap(heads), Figure::Heatmap(others), Figure::Heatmap(first), Figure::Heatmap(_)] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((&heads.values[..], heads.subtitle.as_str()), (&[-2.0, 1.0][..], "J = 2.5000"));
        assert_eq!(
            (&others.columns[..], &others.values[..]),
            (&["input".to_owned(), "m0".to_owned()][..], &[0.5, 3.0][..])
        );
        assert!(first.title.ends_with("a0.h0") && first.rows == labels);
    }
}
