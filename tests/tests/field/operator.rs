//! Green operators as linear maps, against the reference's Jacobian column by column.

use resolvent_field::{LinearMap, Operator, adjoint_of};
use resolvent_model::{Mode, Site, Source};
use resolvent_tests::{Labelled, Twin, Worst, subjects, tangents, tolerance};

const TOKENS: [u32; 4] = [3, 14, 15, 9];
const D: usize = 18;

/// Returns the columns of `G(to; from)` of the reference: its response to each unit source.
fn columns(twin: &Twin, from: &[(usize, usize)], to: &[(usize, usize)]) -> Vec<Vec<f64>> {
    let unit = |i: usize| (0..D).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
    let column = |(level, token): (usize, usize), i: usize| {
        let source = Source { site: Site::level(level, &twin.sizes()), token, vector: unit(i) };
        let field = tangents(&twin.tangent(&TOKENS, &[], &[source]).field);
        let rows = to.iter().flat_map(|&(l, t)| field[(l * TOKENS.len() + t) * D..][..D].to_vec());
        rows.collect::<Vec<f64>>()
    };
    from.iter().flat_map(|&place| (0..D).map(move |i| column(place, i))).collect()
}

#[test]
fn operators_are_the_jacobian() {
    let mut worst = ["operator", "operator.adjoint"].map(Worst::new);
    let twin = Twin::small();
    for (from, to) in [
        (vec![(0, 1)], vec![(2, 3)]),
        (vec![(1, 2), (0, 0)], vec![(1, 2), (2, 2), (2, 3)]),
        (vec![(0, 3)], vec![(1, 2), (2, 3)]),
    ] {
        let want = columns(&twin, &from, &to);
        for on in subjects() {
            let run = twin.on(on).run(&TOKENS, &[]).expect("runs");
            let linear = run.linearize(Mode::Exact);
            let operator = Operator::new(&linear, &from, &to).expect("in the field");
            assert_eq!([operator.rows(), operator.columns()], [to.len() * D, from.len() * D]);
            let unit = |i: usize| (0..from.len() * D).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
            let basis: Vec<Vec<f32>> = (0..from.len() * D).map(unit).collect();
            let got = operator.apply(&basis).expect("runs").concat();
            worst[0].check(
                format!("{from:?} {to:?}"),
                &on.label(&got),
                &Labelled::reference(want.concat()),
                tolerance::MODEL,
            );
            let certificate = adjoint_of(&operator, 3).expect("runs");
            worst[1].within(format!("{from:?} {to:?}"), on.name(), certificate.value, tolerance::ADJOINT);
        }
    }
}

/// The map of the whole stream is the operator from the first level to the last.
#[test]
fn a_linearization_is_a_map() {
    let twin = Twin::small();
    for on in subjects() {
        let run = twin.on(on).run(&TOKENS, &[]).expect("runs");
        let linear = run.linearize(Mode::Exact);
        let (first, last) = (Operator::level(&linear, 0), Operator::level(&linear, 2));
        let operator = Operator::new(&linear, &first, &last).expect("in the field");
        let x = vec![resolvent_model::gaussian(5, 4 * D), resolvent_model::gaussian(6, 4 * D)];
        assert_eq!(linear.apply(&x).expect("runs"), operator.apply(&x).expect("runs"));
        let apply = |map: &dyn LinearMap| map.apply_transpose(&x).expect("runs");
        assert_eq!(apply(&linear), apply(&operator));
        assert!(adjoint_of(&linear, 1).expect("runs").value < 1e-5);
        assert!(linear.scratch(2) >= 2 * linear.scratch(1) && operator.scratch(1) > 0);
        assert!(
            Operator::new(&linear, &[(3, 0)], &last).is_err() && Operator::new(&linear, &first, &[(0, 4)]).is_err()
        );
    }
}
