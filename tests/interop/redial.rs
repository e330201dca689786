//! The built `redial` as a process of its own, with a configuration written for one test.

use crate::bed::{self, Server};
use crate::common::addresses::free_addresses;
use crate::common::admin;
use crate::common::ldap_client::LdapClient;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long Redial may take until it is ready, or gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// An access that lets everybody see everything, bound or not.
pub(crate) const OPEN: &str = r#"
[[access]]
name = "open"
clients = "any"
bases = ["DC=corp,DC=example"]
attributes = ["*"]
"#;

/// What is configured besides the listeners.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The controllers' URLs; none where `directory` says how they are found.
    pub(crate) servers: Vec<String>,
    /// The account that searches run under; `None`: under the client's own.
    pub(crate) service: Option<&'static str>,
    /// Writes are forwarded.
    pub(crate) writes: bool,
    /// More of the LDAPS listener's `tls`.
    pub(crate) tls: String,
    /// More keys of the directory's table.
    pub(crate) directory: &'static str,
    /// The `[[access]]` tables, and whatever else follows.
    pub(crate) rest: String,
}

/// A running Redial. It ends when this is dropped, or with this process.
#[derive(Debug)]
pub(crate) struct Redial {
    /// Without TLS; passwords allowed.
    pub(crate) plain: SocketAddr,
    /// Nothing before StartTLS.
    pub(crate) start_tls: SocketAddr,
    /// LDAPS.
    pub(crate) ldaps: SocketAddr,
    /// Metrics and health.
    pub(crate) admin: SocketAddr,
    process: Child,
    /// Ends `process` when this process is gone without having dropped it.
    watcher: Child,
    files: PathBuf,
}

impl Setup {
    /// In front of one server, open to everybody.
    pub(crate) fn before(server: &Server) -> Self {
        Self::before_address(server.ldaps)
    }

    /// In front of whoever answers LDAPS there.
    pub(crate) fn before_address(address: SocketAddr) -> Self {
        Self {
            servers: vec![format!("ldaps://{address}")],
            service: Some(bed::SERVICE),
            writes: false,
            tls: String::new(),
            directory: "",
            rest: OPEN.to_owned(),
        }
    }

    /// The same with other `[[access]]` tables.
    pub(crate) fn with(self, rest: &str) -> Self {
        Self { rest: rest.to_owned(), ..self }
    }

    /// The same without a probe of the controllers while a test lasts, so that only searches reach them.
    pub(crate) fn quiet(self) -> Self {
        Self { directory: "probe = \"5m\"\n", ..self }
    }

    /// The same with a probe every second, so that a controller that comes back is soon found.
    pub(crate) fn watchful(self) -> Self {
        Self { directory: "probe = \"1s\"\n", ..self }
    }

    /// The same with writes forwarded.
    pub(crate) fn with_writes(self) -> Self {
        Self { writes: true, ..self }
    }

    /// The same with searches under the client's own name.
    pub(crate) fn with_clients_searching(self) -> Self {
        Self { service: None, ..self }
    }

    /// Starts Redial so and waits until it is ready.
    pub(crate) fn start(&self) -> Redial {
        Redial::start(self)
    }

    fn toml(&self, ports: [SocketAddr; 4], password: &Path) -> String {
        let [plain, start_tls, ldaps, admin] = ports;
        let (certificate, key) = bed::certificate();
        let tls = format!("certificate = {certificate:?}, key = {key:?}");
        let mut toml = format!(
            "[[listener]]\naddress = \"{plain}\"\nplain_passwords = \"allow\"\n\n\
             [[listener]]\naddress = \"{start_tls}\"\ntls = {{ {tls}, start_tls = \"required\" }}\n\n\
             [[listener]]\naddress = \"{ldaps}\"\ntls = {{ {tls}{} }}\n\n\
             [admin]\naddress = \"{admin}\"\n\n\
             [directory.corp]\nbase = \"{}\"\nca = {:?}\n",
            self.tls,
            bed::BASE,
            bed::ca(),
        );
        if !self.servers.is_empty() {
            writeln!(toml, "servers = {:?}", self.servers).expect("a String takes it");
        }
        match self.service {
            Some(name) => writeln!(toml, "search_as = \"service\"\nbind_dn = {name:?}\npassword_file = {password:?}"),
            None => writeln!(toml, "search_as = \"client\""),
        }
        .expect("a String takes it");
        let writes = if self.writes { "forward" } else { "refuse" };
        write!(toml, "writes = \"{writes}\"\n{}\n{}", self.directory, self.rest).expect("a String takes it");
        toml
    }
}

impl Redial {
    fn start(setup: &Setup) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let files = bed::state().join(format!("redial-{}-{number}", std::process::id()));
        fs::create_dir_all(&files).expect("a directory for its files");
        let password = files.join("password");
        fs::write(&password, bed::PASSWORD).expect("its password file");
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("its password file's mode");
        let ports = free_addresses();
        let config = files.join("redial.toml");
        fs::write(&config, setup.toml(ports, &password)).expect("its configuration");
        let log = File::create(files.join("log")).expect("its log");
        let process = Command::new(env!("CARGO_BIN_EXE_redial"))
            .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
            .env("RUST_LOG", "redial=debug")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the built program");
        let watcher = Command::new("sh")
            .args(["-c", "cat; kill -9 $0", &process.id().to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let [plain, start_tls, ldaps, admin] = ports;
        let mut redial = Self { plain, start_tls, ldaps, admin, process, watcher, files };
        redial.wait_until_ready();
        redial
    }

    fn wait_until_ready(&mut self) {
        let begun = Instant::now();
        while self.http("/readyz").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = self.process.try_wait().expect("its state") {
                panic!("redial ended with {status}: {}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "redial is not ready: {}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// A connection that is not bound, on the plain listener.
    pub(crate) fn connect(&self) -> LdapClient {
        LdapClient::plain(self.plain).unwrap_or_else(|error| panic!("redial: {error}: {}", self.log()))
    }

    /// A page of the admin address: status and body.
    pub(crate) fn http(&self, path: &str) -> Option<(u16, String)> {
        self.request("GET", path)
    }

    /// Any request to the admin address: status and body.
    pub(crate) fn request(&self, method: &str, path: &str) -> Option<(u16, String)> {
        admin::request(self.admin, method, path)
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill").arg(self.process.id().to_string()).status().expect("kill");
        assert!(killed.success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("its state") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "redial does not end: {}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.files.join("log")).unwrap_or_default()
    }
}

impl Drop for Redial {
    fn drop(&mut self) {
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("redial's configuration and log are in {}", self.files.display());
        } else {
            let _ = fs::remove_dir_all(&self.files);
        }
    }
}

/// Waits until something is so, since nobody says when.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(100));
    }
}
