//! Controllers of one directory in memory that replicate with a delay, each over streams without sockets, so that the clock may be paused.

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use redial::config::Server;
use redial::ldap::ber::Reader;
use redial::ldap::envelope::write_envelope;
use redial::ldap::frame::frame_length;
use redial::ldap::message::Request;
use redial::ldap::response::{response_tag, write_entry_op, write_result_op};
use redial::ldap::{Envelope, MessageId, ResultCode};
use redial::upstream::{Dial, Stream};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// The controllers: `dc0`, `dc1` ... with one number for each entry.
#[derive(Debug)]
pub(crate) struct Replicas {
    state: Mutex<State>,
    nature: Nature,
    /// By server.
    up: Vec<watch::Sender<bool>>,
}

/// What the controllers are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    /// How many there are.
    pub(crate) servers: usize,
    /// This one refers writes to another.
    pub(crate) read_only: Option<usize>,
    /// One write in so many is never answered; half of these are carried out.
    pub(crate) silent_one_in: Option<u32>,
    /// No write takes longer than this from one controller to another.
    pub(crate) lag: Duration,
}

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    /// By server, then by entry.
    values: Vec<Vec<u32>>,
    /// Each write that a server took: entry and value.
    taken: Vec<(usize, u32)>,
    /// By server: searches that arrived.
    searches: Vec<usize>,
    /// By server: writes that arrived.
    writes: Vec<usize>,
    /// The servers that took writes, in order.
    homes: Vec<usize>,
    /// Each search that was answered, by its number.
    answers: Vec<Answered>,
}

/// An answer to a search. Its number is the first value of each of its entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// When the search arrived, another server had taken a write that this one had not got.
    pub(crate) is_behind: bool,
    /// When it left; `None`: not yet.
    pub(crate) left_at: Option<Instant>,
}

/// Reaches these controllers by their names.
#[derive(Debug)]
pub(crate) struct ByName(pub(crate) Arc<Replicas>);

