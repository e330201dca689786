//! SASL EXTERNAL: a client certificate that was verified proves a name, and nothing else does. Without sockets, under a paused clock.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::certificates::Certificate;
use common::hearing::hear_all;
use common::house::House;
use common::requests::{self, bind, extended, frame, frame_with_control, sasl_bind_with, search_for};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use redial::config::{ClientName, Clients, Config, DirectoryKind, ListenerTls, SearchAs, TlsMode};
use redial::downstream::{Service, Tls};
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest};
use redial::ldap::{ResultCode, oid};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SignatureScheme};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PBX: &str = "CN=PBX 1,O=Example";

/// A CA that signs client certificates, and the PEM file that a listener reads it from.
struct Issuer {
    ca: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Issuer {
    fn new(test: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("external-{test}.pem"));
        std::fs::write(&file, ca.pem()).unwrap();
        Self { ca, file }
    }

    /// The certificate of the PBX; `change` may change what stands in it.
    fn pbx(&self, change: impl FnOnce(&mut CertificateParams)) -> Arc<CertifiedKey> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, "PBX 1");
        params.subject_alt_names.push(SanType::DnsName("pbx.corp.example".try_into().unwrap()));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Arc::new(CertifiedKey::from_der(vec![certificate.der().clone()], key, &default_provider()).unwrap())
    }

    fn tls(&self, server: &Certificate, mode: TlsMode) -> ListenerTls {
        ListenerTls { client_ca: Some(self.file.clone()), client_name: Some(ClientName::Subject), ..server.listener_tls(mode) }
    }
}

/// Shows its certificate whoever is asked for.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn with(mut phone: ClientConfig, certificate: Arc<CertifiedKey>) -> Arc<ClientConfig> {
    phone.client_auth_cert_resolver = Arc::new(Shows(certificate));
    Arc::new(phone)
}

/// A house whose one access is for the PBX.
fn house(tls: ListenerTls) -> House {
    house_with(tls, |_| ())
}

fn house_with(tls: ListenerTls, change: impl FnOnce(&mut Config)) -> House {
    House::with("plain_passwords = \"allow\"", "", |config| {
        config.listeners[0].tls = Some(tls);
        config.accesses[0].clients = Clients::Listed { names: vec!["cn=pbx 1, o=example".to_owned()], groups: Vec::new() };
        change(config);
    })
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin>(client: &Arc<ClientConfig>, stream: S) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from("phonebook.example").unwrap();
    TlsConnector::from(Arc::clone(client)).connect(name, stream).await
}

/// Sends one message, and hears the answer; `None`: it is hung up on.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> Option<Vec<String>> {
    stream.write_all(message).await.ok()?;
    stream.flush().await.ok()?;
    hear_all(stream).await
}

async fn last<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, op: &[u8]) -> String {
    ask(stream, &frame(1, op)).await.unwrap().pop().unwrap()
}

async fn who_am_i<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    last(stream, &extended(oid::WHO_AM_I, None)).await
}

fn external(authorization: Option<&[u8]>) -> Vec<u8> {
    sasl_bind_with("EXTERNAL", authorization)
}

async fn mechanisms<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let request = SearchRequest::new("", Scope::BaseObject, Filter::parse("(objectClass=*)").unwrap(), &["supportedSASLMechanisms"]);
    ask(stream, &frame(1, &request.encode())).await.unwrap().swap_remove(0)
}

