//! A name without a password proves nothing (RFC 4513 section 5.1.2): in no encoding, in no mode, whatever a directory would say to it.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/certificates.rs"]
mod certificates;
#[path = "common/requests.rs"]
mod requests;
#[path = "common/scripted_directory.rs"]
mod scripted_directory;

use certificates::Certificate;
use redial::config::TlsMode;
use redial::config::load::load_text;
use redial::directory::Directory;
use redial::downstream::{Service, Tls};
use redial::identity::accounts;
use redial::ldap::envelope::op;
use redial::ldap::frame::frame_length;
use redial::ldap::{ResultCode, oid};
use redial::lifecycle::lifecycle;
use redial::metrics::Metrics;
use redial::pipeline::{Current, Pipeline};
use redial::secret::Secret;
use requests::{extended, frame, in_words};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use scripted_directory::{Scripted, ScriptedDirectory};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

/// How a length is written (X.690 section 8.1.3).
#[derive(Debug, Clone, Copy)]
enum Lengths {
    Short,
    /// As Active Directory's clients write them: `84` and four octets.
    Long(u8),
}

impl Lengths {
    fn element(self, tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let mut out = vec![tag];
        match self {
            Self::Short => out.extend(u8::try_from(content.len()).ok().filter(|length| *length < 0x80)),
            Self::Long(octets) => {
                out.push(0x80 | octets);
                out.extend_from_slice(&length[4 - usize::from(octets)..]);
            }
        }
        out.extend_from_slice(content);
        out
    }

    fn bind(self, name: &str, authentication: &[u8]) -> Vec<u8> {
        let parts = [self.element(2, &[3]), self.element(4, name.as_bytes()), authentication.to_vec()].concat();
        let operation = self.element(op::BIND_REQUEST, &parts);
        self.element(0x30, &[self.element(2, &[1]), operation].concat())
    }

    fn simple(self, name: &str, password: &[u8]) -> Vec<u8> {
        self.bind(name, &self.element(0x80, password))
    }

    fn plain(self, message: &[u8]) -> Vec<u8> {
        let contents = [self.element(4, b"PLAIN"), self.element(4, message)].concat();
        self.bind("", &self.element(0xa3, &contents))
    }
}

/// A service over a directory that says yes to everything.
struct House {
    service: Arc<Service>,
    directory: Arc<ScriptedDirectory>,
    lifecycle: redial::lifecycle::Lifecycle,
    _ending: redial::lifecycle::Ending,
}

impl House {
    fn new(certificate: &Certificate, search_as: &str) -> Self {
        let hash = accounts::hash(&Secret::new(b"")).unwrap();
        let text = format!(
            r#"
            [[listener]]
            address = "127.0.0.1:389"
            plain_passwords = "allow"

            [directory.corp]
            base = "dc=corp"
            servers = ["ldap://127.0.0.1:1"]
            start_tls = false
            {search_as}
            writes = "forward"

            [[access]]
            name = "everybody"
            clients = "any"
            bases = ["dc=corp"]
            attributes = ["*"]

            [[account]]
            name = "room"
            password_hash = "{hash}"
            "#
        );
        let mut config = load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}")).config;
        let files = certificate.listener_tls(TlsMode::StartTlsOptional);
        let tls = Arc::new(Tls::load(&files).unwrap());
        let listener = config.listeners.first_mut().unwrap();
        listener.tls = Some(files);
        let listener = listener.clone();
        let directory = Arc::new(ScriptedDirectory::new(|_| Scripted::Result(ResultCode::SUCCESS, "")));
        let metrics = Arc::new(Metrics::unrecorded());
        let directories = vec![Arc::clone(&directory) as Arc<dyn Directory>];
        let pipeline = Arc::new(Current::new(Arc::new(Pipeline::new(&config, directories, Arc::clone(&metrics)))));
        let service = Arc::new(Service::new(0, &listener, &config.limits, Some(tls), pipeline, metrics));
        let (ending, lifecycle) = lifecycle();
        Self { service, directory, lifecycle, _ending: ending }
    }

    fn connect(&self) -> tokio::io::DuplexStream {
        let (near, far) = duplex(4096);
        tokio::spawn(Arc::clone(&self.service).serve(far, "127.0.0.1:40000".parse().unwrap(), self.lifecycle.clone()));
        near
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), message: &[u8]) -> String {
    stream.write_all(message).await.unwrap();
    stream.flush().await.unwrap();
    let mut received = Vec::new();
    while frame_length(&received, usize::MAX).unwrap().is_none_or(|length| length > received.len()) {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "closed");
    }
    in_words(&received)
}

