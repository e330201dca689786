//! What a phone's TLS connection costs the server, beside a server that does nothing but TLS: connect, full handshake, bind from memory, search from
//! memory, close.
//!
//!     cargo bench --bench tls                                     RSA-2048 and P-256, the two servers in turn, 7 rounds of 300 connections
//!     cargo bench --bench tls -- --rounds 15 --connections 1000
//!
//! The other server is tokio-rustls alone: it handshakes, reads, and writes the same octets, which the phones verify. The CPU time is that of the
//! server's threads as the scheduler counts it (`schedstat`). Ratios are of times taken in the same round; medians of them count.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "it is a program of its own")]

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use redial::config::load::load_text;
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Replies, Reply};
use redial::downstream::{Service, Tls};
use redial::ldap::ber::{tag, write_constructed, write_element, write_integer};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::frame::frame_length;
use redial::ldap::message::{Scope, SearchRequest};
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::ldap::{MessageId, ResultCode};
use redial::lifecycle::{Lifecycle, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::{Current, Pipeline};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fs::{Permissions, set_permissions, write};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn main() {
    // Cargo says `--bench` to every bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [serve, kind, folder] = arguments.as_slice()
        && serve == "serve"
    {
        return serve_until_alone(kind, Path::new(folder));
    }
    let value = |name: &str| arguments.iter().position(|argument| argument == name).map(|place| arguments[place + 1].parse().unwrap());
    let (rounds, connections) = (value("--rounds").unwrap_or(7), value("--connections").unwrap_or(300));
    println!("{:<12}{:>22}{:>14}{:>18}", "certificate", "tokio-rustls, µs CPU", "Redial, µs CPU", "Redial / the other");
    for (name, algorithm) in [("RSA-2048", &PKCS_RSA_SHA256), ("P-256", &PKCS_ECDSA_P256_SHA256)] {
        let site = Site::new(name, algorithm);
        let servers = ["bare", "redial"].map(|kind| Server::start(kind, &site.folder));
        // What is asked for the first time is no answer from memory.
        for server in &servers {
            site.measure(server, AT_ONCE);
        }
        let measured: Vec<[f64; 2]> = (0..rounds).map(|_| servers.each_ref().map(|server| site.measure(server, connections))).collect();
        let [bare, redial] = [0, 1].map(|which| median(measured.iter().map(|round| round[which])));
        let ratio = median(measured.iter().map(|[bare, redial]| redial / bare));
        println!("{name:<12}{bare:>22.1}{redial:>14.1}{ratio:>18.3}");
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A certificate, and phones that trust it.
struct Site {
    folder: PathBuf,
    phone: Arc<ClientConfig>,
}

impl Site {
    fn new(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-tls-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
        write(folder.join("cert.pem"), certificate.pem()).unwrap();
        write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        set_permissions(folder.join("key.pem"), Permissions::from_mode(0o600)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let mut phone = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
        phone.resumption = Resumption::disabled();
        Self { folder, phone: Arc::new(phone) }
    }

    /// The server's CPU time for one connection, in microseconds.
    fn measure(&self, server: &Server, connections: usize) -> f64 {
        let before = server.cpu_nanoseconds();
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let left = Arc::new(AtomicUsize::new(connections));
            let mut phones = JoinSet::new();
            for _ in 0..AT_ONCE {
                let (left, phone, address) = (Arc::clone(&left), TlsConnector::from(Arc::clone(&self.phone)), server.address);
                phones.spawn(async move {
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                        call(&phone, address).await;
                    }
                });
            }
            while let Some(ended) = phones.join_next().await {
                ended.unwrap();
            }
        });
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        let each = (server.cpu_nanoseconds() - before) as f64 / 1e3 / connections as f64;
        each
    }
}

/// One life of a connection, with the right answers.
async fn call(phone: &TlsConnector, address: SocketAddr) {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream = phone.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap();
    for (request, answer) in [(bind(), bind_answer()), (search(), search_answer())] {
        stream.write_all(&request).await.unwrap();
        let mut received = vec![0; answer.len()];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, answer);
    }
    stream.write_all(&frame(3, &[op::UNBIND_REQUEST, 0])).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// A server in a process of its own, which is this program again, and ends with its standard input.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(kind: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg("serve").arg(kind).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { address: line.trim().parse().unwrap_or_else(|_| panic!("the {kind} server did not start")), child }
    }

    /// CPU time that its threads have had.
    fn cpu_nanoseconds(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let times = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default());
        times.filter_map(|time| time.split(' ').next()?.parse::<u64>().ok()).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn serve_until_alone(kind: &str, folder: &Path) {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let server = if kind == "bare" { Kind::bare(folder) } else { Kind::redial(folder) };
    runtime.spawn(accept(listener, server));
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[derive(Clone)]
enum Kind {
    Bare(TlsAcceptor),
    Redial(Arc<Service>, Lifecycle),
}

impl Kind {
    /// With the same session tickets as Redial.
    fn bare(folder: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(folder.join("cert.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        config.send_tls13_tickets = 1;
        Self::Bare(TlsAcceptor::from(Arc::new(config)))
    }

    fn redial(folder: &Path) -> Self {
        let config = load_text(CONFIGURATION, folder, true).unwrap_or_else(|rejected| panic!("{rejected}")).config;
        let metrics = Arc::new(Metrics::new(&config));
        let pipeline = Arc::new(Pipeline::new(&config, vec![Arc::new(FourPeople)], Arc::clone(&metrics)));
        let listener = &config.listeners[0];
        let tls = Arc::new(Tls::load(listener.tls.as_ref().unwrap()).unwrap());
        let service = Service::new(0, listener, &config.limits, Some(tls), Arc::new(Current::new(pipeline)), metrics);
        let (ending, lifecycle) = lifecycle();
        // It serves for as long as the process lives.
        std::mem::forget(ending);
        Self::Redial(Arc::new(service), lifecycle)
    }
}

async fn accept(listener: TcpListener, server: Kind) {
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        match server.clone() {
            Kind::Bare(acceptor) => drop(tokio::spawn(answer(acceptor, stream))),
            Kind::Redial(service, lifecycle) => drop(tokio::spawn(service.serve(stream, peer, lifecycle))),
        }
    }
}

/// Waits for each request, writes the answer, closes.
async fn answer(acceptor: TlsAcceptor, stream: TcpStream) {
    let mut stream = acceptor.accept(stream).await.unwrap();
    let mut received = Vec::with_capacity(1024);
    for answer in [bind_answer(), search_answer(), Vec::new()] {
        received.clear();
        while frame_length(&received, usize::MAX).unwrap().is_none_or(|length| received.len() < length) {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "closed");
        }
        stream.write_all(&answer).await.unwrap();
        stream.flush().await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

/// A directory that takes every password and finds the same four people for any search.
#[derive(Debug)]
struct FourPeople;

impl Directory for FourPeople {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        let done = |tag| Reply::Done(Done { code: ResultCode::SUCCESS, op: result_op(tag).into(), controls: None });
        let replies = match operation.request {
            Asked::Bind { .. } => vec![done(op::BIND_RESPONSE)],
            Asked::Search { .. } => entry_ops().map(|op| Reply::Entry(Bytes::from(op))).chain([done(op::SEARCH_RESULT_DONE)]).collect(),
            _ => return Box::pin(std::future::ready(Err(DirectoryError::NotSupported))),
        };
        Box::pin(std::future::ready(Ok(Replies::Ready(replies.into_iter()))))
    }

    fn is_available(&self) -> bool {
        true
    }
}

fn bind() -> Vec<u8> {
    let mut request = Vec::new();
    write_constructed(&mut request, op::BIND_REQUEST, |out| {
        write_integer(out, tag::INTEGER, 3);
        write_element(out, tag::OCTET_STRING, b"cn=phone,dc=example,dc=com");
        write_element(out, SIMPLE, b"a password");
    });
    frame(1, &request)
}

fn bind_answer() -> Vec<u8> {
    frame(1, &result_op(op::BIND_RESPONSE))
}

fn search() -> Vec<u8> {
    let search = SearchRequest {
        base_object: "dc=example,dc=com".to_owned(),
        scope: Scope::WholeSubtree,
        deref_aliases: 0,
        size_limit: 50,
        time_limit: 0,
        types_only: false,
        filter: Filter::parse("(|(telephoneNumber=+49 30 12345678)(mobile=+49 30 12345678))").unwrap(),
        attributes: ["cn", "sn", "telephoneNumber", "mobile"].map(str::to_owned).to_vec(),
    };
    frame(2, &search.encode())
}

fn search_answer() -> Vec<u8> {
    entry_ops().chain([result_op(op::SEARCH_RESULT_DONE)]).flat_map(|op| frame(2, &op)).collect()
}

fn entry_ops() -> impl Iterator<Item = Vec<u8>> {
    (0..4).map(|number| {
        let attributes =
            [("cn", format!("Johanna Person {number}")), ("sn", "Person".to_owned()), ("mobile", "+49 30 12345678".to_owned())];
        let mut octets = Vec::new();
        let name = format!("cn=Johanna Person {number},ou=people,dc=example,dc=com");
        write_entry_op(&mut octets, &name, attributes.iter().map(|(attribute, value)| (*attribute, [value.as_bytes()])));
        octets
    })
}

fn result_op(tag: u8) -> Vec<u8> {
    let mut octets = Vec::new();
    write_result_op(&mut octets, tag, ResultCode::SUCCESS, "", "");
    octets
}

fn frame(message_id: u32, op: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    write_envelope(&mut octets, MessageId::new(message_id).unwrap(), op, None);
    octets
}

/// What of the configuration matters.
const CONFIGURATION: &str = r#"
[[listener]]
address = "127.0.0.1:0"
tls = { certificate = "cert.pem", key = "key.pem" }
[directory.people]
base = "dc=example,dc=com"
servers = ["ldap://127.0.0.1"]
start_tls = false
bind_dn = "cn=redial,dc=example,dc=com"
password = "a password"
[[access]]
name = "phones"
clients = "bound"
bases = ["dc=example,dc=com"]
attributes = ["*"]
[cache]
ttl = "1d"
[binds]
ttl = "5m"
"#;

const HOST: &str = "phonebook.example";
/// Phones that connect at the same time.
const AT_ONCE: usize = 8;
/// The authentication choice "simple" (RFC 4511 section 4.2).
const SIMPLE: u8 = 0x80;
