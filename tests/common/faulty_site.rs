//! Two controllers in memory, each with what may go wrong with one, over streams without sockets, so that the clock may be paused.

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redial::config::Server;
use redial::ldap::control::{PagedResults, parse_controls, write_control};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::message::Request;
use redial::ldap::response::{response_tag, write_entry_op, write_notice_of_disconnection, write_result_op};
use redial::ldap::{Envelope, MessageId, ResultCode, ber, oid};
use redial::upstream::{Dial, Stream};
use rustls::ServerConfig;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// What is wrong with a controller now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// Connections are closed, and new ones refused.
    Refused,
    /// Nothing comes back, and nothing is closed.
    BlackHole,
    /// It was started anew, and says nothing in a handshake.
    TlsStall,
    /// It was started anew with a certificate whose time is over.
    Expired,
    /// It was started anew with a certificate for another name.
    Misnamed,
    /// It breaks off in the middle of an answer.
    Reset,
    /// It stops in the middle of an answer, and for good.
    Stall,
    /// It announces that it disconnects, and does, whatever it is asked.
    Notice,
    /// It answers everything with this code.
    Says(ResultCode),
    /// It takes ten times as long.
    Slow,
    /// It answers with octets that are no LDAP.
    Garbage,
    /// It announces a message of a gibibyte.
    AbsurdLength,
    /// It answers under a messageID that nobody used.
    ForeignId,
    /// It says everything twice.
    Duplicate,
    /// It answers only after whoever asked has given up.
    Late,
    /// It sends 10,000 search references with each result.
    References,
    /// It refers everything elsewhere, to 10,000 places.
    Referral,
    /// It closes its half of the connection where an answer should come.
    HalfClose,
}

/// Controllers, by name.
#[derive(Debug)]
pub(crate) struct Site {
    controllers: Vec<Arc<Controller>>,
    /// Which controller a name leads to.
    names: Mutex<[usize; 2]>,
}

/// One controller.
#[derive(Debug)]
pub(crate) struct Controller {
    wrong: watch::Sender<Wrong>,
    tls: bool,
    binds: AtomicUsize,
    searches: AtomicUsize,
    writes: AtomicUsize,
    open: AtomicUsize,
}

impl Site {
    /// `dc0` and `dc1`, and a spare machine for each.
    pub(crate) fn new(tls: bool) -> Arc<Self> {
        let controller = || {
            Arc::new(Controller {
                wrong: watch::Sender::new(Wrong::Nothing),
                tls,
                binds: AtomicUsize::new(0),
                searches: AtomicUsize::new(0),
                writes: AtomicUsize::new(0),
                open: AtomicUsize::new(0),
            })
        };
        Arc::new(Self { controllers: (0..4).map(|_| controller()).collect(), names: Mutex::new([0, 1]) })
    }

    /// That becomes wrong with the machine behind a name.
    pub(crate) fn goes_wrong(&self, name: usize, wrong: Wrong) {
        self.behind(name).wrong.send_replace(wrong);
    }

    /// The name leads to its spare machine.
    pub(crate) fn moves(&self, name: usize) {
        self.names.lock().unwrap()[name] = name + 2;
    }

    /// The machine that a name leads to.
    pub(crate) fn behind(&self, name: usize) -> &Arc<Controller> {
        &self.controllers[self.names.lock().unwrap()[name]]
    }

    /// Operations that arrived at any of them: binds, searches, writes.
    pub(crate) fn heard(&self) -> [usize; 3] {
        let sum = |count: fn(&Controller) -> usize| self.controllers.iter().map(|controller| count(controller)).sum();
        [sum(|c| c.binds.load(Ordering::SeqCst)), sum(Controller::searches), sum(|c| c.writes.load(Ordering::SeqCst))]
    }

    /// Connections that stand.
    pub(crate) fn open(&self) -> usize {
        self.controllers.iter().map(|controller| controller.open.load(Ordering::SeqCst)).sum()
    }
}

impl Dial for Site {
    fn dial(&self, server: &Server) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let controller = Arc::clone(self.behind(server.host.trim_start_matches("dc").parse().unwrap()));
        Box::pin(async move {
            match *controller.wrong.borrow() {
                Wrong::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
                Wrong::BlackHole => {}
                _ => {
                    let (near, far) = duplex(64 * 1024);
                    tokio::spawn(Arc::clone(&controller).serve(far));
                    return Ok(Box::new(near) as Box<dyn Stream>);
                }
            }
            std::future::pending().await
        })
    }
}

/// How a connection goes on.
enum Then {
    Stays,
    Closes,
    /// Nothing is read or written any more, and nothing closed.
    Hangs,
}

