//! What summaries of reduced descriptions say.

use crate::labelled::Labelled;

/// Number of directions at which summaries compare reduced descriptions.
const COMPARED: f32 = 16.0;

/// Returns the position of the rank at which summaries compare reduced descriptions: the largest one up to 16. `None`
/// if all ranks are larger.
pub fn compared_rank(ranks: &[f32]) -> Option<usize> {
    ranks.iter().rposition(|&k| k <= COMPARED)
}

/// Returns the intrinsic dimension of each basis of a result of [`super::reduce`] in words, such as `more than 64`.
pub fn dimensions(result: &Labelled) -> Vec<String> {
    let data = |name: &str| result.array(name).map_or(&[][..], |array| &array.data);
    let most = data("ranks").last().copied().unwrap_or(f32::NAN);
    let within = |k: &f32| if k.is_nan() { format!("more than {most}") } else { k.to_string() };
    data("dimension").iter().map(within).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_compare_the_largest_rank_up_to_sixteen() {
        assert_eq!(compared_rank(&[1.0, 8.0, 16.0, 32.0]), Some(2));
        assert_eq!(compared_rank(&[1.0, 8.0, 20.0]), Some(1));
        assert_eq!(compared_rank(&[32.0]), None);
    }

    #[test]
    fn a_dimension_above_all_ranks_is_more_than_the_largest() {
        let result = Labelled::default().with("ranks", &[("rank", 2)], vec![4.0, 8.0]).with(
            "dimension",
            &[("basis", 2)],
            vec![f32::NAN, 4.0],
        );
        assert_eq!(dimensions(&result), ["more than 8", "4"]);
        assert!(dimensions(&Labelled::default()).is_empty());
    }
}
