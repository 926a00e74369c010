//! Roles of tokens: which tokens of different prompts share a basis.

use std::collections::BTreeSet;

use resolvent_model::PromptCase;

/// The roles of tokens without names of their own: the last of the list takes all other tokens.
const PLACES: [&str; 3] = ["changed", "read", "other"];

/// The roles of the tokens of several prompts.
pub(super) struct Roles {
    /// Names; the last role is that of all other tokens.
    pub(super) names: Vec<String>,
    named: bool,
}

impl Roles {
    /// Returns the roles that the prompts name, or else those of [`PLACES`].
    pub(super) fn of(cases: &[PromptCase]) -> Self {
        let named: BTreeSet<&String> = cases.iter().flat_map(|case| case.roles.keys()).collect();
        match named.is_empty() {
            true => Self { names: PLACES.map(str::to_owned).to_vec(), named: false },
            false => {
                let other = PLACES[2].to_owned();
                let names = named.into_iter().filter(|name| **name != other).cloned().chain([other.clone()]);
                Self { names: names.collect(), named: true }
            }
        }
    }

    /// Returns the role of each token of a prompt, as an index into the names.
    ///
    /// A token with several named roles has the first of them. Without named roles, the token at which the observable
    /// is read is `read`, and other tokens that differ between the two prompts are `changed`.
    pub(super) fn tokens(&self, case: &PromptCase) -> Vec<usize> {
        let last = self.names.len() - 1;
        let position = case.observable.as_ref().map(resolvent_model::Observable::position);
        let differs = |token: usize| {
            case.corrupted.as_ref().is_some_and(|corrupted| corrupted.get(token) != case.clean.get(token))
        };
        let role = |token: usize| match self.named {
            true => {
                let has = |name: &String| case.roles.get(name).is_some_and(|range| range.contains(&token));
                self.names.iter().position(has).unwrap_or(last)
            }
            false if Some(token) == position => 1,
            false if differs(token) => 0,
            false => last,
        };
        (0..case.clean.len()).map(role).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resolvent_model::Observable;

    fn case() -> PromptCase {
        PromptCase {
            name: String::new(),
            clean: vec![1, 2, 3, 4],
            corrupted: Some(vec![1, 9, 3, 8]),
            observable: Some(Observable::logit(0, 3)),
            roles: [].into(),
            edits: Vec::new(),
        }
    }

    #[test]
    fn tokens_without_names_have_the_roles_of_their_places() {
        let roles = Roles::of(&[case()]);
        assert_eq!(roles.tokens(&case()), [2, 0, 2, 1], "the token that is read is not `changed`");
    }

    #[test]
    fn named_roles_take_the_place_of_all() {
        let mut named = case();
        named.roles.insert("subject".to_owned(), 1..3);
        named.roles.insert("other".to_owned(), 0..1);
        let roles = Roles::of(&[case(), named.clone()]);
        assert_eq!(roles.names, ["subject", "other"]);
        assert_eq!(roles.tokens(&named), [1, 0, 0, 1]);
        assert_eq!(roles.tokens(&case()), [1; 4]);
    }
}