impl Controller {
    /// Searches that arrived, those for the rootDSE not counted.
    pub(crate) fn searches(&self) -> usize {
        self.searches.load(Ordering::SeqCst)
    }

    async fn serve(self: Arc<Self>, stream: DuplexStream) {
        self.open.fetch_add(1, Ordering::SeqCst);
        // A connection that breaks is the point.
        let _ = self.converse(stream).await;
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    async fn converse(&self, stream: DuplexStream) -> io::Result<()> {
        let mut wrong = self.wrong.subscribe();
        let begun_with = *wrong.borrow();
        let mut stream: Box<dyn Stream> = match (self.tls, begun_with) {
            (false, _) => Box::new(stream),
            (true, Wrong::TlsStall) => return hang(stream).await,
            (true, Wrong::Expired) => Box::new(TlsAcceptor::from(Arc::clone(&PAPERS.expired)).accept(stream).await?),
            (true, Wrong::Misnamed) => Box::new(TlsAcceptor::from(Arc::clone(&PAPERS.wrong_name)).accept(stream).await?),
            (true, _) => Box::new(TlsAcceptor::from(Arc::clone(&PAPERS.good)).accept(stream).await?),
        };
        let mut inbox = BytesMut::new();
        loop {
            let now = *wrong.borrow_and_update();
            match now {
                Wrong::BlackHole => return hang(stream).await,
                Wrong::Notice if now != begun_with => {
                    stream.write_all(&notice()).await?;
                    return stream.shutdown().await;
                }
                // The service was started anew.
                Wrong::Refused | Wrong::TlsStall | Wrong::Expired | Wrong::Misnamed if now != begun_with => return Ok(()),
                _ => {}
            }
            while let Some(length) = frame_length(&inbox, 1 << 20).unwrap().filter(|length| *length <= inbox.len()) {
                let frame = inbox.split_to(length);
                let now = *wrong.borrow();
                match self.answer(&frame, now, &mut stream).await? {
                    Then::Stays => {}
                    Then::Closes => return stream.shutdown().await,
                    Then::Hangs => return hang(stream).await,
                }
            }
            tokio::select! {
                count = stream.read_buf(&mut inbox) => if count? == 0 { return Ok(()) },
                _ = wrong.changed() => {}
            }
        }
    }

    async fn answer(&self, frame: &[u8], wrong: Wrong, stream: &mut Box<dyn Stream>) -> io::Result<Then> {
        let envelope = Envelope::parse(frame).unwrap();
        let id = envelope.message_id;
        // Probes and the service account's binds see nothing of what goes wrong with single operations.
        let (is_plumbing, count) = match Request::parse(&envelope).unwrap() {
            Request::Unbind => return Ok(Then::Closes),
            Request::Abandon(_) => return Ok(Then::Stays),
            Request::Search(search) => (search.base_object.is_empty(), &self.searches),
            Request::Bind(bind) => (!bind.name.starts_with(CALLER), &self.binds),
            _ => (false, &self.writes),
        };
        sleep(if wrong == Wrong::Slow { USUAL * 10 } else { USUAL }).await;
        let mut good = good_answer(&envelope);
        if is_plumbing {
            stream.write_all(&good).await?;
            stream.flush().await?;
            return Ok(Then::Stays);
        }
        count.fetch_add(1, Ordering::SeqCst);
        let tag = response_tag(envelope.op_tag).unwrap();
        let (octets, then) = match wrong {
            Wrong::Reset | Wrong::Stall => {
                good.truncate(good.len() - 3);
                (good, if wrong == Wrong::Reset { Then::Closes } else { Then::Hangs })
            }
            Wrong::Notice => (notice(), Then::Closes),
            Wrong::Says(code) => (message(id, &result(tag, code)), Then::Stays),
            Wrong::Garbage => (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Then::Stays),
            Wrong::AbsurdLength => (vec![0x30, 0x84, 0x40, 0, 0, 0, 2, 1], Then::Stays),
            Wrong::ForeignId => (message(MessageId::new(id.number() + 1_000).unwrap(), &result(tag, ResultCode::SUCCESS)), Then::Stays),
            Wrong::Duplicate => (good.repeat(2), Then::Stays),
            Wrong::Late => {
                sleep(Duration::from_secs(20)).await;
                (good, Then::Stays)
            }
            Wrong::References if envelope.op_tag == op::SEARCH_REQUEST => {
                let mut reference = Vec::new();
                ber::write_element(&mut reference, op::SEARCH_RESULT_REFERENCE, b"\x04\x0cldap://dc9/x");
                let mut flood = message(id, &reference).repeat(10_000);
                flood.append(&mut good);
                (flood, Then::Stays)
            }
            Wrong::Referral => (message(id, &referral(tag)), Then::Stays),
            Wrong::HalfClose => {
                stream.shutdown().await?;
                (Vec::new(), Then::Hangs)
            }
            _ => (good, Then::Stays),
        };
        stream.write_all(&octets).await?;
        stream.flush().await?;
        Ok(then)
    }
}

/// Swallows octets until the other end closes.
async fn hang(mut stream: impl tokio::io::AsyncRead + Unpin) -> io::Result<()> {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// What a controller that is well says.
fn good_answer(envelope: &Envelope<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut code = ResultCode::SUCCESS;
    let mut controls = None;
    if let Request::Search(search) = Request::parse(envelope).unwrap() {
        if search.base_object.is_empty() {
            let mut entry = Vec::new();
            write_entry_op(&mut entry, "", [("supportedControl", [oid::PAGED_RESULTS.as_bytes()])]);
            out = message(envelope.message_id, &entry);
        } else {
            let page = parse_controls(envelope.controls).unwrap().into_iter().find(|control| control.oid == oid::PAGED_RESULTS);
            let page = page.map(|control| {
                let page = PagedResults::parse(control.value.unwrap()).unwrap();
                (page.size, std::str::from_utf8(page.cookie).unwrap().parse().unwrap_or(0))
            });
            let total = if search.base_object.starts_with("ou=large") { LARGE } else { SMALL };
            let limit = if search.size_limit == 0 { u32::MAX } else { search.size_limit };
            let (size, from) = page.unwrap_or((u32::MAX, 0));
            let to = total.min(from + size.min(limit).min(1_000));
            for number in from..to {
                let mut entry = Vec::new();
                write_entry_op(&mut entry, &format!("cn=e{number},{}", search.base_object), [("telephoneNumber", [&b"+49 30 1"[..]])]);
                out.extend(message(envelope.message_id, &entry));
            }
            if page.is_some() {
                let cookie = if to < total { to.to_string() } else { String::new() };
                let mut control = Vec::new();
                let value = PagedResults { size: total, cookie: cookie.as_bytes() }.encode();
                write_control(&mut control, oid::PAGED_RESULTS, false, Some(&value));
                controls = Some(control);
            } else if to < total {
                code = ResultCode::SIZE_LIMIT_EXCEEDED;
            }
        }
    }
    write_envelope(&mut out, envelope.message_id, &result(response_tag(envelope.op_tag).unwrap(), code), controls.as_deref());
    out
}

fn message(id: MessageId, op: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_envelope(&mut out, id, op, None);
    out
}

fn result(tag: u8, code: ResultCode) -> Vec<u8> {
    let mut out = Vec::new();
    write_result_op(&mut out, tag, code, "", "");
    out
}

fn referral(tag: u8) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_constructed(&mut out, tag, |out| {
        ber::write_integer(out, ber::tag::ENUMERATED, ResultCode::REFERRAL.0);
        ber::write_element(out, ber::tag::OCTET_STRING, b"");
        ber::write_element(out, ber::tag::OCTET_STRING, b"");
        ber::write_constructed(out, 0xa3, |out| {
            for _ in 0..10_000 {
                ber::write_element(out, ber::tag::OCTET_STRING, b"ldap://dc9.corp.example/dc=corp");
            }
        });
    });
    out
}

fn notice() -> Vec<u8> {
    let mut out = Vec::new();
    write_notice_of_disconnection(&mut out, ResultCode::UNAVAILABLE, "");
    out
}

/// Certificates for `dc0` and `dc1`.
pub(crate) struct Papers {
    /// The CA's PEM file.
    pub(crate) ca: PathBuf,
    good: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
    wrong_name: Arc<ServerConfig>,
}

pub(crate) static PAPERS: LazyLock<Papers> = LazyLock::new(|| {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.pem", std::process::id()));
    std::fs::write(&path, ca.pem()).unwrap();
    let server = |names: &[&str], expired: bool| {
        let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        if expired {
            leaf.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.signed_by(&key, &ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap())
    };
    Papers { good: server(&["dc0", "dc1"], false), expired: server(&["dc0", "dc1"], true), wrong_name: server(&["dc9"], false), ca: path }
});

/// How the names of clients begin whose binds are operations; other binds are connections being made.
pub(crate) const CALLER: &str = "cn=caller";
/// Until an answer comes.
const USUAL: Duration = Duration::from_millis(20);
/// Entries below `ou=large`.
pub(crate) const LARGE: u32 = 7;
/// Entries anywhere else.
pub(crate) const SMALL: u32 = 2;
