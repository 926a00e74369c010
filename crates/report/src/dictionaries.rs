//! Features of dictionaries: a table of the strongest.

use resolvent_field::Labelled;

use crate::tokens::token_of;
use crate::{Cell, Table};

/// Returns a table of the features of a result, of the error beside them, and of the token where each acts most; `None`
/// if the result has none. `labels` are the texts of the tokens.
pub fn strongest_features(title: &str, result: &Labelled, labels: &[String]) -> Option<Table> {
    let of = |name: &str| result.array(name).map(|array| &array.data[..]);
    let (ids, first, random) = (of("features")?, of("first_order")?, of("random")?);
    let (by_token, error) = (result.array("first_order_by_token")?, of("error_first_order")?);
    let (exact, error_exact, kernel) = (of("exact"), of("error_exact"), of("kernel"));
    let others = of("other_prompts");
    let tokens = by_token.axes.last()?.1.max(1);
    let mut columns = vec!["feature", "first order", "random"];
    columns.extend(others.map(|_| "other prompts"));
    columns.extend(exact.map(|_| "exact"));
    columns.extend(kernel.map(|_| "in the kernel"));
    columns.push("mostly at");
    let row = |table: Table, (n, id): (usize, &f32)| {
        let each = &by_token.data[n * tokens..][..tokens];
        let at = (0..tokens).max_by(|&a, &b| each[a].abs().total_cmp(&each[b].abs())).unwrap_or(0);
        let place = token_of(result, labels, at);
        let numbers = [Some(first[n]), Some(random[n]), others.map(|others| others[n]), exact.map(|exact| exact[n])];
        let numbers = numbers.into_iter().flatten();
        let kernel = kernel.map(|kernel| Cell::from(format!("{:.3}", kernel[n])));
        let last = kernel.into_iter().chain([Cell::from(place)]);
        table.row([Cell::from(format!("{id}"))].into_iter().chain(numbers.map(Cell::from)).chain(last))
    };
    let table = ids.iter().enumerate().fold(Table::new(title, &columns), row);
    // What is no feature has no control, no kernel and no single token.
    let rest = |table: Table, name: &str, [first, exactly]: [Option<&[f32]>; 2]| {
        let Some(first) = first else { return table };
        let none = || Cell::from("");
        let mut row = vec![Cell::from(name), first.iter().sum::<f32>().into(), none()];
        row.extend(others.map(|_| none()));
        row.extend(exactly.map(|exact| Cell::from(exact[0])));
        row.extend(kernel.map(|_| none()));
        table.row(row.into_iter().chain([none()]))
    };
    let table = rest(table, "error", [Some(error), error_exact]);
    Some(rest(table, "skip connection", [of("skip_first_order"), of("skip_exact")]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_with_the_error_beside_them() {
        let result = Labelled::default()
            .with("features", &[("feature", 2)], vec![70.0, 3.0])
            .with("first_order", &[("feature", 2)], vec![-1.5, 0.25])
            .with("random", &[("feature", 2)], vec![0.5, 0.125])
            .with("first_order_by_token", &[("feature", 2), ("token", 2)], vec![0.5, -2.0, 0.25, 0.0])
            .with("error_first_order", &[("token", 2)], vec![0.25, 0.5]);
        let labels = [" a".to_owned(), " b".to_owned()];
        let text = strongest_features("top", &result, &labels).expect("features").text();
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert!(rows[0].starts_with("70") && rows[0].contains("−1.5") && rows[0].contains("\" b\""), "{text}");
        assert!(rows[1].contains("\" a\"") && rows[2].starts_with("error") && rows[2].contains("0.75"), "{text}");
        let exact =
            result.with("exact", &[("feature", 2)], vec![-1.0, 0.5]).with("error_exact", &[("value", 1)], vec![0.875]);
        let text = strongest_features("top", &exact, &labels).expect("features").text();
        assert!(text.contains("exact") && text.contains("0.875"), "{text}");
        let unseen = exact.with("kernel", &[("feature", 2)], vec![0.0, 0.6875]);
        let text = strongest_features("top", &unseen, &labels).expect("features").text();
        assert!(text.contains("in the kernel") && text.contains("0.688"), "{text}");
        assert!(strongest_features("top", &Labelled::default(), &labels).is_none());
    }
}
