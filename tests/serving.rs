//! The program from its start to its end: what a supervisor and a phone meet around the searches.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "common/certificates.rs"]
mod certificates;
#[expect(dead_code, reason = "the tests against real servers use the rest")]
mod common;
#[path = "common/phonebook.rs"]
mod phonebook;
#[path = "common/scripted_directory.rs"]
mod scripted_directory;

use certificates::Certificate;
use common::ldap_client::{LdapClient, subtree};
use phonebook::{folder, toml};
use redial::config::load::load_text;
use redial::config::{Config, TlsMode};
use redial::directory::{Directory, DirectoryError, Operation, Replies};
use redial::ldap::ResultCode;
use redial::proxy::{Proxy, StartError};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use scripted_directory::{Scripted, ScriptedDirectory};
use std::fs::Permissions;
use std::future::pending;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

fn config(toml: &str, folder: &Path) -> Config {
    load_text(toml, folder, true).unwrap_or_else(|rejected| panic!("{rejected}")).config
}

/// Searches on a thread that may block, and returns the result code and the names found.
async fn search(address: SocketAddr) -> (ResultCode, Vec<String>) {
    let found = spawn_blocking(move || LdapClient::plain(address).unwrap().search(&subtree("dc=x", "(cn=a*)", &["*"]))).await.unwrap();
    (found.outcome.code, found.entries.into_iter().map(|entry| entry.dn).collect())
}

