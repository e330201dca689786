//! Controllers in memory that go wrong as a seed says: they answer late, twice, with nonsense, in part, or not at all, and go away.

use crate::Weather;
use crate::common::certificates::Certificate;
use crate::line::{Breaker, End, line};
use crate::names::Names;
use crate::pages::Cookies;
use crate::truth::{BASE, BIG, BIG_ENTRIES, PEOPLE, Truth, canary, parse_canary, password, person};
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use redial::config::{Server, TlsMode};
use redial::ldap::ber::{Reader, tag};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::message::{Authentication, Request, Search};
use redial::ldap::response::{response_tag, write_entry_op, write_extended_response, write_result_op};
use redial::ldap::{Envelope, MessageId, ResultCode, oid};
use redial::upstream;
use redial::upstream::{Dial, Stream};
use rustls::ServerConfig;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

/// The account that searches run under, where they do not run under the client's.
pub(crate) const SERVICE: &str = "cn=redial,dc=corp,dc=example";
/// Its password.
pub(crate) const SERVICE_PASSWORD: &str = "service secret";

/// Equal controllers: `dc0`, `dc1` ...
#[derive(Debug)]
pub(crate) struct Controllers {
    pub(crate) truth: Arc<Truth>,
    random: Mutex<fastrand::Rng>,
    /// They carry out Who am I? (RFC 4532).
    knows_who: bool,
    /// They give large results page by page (RFC 2696).
    pages: bool,
    tls: Option<(TlsMode, Arc<ServerConfig>)>,
    names: Arc<Names>,
    /// Whether these are asked.
    discovers: bool,
    /// Of a thousand requests so many meet a fault.
    faults: u16,
    healed: AtomicBool,
    servers: Vec<State>,
}

#[derive(Debug)]
struct State {
    mood: Mutex<Mood>,
    changed: Notify,
    open: AtomicUsize,
}

/// What a controller knows of one connection.
#[derive(Debug, Default)]
struct Client {
    /// Who has bound there.
    who: Mutex<Option<String>>,
    cookies: Mutex<Cookies>,
}

/// How a controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Up,
    /// It refuses, and has closed in order.
    Away,
    /// It refuses, and has reset what stood.
    Broken,
    /// Nothing passes, neither way; what stood goes on afterwards.
    Unheard,
}

impl Mood {
    /// How it may be when it is not up.
    pub(crate) const DOWN: [Self; 3] = [Self::Away, Self::Broken, Self::Unheard];
}

/// Reaches them by their names in either domain, and knows who they are.
#[derive(Debug)]
pub(crate) struct ByName(pub(crate) Arc<Controllers>);

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Late,
    Silent,
    Busy,
    Unavailable,
    Twice,
    Foreign,
    OtherType,
    Garbage,
    AbsurdLength,
    Notice,
    Cut,
    Reset,
    HalfClose,
    Stall,
}

const FAULTS: [Fault; 14] = [
    Fault::Late,
    Fault::Silent,
    Fault::Busy,
    Fault::Unavailable,
    Fault::Twice,
    Fault::Foreign,
    Fault::OtherType,
    Fault::Garbage,
    Fault::AbsurdLength,
    Fault::Notice,
    Fault::Cut,
    Fault::Reset,
    Fault::HalfClose,
    Fault::Stall,
];

/// What leaves on a connection.
enum Said {
    Octets(Vec<u8>),
    /// These, and then it is closed.
    Last(Vec<u8>),
    /// These, and then it is reset.
    Broken(Vec<u8>),
    /// These are the last, but it goes on to listen.
    Half(Vec<u8>),
    /// These, and then nothing for so long.
    Stall(Vec<u8>, Duration),
}

/// Their domain.
pub(crate) const HOME: &str = "corp.example";
/// The same after a move.
pub(crate) const MOVED: &str = "moved.example";

/// So long a controller waits for its last octets to be taken.
const PATIENCE: Duration = Duration::from_secs(30);

