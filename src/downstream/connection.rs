//! One connection from a phone: octets in, session and pipeline asked, octets out.
//!
//! One task, one poll function. While it is polled it borrows its thread's scratch buffers; between polls a connection holds memory only for
//! a frame that has not arrived whole and for octets that the phone has not taken. All answers to what one read brought go out in
//! one write. While more than `limits.queued` octets wait, neither frames nor operations are listened to, so a slow phone
//! slows its own answers and nothing else.

use super::operations::{Heard, Operations};
use super::service::Service;
use super::unwritten::{Unwritten, write_now};
use super::when_woken::WhenWoken;
use crate::cache::{Spelling, Standing};
use crate::identity::revocation::Revocation;
use crate::identity::roster::Member;
use crate::identity::{Identity, Principal};
use crate::ldap::ResultCode;
use crate::ldap::frame::Frame;
use crate::lifecycle::Lifecycle;
use crate::pipeline::{Begun, Bound, Client, Hits, Pipeline, Said};
use crate::session::{Accepted, AcceptedRequest, ClientMessageId, Security, Session, Step};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::debug;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All is said: close it in order.
    Closed,
    /// The last that was said is a Notice of Disconnection.
    Noticed,
    /// The StartTLS response has been written: the handshake comes now.
    StartTls,
    /// The stream is broken, or the peer does not take what it is sent.
    Lost,
}

/// One connection, without its stream.
#[derive(Debug)]
pub(super) struct Connection {
    service: Arc<Service>,
    peer: SocketAddr,
    session: Session,
    operations: Operations,
    /// What has been read and not been taken: mostly nothing, else part of a frame.
    received: Vec<u8>,
    unwritten: Unwritten,
    /// The peer's side has not got all that was said.
    unflushed: bool,
    /// Once set, what waits is written, and then this is the end.
    end: Option<End>,
    draining: bool,
    /// When the last whole frame came, or the connection if none has.
    last_frame: Instant,
    greeted: bool,
    /// Since when the peer has taken nothing of what waits.
    stalled_since: Instant,
    timer: Pin<Box<Sleep>>,
    /// What the timer wakes the task for, once it is set.
    timer_is_for: Option<Awaited>,
    /// Where the client is bound: its place among the sessions that may be revoked.
    member: Option<Member>,
    /// Keeps the program from ending before a write that runs on has ended.
    lifecycle: Lifecycle,
}

impl Connection {
    /// A connection that has just been accepted, with TLS from the first octet or not.
    pub(super) fn new(service: Arc<Service>, peer: SocketAddr, ldaps: bool, lifecycle: Lifecycle) -> Self {
        let now = Instant::now();
        Self {
            peer,
            session: Session::new(service.rules, ldaps),
            operations: Operations::default(),
            received: Vec::new(),
            unwritten: Unwritten::default(),
            unflushed: false,
            end: None,
            draining: false,
            last_frame: now,
            greeted: false,
            stalled_since: now,
            timer: Box::pin(sleep_until(now + service.limits.first_message)),
            timer_is_for: None,
            member: None,
            lifecycle,
            service,
        }
    }

    /// What it shares with the listener's other connections.
    pub(super) const fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The handshake is over, and the client's certificate has proved that name, if there is one.
    pub(super) fn tls_started(&mut self, client_name: Option<String>) {
        if self.session.security() == Security::Clear {
            self.session.tls_started();
        }
        if let Some(name) = client_name {
            self.session.certified(Arc::new(Principal::of_redial(name)));
        }
        self.end = None;
        self.last_frame = Instant::now();
    }

