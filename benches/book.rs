//! What a phonebook in memory costs: building it, and the searches that phones send, at 1,000 to 100,000 people.
//!
//! Memory per person is printed before the first group. Run with `cargo bench --bench book`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot be set up has nothing to measure, and it reports")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use redial::book::{Book, Entry};
use redial::ldap::dn::Dn;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest};
use std::hint::black_box;

const BASE: &str = "ou=Staff,dc=example,dc=com";
const SHOWN: [&str; 8] = ["cn", "sn", "givenName", "telephoneNumber", "mobile", "ipPhone", "mail", "department"];

fn build(criterion: &mut Criterion) {
    let base = Dn::parse(BASE).unwrap();
    let mut group = criterion.benchmark_group("book build");
    group.sample_size(10);
    for size in [1_000, 10_000, 100_000] {
        let entries = people(size);
        let book = Book::from_entries(&base, &entries).unwrap();
        println!("{size} people: {} octets each", book.footprint() / size);
        let ldif = ldif(&entries);
        group.bench_with_input(BenchmarkId::new("entries", size), &entries, |bencher, entries| {
            bencher.iter(|| Book::from_entries(&base, entries).unwrap());
        });
        group.bench_with_input(BenchmarkId::new("ldif", size), &ldif, |bencher, ldif| {
            bencher.iter(|| Book::from_ldif(ldif, &base).unwrap());
        });
    }
    group.finish();
}

fn search(criterion: &mut Criterion) {
    for size in [1_000, 10_000, 100_000] {
        let book = Book::from_entries(&Dn::parse(BASE).unwrap(), &people(size)).unwrap();
        let mut group = criterion.benchmark_group(format!("book search {size}"));
        for (name, filter, limit) in SEARCHES {
            let request = request(filter);
            let mut out = Vec::new();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    out.clear();
                    let mut answer = book.search(black_box(&request), limit);
                    while answer.write_next(&mut out) {
                        // What is large is written in pieces; the buffer is used again.
                        if out.len() > 64 << 10 {
                            out.clear();
                        }
                    }
                    answer.result().code
                });
            });
        }
        group.finish();
    }
}

const FIFTY: Option<u32> = Some(50);

const SEARCHES: [(&str, &str, Option<u32>); 20] = [
    ("prefix 1", "(|(cn=b*)(sn=b*))", FIFTY),
    ("prefix 2", "(|(cn=be*)(sn=be*))", FIFTY),
    ("prefix 3", "(|(cn=ber*)(sn=ber*))", FIFTY),
    ("prefix none", "(|(cn=qqq*)(sn=qqq*))", FIFTY),
    ("prefix and class", "(&(objectClass=person)(sn=be*))", FIFTY),
    ("number exact", "(|(telephoneNumber=+49 30 23125-77)(mobile=+49 30 23125-77)(ipPhone=+49 30 23125-77))", FIFTY),
    ("number last 8", "(telephoneNumber=*3125-777)", FIFTY),
    ("contains 1", "(|(cn=*e*)(sn=*e*))", FIFTY),
    ("contains 2", "(|(cn=*be*)(sn=*be*))", FIFTY),
    ("contains 3", "(|(cn=*ber*)(sn=*ber*))", FIFTY),
    ("contains none", "(|(cn=*qqq*)(sn=*qqq*))", FIFTY),
    ("contains both", "(&(sn=*ber*)(cn=*jo*))", FIFTY),
    ("two pieces", "(cn=*be*s*)", FIFTY),
    ("present and prefix", "(&(telephoneNumber=*)(sn=be*))", FIFTY),
    ("not prefix", "(!(sn=be*))", FIFTY),
    ("ordered", "(&(givenName>=a)(sn<=m))", FIFTY),
    ("integers", "(employeeNumber>=500)", FIFTY),
    ("unlimited prefix", "(sn=b*)", None),
    ("unlimited contains", "(cn=*ber*)", None),
    ("everybody", "(objectClass=*)", None),
];

