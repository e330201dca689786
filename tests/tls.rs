//! TLS with phones: LDAPS, StartTLS, resumption, and peers that mean no good. Without sockets, under a paused clock.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::certificates::Certificate;
use common::hearing::{ask, settle};
use common::house::House;
use common::requests::{bind, extended, frame, in_words, search, unbind, who_am_i};
use redial::config::TlsMode;
use redial::ldap::frame::frame_length;
use redial::ldap::oid;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SignatureScheme};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn house(certificate: &Certificate, mode: TlsMode, toml: &str) -> House {
    House::with("", toml, |config| config.listeners[0].tls = Some(certificate.listener_tls(mode)))
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin>(phone: &Arc<ClientConfig>, stream: S) -> TlsStream<S> {
    let name = ServerName::try_from("phonebook.example").unwrap();
    TlsConnector::from(Arc::clone(phone)).connect(name, stream).await.unwrap()
}

fn start_tls(message_id: u32) -> Vec<u8> {
    frame(message_id, &extended(oid::START_TLS, None))
}

#[tokio::test(start_paused = true)]
async fn ldaps_carries_a_session() {
    let certificate = Certificate::new("ldaps");
    let house = house(&certificate, TlsMode::Ldaps, "");
    for version in [&TLS12, &TLS13] {
        let phone = Arc::new(certificate.phone(&[version]));
        let mut stream = connect(&phone, house.connect(4096)).await;
        assert_eq!(ask(&mut stream, &who_am_i(1)).await, "1 extended 0");
        // TLS is up, and it is no StartTLS listener.
        assert_eq!(ask(&mut stream, &start_tls(2)).await, "2 extended 1");
        stream.write_all(&frame(3, &unbind())).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "TLS ends with a close_notify");
    }
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_comes_again_resumes_its_session() {
    let certificate = Certificate::new("resume");
    let house = house(&certificate, TlsMode::Ldaps, "");
    for version in [&TLS12, &TLS13] {
        let phone = Arc::new(certificate.phone(&[version]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut stream = connect(&phone, house.connect(4096)).await;
            assert_eq!(ask(&mut stream, &who_am_i(1)).await, "1 extended 0");
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_hello_that_comes_octet_by_octet_works() {
    let certificate = Certificate::new("octets");
    let house = house(&certificate, TlsMode::Ldaps, "");
    for version in [&TLS12, &TLS13] {
        let phone = Arc::new(certificate.phone(&[version]));
        let mut stream = connect(&phone, OctetByOctet { stream: house.connect(4096), rests: false }).await;
        assert_eq!(ask(&mut stream, &who_am_i(1)).await, "1 extended 0");
    }
}

/// Writes single octets, and lets the other side run after each.
struct OctetByOctet {
    stream: DuplexStream,
    rests: bool,
}

impl AsyncWrite for OctetByOctet {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.rests = !self.rests;
        if self.rests {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, &octets[..1])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for OctetByOctet {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

#[tokio::test(start_paused = true)]
async fn start_tls_keeps_the_session_and_encrypts_the_rest() {
    let certificate = Certificate::new("starttls");
    let house = house(&certificate, TlsMode::StartTlsRequired, "");
    let mut plain = house.connect(4096);
    assert_eq!(ask(&mut plain, &frame(1, &search())).await, "1 done 13");
    assert_eq!(ask(&mut plain, &frame(2, &bind("cn=anna,dc=corp", "secret"))).await, "2 bind 13");
    assert_eq!(ask(&mut plain, &start_tls(3)).await, "3 extended 0");
    let mut stream = connect(&Arc::new(certificate.phone(&[&TLS13])), plain).await;
    assert_eq!(ask(&mut stream, &who_am_i(4)).await, "4 extended 0");
    assert_eq!(ask(&mut stream, &start_tls(5)).await, "5 extended 1");
}

#[tokio::test(start_paused = true)]
async fn octets_behind_a_start_tls_request_close_the_connection_however_they_are_cut() {
    let certificate = Certificate::new("injection");
    let house = house(&certificate, TlsMode::StartTlsOptional, "");
    let request = start_tls(1);
    let octets = [request.as_slice(), &who_am_i(2)].concat();
    for cut in 0..=octets.len() {
        let mut stream = house.connect(4096);
        for segment in [&octets[..cut], &octets[cut..]] {
            // The other side may have closed it by now, which is what this is about.
            let _ = stream.write_all(segment).await;
            settle().await;
        }
        let mut received = Vec::new();
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut received)).await;
        assert!(closed.is_ok(), "cut at {cut}: the connection is still open");
        let first = in_words(&received[..frame_length(&received, usize::MAX).unwrap().unwrap()]);
        let expected = if cut == request.len() { "1 extended 0" } else { "notice 2" };
        assert_eq!(first, expected, "cut at {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn ldap_without_tls_on_the_ldaps_port_is_closed() {
    let certificate = Certificate::new("plain");
    let house = house(&certificate, TlsMode::Ldaps, "");
    for octets in [who_am_i(1), b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x80, 0x2e, 1, 0, 2], vec![22, 3, 1, 0xff, 0xff, 1]] {
        let mut stream = house.connect(4096);
        stream.write_all(&octets).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_only_speaks_tls_1_0_is_told_by_an_alert() {
    let certificate = Certificate::new("old");
    let house = house(&certificate, TlsMode::Ldaps, "");
    let mut body = vec![3, 1];
    body.extend([9; 32]);
    body.extend([0, 0, 4, 0, 0x2f, 0, 0x0a, 1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    let mut stream = house.connect(4096);
    stream.write_all(&hello).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.first(), Some(&21), "an alert record: {received:02x?}");
}

#[tokio::test(start_paused = true)]
async fn silent_and_dawdling_peers_hold_up_nobody_and_go_after_their_time() {
    let certificate = Certificate::new("silent");
    let house = house(&certificate, TlsMode::Ldaps, "[limits]\nhandshakes = 1\nhandshake_timeout = \"10s\"");
    let mut idlers = Vec::new();
    for number in 0..500 {
        let mut stream = house.connect(4096);
        // Nothing, a piece of a header, or a piece of a hello.
        stream.write_all(&[22, 3, 1, 1, 0, 1, 0, 0, 0xfc][..number % 10]).await.unwrap();
        idlers.push(stream);
    }
    settle().await;
    let before = Instant::now();
    let mut stream = connect(&Arc::new(certificate.phone(&[&TLS13])), house.connect(4096)).await;
    assert_eq!(ask(&mut stream, &who_am_i(1)).await, "1 extended 0");
    assert_eq!(before.elapsed(), Duration::ZERO, "it waited for the silent ones");

    for mut idler in idlers {
        assert_eq!(idler.read(&mut [0]).await.unwrap(), 0);
    }
    assert!((10..12).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn peers_that_stop_after_their_hello_hold_up_nobody() {
    let certificate = Certificate::new("stop");
    let house = house(&certificate, TlsMode::Ldaps, "[limits]\nhandshakes = 1");
    let phone = Arc::new(certificate.phone(&[&TLS13]));
    let mut idlers = Vec::new();
    for _ in 0..50 {
        let (near, far) = tokio::io::duplex(4096);
        house.connect_over(far);
        idlers.push(hello_only(&phone, near).await);
    }
    let before = Instant::now();
    let mut stream = connect(&phone, house.connect(4096)).await;
    assert_eq!(ask(&mut stream, &who_am_i(1)).await, "1 extended 0");
    assert_eq!(before.elapsed(), Duration::ZERO, "it waited for the others");
    drop(idlers);
}

/// Sends a whole ClientHello and nothing after it.
async fn hello_only(phone: &Arc<ClientConfig>, mut stream: DuplexStream) -> DuplexStream {
    let name = ServerName::try_from("phonebook.example").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::clone(phone), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    stream.write_all(&hello).await.unwrap();
    settle().await;
    stream
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_asked_of_a_phone_only_where_one_is_configured() {
    let certificate = Certificate::new("asked");
    for (asks, expected) in [(false, 0), (true, 1)] {
        let house = House::with("", "", |config| {
            let mut tls = certificate.listener_tls(TlsMode::Ldaps);
            tls.client_ca = asks.then(|| tls.certificate.clone());
            config.listeners[0].tls = Some(tls);
        });
        let asked = Arc::new(Asked(AtomicUsize::new(0)));
        let mut phone = certificate.phone(&[&TLS13]);
        phone.client_auth_cert_resolver = Arc::clone(&asked) as Arc<dyn ResolvesClientCert>;
        let mut stream = connect(&Arc::new(phone), house.connect(4096)).await;
        assert_eq!(ask(&mut stream, &who_am_i(1)).await, "1 extended 0", "a phone without a certificate is served");
        assert_eq!(asked.0.load(Ordering::SeqCst), expected);
    }
}

/// Counts how often a certificate is asked for, and has none.
#[derive(Debug)]
struct Asked(AtomicUsize);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}
