//! What every search pays for before the cache is asked: which access allows it, and what its key is.
//!
//! The search is a desk phone's type-ahead, as the phones of the corpus send it; run with `cargo bench --bench key`.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]

use criterion::{Criterion, criterion_group, criterion_main};
use redial::access::{Accesses, Asker};
use redial::cache::key::{Owner, write_key};
use redial::config::{Access, Clients, DirectoryConfig, DirectoryKind};
use redial::identity::Identity;
use redial::ldap::dn::Dn;
use redial::ldap::envelope::write_envelope;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Request, Scope, SearchRequest};
use redial::ldap::{Envelope, MessageId};
use std::hint::black_box;

const STAFF: &str = "OU=Staff,DC=corp,DC=example";

fn key(criterion: &mut Criterion) {
    let frame = frame();
    let envelope = Envelope::parse(&frame).unwrap();
    let Request::Search(search) = Request::parse(&envelope).unwrap() else { return };
    let owner = Owner { access: 0, principal: None };
    let mut out = Vec::with_capacity(1024);

    let mut group = criterion.benchmark_group("key");
    group.bench_function("parse", |bencher| {
        bencher.iter(|| Request::parse(&Envelope::parse(black_box(&frame)).unwrap()).is_ok());
    });
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            out.clear();
            write_key(&mut out, owner, Some(0), black_box(&search), None)
        });
    });
    group.finish();
}

fn access(criterion: &mut Criterion) {
    let accesses = accesses();
    let asker = Asker { peer: "10.20.1.2".parse().unwrap(), identity: &Identity::Anonymous };
    let mut group = criterion.benchmark_group("access");
    let bases = [("known base", "ou=staff,dc=corp,dc=example"), ("base below", "OU=Sales,OU=Staff,DC=corp,DC=example")];
    for (name, base) in bases {
        group.bench_function(name, |bencher| {
            bencher.iter(|| drop(accesses.decide(black_box(&asker), black_box(base), Scope::WholeSubtree)));
        });
    }
    group.finish();
}

fn frame() -> Vec<u8> {
    let request = SearchRequest {
        base_object: STAFF.to_owned(),
        scope: Scope::WholeSubtree,
        deref_aliases: 0,
        size_limit: 50,
        time_limit: 0,
        types_only: false,
        filter: Filter::parse("(|(cn=smi*)(sn=smi*)(givenName=smi*))").unwrap(),
        attributes: ["cn", "sn", "givenName", "telephoneNumber", "mobile", "ipPhone"].map(str::to_owned).to_vec(),
    };
    let mut frame = Vec::new();
    write_envelope(&mut frame, MessageId::new(7).unwrap(), &request.encode(), None);
    frame
}

fn accesses() -> Accesses {
    let access = Access {
        name: "phones".to_owned(),
        networks: vec!["10.20.0.0/16".parse().unwrap()],
        clients: Clients::Anonymous,
        bases: vec![(STAFF.to_owned(), Dn::parse(STAFF).unwrap())],
        attributes: None,
        filter: None,
        size_limit: Some(500),
    };
    let base = "DC=corp,DC=example";
    let directory = DirectoryConfig {
        name: "corp".to_owned(),
        base: base.to_owned(),
        base_dn: Dn::parse(base).unwrap(),
        kind: DirectoryKind::Embedded { ldif: "phonebook.ldif".into() },
    };
    Accesses::new(&[access], &[directory])
}

criterion_group!(benches, key, access);
criterion_main!(benches);
