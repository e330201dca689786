//! User-space instructions of a cached search, counted by callgrind: repeatable on any machine, loaded or not.
//!
//!     cargo bench --bench instructions       needs valgrind
//!
//! First the steps, each alone in memory. Then the whole server, beside an echo server of the same octet counts, one search at a time on each
//! connection, metrics on: counted between two moments of a warm server, so that start and first fill do not count.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "it is a program of its own")]

mod side_by_side;

use redial::access::{Accesses, Asker, Verdict};
use redial::cache::answer::{Answer, AnswerBuilder};
use redial::cache::forms::Forms;
use redial::cache::key::{Owner, write_key};
use redial::cache::store::{Lookup, Store};
use redial::cache::{Spelling, Standing};
use redial::config::load::load_text;
use redial::config::{Config, Lifetimes};
use redial::identity::Identity;
use redial::ldap::envelope::op;
use redial::ldap::message::{Request, Scope, Search};
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::ldap::{Envelope, MessageId, ResultCode};
use redial::metrics::Metrics;
use redial::outcome::{OperationKind, Outcome, Served};
use redial::pipeline::{Client, Pipeline};
use redial::session::Security;
use side_by_side::load::{Load, ask, float};
use side_by_side::server::{Drive, Kind, Server, serve};
use side_by_side::workload::{configuration, question, request};
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const STEPS: [(&str, &str); 13] = [
    ("again-1000", "look-up by the octets as they came, 1,000 answers held"),
    ("again-1000000", "the same, 1,000,000 answers held"),
    ("again-0", "the same, not found"),
    ("decode", "frame to SearchRequest, validated"),
    ("access", "who may ask what"),
    ("key", "the normalised key"),
    ("form", "the same for a search in a form that came before, from its octets"),
    ("hit-1000", "look-up, 1,000 answers held"),
    ("hit-100000", "look-up, 100,000 answers held"),
    ("hit-1000000", "look-up, 1,000,000 answers held"),
    ("write-7", "write 10 entries, messageID of one octet"),
    ("write-300", "write 10 entries, messageID of two octets"),
    ("metrics", "count it"),
];

fn main() {
    // Cargo says `--bench` to every bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => serve(&arguments[1..]),
        Some("step") => step(&arguments[1]),
        _ => {
            for (name, what) in STEPS {
                println!("{:>8} {what}", count_step(name));
            }
            for (connections, respelled) in [(1, false), (50, false), (50, true)] {
                let load = Load { connections, depth: 1, respelled, eager: false };
                let [echo, redial] = [Kind::Echo, Kind::Redial].map(|kind| count_server(kind, load));
                let spelled = if respelled { "each in a new spelling" } else { "the same octets again" };
                println!("{:>8.0} above the echo server's {echo:.0}: {connections} connections, {spelled}", redial - echo);
            }
        }
    }
}

/// Instructions of one execution of a step.
fn count_step(name: &str) -> u64 {
    let mut tool = callgrind();
    // The steps are set up unseen.
    let counted = tool.arg("--toggle-collect=*::measured*").arg(std::env::current_exe().unwrap()).args(["step", name]);
    let output = counted.stdout(Stdio::null()).output().unwrap();
    collected(&String::from_utf8(output.stderr).unwrap()) / TIMES
}

/// Instructions that a server spends on one request: the median of some spans, since the clocks of its threads may strike in one of them.
fn count_server(kind: Kind, load: Load) -> f64 {
    let mut tool: Vec<String> = ["taskset", "-c", "0", "valgrind", "--log-file=/dev/null"].map(str::to_owned).to_vec();
    tool.extend(callgrind().get_args().map(|argument| argument.to_str().unwrap().to_owned()));
    let server = Server::start(kind, Drive::Program, &tool);
    let times = SPAN / load.connections;
    let mut counts = Vec::new();
    ask(&server, load, times, 1 + SPANS, || counts.push(server.instructions()));
    server.stop();
    let mut spans: Vec<u64> = counts.windows(2).map(|counts| counts[1] - counts[0]).collect();
    spans.sort_unstable();
    float(spans[SPANS / 2]) / float((times * load.connections) as u64)
}

fn callgrind() -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command
}

/// What callgrind counted, from its last words.
fn collected(log: &str) -> u64 {
    let line = log.lines().find_map(|line| line.split_once("Collected :")).unwrap_or_else(|| panic!("valgrind said: {log}"));
    line.1.trim().parse().unwrap()
}

