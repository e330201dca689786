//! The task that owns one connection to a controller: requests in, frames out, replies to their operations.
//!
//! Every frame's whole tree of lengths is checked before it is believed. A messageID that is foreign or used up, a response that does not
//! fit its request, a message over the limit: each ends the connection and fails its operations, and is never delivered. A Notice of
//! Disconnection (RFC 4511 section 4.4.1) ends it gently. Whatever ends it, every operation hears of it.

use super::message_ids::{Addressee, MessageIds, UpstreamMessageId};
use super::outbox::{Outbox, Payload};
use super::replies::{Queue, Replies};
use super::{Outgoing, Settings, Shared};
use crate::directory::{DirectoryError, Done, Reply};
use crate::ldap::ber::{self, Reader};
use crate::ldap::envelope::op;
use crate::ldap::frame::frame_length;
use crate::ldap::message::LdapResult;
use crate::ldap::response::response_tag;
use crate::ldap::{Envelope, MessageId, oid};
use crate::lifecycle::Lifecycle;
use bytes::{Bytes, BytesMut};
use futures_util::future::select;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::debug;

/// An operation to begin.
#[derive(Debug)]
pub(crate) struct Command {
    /// What to send.
    pub(crate) request: Outgoing,
    /// Where its replies go.
    pub(crate) replies: Replies,
}

/// Drives a connection to its end. Not cancel safe: spawn it.
pub(crate) async fn drive<S>(stream: S, commands: mpsc::Receiver<Command>, shared: Arc<Shared>, settings: Settings, lifecycle: Lifecycle)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let now = Instant::now();
    let driver = Driver {
        commands,
        commands_over: false,
        shared,
        settings,
        ids: MessageIds::new(),
        inbox: BytesMut::new(),
        outbox: Outbox::default(),
        full: None,
        unread: Vec::new(),
        noticed: false,
        opened: now,
        last_used: now,
        last_written: now,
    };
    driver.run(stream, lifecycle).await;
}

struct Driver {
    commands: mpsc::Receiver<Command>,
    commands_over: bool,
    shared: Arc<Shared>,
    settings: Settings,
    ids: MessageIds<Pending>,
    inbox: BytesMut,
    outbox: Outbox,
    /// So many octets wait for their readers that nothing more is read.
    full: Option<Full>,
    /// What may still wait for readers of operations that have ended.
    unread: Vec<Arc<Queue>>,
    /// The controller has said that it will close.
    noticed: bool,
    opened: Instant,
    last_used: Instant,
    last_written: Instant,
}

/// An operation that waits for responses.
#[derive(Debug)]
struct Pending {
    request_tag: u8,
    response_tag: u8,
    replies: Replies,
    /// The place of its first octet in the stream.
    place: u64,
}

/// Why nothing is read.
#[derive(Debug)]
struct Full {
    since: Instant,
    /// For this reader most octets waited then.
    slowest: Arc<Queue>,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Nobody needs it any more.
    Finished,
    /// The stream broke off or stands still.
    Lost,
    /// The controller broke the protocol.
    Misbehaved(&'static str),
}

enum Event {
    Command(Option<Command>),
    Read(io::Result<usize>),
    Pushed(io::Result<()>),
    Room,
    LetGo,
    Tick,
    Ending,
}

impl Driver {
    async fn run<S: AsyncRead + AsyncWrite + Send>(mut self, stream: S, lifecycle: Lifecycle) {
        let (mut reader, mut writer) = split(Box::pin(stream));
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        let (mut ending, mut has_read) = (false, false);
        let end = loop {
            if self.commands_over && self.ids.is_empty() && self.outbox.is_empty() {
                break End::Finished;
            }
            self.make_room();
            let may_take = !self.commands_over && self.outbox.len() < OUTBOX_AT_MOST;
            let is_full = self.full.is_some();
            let has_output = !self.outbox.is_empty();
            // In an order that a test can play again. What comes first here comes seldom, or because of what comes last.
            let event = tokio::select! {
                biased;
                () = lifecycle.ending(), if !ending => Event::Ending,
                _ = tick.tick() => Event::Tick,
                () = shared.let_go.notified() => Event::LetGo,
                () = shared.backlog.has_room(), if is_full => Event::Room,
                pushed = self.outbox.push(&mut writer), if has_output => Event::Pushed(pushed),
                event = in_turn(
                    has_read,
                    when(may_take, async { Event::Command(self.commands.recv().await) }),
                    when(!is_full, async { Event::Read(reader.read_buf(&mut self.inbox).await) }),
                ) => event,
            };
            ending |= matches!(event, Event::Ending);
            match event {
                Event::Command(_) => has_read = false,
                Event::Read(_) => has_read = true,
                _ => {}
            }
            if let Err(end) = self.on(event, Instant::now()) {
                break end;
            }
        };
        self.finish(end, &mut writer).await;
    }

