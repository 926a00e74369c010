//! Embed and unembed, with a vocabulary in one part and in several, in f32 and in f16.

use half::f16;
use resolvent_engine::{Device, Result, Tensor};
use resolvent_ops::Weight;
use resolvent_ops::embed::{Embed, Vocabulary};
use resolvent_ops::unembed::Unembed;
use resolvent_reference::ops;
use resolvent_tests::truth::{inner, wide};
use resolvent_tests::{Labelled, Random, Subject, Worst, subjects, tolerance, variant_subjects};

/// One case, with its random elements.
struct Case {
    vocab: usize,
    d: usize,
    rows: usize,
    /// Number of logits that unembed computes for each row.
    entries: usize,
    /// First tokens of the parts.
    parts: Vec<usize>,
    /// Whether the table is stored in f16 pairs. Its elements are then rounded.
    is_f16: bool,
    w: Vec<f32>,
    random: Random,
}

impl Case {
    fn all() -> Vec<Self> {
        [
            (1, 1, 1, 1, vec![0]),
            (7, 3, 2, 3, vec![0]),
            (9, 2, 5, 2, vec![0, 4]),
            (9, 16, 4, 2, vec![0, 1, 8]),
            (50, 24, 7, 5, vec![0, 17, 33]),
            (130, 30, 17, 2, vec![0, 64]),
            (257, 66, 33, 9, vec![0, 1, 256]),
            (300, 127, 65, 4, vec![0, 100, 200, 299]),
            (1700, 65, 9, 3, vec![0, 513, 1540]),
            (101, 768, 3, 66, vec![0, 50]),
        ]
        .into_iter()
        .flat_map(|shape| [false, true].map(|is_f16| (shape.clone(), is_f16)))
        // A table of odd width has no pairs.
        .filter(|((_, d, ..), is_f16)| !is_f16 || d % 2 == 0)
        .map(|((vocab, d, rows, entries, parts), is_f16)| {
            let mut random = Random::new((vocab * d) as u64);
            let mut w = random.normals(vocab * d);
            if is_f16 {
                w.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
            }
            Self { vocab, d, rows, entries, parts, is_f16, w, random }
        })
        .collect()
    }

    fn table(&self, device: &Device) -> Result<Vocabulary> {
        let ends = self.parts.iter().skip(1).copied().chain([self.vocab]);
        let parts = self.parts.iter().zip(ends).map(|(&from, end)| {
            Ok((from, table(device, end - from, &self.w[from * self.d..end * self.d], self.is_f16)?))
        });
        Ok(Vocabulary { parts: parts.collect::<Result<_>>()?, tokens: self.vocab, d: self.d })
    }

    /// Returns the rows of `ids` of the table, in f64.
    fn rows_of(&self, ids: &[u32]) -> Vec<f64> {
        ids.iter().flat_map(|&id| wide(&self.w[id as usize * self.d..][..self.d])).collect()
    }

    fn name(&self) -> String {
        let format = if self.is_f16 { "f16" } else { "f32" };
        format!("vocab {}, d {}, rows {}, entries {}, {format}", self.vocab, self.d, self.rows, self.entries)
    }
}

/// Uploads a table of `rows` rows, in f16 pairs or in f32.
fn table(device: &Device, rows: usize, elements: &[f32], is_f16: bool) -> Result<Weight> {
    let d = elements.len() / rows;
    if !is_f16 {
        return Ok(Weight::full(device.upload("w", &[("tokens", rows), ("d", d)], elements)?));
    }
    let rounded: Vec<f16> = elements.iter().map(|&x| f16::from_f32(x)).collect();
    Ok(Weight::f16_table(device.upload("w", &[("tokens", rows), ("pairs", d / 2)], &rounded)?))
}

fn grid<T: bytemuck::NoUninit>(device: &Device, rows: usize, columns: &'static str, data: &[T]) -> Result<Tensor> {
    device.upload(columns, &[("rows", rows), (columns, data.len() / rows)], data)
}