impl Dial for ByName {
    fn dial(&self, server: &Server) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let replicas = Arc::clone(&self.0);
        let number: usize = server.host.trim_start_matches("dc").parse().unwrap();
        Box::pin(async move {
            if !*replicas.up[number].borrow() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = duplex(64 * 1024);
            tokio::spawn(replicas.serve(number, far));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

impl Replicas {
    pub(crate) fn new(seed: u64, entries: usize, nature: Nature) -> Arc<Self> {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            values: vec![vec![0; entries]; nature.servers],
            taken: Vec::new(),
            searches: vec![0; nature.servers],
            writes: vec![0; nature.servers],
            homes: Vec::new(),
            answers: Vec::new(),
        };
        let up = (0..nature.servers).map(|_| watch::Sender::new(true)).collect();
        Arc::new(Self { state: Mutex::new(state), nature, up })
    }

    /// The writes that servers took, as entry and value.
    pub(crate) fn taken(&self) -> Vec<(usize, u32)> {
        self.state.lock().unwrap().taken.clone()
    }

    /// Writes that arrived so far, by server.
    pub(crate) fn writes_heard(&self) -> Vec<usize> {
        self.state.lock().unwrap().writes.clone()
    }

    /// Which server took each write.
    pub(crate) fn homes(&self) -> Vec<usize> {
        self.state.lock().unwrap().homes.clone()
    }

    /// Searches so far, by server.
    pub(crate) fn searches(&self) -> Vec<usize> {
        self.state.lock().unwrap().searches.clone()
    }

    /// The answers to searches so far, by their numbers.
    pub(crate) fn answers(&self) -> Vec<Answered> {
        self.state.lock().unwrap().answers.clone()
    }

    /// Closes its connections and takes no more, until it is up again.
    pub(crate) fn is_up(&self, server: usize, up: bool) {
        self.up[server].send_replace(up);
    }

    async fn serve(self: Arc<Self>, server: usize, stream: DuplexStream) {
        let (mut reader, mut writer) = split(stream);
        let (sender, mut responses) = mpsc::unbounded_channel::<Vec<u8>>();
        let writing = tokio::spawn(async move {
            while let Some(response) = responses.recv().await {
                if writer.write_all(&response).await.is_err() {
                    return;
                }
            }
        });
        let mut inbox = BytesMut::new();
        let mut up = self.up[server].subscribe();
        loop {
            while let Some(length) = frame_length(&inbox, 1 << 20).unwrap().filter(|length| *length <= inbox.len()) {
                let frame = inbox.split_to(length).freeze();
                let (this, sender) = (Arc::clone(&self), sender.clone());
                tokio::spawn(async move {
                    sleep(this.pause()).await;
                    let Some((response, search)) = this.respond(server, &frame) else { return };
                    sleep(this.pause()).await;
                    if let Some(search) = search {
                        this.state.lock().unwrap().answers[search].left_at = Some(Instant::now());
                    }
                    let _ = sender.send(response);
                });
            }
            let read = tokio::select! {
                read = reader.read_buf(&mut inbox) => read.unwrap_or(0),
                _ = up.wait_for(|up| !up) => 0,
            };
            if read == 0 {
                writing.abort();
                return;
            }
        }
    }

    /// Up to 20 ms, mostly short.
    fn pause(&self) -> Duration {
        let mut state = self.state.lock().unwrap();
        let most = if state.random.u8(..8) == 0 { 20_000 } else { 2_000 };
        Duration::from_micros(state.random.u64(..most))
    }

    /// The response, and the number of the search that it answers.
    fn respond(self: &Arc<Self>, server: usize, frame: &[u8]) -> Option<(Vec<u8>, Option<usize>)> {
        let envelope = Envelope::parse(frame).unwrap();
        let (mut out, mut number) = (Vec::new(), None);
        match Request::parse(&envelope).unwrap() {
            Request::Search(search) if search.base_object.is_empty() => {
                write_entry(&mut out, envelope.message_id, "", "objectClass", &["top"])
            }
            Request::Search(search) => {
                let mut state = self.state.lock().unwrap();
                state.searches[server] += 1;
                let lacks = |other: &Vec<u32>| state.values[server].iter().zip(other).any(|(own, other)| own < other);
                let is_behind = state.values.iter().any(lacks);
                number = Some(state.answers.len());
                state.answers.push(Answered { is_behind, left_at: None });
                let number = format!("search {}", state.answers.len() - 1);
                for (entry, value) in state.values[server].iter().enumerate() {
                    let name = name(entry);
                    if search.base_object == BASE || search.base_object == name {
                        write_entry(&mut out, envelope.message_id, &name, "telephoneNumber", &[&number, &value.to_string()]);
                    }
                }
            }
            Request::Write(write) => {
                let code = self.write(server, write.target, number_in(write.op))?;
                return Some((result(&envelope, code), None));
            }
            Request::Unbind | Request::Abandon(_) => return None,
            _ => {}
        }
        out.extend(result(&envelope, ResultCode::SUCCESS));
        Some((out, number))
    }

    fn write(self: &Arc<Self>, server: usize, target: &str, value: u32) -> Option<ResultCode> {
        let mut state = self.state.lock().unwrap();
        state.writes[server] += 1;
        if self.nature.read_only == Some(server) {
            return Some(ResultCode::REFERRAL);
        }
        let is_silent = self.nature.silent_one_in.is_some_and(|one_in| state.random.u32(..one_in) == 0);
        if is_silent && state.random.bool() {
            return None;
        }
        let entry = (0..state.values[server].len()).find(|entry| name(*entry) == target).unwrap();
        state.taken.push((entry, value));
        state.homes.push(server);
        state.values[server][entry] = value;
        let lag = u64::try_from(self.nature.lag.as_millis()).unwrap();
        for other in (0..self.nature.servers).filter(|other| *other != server) {
            let (this, lag) = (Arc::clone(self), Duration::from_millis(state.random.u64(lag / 2..=lag)));
            tokio::spawn(async move {
                sleep(lag).await;
                let known = &mut this.state.lock().unwrap().values[other][entry];
                *known = (*known).max(value);
            });
        }
        if is_silent { None } else { Some(ResultCode::SUCCESS) }
    }
}

/// The name of an entry.
pub(crate) fn name(entry: usize) -> String {
    format!("cn=e{entry},{BASE}")
}

/// The number and the value in each of these entries.
pub(crate) fn values(entries: &[Vec<u8>]) -> Vec<(usize, u32)> {
    let value = |op: &Vec<u8>| {
        let content = Reader::new(op).element().unwrap().content;
        let name = Reader::new(content).element().unwrap().text().unwrap();
        (name.trim_start_matches("cn=e").split(',').next().unwrap().parse().unwrap(), number_in(op))
    };
    entries.iter().map(value).collect()
}

/// The number of the search that these entries answer; `None` where there are none.
pub(crate) fn search_number(entries: &[Vec<u8>]) -> Option<usize> {
    let text = String::from_utf8_lossy(entries.first()?).into_owned();
    let (_, rest) = text.split_once("search ")?;
    Some(rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap())
}

/// The last value in an operation, a number.
fn number_in(op: &[u8]) -> u32 {
    let digits = op.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    std::str::from_utf8(&op[op.len() - digits..]).unwrap().parse().unwrap()
}

fn write_entry(out: &mut Vec<u8>, id: MessageId, name: &str, attribute: &str, values: &[&str]) {
    let mut entry = Vec::new();
    write_entry_op(&mut entry, name, [(attribute, values.iter().map(|value| value.as_bytes()).collect::<Vec<_>>())]);
    write_envelope(out, id, &entry, None);
}

fn result(envelope: &Envelope<'_>, code: ResultCode) -> Vec<u8> {
    let (mut op, mut out) = (Vec::new(), Vec::new());
    write_result_op(&mut op, response_tag(envelope.op_tag).unwrap(), code, "", "");
    write_envelope(&mut out, envelope.message_id, &op, None);
    out
}

/// The naming context.
pub(crate) const BASE: &str = "dc=corp,dc=example";
