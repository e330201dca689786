//! The real servers of the tests: each is started once for all tests of this binary, by the scripts in `tests/bed`.
//!
//! A script runs its server for as long as its standard input is open. The other end is held here, so the servers end with this process,
//! whether its tests pass, panic or are killed.

use crate::common::ldap_client::LdapClient;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The naming context of every server.
pub(crate) const BASE: &str = "DC=corp,DC=example";
/// The password of all accounts but the administrators'.
pub(crate) const PASSWORD: &str = "Phone.Passw0rd";
/// The password of the administrators.
pub(crate) const ADMIN_PASSWORD: &str = "Admin.Phone.Passw0rd";
/// The account that Redial binds with.
pub(crate) const SERVICE: &str = "CN=svc-redial,OU=Service Accounts,DC=corp,DC=example";

/// Which program a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An Active Directory domain controller.
    Samba,
    /// OpenLDAP.
    Slapd,
}

/// One running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    /// LDAP, with StartTLS.
    pub(crate) ldap: SocketAddr,
    /// LDAPS.
    pub(crate) ldaps: SocketAddr,
    process: Child,
}

/// The Samba that all tests share: nobody stops it, and what a test writes is its own.
pub(crate) fn samba() -> &'static Server {
    static SAMBA: OnceLock<Server> = OnceLock::new();
    SAMBA.get_or_init(|| Server::start(Kind::Samba, "dc1", "127.0.66.1"))
}

/// The slapd that all tests share, in the same way.
pub(crate) fn slapd() -> &'static Server {
    static SLAPD: OnceLock<Server> = OnceLock::new();
    SLAPD.get_or_init(|| Server::start(Kind::Slapd, "ol1", "127.0.66.11"))
}

impl Server {
    /// Starts a server of one's own on a loopback address that nobody else uses (the certificate names 127.0.66.1 to .3 and .11 to .19).
    pub(crate) fn start(kind: Kind, name: &str, address: &str) -> Self {
        Self::begin(kind, address, &[name, address])
    }

    /// Starts a domain controller with the domain's DNS, which answers on port 53 of this address and names the controller there.
    pub(crate) fn with_dns(name: &str) -> Self {
        const ADDRESS: &str = "127.0.66.4";
        Self::begin(Kind::Samba, ADDRESS, &[name, ADDRESS, "dns"])
    }

    fn begin(kind: Kind, address: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed").join(kind.script());
        let mut process = Command::new(&script)
            .arg(state())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let mut line = String::new();
        let said = BufReader::new(process.stdout.take().expect("its output")).read_line(&mut line);
        assert!(
            said.is_ok() && line == "ready\n",
            "{} did not start (its words are above). `tests/run` installs what it needs.",
            script.display()
        );
        let port = |port| SocketAddr::new(address.parse().expect("an address"), port);
        let (ldap, ldaps) = kind.ports();
        Self { kind, ldap: port(ldap), ldaps: port(ldaps), process }
    }

    /// A connection of the service account's own, by LDAPS, without Redial.
    pub(crate) fn direct(&self) -> LdapClient {
        self.direct_as(SERVICE, PASSWORD)
    }

    /// The same in another name.
    pub(crate) fn direct_as(&self, name: &str, password: &str) -> LdapClient {
        LdapClient::ldaps(self.ldaps, &ca()).expect("the real server by LDAPS").bound(name, password)
    }

    /// The name of an account that may write.
    pub(crate) fn administrator(&self) -> &'static str {
        match self.kind {
            Kind::Samba => "administrator@corp.example",
            Kind::Slapd => "cn=admin,dc=corp,dc=example",
        }
    }

    /// Ends the server as a power cut would, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.process.stdin.as_mut().expect("held here").write_all(b"kill\n").expect("the script listens");
        self.process.wait().expect("the script's end");
    }

    /// Stops the server and waits until it is gone.
    pub(crate) fn stop(mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("the script's end");
    }
}

impl Kind {
    fn script(self) -> &'static str {
        match self {
            Self::Samba => "samba",
            Self::Slapd => "slapd",
        }
    }

    /// LDAP and LDAPS.
    fn ports(self) -> (u16, u16) {
        match self {
            Self::Samba => (389, 636),
            Self::Slapd => (3389, 3636),
        }
    }
}

/// The CA that signed every certificate of the tests.
pub(crate) fn ca() -> PathBuf {
    state().join("tls/ca.pem")
}

/// A certificate and its key, good for 127.0.0.1: for Redial's own listeners.
pub(crate) fn certificate() -> (PathBuf, PathBuf) {
    (state().join("tls/server.pem"), state().join("tls/server.key"))
}

/// Where the servers keep their files, between runs as well.
pub(crate) fn state() -> PathBuf {
    std::env::var_os("REDIAL_BED").map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bed"), PathBuf::from)
}
