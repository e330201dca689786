//! Every fault that a controller can have, and what clients meet then: executes the table in `faults/table.txt`.
//!
//! A fault without a section, a section without a fault, a cell that is missing, and one that says anything else than what happens
//! all fail. `REDIAL_WRITE_EXPECTED=1` writes what happens into the table, to be read before it is kept.

#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod common;
#[path = "faults/table.rs"]
mod table;

use common::bench::{Bench, Column, MOST_CONNECTIONS, Met};
use common::faulty_site::{LARGE, SMALL, Site, Wrong};
use redial::ldap::ResultCode;
use std::sync::Arc;
use std::time::Duration;
use table::{Cell, Ended, ROWS, Section};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;
use tokio::time::{Instant, advance, sleep};

/// A fault: its name in the table, and how it is made.
struct Fault {
    name: &'static str,
    how: How,
}

/// How a fault is made.
#[derive(Debug, Clone, Copy)]
enum How {
    /// The controller goes wrong like this until the fault ends.
    Goes(Wrong),
    /// It is away for so long, and comes back by itself.
    AwayFor(Duration),
    /// It is away every other half second.
    Flaps,
    /// The machine vanishes, and its name leads to another one.
    Moves,
    /// Nothing happens to controllers: Redial itself stands still for so long, while they close its connections.
    ClockLeaps(Duration),
}

const FAULTS: &[Fault] = &[
    Fault { name: "refused", how: How::Goes(Wrong::Refused) },
    Fault { name: "black hole", how: How::Goes(Wrong::BlackHole) },
    Fault { name: "TLS stall", how: How::Goes(Wrong::TlsStall) },
    Fault { name: "expired certificate", how: How::Goes(Wrong::Expired) },
    Fault { name: "wrong-name certificate", how: How::Goes(Wrong::Misnamed) },
    Fault { name: "reset in mid-result", how: How::Goes(Wrong::Reset) },
    Fault { name: "stall in mid-result", how: How::Goes(Wrong::Stall) },
    Fault { name: "notice of disconnection", how: How::Goes(Wrong::Notice) },
    Fault { name: "busy", how: How::Goes(Wrong::Says(ResultCode::BUSY)) },
    Fault { name: "unavailable", how: How::Goes(Wrong::Says(ResultCode::UNAVAILABLE)) },
    Fault { name: "ten times slower", how: How::Goes(Wrong::Slow) },
    Fault { name: "garbage", how: How::Goes(Wrong::Garbage) },
    Fault { name: "absurd length", how: How::Goes(Wrong::AbsurdLength) },
    Fault { name: "foreign messageID", how: How::Goes(Wrong::ForeignId) },
    Fault { name: "duplicate reply", how: How::Goes(Wrong::Duplicate) },
    Fault { name: "late reply after abandon", how: How::Goes(Wrong::Late) },
    Fault { name: "flood of references", how: How::Goes(Wrong::References) },
    Fault { name: "flood of referrals", how: How::Goes(Wrong::Referral) },
    Fault { name: "half-close", how: How::Goes(Wrong::HalfClose) },
    Fault { name: "restart", how: How::AwayFor(Duration::from_secs(5)) },
    Fault { name: "flapping", how: How::Flaps },
    Fault { name: "address change in DNS", how: How::Moves },
    Fault { name: "clock leaps an hour", how: How::ClockLeaps(Duration::from_secs(3_600)) },
];

/// A fault that has begun.
struct Begun {
    site: Arc<Site>,
    names: &'static [usize],
    task: Option<AbortHandle>,
}

impl Fault {
    /// TLS costs the test time, so it is there where it is what fails.
    fn needs_tls(&self) -> bool {
        matches!(self.how, How::Goes(Wrong::TlsStall | Wrong::Expired | Wrong::Misnamed))
    }

    /// At the controllers of these names.
    async fn begin(&self, site: &Arc<Site>, names: &'static [usize]) -> Begun {
        let all = |wrong| names.iter().for_each(|name| site.goes_wrong(*name, wrong));
        let task = match self.how {
            How::Goes(wrong) => {
                all(wrong);
                None
            }
            How::AwayFor(time) => {
                all(Wrong::Refused);
                let site = Arc::clone(site);
                Some(tokio::spawn(async move {
                    sleep(time).await;
                    names.iter().for_each(|name| site.goes_wrong(*name, Wrong::Nothing));
                }))
            }
            How::Flaps => {
                let site = Arc::clone(site);
                Some(tokio::spawn(async move {
                    for wrong in [Wrong::Refused, Wrong::Nothing].into_iter().cycle() {
                        names.iter().for_each(|name| site.goes_wrong(*name, wrong));
                        sleep(Duration::from_millis(500)).await;
                    }
                }))
            }
            How::Moves => {
                all(Wrong::BlackHole);
                names.iter().for_each(|name| site.moves(*name));
                None
            }
            How::ClockLeaps(time) => {
                all(Wrong::Refused);
                all(Wrong::Nothing);
                advance(time).await;
                None
            }
        };
        Begun { site: Arc::clone(site), names, task: task.map(|task| task.abort_handle()) }
    }
}

