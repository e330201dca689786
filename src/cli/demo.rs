//! `redial demo`: the proxy in front of an embedded phonebook, on loopback, with searches to paste and a line for each that arrives.

mod lines;
mod searches;
mod site;

use super::Failure;
use super::seal::seal;
use super::serve::{StopSignal, read, run_until};
use crate::proxy::{Proxy, StartError};
use crate::telemetry::{self, Format};
use clap::Args;
use site::Site;
use std::io::{self, Write, stdout};

/// What `redial demo` takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The port on 127.0.0.1 for LDAP and StartTLS
    #[arg(long, default_value_t = 3389)]
    pub(crate) ldap_port: u16,
    /// The port for LDAPS
    #[arg(long, default_value_t = 3636)]
    pub(crate) ldaps_port: u16,
    /// The port for metrics and health
    #[arg(long, default_value_t = 9390)]
    pub(crate) admin_port: u16,
    /// What is logged, to standard error
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub(crate) log: String,
}

/// Runs the demo until SIGTERM or SIGINT.
///
/// # Errors
/// [`Failure::Configuration`] when a port is taken, [`Failure::Fault`] when its files cannot be written.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    telemetry::begin_with(Some(&arguments.log), Format::Text, lines::layer()).map_err(Failure::configuration)?;
    seal();
    let stop = StopSignal::listen()?;
    let site = Site::write(arguments).map_err(|error| Failure::fault(format_args!("the demo's files cannot be written: {error}")))?;
    let proxy = Proxy::start(read(&site.configuration())?.config).await.map_err(explained)?;
    introduce(&proxy, &site).map_err(Failure::fault)?;
    run_until(stop, proxy, None).await
}

/// A port that is taken is the one thing that goes wrong with a demo.
fn explained(error: StartError) -> Failure {
    error.taken_address().map_or_else(
        || Failure::configuration(&error),
        |address| {
            Failure::configuration(format_args!(
                "{address} is taken, perhaps by another demo: stop that, or choose other ports with --ldap-port, --ldaps-port and --admin-port"
            ))
        },
    )
}

fn introduce(proxy: &Proxy, site: &Site) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(
        out,
        "Redial {} in front of an embedded phonebook; its files are in {}\n",
        env!("CARGO_PKG_VERSION"),
        site.directory().display()
    )?;
    let [ldap, ldaps] = proxy.addresses()[..] else { return Ok(()) };
    for search in searches::all(ldap, ldaps) {
        writeln!(out, "# {}\n{}\n", search.who, search)?;
    }
    if let Some(admin) = proxy.admin_address() {
        writeln!(out, "# What Prometheus sees\ncurl -s http://{admin}/metrics\n")?;
    }
    writeln!(out, "Paste them into another terminal, each twice. Here follows a line for each search; Ctrl-C stops the demo.\n")?;
    out.flush()
}