/// What Prometheus gets from that admin address.
async fn page(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_answered_from_an_ldif_and_counted() {
    let config = config(&toml("127.0.0.1:0", "[admin]\naddress = \"127.0.0.1:0\""), &folder("answered"));
    let proxy = Proxy::start(config).await.unwrap();
    let address = proxy.addresses()[0];
    for _ in 0..2 {
        assert_eq!(search(address).await, (ResultCode::SUCCESS, vec!["cn=Ada,dc=x".to_owned()]));
    }
    let lines = [
        r#"redial_operations_total{operation="search",served="miss",code="success"} 1"#,
        r#"redial_operations_total{operation="search",served="hit",code="success"} 1"#,
        "redial_cache_hits_total 1",
        "redial_cache_misses_total 1",
        "redial_cache_entries 1",
    ];
    // A client may hear its answer a moment before that is on record.
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let page = page(proxy.admin_address().unwrap()).await;
        let missing: Vec<_> = lines.iter().filter(|line| !page.lines().any(|l| l == **line)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "no {missing:?} in\n{page}");
    }
    proxy.stop().await;
    assert!(TcpListener::bind(address).is_ok(), "its port is free again");
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Proxy::start(config(&toml(&address.to_string(), ""), &folder("taken"))).await.unwrap_err();
    assert_eq!(error.taken_address(), Some(address), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_phonebook_that_is_broken_is_an_error_that_names_file_and_line() {
    let folder = folder("broken");
    std::fs::write(folder.join("phonebook.ldif"), "dn: dc=x\nobjectClass: domain\n\ndn: cn=Ada,dc=y\ncn: Ada\n").unwrap();
    let error = Proxy::start(config(&toml("127.0.0.1:0", ""), &folder)).await.unwrap_err();
    assert!(matches!(error, StartError::Directory { .. }));
    let text = error.to_string();
    assert!(text.starts_with("directory.contacts: ") && text.contains("phonebook.ldif") && text.contains("line 4"), "{text}");
}

/// A directory that never answers.
#[derive(Debug)]
struct Silent;

impl Directory for Silent {
    fn run(&self, _: Operation) -> futures_util::future::BoxFuture<'_, Result<Replies, DirectoryError>> {
        Box::pin(pending())
    }

    fn is_available(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_does_not_end_holds_the_stop_up_no_longer_than_the_drain() {
    let config = config(&toml("127.0.0.1:0", "[limits]\ndrain = \"1s\""), &folder("drain"));
    let proxy = Proxy::start_with(config, vec![Arc::new(Silent)]).await.unwrap();
    let address = proxy.addresses()[0];
    let waiting = spawn_blocking(move || {
        let mut client = LdapClient::plain(address).unwrap();
        client.send(&subtree("dc=x", "(cn=a*)", &["*"]).encode(), None);
        client.receive()
    });
    while !proxy.metrics().render().contains("redial_downstream_connections{listener=\"127.0.0.1:0\"} 1") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    proxy.stop().await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_at_the_stop_is_served_after_the_next_start() {
    let controllers = "base = \"dc=x\"\nservers = [\"ldap://127.0.0.1:1\"]\nstart_tls = false\nplain = \"allow\"\n\
                       bind_dn = \"cn=redial,dc=x\"\npassword = \"secret\"";
    let embedded = "base = \"dc=x\"\n        ldif = \"phonebook.ldif\"";
    let toml = toml("127.0.0.1:0", "[cache]\nkeep = \"kept\"").replace(embedded, controllers);
    let folder = folder("kept");
    let _ = std::fs::remove_file(folder.join("kept"));
    let ada = (ResultCode::SUCCESS, vec!["cn=Ada,dc=x".to_owned()]);
    let directory = Arc::new(ScriptedDirectory::always(Scripted::one("cn=Ada,dc=x", "17")));
    for _ in 0..2 {
        let proxy = Proxy::start_with(config(&toml, &folder), vec![Arc::clone(&directory) as _]).await.unwrap();
        assert_eq!(search(proxy.addresses()[0]).await, ada);
        proxy.stop().await;
    }
    assert_eq!(directory.times_asked(), 1);
}

/// A `redial serve`; ended when dropped.
struct Program(Child);

impl Program {
    fn serving(toml: &str, test: &str) -> Self {
        let folder = folder(test);
        let file = folder.join("redial.toml");
        std::fs::write(&file, toml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_redial"));
        command.args(["serve", "--log-json", "--config"]).arg(file).env_remove("RUST_LOG");
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Reads its log until a line holds all of `words`.
    fn log_until(&mut self, words: &[&str]) -> String {
        let log = BufReader::new(self.0.stderr.as_mut().unwrap());
        let mut seen = String::new();
        for line in log.lines().map(Result::unwrap) {
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
            seen.push_str(&line);
        }
        panic!("no line with {words:?} in {seen}");
    }

    /// Where it listens.
    fn address(&mut self) -> SocketAddr {
        let line = self.log_until(&["\"listening\""]);
        let address = line.split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap();
        address.parse().unwrap()
    }

    /// How it ended, and what it still said.
    fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap(), said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already in a test that passes.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn sigterm_ends_the_program_with_0() {
    let mut program = Program::serving(&toml("127.0.0.1:0", ""), "sigterm");
    program.log_until(&["\"ready\""]);
    let killed = Command::new("kill").arg(program.0.id().to_string()).status().unwrap();
    assert!(killed.success());
    program.log_until(&["\"stopped\""]);
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn a_bad_configuration_ends_the_program_with_64_and_every_problem() {
    let bad = toml("127.0.0.1:0", "[cache]\nttl = \"soon\"\ncapacty = 1\n");
    let (status, said) = Program::serving(&bad, "bad").end();
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.contains("cache.ttl") && said.contains("cache.capacty"), "{said}");
}

#[test]
fn a_taken_address_ends_the_program_with_70_and_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, said) = Program::serving(&toml(&address, ""), "taken-by-another").end();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains(&address), "{said}");
}

#[test]
fn sighup_opens_the_audit_log_anew_after_it_was_renamed() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = folder("sighup");
    let (current, rotated) = (folder.join("audit.jsonl"), folder.join("audit.jsonl.1"));
    for file in [&current, &rotated] {
        let _ = std::fs::remove_file(file);
    }
    let mut program = Program::serving(&toml(&address.to_string(), "[audit]\nfile = \"audit.jsonl\"\n"), "sighup");
    program.log_until(&["\"ready\""]);
    LdapClient::plain(address).unwrap().bind("", "");
    std::fs::rename(&current, &rotated).unwrap();
    LdapClient::plain(address).unwrap().bind("", "");
    let told = Command::new("kill").args(["-s", "HUP", &program.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    let begun = Instant::now();
    while !current.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no new file");
        std::thread::sleep(Duration::from_millis(10));
    }
    LdapClient::plain(address).unwrap().bind("", "");
    assert!(Command::new("kill").arg(program.0.id().to_string()).status().unwrap().success());
    program.log_until(&["\"stopped\""]);
    let lines = |file| std::fs::read_to_string(file).unwrap().lines().count();
    assert_eq!((lines(&rotated), lines(&current)), (2, 1));
}

#[test]
fn a_phone_resumes_its_session_at_another_process_with_the_same_ticket_keys() {
    let certificate = Certificate::new("ticket-keys");
    let files = certificate.listener_tls(TlsMode::Ldaps);
    let ticket_keys = folder("ticket-keys").join("keys");
    std::fs::write(&ticket_keys, "7e1GrqMwvTLrnWLPqPEkwEBW4BLvRiYfQmoNsfkZ5Hs=\n").unwrap();
    for secret in [&files.key, &ticket_keys] {
        std::fs::set_permissions(secret, Permissions::from_mode(0o600)).unwrap();
    }
    let tls = format!("tls = {{ certificate = {:?}, key = {:?}, ticket_keys = {ticket_keys:?} }}", files.certificate, files.key);
    let mut processes = ["one", "other"].map(|name| {
        let listener = format!("127.0.0.1:0\"\n{tls}\n#\"");
        Program::serving(&toml(&listener, ""), &format!("ticket-keys-{name}"))
    });
    let [one, other] = processes.each_mut().map(Program::address);
    for version in [&TLS12, &TLS13] {
        let phone = Arc::new(certificate.phone(&[version]));
        for (address, expected) in [(one, HandshakeKind::Full), (other, HandshakeKind::Resumed), (one, HandshakeKind::Resumed)] {
            assert_eq!(handshake(&phone, address), expected, "{version:?}");
        }
    }
}

/// Connects, and hears an answer, which comes behind the session ticket.
fn handshake(phone: &Arc<ClientConfig>, address: SocketAddr) -> HandshakeKind {
    let mut tls = ClientConnection::new(Arc::clone(phone), ServerName::try_from("phonebook.example").unwrap()).unwrap();
    let mut tcp = std::net::TcpStream::connect(address).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    // An anonymous bind.
    stream.write_all(&[0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0]).unwrap();
    assert_ne!(stream.read(&mut [0; 100]).unwrap(), 0);
    tls.handshake_kind().unwrap()
}
