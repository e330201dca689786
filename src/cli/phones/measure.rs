//! The measurement itself: the phones are let loose, and waited for.

use super::arguments::Arguments;
use super::cores;
use super::cpu::CpuTime;
use super::numbers::grouped;
use super::pace::Pace;
use super::phone::{Live, Phone, Swarm};
use super::report::Report;
use super::script::Scenario;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::signal::ctrl_c;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

/// Lets all phones loose on that runtime, and waits for the last of them.
pub(super) async fn measure(arguments: &Arguments, swarm: &Arc<Swarm>, server_before: Option<CpuTime>, runtime: &Handle) -> Report {
    let phones = connected(arguments, swarm).await;
    let server_before = server_before.and_then(|_| CpuTime::of_all(&arguments.server_pid).ok().flatten());
    let own_before = CpuTime::of("self").ok();
    // The numbers of one call are asked for at one moment.
    let burst = if arguments.scenario == Scenario::Caller { arguments.ring_group } else { 1 };
    let rate = arguments.rate.map(|rate| (rate, burst));
    let begun = Instant::now();
    let pace = Arc::new(Pace::begin(arguments.most_operations(), arguments.longest(), rate));
    let bell = Arc::clone(&pace);
    let bell = spawn_blocking(move || bell.ring());
    let mut running = JoinSet::new();
    for phone in phones {
        running.spawn_on(phone.run(Arc::clone(&pace)), runtime);
    }
    let seconds = wait(running, swarm, &pace, begun).await;
    let elapsed = begun.elapsed();
    let unsent = pace.unsent();
    pace.stop();
    // It naps for less than a moment.
    let _ = bell.await;
    clear_progress();
    let used = |before: Option<CpuTime>, now: Option<CpuTime>| Some(now?.since(before?));
    Report {
        url: arguments.url.to_string(),
        scenario: arguments.scenario.name(),
        manner: format!("{}, {} different searches", arguments.manner(), grouped(swarm.plan.questions() as u64)),
        connections: arguments.connections as usize,
        elapsed,
        tally: swarm.sum(),
        seconds,
        unsent,
        server_cpu: used(server_before, CpuTime::of_all(&arguments.server_pid).ok().flatten()),
        own_cpu: used(own_before, CpuTime::of("self").ok()),
        beside: None,
        cores: cores(),
    }
}

/// Waits for the last phone. Returns how many operations were answered by the end of each second.
async fn wait(mut running: JoinSet<()>, swarm: &Swarm, pace: &Pace, begun: Instant) -> Vec<u64> {
    let mut seconds = Vec::new();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tokio::select! {
            ended = running.join_next() => if ended.is_none() { return seconds },
            _ = tick.tick() => {
                let before = seconds.last().copied().unwrap_or_default();
                let now = swarm.live.operations.load(Ordering::Relaxed);
                if seconds.len() < MOST_SECONDS {
                    seconds.push(now);
                }
                show_progress(swarm, begun.elapsed(), now - before);
            }
            // The report is of what there is until then.
            _ = ctrl_c() => pace.stop(),
        }
    }
}

/// The phones; those that keep their connections have them.
async fn connected(arguments: &Arguments, swarm: &Arc<Swarm>) -> Vec<Phone> {
    let new = (0..arguments.connections as usize).map(|index| Phone::new(index, Arc::clone(swarm)));
    if !arguments.keeps() {
        return new.collect();
    }
    let mut waiting = new;
    let mut connecting: FuturesUnordered<_> = waiting.by_ref().take(CONNECTING_AT_ONCE).map(|phone| Box::pin(phone.prepare())).collect();
    let mut phones = Vec::with_capacity(arguments.connections as usize);
    while let Some(phone) = connecting.next().await {
        phones.push(phone);
        connecting.extend(waiting.next().map(|phone| Box::pin(phone.prepare())));
    }
    phones
}

/// One line on a terminal, overwritten each second.
fn show_progress(swarm: &Swarm, elapsed: Duration, operations: u64) {
    if stderr().is_terminal() {
        let Live { mishaps, wrong, .. } = &swarm.live;
        let (errors, wrong) = (mishaps.load(Ordering::Relaxed), wrong.load(Ordering::Relaxed));
        let rate = grouped(operations);
        // Whoever does not see it misses nothing.
        let _ = write!(stderr(), "\r\x1b[K{} s: {rate} operations a second, {errors} errors, {wrong} wrong answers", elapsed.as_secs());
    }
}

fn clear_progress() {
    if stderr().is_terminal() {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

/// Before the measurement; within what a server's listen queue holds.
const CONNECTING_AT_ONCE: usize = 128;
/// A day.
const MOST_SECONDS: usize = 24 * 60 * 60;
