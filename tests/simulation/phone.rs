//! A client that asks at random, and holds each message that it hears against what it asked, who it is, and what is true.

use crate::common::requests::{abandon, bind, compare_with, extended, frame, search_for, unbind};
use crate::controllers::values_of;
use crate::line::{Breaker, End};
use crate::pages;
use crate::pages::Page;
use crate::truth::{BASE, BIG, BIG_ENTRIES, PEOPLE, canary, parse_canary, password, person};
use crate::{Site, Weather};
use redial::config::TlsMode;
use redial::ldap::ber::{tag, write_constructed, write_element, write_integer};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::message::LdapResult;
use redial::ldap::{Envelope, MessageId, ResultCode, oid};
use redial::upstream::Stream;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

pub(crate) struct Phone {
    number: usize,
    site: Arc<Site>,
    random: fastrand::Rng,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    breaker: Breaker,
    received: Vec<u8>,
    /// What has been asked and not been answered, by messageID.
    asked: BTreeMap<u32, Asked>,
    last_id: u32,
    /// Binds sent, and how many of them have been answered.
    binds: (u32, u32),
    /// When the last of these answers came.
    bind_answered_at: Option<Instant>,
    /// When the last of them that was accepted was sent.
    bound_at: Option<Instant>,
    /// Who this is since the last bind that was answered.
    who: Option<usize>,
    /// A search whose next page it may ask for.
    rest: Option<Question>,
    /// It has done what may cost it its connection.
    is_rude: bool,
    /// It has heard a Notice of Disconnection.
    is_told_to_go: bool,
    is_over: bool,
}

/// One request.
#[derive(Clone)]
struct Asked {
    what: What,
    began: Instant,
    /// After so many binds of this connection it was sent.
    bind: u32,
    /// Nobody waits for its answer: it was abandoned when this was the last messageID.
    given_up_at: Option<u32>,
    entries: usize,
    /// Canaries that came.
    seen: Vec<(usize, u32)>,
}

#[derive(Debug, Clone)]
enum What {
    /// As whom, and with which password.
    Bind(Option<usize>, String),
    Search(Question),
    Compare(usize),
    /// The entry, and the version.
    Write(usize, u32),
    WhoAmI,
}

/// What is searched for.
#[derive(Debug, Clone)]
struct Question {
    base: String,
    filter: &'static str,
    attributes: &'static [&'static str],
    page: Option<Page>,
}

impl Question {
    fn plain(base: &str) -> Self {
        Self { base: base.to_owned(), filter: "(cn=*)", attributes: &[], page: None }
    }
}

/// Without the time, which is this process's own.
impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, bind, given_up_at, entries, seen, .. } = self;
        write!(f, "{what:?} after bind {bind}, {entries} entries, {seen:?}, given up at {given_up_at:?}")
    }
}

impl Asked {
    const fn is_bind(&self) -> bool {
        matches!(self.what, What::Bind(..))
    }
}

impl What {
    const fn response(&self) -> u8 {
        match self {
            Self::Bind(..) => op::BIND_RESPONSE,
            Self::Search(_) => op::SEARCH_RESULT_DONE,
            Self::Compare(_) => op::COMPARE_RESPONSE,
            Self::Write(..) => op::MODIFY_RESPONSE,
            Self::WhoAmI => op::EXTENDED_RESPONSE,
        }
    }

    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Bind(..) => "bind",
            Self::Search(_) => "search",
            Self::Compare(_) => "compare",
            Self::Write(..) => "modify",
            Self::WhoAmI => "extended",
        }
    }
}

/// A phone that has just connected, from its first octet to its last.
pub(crate) async fn live(number: usize, site: Arc<Site>, stream: End, random: fastrand::Rng) {
    let breaker = stream.breaker();
    let Some(stream) = secured(stream, &site).await else {
        if site.stopped_at().is_none() {
            site.truth.wrong(&format!("phone {number} gets no TLS"));
        }
        return;
    };
    let (reader, writer) = split(stream);
    let phone = Phone {
        number,
        site,
        random,
        reader,
        writer,
        breaker,
        received: Vec::new(),
        asked: BTreeMap::new(),
        last_id: 0,
        binds: (0, 0),
        bind_answered_at: None,
        bound_at: None,
        who: None,
        rest: None,
        is_rude: false,
        is_told_to_go: false,
        is_over: false,
    };
    phone.live().await;
}

