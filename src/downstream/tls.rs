//! A listener's TLS: certificate and key from PEM files, sessions that can be resumed, and replacement while connections live.
//!
//! TLS 1.2 and 1.3. No certificate is asked of a phone unless a `client_ca` is configured: phones whose factory certificates are signed
//! with MD5 break on the mere request.

use super::client_certificate;
use super::tickets::Tickets;
use crate::config::ticket_keys::ticket_keys;
use crate::config::{ClientName, ListenerTls};
use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use zeroize::Zeroizing;

/// A listener's TLS.
#[derive(Debug)]
pub struct Tls {
    current: ArcSwap<InForce>,
    // These outlive a reload, so that a new certificate does not cost every phone a full handshake at once. The keys of these tickets are known
    // to this process alone; they are in use where no file has others.
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// What a handshake goes by.
#[derive(Debug)]
pub(super) struct InForce {
    /// For rustls.
    pub(super) config: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
    client_name: Option<ClientName>,
}

/// Certificate and key that may take the place of others.
#[derive(Debug)]
pub struct RenewedTls(Arc<InForce>);

/// Why a listener's certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file without a certificate.
    #[error("{}: no certificate in it (PEM, `-----BEGIN CERTIFICATE-----`)", .0.display())]
    NoCertificate(PathBuf),
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("{certificate} and {key}: {source}", certificate = .certificate.display(), key = .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The CA for client certificates cannot be used.
    #[error("{path}: {why}", path = .path.display())]
    ClientCa {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The crypto library has no randomness for ticket keys.
    #[error("no key for session tickets: {0}")]
    Tickets(rustls::Error),
    /// The file of keys for session tickets cannot be used.
    #[error("{path}: {why}", path = .path.display())]
    TicketKeys {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// With the file's name and what is wrong with it.
    pub fn load(files: &ListenerTls) -> Result<Self, TlsError> {
        let tickets = aws_lc_rs::Ticketer::new().map_err(TlsError::Tickets)?;
        let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SESSIONS);
        let current = ArcSwap::from_pointee(in_force(files, &tickets, &sessions)?);
        Ok(Self { current, tickets, sessions })
    }

    /// Reads the files again, or others; nothing is in force of it before [`Tls::replace`].
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn renewed(&self, files: &ListenerTls) -> Result<RenewedTls, TlsError> {
        in_force(files, &self.tickets, &self.sessions).map(Arc::new).map(RenewedTls)
    }

    /// The next handshakes go by this. Connections that stand keep what they have.
    pub fn replace(&self, renewed: RenewedTls) {
        self.current.store(renewed.0);
    }

    /// What the next handshake goes by.
    pub(super) fn current(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// The name in a certificate that a handshake has verified, where the listener lets a certificate prove one.
    pub(super) fn client_name(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        client_certificate::name(certificate, self.current.load().client_name?)
    }
}

impl InForce {
    /// Would a client with these certificates be let in by a full handshake too? One that resumes a session shows none: it may have expired since,
    /// or its CA may be trusted no more.
    pub(super) fn verify_client(&self, certificates: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let Some((certificate, intermediates)) = certificates.split_first() else { return Ok(()) };
        self.clients.verify_client_cert(certificate, intermediates, UnixTime::now()).map(drop)
    }
}

fn in_force(
    files: &ListenerTls,
    tickets: &Arc<dyn ProducesTickets>,
    sessions: &Arc<dyn StoresServerSessions>,
) -> Result<InForce, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::File { path: files.key.clone(), source })?;
    let pair = |source| TlsError::Pair { certificate: files.certificate.clone(), key: files.key.clone(), source };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients: Arc<dyn ClientCertVerifier> = match &files.client_ca {
        None => Arc::new(NoClientAuth),
        Some(path) => {
            let roots = client_roots(path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).allow_unauthenticated().build();
            verifier.map_err(|error| TlsError::ClientCa { path: path.clone(), why: error.to_string() })?
        }
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]).map_err(pair)?;
    let mut config = builder.with_client_cert_verifier(Arc::clone(&clients)).with_single_cert(chain, key).map_err(pair)?;
    config.ticketer = match &files.ticket_keys {
        None => Arc::clone(tickets),
        Some(path) => shared_tickets(path, files.client_ca.is_some())?,
    };
    config.session_storage = Arc::clone(sessions);
    // A phone resumes with one ticket; each further one costs a record.
    config.send_tls13_tickets = 1;
    Ok(InForce { config: Arc::new(config), clients, client_name: files.client_name })
}

