//! The configuration as the program uses it: only valid values.
//!
//! `file` reads the TOML as written, `check` looks at how its parts fit together, and [`load`] adds what is read from the disk. What comes out
//! is a [`Config`] or every problem at once. Nothing after that checks a setting again.
//!
//! The defaults stand here, beside the types; `config/redial.toml` explains each key and is held to them by a test.

mod check;
mod file;
pub mod lineage;
mod lines;
pub mod load;
pub mod problem;
mod table;
pub(crate) mod ticket_keys;
pub(crate) mod watch;
mod words;

use crate::ldap::dn::Dn;
use crate::ldap::filter::Filter;
use crate::secret::Secret;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where phones connect; at least one.
    pub listeners: Vec<Listener>,
    /// What is answered; at least one. Their bases do not overlap.
    pub directories: Vec<DirectoryConfig>,
    /// Who may ask what; the first match decides.
    pub accesses: Vec<Access>,
    /// The search cache.
    pub cache: Cache,
    /// Remembered binds, and the guard against lockouts.
    pub binds: Binds,
    /// Bounds on what a client or a controller may send and hold.
    pub limits: Limits,
    /// Accounts of phones that no directory knows.
    pub accounts: Vec<Account>,
    /// Metrics, health and administration, if anywhere.
    pub admin: Option<Admin>,
    /// The audit log, if any.
    pub audit: Option<Audit>,
}

/// Where an administrator asks, and Prometheus.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address and port.
    pub address: SocketAddr,
    /// What whoever asks must know; always there where the address is not a loopback one.
    pub token: Option<Secret>,
}

/// One address where phones connect.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// TLS, if any.
    pub tls: Option<ListenerTls>,
    /// Who may connect; empty: anybody.
    pub networks: Vec<IpNet>,
    /// From where a PROXY header must come, and is believed; who connects there is then whom it names.
    pub proxies: Vec<IpNet>,
    /// A password may come without TLS.
    pub plain_passwords: bool,
}

/// TLS on a listener.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// PEM, the server's certificate first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// When TLS begins.
    pub mode: TlsMode,
    /// PEM: client certificates are asked for, and checked against this, only where it is set.
    pub client_ca: Option<PathBuf>,
    /// SASL EXTERNAL is offered to clients with a certificate, under this name in it; never set without `client_ca`.
    pub client_name: Option<ClientName>,
    /// Keys for session tickets, see [`ticket_keys`]; without it they are made up, and known to this process alone.
    pub ticket_keys: Option<PathBuf>,
}

/// Where in a client's certificate its name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientName {
    /// The whole subject, a DN.
    Subject,
    /// The first dNSName of the subjectAltName.
    Dns,
    /// The first rfc822Name of the subjectAltName.
    Email,
    /// The first userPrincipalName among the otherNames of the subjectAltName, as Active Directory's CA writes it.
    Upn,
}

/// When TLS begins on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// With the first octet.
    Ldaps,
    /// When the client asks for it.
    StartTlsOptional,
    /// When the client asks for it, and nothing else is done before.
    StartTlsRequired,
}

/// One naming context and who answers it.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectoryConfig {
    /// The table's name in the file: for logs and metrics.
    pub name: String,
    /// The naming context as written.
    pub base: String,
    /// The same, normalised.
    pub base_dn: Dn,
    /// Who answers.
    pub kind: DirectoryKind,
}

impl DirectoryConfig {
    /// Searches run under the client's own name.
    pub const fn is_searched_as_client(&self) -> bool {
        matches!(&self.kind, DirectoryKind::Upstream(Upstream { search_as: SearchAs::Client, .. }))
    }
}

/// Who answers a naming context.
#[derive(Debug, Clone, PartialEq)]
pub enum DirectoryKind {
    /// Controllers.
    Upstream(Upstream),
    /// A phonebook in memory, read from this LDIF file.
    Embedded {
        /// The file.
        ldif: PathBuf,
    },
}

/// Equal controllers of one naming context.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// At least one, unless DNS names them.
    pub servers: Vec<Server>,
    /// DNS names the servers; then none are listed. Boxed, since most directories have none.
    pub discover: Option<Box<Discover>>,
    /// PEM file of the CAs that sign the controllers' certificates; the system's roots where not set.
    pub ca: Option<PathBuf>,
    /// Under whose name searches run.
    pub search_as: SearchAs,
    /// The service account; always there when `search_as` is [`SearchAs::Service`].
    pub service: Option<ServiceAccount>,
    /// Writes are forwarded.
    pub forward_writes: bool,
    /// The most connections to one server that run searches.
    pub connections: u16,
    /// For connecting, TLS and bind together.
    pub connect_timeout: Duration,
    /// For one operation.
    pub operation_timeout: Duration,
    /// An idle connection is renewed after this: below Active Directory's 900 s.
    pub idle: Duration,
    /// Between two probes of a server's rootDSE.
    pub probe_interval: Duration,
    /// The most entries in a page of a result that is collected.
    pub page_size: u32,
}