    /// Serves until the end, over whichever stream the connection has now.
    ///
    /// Not cancel safe.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> End {
        let lifecycle = self.lifecycle.clone();
        let mut ending = WhenWoken::new(lifecycle.ending());
        let ended = poll_fn(|cx| match self.poll_serve(stream, cx) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending => Pin::new(&mut ending).poll(cx).map(|()| None),
        });
        if let Some(end) = ended.await {
            return end;
        }
        self.draining = true;
        match Box::pin(timeout(self.service.limits.drain, poll_fn(|cx| self.poll_serve(stream, cx)))).await {
            Ok(end) => end,
            Err(_) => {
                debug!(peer = %self.peer, "operations were still in flight at the end of the drain");
                End::Lost
            }
        }
    }

    fn poll_serve<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<End> {
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..ROUNDS {
                match self.round(stream, scratch, cx) {
                    Ok(Round::Progressed) => {}
                    Ok(Round::Waiting) => return self.poll_deadline(cx),
                    Ok(Round::Ended(end)) => return Poll::Ready(end),
                    Err(error) => {
                        debug!(peer = %self.peer, "connection lost: {error}");
                        return Poll::Ready(End::Lost);
                    }
                }
            }
            // A phone that never pauses lets the others have their turn.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Sees to what waits, takes what has arrived, and writes what came of it.
    fn round<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        scratch: &mut Scratch,
        cx: &mut Context<'_>,
    ) -> io::Result<Round> {
        let Scratch { input, output } = scratch;
        output.clear();
        let attended = self.needs_attention() && self.attend(stream, output, cx)?;
        let came = self.take_input(stream, input, output, cx)?;
        if !attended && !came {
            return Ok(Round::Waiting);
        }
        if self.member.is_none() && !self.session.identity().is_anonymous() {
            self.enter_roster(cx);
        }
        if !output.is_empty() {
            self.say(stream, output, cx)?;
        }
        Ok(match self.end {
            Some(end) if !self.unflushed => Round::Ended(end),
            _ => Round::Progressed,
        })
    }

    /// Something is going on besides requests that are answered at once.
    fn needs_attention(&self) -> bool {
        self.unflushed || !self.operations.is_empty() || self.draining || self.revocation().is_some()
    }

    /// Writes what waits, hears the operations, and ends what must end; `true` when anything came of it.
    fn attend<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, out: &mut Vec<u8>, cx: &mut Context<'_>) -> io::Result<bool> {
        let wrote = !self.unwritten.is_empty() && self.unwritten.write(stream, cx)?;
        if wrote {
            self.stalled_since = Instant::now();
        }
        let flushed = self.unflushed && self.flush(stream, cx)?;
        self.end_if_revoked(out);
        let heard = self.hear_operations(out, cx);
        if self.draining && self.end.is_none() && self.session.is_idle() {
            self.end_with_notice(ResultCode::UNAVAILABLE, "the server is shutting down", out);
        }
        Ok(wrote || flushed || heard || !out.is_empty())
    }

    /// Writes what is said as far as the peer takes it; the rest waits.
    fn say<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, out: &mut Vec<u8>, cx: &mut Context<'_>) -> io::Result<()> {
        let waited_before = self.unflushed;
        write_now(stream, cx, out, &mut self.unwritten)?;
        out.shrink_to(MOST_SCRATCH);
        if !self.flush(stream, cx)? && !waited_before {
            self.stalled_since = Instant::now();
        }
        Ok(())
    }

    /// `true` when the peer's side has all that was said.
    fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> io::Result<bool> {
        self.unflushed = !self.unwritten.is_empty() || Pin::new(stream).poll_flush(cx)?.is_pending();
        Ok(!self.unflushed)
    }

    fn hear_operations(&mut self, out: &mut Vec<u8>, cx: &mut Context<'_>) -> bool {
        let mut heard_any = false;
        while !self.operations.is_empty() && self.end.is_none() && self.has_room(out) {
            let Poll::Ready(heard) = self.operations.poll_heard(cx) else { break };
            heard_any = true;
            match heard {
                Heard::Said(said) => self.let_out(said, out, cx),
                Heard::BrokeOff(message_id) => self.session.broke_off(message_id, out),
                Heard::SilentEnded => self.session.silent_ended(),
            }
        }
        heard_any
    }

    /// The session decides whether the client may still hear it.
    fn let_out(&mut self, said: Said, out: &mut Vec<u8>, cx: &Context<'_>) {
        let (may, messages) = match said {
            Said::Part(message_id, messages) => (self.session.may_answer(message_id), messages),
            Said::Finished(message_id, messages) => (self.session.finished(message_id), messages),
            Said::Answer(message_id, answer) => {
                if self.session.finished(message_id) {
                    answer.write(message_id.wire(), out);
                }
                return;
            }
            Said::BindFinished(message_id, bound, message) => (self.bind_finished(message_id, bound, cx), message),
        };
        if may {
            out.extend_from_slice(&messages);
        }
    }

    /// Nobody, or whoever the client has proved to be, until that is revoked.
    fn bind_finished(&mut self, message_id: ClientMessageId, bound: Option<Bound>, cx: &Context<'_>) -> bool {
        let (identity, member) = match bound {
            Some(Bound { principal, member }) => (Identity::Bound(principal), Some(member)),
            None => (Identity::Anonymous, None),
        };
        let may = self.session.bind_finished(message_id, identity);
        if let Some(member) = member.filter(|_| may) {
            member.confirm(cx.waker(), Instant::now());
            self.member = Some(member);
        }
        may
    }

    /// A session that its certificate has bound: there was nobody to ask, so it is not in the roster yet.
    fn enter_roster(&mut self, cx: &Context<'_>) {
        if self.end.is_none() {
            let member = self.service.pipeline.load().enter(&self.client());
            member.confirm(cx.waker(), Instant::now());
            self.member = Some(member);
        }
    }

    /// A session that is revoked is its principal's no longer, and says so.
    fn end_if_revoked(&mut self, out: &mut Vec<u8>) {
        match self.revocation() {
            None => {}
            Some(why) if why.waits_until_idle() && !self.session.is_idle() => {}
            Some(why) => {
                debug!(peer = %self.peer, "disconnected: {}", why.diagnostic());
                self.service.metrics.session_revoked(why);
                self.operations.abandon_all();
                self.session.revoked(why, out);
                self.member = None;
                self.end = Some(End::Noticed);
            }
        }
    }

    fn revocation(&self) -> Option<Revocation> {
        self.member.as_ref().filter(|_| self.end.is_none())?.revoked()
    }

    /// Takes frames that have arrived already, else reads once. `true` when anything came.
    fn take_input<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        input: &mut [u8],
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        if !self.takes_frames(out) {
            return Ok(false);
        }
        if !self.received.is_empty() && self.take_received(out) {
            return Ok(true);
        }
        let mut buf = ReadBuf::new(input);
        let Poll::Ready(()) = Pin::new(stream).poll_read(cx, &mut buf)? else { return Ok(false) };
        let octets = buf.filled_mut();
        if octets.is_empty() {
            self.end = Some(End::Closed);
        } else if self.received.is_empty() {
            let taken = self.take_frames(octets, out);
            if let Some(rest) = octets.get_mut(taken..).filter(|rest| !rest.is_empty()) {
                self.received.extend_from_slice(rest);
                rest.fill(0);
            }
        } else {
            self.received.extend_from_slice(octets);
            octets.fill(0);
            self.take_received(out);
        }
        Ok(true)
    }

    /// Takes the whole frames among what was kept; `true` if there was one.
    fn take_received(&mut self, out: &mut Vec<u8>) -> bool {
        let mut received = std::mem::take(&mut self.received);
        let taken = self.take_frames(&mut received, out);
        let length = received.len();
        if taken < length {
            received.drain(..taken);
            // A password may be in it, and here is where it was moved away from.
            received.resize(length, 0);
            received.truncate(length - taken);
            self.received = received;
        }
        taken > 0 || self.end.is_some()
    }

    /// Takes whole frames from the front of `octets`, the first one in any case and others while the session takes any, and says how many octets
    /// that were. Those that memory did not answer are wiped: a password may have been among them, and the thread keeps its buffer.
    fn take_frames(&mut self, octets: &mut [u8], out: &mut Vec<u8>) -> usize {
        let now = Instant::now();
        let pipeline = self.service.pipeline.load();
        let mut hits = pipeline.hits(now);
        let mut taken = 0;
        loop {
            let rest = octets.get(taken..).unwrap_or_default();
            let frame = match Frame::first_of(rest, self.message_limit()) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    self.end_with_notice(ResultCode::PROTOCOL_ERROR, &error.to_string(), out);
                    break;
                }
            };
            let length = frame.octets.len();
            taken += length;
            if !self.repeat(frame, &pipeline, &mut hits, out) {
                let said_before = out.len();
                self.take_frame(frame.octets, &pipeline, now, out);
                if let Some(done) = octets.get_mut(taken - length..taken) {
                    done.fill(0);
                }
                if self.end == Some(End::StartTls) && taken < octets.len() {
                    // Whoever wrote these octets wrote them without TLS; as part of the session under TLS they would be an attacker's
                    // (CVE-2011-0411).
                    out.truncate(said_before);
                    self.end_with_notice(ResultCode::PROTOCOL_ERROR, "octets behind a StartTLS request", out);
                }
            }
            if taken == octets.len() || !self.takes_frames(out) {
                break;
            }
        }
        if taken > 0 {
            self.last_frame = now;
            self.greeted = true;
        }
        taken
    }

    /// Answers what was asked before, to the octet, by somebody who may see the same; `false` where the frame must be taken apart.
    fn repeat(&self, frame: Frame<'_>, pipeline: &Pipeline, hits: &mut Hits<'_>, out: &mut Vec<u8>) -> bool {
        let Some(standing) = self.session.standing().filter(|&standing| pipeline.gave(standing)) else { return false };
        let Some((message_id, op)) = self.session.repeatable(frame) else { return false };
        hits.answer(&Spelling { standing, op }, message_id, out)
    }

    // Out of line, so that what takes no frame apart is spared its room.
    #[inline(never)]
    fn take_frame(&mut self, frame: &[u8], pipeline: &Arc<Pipeline>, now: Instant, out: &mut Vec<u8>) {
        let said_before = out.len();
        match self.session.receive(frame, out) {
            Step::Continue => {}
            Step::Run(accepted) => self.begin(&accepted, pipeline, now, out),
            Step::Abandon(message_id) => self.operations.abandon(message_id),
            Step::AbandonAllThenRun(accepted) => {
                self.operations.abandon_all();
                self.member = None;
                self.begin(&accepted, pipeline, now, out);
            }
            Step::AbandonAll(answered) => {
                self.operations.abandon_all();
                self.member = None;
                pipeline.bind_answered(&self.client(), &answered, now);
            }
            Step::StartTls => self.end = Some(End::StartTls),
            Step::Close => {
                self.operations.abandon_all();
                self.end = Some(if out.len() > said_before { End::Noticed } else { End::Closed });
            }
        }
    }

    fn begin(&mut self, accepted: &Accepted<'_>, pipeline: &Arc<Pipeline>, now: Instant, out: &mut Vec<u8>) {
        let message_id = accepted.message_id;
        let mut client = self.client();
        if matches!(accepted.request, AcceptedRequest::Search(_)) {
            client.standing = self.standing(&client, pipeline);
        }
        match pipeline.begin(&client, accepted, now, out) {
            Begun::Answered(_) => {
                self.session.finished(message_id);
            }
            Begun::Running(running) => {
                let pipeline = Arc::clone(pipeline);
                let lifecycle = self.lifecycle.clone();
                self.operations.start(message_id, accepted.request.runs_to_its_end(), |outbox| {
                    let work = pipeline.finish(running, outbox);
                    async move {
                        work.await;
                        drop(lifecycle);
                    }
                });
            }
        }
    }

    /// Who asks now. Put together for each operation: what thousands of idle connections need not hold, they do not.
    fn client(&self) -> Client {
        let identity = self.session.identity().clone();
        Client::new(self.peer, self.service.listener, self.session.security(), identity)
    }

    /// The client's standing in that pipeline: found out once, with the first search.
    fn standing(&mut self, client: &Client, pipeline: &Pipeline) -> Option<Standing> {
        if !self.session.standing().is_some_and(|standing| pipeline.gave(standing)) {
            self.session.set_standing(pipeline.standing(client));
        }
        self.session.standing()
    }

    fn end_with_notice(&mut self, code: ResultCode, diagnostic: &str, out: &mut Vec<u8>) {
        debug!(peer = %self.peer, "disconnected: {diagnostic}");
        self.session.notice(code, diagnostic, out);
        self.operations.abandon_all();
        self.end = Some(End::Noticed);
    }

    fn takes_frames(&self, out: &[u8]) -> bool {
        self.end.is_none() && !self.draining && self.session.may_receive() && self.has_room(out) && self.revocation().is_none()
    }

    fn has_room(&self, out: &[u8]) -> bool {
        self.unwritten.len() + out.len() <= self.service.limits.queued
    }

    fn message_limit(&self) -> usize {
        if self.session.identity().is_anonymous() { self.service.limits.message } else { self.service.limits.bound_message }
    }

    /// Ready when a deadline has passed.
    #[inline]
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.awaited() {
            None => Poll::Pending,
            // As long as the same is awaited its deadline only moves away: the timer is not moved with it, and may fire early.
            Some(awaited) if self.timer_is_for == Some(awaited) && !self.timer.is_elapsed() => Poll::Pending,
            Some(awaited) => self.poll_timer(awaited, cx),
        }
    }

    // Out of line, so that a timer that need not be touched costs next to nothing.
    #[inline(never)]
    fn poll_timer(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> Poll<End> {
        let (deadline, end) = self.deadline(awaited);
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                debug!(peer = %self.peer, "closed after a deadline: {end:?}");
                return Poll::Ready(end);
            }
            self.timer.as_mut().reset(deadline);
        }
        self.timer_is_for = Some(awaited);
        Poll::Pending
    }

    /// What the peer must do before a deadline; nothing while its operations run, which have deadlines of their own.
    fn awaited(&self) -> Option<Awaited> {
        if self.unflushed {
            Some(Awaited::Progress)
        } else if !self.session.is_idle() {
            None
        } else if self.greeted {
            Some(Awaited::NextFrame)
        } else {
            Some(Awaited::FirstFrame)
        }
    }

    /// Until when that must have happened, and the end if it has not.
    fn deadline(&self, awaited: Awaited) -> (Instant, End) {
        let limits = &self.service.limits;
        match awaited {
            Awaited::Progress => (self.stalled_since + limits.write_stall, End::Lost),
            Awaited::NextFrame => (self.last_frame + limits.idle, End::Closed),
            Awaited::FirstFrame => (self.last_frame + limits.first_message, End::Closed),
        }
    }
}

/// What the peer must do before a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Say something at all.
    FirstFrame,
    /// Say something more.
    NextFrame,
    /// Take what is written to it.
    Progress,
}

/// What a round came to.
enum Round {
    /// Something happened: there may be more.
    Progressed,
    /// Nothing can be done before somebody wakes the task.
    Waiting,
    /// It is over.
    Ended(End),
}

/// Buffers that a connection borrows while it is polled.
struct Scratch {
    input: Box<[u8]>,
    output: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { input: vec![0; READ_AT_ONCE].into_boxed_slice(), output: Vec::with_capacity(READ_AT_ONCE) });
}

/// Octets read at once: a TLS record's worth, and many pipelined requests.
const READ_AT_ONCE: usize = 16 * 1024;
/// A large answer does not leave its memory with the thread.
const MOST_SCRATCH: usize = 1024 * 1024;
/// Rounds of one poll.
const ROUNDS: usize = 32;
