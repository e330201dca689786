//! `redial healthcheck`: asks a running Redial whether it serves, as a container's health check does; no curl needed in the image.

use super::Failure;
use clap::Args;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What `redial healthcheck` takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The admin address to ask
    #[arg(long, default_value = "127.0.0.1:9390")]
    pub(crate) address: SocketAddr,
    /// Ask whether it is ready for phones (/readyz), not only alive (/healthz)
    #[arg(long)]
    pub(crate) ready: bool,
}

/// Asks, and succeeds where the answer is 200.
///
/// # Errors
/// [`Failure::Fault`] with what was answered instead, or why nothing was.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let address = arguments.address;
    let answer = match timeout(PATIENCE, ask(address, path)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(Failure::fault(format_args!("{address} cannot be asked: {error}"))),
        Err(_) => return Err(Failure::fault(format_args!("{address} did not answer within {PATIENCE:?}"))),
    };
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or(answer.as_str(), |(_, body)| body);
    Err(Failure::fault(format_args!("{address}{path}: {}", body.trim())))
}

async fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_OCTETS).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A container engine asks again soon.
const PATIENCE: Duration = Duration::from_secs(3);
/// Both pages are a line.
const MOST_OCTETS: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Admin, Sources};
    use crate::lifecycle::lifecycle;
    use crate::metrics::Metrics;
    use crate::pipeline::Current;
    use std::sync::Arc;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_proxy_that_stops_is_alive_and_not_ready() {
        let ending = Arc::new(lifecycle().0);
        ending.begin();
        let metrics = Arc::new(Metrics::unrecorded());
        let sources = Sources {
            metrics,
            measure: Box::new(|_| ()),
            keeps: Box::new(|| 0),
            directories: Box::new(Vec::new),
            ending,
            pipeline: Current::for_tests(),
            token: Arc::default(),
        };
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), sources).await.unwrap();
        let address = admin.local_addr().unwrap();
        tokio::spawn(admin.run());
        run(&Arguments { address, ready: false }).await.unwrap();
        let failure = run(&Arguments { address, ready: true }).await.unwrap_err();
        assert_eq!(failure, Failure::fault(format_args!("{address}/readyz: not ready: stopping")));
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure() {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(matches!(run(&Arguments { address, ready: false }).await, Err(Failure::Fault(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_failure() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let Err(Failure::Fault(why)) = run(&Arguments { address, ready: false }).await else { panic!("it answered") };
        assert!(why.contains("did not answer"), "{why}");
    }
}
