//! A launch that does not fit is refused when it is recorded, with a typed error of one line.

use resolvent_engine::{Device, Error, Info, Launch, MAX_GROUPS, Tensor};
use resolvent_ops::splice::{RowPlan, RowSource};
use resolvent_ops::{Rows, Span, add, matmul};
use resolvent_tests::subjects;

use super::{addition, filled, with};

/// Records what `launch` makes of three good tensors of 64 numbers.
fn refused(device: &Device, launch: impl Fn(&Tensor, &Tensor, &Tensor) -> Launch) -> Error {
    let (a, b) = (filled(device, "a", 64, 1.0), filled(device, "b", 64, 2.0));
    let rec = device.record();
    let y = rec.tensor("y", &[("n", 64)]).expect("small");
    let error = with(rec, launch(&a, &b, &y)).map(|_| ()).expect_err("the launch does not fit");
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    error
}

/// Launch errors name kernel and reason.
fn reason(error: Error) -> String {
    match error {
        Error::Launch { kernel, reason, .. } => format!("{kernel}: {reason}"),
        other => panic!("not a launch error: {other}"),
    }
}

#[test]
fn launches_that_do_not_fit_are_refused() {
    for on in subjects() {
        let device = on.device();
        let say = |launch: &dyn Fn(&Tensor, &Tensor, &Tensor) -> Launch| reason(refused(device, launch));
        let kernel = add::KERNELS[0];
        let missing = say(&|a, _, y| Launch::new(kernel, [64u32, 1, 0, 0], &[a, y], [1, 1, 1]));
        assert_eq!(missing, "add.primal: 2 bindings given, the shader has 3");
        let short = say(&|a, b, y| Launch::new(kernel, [64u32, 1], &[a, b, y], [1, 1, 1]));
        assert_eq!(short, "add.primal: params are 8 bytes, the shader's are 16");
        let variant = say(&|a, b, y| addition(a, b, y).variant("imagined"));
        assert_eq!(variant, "add.primal: has no variant `imagined`");
        let constant = say(&|a, b, y| addition(a, b, y).constants(&[("IMAGINED", 1.0)]));
        assert_eq!(constant, "add.primal: no override `IMAGINED`");
        let twice = say(&|a, _, y| addition(a, y, y));
        assert_eq!(twice, "add.primal: `y` is written and bound twice");
        let grid = say(&|a, b, y| Launch::new(kernel, [64u32, 1, 0, 0], &[a, b, y], [1, MAX_GROUPS + 1, 1]));
        assert!(grid.contains("65536") && grid.contains("65535"), "{grid}");
        let empty = filled(device, "empty", 0, 0.0);
        assert_eq!(say(&|a, _, y| addition(a, &empty, y)), "add.primal: binding `b` is empty: [n=0]");
        let slipped = Tensor::view(filled(device, "v", 128, 0.0).buffer().clone(), 3, empty_of(64));
        let slipped = slipped.expect("fits");
        assert!(say(&|a, _, y| addition(a, &slipped, y)).contains("not aligned to 256 bytes"));
    }
}

fn empty_of(n: usize) -> resolvent_engine::Shape {
    resolvent_engine::Shape::new(&[("n", n)])
}

/// A variant whose feature the device lacks is refused too, rather than left to the driver.
#[test]
fn a_variant_beyond_the_device_is_refused() {
    let wanted = matmul::KERNELS[0].shader.variant("subgroup").expect("it exists");
    for on in subjects().into_iter().filter(|s| s.device().info().lacks(wanted).is_some()) {
        let device = on.device();
        let launch = |a: &Tensor, b: &Tensor, y: &Tensor| {
            let jvp = matmul::KERNELS.iter().find(|k| k.name() == "matmul.jvp").expect("declared");
            Launch::new(jvp, [8u32, 8, 8, 8, 0, 0, 0, 0], &[a, b, y], [1, 1, 1]).variant("subgroup")
        };
        assert!(reason(refused(device, launch)).contains("variant `subgroup` needs"));
    }
}

/// Subgroups of any size are not enough for a text that names a lane.
#[test]
fn what_a_device_lacks_is_named() {
    let variant = |name| matmul::KERNELS[0].shader.variant(name).expect("it exists");
    let offering = |subgroups| Info { subgroups, ..subjects()[0].device().info().clone() };
    let lacks = |subgroups| offering(subgroups).lacks(variant("subgroup"));
    assert_eq!(lacks(None).as_deref(), Some("subgroups"));
    assert_eq!(lacks(Some((4, 64))).as_deref(), Some("subgroups of at least 8 lanes"));
    assert_eq!(lacks(Some((8, 8))), None);
    assert_eq!(offering(None).lacks(variant("base")), None);
    let half = |name| resolvent_shaders::matmul_f16::PRIMAL.variant(name).expect("a text");
    let units = |sides: &[u32]| Info { f16: true, cooperative: sides.to_vec(), ..offering(Some((32, 32))) };
    assert_eq!(units(&[16]).lacks(half("cooperative16")), None);
    let lacks = units(&[16]).lacks(half("cooperative8"));
    assert_eq!(lacks.as_deref(), Some("cooperative matrices of 8 x 8 16-bit floats"));
}

/// A grid with a zero dimension is nothing to do, on every executor.
#[test]
fn an_empty_grid_does_nothing() {
    for on in subjects() {
        let device = on.device();
        let (a, y) = (filled(device, "a", 64, 1.0), filled(device, "y", 64, 5.0));
        let launch = Launch::new(add::KERNELS[0], [64u32, 1, 0, 0], &[&a, &a, &y], [0, 1, 1]);
        let rec = with(device.record(), launch).expect("nothing to refuse");
        assert!(rec.launches().is_empty());
        device.submit(rec).expect("nothing to do");
        assert_eq!(device.read(&y).expect("uploaded"), vec![5.0; 64]);
    }
}

/// Shapes are checked before anything is recorded, and the error names op and shapes.
#[test]
fn shape_errors_name_op_and_shapes() {
    for on in subjects() {
        let device = on.device();
        let (a, b) = (filled(device, "left", 6, 1.0), filled(device, "right", 5, 1.0));
        let mut rec = device.record();
        let error = add::add(&mut rec, &a, &b).expect_err("6 is not 5").to_string();
        for part in ["add", "right", "[n=5]", "[n=6]"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(rec.launches().is_empty());
        assert!(matches!(Rows::new(device, &[]), Err(Error::Shape { op: "rows", .. })));
        let nothing = Span { primal: 0, start: 3, end: 3 };
        assert!(matches!(Rows::new(device, &[nothing]), Err(Error::Shape { op: "rows", .. })));
        let scale = resolvent_ops::splice::RowEdit::Scale { amount: 0.0, width: 4 };
        let outside = RowPlan::new(device, 6, &[RowSource::Zero], &[(0, 3, &scale)]);
        assert!(matches!(outside, Err(Error::Shape { op: "splice", .. })));
        let unsorted = RowPlan::new(device, 6, &[RowSource::Zero; 2], &[(1, 0, &scale), (0, 0, &scale)]);
        assert!(matches!(unsorted, Err(Error::Shape { op: "splice", .. })));
        let short = device.upload("short", &[("n", 4)], &[1.0f32; 3]).expect_err("3 is not 4");
        assert_eq!(short.to_string(), "buffer `short` is [n=4] and was given 12 bytes");
    }
}