/// One step, many times.
fn step(name: &str) {
    let frame = request(7, &question(77));
    let text = configuration("127.0.0.1:0".parse().unwrap(), "config/demo.ldif");
    let config = load_text(&text, Path::new(env!("CARGO_MANIFEST_DIR")), true).unwrap().config;
    let (name, number) = name.split_once('-').map_or((name, 0), |(name, number)| (name, number.parse().unwrap()));
    let mut out = Vec::with_capacity(1 << 16);
    match name {
        "decode" => measured(|| assert!(parsed(black_box(&frame)).is_some())),
        "access" => {
            let accesses = Accesses::new(&config.accesses, &config.directories);
            let asker = Asker { peer: "127.0.0.1".parse().unwrap(), identity: &Identity::Anonymous };
            let search = parsed(&frame).unwrap();
            measured(|| assert!(matches!(accesses.decide(&asker, black_box(search.base_object), Scope::WholeSubtree), Verdict::Allow(_))));
        }
        "key" => {
            let search = parsed(&frame).unwrap();
            measured(|| {
                out.clear();
                black_box(write_key(&mut out, Owner { access: 0, principal: None }, Some(0), black_box(&search), None));
            });
        }
        "form" => {
            let search = parsed(&frame).unwrap();
            let spelling = Spelling { standing: standing(&config), op: search.op };
            write_key(&mut out, Owner { access: 0, principal: None }, Some(0), &search, None);
            let forms = Forms::default();
            for _ in 0..2 {
                forms.learn(&spelling, &out);
            }
            measured(|| {
                out.clear();
                assert!(forms.write_key(&mut out, black_box(&spelling)).is_some());
            });
        }
        "hit" => {
            let (store, answer, now) = (Store::new(u64::MAX, 1, LIFETIMES.ttl), small_answer(), Instant::now());
            for number in 0..number {
                assert!(store.insert(&key(number), &answer, store.generation(Some(0)), &LIFETIMES, 0.0, now));
            }
            let mut next = 0;
            measured(|| {
                next = (next + 7_919) % number;
                assert!(matches!(store.look_up(&key(next), None, now), Lookup::Fresh(_)));
            });
        }
        "again" => {
            let (store, answer, now) = (Store::new(u64::MAX, 1, LIFETIMES.ttl), small_answer(), Instant::now());
            let standing = standing(&config);
            for number in 0..number {
                let key = key(number);
                assert!(store.insert(&key, &answer, store.generation(Some(0)), &LIFETIMES, 0.0, now));
                for _ in 0..2 {
                    store.look_up(&key, Some(&Spelling { standing, op: &key }), now);
                }
            }
            let mut next = 0;
            measured(|| {
                next = (next + 7_919) % number.max(1);
                let key = key(next);
                let found = store.look_up_again(&store.spelled(&Spelling { standing, op: &key }), now);
                assert_eq!(found.is_some(), number > 0);
            });
        }
        "write" => {
            let (answer, message_id) = (ten_people(), MessageId::new(number).unwrap());
            answer.write(message_id, &mut out);
            measured(|| {
                out.clear();
                black_box(&answer).write(message_id, &mut out);
            });
        }
        "metrics" => {
            let metrics = Metrics::new(&config);
            let outcome = Outcome {
                kind: OperationKind::Search,
                served: Served::Hit,
                code: ResultCode::SUCCESS,
                entries: 10,
                took: Duration::from_micros(5),
            };
            metrics.operation(&outcome);
            measured(|| metrics.operation(black_box(&outcome)));
        }
        _ => panic!("no step {name}"),
    }
}

/// What callgrind counts.
#[inline(never)]
fn measured(mut step: impl FnMut()) {
    for _ in 0..TIMES {
        step();
    }
}

/// Anybody's.
fn standing(config: &Config) -> Standing {
    let pipeline = Pipeline::new(config, Vec::new(), Arc::new(Metrics::new(config)));
    let peer = "127.0.0.1:50000".parse().unwrap();
    pipeline.standing(&Client::new(peer, 0, Security::Clear, Identity::Anonymous)).unwrap()
}

fn parsed(frame: &[u8]) -> Option<Search<'_>> {
    match Request::parse(&Envelope::parse(frame).ok()?).ok()? {
        Request::Search(search) => Some(search),
        _ => None,
    }
}

/// As long as a phone's.
fn key(number: u32) -> [u8; 200] {
    let mut key = [b'k'; 200];
    key[196..].copy_from_slice(&number.to_be_bytes());
    key
}

fn small_answer() -> Answer {
    AnswerBuilder::default().finish(ResultCode::SUCCESS, &done_op())
}

fn ten_people() -> Answer {
    let mut builder = AnswerBuilder::default();
    for number in 0..10 {
        let mut octets = Vec::new();
        let name = format!("CN=Johanna Person {number},OU=Sales,OU=Staff,DC=corp,DC=example");
        let attributes = ["cn", "sn", "telephoneNumber", "mobile", "o"].map(|attribute| (attribute, [b"+49 30 12345678".as_slice()]));
        write_entry_op(&mut octets, &name, attributes);
        builder.push_entry(&octets);
    }
    builder.finish(ResultCode::SUCCESS, &done_op())
}

fn done_op() -> Vec<u8> {
    let mut done = Vec::new();
    write_result_op(&mut done, op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "", "");
    done
}

const LIFETIMES: Lifetimes = Lifetimes {
    ttl: Duration::from_secs(100_000),
    empty_ttl: Duration::from_secs(100_000),
    stale: Duration::from_secs(100_000),
    refresh: 1.0,
};
/// How often a step is taken.
const TIMES: u64 = 1_000;
/// How many spans of a server's work are counted, behind one that makes it warm.
const SPANS: usize = 5;
/// Requests of a span: every question several times.
const SPAN: usize = 10_000;
