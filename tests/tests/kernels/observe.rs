//! Observe: scalars of rows of logits through the softmax, their slopes and second derivatives, over vocabularies
//! below, at and past the parts of its sums.

use resolvent_engine::{Device, Result, Tensor};
use resolvent_ops::observe::{Coefficients, Observed, Sources, log_p, log_sum_exp, pick};
use resolvent_reference::Scalar;
use resolvent_reference::ops::{Observe, log_softmax, observe as reference};
use resolvent_tests::truth::{self, Function, inner, wide};
use resolvent_tests::{Labelled, Random, Worst, subjects, tolerance};

/// Points of one vocabulary, with tangents.
struct Case {
    vocab: usize,
    points: usize,
    logits: Vec<f32>,
    /// Two base distributions, as logits.
    bases: Vec<f32>,
    /// Rows of values: random numbers, a set, and weights of log-probabilities.
    u: Vec<f32>,
    coefficients: Vec<Coefficients>,
    tangents: Vec<f32>,
    /// The point of each tangent.
    of: Vec<u32>,
}

const NAMES: [&str; 6] =
    ["observe.totals", "observe.normalise", "observe.moments", "observe.slope", "observe.spread", "observe.turn"];

impl Case {
    fn new(vocab: usize, points: usize, tangents: usize) -> Self {
        let mut random = Random::new(vocab as u64);
        // Small vocabularies get nearer logits, so that no entry has all of the probability.
        let width = if vocab < 64 { 1.0 } else { 4.0 };
        let logits: Vec<f32> = random.normals(points * vocab).iter().map(|x| width * x - 30.0).collect();
        let mut bases = random.normals(2 * vocab);
        // One base is far from the first point, and one is near to it.
        bases[..vocab].iter_mut().for_each(|b| *b *= 5.0);
        for i in 0..vocab {
            bases[vocab + i] = logits[i] + 0.1 * bases[vocab + i];
        }
        let set = (0..vocab).map(|i| if i % 3 == 1 { 1.0 } else { 0.0 });
        // A log-probability, and half of another.
        let targets = (0..vocab).map(|i| {
            if i == 0 {
                1.0
            } else if i == vocab / 2 {
                0.5
            } else {
                0.0
            }
        });
        let u = random.normals(vocab).into_iter().chain(set).chain(targets).collect();
        let all = [
            Coefficients { log_sum_exp: -1.5, targets: Some(2), ..Default::default() },
            Coefficients { set: Some(1), ..Default::default() },
            Coefficients { log_p: -1.0, ..Default::default() },
            Coefficients { to_base: 1.0, base: Some(1), ..Default::default() },
            Coefficients { from_base: 1.0, base: Some(0), ..Default::default() },
            Coefficients {
                log_sum_exp: 0.5,
                log_p: -0.75,
                to_base: 1.25,
                from_base: 0.25,
                base: Some(0),
                set: Some(0),
                ..Default::default()
            },
        ];
        let coefficients = (0..points).map(|i| all[(vocab + i) % all.len()]).collect();
        let tangents_of: Vec<f32> = random.normals(tangents * vocab).iter().map(|t| t + 2.0).collect();
        let of = (0..tangents).map(|i| (i % points) as u32).collect();
        Self { vocab, points, logits, bases, u, coefficients, tangents: tangents_of, of }
    }

    /// Computes the arrays of [`NAMES`].
    fn on(&self, device: &Device) -> Result<Vec<Tensor>> {
        let rows = |name: &str, data: &[f32]| {
            device.upload(name, &[("rows", data.len() / self.vocab), ("vocab", self.vocab)], data)
        };
        let (logits, bases) = (rows("logits", &self.logits)?, rows("bases", &self.bases)?);
        let (t, of) = (rows("t", &self.tangents)?, device.upload("points", &[("rows", self.of.len())], &self.of)?);
        let mut rec = device.record();
        let of_bases = log_sum_exp(&mut rec, &bases)?;
        let sources = Sources { log_b: log_p(&mut rec, &bases, &of_bases)?, u: rows("u", &self.u)? };
        let totals = log_sum_exp(&mut rec, &logits)?;
        let own = log_p(&mut rec, &logits, &totals)?;
        let observed = Observed::new(&mut rec, &own, &self.coefficients, &sources)?;
        let sloped = observed.slope(&mut rec)?;
        let spread = observed.spread(&mut rec, &sloped, &t, &of)?;
        let turned = observed.turn(&mut rec, &sloped, (&t, &of), &spread)?;
        device.submit(rec)?;
        Ok(vec![totals, own, observed.moments, sloped.slope, spread.moments, turned])
    }