impl Dial for ByName {
    fn dial(&self, server: &Server) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let this = Arc::clone(&self.0);
        let number: usize = server.host.trim_start_matches("dc").split('.').next().unwrap().parse().unwrap();
        Box::pin(async move {
            sleep(this.moment()).await;
            let mood = this.mood(number);
            if mood == Mood::Unheard || this.is_faulty() {
                this.truth.tell(&format!("dc{number} swallows a connect"));
                pending::<()>().await;
            }
            if mood != Mood::Up || this.is_faulty() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let capacity = this.with_random(|random| [64, 700, 5_000, 64 * 1024][random.usize(..4)]);
            let (near, far) = line(capacity);
            tokio::spawn(this.serve(number, far));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }

    fn names(&self) -> Option<Arc<dyn upstream::Names>> {
        self.0.discovers.then(|| Arc::clone(&self.0.names) as _)
    }
}

impl Controllers {
    pub(crate) fn new(truth: Arc<Truth>, weather: &Weather, certificate: &Certificate, mut random: fastrand::Rng) -> Arc<Self> {
        let [knows_who, pages] = [random.bool(), random.bool()];
        let state = |_| State { mood: Mutex::new(Mood::Up), changed: Notify::new(), open: AtomicUsize::new(0) };
        Arc::new(Self {
            truth,
            knows_who,
            pages,
            tls: weather.upstream_tls.map(|mode| (mode, certificate.controller())),
            names: Arc::new(Names::new(weather.servers, random.fork())),
            discovers: weather.discovers,
            random: Mutex::new(random),
            faults: weather.faults,
            healed: AtomicBool::new(false),
            servers: (0..weather.servers).map(state).collect(),
        })
    }

    /// Where they are named.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// One of them is otherwise from now on.
    pub(crate) fn is(&self, server: usize, mood: Mood) {
        self.truth.tell(&format!("dc{server} is {mood:?}"));
        *self.servers[server].mood.lock().unwrap() = mood;
        self.servers[server].changed.notify_waiters();
    }

    fn mood(&self, server: usize) -> Mood {
        *self.servers[server].mood.lock().unwrap()
    }

    /// Waits until it is otherwise.
    async fn changes(&self, server: usize, mood: Mood) {
        loop {
            let changed = self.servers[server].changed.notified();
            if self.mood(server) != mood {
                return;
            }
            changed.await;
        }
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
        self.names.heal();
        for server in 0..self.servers.len() {
            self.is(server, Mood::Up);
        }
    }

    /// Connections that stand, by server.
    pub(crate) fn open(&self) -> Vec<usize> {
        self.servers.iter().map(|server| server.open.load(Ordering::SeqCst)).collect()
    }

