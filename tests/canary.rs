//! No secret stays where somebody could find it: the built program, watched from outside while passwords of every kind pass through it.
//!
//! Each password that is sent has a mark in it. Afterwards the mark must stand in no log at any level, on no page of the admin address, and
//! nowhere in the process's memory; the last is looked at as root can, since the program lets nobody else. Names and passwords that the
//! program must hold show that what is there is found.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher};
use common::addresses::free_addresses;
use common::admin;
use common::ldap_client::{Change, LdapClient, Outcome, subtree};
use common::program::Program;
use common::requests::{self, frame, sasl_bind_with};
use common::scripted_controller::{self, Certificate, Heard, ScriptedController, Security, certificate};
use memchr::memmem;
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

/// Stands at both ends of each password that must be gone, since an allocator writes over either end of what is freed.
const MARK: &str = "CaNaRy!7";
/// What the program holds for as long as it runs.
const SERVICE: &str = "KeptForTheService!7";
/// What it holds for as long as somebody needs it.
const OWN: &str = "KeptForTheSession!7";
const WRITER: &str = "cn=writer,dc=own";

/// A password that must be gone, or what comes of it on its way.
fn canary(path: &str) -> String {
    format!("{MARK}{path}{MARK}")
}

/// How a value of `unicodePwd` is written (MS-ADTS section 3.1.1.3.1.5).
fn unicode(password: &str) -> String {
    format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).map(char::from).collect()
}

/// Accepts the service account's password, those that say that they are right, and the writer's own.
fn controller(heard: &Heard) -> Option<Vec<scripted_controller::Act>> {
    if heard.tag != op::BIND_REQUEST {
        return None;
    }
    let (_, password) = heard.bind();
    let is_right = [SERVICE.as_bytes(), OWN.as_bytes()].contains(&&*password) || memmem::find(&password, b"right").is_some();
    Some(vec![heard.done(if is_right { ResultCode::SUCCESS } else { ResultCode::INVALID_CREDENTIALS })])
}

/// A running Redial, logging all that it can log.
struct Redial {
    program: Program,
    folder: PathBuf,
    plain: SocketAddr,
    start_tls: SocketAddr,
    ldaps: SocketAddr,
    admin: SocketAddr,
}

impl Redial {
    fn start(test: &str, controller: SocketAddr, controllers_ca: &Path) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("canary-{test}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let private = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o600)).unwrap();
        };
        private("cert.pem", &made.cert.pem());
        private("key.pem", &made.signing_key.serialize_pem());
        private("service", SERVICE);
        // A cheap one: this program is built for debugging.
        let cheap = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        let hash: PasswordHash = cheap.hash_password(canary("account-right").as_bytes()).unwrap();
        private("hash", &hash.to_string());
        let [plain, start_tls, ldaps, admin] = free_addresses();
        let tls = r#"certificate = "cert.pem", key = "key.pem""#;
        let upstream = format!(
            "servers = [\"ldaps://{controller}\"]\nca = {controllers_ca:?}\nbind_dn = \"cn=service\"\npassword_file = \"service\"\nidle = \"5s\""
        );
        let config = format!(
            r#"
            [[listener]]
            address = "{plain}"
            plain_passwords = "allow"
            [[listener]]
            address = "{start_tls}"
            tls = {{ {tls}, start_tls = "required" }}
            [[listener]]
            address = "{ldaps}"
            tls = {{ {tls} }}
            [directory.corp]
            base = "dc=corp"
            {upstream}
            [directory.own]
            base = "dc=own"
            search_as = "client"
            writes = "forward"
            {upstream}
            [[access]]
            name = "everybody"
            clients = "any"
            bases = ["dc=corp", "dc=own"]
            attributes = ["*"]
            [[account]]
            name = "room"
            password_hash_file = "hash"
            [admin]
            address = "{admin}"
            [audit]
            file = "audit.jsonl"
            searches = true
            compares = true
            "#
        );
        std::fs::write(folder.join("redial.toml"), config).unwrap();
        // As whoever wants core files would start it.
        let program = Program::of(
            Command::new("sh")
                .args(["-c", "ulimit -c unlimited; exec \"$0\" serve --config redial.toml --log trace"])
                .arg(env!("CARGO_BIN_EXE_redial"))
                .env("RUST_BACKTRACE", "full")
                .current_dir(&folder)
                .stdin(Stdio::null())
                .stdout(File::create(folder.join("stdout")).unwrap())
                .stderr(File::create(folder.join("log")).unwrap()),
        );
        let mut redial = Self { program, folder, plain, start_tls, ldaps, admin };
        let begun = Instant::now();
        while admin::request(admin, "GET", "/readyz").is_none_or(|(status, _)| status != 200) {
            assert!(redial.program.process.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE, "{}", redial.read("log"));
            sleep(Duration::from_millis(20));
        }
        redial
    }

    fn read(&self, file: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join(file)).unwrap()).into_owned()
    }

    fn clients(&self) -> [(&'static str, LdapClient); 3] {
        let ca = self.folder.join("cert.pem");
        [
            ("plain", LdapClient::plain(self.plain).unwrap()),
            ("start-tls", LdapClient::start_tls(self.start_tls, &ca).unwrap()),
            ("ldaps", LdapClient::ldaps(self.ldaps, &ca).unwrap()),
        ]
    }

    /// See [`in_memory`].
    fn remembers(&self, mark: &str) -> Option<BTreeSet<String>> {
        in_memory(self.program.process.id(), mark)
    }
}

