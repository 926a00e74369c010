//! The harness is seen to fail: on wrong, NaN-writing and non-writing kernels, and on a thing compared with itself.

use resolvent_engine::{Bound, Kernel, Launch, Tensor};
use resolvent_ops::add;
use resolvent_reference::Scalar;
use resolvent_shaders::add as shader;
use resolvent_tests::truth::{Function, jvp, vjp_error};
use resolvent_tests::{Labelled, Mismatch, Random, Subject, Worst, compare, gpus, subjects, tolerance};

const N: usize = 300;

static WRONG: Kernel = Kernel { shader: &shader::PRIMAL, host: wrong };
static NAN: Kernel = Kernel { shader: &shader::PRIMAL, host: nan };
static IDLE: Kernel = Kernel { shader: &shader::PRIMAL, host: idle };

/// Right but for one element in 300, by one part in a thousand.
fn wrong(bound: Bound<'_>) {
    let ([a, b], [y]) = bound.slices();
    for (i, y) in y.iter_mut().enumerate() {
        *y = (a[i] + b[i]) * if i == 299 { 1.001 } else { 1.0 };
    }
}

fn nan(bound: Bound<'_>) {
    let ([_, _], [y]) = bound.slices();
    y.fill(f32::NAN);
}

fn idle(_: Bound<'_>) {}

struct Case {
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Case {
    fn new() -> Self {
        let mut random = Random::new(3);
        Self { a: random.normals(N), b: random.normals(N) }
    }

    /// `a + b` by `kernel`, of which the first `groups` workgroups of 64 run.
    fn sum(&self, on: &Subject, kernel: &'static Kernel, groups: u32) -> Labelled {
        let device = on.device();
        let upload = |data: &[f32]| device.upload("x", &[("n", N)], data).expect("small");
        let (a, b, mut rec): (Tensor, Tensor, _) = (upload(&self.a), upload(&self.b), device.record());
        let y = rec.tensor("y", &[("n", N)]).expect("small");
        rec.launch(Launch::new(kernel, [N as u32, groups, 0, 0], &[&a, &b, &y], [groups, 1, 1])).expect("fits");
        device.submit(rec).expect("runs");
        on.read(&y)
    }

    fn truth(&self) -> Labelled {
        Labelled::reference(self.a.iter().zip(&self.b).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect())
    }

    fn host(&self, kernel: &'static Kernel) -> Labelled {
        let host = subjects()[0];
        assert!(host.is_host());
        self.sum(host, kernel, 5)
    }
}

fn good() -> &'static Kernel {
    add::KERNELS[0]
}

/// The comparison that the tests below expect to fail does pass on good kernels.
#[test]
fn good_kernels_pass() {
    let case = Case::new();
    for on in subjects() {
        let error = compare(&case.sum(on, good(), 5), &case.truth(), tolerance::POINTWISE).expect("right");
        assert!(error > 0.0, "f32 rounds, so an error of exactly zero would mean that nothing was compared");
    }
}

#[test]
fn a_wrong_kernel_fails() {
    let case = Case::new();
    let wrong = case.host(&WRONG);
    match compare(&wrong, &case.truth(), tolerance::POINTWISE) {
        Err(Mismatch::Error { error, at: (299, ..), .. }) => assert!(error > 1e-6 && error < 1e-3),
        other => panic!("{other:?}"),
    }
    for gpu in gpus() {
        // A right GPU against a wrong host, and against a wrong truth.
        assert!(compare(&case.sum(gpu, good(), 5), &wrong, tolerance::POINTWISE).is_err());
        let mut values = case.truth().values().to_vec();
        values.swap(3, 4);
        let swapped = Labelled::reference(values);
        assert!(compare(&case.sum(gpu, good(), 5), &swapped, tolerance::POINTWISE).is_err());
    }
}

#[test]
fn a_nan_writing_kernel_fails() {
    let mut case = Case::new();
    assert!(compare(&case.host(&NAN), &case.truth(), 1e30).is_err(), "whatever the tolerance");
    assert!(compare(&case.host(good()), &Labelled::reference(vec![f64::NAN; N]), 1e30).is_err());
    case.a[17] = f32::NAN;
    for on in subjects() {
        // One NaN among good numbers, on one side or on both.
        let got = case.sum(on, good(), 5);
        assert!(compare(&got, &Case::new().truth(), 1e30).is_err(), "{}", on.name());
        assert!(compare(&got, &case.truth(), 1e30).is_err(), "{}", on.name());
    }
}

#[test]
fn a_kernel_that_does_not_write_fails() {
    let case = Case::new();
    let idle = case.host(&IDLE);
    assert!(idle.values().iter().all(|x| x.is_nan()), "outputs start poisoned");
    assert!(compare(&idle, &case.truth(), 1e30).is_err());
    for gpu in gpus() {
        // Four groups of five: the last 44 numbers are nobody's.
        let part = case.sum(gpu, good(), 4);
        assert!(part.values()[..256].iter().all(|x| x.is_finite()) && part.values()[256].is_nan());
        assert!(compare(&part, &case.truth(), 1e30).is_err(), "{}", gpu.name());
    }
}

/// Memory that a right kernel has used before does not make an idle one look right.
#[test]
fn recycled_memory_does_not_help_an_idle_kernel() {
    let case = Case::new();
    for _ in 0..3 {
        drop(case.host(good()));
        assert!(compare(&case.host(&IDLE), &case.truth(), 1e30).is_err());
    }
}

#[test]
fn a_thing_compared_with_itself_fails() {
    let case = Case::new();
    for on in subjects() {
        let (one, other) = (case.sum(on, good(), 5), case.sum(on, good(), 5));
        assert_eq!(one.values(), other.values());
        assert_eq!(compare(&one, &other, 1.0), Err(Mismatch::SameExecutor(on.name().to_owned())));
    }
    assert!(matches!(compare(&case.truth(), &case.truth(), 1.0), Err(Mismatch::SameExecutor(_))));
    let names: Vec<&str> = subjects().iter().map(|s| s.name()).collect();
    for (i, name) in names.iter().enumerate() {
        assert!(!names[..i].contains(name), "two subjects are called {name}");
    }
}

#[test]
fn lengths_that_differ_fail() {
    let case = Case::new();
    let short = Labelled::reference(case.truth().values()[..N - 1].to_vec());
    assert_eq!(compare(&case.host(good()), &short, 1.0), Err(Mismatch::Length(N, N - 1)));
    let none = Labelled::reference(Vec::new());
    assert_eq!(compare(&case.host(good()).rows(1, 0..0), &none, 1.0), Err(Mismatch::Length(0, 0)));
}

/// Where the truth is zero, nothing but zero is right.
#[test]
fn a_zero_truth_wants_zeros() {
    let host = subjects()[0];
    let zeros = Case { a: vec![0.0; N], b: vec![0.0; N] };
    assert_eq!(compare(&zeros.sum(host, good(), 5), &zeros.truth(), 0.0), Ok(0.0));
    let mut tiny = Case { a: vec![0.0; N], b: vec![0.0; N] };
    tiny.a[5] = 1e-30;
    assert!(compare(&tiny.sum(host, good(), 5), &zeros.truth(), 1e30).is_err());
}

#[test]
#[should_panic(expected = "error NaN, tolerance 1.0e0")]
fn an_error_that_is_nan_is_not_within_anything() {
    Worst::new("nothing").within("case", "host", f64::NAN, 1.0);
}

#[test]
#[should_panic(expected = "add.primal case: host against reference: relative error")]
fn a_failure_says_what_where_and_how_far() {
    let case = Case::new();
    Worst::new("add.primal").check("case", &case.host(&WRONG), &case.truth(), tolerance::POINTWISE);
}

/// `(x_0 x_1, exp x_1)`
struct Pair;

impl Function for Pair {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        vec![x[0] * x[1], x[1].exp()]
    }
}

/// The derivative checks see a wrong sign, a wrong place, a wrong digit and NaN.
#[test]
fn derivative_errors_are_seen() {
    let (x, y_bar) = ([1.5f64, -0.5], [2.0, 3.0]);
    let exact = [2.0 * x[1], 2.0 * x[0] + 3.0 * x[1].exp()];
    let error = |x_bar: [f64; 2]| vjp_error(&Pair, &x, &|_| true, [&x_bar, &y_bar]);
    assert!(error(exact) < 1e-15);
    assert!(error([-exact[0], exact[1]]) > 0.1 && error([exact[1], exact[0]]) > 0.1);
    assert!(error([exact[0] * 1.001, exact[1]]) > 1e-5);
    assert!(error([f64::NAN, 0.0]).is_nan(), "and NaN is not within anything");
    assert_eq!(jvp(&Pair, &x, &[1.0, 2.0]), [x[1] + 2.0 * x[0], 2.0 * x[1].exp()]);
}
