//! Goals: the changes that sources must cause, and the map from sources to those changes.

use resolvent_model::{Linearization, Observable};

use crate::certificate::{dot, norm};
use crate::error::{Error, Result};
use crate::linear_map::LinearMap;
use crate::operator::Operator;
use crate::place::{Place, inside, shape};

/// A wanted change.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// A change of an observable.
    Observable {
        /// The observable J.
        observable: Observable,
        /// The wanted change of J.
        change: f64,
    },
    /// A change of the field at a place.
    Field {
        /// The place.
        place: Place,
        /// The wanted change of h at the place, `[d]`.
        change: Vec<f32>,
    },
}

impl Goal {
    /// Returns the last token on which the goal can depend.
    pub fn position(&self) -> usize {
        match self {
            Self::Observable { observable, .. } => observable.position(),
            Self::Field { place, .. } => place.1,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Observable { observable, change } => write!(f, "{observable} by {change}"),
            Self::Field { place: (level, token), change } => {
                write!(f, "h[{level},{token}] by a vector of length {:.4}", norm(change))
            }
        }
    }
}

/// Returns the observables among goals.
pub(super) fn observables(goals: &[Goal]) -> impl Iterator<Item = &Observable> {
    goals.iter().filter_map(|goal| match goal {
        Goal::Observable { observable, .. } => Some(observable),
        Goal::Field { .. } => None,
    })
}

/// Returns the elements of a field `[L+1, T, d]` at places.
fn at_places<'f>(
    field: &'f [f32],
    places: &'f [Place],
    (tokens, d): (usize, usize),
) -> impl Iterator<Item = &'f f32> + 'f {
    places.iter().flat_map(move |&(l, t)| &field[(l * tokens + t) * d..][..d])
}

/// Largest number of elements of A that are computed once. Beyond it, a pass through the model takes less time than a
/// product with all of them.
const KNOWN: usize = 1 << 22;

/// Goals as a linear system A: it maps sources at the sites, side by side `[sites d]`, to changes `[rows]`.
pub(super) struct System<'a> {
    linear: &'a Linearization<'a>,
    sites: Vec<Place>,
    d: usize,
    /// The first rows of A, `[sites d]` each: the sensitivities of each observable at the sites, and the rows of the
    /// field's goals after [`System::with_rows`].
    known: Vec<Vec<f32>>,
    /// How many goals are observables.
    observables: usize,
    /// Operator from the sites to the places of the field that have goals, unless its rows are known.
    field: Option<Operator<'a>>,
    /// The wanted changes `[rows]`, those of observables first.
    pub(super) target: Vec<f32>,
}

