//! The strongest patches of attention heads, as a table.

use resolvent_field::Array;

use crate::scene::token;
use crate::{Cell, Table};

/// Returns a table of the `count` patches of heads with the largest effects, in descending order, with their
/// first-order predictions.
///
/// `labels` are the texts of the tokens. Effects of zero are left out. Returns `None` if the axes of an array are not
/// block, head and token.
pub fn strongest_heads(
    title: &str,
    effect: &Array,
    first_order: &Array,
    labels: &[String],
    count: usize,
) -> Option<Table> {
    let [("block", _), ("head", heads), ("token", tokens)] = effect.axes[..] else { return None };
    if first_order.axes != effect.axes {
        return None;
    }
    let size = |i: usize| effect.data[i].abs();
    let mut order: Vec<usize> = (0..effect.data.len()).filter(|&i| size(i) > 0.0).collect();
    order.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
    let columns = ["block", "head", "token", "effect", "first order"];
    let row = |table: Table, &i: &usize| {
        let (row, at) = (i / tokens, i % tokens);
        let text = labels.get(at).map_or_else(|| at.to_string(), |text| token(at, text));
        let numbers = [effect.data[i], first_order.data[i]].map(Cell::from);
        table.row([Cell::from(row / heads), Cell::from(row % heads), Cell::from(text)].into_iter().chain(numbers))
    };
    Some(order.iter().take(count).fold(Table::new(title, &columns), row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(data: Vec<f32>) -> Array {
        Array { name: "effect.z", axes: vec![("block", 2), ("head", 2), ("token", 2)], data }
    }

    #[test]
    fn the_largest_effects_are_on_top_with_their_places() {
        let effect = array(vec![0.0, 1.5, 0.0, -0.25, -3.25, 0.0, 0.5, 0.0]);
        let first_order = array(vec![9.0, 1.0, 0.0, -0.125, -2.0, 0.0, 0.75, 0.0]);
        let labels = ["The".to_owned(), " cat".to_owned()];
        let table = strongest_heads("z", &effect, &first_order, &labels, 3).expect("heads");
        let text = table.text();
        let rows: Vec<Vec<&str>> = text.lines().skip(2).map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["1", "0", "0", "\"The\"", "−3.250", "−2.000"], "{text}");
        assert_eq!(rows[1], ["0", "0", "1", "\"", "cat\"", "1.500", "1.000"], "{text}");
        assert_eq!(rows.len(), 3);
        let all = strongest_heads("z", &effect, &first_order, &labels, 99).expect("heads");
        assert_eq!(all.rows.len(), 4, "effects of zero are left out");
        let other = Array { name: "effect", axes: vec![("level", 2), ("token", 4)], data: vec![0.0; 8] };
        assert!(strongest_heads("x", &other, &other, &[], 3).is_none());
    }
}