    fn on(&mut self, event: Event, now: Instant) -> Result<(), End> {
        match event {
            Event::Command(Some(command)) => self.take(command, now),
            Event::Command(None) => self.commands_over = true,
            Event::Read(Ok(0)) => return Err(End::Lost),
            Event::Read(Ok(_)) => {
                self.shared.reads.fetch_add(1, Ordering::Relaxed);
                self.receive_all(now)?;
            }
            Event::Pushed(Ok(())) => self.last_written = now,
            Event::Room => {
                self.has_room(now);
                self.receive_all(now)?;
            }
            Event::LetGo => {
                self.abandon_dropped()?;
                self.receive_all(now)?;
            }
            Event::Tick => self.tick(now)?,
            // Not at once: operations in flight on the other side may need one more answer.
            Event::Ending => self.settings.idle = self.settings.idle.min(TICK),
            Event::Read(Err(error)) | Event::Pushed(Err(error)) => {
                debug!(%error, "connection to a controller broke");
                return Err(End::Lost);
            }
        }
        Ok(())
    }

    /// Takes a request, and those that wait behind it: they leave in one write.
    fn take(&mut self, command: Command, now: Instant) {
        self.send(command, now);
        while self.outbox.len() < OUTBOX_AT_MOST
            && let Ok(command) = self.commands.try_recv()
        {
            self.send(command, now);
        }
    }

    fn send(&mut self, command: Command, now: Instant) {
        let Command { request, replies } = command;
        if self.noticed {
            replies.fail(DirectoryError::ConnectionLost { sent: false });
            return;
        }
        let request_tag = request.op.octets().first().copied().unwrap_or_default();
        let Some(response_tag) = response_tag(request_tag) else {
            replies.fail(DirectoryError::NotSupported);
            return;
        };
        if replies.is_closed() {
            return;
        }
        if self.outbox.is_empty() {
            self.last_written = now;
        }
        self.last_used = now;
        if let Some(full) = self.full.take() {
            // Whoever is the first to wait for a slow reader has not waited before.
            let since = if self.others_wait(&full.slowest) { full.since } else { now };
            self.full = Some(Full { since, ..full });
        }
        let id = self.ids.begin(Pending { request_tag, response_tag, replies, place: 0 });
        let place = self.outbox.append(id, &request.op, request.controls.as_deref());
        if let Some(pending) = self.ids.operation(id) {
            pending.place = place;
        }
    }

    /// Takes the whole frames out of the inbox, until too much waits for the readers.
    fn receive_all(&mut self, now: Instant) -> Result<(), End> {
        while self.full.is_none() {
            let length = frame_length(&self.inbox, self.settings.frame_limit).map_err(|error| {
                debug!(%error, "a controller's message cannot be framed");
                End::Misbehaved("a message that cannot be framed")
            })?;
            let Some(length) = length.filter(|length| *length <= self.inbox.len()) else { break };
            let frame = self.inbox.split_to(length).freeze();
            self.receive(&frame, now)?;
        }
        Ok(())
    }

    fn receive(&mut self, frame: &Bytes, now: Instant) -> Result<(), End> {
        let envelope = Envelope::parse(frame).map_err(|_| End::Misbehaved("a malformed message"))?;
        if envelope.message_id == MessageId::UNSOLICITED {
            return self.unsolicited(&envelope);
        }
        self.last_used = now;
        let (id, pending) = match self.ids.addressee(envelope.message_id) {
            Addressee::Operation(id, pending) => (id, pending),
            Addressee::Abandoned(id) => {
                if !is_partial(envelope.op_tag) {
                    self.ids.forget(id);
                }
                return Ok(());
            }
            Addressee::Nobody => return Err(End::Misbehaved("a response to nothing that was asked")),
        };
        if envelope.op_tag == pending.response_tag {
            return self.complete(id, frame, &envelope);
        }
        if !pending.may_get(envelope.op_tag) {
            return Err(End::Misbehaved("a response that does not fit its request"));
        }
        let op = frame.slice_ref(envelope.op);
        let reply = match envelope.op_tag {
            op::SEARCH_RESULT_ENTRY => Reply::Entry(op),
            op::INTERMEDIATE_RESPONSE => Reply::Intermediate(op),
            // References are never chased, and phones choke on them.
            _ => return Ok(()),
        };
        if !pending.replies.send(reply) {
            return self.abandon(id);
        }
        if self.shared.backlog.is_full() {
            self.full = self.slowest().map(|slowest| Full { since: now, slowest });
        }
        Ok(())
    }

