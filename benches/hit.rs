//! What a hit pays for: the look-up, and the copy under the asker's messageID.
//!
//! Answers of ten entries of about 200 octets; run with `cargo bench --bench hit`. The yardstick is `copy`: the same octets, and nothing
//! else.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use redial::cache::answer::{Answer, AnswerBuilder};
use redial::cache::store::{Lookup, Store};
use redial::config::Lifetimes;
use redial::ldap::envelope::op;
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::ldap::{MessageId, ResultCode};
use std::hint::black_box;
use std::time::Duration;
use tokio::time::Instant;

fn write(criterion: &mut Criterion) {
    let answer = answer();
    let mut out = Vec::with_capacity(64 << 10);
    let octets = {
        answer.write(MessageId::new(7).unwrap(), &mut out);
        out.clone()
    };
    let mut group = criterion.benchmark_group("write");
    group.bench_function("copy", |bencher| {
        bencher.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&octets));
        });
    });
    for number in [7, 300, MessageId::MAX] {
        let message_id = MessageId::new(number).unwrap();
        group.bench_with_input(BenchmarkId::new("messageID", number), &message_id, |bencher, message_id| {
            bencher.iter(|| {
                out.clear();
                black_box(&answer).write(*message_id, &mut out);
            });
        });
    }
    group.finish();
}

fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hit");
    for kept in [1_000u32, 100_000] {
        let (store, now) = (Store::new(8 << 30, 1, LIFETIMES.ttl), Instant::now());
        for number in 0..kept {
            assert!(store.insert(&key(number), &answer(), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        }
        let mut out = Vec::with_capacity(64 << 10);
        let (message_id, mut number) = (MessageId::new(7).unwrap(), 0);
        group.bench_function(BenchmarkId::new("of", kept), |bencher| {
            bencher.iter(|| {
                out.clear();
                number = (number + 7_919) % kept;
                if let Lookup::Fresh(answer) = store.look_up(black_box(&key(number)), None, now) {
                    answer.write(message_id, &mut out);
                }
                out.len()
            });
        });
    }
    group.finish();
}

/// As long as a phone's.
fn key(number: u32) -> [u8; 200] {
    let mut key = [b'k'; 200];
    if let Some(octets) = key.last_chunk_mut() {
        *octets = number.to_be_bytes();
    }
    key
}

fn answer() -> Answer {
    let mut builder = AnswerBuilder::default();
    for number in 0..10 {
        let mut octets = Vec::new();
        let name = format!("CN=Person {number},OU=Staff,DC=corp,DC=example");
        let attributes =
            ["cn", "sn", "givenName", "telephoneNumber", "mobile"].map(|attribute| (attribute, [b"+49 30 1234567".as_slice()]));
        write_entry_op(&mut octets, &name, attributes);
        builder.push_entry(&octets);
    }
    let mut done = Vec::new();
    write_result_op(&mut done, op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "", "");
    builder.finish(ResultCode::SUCCESS, &done)
}

const LIFETIMES: Lifetimes = Lifetimes {
    ttl: Duration::from_secs(100_000),
    empty_ttl: Duration::from_secs(100_000),
    stale: Duration::from_secs(100_000),
    refresh: 1.0,
};

criterion_group!(benches, write, look_up);
criterion_main!(benches);
