//! The server's CPU time for one cached search over loopback, beside that of an echo server of the same octet counts, in one run.
//!
//!     cargo bench --bench loopback       all loads, the two servers in turn, 5 rounds of 2 s; medians
//!     cargo bench --bench loopback -- --rounds 9 --seconds 3 --load '50 x 1' --drive per-core|multi --respelled --eager --figures FILE --unpinned
//!     cargo bench --bench loopback -- --beside PROGRAM            another build of Redial instead of the echo server
//!     cargo bench --bench loopback -- --drive shelf               an echo server that copies each answer from one of many places instead of Redial
//!     cargo bench --bench loopback -- --drive both                Redial twice instead: one runtime of several threads, and one on each core
//!
//! Where there are two cores and `taskset`, the server has the first and who asks the second. The CPU time is that of the server's threads as the
//! scheduler counts it (`schedstat`), in the program and in the kernel. Ratios are of times taken in the same round. Every round has servers of its
//! own: where the memory of a process comes to lie decides a hundredth or two, for as long as it runs.
//!
//! Who asks waits for answers as phones do, on its own core, and is hardly faster than the servers: a server that is faster than it gets smaller batches,
//! or sleeps. `--eager` never waits, so that servers are always at their limit, and what sets them apart shows whole.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "it is a program of its own")]

mod side_by_side;

use side_by_side::load::{Load, Measured, measure};
use side_by_side::server::{Drive, Kind, Server, pinned, serve};
use side_by_side::workload::{answer_octets, request_octets};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Connections, and requests at once on each.
const LOADS: [(usize, usize); 5] = [(1, 1), (50, 1), (1000, 1), (1, 16), (50, 16)];

fn main() {
    // Cargo says `--bench` to every bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve(&arguments[1..]);
    }
    let value = |name: &str| arguments.iter().position(|argument| argument == name).map(|place| arguments[place + 1].as_str());
    let rounds = value("--rounds").map_or(5, |rounds| rounds.parse().unwrap());
    let seconds = value("--seconds").map_or(2.0, |seconds| seconds.parse().unwrap());
    let beside = value("--beside").map(Path::new);
    let ([one, other], servers) = match value("--drive") {
        Some("both") => (["one runtime", "one a core"], [(Kind::Redial, Drive::Multi), (Kind::Redial, Drive::PerCore)]),
        Some("per-core") => (["echo", "redial"], [(Kind::Echo, Drive::PerCore), (Kind::Redial, Drive::PerCore)]),
        Some("multi") => (["echo", "redial"], [(Kind::Echo, Drive::Multi), (Kind::Redial, Drive::Multi)]),
        Some("shelf") => (["echo", "shelf"], [(Kind::Echo, Drive::Program), (Kind::Shelf, Drive::Program)]),
        _ if beside.is_some() => (["other build", "redial"], [(Kind::Redial, Drive::Program), (Kind::Redial, Drive::Program)]),
        _ => (["echo", "redial"], [(Kind::Echo, Drive::Program), (Kind::Redial, Drive::Program)]),
    };
    let is_asked = |what: &str| arguments.iter().any(|argument| argument == what);
    let (respelled, eager) = (is_asked("--respelled"), is_asked("--eager"));

    // A server that has every core meets whoever asks on all of them.
    let tool = if is_asked("--unpinned") || one == "one runtime" { Vec::new() } else { pinned() };
    println!(
        "requests of {} octets, answers of {}; {servers:?}, respelled: {respelled}, eager: {eager}, by: {tool:?}",
        request_octets(),
        answer_octets()
    );
    let start = |which: usize| match beside {
        Some(program) if which == 0 => Server::start_build(program, &tool),
        _ => Server::start(servers[which].0, servers[which].1, &tool),
    };
    let is_meant = |(connections, depth): &(usize, usize)| value("--load").is_none_or(|only| only == format!("{connections} x {depth}"));
    let loads: Vec<_> = LOADS.into_iter().filter(is_meant).collect();
    let mut measured: Vec<Vec<[Measured; 2]>> = vec![Vec::new(); loads.len()];
    for round in 0..rounds {
        let servers = [start(0), start(1)];
        for (&(connections, depth), measured) in loads.iter().zip(&mut measured) {
            let load = Load { connections, depth, respelled, eager };
            let ask = |which: usize| measure(&servers[which], load, Duration::from_secs_f64(seconds));
            measured.push(if round % 2 == 0 {
                let one = ask(0);
                [one, ask(1)]
            } else {
                let other = ask(1);
                [ask(0), other]
            });
        }
        servers.into_iter().for_each(Server::stop);
    }
    println!("| connections x depth | {one}, µs CPU | {other}, µs CPU | {one} / {other} | {one}, requests/s | {other}, requests/s |");
    println!("|---|---|---|---|---|---|");
    let mut figures = String::new();
    for ((connections, depth), measured) in loads.into_iter().zip(measured) {
        let cpu = |which: usize| median(measured.iter().map(|round| round[which].cpu_microseconds));
        let rate = |which: usize| median(measured.iter().map(|round| round[which].requests_per_second));
        let ratio = median(measured.iter().map(|[one, other]| one.cpu_microseconds / other.cpu_microseconds));
        let name = format!("{connections} x {depth}");
        println!("| {name} | {:.2} | {:.2} | {ratio:.3} | {:.0} | {:.0} |", cpu(0), cpu(1), rate(0), rate(1));
        writeln!(figures, "{name}\t{:.2}\t{:.2}\t{ratio:.3}", cpu(0), cpu(1)).unwrap();
    }
    if let Some(file) = value("--figures") {
        std::fs::write(file, figures).unwrap();
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
