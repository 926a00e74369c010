//! Edits: changes of a run, each of one site at one token.

use std::ops::Range;

use resolvent_engine::Tensor;
use resolvent_ops::attention_edit::HIDDEN;
use resolvent_ops::splice;

use crate::arch::Sizes;
use crate::batch::{KeyEdit, ScheduledChange};
use crate::error::{Error, Result};
use crate::site::Site;

/// A change of the value y of a site at one token.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// `y + s`
    Add(Vec<f32>),
    /// `s`, for example another run's value or a mean.
    Put(Vec<f32>),
    /// `a y`; 0 ablates.
    Scale(f32),
    /// `y` without its component along `s`.
    Project(Vec<f32>),
    /// The value of the same site in another run, which stays on the device.
    Take(DeviceRow),
}

/// A value of a site at one token of a run, on the device; see [`crate::Run::row_on_device`].
#[derive(Clone, Debug)]
pub struct DeviceRow {
    /// All rows of the value that contains the site's columns.
    pub(crate) values: Tensor,
    pub(crate) row: usize,
    pub(crate) columns: Range<usize>,
}

impl PartialEq for DeviceRow {
    fn eq(&self, other: &Self) -> bool {
        let place = |of: &Self| (of.values.buffer().id(), of.row, of.columns.clone());
        place(self) == place(other)
    }
}

/// A [`Change`] at a site and a token. Edits at one place are applied in the given order.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Site of the model.
    pub site: Site,
    /// Token, from 0.
    pub token: usize,
    /// The change of the value.
    pub change: Change,
}

impl Edit {
    /// Returns the edit that adds `s` (a source) to the value.
    pub fn add(site: Site, token: usize, s: Vec<f32>) -> Self {
        Self { site, token, change: Change::Add(s) }
    }

    /// Returns the edit that replaces the value by `s` (a patch). An attention score of minus infinity hides its key.
    pub fn put(site: Site, token: usize, s: Vec<f32>) -> Self {
        Self { site, token, change: Change::Put(s) }
    }

    /// Returns the edit that replaces the value by that of the same site in another run. Nothing is copied to the host
    /// if both runs come from one call of [`crate::Model::run_all`].
    pub fn take(site: Site, token: usize, row: DeviceRow) -> Self {
        Self { site, token, change: Change::Take(row) }
    }

    /// Returns the edit that multiplies the value by `amount`.
    pub fn scale(site: Site, token: usize, amount: f32) -> Self {
        Self { site, token, change: Change::Scale(amount) }
    }

    /// Returns the edit that removes the component along `s` from the value.
    pub fn project_out(site: Site, token: usize, s: Vec<f32>) -> Self {
        Self { site, token, change: Change::Project(s) }
    }

    /// Returns the edit that replaces the value by zero.
    pub fn ablate(site: Site, token: usize) -> Self {
        Self::scale(site, token, 0.0)
    }

    /// Returns the edit that replaces the value by a mean over other runs.
    pub fn ablate_to_mean(site: Site, token: usize, mean: Vec<f32>) -> Self {
        Self::put(site, token, mean)
    }

    /// Checks the site, the token (below `tokens`), and the length and elements of the vector.
    pub(crate) fn check(&self, sizes: &Sizes, tokens: usize) -> Result<()> {
        self.site.check(sizes)?;
        if self.token >= tokens {
            let (token, last) = (self.token, tokens - 1);
            return Err(Error::Place(format!("{} at token {token}: the prompt has tokens 0 to {last}", self.site)));
        }
        self.check_key()?;
        self.check_scale()?;
        let width = self.site.width(sizes);
        let elements: &[f32] = match &self.change {
            Change::Add(s) | Change::Put(s) | Change::Project(s) if s.len() != width => {
                let (site, length) = (self.site, s.len());
                return Err(Error::Place(format!(
                    "{site} is {width} wide, but the given vector has {length} elements"
                )));
            }
            Change::Add(s) | Change::Put(s) | Change::Project(s) => s,
            Change::Scale(a) => std::slice::from_ref(a),
            Change::Take(row) if row.columns != self.site.columns(sizes) => {
                return Err(Error::Place(format!("the row to take is not a value of {}", self.site)));
            }
            Change::Take(_) => &[],
        };
        // A score of minus infinity hides its key.
        let hides = |x: f32| {
            x == f32::NEG_INFINITY && matches!((self.site, &self.change), (Site::AttnScores(..), Change::Put(_)))
        };
        match elements.iter().position(|x| !x.is_finite() && !hides(*x)) {
            Some(i) => {
                let (site, token, x) = (self.site, self.token, elements[i]);
                // The vector may come from an analysis, whose sources grow with an amplitude or a goal.
                let reason = match self.change {
                    Change::Scale(_) => format!("the factor is {x}; give a finite one"),
                    _ => format!(
                        "element {i} of the vector is {x}; give a finite vector, or a smaller amplitude or goal"
                    ),
                };
                Err(Error::Place(format!("{site} at token {token}: {reason}")))
            }
            None => Ok(()),
        }
    }

