//! The program from its start to its end: what a supervisor and a phone meet around the searches.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "serving/supervised.rs"]
mod supervised;

use common::addresses::free_addresses;
use common::admin;
use common::certificates::Certificate;
use common::configuration::{Configuration, IN_MEMORY, before_a_phonebook, folder, load};
use common::ldap_client::{LdapClient, subtree};
use common::program::Program;
use common::scripted_directory::{Scripted, ScriptedDirectory};
use redial::config::TlsMode;
use redial::ldap::ResultCode;
use redial::proxy::{Proxy, StartError};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

/// Searches on a thread that may block, and returns the result code and the names found.
async fn search(address: SocketAddr) -> (ResultCode, Vec<String>) {
    let found = spawn_blocking(move || LdapClient::plain(address).unwrap().search(&subtree("dc=x", "(cn=a*)", &["*"]))).await.unwrap();
    (found.outcome.code, found.entries.into_iter().map(|entry| entry.dn).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_answered_from_an_ldif_and_counted() {
    let config = load(&before_a_phonebook("127.0.0.1:0", "[admin]\naddress = \"127.0.0.1:0\""), &folder("answered"));
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
        let admin = proxy.admin_address().unwrap();
        let page = spawn_blocking(move || admin::request(admin, "GET", "/metrics").unwrap().1).await.unwrap();
        let missing: Vec<_> = lines.iter().filter(|line| !page.lines().any(|l| l == **line)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "no {missing:?} in\n{page}");
    }
    proxy.stop().await;
    // Another test that starts a program holds every socket of this process too, from its fork to its exec.
    let until = Instant::now() + Duration::from_secs(10);
    while let Err(error) = TcpListener::bind(address) {
        assert!(Instant::now() < until, "its port is not free again: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Proxy::start(load(&before_a_phonebook(&address.to_string(), ""), &folder("taken"))).await.unwrap_err();
    assert_eq!(error.taken_address(), Some(address), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_phonebook_that_is_broken_is_an_error_that_names_file_and_line() {
    let folder = folder("broken");
    std::fs::write(folder.join("phonebook.ldif"), "dn: dc=x\nobjectClass: domain\n\ndn: cn=Ada,dc=y\ncn: Ada\n").unwrap();
    let error = Proxy::start(load(&before_a_phonebook("127.0.0.1:0", ""), &folder)).await.unwrap_err();
    assert!(matches!(error, StartError::Directory { .. }));
    let text = error.to_string();
    assert!(text.starts_with("directory.corp: ") && text.contains("phonebook.ldif") && text.contains("line 4"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_does_not_end_holds_the_stop_up_no_longer_than_the_drain() {
    let config = load(&before_a_phonebook("127.0.0.1:0", "[limits]\ndrain = \"1s\""), &folder("drain"));
    let directory = Arc::new(ScriptedDirectory::by_hand());
    let proxy = Proxy::start_with(config, vec![Arc::clone(&directory) as _]).await.unwrap();
    let address = proxy.addresses()[0];
    let waiting = spawn_blocking(move || {
        let mut client = LdapClient::plain(address).unwrap();
        client.send(&subtree("dc=x", "(cn=a*)", &["*"]).encode(), None);
        client.receive()
    });
    while directory.times_asked() == 0 {
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
    let directory = "servers = [\"ldap://127.0.0.1:1\"]\nstart_tls = false\nbind_dn = \"cn=redial,dc=x\"\npassword = \"secret\"";
    let configuration =
        Configuration { address: "127.0.0.1:0", base: "dc=x", directory, more: "[cache]\nkeep = \"kept\"", ..Configuration::default() };
    let folder = folder("kept");
    let _ = std::fs::remove_file(folder.join("kept"));
    let ada = (ResultCode::SUCCESS, vec!["cn=Ada,dc=x".to_owned()]);
    let directory = Arc::new(ScriptedDirectory::always(Scripted::one("cn=Ada,dc=x", "17")));
    for _ in 0..2 {
        let proxy = Proxy::start_with(configuration.load_in(&folder), vec![Arc::clone(&directory) as _]).await.unwrap();
        assert_eq!(search(proxy.addresses()[0]).await, ada);
        proxy.stop().await;
    }
    assert_eq!(directory.times_asked(), 1);
}

#[tokio::test]
async fn what_no_cache_can_be_kept_in_is_refused_at_the_start_and_at_a_reload() {
    let folder = folder("not-kept");
    let pipe = folder.join("pipe");
    assert!(pipe.exists() || Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let keeping = |file: &str| load(&before_a_phonebook("127.0.0.1:0", &format!("[cache]\nkeep = {file:?}")), &folder);
    for (file, why) in [("pipe", "it is no file, but a pipe"), (".", "it is a folder")] {
        let error = Proxy::start(keeping(file)).await.unwrap_err();
        assert!(matches!(error, StartError::Keep { .. }) && error.to_string().contains(why), "{error}");
    }
    let mut proxy = Proxy::start(keeping("kept")).await.unwrap();
    assert!(matches!(proxy.reload(keeping("pipe")).await, Err(StartError::Keep { .. })));
    proxy.stop().await;
}

#[test]
fn check_looks_at_where_the_cache_is_to_be_kept() {
    let folder = folder("check-kept");
    let file = folder.join("redial.toml");
    let checked = |keep: &str| {
        std::fs::write(&file, before_a_phonebook("127.0.0.1:0", &format!("[cache]\nkeep = {keep:?}"))).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_redial")).arg("check").arg(&file).output().unwrap();
        (checked.status.code(), String::from_utf8(checked.stdout).unwrap())
    };
    assert_eq!(checked("kept").0, Some(0));
    let (code, said) = checked("elsewhere/kept");
    assert!(code == Some(64) && said.contains("cache.keep: ") && said.contains("its folder is not there"), "{said}");
}

fn serving(toml: &str, test: &str) -> Program {
    let file = folder(test).join("redial.toml");
    std::fs::write(&file, toml).unwrap();
    Program::serving(&file, Stdio::piped())
}

/// Where it listens.
fn address(program: &mut Program) -> SocketAddr {
    let said = program.log_until("\"listening\"");
    said.lines().last().unwrap().split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
}

#[test]
fn sigterm_ends_the_program_with_0() {
    let mut program = serving(&before_a_phonebook("127.0.0.1:0", ""), "sigterm");
    program.log_until("\"ready\"");
    program.signal("TERM");
    program.log_until("\"stopped\"");
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn a_bad_configuration_ends_the_program_with_64_and_every_problem() {
    let bad = before_a_phonebook("127.0.0.1:0", "[cache]\nttl = \"soon\"\ncapacty = 1\n");
    let (status, said) = serving(&bad, "bad").end();
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.contains("cache.ttl") && said.contains("cache.capacty"), "{said}");
}

#[test]
fn a_taken_address_ends_the_program_with_70_and_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, said) = serving(&before_a_phonebook(&address, ""), "taken-by-another").end();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains(&address), "{said}");
}

#[test]
fn sighup_opens_the_audit_log_anew_after_it_was_renamed() {
    let [address] = free_addresses();
    let folder = folder("sighup");
    let (current, rotated) = (folder.join("audit.jsonl"), folder.join("audit.jsonl.1"));
    for file in [&current, &rotated] {
        let _ = std::fs::remove_file(file);
    }
    let mut program = serving(&before_a_phonebook(&address.to_string(), "[audit]\nfile = \"audit.jsonl\"\n"), "sighup");
    program.log_until("\"ready\"");
    LdapClient::plain(address).unwrap().bind("", "");
    std::fs::rename(&current, &rotated).unwrap();
    LdapClient::plain(address).unwrap().bind("", "");
    program.signal("HUP");
    let begun = Instant::now();
    while !current.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no new file");
        std::thread::sleep(Duration::from_millis(10));
    }
    LdapClient::plain(address).unwrap().bind("", "");
    program.signal("TERM");
    program.log_until("\"stopped\"");
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
        let configuration =
            Configuration { address: "127.0.0.1:0", listener: &tls, base: "dc=x", directory: IN_MEMORY, ..Configuration::default() };
        serving(&configuration.toml(), &format!("ticket-keys-{name}"))
    });
    let [one, other] = processes.each_mut().map(address);
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
