//! The swarm against a proxy in front of a phonebook, and against a server that lies.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::configuration::{Configuration, IN_MEMORY};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::response::{write_entry_op, write_result};
use redial::ldap::{Envelope, MessageId, ResultCode};
use redial::proxy::Proxy;
use serde_json::Value;
use std::fmt::Write;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;

/// A proxy in front of five people, with LDAP and StartTLS on one address and LDAPS on the other.
struct Site {
    proxy: Proxy,
    folder: PathBuf,
}

impl Site {
    async fn start(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("phones-{test}"));
        std::fs::create_dir_all(&folder).unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
        let key = folder.join("key.pem");
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(folder.join("phonebook.ldif"), phonebook()).unwrap();
        let tls = "tls = { certificate = \"cert.pem\", key = \"key.pem\"";
        let config = Configuration {
            address: "127.0.0.1:0",
            listener: &format!("{tls}, start_tls = \"optional\" }}"),
            base: "dc=x",
            directory: IN_MEMORY,
            more: &format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{tls} }}"),
            ..Configuration::default()
        }
        .load_in(&folder);
        Self { proxy: Proxy::start(config).await.unwrap(), folder }
    }

    fn ldap(&self) -> String {
        format!("ldap://{}", self.proxy.addresses()[0])
    }

    fn ldaps(&self) -> String {
        format!("ldaps://{}", self.proxy.addresses()[1])
    }

    /// Lets a swarm loose, and returns its report.
    async fn measured(&self, url: &str, arguments: &str) -> Value {
        let json = self.folder.join("report.json");
        let ca = self.folder.join("cert.pem");
        let arguments = format!("{url} {arguments} --json {}", json.display()).replace("CA", &ca.display().to_string());
        let output = phones(arguments).await;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{said}");
        let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
        assert_eq!(report["errors"], Value::Array(Vec::new()), "{said}");
        assert_eq!(report["wrong_answers"], 0, "{said}");
        report
    }
}

fn phonebook() -> String {
    let mut ldif = "dn: dc=x\nobjectClass: domain\n".to_owned();
    for (number, (name, surname)) in PEOPLE.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(
            ldif,
            "\ndn: cn={name} {surname},dc=x\nobjectClass: person\ncn: {name} {surname}\nsn: {surname}\ntelephoneNumber: +49 30 {number}\n"
        );
    }
    ldif
}

const PEOPLE: [(&str, &str); 5] = [("Ada", "Lovelace"), ("Alan", "Turing"), ("Grace", "Hopper"), ("Konrad", "Zuse"), ("Käthe", "Müller")];

/// `redial phones` with these words.
async fn phones(arguments: String) -> Output {
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redial"));
        command.arg("phones").args(arguments.split_whitespace()).stdin(Stdio::null()).output().unwrap()
    };
    spawn_blocking(run).await.unwrap()
}

