//! Results of several prompts as one result.

use std::collections::BTreeMap;
use std::ops::Range;

use resolvent_model::PromptCase;

use crate::error::Result;
use crate::labelled::Labelled;
use crate::store::Room;
use crate::study::left_out::{self, LeftOut};

use super::columns::{EachPrompt, OnePrompt, Visit};
use super::joined::{Joined, nothing};
use super::outline::Outline;

/// Results of one analysis for several prompts, and the prompts that were left out.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// A result for each prompt that could be analysed.
    pub results: Vec<Labelled>,
    /// The names of their cases.
    pub names: Vec<String>,
    /// Numbers of their tokens.
    pub lengths: Vec<usize>,
    /// The roles of their tokens.
    pub roles: Vec<BTreeMap<String, Range<usize>>>,
    /// The prompts that were left out.
    pub left_out: Vec<LeftOut>,
}

impl Prompts {
    pub(super) fn push(&mut self, case: &PromptCase, result: Labelled) {
        self.results.push(result);
        self.names.push(case.name.clone());
        self.lengths.push(case.clean.len());
        self.roles.push(case.roles.clone());
    }

    /// Adds the results of further prompts.
    pub fn append(&mut self, more: Self) {
        let Self { results, names, lengths, roles, left_out } = more;
        self.results.extend(results);
        self.names.extend(names);
        self.lengths.extend(lengths);
        self.roles.extend(roles);
        self.left_out.extend(left_out);
    }

    /// Returns all results as one.
    ///
    /// Each array NAME gets a first axis `prompt`. If its lengths differ, it is padded with NaN at the end. `lengths
    /// [prompt]` are the numbers of tokens. `NAME.mean`, `NAME.low` and `NAME.high` are means over prompts with 95 %
    /// intervals, aligned from the end along the axis `token`; `counts [token]` says over how many prompts. If prompts
    /// name roles, `NAME.role`, `NAME.role_low` and `NAME.role_high` have an axis `role` instead: the mean over prompts
    /// of the mean over the role's tokens. Arrays with an axis `d` or `vocab` have no means.
    ///
    /// A check is the worst of all prompts. An entry of the metadata that differs between prompts becomes a JSON list.
    /// An array that some prompts lack is left out, such as the values of an observable that only some rows have.
    ///
    /// # Errors
    /// There are no results, or their arrays do not match.
    pub fn stack(&self) -> Result<Labelled> {
        let mut outline = Outline::new(Room::MEMORY);
        self.each(&|_| true, &mut |_, one| outline.add(one))?;
        Joined::of(outline, self, &self.left_out)?.whole(self)
    }

    /// Returns the result of the first prompt.
    ///
    /// # Errors
    /// No prompt could be analysed.
    pub(crate) fn some(&self) -> Result<&Labelled> {
        self.results.first().ok_or_else(|| nothing(&self.left_out))
    }

    /// Returns the names of the prompts that a result of [`Prompts::stack`] left out, with the reasons.
    pub fn left_out_of(stacked: &Labelled) -> Vec<(String, String)> {
        left_out::read(stacked).into_iter().map(|left_out| (left_out.what, left_out.reason)).collect()
    }

    /// Returns the means over prompts of a result of [`Prompts::stack`], as the result of one prompt: each array
    /// `NAME.mean` as NAME. The last token of the axis `token` is the last token of every prompt.
    pub fn averaged(stacked: &Labelled) -> Labelled {
        let mut averaged = stacked.metadata_alone();
        averaged.arrays = stacked.endings("mean");
        averaged
    }
}