/// Runs `body` on each subject, and compares its arrays with `truth`, and those of GPUs also with the host's.
fn check(
    worst: &mut [Worst],
    case: &str,
    on: &[&Subject],
    body: &dyn Fn(&Device) -> Result<Vec<Tensor>>,
    truth: &[(Vec<f64>, f64)],
) {
    let mut host = Vec::new();
    for subject in on {
        let tensors = body(subject.device()).unwrap_or_else(|e| panic!("{case}: {}: {e}", subject.name()));
        let got: Vec<Labelled> = tensors.iter().map(|t| subject.read(t)).collect();
        for (i, ((truth, tolerance), worst)) in truth.iter().zip(&mut *worst).enumerate() {
            worst.check(case, &got[i], &Labelled::reference(truth.clone()), *tolerance);
            if !subject.is_host() {
                let host: &Vec<Labelled> = &host;
                worst.check(case, &got[i], &host[i], 2.0 * tolerance);
            }
        }
        if subject.is_host() {
            host = got;
        }
    }
}

/// Returns the sum over i of `c_i` times the row of `ids_i`, for each row of c.
fn mixture(case: &Case, ids: &[u32], c: &[f32]) -> Vec<f64> {
    ops::matmul(&wide(c), &case.rows_of(ids), &vec![0.0; case.d])
}

/// Returns `<x, row>` with the rows of `ids`, for each row of x.
fn dots(case: &Case, ids: &[u32], x: &[f32]) -> Vec<f64> {
    ops::unembed(&wide(x), &case.rows_of(ids), case.d)
}

#[test]
fn embed() {
    let mut worst = [Worst::new("embed.primal")];
    for mut case in Case::all() {
        let (rows, d) = (case.rows, case.d);
        let positions = case.random.ids(rows, 9);
        let (ids, wpe) = (case.random.ids(rows, case.vocab), case.random.normals(9 * d));
        let body = |device: &Device| {
            let wpe = device.upload("wpe", &[("positions", 9), ("d", d)], &wpe)?;
            let embed = Embed { wte: case.table(device)?, wpe, scale: 1.0 };
            let mut rec = device.record();
            let ids = device.upload("ids", &[("rows", rows)], &ids)?;
            let positions = device.upload("positions", &[("rows", rows)], &positions)?;
            let x = embed.primal(&mut rec, &ids, &positions)?;
            device.submit(rec)?;
            Ok(vec![x])
        };
        // The reference always uses positions 0, 1, 2 and so on, so it gets the rows of `positions` in this order.
        let row = |&at: &u32| wide(&wpe[at as usize * d..][..d]);
        let rows_of_wpe: Vec<f64> = positions.iter().flat_map(row).collect();
        let tokens: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        let truth = [(ops::embed(&wide(&case.w), &rows_of_wpe, d, &tokens), tolerance::POINTWISE)];
        check(&mut worst, &case.name(), &subjects(), &body, &truth);
    }
}

#[test]
fn unembed() {
    let mut worst = ["unembed.primal", "unembed.vjp", "unembed.primal_all", "unembed.vjp_all"].map(Worst::new);
    let mut adjoint = Worst::new("unembed.adjoint");
    for mut case in Case::all() {
        let (rows, wanted, d, vocab) = (case.rows, case.entries, case.d, case.vocab);
        let (ids, x) = (case.random.ids(wanted, vocab), case.random.normals(rows * d));
        let bar = case.random.normals(rows * wanted);
        let whole_bar = case.random.normals(rows * vocab);
        let body = |device: &Device| {
            let unembed = Unembed { w: case.table(device)? };
            let ids = device.upload("ids", &[("wanted", wanted)], &ids)?;
            let (x, bar) = (grid(device, rows, "d", &x)?, grid(device, rows, "wanted", &bar)?);
            let mut rec = device.record();
            let logits = unembed.primal(&mut rec, &x, &ids)?;
            let x_bar = unembed.vjp(&mut rec, &bar, &ids)?;
            let all = unembed.primal_all(&mut rec, &x)?;
            let x_bar_of_all = unembed.vjp_all(&mut rec, &grid(device, rows, "vocab", &whole_bar)?)?;
            device.submit(rec)?;
            Ok(vec![logits, x_bar, all, x_bar_of_all])
        };
        let everything: Vec<u32> = (0..vocab as u32).collect();
        let truth = [
            (dots(&case, &ids, &x), tolerance::product(d)),
            (bar.chunks(wanted).flat_map(|bar| mixture(&case, &ids, bar)).collect(), tolerance::product(wanted)),
            (dots(&case, &everything, &x), tolerance::product(d)),
            (
                whole_bar.chunks(vocab).flat_map(|bar| mixture(&case, &everything, bar)).collect(),
                tolerance::product(vocab),
            ),
        ];
        check(&mut worst, &case.name(), &variant_subjects(), &body, &truth);
        for on in subjects() {
            let outputs = body(on.device()).unwrap_or_else(|e| panic!("{e}"));
            let logits = on.read(&outputs[0]);
            let forward = inner(logits.values(), &wide(&bar));
            let backward = inner(on.read(&outputs[1]).values(), &wide(&x));
            let error =
                (forward - backward).abs() / tolerance::typical(logits.values(), &wide(&bar)).max(forward.abs());
            adjoint.within(case.name(), on.name(), error, tolerance::ADJOINT);
        }
    }
}

