//! Answers past their time, and those kept over a restart, with Redial whole and controllers in memory.

#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use common::bench::{Bench, Column};
use common::faulty_site::{Site, Wrong};
use redial::ldap::ResultCode;
use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;
use tokio::time::sleep;

thread_local! {
    /// What was logged on this thread, which is one test's.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes what is logged where the test finds it. For all tests of the process, and first in each: a line that is met before anybody listens
/// may be taken for one that nobody wants.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| ToThread).init());
}

struct ToThread;

impl io::Write for ToThread {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(octets));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines with that text so far.
fn logged(text: &str) -> usize {
    LOGGED.with_borrow(|logged| String::from_utf8_lossy(logged).lines().filter(|line| line.contains(text)).count())
}

fn all_go(bench: &Bench, wrong: Wrong) {
    [0, 1].iter().for_each(|name| bench.site.goes_wrong(*name, wrong));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_of_once_and_its_end_once() {
    listen();
    let bench = Bench::new(false).await;
    for wrong in [Wrong::Refused, Wrong::Nothing, Wrong::BlackHole] {
        all_go(&bench, wrong);
        for _ in 0..5 {
            let met = bench.meets(Column::Old).await;
            assert_eq!(met.code, ResultCode::SUCCESS);
            sleep(Duration::from_secs(2)).await;
        }
    }
    assert_eq!(logged("answers past their time stand in"), 1, "a site that flaps is one outage");
    assert_eq!(logged("the directory answers again"), 0);
    all_go(&bench, Wrong::Nothing);
    sleep(Duration::from_secs(60)).await;
    for _ in 0..5 {
        assert_eq!(bench.meets(Column::New).await.code, ResultCode::SUCCESS);
    }
    assert_eq!(logged("the directory answers again"), 1);
    assert_eq!(logged("answers past their time stand in"), 1);
}

#[tokio::test(start_paused = true)]
async fn stale_answers_are_counted() {
    listen();
    let bench = Bench::new(false).await;
    all_go(&bench, Wrong::Refused);
    for _ in 0..3 {
        assert_eq!(bench.meets(Column::Old).await.served, "stale");
    }
    assert_eq!(bench.counter("redial_cache_stale_total"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_rule_may_forbid_stale_answers() {
    listen();
    let bench = Bench::before(Site::new(false), false, "stale = \"0s\"");
    assert_eq!(bench.meets(Column::Old).await.code, ResultCode::SUCCESS);
    sleep(Duration::from_secs(45)).await;
    all_go(&bench, Wrong::Refused);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.meets(Column::Old).await.code, ResultCode::UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_with_all_controllers_away_the_phonebook_still_answers() {
    listen();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kept-{}", std::process::id()));
    let keep = format!("keep = {file:?}");
    let bench = Bench::before(Site::new(false), false, &keep);
    for column in [Column::Fresh, Column::Old] {
        assert_eq!(bench.meets(column).await.code, ResultCode::SUCCESS);
    }
    sleep(Duration::from_secs(45)).await;
    bench.pipeline.keep();
    drop(bench);

    let site = Site::new(false);
    [0, 1].iter().for_each(|name| site.goes_wrong(*name, Wrong::Refused));
    let bench = Bench::before(site, false, &keep);
    bench.pipeline.recall_kept();
    let (fresh, old) = (bench.meets(Column::Fresh).await, bench.meets(Column::Old).await);
    // Clients write to this directory, so what was kept only stands in.
    assert_eq!((fresh.code, fresh.served.as_str()), (ResultCode::SUCCESS, "stale"));
    assert_eq!((old.code, old.served.as_str()), (ResultCode::SUCCESS, "stale"));
    assert_eq!(bench.meets(Column::New).await.code, ResultCode::UNAVAILABLE);
    assert_eq!(bench.meets(Column::Bind).await.code, ResultCode::UNAVAILABLE, "no password is kept");
    std::fs::remove_file(file).unwrap();
}
