//! The handshake on both sides, the channel, and sealing to a party that is offline.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use getrandom::SysRng;
use keyferry_bench::Ends;
use keyferry_protocol::sealed::{open, put_info, seal};
use rand_core::UnwrapErr;

fn handshake(criterion: &mut Criterion) {
    let ends = Ends::new();
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("agent: first message", |bench| bench.iter(|| ends.first()));
    group.bench_function("server: read it and reply", |bench| {
        bench.iter_batched(
            || ends.first().1,
            |first| ends.second(&first),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("agent: read the reply and prove", |bench| {
        bench.iter_batched(
            || {
                let (agent, first) = ends.first();
                (agent, ends.second(&first).1)
            },
            |(agent, second)| ends.third(agent, &second),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("server: verify the proof", |bench| {
        bench.iter_batched(
            || {
                let (agent, first) = ends.first();
                let (server, second) = ends.second(&first);
                (server, ends.third(agent, &second).1)
            },
            |(server, third)| ends.prove(server, &third),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn channel(criterion: &mut Criterion) {
    let ends = Ends::new();
    let mut group = criterion.benchmark_group("channel");
    for size in [256, 8448] {
        group.throughput(Throughput::Bytes(size));
        let size = usize::try_from(size).unwrap();
        let plain = || ends.arena.take(size).unwrap();
        group.bench_function(format!("seal {size} bytes"), |bench| {
            bench.iter_batched(
                || (ends.connect().1.split().0, plain()),
                |(mut sender, plain)| sender.seal(plain).unwrap(),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("open {size} bytes"), |bench| {
            bench.iter_batched(
                || {
                    let (agent, server) = ends.connect();
                    (agent.split().1, server.split().0.seal(plain()).unwrap())
                },
                |(mut receiver, sealed)| receiver.open(&sealed).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn sealed(criterion: &mut Criterion) {
    let ends = Ends::new();
    let info = put_info([1; 16], &"openai".parse().unwrap(), 1);
    let value = ends.arena.hold(&[b'k'; 56]).unwrap();
    let seal_it = || {
        seal(
            &ends.arena,
            &mut UnwrapErr(SysRng),
            ends.server.public(),
            &info,
            &value,
        )
        .unwrap()
    };
    let mut group = criterion.benchmark_group("hpke");
    group.bench_function("seal 56 bytes", |bench| bench.iter(|| black_box(seal_it())));
    let sealed = seal_it();
    group.bench_function("open 56 bytes", |bench| {
        bench.iter(|| black_box(open(&ends.arena, &ends.server, &info, &sealed).unwrap()));
    });
    group.finish();
}

criterion_group!(benches, handshake, channel, sealed);
criterion_main!(benches);
