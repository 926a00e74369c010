//! The edits of a run: with sources added, and in words, for the metadata of results.

use resolvent_model::{Change, Edit, Run, Source};

/// Edits that are named; a hash identifies all.
const NAMED: usize = 8;

/// Returns the sources times `amount`, as edits.
pub(crate) fn moved(sources: &[Source], amount: f64) -> impl Iterator<Item = Edit> {
    sources.iter().map(move |Source { site, token, vector }| {
        Edit::add(*site, *token, vector.iter().map(|x| (amount * f64::from(*x)) as f32).collect())
    })
}

/// Returns the run's edits, then the sources times `amount`.
pub(crate) fn with_sources(run: &Run, sources: &[Source], amount: f64) -> Vec<Edit> {
    run.edits().iter().cloned().chain(moved(sources, amount)).collect()
}

/// Returns how many edits there are, a hash of them, and the first ones: edits of one site and one change at several
/// tokens are named once, with the first and the last token.
pub(crate) fn described(edits: &[Edit]) -> String {
    let mut hash = blake3::Hasher::new();
    let mut groups: Vec<(&Edit, usize)> = Vec::new();
    for edit in edits {
        hash.update(format!("{} {} ", edit.site, edit.token).as_bytes());
        hash.update(kind(&edit.change).as_bytes());
        for x in numbers(&edit.change) {
            hash.update(&x.to_le_bytes());
        }
        match groups.iter_mut().find(|(first, _)| first.site == edit.site && first.change == edit.change) {
            Some((_, last)) => *last = edit.token,
            None => groups.push((edit, edit.token)),
        }
    }
    let one = |(edit, last): &(&Edit, usize)| {
        let tokens = if *last == edit.token { last.to_string() } else { format!("{}..{last}", edit.token) };
        match &edit.change {
            Change::Scale(amount) => format!("scale({}, {amount})@{tokens}", edit.site),
            Change::Take(_) => format!("take({})@{tokens}", edit.site),
            change => match numbers(change) {
                [x] => format!("{}({}, {x})@{tokens}", kind(change), edit.site),
                vector => format!("{}({}, [{}])@{tokens}", kind(change), edit.site, vector.len()),
            },
        }
    };
    let (count, all) = (edits.len(), groups.len());
    let named: Vec<String> = groups.iter().take(NAMED).map(one).collect();
    let more = if all > NAMED { format!(" and {} more", all - NAMED) } else { String::new() };
    let edits = if count == 1 { "edit" } else { "edits" };
    format!("{count} {edits}, hash {}: {}{more}", &hash.finalize().to_hex()[..16], named.join("; "))
}

fn kind(change: &Change) -> &'static str {
    match change {
        Change::Add(_) => "add",
        Change::Put(_) => "put",
        Change::Scale(_) => "scale",
        Change::Project(_) => "project_out",
        Change::Take(_) => "take",
    }
}

fn numbers(change: &Change) -> &[f32] {
    match change {
        Change::Add(s) | Change::Put(s) | Change::Project(s) => s,
        Change::Scale(amount) => std::slice::from_ref(amount),
        Change::Take(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use resolvent_model::Site;

    use super::*;

    #[test]
    fn edits_are_named_and_told_apart() {
        let mlp = Site::MlpOut(0);
        let ablated: Vec<Edit> = (0..3).map(|token| Edit::ablate(mlp, token)).collect();
        let text = described(&ablated);
        assert!(
            text.starts_with("3 edits, hash ") && text.ends_with(": scale(blocks.0.hook_mlp_out, 0)@0..2"),
            "{text}"
        );
        let put = |x| described(&[Edit::put(mlp, 1, vec![x; 4])]);
        assert!(put(1.0).starts_with("1 edit, hash ") && put(1.0).ends_with(": put(blocks.0.hook_mlp_out, [4])@1"));
        assert!(put(1.0) != put(1.5) && put(1.0) == put(1.0), "the hash knows the vector");
        let many: Vec<Edit> = (0..10).map(|h| Edit::ablate(Site::Z(0, h), 0)).collect();
        assert!(described(&many).ends_with("hook_z[7], 0)@0 and 2 more"), "{}", described(&many));
    }
}