impl<'a> System<'a> {
    /// Creates the system of goals. `fields` are the sensitivity fields `[L+1, T, d]` of the observables among them.
    pub(super) fn new(
        linear: &'a Linearization<'a>,
        (goals, fields): (&[Goal], &[Vec<f32>]),
        sites: &[Place],
    ) -> Result<Self> {
        let run = linear.run();
        let (_, tokens, d) = shape(run);
        sites.iter().try_for_each(|place| inside(*place, run))?;
        let at = |field: &Vec<f32>| -> Vec<f32> { at_places(field, sites, (tokens, d)).copied().collect() };
        let known: Vec<Vec<f32>> = fields.iter().map(at).collect();
        let (mut places, mut target, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for goal in goals {
            match goal {
                Goal::Observable { change, .. } => target.push(*change as f32),
                Goal::Field { place, change } if change.len() == d => {
                    places.push(*place);
                    rest.extend_from_slice(change);
                }
                Goal::Field { place: (l, t), change } => {
                    let have = change.len();
                    return Err(Error::Input(format!(
                        "the goal at {l},{t} has {have} elements, and the field is {d} wide"
                    )));
                }
            }
        }
        target.extend(rest);
        if target.iter().all(|x| *x == 0.0) || !target.iter().all(|x| x.is_finite()) {
            return Err(Error::Input("goals need a finite change that is not zero; see --goal".to_owned()));
        }
        let field = if places.is_empty() { None } else { Some(Operator::new(linear, sites, &places)?) };
        Ok(Self { linear, sites: sites.to_vec(), d, observables: known.len(), known, field, target })
    }

    /// Returns the system with the rows of its field goals, for methods that apply it thousands of times: the passes
    /// that compute them are as many as the goals have elements. A large system is returned as it is.
    pub(super) fn with_rows(mut self) -> Result<Self> {
        let Some(operator) = self.field.take_if(|operator| operator.rows() * operator.columns() <= KNOWN) else {
            return Ok(self);
        };
        let unit = |i: usize| (0..operator.rows()).map(|j| f32::from(u8::from(i == j))).collect();
        self.known.extend(operator.apply_transpose(&(0..operator.rows()).map(unit).collect::<Vec<Vec<f32>>>())?);
        Ok(self)
    }

    /// Returns the system with the same goals and sources at some of the sites only. `some` are indices into the sites.
    pub(super) fn at(&self, some: &[usize]) -> Result<Self> {
        let sites: Vec<Place> = some.iter().map(|&i| self.sites[i]).collect();
        let field = match &self.field {
            Some(operator) => Some(Operator::new(self.linear, &sites, operator.to())?),
            None => None,
        };
        let known = self.known.iter().map(|row| self.pick(some, row)).collect();
        let Self { linear, d, observables, .. } = *self;
        Ok(Self { linear, sites, d, known, observables, field, target: self.target.clone() })
    }

    /// Selects the vectors of some sites from the vectors of all sites.
    pub(super) fn pick(&self, some: &[usize], x: &[f32]) -> Vec<f32> {
        some.iter().flat_map(|&i| &x[i * self.d..(i + 1) * self.d]).copied().collect()
    }

    /// Returns vectors for all sites: `x` at some of them, and zeros elsewhere.
    pub(super) fn spread(&self, some: &[usize], x: &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; self.columns()];
        for (&i, x) in some.iter().zip(x.chunks(self.d)) {
            all[i * self.d..(i + 1) * self.d].copy_from_slice(x);
        }
        all
    }

    /// Returns the sensitivities of each observable at the sites, `[sites d]`.
    pub(super) fn sensitivities(&self) -> &[Vec<f32>] {
        &self.known[..self.observables]
    }

    /// Returns whether the system can be applied without a pass through the model.
    pub(super) fn is_cheap(&self) -> bool {
        self.field.is_none()
    }

    /// Returns `b - A x`: the part of the goal that sources x miss to first order.
    pub(super) fn rest(&self, x: &[f32]) -> Result<Vec<f32>> {
        let reached = self.apply(&[x.to_vec()])?.remove(0);
        Ok(self.target.iter().zip(reached).map(|(b, a)| b - a).collect())
    }

    /// Returns `|A_g^T y|` for each site g: how much a unit source at g can contribute to a change y.
    pub(super) fn gain(&self, y: &[f32]) -> Result<Vec<f64>> {
        let all = self.apply_transpose(&[y.to_vec()])?.remove(0);
        Ok(all.chunks(self.d).map(norm).collect())
    }

    /// Returns the places where sources may act.
    pub(super) fn sites(&self) -> &[Place] {
        &self.sites
    }

    /// Returns the length d of the vector of one site.
    pub(super) fn width(&self) -> usize {
        self.d
    }
}

impl LinearMap for System<'_> {
    fn rows(&self) -> usize {
        self.target.len()
    }

    fn columns(&self) -> usize {
        self.sites.len() * self.d
    }

    fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let mut out: Vec<Vec<f32>> =
            x.iter().map(|x| self.known.iter().map(|row| dot(row, x) as f32).collect()).collect();
        if let Some(operator) = &self.field {
            for (out, rows) in out.iter_mut().zip(operator.apply(x)?) {
                out.extend(rows);
            }
        }
        Ok(out)
    }

    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let mut out = match &self.field {
            Some(operator) => {
                let rest: Vec<Vec<f32>> = y.iter().map(|y| y[self.known.len()..].to_vec()).collect();
                operator.apply_transpose(&rest)?
            }
            None => vec![vec![0.0; self.columns()]; y.len()],
        };
        for (out, y) in out.iter_mut().zip(y) {
            for (row, weight) in self.known.iter().zip(y) {
                out.iter_mut().zip(row).for_each(|(out, element)| *out += weight * element);
            }
        }
        Ok(out)
    }

    fn scratch(&self, count: usize) -> usize {
        self.field.as_ref().map_or(0, |operator| operator.scratch(count))
    }
}