/// Controllers that DNS names, by SRV records (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discover {
    /// The domain whose `_ldap._tcp` records are looked up; as all names here in lower case, and without a dot at its end.
    pub domain: String,
    /// How TLS begins: by LDAPS, or by StartTLS. Never without, since whoever can forge DNS would be told passwords.
    pub security: UpstreamSecurity,
    /// The Active Directory site whose controllers are asked before the others.
    pub site: Option<String>,
    /// Names outside these domains are not asked; the domain itself where nothing else is configured.
    pub within: Vec<String>,
    /// The DNS servers to ask, also for the addresses of what they name; empty: the system's.
    pub resolvers: Vec<SocketAddr>,
}

impl std::fmt::Display for Discover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if self.security == UpstreamSecurity::Ldaps { "LDAPS" } else { "StartTLS" };
        write!(f, "whatever DNS names for {}, by {how}", self.domain)?;
        self.site.as_ref().map_or(Ok(()), |site| write!(f, ", those of the site {site} first"))
    }
}

/// One controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As written: for logs and metrics.
    pub url: String,
    /// The name (or address) to connect to, and to verify in the certificate.
    pub host: String,
    /// The port, 636 or 389 where not written.
    pub port: u16,
    /// How TLS begins.
    pub security: UpstreamSecurity,
    /// Servers of a higher number are asked only while none of a lower one is up.
    pub priority: u16,
    /// Its part of the work among those of the same priority, in proportion.
    pub weight: u16,
}

impl Server {
    /// The same controller, reached in the same way.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(&other.host) && (self.port, self.security) == (other.port, other.security)
    }
}

/// How TLS begins towards a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamSecurity {
    /// `ldaps://`.
    Ldaps,
    /// `ldap://` with `start_tls = true` (the default for `ldap://`).
    StartTls,
    /// `ldap://` with `start_tls = false`: only to loopback, or where the file says `plain = "allow"`.
    Plain,
}

/// Under whose name searches run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchAs {
    /// The service account, narrowed by the access.
    Service,
    /// The client.
    Client,
}

/// The account that Redial binds with.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// DN, or UPN with Active Directory.
    pub bind_dn: String,
    /// Its password.
    pub password: Secret,
}

impl PartialEq for ServiceAccount {
    fn eq(&self, other: &Self) -> bool {
        self.bind_dn == other.bind_dn && self.password.expose() == other.password.expose()
    }
}

/// Who may ask what.
#[derive(Debug, Clone)]
pub struct Access {
    /// For logs and `explain`.
    pub name: String,
    /// From where; empty: anywhere.
    pub networks: Vec<IpNet>,
    /// Who.
    pub clients: Clients,
    /// Below which names: as written, and normalised. At least one.
    pub bases: Vec<(String, Dn)>,
    /// Which attributes, lower case; `None` for `["*"]`, all.
    pub attributes: Option<Arc<[String]>>,
    /// ANDed to whatever is asked.
    pub filter: Option<Filter>,
    /// The most entries in one answer.
    pub size_limit: Option<u32>,
}

/// Which clients an access is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clients {
    /// Everybody.
    Any,
    /// Those who did not bind.
    Anonymous,
    /// Those who did.
    Bound,
    /// Those with one of these names (compared as DNs where they are DNs, else without case), and the members of these groups.
    Listed {
        /// The names that they bind with.
        names: Vec<String>,
        /// Their groups, direct or by way of others.
        groups: Vec<Group>,
    },
}

/// A group of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its DN as written.
    pub name: String,
    /// The same, normalised.
    pub dn: Dn,
}

impl Access {
    /// The groups that it is for.
    pub fn groups(&self) -> &[Group] {
        match &self.clients {
            Clients::Listed { groups, .. } => groups,
            Clients::Any | Clients::Anonymous | Clients::Bound => &[],
        }
    }
}

impl Config {
    /// The groups that accesses name, of one directory, each once.
    pub fn groups_of(&self, directory: &DirectoryConfig) -> Vec<Group> {
        let mut found: Vec<Group> = Vec::new();
        for group in self.accesses.iter().flat_map(Access::groups).filter(|group| group.dn.is_under(&directory.base_dn)) {
            if !found.iter().any(|known| known.dn == group.dn) {
                found.push(group.clone());
            }
        }
        found
    }
}