impl EachPrompt for Prompts {
    fn each(&self, _: &dyn Fn(&str) -> bool, visit: Visit<'_>) -> Result<()> {
        let (each, lengths) = (self.names.iter().zip(&self.roles), self.lengths.iter());
        for (n, ((result, (name, roles)), &length)) in self.results.iter().zip(each).zip(lengths).enumerate() {
            let tokens = result.fact("tokens");
            visit(n, &OnePrompt { name, tokens, roles, length, result })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Certificate;

    /// Two prompts of 3 and 2 tokens, with a map over 2 levels.
    fn prompts(count: usize) -> Prompts {
        let mut prompts = Prompts::default();
        for i in 0..count {
            let tokens = 3 - i % 2;
            let map = (0..2 * tokens).map(|k| (100 * i + k) as f32).collect();
            let result = Labelled::default()
                .with("map", &[("level", 2), ("token", tokens)], map)
                .with("vector", &[("token", tokens), ("d", 1)], vec![1.0; tokens])
                .note("analysis", "test")
                .note("tokens", format!("{i}"))
                .note("floor", i.to_string())
                .certify(Certificate::new("same", 0.1 * i as f64, 100.0))
                .expect("passes");
            prompts.results.push(result);
            prompts.names.push(format!("line {i}"));
            prompts.lengths.push(tokens);
            prompts.roles.push([("first".to_owned(), 0..1)].into());
        }
        prompts
    }

    #[test]
    fn maps_are_padded_and_aligned_from_the_end() {
        let stacked = prompts(2).stack().expect("stacks");
        let map = stacked.array("map").expect("a map");
        assert_eq!(map.axes, [("prompt", 2), ("level", 2), ("token", 3)]);
        assert_eq!(map.data[..6], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(map.data[6..8], [100.0, 101.0]);
        assert!(map.data[8].is_nan() && map.data[11].is_nan());
        assert_eq!(map.data[9..11], [102.0, 103.0]);
        let mean = &stacked.array("map.mean").expect("means").data;
        assert_eq!(mean[..], [0.0, 50.5, 51.5, 3.0, 53.0, 54.0]);
        assert_eq!(stacked.array("counts").expect("counts").data, [1.0, 2.0, 2.0]);
        let role = stacked.array("map.role").expect("roles");
        assert_eq!((&role.axes[..], &role.data[..]), (&[("role", 1), ("level", 2)][..], &[50.0, 52.5][..]));
        assert!(stacked.array("vector.mean").is_none() && stacked.array("vector").is_some());
        assert_eq!(stacked.metadata["not_finite.map"], "2 of 12: after the end of a shorter prompt");
        assert_eq!(stacked.metadata["floor"], "[\"0\",\"1\"]");
        assert_eq!((stacked.certificates[0].value, &stacked.metadata["analysis"][..]), (0.1, "test"));
    }

    /// A patch sweep with ties, gaps, roles that some prompts lack, and metadata that differ.
    fn sweep(count: usize) -> Prompts {
        let mut prompts = prompts(count);
        for (i, result) in prompts.results.iter_mut().enumerate() {
            let tokens = 3 - i % 2;
            let value = |k: usize, factor: f32| ((7 * i + 3 * k) % 11) as f32 * factor - 2.0;
            let axes = [("level", 2), ("token", tokens)];
            let of = |factor: f32| (0..2 * tokens).map(|k| value(k, factor)).collect::<Vec<f32>>();
            *result = std::mem::take(result)
                .with("effect", &axes, of(0.5))
                .with("first_order", &axes, of(0.25 + 0.01 * (i % 3) as f32))
                .with("radius", &[("token", tokens)], (0..tokens).map(|k| 1.0 / (k + i % 2) as f32).collect())
                .note("analysis", "patch")
                .note("agreement.resid", format!("of prompt {i}"))
                .note("noise_floor", "1e-2")
                .note("not_finite.radius", format!("{} of {tokens}", 1 - i % 2));
            if i == 5 {
                result.metadata.insert("late \"key\"".to_owned(), "é\n".to_owned());
            }
        }
        prompts.roles[2] = [("second".to_owned(), 1..2)].into();
        prompts.left_out.push(LeftOut::from_error("bad", &crate::Error::Input("no".to_owned())));
        prompts
    }

    /// A file that is written in many passes, with as little memory as possible, has the bytes of the whole result.
    #[test]
    fn passes_do_not_change_the_bytes() {
        let (folder, prompts) = (tempfile::tempdir().expect("a folder"), sweep(600));
        let whole = prompts.stack().expect("stacks");
        let wanted = whole.to_safetensors().expect("bytes");
        assert!(whole.metadata["agreement.resid"].starts_with("n 3000 ("), "{}", whole.metadata["agreement.resid"]);
        assert!(whole.metadata["not_finite.radius"].contains("of the prompts: [\"1 of 3\",\"0 of 2\""));
        assert!(whole.metadata["late \"key\""].starts_with("[null,null,null,null,null,\"é\\n\",null"));
        for memory in [0, 4 * 600 * 3, 1 << 30] {
            let path = folder.path().join("out.safetensors");
            let mut outline = Outline::new(Room { memory, folder: Some(folder.path()) });
            prompts.each(&|_| true, &mut |_, one| outline.add(one)).expect("adds");
            let joined = Joined::of(outline, &prompts, &prompts.left_out).expect("joins");
            let brief = joined.write(&prompts, (&path, &path)).expect("writes");
            assert!(std::fs::read(&path).expect("a file") == wanted, "{memory}");
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
            assert!(brief.array("effect").is_none() && !brief.metadata.contains_key("prompt_names"));
            assert_eq!(brief.array("counts"), whole.array("counts"));
        }
    }

    /// Results that change between two passes are refused.
    #[test]
    fn changed_results_are_refused() {
        let (before, mut after) = (sweep(9), sweep(9));
        let mut outline = Outline::new(Room::MEMORY);
        before.each(&|_| true, &mut |_, one| outline.add(one)).expect("adds");
        after.results[3].arrays[0].axes[1].1 = 9;
        after.results[3].arrays[0].data = vec![0.0; 18];
        let joined = Joined::of(outline, &before, &[]).expect("joins");
        let error = joined.whole(&after).expect_err("refused").to_string();
        assert!(error.contains("the results changed while they were joined"), "{error}");
    }

    #[test]
    fn intervals_need_eight_prompts() {
        let low = |count| prompts(count).stack().expect("stacks").array("map.low").expect("ends").data.clone();
        assert!(low(7).iter().all(|x| x.is_nan()));
        let found = low(9);
        assert!(
            found[0].is_nan() && found[2].is_finite(),
            "5 of 9 prompts have the third token from the end: {found:?}"
        );
    }
}