    fn with_random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap())
    }

    fn is_faulty(&self) -> bool {
        !self.healed.load(Ordering::SeqCst) && self.with_random(|random| random.u16(..1000) < self.faults / 4)
    }

    fn fault(&self) -> Fault {
        if self.healed.load(Ordering::SeqCst) {
            return Fault::None;
        }
        self.with_random(|random| if random.u16(..1000) < self.faults { FAULTS[random.usize(..FAULTS.len())] } else { Fault::None })
    }

    /// What an answer takes, mostly.
    fn moment(&self) -> Duration {
        self.with_random(|random| {
            let most = if random.u8(..10) == 0 { 80_000 } else { 3_000 };
            Duration::from_micros(random.u64(..most))
        })
    }

    async fn serve(self: Arc<Self>, server: usize, stream: End) {
        self.servers[server].open.fetch_add(1, Ordering::SeqCst);
        let breaker = stream.breaker();
        let mut conversation = pin!(self.secure(server, stream));
        loop {
            match self.mood(server) {
                Mood::Up => tokio::select! {
                    biased;
                    () = self.changes(server, Mood::Up) => {}
                    () = &mut conversation => break,
                },
                Mood::Unheard => self.changes(server, Mood::Unheard).await,
                Mood::Away => break,
                Mood::Broken => {
                    breaker.reset();
                    break;
                }
            }
        }
        self.servers[server].open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Converses under TLS, where it speaks that.
    async fn secure(self: &Arc<Self>, server: usize, mut stream: End) {
        let breaker = stream.breaker();
        let Some((mode, config)) = &self.tls else { return self.converse(server, stream, breaker).await };
        if *mode != TlsMode::Ldaps && !starts_tls(&mut stream).await {
            return;
        }
        if let Ok(stream) = TlsAcceptor::from(Arc::clone(config)).accept(stream).await {
            self.converse(server, stream, breaker).await;
        }
    }

    async fn converse(self: &Arc<Self>, server: usize, mut stream: impl AsyncRead + AsyncWrite + Unpin, breaker: Breaker) {
        let (sender, mut said) = mpsc::unbounded_channel();
        let client = Arc::new(Client::default());
        let mut inbox = BytesMut::new();
        loop {
            while let Some(length) = frame_length(&inbox, 1 << 20).unwrap().filter(|length| *length <= inbox.len()) {
                let frame = inbox.split_to(length).freeze();
                tokio::spawn(Arc::clone(self).answer(server, frame, Arc::clone(&client), sender.clone()));
            }
            let went_on = tokio::select! {
                biased;
                said = said.recv() => match said {
                    Some(Said::Octets(octets)) => say(&mut stream, &octets).await,
                    Some(Said::Last(octets)) => {
                        let _ = timeout(PATIENCE, say(&mut stream, &octets)).await;
                        return;
                    }
                    Some(Said::Broken(octets)) => {
                        let _ = timeout(PATIENCE, say(&mut stream, &octets)).await;
                        return breaker.reset();
                    }
                    Some(Said::Half(octets)) => {
                        let _ = timeout(PATIENCE, say(&mut stream, &octets)).await;
                        stream.shutdown().await.is_ok()
                    }
                    Some(Said::Stall(octets, time)) => {
                        let until = Instant::now() + time;
                        let _ = timeout_at(until, say(&mut stream, &octets)).await;
                        sleep_until(until).await;
                        true
                    }
                    None => return,
                },
                read = stream.read_buf(&mut inbox) => matches!(read, Ok(1..)),
            };
            if !went_on {
                return;
            }
        }
    }

    /// One request; what has been begun is carried out though its connection may be gone.
    async fn answer(self: Arc<Self>, server: usize, frame: bytes::Bytes, client: Arc<Client>, sender: mpsc::UnboundedSender<Said>) {
        let envelope = Envelope::parse(&frame).unwrap();
        self.truth.tell(&format!("dc{server} hears {:#x}", envelope.op_tag));
        let (id, fault) = (envelope.message_id.number(), self.fault());
        if let Ok(Request::Write(write)) = Request::parse(&envelope) {
            self.truth.write_heard(written_version(write.op));
        }
        sleep(self.moment()).await;
        if fault == Fault::Late {
            sleep(Duration::from_millis(self.with_random(|random| random.u64(1_000..15_000)))).await;
        }
        let refusal = match fault {
            Fault::Busy => Some(ResultCode::BUSY),
            Fault::Unavailable => Some(ResultCode::UNAVAILABLE),
            _ => None,
        };
        let may_skip = matches!(fault, Fault::Silent | Fault::Cut | Fault::Reset | Fault::HalfClose | Fault::Stall)
            && self.with_random(fastrand::Rng::bool);
        let Some((what, response)) = (if may_skip { None } else { self.respond(&envelope, refusal, &client) }) else {
            let _ = match fault {
                Fault::Cut => sender.send(Said::Last(Vec::new())),
                Fault::Reset => sender.send(Said::Broken(Vec::new())),
                Fault::HalfClose => sender.send(Said::Half(Vec::new())),
                _ => Ok(()),
            };
            return;
        };
        sleep(self.moment()).await;
        if fault != Fault::None {
            self.truth.tell(&format!("dc{server} {fault:?} at {what}"));
        }
        let part = self.with_random(|random| random.usize(..response.len()));
        let cut = || response[..part].to_vec();
        let _ = sender.send(match fault {
            Fault::None | Fault::Late | Fault::Busy | Fault::Unavailable => Said::Octets(response),
            Fault::Silent => return,
            Fault::Twice => Said::Octets([response.clone(), response].concat()),
            Fault::Foreign => Said::Octets(result(id + 1_000_000, envelope.op_tag, ResultCode::SUCCESS)),
            Fault::OtherType => {
                let other = if envelope.op_tag == op::MODIFY_REQUEST { op::SEARCH_REQUEST } else { op::MODIFY_REQUEST };
                Said::Octets(result(id, other, ResultCode::SUCCESS))
            }
            Fault::Garbage => Said::Octets(self.with_random(|random| (0..40).map(|_| random.u8(..)).collect())),
            Fault::AbsurdLength => Said::Octets([&cut()[..], b"\x30\x84\x7f\xff\xff\xff"].concat()),
            Fault::Notice => Said::Last([notice(), if part.is_multiple_of(2) { response } else { Vec::new() }].concat()),
            Fault::Cut => Said::Last(cut()),
            Fault::Reset => Said::Broken(cut()),
            Fault::HalfClose => Said::Half(cut()),
            Fault::Stall => Said::Stall(cut(), Duration::from_secs(self.with_random(|random| random.u64(1..40)))),
        });
    }

    /// What is carried out, in words, and the whole response.
    fn respond(&self, envelope: &Envelope<'_>, refusal: Option<ResultCode>, client: &Client) -> Option<(String, Vec<u8>)> {
        let id = envelope.message_id.number();
        let Client { who, cookies } = client;
        let (mut out, mut controls) = (Vec::new(), None);
        let (what, code) = match Request::parse(envelope).unwrap() {
            Request::Bind(bind) => {
                let Authentication::Simple(secret) = bind.authentication else { return None };
                let secret = String::from_utf8_lossy(secret).into_owned();
                self.truth.bind_heard(bind.name, &secret);
                let is_right = (bind.name, secret.as_str()) == (SERVICE, SERVICE_PASSWORD)
                    || (0..PEOPLE).any(|number| bind.name == person(number) && secret == password(number));
                let code = refusal.unwrap_or(if is_right { ResultCode::SUCCESS } else { ResultCode::INVALID_CREDENTIALS });
                *who.lock().unwrap() = (code == ResultCode::SUCCESS).then(|| bind.name.to_owned());
                ("bind", code)
            }
            Request::Search(search) => {
                if refusal.is_none() {
                    let mut entries = self.entries(&search, who.lock().unwrap().as_deref());
                    if self.pages {
                        let page = cookies.lock().unwrap().page(envelope.op, envelope.controls, &mut entries);
                        controls = page.unwrap_or_else(|wrong| {
                            self.truth.wrong(&format!("dc is shown {wrong}"));
                            None
                        });
                    }
                    entries.iter().for_each(|entry| write_envelope(&mut out, envelope.message_id, entry, None));
                }
                ("search", refusal.unwrap_or(ResultCode::SUCCESS))
            }
            Request::Compare(compare) => {
                let whose = (0..PEOPLE).find(|number| person(*number) == compare.entry)?;
                let sees = may_see(who.lock().unwrap().as_deref(), whose);
                let is_so = compare.value == canary(whose, self.truth.current(whose)).as_bytes();
                let code = match (sees, is_so) {
                    (false, _) => ResultCode::INSUFFICIENT_ACCESS_RIGHTS,
                    (true, true) => ResultCode::COMPARE_TRUE,
                    (true, false) => ResultCode::COMPARE_FALSE,
                };
                ("compare", refusal.unwrap_or(code))
            }
            Request::Write(write) => {
                let whose = (0..PEOPLE).find(|number| person(*number) == write.target)?;
                let may = who.lock().unwrap().as_deref() == Some(write.target);
                let code = refusal.unwrap_or(if may { ResultCode::SUCCESS } else { ResultCode::INSUFFICIENT_ACCESS_RIGHTS });
                if code == ResultCode::SUCCESS {
                    self.truth.written(whose, written_version(write.op));
                }
                ("write", code)
            }
            Request::Extended(asked) if asked.name == oid::WHO_AM_I => {
                let name = who.lock().unwrap().as_ref().map_or_else(String::new, |name| format!("dn:{name}"));
                let code = refusal.unwrap_or(if self.knows_who { ResultCode::SUCCESS } else { ResultCode::PROTOCOL_ERROR });
                let value = (code == ResultCode::SUCCESS).then_some(name.as_bytes());
                write_extended_response(&mut out, envelope.message_id, code, "", None, value);
                return Some(("who am i".to_owned(), out));
            }
            _ => return None,
        };
        out.extend(result_with(id, envelope.op_tag, code, controls.as_deref()));
        Some((what.to_owned(), out))
    }

    /// Each of them a SearchResultEntry.
    fn entries(&self, search: &Search<'_>, who: Option<&str>) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        let wanted: Vec<String> = search.to_owned().unwrap().attributes.iter().map(|name| name.to_lowercase()).collect();
        let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == "*" || wanted == name);
        let mut entry = |name: &str, attributes: &[(&str, String)]| {
            let mut entry = Vec::new();
            let shown = attributes.iter().filter(|(name, _)| is_wanted(name)).map(|(name, value)| (*name, [value.as_bytes()]));
            write_entry_op(&mut entry, name, shown);
            entries.push(entry);
        };
        match search.base_object {
            "" => {
                let who_am_i = self.knows_who.then(|| ("supportedextension", oid::WHO_AM_I.to_owned()));
                let pages = self.pages.then(|| ("supportedcontrol", oid::PAGED_RESULTS.to_owned()));
                entry("", &[("supportedldapversion", "3".to_owned())].into_iter().chain(who_am_i).chain(pages).collect::<Vec<_>>());
            }
            BIG => (0..BIG_ENTRIES).for_each(|number| entry(&format!("cn=b{number},{BIG}"), &[("cn", "x".repeat(300))])),
            base => {
                for number in (0..PEOPLE).filter(|number| base == BASE || base == person(*number)) {
                    let (public, secret) = (("cn", format!("p{number}")), canary(number, self.truth.current(number)));
                    let secret = may_see(who, number).then_some(("description", secret));
                    entry(&person(number), &[public].into_iter().chain(secret).collect::<Vec<_>>());
                }
            }
        }
        entries
    }
}