    /// The observables in f64, for each point.
    fn truth(&self) -> Vec<Point> {
        let rows = |data: &[f32]| data.chunks(self.vocab).map(wide).collect::<Vec<Vec<f64>>>();
        let bases: Vec<Vec<f64>> = rows(&self.bases).iter().map(|b| log_softmax(b).1).collect();
        let (u, logits) = (rows(&self.u), rows(&self.logits));
        let each = self.coefficients.iter().zip(logits);
        let point = |(c, logits): (&Coefficients, Vec<f64>)| Point {
            coefficients: *c,
            logits,
            log_b: c.base.map(|row| bases[row as usize].clone()),
            u: c.set.map(|row| u[row as usize].clone()),
            targets: c.targets.map(|row| u[row as usize].clone()),
        };
        each.map(point).collect()
    }

    fn name(&self) -> String {
        format!("vocab {}, points {}, tangents {}", self.vocab, self.points, self.of.len())
    }
}

/// One point in f64, as a function of its logits.
struct Point {
    coefficients: Coefficients,
    logits: Vec<f64>,
    log_b: Option<Vec<f64>>,
    u: Option<Vec<f64>>,
    targets: Option<Vec<f64>>,
}

impl Point {
    fn terms(&self) -> Observe<'_> {
        let c = self.coefficients;
        let [log_sum_exp, log_p, to_base, from_base] = [c.log_sum_exp, c.log_p, c.to_base, c.from_base].map(f64::from);
        Observe { log_sum_exp, log_p, to_base, from_base, log_b: self.log_b.as_deref(), u: self.u.as_deref() }
    }

    /// One of its terms alone.
    fn only(&self, terms: Observe<'_>) -> f64 {
        reference(&self.logits, &terms)
    }

    /// `E[u] + e E[log p]`, `KL(p || b)`, `KL(b || p)`, and 0.
    fn moments(&self) -> [f64; 4] {
        let (all, one) = (self.terms(), Observe { log_b: self.log_b.as_deref(), ..Observe::default() });
        let mean = self.only(Observe { log_p: all.log_p, u: all.u, ..Observe::default() });
        let kl = [(1.0, 0.0), (0.0, 1.0)].map(|(to_base, from_base)| self.only(Observe { to_base, from_base, ..one }));
        [mean, kl[0], kl[1], 0.0]
    }

    /// g - E[g], by its definition.
    fn centred(&self) -> Vec<f64> {
        let (terms, log_p) = (self.terms(), log_softmax(&self.logits).1);
        let g = |(i, l): (usize, &f64)| {
            let apart = terms.log_b.map_or(0.0, |b| l - b[i]);
            terms.u.map_or(0.0, |u| u[i]) + terms.log_p * l + terms.to_base * apart
        };
        let g: Vec<f64> = log_p.iter().enumerate().map(g).collect();
        let mean: f64 = g.iter().zip(&log_p).map(|(g, l)| l.exp() * g).sum();
        g.iter().map(|g| g - mean).collect()
    }

    /// `E[s]`, `E[s^2]`, `E[s c]`, `E[s^2 c]` with `s = t - E[t]` and c of [`Point::centred`].
    /// Returns `E[s^2 |z + e + k + f + c|]`: the size of the terms of the second derivative along t.
    fn size_along(&self, t: &[f64]) -> f64 {
        let (p, c): (Vec<f64>, _) = (log_softmax(&self.logits).1.iter().map(|l| l.exp()).collect(), self.centred());
        let (mean, terms) = (inner(&p, t), self.terms());
        let total = terms.log_sum_exp + terms.log_p + terms.to_base + terms.from_base;
        (0..t.len()).map(|i| p[i] * (t[i] - mean).powi(2) * (total.abs() + c[i].abs())).sum()
    }

    fn spread(&self, t: &[f64]) -> [f64; 4] {
        let (p, c): (Vec<f64>, _) = (log_softmax(&self.logits).1.iter().map(|l| l.exp()).collect(), self.centred());
        let mean = inner(&p, t);
        let sum = |f: &dyn Fn(f64, f64) -> f64| (0..t.len()).map(|i| p[i] * f(t[i] - mean, c[i])).sum::<f64>();
        [0.0, sum(&|s, _| s * s), sum(&|s, c| s * c), sum(&|s, c| s * s * c)]
    }
}

impl Function for Point {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let mut j = reference(x, &self.terms());
        for (&l, &y) in x.iter().zip(self.targets.iter().flatten()) {
            j += l * S::from_f64(y);
        }
        vec![j]
    }
}

