//! A domain controller that does what a test's script says, on a loopback port, with or without TLS.
//!
//! A script sees every request and says what follows; where it says nothing, [`usual`] answers as a controller that is well. Tests can also
//! speak on a connection by hand, and read afterwards what was heard.

use bytes::BytesMut;
use redial::ldap::control::{PagedResults, parse_controls, write_control};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::frame::frame_length;
use redial::ldap::message::{Authentication, Bind, Request, Scope, Search};
use redial::ldap::response::{write_entry_op, write_extended_response, write_result_op};
use redial::ldap::{Envelope, MessageId, ResultCode, oid};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// One request as the controller got it.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// The number of the connection, from 0 in the order of their arrival.
    pub(crate) connection: usize,
    /// Its messageID.
    pub(crate) id: u32,
    /// The tag of its protocolOp.
    pub(crate) tag: u8,
    /// The protocolOp.
    pub(crate) op: Vec<u8>,
    /// The contents of its controls element.
    pub(crate) controls: Option<Vec<u8>>,
}

/// What a controller does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Sends these octets as they are.
    Say(Vec<u8>),
    /// Goes on with TLS.
    StartTls,
    /// Closes the connection.
    Close,
}

type Script = dyn Fn(&Heard) -> Option<Vec<Act>> + Send + Sync;

/// How TLS begins at the controller.
#[derive(Clone)]
pub(crate) enum Security {
    /// Never.
    Plain,
    /// With the first octet.
    Ldaps(Arc<ServerConfig>),
    /// When it is asked for.
    StartTls(Arc<ServerConfig>),
}

/// A controller on a loopback port. It ends when it is dropped.
pub(crate) struct ScriptedController {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    up: watch::Sender<bool>,
}

struct State {
    script: Box<Script>,
    security: Security,
    heard: Mutex<Vec<Heard>>,
    connections: Mutex<Vec<mpsc::UnboundedSender<Act>>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    news: watch::Sender<()>,
}

impl ScriptedController {
    /// Starts one that follows `script`, without TLS.
    pub(crate) async fn plain(script: impl Fn(&Heard) -> Option<Vec<Act>> + Send + Sync + 'static) -> Self {
        Self::start(Security::Plain, script).await
    }

    /// Starts one that follows `script`.
    pub(crate) async fn start(security: Security, script: impl Fn(&Heard) -> Option<Vec<Act>> + Send + Sync + 'static) -> Self {
        let state = Arc::new(State {
            script: Box::new(script),
            security,
            heard: Mutex::default(),
            connections: Mutex::default(),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            news: watch::Sender::new(()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut this = Self { address: listener.local_addr().unwrap(), state, up: watch::Sender::new(true) };
        this.listen(listener);
        this
    }

    /// Closes the port and every connection.
    pub(crate) fn stop(&mut self) {
        self.up.send_replace(false);
    }

    /// Listens on the same port again.
    pub(crate) async fn start_again(&mut self) {
        self.up = watch::Sender::new(true);
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        self.listen(listener);
    }

    /// Everything heard so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.state.heard.lock().unwrap().clone()
    }

    /// Forgets what was heard: a long run would fill the memory with it.
    pub(crate) fn forget(&self) {
        self.state.heard.lock().unwrap().clear();
    }

    /// The requests with this tag heard so far.
    pub(crate) fn heard_with(&self, tag: u8) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| heard.tag == tag).collect()
    }

    /// Waits until `count` requests with this tag were heard.
    pub(crate) async fn wait_for(&self, tag: u8, count: usize) -> Vec<Heard> {
        let mut news = self.state.news.subscribe();
        let waiting = async {
            loop {
                let heard = self.heard_with(tag);
                if heard.len() >= count {
                    return heard;
                }
                news.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{count} requests with tag {tag:#x} did not come"))
    }

    /// Does something on a connection, whatever the script says.
    pub(crate) fn act(&self, connection: usize, act: Act) {
        let _ = self.state.connections.lock().unwrap()[connection].send(act);
    }

    /// Connections that stand, and the most that ever stood at once.
    pub(crate) fn connections(&self) -> (usize, usize) {
        (self.state.open.load(Ordering::SeqCst), self.state.most_open.load(Ordering::SeqCst))
    }

    fn listen(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let mut up = self.up.subscribe();
        let for_connections = up.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        tokio::spawn(Arc::clone(&state).serve(stream, for_connections.clone()));
                    }
                    _ = up.wait_for(|up| !up) => return,
                }
            }
        });
    }
}

