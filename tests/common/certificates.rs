//! A certificate for a test's listener, and a phone that trusts it.

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use redial::config::{Config, DirectoryKind, ListenerTls, TlsMode};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::PathBuf;
use std::sync::Arc;

/// PEM files that go with it.
pub(crate) struct Certificate {
    folder: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// A new one for `phonebook.example`, and for controllers of `corp.example` and `moved.example`; `name` keeps tests that run at once apart.
    pub(crate) fn new(name: &str) -> Self {
        Self::signed_by(&KeyPair::generate().unwrap(), name)
    }

    /// The same with signatures that all have one length (Ed25519's), so that a handshake takes as many octets as the one before.
    pub(crate) fn of_even_length(name: &str) -> Self {
        Self::signed_by(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), name)
    }

    fn signed_by(key: &KeyPair, name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("redial-downstream-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = CertificateParams::new(["phonebook.example", "*.corp.example", "*.moved.example"].map(str::to_owned))
            .unwrap()
            .self_signed(key)
            .unwrap();
        std::fs::write(folder.join("cert.pem"), made.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder, der: made.der().clone() }
    }

    /// The listener's part of it.
    pub(crate) fn listener_tls(&self, mode: TlsMode) -> ListenerTls {
        ListenerTls {
            certificate: self.folder.join("cert.pem"),
            key: self.folder.join("key.pem"),
            mode,
            client_ca: None,
            client_name: None,
            ticket_keys: None,
        }
    }

    /// A controller's part of it, with a memory for sessions of its own.
    pub(crate) fn controller(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.folder.join("key.pem")).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(vec![self.der.clone()], key).unwrap())
    }

    /// Lets the directories of controllers trust it.
    pub(crate) fn trusted_upstream(&self, config: &mut Config) {
        for directory in &mut config.directories {
            if let DirectoryKind::Upstream(upstream) = &mut directory.kind {
                upstream.ca = Some(self.folder.join("cert.pem"));
            }
        }
    }

    /// A phone's part of it.
    pub(crate) fn phone(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // A folder that is left in /tmp harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
