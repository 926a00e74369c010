//! RMS norm: the whole row, heads of q and k with v copied, and segments of different widths.

use resolvent_engine::{Device, Result};
use resolvent_ops::rms_norm::{RmsNorm, Segments};
use resolvent_ops::{Op, Rows, Span};
use resolvent_tests::truth::{Function, wide};
use resolvent_tests::{Done, HvpCheck, Labelled, OpCheck, Random, Record, Worst, subjects, tolerance};

use super::formulas::{self, Frozen};

/// A norm of rows of `n` columns, with random gain.
#[derive(Clone)]
struct Case {
    n: usize,
    segments: Vec<(usize, usize)>,
    eps: f32,
}

impl Case {
    fn whole(n: usize, eps: f32) -> Self {
        Self { n, segments: vec![(0, n)], eps }
    }

    /// The first `heads` heads of a row, each its own segment.
    fn heads(n: usize, heads: usize, d_head: usize) -> Self {
        Self { n, segments: (0..heads).map(|head| (head * d_head, d_head)).collect(), eps: 1e-6 }
    }

    fn gain(&self) -> Vec<f32> {
        Random::new(self.n as u64).normals(self.n)
    }

    fn op(&self, device: &Device, frozen: bool) -> Result<RmsNorm> {
        let gain = device.upload("gain", &[("n", self.n)], &self.gain())?;
        let segments = Segments::new(device, self.n, &self.segments)?;
        Ok(RmsNorm { gain, eps: self.eps, segments, frozen })
    }

    fn formula(&self, norm: bool) -> formulas::RmsNorm {
        let frozen = Frozen { norm, ..Frozen::default() };
        formulas::RmsNorm { gain: wide(&self.gain()), segments: self.segments.clone(), eps: self.eps, frozen }
    }
}

fn cases() -> Vec<(usize, Case)> {
    vec![
        (1, Case::whole(1, 0.5)),
        (3, Case::whole(2, 0.5)),
        (2, Case::whole(3, 1e-2)),
        (7, Case::whole(24, 1e-5)),
        (33, Case::whole(66, 1e-6)),
        (3, Case::whole(127, 1e-6)),
        (65, Case::whole(130, 1e-6)),
        (2, Case::whole(768, 1e-6)),
        // [q | k | v] with three heads of q, one of k and one of v.
        (17, Case::heads(5 * 10, 4, 10)),
        (5, Case::heads(6 * 66, 5, 66)),
        // The whole q and the whole k.
        (9, Case { n: 90, segments: vec![(0, 48), (48, 21)], eps: 1e-6 }),
        // Columns before, between and behind the segments.
        (4, Case { n: 150, segments: vec![(3, 5), (8, 1), (20, 67), (100, 30)], eps: 0.1 }),
    ]
}

#[test]
fn rms_norm() {
    let (mut record, mut hvp) = (Record::new("rms_norm"), Worst::new("rms_norm.hvp"));
    let mut frozen_record = Record::new("rms_norm, frozen");
    for (rows, case) in cases() {
        let (n, allowed) = (case.n, tolerance::RMS_NORM);
        let op = |device: &Device| case.op(device, false);
        OpCheck::new(rows, &[n], n).check(&mut record, &subjects(), op, &case.formula(false), allowed);
        HvpCheck::new(rows, &[n], n).check(&mut hvp, &subjects(), op, &case.formula(false), allowed);
        let plan = OpCheck { second: false, ..OpCheck::new(rows, &[n], n) };
        let freezing = |device: &Device| case.op(device, true);
        plan.check(&mut frozen_record, &subjects(), freezing, &case.formula(true), allowed);
    }
}

/// Sequences over two prompts that share the base buffers, unordered.
#[test]
fn rms_norm_over_several_prompts() {
    let span = |primal, start, end| Span { primal, start, end };
    let spans = vec![span(7, 3, 9), span(0, 6, 7), span(7, 0, 1), span(0, 1, 7), span(0, 1, 7)];
    let case = Case::heads(50, 4, 10);
    let plan = OpCheck { prompts: vec![7, 9], spans, ..OpCheck::new(16, &[50], 50) };
    let mut record = Record::new("rms_norm, several prompts");
    plan.check(&mut record, &subjects(), |on| case.op(on, false), &case.formula(false), tolerance::RMS_NORM);
}