/// The stream as the listener wants it, or nothing where that does not come about.
async fn secured(mut stream: End, site: &Site) -> Option<Box<dyn Stream>> {
    let Some((mode, config)) = &site.tls else { return Some(Box::new(stream)) };
    if *mode != TlsMode::Ldaps {
        stream.write_all(&frame(1, &extended(oid::START_TLS, None))).await.ok()?;
        let mut received = Vec::new();
        while frame_length(&received, 1 << 10).expect("a frame").is_none_or(|length| length > received.len()) {
            stream.read_buf(&mut received).await.ok().filter(|count| *count > 0)?;
        }
        let envelope = Envelope::parse(&received).expect("a well-formed message");
        let code = LdapResult::parse(envelope.op_content).expect("a result").code;
        (envelope.message_id.number() == 1 && code == ResultCode::SUCCESS).then_some(())?;
    }
    let name = "phonebook.example".try_into().expect("a name");
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.ok()?;
    Some(Box::new(stream))
}

impl Phone {
    async fn live(mut self) {
        for _ in 0..self.random.usize(2..12) {
            self.do_something().await;
            if self.random.u8(..3) > 0 {
                self.hear_all().await;
            } else {
                let moment = Duration::from_micros(self.random.u64(..20_000));
                self.hear_for(moment).await;
            }
            if self.is_over {
                return;
            }
        }
        match if self.site.weather.is_polite { 7 } else { self.random.u8(..8) } {
            // Gone without a word, in the middle of whatever it was.
            0 => self.site.truth.tell(&format!("phone {} is gone", self.number)),
            1 => {
                let octets = frame(self.last_id + 1, &search_for(BASE, "(cn=half)", &[]));
                let half = self.random.usize(..octets.len());
                let _ = self.writer.write_all(&octets[..half]).await;
                sleep(Duration::from_secs([0, 40][self.random.usize(..2)])).await;
            }
            2 => self.send(&unbind(), None).await,
            3 => {
                self.write().await;
                self.search().await;
                self.site.truth.tell(&format!("phone {} resets", self.number));
                self.breaker.reset();
            }
            4 => {
                // It has said all, but goes on to listen: what comes is either an answer or the end.
                self.search().await;
                self.is_rude = true;
                let _ = self.writer.shutdown().await;
                self.hear_all().await;
            }
            _ => {
                self.hear_all().await;
                self.send(&unbind(), None).await;
            }
        }
    }

    async fn do_something(&mut self) {
        if let Some(question) = self.rest.take().filter(|_| self.random.u8(..8) > 0) {
            return self.ask(question).await;
        }
        match self.random.u8(..20) {
            0..4 => self.bind().await,
            4..10 => {
                for _ in 0..self.random.usize(1..5) {
                    self.search().await;
                }
            }
            10..12 => {
                let whose = self.random.usize(..PEOPLE);
                let value = canary(whose, self.site.truth.current(whose));
                self.send(&compare_with(&person(whose), "description", &value), Some(What::Compare(whose))).await;
            }
            12..15 => self.write().await,
            15 => self.send(&extended(oid::WHO_AM_I, None), Some(What::WhoAmI)).await,
            16 => {
                self.search().await;
                let target = self.random.u32(1..=self.last_id.max(1));
                let last_id = self.last_id;
                if let Some(asked) = self.asked.get_mut(&target).filter(|asked| !asked.is_bind()) {
                    asked.given_up_at = Some(last_id);
                }
                self.send(&abandon(target), None).await;
            }
            18 if !self.site.weather.is_polite => {
                // Does not read for longer than it is waited for, with much to read.
                self.is_rude = true;
                self.ask(Question::plain(BIG)).await;
                sleep(Duration::from_secs(self.random.u64(1..25))).await;
            }
            19 if !self.site.weather.is_polite => {
                self.is_rude = true;
                let garbage: Vec<u8> = (0..30).map(|_| self.random.u8(..)).collect();
                let _ = self.writer.write_all(&garbage).await;
            }
            // Whoever has not said anything yet may not be silent for long.
            _ => {
                let most = if self.last_id == 0 { 50 } else { [50, 2_000, 90_000][self.number % 3] };
                let time = Duration::from_millis(self.random.u64(..most));
                self.hear_for(time).await;
            }
        }
    }

    async fn bind(&mut self) {
        self.binds.0 += 1;
        let who = self.random.usize(..PEOPLE);
        let secret = match self.random.u8(..8) {
            0 => return self.send(&bind("", ""), Some(What::Bind(None, String::new()))).await,
            1 => format!("wrong {}", self.site.truth.next_version()),
            _ => password(who),
        };
        if secret == password(who) {
            self.site.binds(who);
        } else {
            self.site.guessed_at(who);
        }
        self.send(&bind(&person(who), &secret), Some(What::Bind(Some(who), secret))).await;
    }