    fn complete(&mut self, id: UpstreamMessageId, frame: &Bytes, envelope: &Envelope<'_>) -> Result<(), End> {
        let result = LdapResult::parse(envelope.op_content).map_err(|_| End::Misbehaved("a malformed result"))?;
        let done = Done {
            code: result.code,
            op: frame.slice_ref(envelope.op),
            controls: envelope.controls.map(|controls| frame.slice_ref(controls)),
        };
        if let Some(pending) = self.ids.end(id) {
            // Whoever does not read any more does not want to know.
            let _ = pending.replies.send(Reply::Done(done));
            if pending.replies.queue().waiting() > 0 {
                if self.unread.len() >= MOST_UNREAD {
                    self.forget_read();
                }
                self.unread.push(Arc::clone(pending.replies.queue()));
            }
        }
        Ok(())
    }

    /// RFC 4511 section 4.4: one that we do not know is ignored, but it must be an ExtendedResponse.
    fn unsolicited(&mut self, envelope: &Envelope<'_>) -> Result<(), End> {
        if envelope.op_tag != op::EXTENDED_RESPONSE {
            return Err(End::Misbehaved("a response without a messageID"));
        }
        if response_name(envelope.op_content) == Some(oid::NOTICE_OF_DISCONNECTION.as_bytes()) {
            debug!("a controller announced that it will disconnect");
            self.noticed = true;
            self.retire();
        }
        Ok(())
    }

    /// Takes no new operations; what was begun goes on.
    fn retire(&mut self) {
        self.shared.open.store(false, Ordering::Release);
        self.commands.close();
    }

    /// Room for the next read. What is left of a buffer is used first, so that a small answer costs no new one.
    fn make_room(&mut self) {
        if self.inbox.capacity() - self.inbox.len() < READ_AT_LEAST {
            self.inbox.reserve(BUFFER);
        }
    }

    /// Reading goes on. If others waited, that is charged to the reader for whom most waited.
    fn has_room(&mut self, now: Instant) {
        let Some(full) = self.full.take() else { return };
        if self.others_wait(&full.slowest) {
            full.slowest.charge(now - full.since);
        }
    }

    /// Does anybody but this reader wait for responses?
    fn others_wait(&self, reader: &Arc<Queue>) -> bool {
        self.ids.operations().any(|pending| !Arc::ptr_eq(pending.replies.queue(), reader))
    }

    /// The reader for whom most octets wait.
    fn slowest(&self) -> Option<Arc<Queue>> {
        let queues = self.ids.operations().map(|pending| pending.replies.queue()).chain(&self.unread);
        queues.max_by_key(|queue| queue.waiting()).cloned()
    }

    fn forget_read(&mut self) {
        self.unread.retain(|queue| queue.waiting() > 0);
    }

    fn abandon_dropped(&mut self) -> Result<(), End> {
        for id in self.ids.matching(|pending| pending.replies.is_closed()) {
            self.abandon(id)?;
        }
        Ok(())
    }