async fn nothing_is_proved(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), house: &House, over: &str) {
    for lengths in [Lengths::Short, Lengths::Long(1), Lengths::Long(2), Lengths::Long(4)] {
        let mut binds = Vec::new();
        for name in ["cn=pbx,dc=corp", "alice@corp.example", "CORP\\alice", "room", "ROOM", "x", " "] {
            for password in [&b""[..], b"\0", b"\0\0\0\0\0\0\0\0", b"\0secret"] {
                binds.push((lengths.simple(name, password), if password.is_empty() || name.trim() != "" { "53" } else { "49" }));
            }
            let plain = |prefix: &str| lengths.plain(format!("{prefix}\0{name}\0").as_bytes());
            binds.extend([plain(""), plain(name), plain(&format!("dn:{name}")), plain("u:")].map(|bind| (bind, "49")));
            binds.push((lengths.plain(format!("\0{name}\0\0").as_bytes()), "2"));
        }
        for name in ["", " ", "\t", "\0"] {
            binds.push((lengths.simple(name, b"secret"), "49"));
            binds.push((lengths.plain(format!("\0{name}\0secret").as_bytes()), if name == "\0" { "2" } else { "49" }));
        }
        for message in [&b""[..], b"\0", b"\0\0", b"\0\0\0", b"\0\0\0\0"] {
            binds.push((lengths.plain(message), if message.len() == 2 { "49" } else { "2" }));
        }
        binds.push((lengths.simple("", b""), "0"));
        for (bind, expected) in binds {
            // PLAIN is not even looked at without TLS.
            let is_plain = bind.windows(5).any(|octets| octets == b"PLAIN");
            let expected = if is_plain && over == "clear" { "13" } else { expected };
            assert_eq!(ask(stream, &bind).await, format!("1 bind {expected}"), "{over}: {bind:02x?}");
            assert_eq!(ask(stream, &frame(2, &extended(oid::WHO_AM_I, None))).await, "2 extended 0", "{over}: {bind:02x?}");
        }
    }
    assert_eq!(house.directory.asked().len(), 0, "a directory was asked");
}

#[tokio::test(start_paused = true)]
async fn an_empty_password_succeeds_in_no_encoding_and_no_mode() {
    let certificate = Certificate::new("empty-passwords");
    let phone = TlsConnector::from(Arc::new(certificate.phone(&[&TLS13])));
    let service = "search_as = \"service\"\nbind_dn = \"cn=redial,dc=corp\"\npassword = \"service secret\"";
    for search_as in [service, "search_as = \"client\""] {
        let house = House::new(&certificate, search_as);
        let mut stream = house.connect();
        nothing_is_proved(&mut stream, &house, "clear").await;
        assert_eq!(ask(&mut stream, &frame(1, &extended(oid::START_TLS, None))).await, "1 extended 0");
        let mut stream = phone.connect(ServerName::try_from("phonebook.example").unwrap(), stream).await.unwrap();
        nothing_is_proved(&mut stream, &house, "tls").await;
        // The directory is there, and would have said yes.
        assert_eq!(ask(&mut stream, &Lengths::Long(4).simple("cn=pbx,dc=corp", b"secret")).await, "1 bind 0");
        assert_eq!(house.directory.asked().len(), 1);
    }
}