impl State {
    async fn serve(self: Arc<Self>, stream: TcpStream, mut up: watch::Receiver<bool>) {
        let (sender, acts) = mpsc::unbounded_channel();
        let number = {
            let mut connections = self.connections.lock().unwrap();
            connections.push(sender);
            connections.len() - 1
        };
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        tokio::select! {
            _ = self.converse(number, stream, acts) => {}
            _ = up.wait_for(|up| !up) => {}
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    async fn converse(&self, connection: usize, stream: TcpStream, mut acts: mpsc::UnboundedReceiver<Act>) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match &self.security {
            Security::Ldaps(config) => Box::new(TlsAcceptor::from(Arc::clone(config)).accept(stream).await?),
            Security::Plain | Security::StartTls(_) => Box::new(stream),
        };
        let mut inbox = BytesMut::new();
        loop {
            let mut todo = Vec::new();
            tokio::select! {
                Some(act) = acts.recv() => todo.push(act),
                count = stream.read_buf(&mut inbox) => if count? == 0 { return Ok(()) },
            }
            while let Some(heard) = next_request(connection, &mut inbox) {
                if heard.tag == op::UNBIND_REQUEST {
                    self.hear(heard);
                    return Ok(());
                }
                let said = (self.script)(&heard).unwrap_or_else(|| usual(&heard));
                self.hear(heard);
                todo.extend(said);
            }
            for act in todo {
                match act {
                    Act::Say(octets) => stream.write_all(&octets).await?,
                    Act::Close => return stream.shutdown().await,
                    Act::StartTls => {
                        let Security::StartTls(config) = &self.security else { panic!("no certificate for StartTLS") };
                        stream = Box::new(TlsAcceptor::from(Arc::clone(config)).accept(stream).await?);
                    }
                }
            }
            stream.flush().await?;
        }
    }

    fn hear(&self, heard: Heard) {
        self.heard.lock().unwrap().push(heard);
        self.news.send_replace(());
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn next_request(connection: usize, inbox: &mut BytesMut) -> Option<Heard> {
    let length = frame_length(inbox, 1 << 24).expect("a request that can be framed")?;
    if length > inbox.len() {
        return None;
    }
    let frame = inbox.split_to(length);
    let envelope = Envelope::parse(&frame).expect("a well-formed request");
    Some(Heard {
        connection,
        id: envelope.message_id.number(),
        tag: envelope.op_tag,
        op: envelope.op.to_vec(),
        controls: envelope.controls.map(<[u8]>::to_vec),
    })
}

impl Heard {
    /// The base of a search.
    pub(crate) fn base(&self) -> String {
        self.search(|search| search.base_object.to_owned())
    }

    /// The sizeLimit of a search.
    pub(crate) fn size_limit(&self) -> u32 {
        self.search(|search| search.size_limit)
    }

    /// It asks for the rootDSE.
    pub(crate) fn is_root_dse(&self) -> bool {
        self.tag == op::SEARCH_REQUEST && self.base().is_empty()
    }

    /// The number in an Abandon.
    pub(crate) fn abandoned(&self) -> u32 {
        self.op[2..].iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
    }

    /// Size and cookie of the paged results control, if there is one.
    pub(crate) fn page(&self) -> Option<(u32, Vec<u8>)> {
        let controls = parse_controls(self.controls.as_deref()).unwrap();
        let control = controls.iter().find(|control| control.oid == oid::PAGED_RESULTS)?;
        let page = PagedResults::parse(control.value.unwrap()).unwrap();
        Some((page.size, page.cookie.to_vec()))
    }

    /// A message with this operation and the request's messageID.
    pub(crate) fn message(&self, op: &[u8]) -> Act {
        self.message_with(op, None)
    }

    /// The same with controls.
    pub(crate) fn message_with(&self, op: &[u8], controls: Option<&[u8]>) -> Act {
        let mut out = Vec::new();
        write_envelope(&mut out, MessageId::new(self.id).unwrap(), op, controls);
        Act::Say(out)
    }

    /// An entry of that name.
    pub(crate) fn entry(&self, name: &str) -> Act {
        let mut out = Vec::new();
        write_entry_op(&mut out, name, [("cn", [name.as_bytes()])]);
        self.message(&out)
    }

    /// The response that ends the request.
    pub(crate) fn done(&self, code: ResultCode) -> Act {
        self.message(&result(redial::ldap::response::response_tag(self.tag).unwrap(), code))
    }

    /// The end of a page.
    pub(crate) fn page_done(&self, cookie: &[u8]) -> Act {
        let mut controls = Vec::new();
        write_control(&mut controls, oid::PAGED_RESULTS, false, Some(&PagedResults { size: 0, cookie }.encode()));
        self.message_with(&result(op::SEARCH_RESULT_DONE, ResultCode::SUCCESS), Some(&controls))
    }

    /// Base, scope, filter and attributes of a search.
    pub(crate) fn question(&self) -> (String, Scope, Filter, Vec<String>) {
        let owned = self.search(|search| search.to_owned().unwrap());
        (owned.base_object, owned.scope, owned.filter, owned.attributes)
    }

    /// Name and password of a simple bind.
    pub(crate) fn bind(&self) -> (String, Vec<u8>) {
        self.request(|request| match request {
            Request::Bind(Bind { name, authentication: Authentication::Simple(password), .. }) => (name.to_owned(), password.to_vec()),
            _ => panic!("not a simple bind"),
        })
    }

    fn search<T>(&self, look: impl FnOnce(&Search<'_>) -> T) -> T {
        self.request(|request| match request {
            Request::Search(search) => look(&search),
            _ => panic!("not a search"),
        })
    }

    fn request<T>(&self, look: impl FnOnce(Request<'_>) -> T) -> T {
        let mut frame = Vec::new();
        write_envelope(&mut frame, MessageId::new(1).unwrap(), &self.op, None);
        let envelope = Envelope::parse(&frame).unwrap();
        look(Request::parse(&envelope).expect("a well-formed request"))
    }
}

/// What a controller that is well does: binds succeed, the rootDSE announces paging and domain scope, a search finds its base.
pub(crate) fn usual(heard: &Heard) -> Vec<Act> {
    match heard.tag {
        op::SEARCH_REQUEST if heard.is_root_dse() => {
            vec![root_dse(heard, &[oid::PAGED_RESULTS, oid::DOMAIN_SCOPE]), heard.done(ResultCode::SUCCESS)]
        }
        op::SEARCH_REQUEST => vec![heard.entry(&heard.base()), heard.done(ResultCode::SUCCESS)],
        op::EXTENDED_REQUEST => {
            let mut out = Vec::new();
            write_extended_response(&mut out, MessageId::new(heard.id).unwrap(), ResultCode::SUCCESS, "", None, None);
            let is_start_tls = heard.op.windows(oid::START_TLS.len()).any(|part| part == oid::START_TLS.as_bytes());
            if is_start_tls { vec![Act::Say(out), Act::StartTls] } else { vec![Act::Say(out)] }
        }
        op::COMPARE_REQUEST => vec![heard.done(ResultCode::COMPARE_TRUE)],
        op::ABANDON_REQUEST => vec![],
        _ => vec![heard.done(ResultCode::SUCCESS)],
    }
}

/// A rootDSE that announces these controls.
pub(crate) fn root_dse(heard: &Heard, controls: &[&str]) -> Act {
    let mut out = Vec::new();
    write_entry_op(&mut out, "", [("supportedControl", controls.iter().map(|oid| oid.as_bytes()).collect::<Vec<_>>())]);
    heard.message(&out)
}

fn result(tag: u8, code: ResultCode) -> Vec<u8> {
    let mut out = Vec::new();
    write_result_op(&mut out, tag, code, "", "");
    out
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Nothing: it is for `localhost`, 127.0.0.1 and dc1.corp.example.
    Good,
    /// It is for another name.
    OtherName,
    /// Its time is over.
    Expired,
    /// The CA did not sign it.
    SelfSigned,
}

/// A CA's PEM file, and a server's TLS with a certificate of that kind.
pub(crate) fn certificate(kind: Certificate) -> (PathBuf, Arc<ServerConfig>) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);

    let names: &[&str] = if kind == Certificate::OtherName { &["dc9.example"] } else { &["localhost", "127.0.0.1", "dc1.corp.example"] };
    let mut leaf = rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    if kind == Certificate::Expired {
        leaf.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let signed = if kind == Certificate::SelfSigned { leaf.self_signed(&key) } else { leaf.signed_by(&key, &issuer) }.unwrap();

    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ca-{}-{number}.pem", std::process::id()));
    std::fs::write(&path, ca_pem).unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (path, Arc::new(config.with_no_client_auth().with_single_cert(vec![signed.der().clone()], key).unwrap()))
}

/// For anything that a test waits for; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(20);
