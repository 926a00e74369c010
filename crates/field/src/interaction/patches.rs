//! Interactions of patches, beside the results of a patch sweep.

use std::collections::BTreeMap;
use std::ops::Range;

use resolvent_model::{Mode, Observable, Run, Source};

use crate::case::Case;
use crate::certificate::Certificate;
use crate::displacements::{Displacements, along_sensitivities};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;
use crate::site_kind::SiteKind;

use super::places::{Interacting, PatchPlace};
use super::put::{self, Patches};
use super::{InteractionCase, Joint, interactions_all};

/// Names of tokens by the roles that a prompt gives them.
type Roles = BTreeMap<String, Range<usize>>;

impl Labelled {
    /// Adds interactions to a result of [`crate::patch_at`]: those of the patches that `which` selects at sites of
    /// `kind`, joined as `joint` selects.
    ///
    /// Arrays: `interaction` and `interaction_actual [N, N]`, to second order and by joint runs, and
    /// `interaction_single [N]`, the effects of the patches alone. Over all pairs of two patches, `interaction_size
    /// [1]` is the sum of the sizes of the actual interactions over that of the sizes of both effects; `superadditive
    /// [1]` is the share of the pairs that do more together than in sum, among those whose interaction exceeds the
    /// noise; `interaction_error [1]` is the relative error of second order.
    ///
    /// The metadata list the sites (`interaction_sites`), the places as they were given (`interaction_places`), and how
    /// the patches were joined (`interaction_joint`). A patch whose value is the same in both runs has the effect 0 and
    /// no interactions. A place that is named twice counts once.
    ///
    /// # Errors
    /// As [`crate::interactions`], sites that the runs were not prepared for, or a place outside of the model or the
    /// prompt.
    pub fn with_interactions(self, case: &Case<'_>, kind: SiteKind, which: &Interacting, joint: Joint) -> Result<Self> {
        let (roles, (sizes, tokens)) = (Roles::new(), (case.corrupted.model().sizes(), case.corrupted.tokens().len()));
        let mut seen = Vec::new();
        let which = match which {
            Interacting::Strongest(count) => Interacting::Strongest(*count),
            Interacting::At(places) => {
                let mut distinct = Vec::with_capacity(places.len());
                for place in places {
                    let patch = place.patch((kind, sizes), tokens, &roles)?;
                    if !seen.contains(&patch) {
                        seen.push(patch);
                        distinct.push(place.clone());
                    }
                }
                Interacting::At(distinct)
            }
        };
        Self::with_interactions_all(vec![self], &[(*case, &roles)], (kind, &which, joint))?.remove(0)
    }

