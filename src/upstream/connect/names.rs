//! Who knows names: DNS, and for ordinary addresses the system with all that it has besides.

use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::lookup_host;

/// Looks names up. A test brings answers of its own.
pub trait Names: std::fmt::Debug + Send + Sync + 'static {
    /// The SRV records of a name; none is an answer too.
    ///
    /// # Errors
    /// When there was no answer: why, in words for the log.
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Services, String>>;

    /// The addresses of a host, in the order in which they are to be tried.
    ///
    /// # Errors
    /// The same.
    fn addresses<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>>;
}

/// An answer of DNS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Services {
    /// As they came.
    pub records: Vec<Srv>,
    /// How long they are good for.
    pub ttl: Duration,
}

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones first.
    pub priority: u16,
    /// Its part among those of one priority.
    pub weight: u16,
    /// Where LDAP is spoken.
    pub port: u16,
    /// The host's name in ASCII, with or without a dot at its end; "." alone: there is no such service.
    pub target: String,
}

/// The real thing. It keeps nothing: what a name stands for is asked whenever it is needed, and the system's configuration may change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dns {
    /// Whom to ask; empty: those of /etc/resolv.conf, and for addresses the system's own resolver, which knows /etc/hosts too.
    pub(crate) resolvers: Vec<SocketAddr>,
}

impl Dns {
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.resolvers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = self.resolvers.iter().map(name_server).collect();
            TokioResolver::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), servers), TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        builder.build()
    }

    async fn services_of(&self, name: &str) -> Result<Services, NetError> {
        let mut name = Name::from_ascii(name)?;
        // The search list of the system's configuration must not lead elsewhere.
        name.set_fqdn(true);
        let found = match self.resolver()?.srv_lookup(name).await {
            Err(error) if error.is_no_records_found() => return Ok(Services::default()),
            found => found?,
        };
        let mut services = Services { records: Vec::new(), ttl: Duration::MAX };
        for record in found.answers() {
            if let RData::SRV(srv) = &record.data {
                services.ttl = services.ttl.min(Duration::from_secs(record.ttl.into()));
                let target = srv.target.to_ascii();
                services.records.push(Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target });
            }
        }
        Ok(services)
    }

    async fn addresses_of(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if self.resolvers.is_empty() {
            return lookup_host((host, port)).await.map(Iterator::collect).map_err(|error| error.to_string());
        }
        let look_up = async {
            let mut name = Name::from_ascii(host)?;
            name.set_fqdn(true);
            self.resolver()?.lookup_ip(name).await
        };
        let found = look_up.await.map_err(|error| error.to_string())?;
        Ok(found.iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

impl Names for Dns {
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Services, String>> {
        Box::pin(async move { self.services_of(name).await.map_err(|error| error.to_string()) })
    }

    fn addresses<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>> {
        Box::pin(self.addresses_of(host, port))
    }
}

/// By UDP, and by TCP where an answer does not fit.
fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = address.port());
    NameServerConfig::new(address.ip(), true, connections)
}

/// For one try at one name server.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A datagram may be lost.
const ATTEMPTS: usize = 2;
