//! `reach`: the gain over depth and distance in tokens, and distance compared with depth.

use resolvent_field::Labelled;

use super::read::prompts;
use crate::{Figure, Heatmap, Map};

pub(super) fn figures(result: &Labelled) -> Vec<Figure> {
    let map = |(name, title, unit): (&str, &str, &str)| {
        let array = result.array(name).filter(|array| array.axes.len() == 2)?;
        let (depths, distances) = (array.axes[0].1, array.axes[1].1);
        // Distances at which nothing arrives, at any depth, are left out.
        let last = (0..distances).rfind(|x| (0..depths).any(|depth| array.data[depth * distances + x] > 0.0))?;
        let values = array.data.chunks(distances).flat_map(|row| row[..=last].to_vec()).collect();
        let rows = (0..depths).map(|depth| depth.to_string()).collect();
        let columns = (0..=last).map(|distance| distance.to_string()).collect();
        let mut map = Heatmap::new(title, rows, columns, values);
        (map.map, map.unit, map.tokens) = (Map::Sequential, unit.to_owned(), false);
        map.subtitle = format!("levels above the source by tokens after it, {}", prompts(result));
        Some(Figure::from(map))
    };
    let maps = [
        ("gain", "Reach of sources", "|G s| / |s|"),
        ("across", "Reach across tokens", "squared gain over that at the source's own token"),
    ];
    maps.into_iter().filter_map(map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_without_a_response_are_left_out() {
        let axes = [("depth", 2), ("distance", 3)];
        let result = Labelled::default().with("gain", &axes, vec![1.0, 0.0, 0.0, 2.0, 0.5, 0.0]).with(
            "across",
            &axes,
            vec![1.0, 0.0, 0.0, 1.0, 0.0625, 0.0],
        );
        let found = figures(&result);
        let [Figure::Heatmap(gain), Figure::Heatmap(across)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(gain.values, [1.0, 0.0, 2.0, 0.5]);
        assert_eq!(across.values[3], 0.0625);
        assert!(figures(&Labelled::default()).is_empty());
    }
}