/// Segments that overlap, are empty or end beyond the row are refused.
#[test]
fn segments_are_checked() {
    let device = Device::host();
    let whole = Segments::whole(&device, 24).expect("is valid");
    assert_eq!((whole.n(), whole.count()), (24, 1));
    let two = Segments::new(&device, 24, &[(2, 3), (5, 7)]).expect("is valid");
    assert_eq!((two.n(), two.count()), (24, 2));
    for (segments, reason) in [
        (vec![], "there is no segment"),
        (vec![(3, 0)], "segment 0 (first column 3, width 0) of a row of 24 columns is empty"),
        (vec![(0, 4), (20, 5)], "segment 1 (first column 20, width 5) of a row of 24 columns ends beyond the row"),
        (vec![(usize::MAX, 2)], "ends beyond the row"),
        (vec![(0, 4), (3, 5)], "begins before column 4, where the one before it ends"),
        (vec![(8, 4), (0, 4)], "begins before column 12"),
    ] {
        let error = Segments::new(&device, 24, &segments).map(|_| ()).expect_err("is refused");
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert!(Segments::whole(&device, 0).is_err());
}

/// A gain of another length than the row, and rows of another width, are refused.
#[test]
fn other_widths_are_refused() {
    for on in subjects() {
        let refused = |gain: usize, width: usize| {
            let device = on.device();
            let gain = device.upload("gain", &[("n", gain)], &vec![1.0f32; gain])?;
            let op = RmsNorm { gain, eps: 1e-6, segments: Segments::whole(device, 6)?, frozen: false };
            let x = device.upload("x", &[("rows", 2), ("n", width)], &vec![1.0f32; 2 * width])?;
            let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: 2 }])?;
            op.primal(&mut device.record(), &rows, None, &[&x]).map(|_| ())
        };
        assert!(refused(6, 6).is_ok());
        let error = refused(5, 6).expect_err("is refused").to_string();
        assert!(error.contains("`gain` is [n=5], expected [n=6]"), "{error}");
        let error = refused(6, 7).expect_err("is refused").to_string();
        assert!(error.contains("`x` is [rows=2, n=7], expected [rows=2, n=6]"), "{error}");
    }
}

/// Values of huge and of tiny rows, whose squares overflow or underflow, and of zeros.
#[test]
fn rms_norm_of_extreme_rows() {
    let n = 66;
    let case = Case { n, segments: vec![(0, 60)], eps: 1e-6 };
    let mut worst = Worst::new("rms_norm.primal, extreme rows");
    for size in [0.0f32, 1e-30, 1e-10, 1e10, 1e25, 3e38] {
        let x: Vec<f32> = Random::new(9).normals(3 * n).iter().map(|x| x.clamp(-1.0, 1.0) * size).collect();
        let truth = Labelled::reference(case.formula(false).at(&wide(&x)));
        for on in subjects() {
            let run = || -> Result<Labelled> {
                let device = on.device();
                let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: 3 }])?;
                let x = device.upload("x", &[("rows", 3), ("n", n)], &x)?;
                let mut rec = device.record();
                let y = case.op(device, false)?.primal(&mut rec, &rows, None, &[&x])?.y;
                device.submit(rec)?;
                Ok(on.read(&y))
            };
            let y = run().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            // A copy has the size of x: the segment and the rest are compared apart, so that neither hides the other.
            for columns in [0..60, 60..n] {
                let part = |all: &Labelled| -> Vec<f64> {
                    all.values().chunks(n).flat_map(|row| row[columns.clone()].to_vec()).collect()
                };
                let scale = part(&truth).iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                let far = part(&y).iter().zip(part(&truth)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                let error = if far == 0.0 { 0.0 } else { far / scale };
                if columns.end == n {
                    assert_eq!(error, 0.0, "{}: size {size}: columns are copied bit for bit", on.name());
                } else {
                    worst.within(format!("size {size}"), on.name(), error, tolerance::RMS_NORM.primal);
                }
            }
        }
    }
}

/// Copied columns have the same bits in every entry.
#[test]
fn columns_outside_of_segments_are_copied() {
    let case = Case { n: 70, segments: vec![(5, 30)], eps: 1e-6 };
    let plan = OpCheck { so_far: false, ..OpCheck::new(9, &[70], 70) };
    let changed = Case { segments: vec![(5, 30), (40, 30)], ..case.clone() };
    let outside = |array: &Labelled| -> Vec<f64> {
        array.values().chunks(70).flat_map(|row| [&row[..5], &row[35..40]].concat()).collect()
    };
    for on in subjects() {
        let run = |case: &Case| {
            let op = case.op(on.device(), false);
            op.and_then(|op| plan.run(on, &op)).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
        };
        let (one, two) = (run(&case), run(&changed));
        let arrays = |done: &Done| {
            [&done.y, &done.y_dot].into_iter().chain(&done.y_jet).chain(&done.x_bars).cloned().collect::<Vec<_>>()
        };
        for (one, two) in arrays(&one).iter().zip(&arrays(&two)) {
            assert_eq!(outside(one), outside(two), "{}: columns depend on segments elsewhere", on.name());
        }
        assert_eq!(outside(&one.y_jet[0]), outside(&one.y_dot), "{}: a jet copies its first order", on.name());
    }
}