impl Begun {
    fn end(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.names.iter().for_each(|name| self.site.goes_wrong(*name, Wrong::Nothing));
    }
}

/// A paused clock, and the same dice each time.
fn simulated<T>(seed: u64, work: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let runtime: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// What happens in one cell, and what is left over after it.
fn meets(fault: &Fault, row: usize, column: Column, seed: u64) -> (Met, String) {
    simulated(seed, async {
        let bench = Bench::new(fault.needs_tls()).await;
        let begun = fault.begin(&bench.site, if row == ALL { &[0, 1] } else { &[0] }).await;
        let (met, complaint) = if row == LATER { later(&bench, column).await } else { (at_once(&bench, column).await, String::new()) };
        begun.end();
        sleep(Duration::from_secs(120)).await;
        (met, complaint + &left_over(&bench))
    })
}

/// What one client meets a tenth of a second after the fault began.
async fn at_once(bench: &Bench, column: Column) -> Met {
    sleep(Duration::from_millis(100)).await;
    bench.meets(column).await
}

/// What most clients meet when half a minute has passed, of which one asks every second; and a complaint if it is not nearly all of them.
async fn later(bench: &Bench, column: Column) -> (Met, String) {
    let mut mets: Vec<Met> = Vec::new();
    for _ in 0..60 {
        mets.push(bench.meets(column).await);
        sleep(Duration::from_secs(1)).await;
    }
    let mets = &mets[30..];
    let is_like = |one: &Met, other: &Met| (one.code, &one.served, one.reached) == (other.code, &other.served, other.reached);
    let like = |met: &Met| mets.iter().filter(|other| is_like(met, other)).count();
    let most = mets.iter().max_by_key(|met| like(met)).expect("thirty");
    let took = mets.iter().filter(|met| is_like(met, most)).map(|met| met.took).max().expect("at least one");
    let failed = mets.iter().filter(|met| met.code != most.code).count();
    let complaint = if failed <= 3 { String::new() } else { format!("{failed} of 30 fared otherwise: {mets:?}") };
    (Met { took, ..most.clone() }, complaint)
}

/// What should not be there when all has been well for two minutes.
fn left_over(bench: &Bench) -> String {
    let (in_flight, up) = (bench.gauge("redial_upstream_in_flight"), bench.gauge("redial_upstream_up"));
    let (counted, open) = (bench.gauge("redial_upstream_connections"), bench.site.open());
    let is_clean = in_flight == 0.0 && up == 2.0 && open <= MOST_CONNECTIONS && counted == f64::from(u32::try_from(open).unwrap());
    if is_clean { String::new() } else { format!("left over: {in_flight} in flight, {counted} of {open} connections counted, {up} up") }
}

/// How all is well again after a fault.
fn ended(fault: &Fault, seed: u64) -> Ended {
    let served_within = simulated(seed, async {
        let bench = Bench::new(fault.needs_tls()).await;
        let begun = fault.begin(&bench.site, &[0, 1]).await;
        sleep(Duration::from_secs(30)).await;
        begun.end();
        let began = Instant::now();
        while bench.meets(Column::New).await.code != ResultCode::SUCCESS {
            sleep(Duration::from_millis(50)).await;
        }
        began.elapsed()
    });
    let asked_within = simulated(seed, async {
        let bench = Bench::new(fault.needs_tls()).await;
        let begun = fault.begin(&bench.site, &[0]).await;
        sleep(Duration::from_secs(30)).await;
        begun.end();
        let (began, before) = (Instant::now(), bench.site.behind(0).searches());
        while bench.site.behind(0).searches() == before {
            let met = bench.meets(Column::New).await;
            assert_eq!(met.code, ResultCode::SUCCESS, "after {}: {met:?}", fault.name);
            sleep(Duration::from_millis(50)).await;
        }
        began.elapsed()
    });
    Ended { served_within, asked_within }
}

/// What holds in every cell, whatever the table says; the promise that is broken.
fn broken_promise(fault: &Fault, row: usize, column: Column, met: &Met) -> Option<&'static str> {
    let is_success = met.code == ResultCode::SUCCESS;
    let is_search = !matches!(column, Column::Bind | Column::Write);
    let wanted = if column == Column::Paged { LARGE } else { SMALL } as usize;
    let refers = matches!(fault.how, How::Goes(Wrong::Referral));
    let promises = [
        (is_search || met.reached <= 1 || refers, "a bind or write is sent once, unless it was clearly refused"),
        (is_success || !matches!(column, Column::Fresh | Column::Old), "the phonebook answers"),
        (is_success || row == ALL || !is_search, "no search is lost where one controller is well"),
        (is_success || row != LATER || refers, "once it is known, one controller that is well is enough for everything"),
        (!is_search || !is_success || met.entries == wanted, "an answer is whole"),
        (met.code != ResultCode::INVALID_CREDENTIALS, "no phone drops its password because a controller fails"),
        (column != Column::Bind || !matches!(met.served.as_str(), "hit" | "stale"), "no password from memory"),
        (met.took <= Duration::from_millis(5_000), "every wait has a deadline"),
    ];
    promises.into_iter().find(|(is_kept, _)| !is_kept).map(|(_, promise)| promise)
}

