//! `redial serve`: the proxy, from a configuration file to its orderly end.

use super::reloading::{Due, Reloading};
use super::seal::seal;
use super::{Failure, supervisor};
use crate::config::load::{Loaded, load};
use crate::metrics::Metrics;
use crate::proxy::{Proxy, StartError};
use crate::telemetry::{self, Format};
use clap::Args;
use std::future::pending;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// What `redial serve` takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// What is logged, to standard error: `info`, `debug`, `info,redial::upstream=debug` [default: RUST_LOG, else info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// Log JSON lines
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// Runs the proxy until SIGTERM or SIGINT, then lets operations in flight end. On SIGHUP, and when a file of the configuration changes, that is
/// read again. SIGHUP also opens the audit log's file anew.
///
/// # Errors
/// [`Failure::Configuration`] where the file, or an address in it, is bad; [`Failure::Fault`] when an address is taken, or a part of the proxy dies.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let format = if arguments.log_json { Format::Json } else { Format::Text };
    telemetry::begin(arguments.log.as_deref(), format).map_err(Failure::configuration)?;
    seal();
    // Listened for before anything is served, so that a signal that comes early is not lost.
    let stop = StopSignal::listen()?;
    let began = SystemTime::now();
    let Loaded { config, files, .. } = read(&arguments.config)?;
    let reloading = Reloading::new(arguments.config.clone(), files, began)?;
    let proxy = Proxy::start_on(config, supervisor::sockets()).await.map_err(unable)?;
    if let Some(address) = proxy.admin_address() {
        info!(%address, "admin address");
    }
    info!(version = env!("CARGO_PKG_VERSION"), "ready");
    supervisor::ready();
    run_until(stop, proxy, Some(reloading)).await
}

/// An address that somebody else has may be free in a moment: whoever supervises Redial shall try again, as it need not with a bad configuration.
fn unable(error: StartError) -> Failure {
    if error.taken_address().is_some() { Failure::fault(error) } else { Failure::configuration(error) }
}

/// The configuration; its warnings go to the log.
pub(super) fn read(file: &Path) -> Result<Loaded, Failure> {
    let loaded = load(file).map_err(|rejected| Failure::configuration(format_args!("{}:\n{rejected}", file.display())))?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    Ok(loaded)
}

/// Serves until the signal comes, then drains. A part that dies ends all of it: a supervisor starts it anew, where a proxy without its listener
/// would only look alive.
pub(super) async fn run_until(mut stop: StopSignal, mut proxy: Proxy, mut reloading: Option<Reloading>) -> Result<(), Failure> {
    count_panics(Arc::clone(proxy.metrics()));
    loop {
        let due = async {
            match &mut reloading {
                Some(reloading) => reloading.due().await,
                None => pending().await,
            }
        };
        tokio::select! {
            name = stop.received() => {
                info!(signal = name, "stopping");
                supervisor::stopping();
                break;
            }
            why = proxy.died() => return Err(Failure::fault(why)),
            due = due => {
                if due == Due::Signal {
                    // Whoever has renamed it, and asks nothing else, gets this whatever the configuration is like.
                    proxy.reopen_audit().await;
                }
                if let Some(reloading) = &mut reloading {
                    reloading.carry_out(due, &mut proxy).await;
                }
            }
        }
    }
    tokio::select! {
        () = proxy.stop() => info!("stopped"),
        name = stop.received() => warn!(signal = name, "stopped at once"),
    }
    Ok(())
}

/// A panic ends one connection and not the process, so somebody must count it. How it is told, [`telemetry`] has decided.
fn count_panics(metrics: Arc<Metrics>) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        metrics.panicked();
        report(panic);
    }));
}

/// SIGTERM, from a supervisor, or SIGINT, from a keyboard.
#[derive(Debug)]
pub(super) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// From now on these signals do not end the process.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::fault(format_args!("signals cannot be listened for: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next one's name. Cancel safe.
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