fn results(report: &Value, operation: &str) -> u64 {
    let results = report["results"].as_array().unwrap().iter();
    results.filter(|result| result["operation"] == operation && result["code"] == 0).map(|result| result["count"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_typed_over_kept_connections_and_some_keys_abandon() {
    let site = Site::start("type-ahead").await;
    let report = site.measured(&site.ldap(), "--keep --connections 4 --count 200 --abandon 50").await;
    assert_eq!((report["operations"].as_u64(), results(&report, "search")), (Some(200), 200));
    assert_eq!(report["connections"], 4);
    let abandoned = report["abandoned"].as_u64().unwrap();
    assert!((20..=120).contains(&abandoned), "{abandoned}");
    assert!(report["entries"].as_u64().unwrap() >= 200, "each name is somebody's");
    site.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_group_asks_at_a_rate_and_the_servers_time_is_known() {
    let site = Site::start("caller").await;
    let arguments =
        format!("--scenario caller --keep --connections 8 --ring-group 8 --rate 400 --count 80 --server-pid {}", std::process::id());
    let report = site.measured(&site.ldap(), &arguments).await;
    assert_eq!((report["operations"].as_u64(), results(&report, "search"), report["entries"].as_u64()), (Some(80), 80, Some(80)));
    // The last of ten groups is due after nine tenths of it.
    assert!(report["seconds"].as_f64().unwrap() >= 0.17, "{report}");
    assert!(report["server_cpu"]["cores"].is_number() && report["own_cpu"]["cores"].is_number());
    site.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_directory_is_read_over_start_tls() {
    let site = Site::start("directory").await;
    let report = site.measured(&site.ldap(), "--scenario directory --start-tls --ca CA --connections 2 --count 6 --size-limit 0").await;
    assert_eq!(report["entries"], 6 * PEOPLE.len());
    assert_eq!((report["connections"].as_u64(), report["full_handshakes"].as_u64()), (Some(6), Some(6)));
    site.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_bind_again_and_again() {
    let site = Site::start("bind").await;
    let kept = site.measured(&site.ldap(), "--scenario bind --keep --connections 2 --count 20").await;
    assert_eq!((results(&kept, "bind"), results(&kept, "search"), kept["connections"].as_u64()), (20, 0, Some(2)));
    let each = site.measured(&site.ldap(), "--scenario bind --connections 2 --count 20 --source 127.0.0.0/28").await;
    assert_eq!((results(&each, "bind"), each["connections"].as_u64()), (20, Some(20)));
    site.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_phones_work_on_while_the_others_boot() {
    let site = Site::start("live").await;
    let report = site.measured(&site.ldaps(), "--scenario boot-storm --connections 20 --live 3 --ca CA").await;
    assert_eq!(report["full_handshakes"], 20, "those of the live phones are not counted");
    assert_eq!((report["live"]["phones"].as_u64(), report["live"]["errors"].as_u64()), (Some(3), Some(0)));
    assert!(report["live"]["before_us"]["count"].as_u64() > Some(0), "{report}");
    site.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_phones_boot_at_once_over_ldaps() {
    let site = Site::start("boot-storm").await;
    let report = site.measured(&site.ldaps(), "--scenario boot-storm --connections 20 --ca CA").await;
    assert_eq!((report["operations"].as_u64(), results(&report, "bind"), results(&report, "search")), (Some(20), 20, 20));
    assert_eq!(report["full_handshakes"], 20);
    site.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_swarm_resumes_its_sessions_and_draws_a_picture() {
    let site = Site::start("mix").await;
    let svg = site.folder.join("picture.svg");
    let arguments = format!("--scenario mix --insecure --resume --connections 2 --count 60 --svg {}", svg.display());
    let report = site.measured(&site.ldaps(), &arguments).await;
    assert_eq!((report["operations"].as_u64(), report["connections"].as_u64()), (Some(60), Some(60)));
    assert!(report["resumed_handshakes"].as_u64().unwrap() > 50, "{report}");
    assert!(results(&report, "bind") > 0 && results(&report, "search") > 0);
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg"));
    site.proxy.stop().await;
}

/// Answers each search with `answers`, one after the other and then the last for ever.
async fn scripted(answers: &'static [(&'static str, &'static str)]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut answered = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            while let Some(frame) = received(&mut stream).await {
                let envelope = Envelope::parse(&frame).unwrap();
                if envelope.op_tag != op::SEARCH_REQUEST {
                    break;
                }
                let (name, number) = answers[answered.min(answers.len() - 1)];
                answered += 1;
                stream.write_all(&answer(envelope.message_id, name, number)).await.unwrap();
            }
        }
    });
    address
}

async fn received(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    loop {
        if let Some(length) = frame_length(&octets, 1 << 16).unwrap().filter(|length| *length <= octets.len()) {
            assert_eq!(octets.len(), length, "the next request comes after the answer");
            return Some(octets);
        }
        if stream.read_buf(&mut octets).await.ok()? == 0 {
            return None;
        }
    }
}

fn answer(id: MessageId, name: &str, number: &str) -> Vec<u8> {
    let (mut entry, mut out) = (Vec::new(), Vec::new());
    write_entry_op(&mut entry, &format!("cn={name},dc=x"), [("cn", [name.as_bytes()]), ("telephoneNumber", [number.as_bytes()])]);
    write_envelope(&mut out, id, &entry, None);
    write_result(&mut out, id, op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "");
    out
}

/// What is asked of a scripted server: nothing is learned from it, and one phone asks for one number, ten times.
async fn asked_ten_times(address: SocketAddr, test: &str) -> Output {
    let numbers = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("phones-{test}.txt"));
    std::fs::write(&numbers, "17\n").unwrap();
    let numbers = numbers.display();
    phones(format!("ldap://{address} --scenario caller --keep --connections 1 --count 10 --base dc=x --numbers {numbers}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_changes_is_caught() {
    let output = asked_ten_times(scripted(&[("Ada", "17"), ("Eve", "17"), ("Ada", "17")]).await, "changing").await;
    let (table, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(70), "{table}{said}");
    assert!(table.contains("differs from the first answer: (|(telephoneNumber=17)(mobile=17))"), "{table}");
    assert!(said.contains("1 wrong answers"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_another_question_is_caught() {
    let output = asked_ten_times(scripted(&[("Eve", "18")]).await, "beside").await;
    assert_eq!(output.status.code(), Some(70));
    assert!(String::from_utf8(output.stdout).unwrap().contains("holds an entry that the filter does not match"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_70_and_bad_arguments_are_64() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (arguments, code) in [
        (format!("ldap://{nobody}"), 70),
        ("http://x".to_owned(), 64),
        (String::new(), 64),
        (format!("ldap://{nobody} --resume"), 64),
        (format!("ldap://{nobody} --connections 0"), 64),
        (format!("ldap://{nobody} --names no/such/file"), 64),
        (format!("ldap://{nobody} --bind-dn cn=x"), 64),
        (format!("ldap://{nobody} --server-pid 0"), 64),
    ] {
        let output = phones(arguments.clone()).await;
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