/// The search cache.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Bytes, keys and overhead counted.
    pub capacity: u64,
    /// What holds where no rule matches.
    pub defaults: Lifetimes,
    /// The first match decides.
    pub rules: Vec<CacheRule>,
    /// The file that keeps answers over a restart.
    pub keep: Option<PathBuf>,
}

/// How long an answer is good for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lifetimes {
    /// Fresh, an answer with entries. Zero: not cached.
    pub ttl: Duration,
    /// Fresh, an answer without.
    pub empty_ttl: Duration,
    /// How long past its TTL it may stand in for a directory that fails or dawdles.
    pub stale: Duration,
    /// A hit after this part of the TTL makes Redial ask again in the background; 1.0: never.
    pub refresh: f64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { capacity: 256 << 20, defaults: Lifetimes::default(), rules: Vec::new(), keep: None }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(5 * 60),
            empty_ttl: Duration::from_secs(30),
            stale: Duration::from_secs(24 * 60 * 60),
            refresh: 0.8,
        }
    }
}

/// Lifetimes for the searches that a template fits.
#[derive(Debug, Clone)]
pub struct CacheRule {
    /// For `explain` and the logs.
    pub name: String,
    /// The filter with `?` for any assertion value.
    pub template: Filter,
    /// What holds.
    pub lifetimes: Lifetimes,
}

/// Remembered binds, and the guard against lockouts.
#[derive(Debug, Clone)]
pub struct Binds {
    /// For how long an accepted password is accepted again without asking. Zero: not at all.
    pub ttl: Duration,
    /// The same for a password that was refused as wrong.
    pub rejected_ttl: Duration,
    /// Wrong passwords of one principal that may reach a controller; at least one.
    pub attempts: u32,
    /// For how long after the last of them they count.
    pub window: Duration,
    /// For how long a session is bound at most. Zero: for ever.
    pub session_ttl: Duration,
}

impl Default for Binds {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(60),
            rejected_ttl: Duration::from_secs(30),
            attempts: 3,
            window: Duration::from_secs(10 * 60),
            session_ttl: Duration::from_secs(8 * 60 * 60),
        }
    }
}

/// Bounds on what a client or a controller may send and hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Octets of one message from a client.
    pub message: usize,
    /// The same from a client that has bound, where a directory forwards writes.
    pub bound_message: usize,
    /// Octets of one message from a controller.
    pub upstream_message: usize,
    /// Operations in flight on one session; beyond it the socket is not read.
    pub pending: usize,
    /// Octets queued to one client before its answers are slowed.
    pub queued: usize,
    /// Connections of one listener.
    pub connections: usize,
    /// Of these, the most from one address.
    pub connections_per_address: usize,
    /// Newcomers a second from one address, in the long run.
    pub connects_per_address: u32,
    /// Operations of one client (a principal, or an address of those who did not bind) that directories carry out at once.
    pub client_operations: usize,
    /// Octets of memory that the process may take; `None`: what the machine, or its control group, has.
    pub memory: Option<u64>,
    /// TLS handshakes computed at once; see `downstream::handshake`.
    pub handshakes: usize,
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// Until the first message.
    pub first_message: Duration,
    /// Between messages.
    pub idle: Duration,
    /// Without progress while writing.
    pub write_stall: Duration,
    /// For operations in flight when the program stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 256_000,
            bound_message: 1 << 20,
            upstream_message: 16 << 20,
            pending: 64,
            queued: 256 << 10,
            connections: 10_000,
            connections_per_address: 5_000,
            connects_per_address: 500,
            client_operations: 256,
            memory: None,
            handshakes: 512,
            handshake_timeout: Duration::from_secs(10),
            first_message: Duration::from_secs(30),
            idle: Duration::from_secs(900),
            write_stall: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        }
    }
}

/// The audit log: binds and writes, and what else is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Where its lines go.
    pub file: AuditFile,
    /// Searches are noted as well, with base and filter.
    pub searches: bool,
    /// Compares are noted as well.
    pub compares: bool,
}

/// Where the audit log's lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditFile {
    /// `-`: to standard output, which nothing else uses.
    StandardOutput,
    /// To the end of this file, which is made where it is not there.
    Path(PathBuf),
}

/// A phone account that no directory knows.
#[derive(Clone)]
pub struct Account {
    /// The name in the Bind, compared as in [`Clients::Listed`].
    pub name: String,
    /// An Argon2id hash in PHC format, made by `redial hash-password`.
    pub password_hash: String,
}

impl std::fmt::Debug for Account {
    /// The name alone: a hash is something to guess at.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}
