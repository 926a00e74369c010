//! Embed and unembed, with a vocabulary in one part and in several.

use resolvent_engine::{Device, Result, Tensor};
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
    w: Vec<f32>,
    random: Random,
}

impl Case {
    fn all() -> Vec<Self> {
        [
            (1, 1, 1, 1, vec![0]),
            (7, 3, 2, 3, vec![0]),
            (50, 24, 7, 5, vec![0, 17, 33]),
            (130, 30, 17, 2, vec![0, 64]),
            (257, 66, 33, 9, vec![0, 1, 256]),
            (300, 127, 65, 4, vec![0, 100, 200, 299]),
            (1700, 65, 9, 3, vec![0, 513, 1540]),
            (101, 768, 3, 66, vec![0, 50]),
        ]
        .map(|(vocab, d, rows, entries, parts)| {
            let mut random = Random::new((vocab * d) as u64);
            Self { vocab, d, rows, entries, parts, w: random.normals(vocab * d), random }
        })
        .into()
    }

    fn table(&self, device: &Device) -> Result<Vocabulary> {
        let ends = self.parts.iter().skip(1).copied().chain([self.vocab]);
        let parts = self.parts.iter().zip(ends).map(|(&from, end)| {
            let dims = [("tokens", end - from), ("d", self.d)];
            Ok((from, device.upload("w", &dims, &self.w[from * self.d..end * self.d])?))
        });
        Ok(Vocabulary { parts: parts.collect::<Result<_>>()?, tokens: self.vocab, d: self.d })
    }

    /// Returns the rows of `ids` of the table, in f64.
    fn rows_of(&self, ids: &[u32]) -> Vec<f64> {
        ids.iter().flat_map(|&id| wide(&self.w[id as usize * self.d..][..self.d])).collect()
    }

    fn name(&self) -> String {
        format!("vocab {}, d {}, rows {}, entries {}", self.vocab, self.d, self.rows, self.entries)
    }
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
