//! Subspace patches: a table of the parts of a patch.

use resolvent_field::Labelled;

use crate::scene::token;
use crate::{Cell, Table};

/// Returns a table of a subspace patch: the effect of each part, and the share of its length that no reader sees;
/// `None` if the result has none. `labels` are the texts of the tokens.
pub fn subspace_parts(on: &str, result: &Labelled, labels: &[String]) -> Option<Table> {
    let of = |name: &str| result.array(name).map(|array| array.data[0]);
    let fact = |name: &str| result.fact(name);
    let (source, kernel) = (result.array("source")?, &result.array("kernel")?.data);
    let [width, k] = [source.axes[0].1, source.axes[1].1];
    let at = result.count("token").unwrap_or(0);
    let place = labels.get(at).map_or_else(|| at.to_string(), |text| token(at, text));
    let (directions, their, s) = if k == 1 { ("direction", "its", "") } else { ("directions", "their", "s") };
    let (rank, floor) = (of("rank")?, result.number("noise_floor").unwrap_or(0.0));
    let title = format!(
        "patch along {k} {directions} ({}) of {}, token {place}; readers ({}) see {rank} of {width} dimensions; {on}",
        fact("directions"),
        fact("site"),
        fact("readers"),
    );
    let size = kernel.iter().map(|x| x * x).sum::<f32>() / k as f32;
    let rows: [(&str, Option<f32>, Option<f32>); 8] = [
        ("whole site", of("whole_kernel"), of("whole_effect")),
        (directions, Some(size.sqrt()), of("effect")),
        (&format!("  {their} row space part{s} alone"), None, of("row_effect")),
        (&format!("  {their} kernel part{s} alone"), None, of("kernel_effect")),
        ("what the patch moves", of("moved_kernel"), of("effect")),
        ("  its row space part", None, of("moved_row_effect")),
        ("  its kernel part", None, of("moved_kernel_effect")),
        ("random, of its length", None, of("random")),
    ];
    let row = |table: Table, (name, kernel, effect): (&str, Option<f32>, Option<f32>)| {
        let share = kernel.map_or_else(|| Cell::from(""), |x| Cell::from(format!("{x:.3}")));
        // Below the noise floor, an effect is rounding.
        let effect = effect.map(|x| if f64::from(x.abs()) > floor { x } else { 0.0 });
        table.row([Cell::from(name), share, effect.map_or_else(|| Cell::from(""), Cell::from)])
    };
    let table = Table::new(title, &["part", "in the kernel", "effect"]);
    Some(rows.into_iter().filter(|row| row.2.is_some()).fold(table, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_with_their_shares() {
        let one = [("value", 1)];
        let result = Labelled::default()
            .note("site", "blocks.0.mlp.hook_post")
            .note("directions", "best")
            .note("readers", "next")
            .note("token", "1")
            .with("source", &[("d", 3), ("direction", 1)], vec![1.0, 0.0, 0.0])
            .with("kernel", &[("direction", 1)], vec![0.75])
            .with("rank", &one, vec![2.0])
            .with("effect", &one, vec![5.0])
            .with("row_effect", &one, vec![0.25])
            .with("kernel_effect", &one, vec![1e-6])
            .note("noise_floor", "1e-5")
            .with("moved_kernel", &one, vec![0.75]);
        let text = subspace_parts("J", &result, &["a".to_owned(), "b".to_owned()]).expect("parts").text();
        assert!(text.contains("2 of 3 dimensions") && text.contains("\"b\""), "{text}");
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert!(rows.len() == 4 && rows[0].starts_with("direction") && rows[0].contains("0.75"), "{text}");
        assert!(rows[1].contains("0.25") && rows[2].trim_end().ends_with(" 0.000"), "{text}");
        assert!(subspace_parts("J", &Labelled::default(), &[]).is_none());
    }
}