/// The texts in a process's memory that begin with `mark`, in either encoding; `None` where memory may not be read.
fn in_memory(process: u32, mark: &str) -> Option<BTreeSet<String>> {
    let memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let wide: Vec<u8> = mark.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut found = BTreeSet::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|permissions| permissions.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut region = vec![0; usize::try_from(to - from).unwrap()];
        // A region may go while it is read; one that stays is read whole.
        let Ok(()) = memory.read_exact_at(&mut region, from) else { continue };
        for (needle, step) in [(mark.as_bytes(), 1), (&*wide, 2)] {
            for at in memmem::find_iter(&region, needle) {
                let text: Vec<u8> = region[at..].iter().step_by(step).copied().take(40).collect();
                let before = String::from_utf8_lossy(&region[at.saturating_sub(24)..at]).into_owned();
                let kind = line.rsplit(' ').next().unwrap();
                found.insert(format!("{kind} {from:x}+{at:x}: {before:?} {:?}", String::from_utf8_lossy(&text)));
            }
        }
    }
    Some(found)
}

fn plain_bind(client: &mut LdapClient, name: &str, password: &str) -> ResultCode {
    client.send(&sasl_bind_with("PLAIN", Some(format!("\0{name}\0{password}").as_bytes())), None);
    Outcome::parse(&client.receive().unwrap().content).code
}

/// Shows Redial a password in every way there is, at the directory that is searched under the service account.
fn show_passwords(over: &str, client: &mut LdapClient) {
    let canary = |path: &str| canary(&format!("{over}-{path}"));
    let entry = "cn=a,dc=corp";
    for (name, password, expected) in [
        ("cn=a,dc=corp", canary("simple-wrong"), 49),
        ("cn=a,dc=corp", canary("simple-right"), 0),
        ("cn=a,dc=corp", canary("simple-right"), 0),
        ("cn=nobody,dc=elsewhere", canary("unknown"), 49),
        ("room", canary("account-wrong"), 49),
        ("room", self::canary("account-right"), 0),
        ("", canary("without-a-name"), 49),
        ("cn=b,dc=corp", canary("long-wrong").repeat(40), 49),
    ] {
        assert_eq!(client.bind(name, &password).code.0, expected, "{over} {name}");
    }
    let (right, wrong) = if over == "plain" { (13, 13) } else { (0, 49) };
    assert_eq!(plain_bind(client, "cn=c,dc=corp", &canary("sasl-wrong")).0, wrong, "{over}");
    assert_eq!(plain_bind(client, "cn=c,dc=corp", &canary("sasl-right")).0, right, "{over}");
    // Writes are refused here, but what they hold has come.
    client.bind("cn=a,dc=corp", &canary("simple-right"));
    assert_ne!(client.change_password(entry, &canary("old"), &canary("new")).code.0, 0);
    assert_ne!(client.modify(entry, Change::Replace, "unicodePwd", &[&unicode(&canary("unicode"))]).code.0, 0);
    assert_ne!(client.modify(entry, Change::Replace, "userPassword", &[&canary("user-password")]).code.0, 0);
    assert_ne!(client.add(entry, &[("userPassword", &[&canary("added")])]).code.0, 0);
    client.compare(entry, "userPassword", canary("compared").as_bytes());
    assert_eq!(client.search(&subtree("dc=corp", "(cn=a)", &["cn"])).outcome.code.0, 0);
    // A large one is not taken in one piece.
    assert_ne!(client.modify(entry, Change::Replace, "userPassword", &[&canary("large").repeat(4000)]).code.0, 0);
}

/// The same where writes are forwarded in the client's own name.
fn write_passwords(over: &str, client: &mut LdapClient) {
    let canary = |path: &str| canary(&format!("{over}-own-{path}"));
    assert_eq!(client.bind(WRITER, OWN).code.0, 0);
    for outcome in [
        client.change_password(WRITER, &canary("old"), &canary("new")),
        client.modify(WRITER, Change::Replace, "unicodePwd", &[&unicode(&canary("unicode"))]),
        client.modify(WRITER, Change::Add, "userPassword", &[&canary("user-password")]),
        client.add("cn=new,dc=own", &[("userPassword", &[&canary("added")])]),
    ] {
        assert_eq!(outcome.code.0, 0, "{over}: {}", outcome.diagnostic);
    }
    assert_eq!(client.search(&subtree("dc=own", "(cn=a)", &["cn"])).outcome.code.0, 0);
    // Short, and the last, so that nothing later overwrites what it leaves.
    client.compare(WRITER, "userPassword", canary("compared").as_bytes());
}