    /// Checks that the query sees the key of an attention score or weight.
    fn check_key(&self) -> Result<()> {
        let (Some(key), site, token) = (self.site.key(), self.site, self.token) else { return Ok(()) };
        match self.change {
            _ if key > token => Err(Error::Place(format!(
                "{site} at token {token}: a query sees its own key and earlier ones; give a key from 0 to {token}"
            ))),
            Change::Take(_) => {
                Err(Error::Place(format!("{site}: its value is not on the device; put the value instead")))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the scale of a norm does not become zero.
    fn check_scale(&self) -> Result<()> {
        let (Site::NormScale(_), Self { site, token, .. }) = (self.site, self) else { return Ok(()) };
        let reason = match &self.change {
            Change::Put(s) if s.first() == Some(&0.0) => "a norm divides by its scale; put another number than 0",
            Change::Scale(0.0) => "a norm divides by its scale; give another factor than 0",
            Change::Project(_) => "a scale is one number; use add, put or scale",
            _ => return Ok(()),
        };
        Err(Error::Place(format!("{site} at token {token}: {reason}")))
    }

    /// Returns the edit of a batch row, for the primal. A row to take is one of the base run: see
    /// [`crate::taken::resolved`].
    pub(crate) fn primal(&self, sizes: &Sizes) -> ScheduledChange {
        let row = match (&self.change, self.site) {
            (_, Site::AttnScores(_, head, key)) => return self.of_key(head, key, true),
            (_, Site::Pattern(_, head, key)) => return self.of_key(head, key, false),
            (Change::Add(s), _) => splice::RowEdit::Add { amount: 1.0, s: s.clone() },
            (Change::Put(s), _) => splice::RowEdit::Put { s: s.clone() },
            (Change::Scale(amount), _) => splice::RowEdit::Scale { amount: *amount, width: self.site.width(sizes) },
            (Change::Project(s), _) => splice::RowEdit::Project { s: s.clone() },
            (Change::Take(row), _) => splice::RowEdit::Take { row: row.row, width: row.columns.len() },
        };
        ScheduledChange::Row(row)
    }

    /// Returns the edit of one key, of its score or of its weight.
    fn of_key(&self, head: usize, key: usize, is_score: bool) -> ScheduledChange {
        let [factor, add] = match &self.change {
            Change::Add(s) => [1.0, s[0]],
            Change::Put(s) => [0.0, if is_score { s[0].max(HIDDEN) } else { s[0] }],
            Change::Scale(amount) => [*amount, 0.0],
            // A value of one element is along every direction but zero.
            Change::Project(s) => [f32::from(u8::from(s[0] == 0.0)), 0.0],
            Change::Take(_) => [1.0, 0.0],
        };
        ScheduledChange::Key(KeyEdit { head, key, is_score, factor, add })
    }

    /// Returns the linear part of the edit, or `None` if it is the identity. Edits of scores and weights have none: the
    /// attention that they edit has derivatives of its own.
    ///
    /// The linear part is symmetric, so it serves tangents and cotangents.
    pub(crate) fn linear(&self, sizes: &Sizes) -> Option<ScheduledChange> {
        match &self.change {
            _ if self.site.key().is_some() => None,
            Change::Add(_) => None,
            Change::Put(_) | Change::Take(_) => {
                Some(ScheduledChange::Row(splice::RowEdit::Scale { amount: 0.0, width: self.site.width(sizes) }))
            }
            Change::Scale(_) | Change::Project(_) => Some(self.primal(sizes)),
        }
    }
}
