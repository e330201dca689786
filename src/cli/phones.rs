//! `redial phones`: a swarm that behaves like phones and measures any LDAP server, Redial or another.
//!
//! [`mod@gather`] finds out what there is to ask, [`mod@measure`] lets the phones loose. [`script`] decides what they ask, [`pace`] when, [`phone`]
//! does it over a [`mod@line`] from a [`door`], [`verify`] looks at each answer, [`tally`] counts, [`report`] and [`picture`] tell. It connects to
//! the URL that it is given and to nobody else, and it always ends. What it measures must not be itself: requests are encoded once, answers
//! compared as octets, and its own CPU time is part of the report.

mod arguments;
mod beside;
mod cpu;
mod door;
mod gather;
mod known;
mod learn;
mod line;
mod measure;
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
use self::gather::gather;
use self::measure::measure;
use self::report::Report;
use super::{Failure, print};
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use tokio::runtime::Handle;

/// Measures, and prints the report to standard output.
///
/// # Errors
/// [`Failure::Configuration`] for arguments that do not fit, [`Failure::Fault`] when the server cannot be reached, nothing was answered, or an
/// answer was wrong.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.check().map_err(Failure::configuration)?;
    let before = CpuTime::of_all(&arguments.server_pid).map_err(Failure::configuration)?;
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

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| Failure::configuration(format_args!("{}: {error}", file.display())))
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}
