//! The device's own peaks: plain multiply-adds, plain copies.

use criterion::{Criterion, Throughput};
use resolvent_benches::{devices, operand};
use resolvent_ops::peak;

pub(crate) fn bench(c: &mut Criterion) {
    for (name, device) in devices() {
        let (numbers, turns) = (1 << 16, 1 << 8);
        let mut group = c.benchmark_group("peak.fma");
        group.throughput(Throughput::Elements((numbers * turns * 128) as u64)).sample_size(20);
        let x = operand(&device, numbers / 64, 64, 1).expect("65 536 numbers fit any device");
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut rec = device.record();
                peak::fma(&mut rec, &x, turns)?;
                device.submit(rec)?;
                device.wait()
            });
        });
        group.finish();

        let numbers = 1 << 24;
        let mut group = c.benchmark_group("peak.copy");
        group.throughput(Throughput::Bytes(8 * numbers as u64)).sample_size(20);
        let x = operand(&device, numbers / 1024, 1024, 1).expect("64 MiB fit the default limits");
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut rec = device.record();
                peak::copy(&mut rec, &x)?;
                device.submit(rec)?;
                device.wait()
            });
        });
        group.finish();
    }
}
