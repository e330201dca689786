//! A listener's service over a directory that a test plays, without sockets.

use super::configuration::Configuration;
use super::scripted_directory::ScriptedDirectory;
use redial::config::Config;
use redial::directory::Directory;
use redial::downstream::{Service, Tls};
use redial::identity::register::Register;
use redial::lifecycle::{Ending, Lifecycle, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::{Current, Pipeline};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};

/// What a connection needs.
pub(crate) struct House<D = ScriptedDirectory> {
    pub(crate) config: Config,
    pub(crate) directory: Arc<D>,
    pub(crate) register: Arc<Register>,
    pub(crate) pipeline: Arc<Current>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) service: Arc<Service>,
    pub(crate) ending: Ending,
    pub(crate) lifecycle: Lifecycle,
}

impl House {
    /// A house with the directory `dc=corp`, played by hand; `listener` stands in the listener's table, `more` are other tables.
    pub(crate) fn new(listener: &str, more: &str) -> Self {
        Self::with(listener, more, |_| ())
    }

    /// The same; `change` may change what cannot be written in TOML, since there are no files.
    pub(crate) fn with(listener: &str, more: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Configuration { listener, more, ..Configuration::default() }.load();
        change(&mut config);
        Self::over(ScriptedDirectory::by_hand(), config)
    }
}

impl<D: Directory + 'static> House<D> {
    /// The first listener of that configuration, before this directory.
    pub(crate) fn over(directory: D, config: Config) -> Self {
        let directory = Arc::new(directory);
        let metrics = Arc::new(Metrics::new(&config));
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
