//! `redial phones`: a swarm that behaves like phones and measures any LDAP server, Redial or another.
//!
//! [`script`] decides what phones ask, [`pace`] when, [`phone`] does it over a [`mod@line`] from a [`door`], [`verify`] looks at each answer, [`tally`]
//! counts, [`report`] and [`picture`] tell. It connects to the URL that it is given and to nobody else, and it always ends. What it measures must not
//! be itself: requests are encoded once, answers compared as octets, and its own CPU time is part of the report.

mod arguments;
mod beside;
mod cpu;
mod door;
mod known;
mod learn;
mod line;
mod numbers;
mod pace;
mod patience;
mod phone;
mod picture;
mod question;
mod report;
mod script;
mod tally;
mod target;
mod trusting;
mod verify;

pub(crate) use self::arguments::Arguments;
use self::beside::{Beside, runtime_that_gives_way};
use self::cpu::CpuTime;
use self::door::{Door, TlsManner};
use self::learn::{Scout, Vocabulary, read_list};
use self::numbers::grouped;
use self::pace::Pace;
use self::patience::within;
use self::phone::{Live, Phone, Swarm};
use self::question::{Manner, Request};
use self::report::Report;
use self::script::Plan;
pub(crate) use self::script::Scenario;
use self::tally::{Tally, Trouble};
use super::{Failure, print};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io::{IsTerminal, Write, stderr};
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::signal::ctrl_c;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

/// Measures, and prints the report to standard output.
///
/// # Errors
/// [`Failure::Configuration`] for arguments that do not fit, [`Failure::Fault`] when the server cannot be reached, nothing was answered, or an
/// answer was wrong.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.check().map_err(Failure::configuration)?;
    let before = server_cpu(arguments).map_err(Failure::configuration)?;
    let (swarm, live) = gather(arguments).await?;
    let swarm = Arc::new(swarm);
    let report = match live {
        None => measure(arguments, &swarm, before, &Handle::current()).await,
        Some(live) => {
            let beside = Beside::begin(live, arguments.live as usize).await.map_err(Failure::fault)?;
            let runtime = runtime_that_gives_way().map_err(Failure::fault)?;
            let report = measure(arguments, &swarm, before, runtime.handle()).await;
            runtime.shutdown_background();
            Report { beside: Some(beside.end()), ..report }
        }
    };
    print(&report.to_string())?;
    if let Some(file) = &arguments.json {
        write(file, &report.to_json())?;
    }
    if let Some(file) = &arguments.svg {
        write(file, &picture::svg(&report))?;
    }
    match (report.is_good(), report.wrong_answers()) {
        (true, _) => Ok(()),
        (false, 0) => Err(Failure::fault(format_args!("{}: nothing was answered", arguments.url))),
        (false, wrong) => Err(Failure::fault(format_args!("{}: {wrong} wrong answers", arguments.url))),
    }
}

/// Finds out what there is to ask, over a first connection that is not measured: the swarm, and the live phones beside it.
async fn gather(arguments: &Arguments) -> Result<(Swarm, Option<Swarm>), Failure> {
    let unreachable = |why: &dyn std::fmt::Display| Failure::fault(format_args!("{}: {why}", arguments.url));
    let sources: Vec<IpAddr> = arguments.source.iter().flat_map(ipnet::IpNet::hosts).take(MOST_SOURCES).collect();
    let Arguments { start_tls, insecure, resume, .. } = *arguments;
    let tls = TlsManner { start_tls, ca: arguments.ca.as_deref(), insecure, resume };
    let door = Door::open(&arguments.url, sources.clone(), &tls).await.map_err(Failure::configuration)?;
    let password = arguments.password_file.as_deref().map(first_line).transpose().map_err(Failure::configuration)?;
    let bind =
        Request::bind(arguments.bind_dn.as_deref().unwrap_or_default(), password.as_deref().map_or(&[], |password| password.as_bytes()));
    let listed = |file: &Option<_>| file.as_deref().map(read_list).transpose().map_err(Failure::configuration);
    let (names, numbers) = (listed(&arguments.names)?, listed(&arguments.numbers)?);

    let patience = arguments.timeout;
    let binds_first = arguments.bind_dn.is_some();
    let arrival = within(patience, Scout::arrive(&door, binds_first.then_some(&bind))).await;
    let mut scout = arrival.map_err(|mishap| match mishap.trouble {
        Trouble::Tls => unreachable(&format_args!("{mishap} (--ca names the CA of its certificate, --insecure believes any)")),
        _ => unreachable(&mishap),
    })?;
    let base = match &arguments.base {
        Some(base) => base.clone(),
        None => match within(patience, scout.base()).await.map_err(|mishap| unreachable(&mishap))? {
            Some(base) => base,
            None => return Err(Failure::configuration("the server names no naming context: give --base")),
        },
    };
    let needs = (arguments.scenario.needs_names() && names.is_none(), arguments.scenario.needs_numbers() && numbers.is_none());
    let learned = learn(&mut scout, arguments, &base, needs).await?;
    // A server that does not hear it is left alone.
    let _ = tokio::time::timeout(FAREWELL, scout.leave()).await;

    let manner = Manner {
        base,
        attributes: asked_for(arguments),
        name_attributes: arguments.name_attributes.clone(),
        number_attributes: arguments.number_attributes.clone(),
        size_limit: arguments.size_limit,
    };
    let (names, numbers) = (names.unwrap_or(learned.names), numbers.unwrap_or(learned.numbers));
    let plan = |scenario| Plan::new(scenario, &manner, &names, &numbers, arguments.ring_group, arguments.abandon);
    let tallies = || (0..cores() * TALLIES_A_CORE).map(|_| Mutex::new(Tally::new())).collect();
    let swarm = |door, bind, scenario, keep| Swarm {
        door,
        plan: plan(scenario),
        bind,
        binds_first,
        keep,
        patience,
        live: Live::default(),
        tallies: tallies(),
    };
    let live = if arguments.live > 0 {
        let door = Door::open(&arguments.url, sources, &tls).await.map_err(Failure::configuration)?;
        Some(swarm(door, bind.clone(), Scenario::Caller, true))
    } else {
        None
    };
    Ok((swarm(door, bind, arguments.scenario, arguments.keeps()), live))
}