/// Sends all of it; says whether it could.
async fn say(stream: &mut (impl AsyncWrite + Unpin), octets: &[u8]) -> bool {
    stream.write_all(octets).await.is_ok() && stream.flush().await.is_ok()
}

/// Answers the one request that may come before TLS.
async fn starts_tls(stream: &mut End) -> bool {
    let mut inbox = BytesMut::new();
    while frame_length(&inbox, 1 << 20).unwrap().is_none_or(|length| length > inbox.len()) {
        if !stream.read_buf(&mut inbox).await.is_ok_and(|count| count > 0) {
            return false;
        }
    }
    let envelope = Envelope::parse(&inbox).unwrap();
    assert!(matches!(Request::parse(&envelope), Ok(Request::Extended(asked)) if asked.name == oid::START_TLS), "in clear: {envelope:?}");
    let mut response = Vec::new();
    write_extended_response(&mut response, envelope.message_id, ResultCode::SUCCESS, "", None, None);
    say(stream, &response).await
}

fn may_see(who: Option<&str>, whose: usize) -> bool {
    who.is_some_and(|who| who == SERVICE || who == person(whose))
}

/// The version that a write is about: its last value is a canary.
fn written_version(op: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(op);
    parse_canary(&text[text.rfind("canary").unwrap()..]).unwrap().1
}

