//! Items of a list that belong together, such as those whose runs share one base.

/// Items that belong together, with their places in the list.
pub(crate) struct Group<T> {
    /// At least one item.
    pub(crate) items: Vec<T>,
    pub(crate) places: Vec<usize>,
}

/// Groups items, in the order of their first items.
pub(crate) fn group_by<T: Copy>(items: &[T], together: impl Fn(&T, &T) -> bool) -> Vec<Group<T>> {
    let mut groups: Vec<Group<T>> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        match groups.iter_mut().find(|group| together(&group.items[0], item)) {
            Some(group) => {
                group.items.push(*item);
                group.places.push(place);
            }
            None => groups.push(Group { items: vec![*item], places: vec![place] }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_with_their_items() {
        let groups = group_by(&[3, 4, 1, 6], |a, b| a % 2 == b % 2);
        let found: Vec<(Vec<i32>, Vec<usize>)> = groups.into_iter().map(|g| (g.items, g.places)).collect();
        assert_eq!(found, [(vec![3, 1], vec![0, 2]), (vec![4, 6], vec![1, 3])]);
    }
}