fn request(filter: &str) -> SearchRequest {
    SearchRequest::new(BASE, Scope::WholeSubtree, Filter::parse(filter).unwrap(), &SHOWN)
}

/// So many people, with twelve attributes each and surnames enough that most names are one person's.
fn people(size: u64) -> Vec<Entry> {
    let mut random = fastrand::Rng::with_seed(42);
    let mut entries = vec![Entry::new(BASE).with("objectClass", "organizationalUnit").with("ou", "Staff")];
    entries.extend((0..size).map(|number| person(number, &mut random)));
    entries
}

fn person(number: u64, random: &mut fastrand::Rng) -> Entry {
    let pick = |words: &[&'static str], random: &mut fastrand::Rng| random.choice(words).copied().unwrap();
    let mut surname = String::new();
    for _ in 0..random.usize(2..4) {
        surname.push_str(pick(&SYLLABLES, random));
    }
    surname.push_str(pick(&ENDINGS, random));
    let surname: String =
        surname.char_indices().flat_map(|(at, letter)| if at == 0 { letter.to_uppercase().collect() } else { vec![letter] }).collect();
    let given = pick(&GIVEN, random);
    let uid = format!("u{number}");
    let department = pick(&DEPARTMENTS, random);
    let telephone = match random.u8(..4) {
        0 => format!("+49 30 23125-{number}"),
        1 => format!("(030) 23125{number}"),
        2 => format!("0049 30 23125 {number}"),
        _ => format!("+49 (0)30 / 23125 - {number}"),
    };
    let mut entry = Entry::new(format!("uid={uid},{BASE}"))
        .with("objectClass", "person")
        .with("objectClass", "inetOrgPerson")
        .with("uid", uid)
        .with("cn", format!("{given} {surname}"))
        .with("sn", surname.as_str())
        .with("givenName", given)
        .with("telephoneNumber", telephone)
        .with("ipPhone", format!("{number:05}"))
        .with("mail", format!("{given}.{surname}{number}@example.com").to_lowercase())
        .with("department", department)
        .with("employeeNumber", number.to_string());
    if random.u8(..10) < 6 {
        entry = entry.with("mobile", format!("+49 171 39{number:06}"));
    }
    for _ in 0..random.u8(..4).saturating_sub(1) {
        entry = entry.with("otherTelephone", format!("+49 40 66969-{}", random.u32(..100_000)));
    }
    entry
}

fn ldif(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend_from_slice(format!("dn: {}\n", entry.dn).as_bytes());
        for (name, value) in &entry.attributes {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.push(b'\n');
        }
        out.push(b'\n');
    }
    out
}

const GIVEN: [&str; 16] = [
    "Jürgen",
    "Anna",
    "Björn",
    "Chloé",
    "Johanna",
    "Emre",
    "Günther",
    "Joachim",
    "Inès",
    "Sabine",
    "Łukasz",
    "Ольга",
    "Peter",
    "Robert",
    "Søren",
    "Thomas",
];
const SYLLABLES: [&str; 60] = [
    "ber", "schmi", "mül", "fi", "we", "mey", "wag", "be", "schä", "gro", "wei", "öz", "no", "wój", "dvo", "jør", "lind", "sjö", "gar",
    "hof", "ko", "rich", "klei", "neu", "brand", "vo", "al", "an", "bau", "bran", "da", "do", "eck", "el", "fal", "fei", "ga", "gör", "ha",
    "hei", "il", "ja", "kam", "kel", "la", "len", "ma", "mo", "na", "ol", "pe", "pla", "quen", "ra", "rot", "sa", "stei", "ta", "ul",
    "zim",
];
const ENDINGS: [&str; 10] = ["er", "mann", "ler", "feld", "burg", "ski", "sen", "ström", "t", "s"];
const DEPARTMENTS: [&str; 8] = ["Vertrieb", "Einkauf", "IT", "Personal", "Kundenservice", "Produktion", "Recht, Risiko", "Finanzen"];

criterion_group!(benches, build, search);
criterion_main!(benches);