fn result(id: u32, request_tag: u8, code: ResultCode) -> Vec<u8> {
    result_with(id, request_tag, code, None)
}

fn result_with(id: u32, request_tag: u8, code: ResultCode, controls: Option<&[u8]>) -> Vec<u8> {
    let (mut op, mut out) = (Vec::new(), Vec::new());
    write_result_op(&mut op, response_tag(request_tag).unwrap_or(op::SEARCH_RESULT_DONE), code, "", "");
    write_envelope(&mut out, MessageId::new(id).unwrap(), &op, controls);
    out
}

fn notice() -> Vec<u8> {
    let mut out = Vec::new();
    write_extended_response(
        &mut out,
        MessageId::UNSOLICITED,
        ResultCode::UNAVAILABLE,
        "going down",
        Some(oid::NOTICE_OF_DISCONNECTION),
        None,
    );
    out
}

/// The values of an entry, by their attributes. One that is no text is left out: the rest of a message that was cut off may end in absurd octets.
pub(crate) fn values_of(entry: &[u8]) -> Vec<(String, String)> {
    let mut fields = Reader::new(entry);
    let name = fields.text(tag::OCTET_STRING).unwrap().to_owned();
    let mut attributes = Reader::new(fields.expect(tag::SEQUENCE).unwrap().content);
    let mut found = vec![("dn".to_owned(), name)];
    while !attributes.is_empty() {
        let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE).unwrap().content);
        let name = attribute.text(tag::OCTET_STRING).unwrap().to_owned();
        let mut values = Reader::new(attribute.expect(tag::SET).unwrap().content);
        while !values.is_empty() {
            let value = String::from_utf8(values.expect(tag::OCTET_STRING).unwrap().content.to_vec());
            found.extend(value.ok().map(|value| (name.clone(), value)));
        }
    }
    found
}