fn unit(n: usize, i: usize) -> Vec<f64> {
    (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect()
}

#[test]
fn observe() {
    let mut worst = NAMES.map(Worst::new);
    for (vocab, points, tangents) in
        [(1, 1, 1), (2, 2, 3), (7, 6, 7), (64, 3, 2), (65, 6, 6), (1023, 2, 1), (1024, 1, 2), (1025, 6, 6)]
    {
        let case = Case::new(vocab, points, tangents);
        let truth = case.truth();
        let at = |p: &Point, i| truth::jvp(p, &p.logits, &unit(vocab, i))[0];
        let tangent = |row: usize| wide(&case.tangents[row * vocab..][..vocab]);
        let rows: Vec<(&Point, Vec<f64>)> =
            case.of.iter().enumerate().map(|(row, &of)| (&truth[of as usize], tangent(row))).collect();
        let turned = |(p, t): &(&Point, Vec<f64>)| {
            let each = (0..vocab).map(|i| truth::second_derivative(*p, &p.logits, [&unit(vocab, i), t])[1][0]);
            each.collect::<Vec<f64>>()
        };
        let normalised: Vec<(f64, Vec<f64>)> = truth.iter().map(|p| log_softmax(&p.logits)).collect();
        let want: [Vec<f64>; 6] = [
            normalised.iter().map(|(z, _)| *z).collect(),
            normalised.iter().flat_map(|(_, log_p)| log_p.clone()).collect(),
            truth.iter().flat_map(Point::moments).collect(),
            truth.iter().flat_map(|p| (0..vocab).map(|i| at(p, i)).collect::<Vec<f64>>()).collect(),
            rows.iter().flat_map(|(p, t)| p.spread(t)).collect(),
            rows.iter().flat_map(turned).collect(),
        ];
        let mut host: Vec<Labelled> = Vec::new();
        for on in subjects() {
            let tensors = case.on(on.device()).unwrap_or_else(|e| panic!("{}: {}: {e}", case.name(), on.name()));
            let numbers = |(t, name): (&Tensor, &str)| on.label(&compared(&on.read(t), name));
            let got: Vec<Labelled> = tensors.iter().zip(NAMES).map(numbers).collect();
            for (i, worst) in worst.iter_mut().enumerate() {
                let allowed = tolerance::OBSERVE;
                worst.check(case.name(), &got[i], &Labelled::reference(want[i].clone()), allowed);
                if let Some(host) = host.get(i) {
                    worst.check(case.name(), &got[i], host, 2.0 * allowed);
                }
            }
            if on.is_host() {
                host = got;
            }
        }
    }
}

/// The array as it is compared: Z in place of its two parts, and the mean of s, which is rounding alone, as zero.
fn compared(got: &Labelled, name: &str) -> Vec<f64> {
    let got = got.values();
    match name {
        "observe.totals" => got.chunks(2).map(|parts| parts[0] + parts[1]).collect(),
        "observe.spread" => {
            let each = got.chunks(4).flat_map(|m| {
                // The tangents have the mean 2: E[s] is the rounding of their mean.
                assert!(m[0].abs() <= 16.0 * tolerance::U, "the mean of s is {}", m[0]);
                [0.0, m[1], m[2], m[3]]
            });
            each.collect()
        }
        _ => got.to_vec(),
    }
}

/// Vocabularies of real models, along random directions: the slope against the first derivative, and the turned slope
/// against the mixed second derivative and that along the tangent.
#[test]
fn large_vocabularies() {
    let mut worst = ["observe.slope, large", "observe.turn, large", "observe.along, large"].map(Worst::new);
    for (vocab, points) in [(50_257, 6), (256_000, 2)] {
        let case = Case::new(vocab, points, points);
        let truth = case.truth();
        for on in subjects() {
            let tensors = case.on(on.device()).unwrap_or_else(|e| panic!("{}: {}: {e}", case.name(), on.name()));
            let read: Vec<Labelled> = tensors.iter().map(|t| on.read(t)).collect();
            for (i, point) in truth.iter().enumerate() {
                let name = format!("{}, point {i}", case.name());
                let [t, w] = [i, (i + 1) % points].map(|row| wide(&case.tangents[row * vocab..][..vocab]));
                let slope = &read[3].values()[i * vocab..][..vocab];
                let turned = &read[5].values()[i * vocab..][..vocab];
                let [_, mixed] = truth::second_derivative(point, &point.logits, [&w, &t]);
                let [first, along] = truth::jet(point, &point.logits, [&t, &vec![0.0; vocab]]);
                let spread = &read[4].values()[4 * i..][..4];
                let c = point.coefficients;
                let total = f64::from(c.log_sum_exp + c.log_p + c.to_base + c.from_base);
                let along_t = total * spread[1] + spread[3];
                for (n, got, want, size) in [
                    (0, inner(slope, &t), first[0], tolerance::typical(slope, &t)),
                    (1, inner(turned, &w), mixed[0], tolerance::typical(turned, &w)),
                    (2, along_t, along[0], point.size_along(&t)),
                ] {
                    let error = (got - want).abs() / size.max(want.abs());
                    worst[n].within(name.clone(), on.name(), error, tolerance::OBSERVE);
                }
            }
        }
    }
}

/// A run beside itself: every divergence and every slope is zero, exactly.
#[test]
fn a_distribution_does_not_diverge_from_itself() {
    for vocab in [1, 77, 5000] {
        let logits: Vec<f32> = Random::new(3).normals(vocab).iter().map(|x| 6.0 * x + 40.0).collect();
        for (to_base, from_base) in [(1.0, 0.0), (0.0, 1.0), (0.5, -2.0)] {
            for on in subjects() {
                let coefficients = [Coefficients { to_base, from_base, base: Some(0), ..Default::default() }];
                let compute = |device: &Device| -> Result<[Tensor; 2]> {
                    let logits = device.upload("logits", &[("rows", 1), ("vocab", vocab)], &logits)?;
                    let mut rec = device.record();
                    let totals = log_sum_exp(&mut rec, &logits)?;
                    let own = log_p(&mut rec, &logits, &totals)?;
                    let sources = Sources { log_b: own.clone(), u: own.clone() };
                    let observed = Observed::new(&mut rec, &own, &coefficients, &sources)?;
                    let slope = observed.slope(&mut rec)?.slope;
                    device.submit(rec)?;
                    Ok([observed.moments, slope])
                };
                let arrays = compute(on.device()).unwrap_or_else(|e| panic!("{vocab}: {}: {e}", on.name()));
                for array in arrays {
                    assert!(on.read(&array).values().iter().all(|x| *x == 0.0), "{vocab} {}", on.name());
                }
            }
        }
    }
}

/// Where one entry has nearly all of the probability, its log-probability, the slope of it and the entropy keep their
/// digits: they are as small as what is left for the others.
#[test]
fn confident_predictions_keep_their_digits() {
    let mut worst = ["log-probability", "slope", "entropy"].map(Worst::new);
    for gap in [2.0f32, 6.0, 10.0, 14.0] {
        let vocab = 3000;
        let mut logits: Vec<f32> = Random::new(5).normals(vocab).iter().map(|x| x - 40.0).collect();
        logits[1700] = -30.0 + gap;
        let point = |coefficients| Point { coefficients, logits: wide(&logits), log_b: None, u: None, targets: None };
        let mut y = vec![0.0f32; vocab];
        y[1700] = 1.0;
        let log_prob = Coefficients { log_sum_exp: -1.0, targets: Some(0), ..Default::default() };
        let entropy = Coefficients { log_p: -1.0, ..Default::default() };
        let (_, truth) = log_softmax(&wide(&logits));
        let slope: Vec<f64> =
            truth.iter().zip(&y).map(|(l, y)| if *y > 0.0 { -l.exp_m1() } else { -l.exp() }).collect();
        let [want, ..] = point(entropy).moments();
        for on in subjects() {
            let compute = |device: &Device| -> Result<[Tensor; 4]> {
                let two =
                    device.upload("logits", &[("rows", 2), ("vocab", vocab)], &[&logits[..], &logits].concat())?;
                let y = device.upload("y", &[("rows", 1), ("vocab", vocab)], &y)?;
                let ids = device.upload("ids", &[("wanted", 1)], &[1700u32])?;
                let mut rec = device.record();
                let totals = log_sum_exp(&mut rec, &two)?;
                let own = log_p(&mut rec, &two, &totals)?;
                let sources = Sources { log_b: own.clone(), u: y };
                let observed = Observed::new(&mut rec, &own, &[log_prob, entropy], &sources)?;
                let slope = observed.slope(&mut rec)?.slope;
                let picked = pick(&mut rec, &two, &ids)?;
                device.submit(rec)?;
                Ok([totals, picked, slope, observed.moments])
            };
            let arrays = compute(on.device()).unwrap_or_else(|e| panic!("{gap}: {}: {e}", on.name()));
            let [totals, picked, slopes, moments] = arrays.map(|array| on.read(&array).values().to_vec());
            let got = picked[0] - totals[0] - totals[1];
            worst[0].within(gap, on.name(), (got / truth[1700] - 1.0).abs(), tolerance::OBSERVE);
            worst[1].check(gap, &on.label(&slopes[..vocab]), &Labelled::reference(slope.clone()), tolerance::OBSERVE);
            worst[2].within(gap, on.name(), (moments[4] / want - 1.0).abs(), tolerance::OBSERVE);
        }
    }
}