    /// Gives an operation up. A write is left to finish: telling the controller to stop would leave its outcome unknown.
    fn abandon(&mut self, id: UpstreamMessageId) -> Result<(), End> {
        let Some(pending) = self.ids.abandon(id) else { return Ok(()) };
        match pending.request_tag {
            // A bind cannot be abandoned, and nobody may use a connection whose identity is open.
            op::BIND_REQUEST if !self.settings.fast_bind => return Err(End::Finished),
            op::SEARCH_REQUEST | op::COMPARE_REQUEST => {
                let mut request = Vec::with_capacity(8);
                ber::write_integer(&mut request, op::ABANDON_REQUEST, id.wire().number());
                let abandon_id = self.ids.unanswered();
                self.outbox.append(abandon_id, &Payload::Open(request.into()), None);
            }
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<(), End> {
        let Settings { idle, max_age, stall, .. } = self.settings;
        if !self.outbox.is_empty() && now - self.last_written >= stall {
            debug!("a controller does not take requests");
            return Err(End::Lost);
        }
        if self.ids.is_empty() && now - self.last_used >= idle || max_age.is_some_and(|age| now - self.opened >= age) {
            self.retire();
        }
        self.forget_read();
        self.give_up_slow_reader(now)?;
        self.receive_all(now)
    }

    fn give_up_slow_reader(&mut self, now: Instant) -> Result<(), End> {
        let Some(full) = self.full.take() else { return Ok(()) };
        if !self.others_wait(&full.slowest) || full.slowest.charge(now - full.since) < HELD_UP {
            self.full = Some(Full { since: now, ..full });
            return Ok(());
        }
        // The fault is on our side, so it must not count against the controller.
        full.slowest.give_up(DirectoryError::Busy);
        self.abandon_dropped()
    }

    /// Tells every operation, and the controller where it still listens.
    async fn finish(mut self, end: End, writer: &mut WriteHalf<impl AsyncRead + AsyncWrite + Unpin>) {
        self.retire();
        if let End::Misbehaved(why) = end {
            debug!(why, "a controller broke the protocol; its connection is dropped");
        }
        let left = self.outbox.left();
        for pending in self.ids.take_all() {
            pending.replies.fail(match end {
                End::Misbehaved(why) if pending.place < left => DirectoryError::Misbehaved(why),
                End::Misbehaved(_) | End::Finished | End::Lost => DirectoryError::ConnectionLost { sent: pending.place < left },
            });
        }
        while let Some(command) = self.commands.recv().await {
            command.replies.fail(DirectoryError::ConnectionLost { sent: false });
        }
        if matches!(end, End::Finished) {
            let id = self.ids.unanswered();
            self.outbox.append(id, &Payload::Open(Bytes::from_static(&[op::UNBIND_REQUEST, 0])), None);
            let goodbye = async {
                while !self.outbox.is_empty() {
                    self.outbox.push(writer).await?;
                }
                writer.shutdown().await
            };
            // Courtesy; a controller that no longer listens is not waited for.
            let _ = timeout(GOODBYE, goodbye).await;
        }
    }
}

impl Pending {
    /// A response before the last that fits the request.
    const fn may_get(&self, tag: u8) -> bool {
        match tag {
            op::SEARCH_RESULT_ENTRY | op::SEARCH_RESULT_REFERENCE => self.request_tag == op::SEARCH_REQUEST,
            op::INTERMEDIATE_RESPONSE => self.request_tag != op::BIND_REQUEST,
            _ => false,
        }
    }
}

/// Whichever of two comes, the first of them first where both do and `is_firsts_turn`: requests and responses do not wait behind each other for
/// ever. Cancel safe as they are.
async fn in_turn(is_firsts_turn: bool, first: impl Future<Output = Event>, second: impl Future<Output = Event>) -> Event {
    let (first, second) = (pin!(first), pin!(second));
    if is_firsts_turn { select(first, second).await.factor_first().0 } else { select(second, first).await.factor_first().0 }
}

/// `work`, or nothing for ever.
async fn when(is_wanted: bool, work: impl Future<Output = Event>) -> Event {
    if is_wanted { work.await } else { std::future::pending().await }
}

/// More responses to the same request follow.
const fn is_partial(tag: u8) -> bool {
    matches!(tag, op::SEARCH_RESULT_ENTRY | op::SEARCH_RESULT_REFERENCE | op::INTERMEDIATE_RESPONSE)
}

/// The responseName of an ExtendedResponse (RFC 4511 section 4.12).
fn response_name(op_content: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(op_content);
    while let Ok(element) = reader.element() {
        if element.tag == RESPONSE_NAME {
            return Some(element.content);
        }
    }
    None
}

/// `responseName [10] LDAPOID`.
const RESPONSE_NAME: u8 = 0x8a;
/// How often idleness, age and stalls are looked at; their limits are tens of seconds.
const TICK: Duration = Duration::from_secs(1);
/// For Unbind and the transport's closing.
const GOODBYE: Duration = Duration::from_secs(1);
/// So long in all may one reader keep others waiting; whoever can has gone to another connection by then.
const HELD_UP: Duration = Duration::from_secs(1);
/// Room in the inbox before each read.
const READ_AT_LEAST: usize = 1024;
/// Octets of one buffer, which lives as long as a reply in it.
const BUFFER: usize = 8 * 1024;
/// Ended operations that are remembered before those whose replies have been read are looked for.
const MOST_UNREAD: usize = 64;
/// Octets of requests that wait before no more are taken from the queue.
const OUTBOX_AT_MOST: usize = 64 * 1024;