/// Sends a request, and says yes for the directory once it is asked.
async fn granted(house: &House, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), op: &[u8]) -> String {
    let number = house.directory.times_asked() + 1;
    let answer = async {
        while house.directory.times_asked() < number {
            tokio::task::yield_now().await;
        }
        house.directory.done(number, ResultCode::SUCCESS);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        said = last(stream, op) => said,
        () = answer => unreachable!("it waits for the other"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_proves_its_name_to_the_accesses() {
    let (server, issuer) = (Certificate::new("external-proves"), Issuer::new("proves"));
    let house = house(issuer.tls(&server, TlsMode::Ldaps));
    for version in [&TLS12, &TLS13] {
        let client = with(server.phone(&[version]), issuer.pbx(|_| ()));
        let mut stream = connect(&client, house.connect(4096)).await.unwrap();
        assert_eq!(mechanisms(&mut stream).await, "1 entry  supportedSASLMechanisms=EXTERNAL supportedSASLMechanisms=PLAIN");
        assert_eq!(who_am_i(&mut stream).await, "1 extended 0", "a certificate alone is no bind");
        assert_eq!(last(&mut stream, &search_for("dc=corp", "(cn=a)", &[])).await, "1 done 50");
        for authorization in [None, Some(&b""[..]), Some(b"dn:cn=pbx 1,o=example")] {
            assert_eq!(last(&mut stream, &external(authorization)).await, "1 bind 0");
            assert_eq!(who_am_i(&mut stream).await, format!("1 extended 0 dn:{PBX}"));
        }
        assert_eq!(granted(&house, &mut stream, &search_for("dc=corp", "(cn=a)", &[])).await, "1 done 0");
        assert_eq!(last(&mut stream, &bind("", "")).await, "1 bind 0");
        assert_eq!(who_am_i(&mut stream).await, "1 extended 0", "an anonymous bind makes nobody of it");
    }
    assert_eq!(house.directory.question(1).unwrap(), "search dc=corp (cn=a) as service");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_a_certificate_bound_is_dropped_like_any_other() {
    let (server, issuer) = (Certificate::new("external-dropped"), Issuer::new("dropped"));
    let house = house(issuer.tls(&server, TlsMode::Ldaps));
    let mut stream = connect(&with(server.phone(&[&TLS13]), issuer.pbx(|_| ())), house.connect(4096)).await.unwrap();
    assert_eq!(last(&mut stream, &external(None)).await, "1 bind 0");
    assert_eq!(house.register.drop_principal(PBX), 1);
    assert_eq!(ask(&mut stream, &[]).await.unwrap(), ["notice 8"]);
}

#[tokio::test(start_paused = true)]
async fn start_tls_brings_a_certificate_as_well() {
    let (server, issuer) = (Certificate::new("external-start-tls"), Issuer::new("start-tls"));
    let house = house(issuer.tls(&server, TlsMode::StartTlsOptional));
    let mut stream = house.connect(4096);
    assert_eq!(last(&mut stream, &external(None)).await, "1 bind 48");
    assert_eq!(last(&mut stream, &extended(oid::START_TLS, None)).await, "1 extended 0");
    let mut stream = connect(&with(server.phone(&[&TLS13]), issuer.pbx(|_| ())), stream).await.unwrap();
    assert_eq!(last(&mut stream, &external(None)).await, "1 bind 0");
    assert_eq!(who_am_i(&mut stream).await, format!("1 extended 0 dn:{PBX}"));
}

#[tokio::test(start_paused = true)]
async fn the_name_stands_where_the_listener_looks() {
    let (server, issuer) = (Certificate::new("external-names"), Issuer::new("names"));
    for (at, expected) in [(ClientName::Dns, Some("u:pbx.corp.example")), (ClientName::Email, None)] {
        let house = house(ListenerTls { client_name: Some(at), ..issuer.tls(&server, TlsMode::Ldaps) });
        let mut stream = connect(&with(server.phone(&[&TLS13]), issuer.pbx(|_| ())), house.connect(4096)).await.unwrap();
        let code = if expected.is_some() { 0 } else { 48 };
        assert_eq!(last(&mut stream, &external(None)).await, format!("1 bind {code}"), "{at:?}");
        assert_eq!(who_am_i(&mut stream).await, format!("1 extended 0 {}", expected.unwrap_or_default()).trim_end());
        assert_eq!(mechanisms(&mut stream).await.contains("EXTERNAL"), expected.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_external_leaves_nobody() {
    let (server, issuer) = (Certificate::new("external-refused"), Issuer::new("refused"));
    let house = house(issuer.tls(&server, TlsMode::Ldaps));
    let mut stream = connect(&with(server.phone(&[&TLS13]), issuer.pbx(|_| ())), house.connect(4096)).await.unwrap();
    for (request, expected) in [
        (frame(1, &external(Some(b"dn:CN=admin,O=Example"))), "1 bind 49"),
        (frame(1, &external(Some(b"u:admin"))), "1 bind 49"),
        (frame(1, &external(Some(PBX.as_bytes()))), "1 bind 49"),
        (frame(1, &external(Some(b"\0"))), "1 bind 49"),
        (frame_with_control(1, &external(None), "1.2.3", true), "1 bind 12"),
    ] {
        assert_eq!(last(&mut stream, &external(None)).await, "1 bind 0");
        assert_eq!(ask(&mut stream, &request).await.unwrap(), [expected]);
        assert_eq!(who_am_i(&mut stream).await, "1 extended 0");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_certificate_external_proves_nothing() {
    let (server, issuer) = (Certificate::new("external-without"), Issuer::new("without"));
    let asks = house(issuer.tls(&server, TlsMode::Ldaps));
    let only_verifies = house(ListenerTls { client_name: None, ..issuer.tls(&server, TlsMode::Ldaps) });
    let never_asks = house(server.listener_tls(TlsMode::Ldaps));
    let bare = Arc::new(server.phone(&[&TLS13]));
    let certified = with(server.phone(&[&TLS13]), issuer.pbx(|_| ()));
    for (house, client, expected) in
        [(&asks, &bare, 48), (&only_verifies, &certified, 7), (&only_verifies, &bare, 7), (&never_asks, &certified, 7)]
    {
        let mut stream = connect(client, house.connect(4096)).await.unwrap();
        for authorization in [None, Some(&b""[..]), Some(b"dn:CN=PBX 1,O=Example")] {
            assert_eq!(last(&mut stream, &external(authorization)).await, format!("1 bind {expected}"));
        }
        assert_eq!(mechanisms(&mut stream).await, "1 entry  supportedSASLMechanisms=PLAIN");
        assert_eq!(who_am_i(&mut stream).await, "1 extended 0");
    }
}

/// Is a client with that certificate hung up on in its handshake? Under TLS 1.3 it learns that with the first answer.
async fn is_hung_up_on(house: &House, client: &Arc<ClientConfig>) -> bool {
    match connect(client, house.connect(4096)).await {
        Ok(mut stream) => ask(&mut stream, &requests::who_am_i(1)).await.is_none(),
        Err(_) => true,
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_does_not_verify_ends_the_handshake() {
    let (server, issuer, stranger) = (Certificate::new("external-bad"), Issuer::new("bad"), Issuer::new("bad-stranger"));
    let house = house(issuer.tls(&server, TlsMode::Ldaps));
    for version in [&TLS12, &TLS13] {
        for (certificate, expected) in [
            (issuer.pbx(|_| ()), false),
            (stranger.pbx(|_| ()), true),
            (issuer.pbx(|params| params.not_after = date_time_ymd(2020, 1, 1)), true),
            (issuer.pbx(|params| params.not_before = date_time_ymd(4000, 1, 1)), true),
        ] {
            assert_eq!(is_hung_up_on(&house, &with(server.phone(&[version]), certificate)).await, expected, "{version:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_keeps_the_name_for_as_long_as_its_ca_is_trusted() {
    let (server, issuer, stranger) = (Certificate::new("external-resumed"), Issuer::new("resumed"), Issuer::new("resumed-stranger"));
    for version in [&TLS12, &TLS13] {
        std::fs::write(&issuer.file, issuer.ca.pem()).unwrap();
        let house = house(issuer.tls(&server, TlsMode::Ldaps));
        let configured = &house.config.listeners[0];
        let tls = Arc::new(Tls::load(configured.tls.as_ref().unwrap()).unwrap());
        let (pipeline, metrics) = (Arc::clone(&house.pipeline), Arc::clone(&house.metrics));
        let service = Arc::new(Service::new(0, configured, &house.config.limits, Some(Arc::clone(&tls)), pipeline, metrics));
        let dial = || {
            let (near, far) = duplex(4096);
            tokio::spawn(Arc::clone(&service).serve(far, "127.0.0.1:40000".parse().unwrap(), house.lifecycle.clone()));
            near
        };
        let client = with(server.phone(&[version]), issuer.pbx(|_| ()));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = connect(&client, dial()).await.unwrap();
            assert_eq!(last(&mut stream, &external(None)).await, "1 bind 0", "{version:?} {expected:?}");
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?}");
        }
        std::fs::write(&issuer.file, stranger.ca.pem()).unwrap();
        tls.replace(tls.renewed(configured.tls.as_ref().unwrap()).unwrap());
        let mut stream = connect(&client, dial()).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        assert!(ask(&mut stream, &frame(1, &external(None))).await.is_none(), "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_no_password_where_searches_run_as_the_client() {
    let (server, issuer) = (Certificate::new("external-client"), Issuer::new("client"));
    let tls = ListenerTls { client_name: Some(ClientName::Dns), ..issuer.tls(&server, TlsMode::Ldaps) };
    let house = house_with(tls, |config| {
        config.accesses[0].clients = Clients::Bound;
        let DirectoryKind::Upstream(upstream) = &mut config.directories[0].kind else { panic!("it is one") };
        upstream.search_as = SearchAs::Client;
    });
    // Somebody of the same name has proved a password, and memory holds an answer for them.
    let mut owner = connect(&Arc::new(server.phone(&[&TLS13])), house.connect(4096)).await.unwrap();
    assert_eq!(granted(&house, &mut owner, &bind("pbx.corp.example", "secret")).await, "1 bind 0");
    assert_eq!(who_am_i(&mut owner).await, "1 extended 0 u:pbx.corp.example");
    let search = search_for("dc=corp", "(cn=a)", &[]);
    assert_eq!(granted(&house, &mut owner, &search).await, "1 done 0");
    assert_eq!(last(&mut owner, &search).await, "1 done 0", "from memory");
    let asked = house.directory.times_asked();

    let mut stream = connect(&with(server.phone(&[&TLS13]), issuer.pbx(|_| ())), house.connect(4096)).await.unwrap();
    assert_eq!(last(&mut stream, &external(None)).await, "1 bind 0");
    assert_eq!(last(&mut stream, &search).await, "1 done 50");
    assert_eq!(last(&mut stream, &requests::delete_of("cn=a,dc=corp")).await, "1 delete 50");
    assert_eq!(house.directory.times_asked(), asked);
}