/// The names and the numbers that the server has, where they are needed.
async fn learn(scout: &mut Scout, arguments: &Arguments, base: &str, needs: (bool, bool)) -> Result<Vocabulary, Failure> {
    if needs == (false, false) {
        return Ok(Vocabulary::default());
    }
    let asking = scout.vocabulary(base, &arguments.name_attributes, &arguments.number_attributes);
    let learned = within(arguments.timeout, asking).await;
    let learned = learned.map_err(|mishap| Failure::fault(format_args!("{}: {mishap}", arguments.url)))?;
    let shows_no = |what| Err(Failure::configuration(format_args!("{base} shows no {what}: give --{what}, --base or --bind-dn")));
    match needs {
        (true, _) if learned.names.is_empty() => shows_no("names"),
        (_, true) if learned.numbers.is_empty() => shows_no("numbers"),
        _ => Ok(learned),
    }
}

/// Lets all phones loose on that runtime, and waits for the last of them.
async fn measure(arguments: &Arguments, swarm: &Arc<Swarm>, server_before: Option<CpuTime>, runtime: &Handle) -> Report {
    let phones = connected(arguments, swarm).await;
    let server_before = server_before.and_then(|_| server_cpu(arguments).ok().flatten());
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
    let mut seconds = Vec::new();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tokio::select! {
            ended = running.join_next() => if ended.is_none() { break },
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
        server_cpu: used(server_before, server_cpu(arguments).ok().flatten()),
        own_cpu: used(own_before, CpuTime::of("self").ok()),
        beside: None,
        cores: cores(),
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

fn asked_for(arguments: &Arguments) -> Vec<String> {
    if arguments.attributes.is_empty() {
        [arguments.name_attributes.as_slice(), &arguments.number_attributes].concat()
    } else {
        arguments.attributes.clone()
    }
}

/// Of all its processes together; `None` where none was named.
fn server_cpu(arguments: &Arguments) -> Result<Option<CpuTime>, String> {
    let mut sum: Option<CpuTime> = None;
    for process in &arguments.server_pid {
        let used = CpuTime::of(&process.to_string())?;
        let so_far = sum.unwrap_or_default();
        sum = Some(CpuTime { user: so_far.user + used.user, system: so_far.system + used.system });
    }
    Ok(sum)
}

fn first_line(file: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|error| format!("{}: {error}", file.display()))?;
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    if line.is_empty() { Err(format!("{}: its first line, the password, is empty", file.display())) } else { Ok(line) }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| Failure::configuration(format_args!("{}: {error}", file.display())))
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

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Addresses to connect from: 28,000 ports each are more than a machine has memory for.
const MOST_SOURCES: usize = 4096;
/// Before the measurement; within what a server's listen queue holds.
const CONNECTING_AT_ONCE: usize = 128;
/// So that phones hardly ever meet at one.
const TALLIES_A_CORE: usize = 4;
/// A day.
const MOST_SECONDS: usize = 24 * 60 * 60;
const FAREWELL: Duration = Duration::from_millis(100);
