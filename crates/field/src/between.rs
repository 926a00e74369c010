//! Runs between two prompts, for predictions that average derivatives along the way.

use resolvent_model::{Edit, EditedPrompt, Run, Site, captures};

use crate::case::Case;
use crate::error::Result;

/// Pairs of runs, with the way from the corrupted to the clean values of one site.
pub(crate) struct Between<'a> {
    cases: &'a [Case<'a>],
    moved: Site,
    /// See [`differences`].
    way: Vec<Vec<f32>>,
}

impl<'a> Between<'a> {
    /// Reads the way of the embeddings.
    pub(crate) fn embeddings(cases: &'a [Case<'a>]) -> Result<Self> {
        Self::at(Site::ResidPre(0), cases)
    }

    /// Reads the way of a site of the stream.
    pub(crate) fn at(moved: Site, cases: &'a [Case<'a>]) -> Result<Self> {
        Ok(Self { cases, moved, way: differences(moved, cases)? })
    }

    /// Runs the corrupted prompt of each case with all rows of the site moved by `share` of the way. Values at `sites`
    /// can be read.
    pub(crate) fn runs(&self, share: f32, sites: &[Site]) -> Result<Vec<Run>> {
        let Some(first) = self.cases.first() else { return Ok(Vec::new()) };
        let own = self.cases.iter().map(|case| case.corrupted.edits());
        let edits: Vec<Vec<Edit>> = own.zip(self.moves(share)).map(|(own, moves)| [own, &moves].concat()).collect();
        let with = self.cases.iter().zip(&edits);
        let prompts: Vec<EditedPrompt<'_>> =
            with.map(|(case, edits)| EditedPrompt { tokens: case.corrupted.tokens(), edits }).collect();
        Ok(first.corrupted.model().run_edited(&prompts, sites)?)
    }

    /// Returns the edits that move all rows of the site by `share` of the way, for each case.
    pub(crate) fn moves(&self, share: f32) -> Vec<Vec<Edit>> {
        let moved = |(t, row): (usize, &[f32])| Edit::add(self.moved, t, row.iter().map(|x| share * x).collect());
        let of = |(case, way): (&Case<'_>, &Vec<f32>)| {
            way.chunks(case.corrupted.model().sizes().d).enumerate().map(moved).collect()
        };
        self.cases.iter().zip(&self.way).map(of).collect()
    }
}

/// Returns the middles of `steps` equal parts of the way, as shares of it.
pub(crate) fn middles(steps: usize) -> impl Iterator<Item = f32> {
    (0..steps).map(move |step| (step as f32 + 0.5) / steps as f32)
}

/// Returns the clean minus the corrupted values `[T, d]` of a site of the stream, for each case.
pub(crate) fn differences(site: Site, cases: &[Case<'_>]) -> Result<Vec<Vec<f32>>> {
    let site = [site];
    let both = cases.iter().flat_map(|case| [(case.clean, &site[..]), (case.corrupted, &site[..])]);
    let captured = captures(&both.collect::<Vec<_>>())?;
    let minus = |both: &[Vec<Vec<f32>>]| both[0][0].iter().zip(&both[1][0]).map(|(a, b)| a - b).collect();
    Ok(captured.chunks(2).map(minus).collect())
}
