//! Removal of repeated entries from lists that a user provides.

/// Returns the entries of a list without repetitions, in the order in which they first appear.
///
/// Every list option of the command line is parsed first and then passed through it: `-1,0` and `2,0` may be one place.
pub fn distinct<T: PartialEq>(list: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for entry in list {
        if !found.contains(&entry) {
            found.push(entry);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_appearances_stay_in_order() {
        assert_eq!(distinct([3, 1, 3, 2, 1, 3]), [3, 1, 2]);
        assert_eq!(distinct(["a"; 4]), ["a"]);
        assert!(distinct(Vec::<u8>::new()).is_empty());
        assert_eq!(distinct([0.0f32, -0.0, 1.0]), [0.0, 1.0]);
    }
}
