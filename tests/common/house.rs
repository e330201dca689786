//! A listener's service over a directory that a test plays by hand, without sockets.
#![allow(
    clippy::allow_attributes,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "tests fail by panicking, and each of them uses its part of this"
)]

use crate::directory_by_hand::DirectoryByHand;
use redial::config::Config;
use redial::config::load::load_text;
use redial::directory::Directory;
use redial::downstream::{Service, Tls};
use redial::identity::register::Register;
use redial::lifecycle::{Ending, Lifecycle, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::{Current, Pipeline};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};

/// What a connection needs.
pub(crate) struct House {
    pub(crate) config: Config,
    pub(crate) directory: Arc<DirectoryByHand>,
    pub(crate) register: Arc<Register>,
    pub(crate) pipeline: Arc<Current>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) service: Arc<Service>,
    pub(crate) ending: Ending,
    pub(crate) lifecycle: Lifecycle,
}

impl House {
    /// A house with the directory `dc=corp`; `toml` is put before and can hold other tables.
    pub(crate) fn new(listener: &str, toml: &str) -> Self {
        Self::with_tls(listener, toml, |_| ())
    }

    /// The same; `change` may change what cannot be written in TOML, since there are no files.
    pub(crate) fn with_tls(listener: &str, toml: &str, change: impl FnOnce(&mut Config)) -> Self {
        let text = format!("[[listener]]\naddress = \"127.0.0.1:3389\"\n{listener}\n{DIRECTORY}\n{toml}\n");
        let mut config = load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}\n{text}")).config;
        change(&mut config);
        let directory = Arc::new(DirectoryByHand::default());
        let metrics = Arc::new(Metrics::unrecorded());
        let pipeline = Pipeline::new(&config, vec![Arc::clone(&directory) as Arc<dyn Directory>], Arc::clone(&metrics));
        let register = Arc::clone(pipeline.register());
        let pipeline = Arc::new(Current::new(Arc::new(pipeline)));
        let configured = &config.listeners[0];
        let tls = configured.tls.as_ref().map(|files| Arc::new(Tls::load(files).unwrap()));
        let service = Arc::new(Service::new(0, configured, &config.limits, tls, Arc::clone(&pipeline), Arc::clone(&metrics)));
        let (ending, lifecycle) = lifecycle();
        Self { config, directory, register, pipeline, metrics, service, ending, lifecycle }
    }

    /// A phone's end of a connection whose kernel buffers hold `buffer` octets each way.
    pub(crate) fn connect(&self, buffer: usize) -> DuplexStream {
        let (near, far) = duplex(buffer);
        self.connect_over(far);
        near
    }

    /// Serves a stream.
    pub(crate) fn connect_over(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let peer = "127.0.0.1:40000".parse().unwrap();
        tokio::spawn(Arc::clone(&self.service).serve(stream, peer, self.lifecycle.clone()));
    }
}

const DIRECTORY: &str = r#"
[directory.corp]
base = "dc=corp"
servers = ["ldap://127.0.0.1:1"]
start_tls = false
search_as = "service"
bind_dn = "cn=redial,dc=corp"
password = "service secret"
writes = "forward"

[[access]]
name = "everybody"
clients = "any"
bases = ["dc=corp"]
attributes = ["*"]
"#;
