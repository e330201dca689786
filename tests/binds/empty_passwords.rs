//! A name without a password proves nothing (RFC 4513 section 5.1.2): in no encoding, in no mode, whatever a directory would say to it.

use crate::common::certificates::Certificate;
use crate::common::configuration::Configuration;
use crate::common::hearing::ask;
use crate::common::house::House;
use crate::common::requests::{extended, frame};
use crate::common::scripted_directory::{Scripted, ScriptedDirectory};
use redial::config::TlsMode;
use redial::identity::accounts;
use redial::ldap::envelope::op;
use redial::ldap::oid;
use redial::secret::Secret;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
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
fn house(certificate: &Certificate, search_as: &str) -> House {
    let hash = accounts::hash(&Secret::new(b"")).unwrap();
    let mut config = Configuration {
        listener: "plain_passwords = \"allow\"",
        directory: &format!("servers = [\"ldap://127.0.0.1:1\"]\nstart_tls = false\nwrites = \"forward\"\n{search_as}"),
        more: &format!("[[account]]\nname = \"room\"\npassword_hash = \"{hash}\""),
        ..Configuration::default()
    }
    .load();
    config.listeners[0].tls = Some(certificate.listener_tls(TlsMode::StartTlsOptional));
    House::over(ScriptedDirectory::always(Scripted::success()), config)
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
    assert_eq!(house.directory.times_asked(), 0, "a directory was asked");
}

#[tokio::test(start_paused = true)]
async fn an_empty_password_succeeds_in_no_encoding_and_no_mode() {
    let certificate = Certificate::new("empty-passwords");
    let phone = TlsConnector::from(Arc::new(certificate.phone(&[&TLS13])));
    let service = "search_as = \"service\"\nbind_dn = \"cn=redial,dc=corp\"\npassword = \"service secret\"";
    for search_as in [service, "search_as = \"client\""] {
        let house = house(&certificate, search_as);
        let mut stream = house.connect(4096);
        nothing_is_proved(&mut stream, &house, "clear").await;
        assert_eq!(ask(&mut stream, &frame(1, &extended(oid::START_TLS, None))).await, "1 extended 0");
        let mut stream = phone.connect(ServerName::try_from("phonebook.example").unwrap(), stream).await.unwrap();
        nothing_is_proved(&mut stream, &house, "tls").await;
        // The directory is there, and would have said yes.
        assert_eq!(ask(&mut stream, &Lengths::Long(4).simple("cn=pbx,dc=corp", b"secret")).await, "1 bind 0");
        assert_eq!(house.directory.times_asked(), 1);
    }
}
