//! What a tool pays for reading its key: the page, and the whole of `KeyHandle::expose`.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use keyferry_bench::serve_one_page;
use keyferry_protocol::memory::{Arena, MappedPage, SecretPage, ValueBuffer, self_test};
use keyferry_sdk::blocking::Client;

fn page(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page");
    let level = self_test().unwrap();
    let mut page = SecretPage::new(level).unwrap();
    page.publish(1, VALUE);
    let mapped = MappedPage::map(page.descriptor().try_clone_to_owned().unwrap()).unwrap();
    let mut buffer = ValueBuffer::new(&Arena::new(level).unwrap()).unwrap();
    group.bench_function("read 56 bytes", |bench| {
        bench.iter(|| black_box(mapped.read(&mut buffer).unwrap()));
    });
    group.bench_function("look for a change", |bench| {
        bench.iter(|| black_box(mapped.state()));
    });
    group.bench_function("publish 56 bytes", |bench| {
        bench.iter(|| page.publish(black_box(2), VALUE));
    });
    group.finish();
}

fn sdk(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    serve_one_page(&socket, VALUE);
    let client = Client::connect_to(&socket).unwrap();
    let key = client.key("openai").unwrap();
    criterion.bench_function("sdk/expose 56 bytes", |bench| {
        bench.iter(|| key.expose(|bytes| black_box(bytes.len())).unwrap());
    });
}

const VALUE: &[u8; 56] = b"sk-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

criterion_group!(benches, page, sdk);
criterion_main!(benches);