    /// Adds interactions to the results of several cases, whose prompts may name roles. Runs of one batch share passes.
    ///
    /// # Errors
    /// As [`Labelled::with_interactions`], or two places that are the same patch; an error of one case is about it
    /// alone.
    pub(crate) fn with_interactions_all(
        results: Vec<Self>,
        cases: &[(Case<'_>, &Roles)],
        (kind, which, joint): (SiteKind, &Interacting, Joint),
    ) -> Result<Vec<Result<Self>>> {
        if kind == SiteKind::Pattern && joint == Joint::Put {
            return Err(Error::Input(
                "two patterns that are put in place share the values of their keys; give --joint add, or other --sites"
                    .to_owned(),
            ));
        }
        let runs: Vec<Case<'_>> = cases.iter().map(|case| case.0).collect();
        let patches = Displacements::of_all(&runs, kind)?;
        let chosen: Vec<Result<Chosen>> = match which {
            Interacting::Strongest(count) => {
                let readings: Vec<(&Run, &Observable)> = runs.iter().map(Case::reading).collect();
                let first = along_sensitivities((Mode::Exact, &patches), &readings)?;
                first.iter().map(|first| Chosen::strongest(first, *count)).collect()
            }
            Interacting::At(places) => {
                let each = cases.iter().zip(&patches);
                each.map(|((case, roles), patches)| Chosen::at(places, (case, roles), (kind, patches))).collect()
            }
        };
        let each = runs.iter().zip(&patches).zip(&chosen);
        let selected = each.filter_map(|((case, all), chosen)| {
            Some(Patches { case: *case, all, chosen: &chosen.as_ref().ok()?.moved })
        });
        let selected: Vec<Patches<'_>> = selected.collect();
        let mut found = match joint {
            Joint::Put => put::interactions_all(&selected, kind)?,
            Joint::Add => added(&selected)?,
        }
        .into_iter();
        let each = results.into_iter().zip(&patches).zip(chosen);
        let each = each.map(|((result, patches), chosen)| {
            let chosen = chosen?;
            let found = found.next().expect("a result for each case with chosen patches")?;
            chosen.add_to(result, patches, (found, which, joint))
        });
        Ok(each.collect())
    }
}

/// The patches of a case that interact.
struct Chosen {
    all: Vec<usize>,
    /// Those that change a value.
    moved: Vec<usize>,
}

impl Chosen {
    /// Chooses at most `count` patches, those with the largest first-order effects.
    fn strongest(first: &[f64], count: usize) -> Result<Self> {
        let mut order: Vec<usize> = (0..first.len()).filter(|&i| first[i] != 0.0).collect();
        order.sort_by(|&a, &b| first[b].abs().total_cmp(&first[a].abs()));
        order.truncate(count);
        match order.is_empty() {
            true => Err(Error::Input("interactions need one patch or more with an effect to first order".to_owned())),
            false => Ok(Self { all: order.clone(), moved: order }),
        }
    }

    /// Chooses the patches at `places`.
    fn at(
        places: &[PatchPlace],
        (case, roles): (&Case<'_>, &Roles),
        (kind, patches): (SiteKind, &Displacements),
    ) -> Result<Self> {
        let (sizes, tokens) = (case.corrupted.model().sizes(), case.corrupted.tokens().len());
        let at = |place: &PatchPlace| place.patch((kind, sizes), tokens, roles);
        let all = places.iter().map(at).collect::<Result<Vec<usize>>>()?;
        let same = |j: usize| Some((all[..j].iter().position(|i| *i == all[j])?, j));
        if let Some((i, j)) = (0..all.len()).find_map(same) {
            return Err(Error::Input(format!(
                "the places `{}` and `{}` are the same patch in this prompt; leave one out",
                places[i], places[j]
            )));
        }
        let moved: Vec<usize> = all.iter().copied().filter(|&i| patches.delta(i).iter().any(|x| *x != 0.0)).collect();
        match moved.is_empty() {
            true => Err(Error::Input(
                "both prompts have the same values at all given places; give places that the change reaches".to_owned(),
            )),
            false => Ok(Self { all, moved }),
        }
    }

    /// Returns numbers of pairs of the patches that change a value as numbers of all pairs.
    fn square(&self, of_moved: &[f32]) -> Vec<f32> {
        let own = |i: &usize| self.moved.iter().position(|moved| moved == i);
        let at: Vec<Option<usize>> = self.all.iter().map(own).collect();
        let value = |i: &Option<usize>, j: &Option<usize>| match (i, j) {
            (Some(i), Some(j)) => of_moved[i * self.moved.len() + j],
            _ => 0.0,
        };
        at.iter().flat_map(|i| at.iter().map(move |j| value(i, j))).collect()
    }

    /// Adds the interactions of the patches that change a value to the result of their case.
    fn add_to(
        &self,
        result: Labelled,
        patches: &Displacements,
        (found, which, joint): (Labelled, &Interacting, Joint),
    ) -> Result<Labelled> {
        let of = |name: &str| found.array(name).map_or(&[][..], |array| &array.data);
        let [map, actual] = ["interaction", "interaction_actual"].map(|name| self.square(of(name)));
        let effect = |i: &usize| self.moved.iter().position(|moved| moved == i).map_or(0.0, |i| of("single")[i]);
        let single: Vec<f32> = self.all.iter().map(effect).collect();
        let summary = Summary::of(&map, &actual, &single, found.number(noise::NAME).unwrap_or(0.0));
        let site = |&i: &usize| {
            let (site, token) = patches.place(i);
            format!("{site}@{token}")
        };
        let sites: Vec<String> = self.all.iter().map(site).collect();
        let (n, one) = (self.all.len(), [("value", 1)]);
        let mut result = result
            .with("interaction", &[("source", n), ("with", n)], map)
            .with("interaction_actual", &[("source", n), ("with", n)], actual)
            .with("interaction_single", &[("source", n)], single)
            .with("interaction_size", &one, vec![summary.size as f32])
            .with("superadditive", &one, vec![summary.superadditive as f32])
            .with("interaction_error", &one, vec![summary.error as f32])
            .note("interaction_joint", joint.name())
            .note("interaction_sites", sites.join(" "))
            .note("agreement.interaction", found.fact("agreement"));
        if let Interacting::At(places) = which {
            let places: Vec<String> = places.iter().map(ToString::to_string).collect();
            result = result.note("interaction_places", serde_json::json!(places).to_string());
        }
        let known: Vec<&str> = result.certificates.iter().map(|c| c.name).collect();
        let new: Vec<Certificate> = found.certificates.into_iter().filter(|c| !known.contains(&c.name)).collect();
        new.into_iter().try_fold(result, Labelled::certify)
    }
}

/// Computes the interactions of displacements that are added.
fn added(patches: &[Patches<'_>]) -> Result<Vec<Result<Labelled>>> {
    let source = |of: &Patches<'_>| of.chosen.iter().map(|&i| of.all.source(i)).collect();
    let sources: Vec<Vec<Source>> = patches.iter().map(source).collect();
    let cases = patches.iter().zip(&sources).map(|(of, sources)| {
        let Case { corrupted: run, observable, .. } = of.case;
        InteractionCase { run, observable, sources }
    });
    interactions_all(&cases.collect::<Vec<_>>())
}

/// Figures over all pairs of two patches; NaN where there is nothing to compare.
#[derive(Debug, PartialEq)]
struct Summary {
    size: f64,
    superadditive: f64,
    error: f64,
}

impl Summary {
    /// `floor` is the size of an interaction that rounding alone can cause.
    fn of(map: &[f32], actual: &[f32], single: &[f32], floor: f64) -> Self {
        let (n, wide) = (single.len(), |x: &[f32], i: usize| f64::from(x[i]));
        let (mut sizes, mut effects, mut clear, mut larger) = (0.0, 0.0, 0u32, 0u32);
        let (mut apart, mut square) = (0.0, 0.0);
        for (i, j) in (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))) {
            let (e_i, e_j, x) = (wide(single, i), wide(single, j), wide(actual, i * n + j));
            sizes += x.abs();
            effects += e_i.abs() + e_j.abs();
            if x.abs() > floor {
                clear += 1;
                larger += u32::from((e_i + e_j + x).abs() > (e_i + e_j).abs());
                apart += (wide(map, i * n + j) - x).powi(2);
                square += x * x;
            }
        }
        Self {
            size: sizes / effects,
            superadditive: f64::from(larger) / f64::from(clear),
            error: (apart / square).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_over_pairs_of_two_patches() {
        let single = [2.0, -1.0, 0.0];
        let actual = [9.0, 0.5, 0.0, 0.5, 9.0, -0.25, 0.0, -0.25, 9.0];
        let map = [7.0, 0.5, 7.0, 0.5, 7.0, 0.0, 7.0, 0.0, 7.0];
        let found = Summary::of(&map, &actual, &single, 1e-3);
        // The pairs have the sums 1, 2 and -1; the second has no interaction, and is not compared.
        let wanted = Summary { size: 0.75 / 6.0, superadditive: 1.0, error: (0.0625f64 / 0.3125).sqrt() };
        assert_eq!(found, wanted);
        assert_eq!(Summary::of(&map, &actual, &single, 0.3).error, 0.0);
        let none = Summary::of(&map[..1], &actual[..1], &single[..1], 0.0);
        assert!(none.size.is_nan() && none.superadditive.is_nan() && none.error.is_nan());
    }
}