/// What happens with one fault; where that is not what is written; where it breaks a promise.
fn executes(fault: &Fault, section: &Section) -> (Section, String, String) {
    let (mut differs, mut broken, mut rows) = (String::new(), String::new(), Vec::new());
    for (row, name) in ROWS.iter().enumerate() {
        let cells = Column::ALL.map(|column| {
            let place = format!("{}, {name}, {}", fault.name, column.name());
            let mets = SEEDS.map(|seed| {
                let (met, left_over) = meets(fault, row, column, seed);
                let promise = broken_promise(fault, row, column, &met).unwrap_or_default();
                if !promise.is_empty() || !left_over.is_empty() {
                    broken.push_str(&format!("{place}: {promise}{left_over}, and yet: {met:?}\n"));
                }
                met
            });
            let cell = |met: &Met| (met.code.name().to_owned(), met.served.clone(), met.reached);
            if mets.iter().any(|met| cell(met) != cell(&mets[0])) {
                broken.push_str(&format!("{place}: it depends on chance: {mets:?}\n"));
            }
            let (code, served, reached) = cell(&mets[0]);
            let took = mets.iter().map(|met| met.took).max().expect("a seed");
            let happens = Cell { code, served, reached, within: table::rounded_up(took) };
            let written = section.rows.get(row).and_then(|cells| cells.get(column as usize));
            let is_as_written =
                written.is_some_and(|written| Cell { within: happens.within, ..written.clone() } == happens && took <= written.within);
            if !is_as_written {
                differs.push_str(&format!("{place}:\n  written {written:?}\n  happens {happens:?}\n"));
            }
            happens
        });
        rows.push(cells.to_vec());
    }
    let ends = SEEDS.map(|seed| ended(fault, seed));
    let slowest = |time: fn(&Ended) -> Duration| table::rounded_up(ends.iter().map(time).max().expect("a seed"));
    let ended = Ended { served_within: slowest(|ended| ended.served_within), asked_within: slowest(|ended| ended.asked_within) };
    if ended.served_within > section.ended.served_within || ended.asked_within > section.ended.asked_within {
        differs.push_str(&format!("{}, ended:\n  written {:?}\n  happens {ended:?}\n", fault.name, section.ended));
    }
    // A bound that holds is left as it was written: where probes decide, it is rounder than what the dice say.
    let ended = Ended {
        served_within: ended.served_within.max(section.ended.served_within),
        asked_within: ended.asked_within.max(section.ended.asked_within),
    };
    (Section { fault: fault.name.to_owned(), about: section.about.clone(), rows, ended }, differs, broken)
}

#[test]
fn every_fault_is_met_as_the_table_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/table.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let written = table::parse(&text);
    let names: Vec<_> = written.iter().map(|section| section.fault.as_str()).collect();
    let faults: Vec<_> = FAULTS.iter().map(|fault| fault.name).collect();
    assert_eq!(names, faults, "the sections of the table, and the faults that are made");

    let half = FAULTS.len() / 2;
    let execute = |range: std::ops::Range<usize>| {
        FAULTS[range.clone()].iter().zip(&written[range]).map(|(fault, section)| executes(fault, section)).collect::<Vec<_>>()
    };
    let executed = std::thread::scope(|scope| {
        let first = scope.spawn(|| execute(0..half));
        let second = execute(half..FAULTS.len());
        [first.join().expect("the first half"), second].concat()
    });
    let broken: String = executed.iter().map(|(_, _, broken)| broken.as_str()).collect();
    let mut differs: String = executed.iter().map(|(_, differs, _)| differs.as_str()).collect();
    if std::env::var_os("REDIAL_WRITE_EXPECTED").is_some() {
        let introduction: String = text.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let happens: Vec<Section> = executed.into_iter().map(|(section, _, _)| section).collect();
        std::fs::write(&path, table::render(&introduction, &Column::ALL.map(Column::name), &happens)).unwrap();
        differs.clear();
    }
    assert!(differs.is_empty() && broken.is_empty(), "{broken}\n{differs}");
}

/// Rows of the table.
const LATER: usize = 1;
const ALL: usize = 2;
/// Each cell is thrown dice for so often.
const SEEDS: [u64; 2] = [1, 2];