fn shared_tickets(path: &Path, for_certificates: bool) -> Result<Arc<dyn ProducesTickets>, TlsError> {
    let bad = |why: String| TlsError::TicketKeys { path: path.to_owned(), why };
    let octets = std::fs::read(path).map(Zeroizing::new).map_err(|error| bad(error.to_string()))?;
    let keys = ticket_keys(&octets).map_err(|error| bad(error.to_string()))?;
    let tickets = Tickets::new(&keys, for_certificates).map_err(|error| bad(error.to_string()))?;
    Ok(Arc::new(tickets))
}

fn client_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::ClientCa { path: path.to_owned(), why: error.to_string() })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |source| TlsError::File { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<Vec<_>, _>>().map_err(file)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

/// Sessions kept for phones that resume TLS 1.2 by session ID, without a ticket.
const SESSIONS: usize = 10_240;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::TlsMode;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use std::fs;

    /// A folder for a certificate and its key, which goes with it.
    pub(crate) struct Files(PathBuf);

    impl Files {
        pub(crate) fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("redial-tls-{}-{name}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        fn write(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            path
        }

        pub(crate) fn listener_tls(&self, certificate: &str, key: &str) -> ListenerTls {
            let (certificate, key) = (self.write("cert.pem", certificate), self.write("key.pem", key));
            ListenerTls { certificate, key, mode: TlsMode::Ldaps, client_ca: None, client_name: None, ticket_keys: None }
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A certificate and its key, as PEM.
    pub(crate) fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["phonebook.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn certificate_and_key_are_read_from_pem() {
        let files = Files::new("good");
        let (certificate, key) = pair();
        let mut listener_tls = files.listener_tls(&certificate, &key);
        Tls::load(&listener_tls).unwrap();
        listener_tls.client_ca = Some(listener_tls.certificate.clone());
        Tls::load(&listener_tls).unwrap();
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said_with_their_names() {
        let files = Files::new("bad");
        let (certificate, key) = pair();
        for (certificate, key, expected) in [
            ("", key.as_str(), "cert.pem: no certificate"),
            (certificate.as_str(), "", "key.pem: "),
            (certificate.as_str(), &pair().1, "key.pem: keys may not be consistent"),
        ] {
            let error = Tls::load(&files.listener_tls(certificate, key)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let mut missing = files.listener_tls(&certificate, &key);
        missing.certificate = files.0.join("nowhere.pem");
        assert!(Tls::load(&missing).unwrap_err().to_string().contains("nowhere.pem: "));
    }

    #[test]
    fn a_renewed_certificate_is_in_force_when_it_is_put_there() {
        let files = Files::new("renewed");
        let (certificate, key) = pair();
        let listener_tls = files.listener_tls(&certificate, &key);
        let tls = Tls::load(&listener_tls).unwrap();
        let before = tls.current();
        files.write("key.pem", "half writ");
        assert!(tls.renewed(&listener_tls).is_err());
        let (certificate, key) = pair();
        let renewed = tls.renewed(&files.listener_tls(&certificate, &key)).unwrap();
        assert!(Arc::ptr_eq(&before, &tls.current()));
        tls.replace(renewed);
        assert!(!Arc::ptr_eq(&before, &tls.current()));
    }

    #[test]
    fn ticket_keys_are_rotated_by_a_reload_and_shared_by_whoever_has_the_file() {
        let files = Files::new("rotated");
        let (certificate, key) = pair();
        let key_line = |key: u8| format!("{}\n", BASE64_STANDARD.encode([key; 32]));
        let mut listener_tls = files.listener_tls(&certificate, &key);
        listener_tls.ticket_keys = Some(files.write("tickets", &key_line(1)));
        let [one, other] = [(); 2].map(|()| Tls::load(&listener_tls).unwrap());
        let ticket = one.current().config.ticketer.encrypt(b"a session").unwrap();
        for (lines, is_resumed) in [(key_line(1), true), (format!("{}{}", key_line(2), key_line(1)), true), (key_line(2), false)] {
            files.write("tickets", &lines);
            other.replace(other.renewed(&listener_tls).unwrap());
            assert_eq!(other.current().config.ticketer.decrypt(&ticket).is_some(), is_resumed);
        }
        files.write("tickets", "half writ");
        let before = other.current();
        assert!(other.renewed(&listener_tls).unwrap_err().to_string().contains("tickets: line 1 is not 32 octets in base64"));
        assert!(Arc::ptr_eq(&before, &other.current()));
    }

    #[test]
    fn tickets_outlive_a_reload_with_another_certificate() {
        let files = Files::new("outlive");
        let (certificate, key) = pair();
        let listener_tls = files.listener_tls(&certificate, &key);
        let tls = Tls::load(&listener_tls).unwrap();
        let ticket = tls.current().config.ticketer.encrypt(b"a session").unwrap();
        let (certificate, key) = pair();
        files.listener_tls(&certificate, &key);
        tls.replace(tls.renewed(&listener_tls).unwrap());
        assert!(tls.current().config.ticketer.decrypt(&ticket).is_some());
    }
}