/// Every finite f16 value of a table is read exactly by embed and by the logits of unembed. Its cotangents are compared
/// at one row of 61. Denormal values are not flushed, although most GPUs flush denormal numbers.
#[test]
fn every_f16_of_a_table_is_read() {
    let all: Vec<f32> =
        (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()).map(|x| if x.is_finite() { x } else { 0.0 }).collect();
    let (d, tokens) = (8, all.len() / 8);
    let identity = |n: usize| -> Vec<f32> { (0..n * n).map(|i| f32::from(u8::from(i % (n + 1) == 0))).collect() };
    let ids: Vec<u32> = (0..tokens as u32).collect();
    let some: Vec<u32> = (0..tokens as u32).step_by(61).collect();
    let rows_of =
        |ids: &[u32]| -> Vec<f32> { ids.iter().flat_map(|&id| all[id as usize * d..][..d].to_vec()).collect() };
    for on in variant_subjects() {
        let device = on.device();
        let run = || -> Result<[Vec<f32>; 5]> {
            let w = Vocabulary { parts: vec![(0, table(device, tokens, &all, true)?)], tokens, d };
            let read_row = w.parts[0].1.read_row(device, 3)?;
            let (embed, unembed) =
                (Embed { wte: w.clone(), wpe: grid(device, 1, "d", &vec![0.0f32; d])?, scale: 1.0 }, Unembed { w });
            let mut rec = device.record();
            let named = device.upload("ids", &[("rows", tokens)], &ids)?;
            let positions = device.upload("positions", &[("rows", tokens)], &vec![0u32; tokens])?;
            let x = embed.primal(&mut rec, &named, &positions)?;
            let units = grid(device, d, "d", &identity(d))?;
            let logits = unembed.primal(&mut rec, &units, &named)?;
            let few = device.upload("ids", &[("wanted", some.len())], &some)?;
            let bars = grid(device, some.len(), "wanted", &identity(some.len()))?;
            let x_bar = unembed.vjp(&mut rec, &bars, &few)?;
            let mut whole = vec![0.0f32; some.len() * tokens];
            some.iter().zip(whole.chunks_mut(tokens)).for_each(|(&id, row)| row[id as usize] = 1.0);
            let x_bar_of_all = unembed.vjp_all(&mut rec, &grid(device, some.len(), "vocab", &whole)?)?;
            device.submit(rec)?;
            let [x, logits, x_bar, x_bar_of_all] = [x, logits, x_bar, x_bar_of_all].map(|t| device.read(&t));
            Ok([x?, logits?, x_bar?, x_bar_of_all?, read_row])
        };
        let [x, logits, x_bar, x_bar_of_all, read_row] = run().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let turned = (0..d).flat_map(|e| all.iter().skip(e).step_by(d)).copied().collect();
        let want = [
            (x, all.clone()),
            (logits, turned),
            (x_bar, rows_of(&some)),
            (x_bar_of_all, rows_of(&some)),
            (read_row, rows_of(&[3])),
        ];
        for (kernel, (got, want)) in ["embed", "primal", "vjp", "vjp_all", "read_row"].iter().zip(want) {
            let apart = got.iter().zip(&want).position(|(got, want)| got != want);
            assert_eq!((apart, got.len()), (None, want.len()), "{}: {kernel}", on.name());
        }
    }
}