/// What is refused before it is understood, and what comes in pieces.
fn show_broken_passwords(redial: &Redial) {
    let refused = LdapClient::plain(redial.start_tls).unwrap().bind("cn=a,dc=corp", &canary("before-tls"));
    assert_eq!(refused.code, ResultCode::CONFIDENTIALITY_REQUIRED);
    for cut in [3, 30] {
        let bind = frame(1, &requests::bind("cn=a,dc=corp", &canary("in-pieces-wrong")));
        let mut stream = TcpStream::connect(redial.plain).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&bind[..bind.len() - cut]).unwrap();
        // Another connection is answered: the first piece has been read by then, if the threads are not very busy.
        LdapClient::plain(redial.plain).unwrap().bind("", "");
        stream.write_all(&bind[bind.len() - cut..]).unwrap();
        assert_ne!(stream.read(&mut [0; 64]).unwrap(), 0);
        let mut stream = TcpStream::connect(redial.plain).unwrap();
        stream.write_all(&bind[..bind.len() - cut]).unwrap();
    }
    let mut malformed = frame(1, &requests::bind("cn=a,dc=corp", &canary("malformed")));
    malformed[1] -= 1;
    let mut stream = TcpStream::connect(redial.plain).unwrap();
    stream.write_all(&malformed).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert!(!said.is_empty(), "a notice");
}

#[test]
fn what_is_in_a_process_is_found_in_either_encoding() {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let held = format!("Findable!plain {}", unicode("Findable!wide"));
    cat.stdin.as_mut().unwrap().write_all(held.as_bytes()).unwrap();
    // What it has written it has in its buffer.
    cat.stdout.as_mut().unwrap().read_exact(&mut vec![0; held.len()]).unwrap();
    let found = ["Findable!plain", "Findable!wide", "Findable!not"].map(|mark| in_memory(cat.id(), mark).map(|found| !found.is_empty()));
    drop(cat.stdin.take());
    cat.wait().unwrap();
    if found == [None; 3] {
        println!("The memory was not looked at: that needs CAP_SYS_PTRACE here.");
    } else {
        assert_eq!(found, [Some(true), Some(true), Some(false)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_found_nowhere_a_second_after_it_was_shown() {
    let (ca, tls) = certificate(Certificate::Good);
    let controller = ScriptedController::start(Security::Ldaps(tls), controller).await;
    let address = controller.address;
    spawn_blocking(move || {
        let redial = Redial::start("watched", address, &ca);
        let (mut open, mut writers) = (Vec::new(), Vec::new());
        for (over, mut client) in redial.clients() {
            show_passwords(over, &mut client);
            open.push(client);
        }
        for (over, mut client) in redial.clients() {
            show_passwords(over, &mut client);
        }
        for (over, mut client) in redial.clients() {
            write_passwords(over, &mut client);
            writers.push(client);
        }
        show_broken_passwords(&redial);
        sleep(Duration::from_secs(1));

        for place in ["log", "stdout", "audit.jsonl"] {
            let text = redial.read(place);
            assert!(place == "stdout" || text.contains("cn=a"), "{place} says nothing");
            for secret in [MARK, &unicode(MARK)[2..], SERVICE, OWN] {
                assert!(!text.contains(secret), "{place} holds a secret");
            }
        }
        for path in ["/metrics", "/readyz", "/healthz", "/"] {
            let (_, page) = admin::request(redial.admin, "GET", path).unwrap();
            for secret in [MARK, SERVICE, OWN] {
                assert!(!page.contains(secret), "{path} shows a secret");
            }
        }

        let Some(found) = redial.remembers(MARK) else {
            println!("The memory was not looked at: that needs root and CAP_SYS_PTRACE.");
            return;
        };
        assert!(!redial.remembers(SERVICE).unwrap().is_empty(), "the service account's password is needed, and not found");
        assert!(!redial.remembers(OWN).unwrap().is_empty(), "a session's own password is needed, and not found");
        assert!(found.is_empty(), "{} in memory: {:#?}", found.len(), found.iter().take(50).collect::<Vec<_>>());
        drop(open);
        drop(writers);
        let begun = Instant::now();
        while !redial.remembers(OWN).unwrap().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "still there: {:#?}", redial.remembers(OWN).unwrap());
            sleep(Duration::from_millis(500));
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_leaves_no_core() {
    let (ca, tls) = certificate(Certificate::Good);
    let controller = ScriptedController::start(Security::Ldaps(tls), controller).await;
    let address = controller.address;
    spawn_blocking(move || {
        let mut redial = Redial::start("killed", address, &ca);
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", redial.program.process.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        let id = redial.program.process.id().to_string();
        assert!(Command::new("kill").args(["-s", "ABRT", &id]).status().unwrap().success());
        let ended = redial.program.process.wait().unwrap();
        assert!(ended.signal() == Some(6) && !ended.core_dumped(), "{ended:?}");
    })
    .await
    .unwrap();
}

/// For a program to be ready, and for what a session needed to be forgotten.
const PATIENCE: Duration = Duration::from_secs(120);
