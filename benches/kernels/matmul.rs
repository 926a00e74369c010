//! Matrix products on GPT-2 small's shapes: both executors, and the host's crates called alone.

use criterion::{BenchmarkId, Criterion, Throughput};
use resolvent_benches::{devices, gate, operand};
use resolvent_engine::{Device, Result, Tensor};
use resolvent_model::gaussian;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::{Op, Residuals, Rows, Span, Weight};

const SHAPES: [(usize, usize); 2] = [(768, 3072), (3072, 768)];
const ROWS: [usize; 8] = [1, 4, 16, 64, 128, 256, 512, 1024];

pub(crate) fn bench(c: &mut Criterion) {
    for (k, n) in SHAPES {
        for rows in ROWS {
            for (name, device) in devices() {
                let case = Case::new(&device, [rows, k, n]).expect("the operands fit any device");
                case.check();
                time(c, "matmul.primal", name, [rows, k, n], || case.primal());
                time(c, "matmul.vjp", name, [rows, k, n], || case.vjp());
            }
            alone(c, [rows, k, n]);
        }
    }
}

/// One product and its transpose on a device.
struct Case {
    device: Device,
    op: Matmul,
    rows: Rows,
    x: Tensor,
    y_bar: Tensor,
    shape: [usize; 3],
}

impl Case {
    fn new(device: &Device, [rows, k, n]: [usize; 3]) -> Result<Self> {
        let bias = device.upload("bias", &[("n", n)], &vec![0.0f32; n])?;
        Ok(Self {
            device: device.clone(),
            op: Matmul { w: Weight::full(operand(device, k, n, 1)?), bias, add: false },
            rows: Rows::new(device, &[Span { primal: 0, start: 0, end: rows }])?,
            x: operand(device, rows, k, 2)?,
            y_bar: operand(device, rows, n, 3)?,
            shape: [rows, k, n],
        })
    }

    fn primal(&self) -> Result<Tensor> {
        let mut rec = self.device.record();
        let y = self.op.primal(&mut rec, &self.rows, None, &[&self.x])?.y;
        self.device.submit(rec)?;
        self.device.wait()?;
        Ok(y)
    }

    fn vjp(&self) -> Result<Tensor> {
        let mut rec = self.device.record();
        let x_bar = self.op.vjp(&mut rec, &self.rows, &Residuals::default(), &self.y_bar, &[None])?.remove(0);
        self.device.submit(rec)?;
        self.device.wait()?;
        Ok(x_bar)
    }

    /// The first row against sums in f64.
    fn check(&self) {
        let [rows, k, n] = self.shape;
        let (w, x) = (gaussian(1, k * n), gaussian(2, rows * k));
        let want: Vec<f32> =
            (0..n).map(|j| (0..k).map(|i| f64::from(x[i]) * f64::from(w[i * n + j])).sum::<f64>() as f32).collect();
        let got = self.primal().and_then(|y| self.device.read(&y)).expect("the product runs");
        gate("matmul.primal", &got[..n], &want);
    }
}

fn time<T>(c: &mut Criterion, what: &str, name: &str, [rows, k, n]: [usize; 3], run: impl Fn() -> Result<T>) {
    let mut group = c.benchmark_group(what);
    group.throughput(Throughput::Elements(2 * (rows * k * n) as u64)).sample_size(10);
    group.bench_function(BenchmarkId::new(name, format!("{rows}x{k}x{n}")), |b| b.iter(&run));
    group.finish();
}

/// The crates that the host executor chooses from, called on the same operands.
fn alone(c: &mut Criterion, [rows, k, n]: [usize; 3]) {
    let (x, w, mut y) = (gaussian(2, rows * k), gaussian(1, k * n), vec![0.0f32; rows * n]);
    let mut group = c.benchmark_group("matmul.primal");
    group.throughput(Throughput::Elements(2 * (rows * k * n) as u64)).sample_size(10);
    let id = |name: &str| BenchmarkId::new(name, format!("{rows}x{k}x{n}"));
    let (k_stride, n_stride) = (k as isize, n as isize);
    group.bench_function(id("crate matrixmultiply"), |b| {
        b.iter(|| {
            let (x, w, y) = (x.as_ptr(), w.as_ptr(), y.as_mut_ptr());
            // SAFETY: x is [rows, k], w [k, n] and y [rows, n], row-major, and y is borrowed by nobody else.
            unsafe {
                matrixmultiply::sgemm(rows, k, n, 1.0, x, k_stride, 1, w, n_stride, 1, 0.0, y, n_stride, 1);
            }
        });
    });
    group.bench_function(id("crate gemm"), |b| {
        b.iter(|| {
            let (x, w, y) = (x.as_ptr(), w.as_ptr(), y.as_mut_ptr());
            let threads = gemm::Parallelism::Rayon(0);
            // SAFETY: as above; strides are given as (column, row).
            unsafe {
                gemm::gemm(
                    rows, n, k, y, 1, n_stride, false, x, 1, k_stride, w, 1, n_stride, 0.0, 1.0, false, false, false,
                    threads,
                );
            }
        });
    });
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        group.bench_function(id("crate private-gemm-x86"), |b| b.iter(|| x86([rows, k, n], &x, &w, &mut y)));
    }
    group.finish();
}

#[cfg(target_arch = "x86_64")]
fn x86([rows, k, n]: [usize; 3], x: &[f32], w: &[f32], y: &mut [f32]) {
    use private_gemm_x86::{Accum, DType, DstKind, IType, InstrSet, gemm};

    let (alpha, none, wide) = (1.0f32, std::ptr::null(), InstrSet::Avx512);
    let (x, w, y) = (x.as_ptr().cast(), w.as_ptr().cast(), y.as_mut_ptr().cast());
    let (k_stride, n_stride, alpha) = (k as isize, n as isize, std::ptr::from_ref(&alpha).cast());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: x is [rows, k], w [k, n] and y [rows, n], row-major, and y is borrowed by nobody else; the index and
    // diagonal pointers are unused, alpha is an f32, and the caller has checked the instructions.
    unsafe {
        gemm(
            DType::F32,
            IType::U64,
            wide,
            rows,
            n,
            k,
            y,
            n_stride,
            1,
            none,
            none,
            DstKind::Full,
            Accum::Replace,
            x,
            k_stride,
            1,
            false,
            none,
            0,
            w,
            n_stride,
            1,
            false,
            alpha,
            threads,
        );
    }
}
