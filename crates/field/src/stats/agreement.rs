//! Statistics of pairs (predicted, actual) from two passes over them, and from their ranks: pairs need not fit into
//! memory.

/// Statistics of predictions; see the methods of [`Pairs`](super::Pairs).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Number of pairs.
    pub count: usize,
    /// Number of pairs whose actual value is 0 or below the floor: they share a rank.
    pub ties: usize,
    /// Reason why the correlations are undefined, if they are.
    pub undefined: Option<&'static str>,
    /// Linear correlation.
    pub pearson: f64,
    /// Rank correlation.
    pub spearman: f64,
    /// Share of pairs with equal signs.
    pub sign: f64,
    /// Slope of actual over predicted values.
    pub slope: f64,
    /// Relative L2 error.
    pub error: f64,
}

impl Agreement {
    /// Returns the statistics of pairs from both passes and the rank correlation.
    pub(crate) fn of(sums: &Sums, centred: &Centred, spearman: f64) -> Self {
        Self {
            count: sums.count,
            ties: sums.ties,
            undefined: sums.undefined(),
            pearson: centred.correlation(sums),
            spearman,
            sign: centred.sign(),
            slope: sums.slope(),
            error: sums.relative_error(),
        }
    }
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |x: f64| if x.is_nan() { "undefined".to_owned() } else { format!("{x:.3}") };
        let sign = match self.sign.is_nan() {
            true => shown(self.sign),
            false => format!("{:.1} %", 100.0 * self.sign),
        };
        write!(f, "n {}", self.count)?;
        if self.ties > 0 {
            write!(f, " ({} tied at 0)", self.ties)?;
        }
        let [pearson, spearman, slope, error] = [self.pearson, self.spearman, self.slope, self.error].map(shown);
        write!(f, ", Pearson {pearson}, Spearman {spearman}, same sign {sign}, slope {slope}, relative error {error}")?;
        self.undefined.map_or(Ok(()), |why| write!(f, " (undefined: {why})"))
    }
}

/// Returns a pair of values that are accurate to `floor`; see [`Pairs::above`](super::Pairs::above).
pub(crate) fn above(predicted: f32, actual: f32, floor: f64) -> Option<(f64, f64)> {
    let known = |x: f32| if f64::from(x).abs() <= floor { 0.0 } else { f64::from(x) };
    (predicted != 0.0 || actual != 0.0).then(|| (known(predicted), known(actual)))
}

/// The sums of a first pass over pairs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) count: usize,
    ties: usize,
    /// The first pair, and whether all others equal it on each side: predicted, actual.
    first: Option<[f64; 2]>,
    varies: [bool; 2],
    infinite: [bool; 2],
    /// The largest actual size.
    largest: f64,
    /// Sums of both sides, and of products and squares.
    sum: [f64; 2],
    product: f64,
    square: [f64; 2],
    difference: f64,
}

impl Sums {
    /// Returns the sums of pairs.
    pub(crate) fn of(pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut sums = Self::default();
        pairs.for_each(|(predicted, actual)| sums.add(predicted, actual));
        sums
    }

    pub(crate) fn add(&mut self, predicted: f64, actual: f64) {
        let pair = [predicted, actual];
        let first = *self.first.get_or_insert(pair);
        self.count += 1;
        self.ties += usize::from(actual == 0.0);
        for side in 0..2 {
            self.varies[side] |= pair[side] != first[side];
            self.infinite[side] |= !pair[side].is_finite();
            self.sum[side] += pair[side];
            self.square[side] += pair[side] * pair[side];
        }
        self.largest = self.largest.max(actual.abs());
        self.product += predicted * actual;
        self.difference += (predicted - actual).powi(2);
    }

    /// Returns the reason why correlations are undefined, if they are.
    fn undefined(&self) -> Option<&'static str> {
        match () {
            () if self.count == 0 => Some("no effect and no prediction differs from 0"),
            () if self.infinite[1] => Some("an actual value is not finite"),
            () if self.infinite[0] => Some("a predicted value is not finite"),
            () if self.count == 1 => Some("there is one pair"),
            () if self.ties == self.count => Some("all actual values are 0"),
            () if !self.varies[1] => Some("all actual values are equal"),
            () if !self.varies[0] => Some("all predicted values are equal"),
            () => None,
        }
    }

    /// Returns the least-squares slope, through the origin, of the actual values over the predicted ones.
    pub(crate) fn slope(&self) -> f64 {
        self.product / self.square[0]
    }

    /// Returns `|predicted - actual| / |actual|`.
    pub(crate) fn relative_error(&self) -> f64 {
        (self.difference / self.square[1]).sqrt()
    }
}

/// The sums of a second pass over the same pairs, which knows their means and the largest size.
#[derive(Clone, Debug)]
pub(crate) struct Centred {
    mean: [f64; 2],
    /// Actual sizes above this count for the sign.
    least: f64,
    product: f64,
    square: [f64; 2],
    counted: usize,
    same: usize,
}

impl Centred {
    /// Returns the sums over no pairs yet.
    pub(crate) fn after(sums: &Sums) -> Self {
        let mean = sums.sum.map(|sum| sum / sums.count as f64);
        Self { mean, least: 0.01 * sums.largest, product: 0.0, square: [0.0; 2], counted: 0, same: 0 }
    }

    /// Returns the sums over all pairs.
    pub(crate) fn of(sums: &Sums, pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut centred = Self::after(sums);
        pairs.for_each(|(predicted, actual)| centred.add(predicted, actual));
        centred
    }

    pub(crate) fn add(&mut self, predicted: f64, actual: f64) {
        let [x, y] = [predicted - self.mean[0], actual - self.mean[1]];
        self.product += x * y;
        self.square[0] += x.powi(2);
        self.square[1] += y.powi(2);
        if actual.abs() > self.least {
            self.counted += 1;
            self.same += usize::from(predicted * actual > 0.0);
        }
    }

    /// Returns Pearson's correlation, or NaN if one side is constant.
    fn correlation(&self, sums: &Sums) -> f64 {
        match sums.varies {
            [true, true] => self.product / (self.square[0] * self.square[1]).sqrt(),
            _ => f64::NAN,
        }
    }

    /// Returns the share of pairs with equal signs, of those whose actual size exceeds 1 % of the largest.
    pub(crate) fn sign(&self) -> f64 {
        self.same as f64 / self.counted as f64
    }
}
