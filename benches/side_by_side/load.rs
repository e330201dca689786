//! Who asks: so many connections, each with so many requests under way, until told to stop or enough are answered.

use super::server::{Kind, Server};
use super::workload::{QUESTIONS, answer_octets, question, request, respelled};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How the servers are asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Requests that are sent at once and then waited for.
    pub(crate) depth: usize,
    /// Every request in a spelling that was not sent before.
    pub(crate) respelled: bool,
    /// Connections are looked at in turn, without pause, instead of when they are said to be readable: no server waits for who asks, and so none is
    /// spared, or made to sleep.
    pub(crate) eager: bool,
}

/// What a time of asking came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// The server's CPU time for one request, in microseconds.
    pub(crate) cpu_microseconds: f64,
    pub(crate) requests_per_second: f64,
}

/// Asks for `duration`, after a moment in which every connection has come to its pace.
pub(crate) fn measure(server: &Server, load: Load, duration: Duration) -> Measured {
    let mut callers = connect(server, load);
    let mut poll = Poll::new().unwrap();
    for (number, caller) in callers.iter_mut().enumerate() {
        poll.registry().register(&mut SourceFd(&caller.stream.as_raw_fd()), Token(number), Interest::READABLE).unwrap();
        caller.send();
    }
    let (mut events, all) = (Events::with_capacity(load.connections), (0..load.connections).collect::<Vec<_>>());
    let mut ready = Vec::new();
    let mut ask_until = |end: Instant| {
        let mut answered = 0;
        while Instant::now() < end {
            if !load.eager {
                poll.poll(&mut events, Some(WARM_UP)).unwrap();
                ready.clear();
                ready.extend(events.iter().map(|event| event.token().0));
            }
            for &number in if load.eager { &all } else { &ready } {
                let caller = &mut callers[number];
                if caller.has_answers() {
                    answered += caller.depth as u64;
                    caller.send();
                }
            }
        }
        answered
    };
    ask_until(Instant::now() + WARM_UP);
    let (cpu, began) = (server.cpu_nanoseconds(), Instant::now());
    let answered = ask_until(began + duration);
    let (cpu, took) = (server.cpu_nanoseconds() - cpu, began.elapsed());
    Measured { cpu_microseconds: float(cpu) / 1e3 / float(answered), requests_per_second: float(answered) / took.as_secs_f64() }
}

/// Asks that many times on each connection, in as many spans, and calls `between` at the end of each. All send before any of them reads, so that
/// servers meet the same requests at once in each span.
pub(crate) fn ask(server: &Server, load: Load, times: usize, spans: usize, mut between: impl FnMut()) {
    let mut callers = connect(server, load);
    for _ in 0..spans {
        for _ in 0..times {
            callers.iter_mut().for_each(Caller::send);
            for caller in &mut callers {
                while !caller.has_answers() {
                    thread::yield_now();
                }
            }
        }
        between();
    }
}

fn connect(server: &Server, load: Load) -> Vec<Caller> {
    let questions: Arc<[Vec<u8>]> = (0..QUESTIONS).map(question).collect();
    let caller = |number: usize| {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Caller {
            stream,
            questions: Arc::clone(&questions),
            // Prime to the number of questions, so that the callers spread over all of them.
            next: number * 37,
            // No two callers ask the same question at the same step, so the step's number makes it a spelling that has not been sent before.
            spelling: load.respelled.then_some(0),
            message_id: 0,
            depth: load.depth,
            requests: Vec::new(),
            answers: vec![0; answer_octets() * load.depth],
            received: 0,
            answers_are_read: server.kind == Kind::Redial,
        }
    };
    (0..load.connections).map(caller).collect()
}

/// One phone.
struct Caller {
    stream: TcpStream,
    questions: Arc<[Vec<u8>]>,
    next: usize,
    /// The number of its next spelling, where each is a new one.
    spelling: Option<usize>,
    message_id: u32,
    depth: usize,
    requests: Vec<u8>,
    answers: Vec<u8>,
    /// Octets of them, so far.
    received: usize,
    answers_are_read: bool,
}

impl Caller {
    fn send(&mut self) {
        self.requests.clear();
        for _ in 0..self.depth {
            let request = self.request();
            self.requests.extend_from_slice(&request);
        }
        let sent = self.stream.write(&self.requests).unwrap();
        assert_eq!(sent, self.requests.len(), "the connection has room for a few requests");
    }

    /// All answers to what was sent have come.
    fn has_answers(&mut self) -> bool {
        match self.stream.read(&mut self.answers[self.received..]) {
            Ok(0) => panic!("the server has closed the connection"),
            Ok(count) => self.received += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        if self.received < self.answers.len() {
            return false;
        }
        self.received = 0;
        if self.answers_are_read {
            // The last octets are those of a SearchResultDone of success under the last messageID.
            let done = request(self.message_id, &[0x65, 7, 10, 1, 0, 4, 0, 4, 0]);
            assert!(self.answers.ends_with(&done), "not a complete answer");
        }
        true
    }

    /// The messageID stays below 128, so that requests and answers keep their lengths.
    fn request(&mut self) -> Vec<u8> {
        self.next = (self.next + 1) % self.questions.len();
        self.message_id = self.message_id % 127 + 1;
        let question = &self.questions[self.next];
        match &mut self.spelling {
            Some(spelling) => {
                *spelling += 1;
                request(self.message_id, &respelled(question, *spelling))
            }
            None => request(self.message_id, question),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}

const WARM_UP: Duration = Duration::from_millis(300);