    async fn search(&mut self) {
        let base = match self.random.u8(..10) {
            0..4 => BASE.to_owned(),
            4 => BIG.to_owned(),
            _ => person(self.random.usize(..PEOPLE)),
        };
        let filter = ["(cn=*)", "(objectClass=*)"][self.random.usize(..2)];
        let attributes: &[&str] = [&["cn", "description"][..], &[], &["description"]][self.random.usize(..3)];
        // Which rests of paged searches give way where there is no room is nothing that a seed decides: their cookies are random.
        let has_room = self.site.weather.capacity.is_none_or(|capacity| base != BIG && capacity >= 1 << 20);
        let page = (self.random.u8(..4) == 0 && has_room).then(|| Page {
            size: [1, 3, 60][self.random.usize(..3)],
            cookie: Vec::new(),
            before: 0,
            began: Instant::now(),
            bind: self.binds.0,
        });
        self.ask(Question { base, filter, attributes, page }).await;
    }

    async fn ask(&mut self, question: Question) {
        let request = search_for(&question.base, question.filter, question.attributes);
        let controls = question.page.as_ref().map(Page::controls);
        self.send_with(&request, controls.as_deref(), Some(What::Search(question))).await;
    }

    /// Its own entry mostly; somebody else's must be refused.
    async fn write(&mut self) {
        let whose = self.who.filter(|_| self.random.u8(..8) > 0).unwrap_or_else(|| self.random.usize(..PEOPLE));
        let version = self.site.truth.next_version();
        let mut request = Vec::new();
        write_constructed(&mut request, op::MODIFY_REQUEST, |out| {
            write_element(out, tag::OCTET_STRING, person(whose).as_bytes());
            write_constructed(out, tag::SEQUENCE, |out| {
                write_constructed(out, tag::SEQUENCE, |out| {
                    write_integer(out, tag::ENUMERATED, 2);
                    write_constructed(out, tag::SEQUENCE, |out| {
                        write_element(out, tag::OCTET_STRING, b"description");
                        write_constructed(out, tag::SET, |out| {
                            write_element(out, tag::OCTET_STRING, canary(whose, version).as_bytes());
                        });
                    });
                });
            });
        });
        self.send(&request, Some(What::Write(whose, version))).await;
    }

    async fn send(&mut self, request: &[u8], what: Option<What>) {
        self.send_with(request, None, what).await;
    }

    /// Sends a request in pieces, and hears meanwhile.
    async fn send_with(&mut self, request: &[u8], controls: Option<&[u8]>, what: Option<What>) {
        self.last_id += 1;
        if let Some(what) = what {
            self.site.truth.tell(&format!("phone {} asks {}: {what:?}", self.number, self.last_id));
            self.site.sent(what.kind());
            let asked = Asked { what, began: Instant::now(), bind: self.binds.0, given_up_at: None, entries: 0, seen: Vec::new() };
            self.asked.insert(self.last_id, asked);
        }
        let mut octets = Vec::new();
        write_envelope(&mut octets, MessageId::new(self.last_id).expect("in range"), request, controls);
        let mut rest = &octets[..];
        while !self.is_over {
            let piece = if !rest.is_empty() && self.random.u8(..4) == 0 { self.random.usize(1..=rest.len()) } else { rest.len() };
            let writer = &mut self.writer;
            let step = async { if piece > 0 { writer.write(&rest[..piece]).await } else { writer.flush().await.map(|()| 0) } };
            tokio::select! {
                biased;
                read = self.reader.read_buf(&mut self.received) => self.take(read.unwrap_or(0)),
                written = step => match written {
                    Ok(count @ 1..) => rest = &rest[count..],
                    // All is sent, or nothing can be; what it has still to hear, it hears below.
                    _ => break,
                },
            }
        }
    }

    /// Until all is answered that somebody waits for.
    async fn hear_all(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_over && self.asked.values().any(|asked| asked.given_up_at.is_none() && asked.bind == self.binds.0) {
            match timeout_at(deadline, self.reader.read_buf(&mut self.received)).await {
                Ok(read) => self.take(read.unwrap_or(0)),
                Err(_) if self.is_rude => self.is_over = true,
                Err(_) => {
                    self.wrong(&format!("hears nothing for {PATIENCE:?}: {:?}", self.asked));
                    self.is_over = true;
                }
            }
        }
    }

    async fn hear_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while !self.is_over
            && let Ok(read) = timeout_at(deadline, self.reader.read_buf(&mut self.received)).await
        {
            self.take(read.unwrap_or(0));
        }
    }

    fn take(&mut self, count: usize) {
        if count == 0 {
            self.is_over = true;
            if !self.is_rude && !self.may_be_cut_off() {
                self.wrong("was cut off");
            }
        }
        while let Some(length) = frame_length(&self.received, 1 << 24).expect("a frame").filter(|length| *length <= self.received.len()) {
            let frame: Vec<u8> = self.received.drain(..length).collect();
            self.hear(&frame);
        }
    }

    fn hear(&mut self, frame: &[u8]) {
        let envelope = Envelope::parse(frame).expect("a well-formed message");
        let id = envelope.message_id.number();
        if id == 0 {
            let notice = LdapResult::parse(envelope.op_content).expect("a result");
            return self.hear_notice(String::from_utf8_lossy(notice.diagnostic).contains("replaced"));
        }
        let Some(asked) = self.asked.get_mut(&id) else {
            return self.wrong(&format!("hears {:#x} under {id}, which it did not ask or which was answered", envelope.op_tag));
        };
        let before = self.binds.1 + u32::from(asked.is_bind());
        if asked.bind > before || asked.bind < self.binds.1 {
            return self.wrong(&format!("hears {id} out of order: {:?} with {:?} binds", self.asked[&id], self.binds));
        }
        if envelope.op_tag == op::SEARCH_RESULT_ENTRY && matches!(asked.what, What::Search(_)) {
            asked.entries += 1;
            let canaries = values_of(envelope.op_content).into_iter().filter_map(|(_, value)| parse_canary(&value));
            asked.seen.extend(canaries);
            return;
        }
        if envelope.op_tag != asked.what.response() {
            return self.wrong(&format!("hears {:#x} as an answer to {:?}", envelope.op_tag, self.asked[&id]));
        }
        let asked = self.asked.remove(&id).expect("it is there");
        let result = LdapResult::parse(envelope.op_content).expect("a result");
        let text = String::from_utf8_lossy(result.diagnostic).into_owned();
        self.site.truth.tell(&format!("phone {} hears {id}: {} {text:?} with {} entries", self.number, result.code.0, asked.entries));
        self.site.heard(asked.what.kind(), result.code);
        // What was abandoned before this was asked is silent from now on.
        self.asked.retain(|_, other| other.given_up_at.is_none_or(|at| at >= id));
        let cookie = pages::asked(envelope.controls).map(|(_, cookie)| cookie).unwrap_or_default();
        self.judge(&asked, result.code, &text, cookie);
    }

    /// At the end of the program idle phones are told to go, and the others when they have heard what they had asked; so are those whose
    /// directory was replaced, of whom it is true that they are bound.
    fn hear_notice(&mut self, is_replaced: bool) {
        self.is_told_to_go = true;
        if self.is_rude {
            return;
        }
        let Weather { as_client, forwards, .. } = self.site.weather;
        let since = match self.bound_at.filter(|_| is_replaced && (as_client || forwards)) {
            Some(bound_at) => self.site.replaced_after(bound_at),
            None => self.site.stopped_at().filter(|_| !is_replaced),
        };
        let Some(since) = since else { return self.wrong("is told to go") };
        // What stands behind a bind is read when that is answered, which was too late.
        if self.bind_answered_at.is_some_and(|answered_at| answered_at >= since) {
            return;
        }
        // A bind silences what was asked before it.
        let has_its_turn = |asked: &Asked| asked.bind == self.binds.0 && self.binds.0 == self.binds.1 + u32::from(asked.is_bind());
        let was_taken = |asked: &&Asked| asked.began + A_MOMENT < since && has_its_turn(asked);
        let forgotten = self.asked.values().filter(was_taken).find(|asked| asked.given_up_at.is_none());
        if let Some(forgotten) = forgotten {
            self.wrong(&format!("is told to go, and was to hear an answer to {forgotten:?}"));
        }
    }

    fn may_be_cut_off(&self) -> bool {
        let drain = self.site.drain;
        self.is_told_to_go || self.site.stopped_at().is_some_and(|stopped_at| stopped_at.elapsed() >= drain)
    }

    fn judge(&mut self, asked: &Asked, code: ResultCode, text: &str, cookie: Vec<u8>) {
        let Weather { is_calm, as_client, .. } = self.site.weather;
        let failures: &[ResultCode] = if is_calm { &[] } else { &[ResultCode::BUSY, ResultCode::UNAVAILABLE] };
        let may = |allowed: &[ResultCode]| allowed.contains(&code) || failures.contains(&code);
        let truth = Arc::clone(&self.site.truth);
        let is_allowed = match &asked.what {
            What::Bind(who, secret) => {
                self.binds.1 = asked.bind;
                self.bind_answered_at = Some(Instant::now());
                self.asked.retain(|_, other| other.bind >= asked.bind);
                self.who = who.filter(|_| code == ResultCode::SUCCESS);
                self.bound_at = self.who.map(|_| asked.began);
                match who {
                    None => code == ResultCode::SUCCESS,
                    Some(who) if *secret != password(*who) => code != ResultCode::SUCCESS && may(&[ResultCode::INVALID_CREDENTIALS]),
                    // Where many have guessed, the guard may have closed.
                    Some(who) if self.site.is_guessed(*who) => may(&[ResultCode::SUCCESS, ResultCode::INVALID_CREDENTIALS]),
                    Some(_) => may(&[ResultCode::SUCCESS]),
                }
            }
            What::Search(question) => {
                let began = question.page.as_ref().map_or(asked.began, |page| page.began);
                for (whose, version) in &asked.seen {
                    if self.who != Some(*whose) {
                        self.wrong(&format!("is {:?} and sees {}", self.who, canary(*whose, *version)));
                    }
                    truth.read(*whose, *version, began, &self.site.weather);
                }
                let expected = match question.base.as_str() {
                    BIG => BIG_ENTRIES,
                    BASE if as_client || self.who.is_none() => PEOPLE,
                    _ => 1,
                };
                let is_whole = code != ResultCode::SUCCESS || self.is_page(question, asked.entries, expected, cookie);
                let needs_bind = as_client && self.who.is_none();
                let is_lost = code == ResultCode::UNWILLING_TO_PERFORM && self.may_lose(question);
                is_whole && if needs_bind { code == ResultCode::INSUFFICIENT_ACCESS_RIGHTS } else { is_lost || may(&[ResultCode::SUCCESS]) }
            }
            What::Compare(whose) if self.who == Some(*whose) => may(&[ResultCode::COMPARE_TRUE, ResultCode::COMPARE_FALSE]),
            What::Compare(_) => may(&[ResultCode::INSUFFICIENT_ACCESS_RIGHTS, ResultCode::NO_SUCH_ATTRIBUTE]),
            What::Write(whose, version) => {
                if code == ResultCode::SUCCESS {
                    truth.acknowledged(*whose, *version);
                } else if !text.contains("unknown") {
                    truth.denied(*whose, *version);
                }
                let own = [if self.site.weather.forwards { ResultCode::SUCCESS } else { ResultCode::UNWILLING_TO_PERFORM }];
                let others = [ResultCode::INSUFFICIENT_ACCESS_RIGHTS, ResultCode::UNWILLING_TO_PERFORM];
                may(if self.who == Some(*whose) { &own } else { &others })
            }
            What::WhoAmI => code == ResultCode::SUCCESS,
        };
        if !is_allowed {
            self.wrong(&format!("is {:?} and hears {code} {text:?} to {asked:?}", self.who));
        }
    }

    /// So many entries are all, or all of that page, and then the rest is asked for next.
    fn is_page(&mut self, question: &Question, entries: usize, expected: usize, cookie: Vec<u8>) -> bool {
        let Some(page) = &question.page else { return entries == expected };
        let before = page.before + entries;
        if cookie.is_empty() {
            return before == expected;
        }
        let is_page = entries == page.size as usize && before < expected;
        self.rest = Some(Question { page: Some(Page { cookie, before, ..page.clone() }), ..question.clone() });
        is_page
    }

    /// What is left of a paged search is good for whoever has begun it alone.
    fn may_lose(&self, question: &Question) -> bool {
        let is_another = |page: &Page| page.bind != self.binds.0 || self.site.replaced_after(page.began).is_some();
        question.page.as_ref().is_some_and(|page| page.before > 0 && is_another(page))
    }

    fn wrong(&self, what: &str) {
        self.site.truth.wrong(&format!("phone {} {what}", self.number));
    }
}

/// Longer than any operation may take, waiting and a second attempt included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until an octet that was sent has been read by whoever reads.
const A_MOMENT: Duration = Duration::from_millis(200);
