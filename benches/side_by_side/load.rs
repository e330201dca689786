//! Who asks: so many connections, each with so many requests under way, until told to stop or enough are answered.

use super::server::Server;
use super::workload::{QUESTIONS, answer_octets, question, request, respelled};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// How the servers are asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Requests that are sent at once and then waited for.
    pub(crate) depth: usize,
    /// Every request in a spelling that was not sent before.
    pub(crate) respelled: bool,
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
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (tally, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let callers = connect(server, load).await.into_iter();
        let asking: JoinSet<()> = callers.map(|caller| caller.call(Arc::clone(&tally), Arc::clone(&stop))).collect();
        tokio::time::sleep(WARM_UP).await;
        let (before, cpu, began) = (tally.load(Ordering::Relaxed), server.cpu_nanoseconds(), Instant::now());
        tokio::time::sleep(duration).await;
        let (answered, cpu, took) = (tally.load(Ordering::Relaxed) - before, server.cpu_nanoseconds() - cpu, began.elapsed());
        stop.store(true, Ordering::Relaxed);
        asking.join_all().await;
        Measured { cpu_microseconds: float(cpu) / 1e3 / float(answered), requests_per_second: float(answered) / took.as_secs_f64() }
    })
}

/// Asks that many times on each connection, in as many spans, and calls `between` at the end of each. All send before any of them reads, so that
/// servers meet the same requests at once in each span.
pub(crate) fn ask(server: &Server, load: Load, times: usize, spans: usize, mut between: impl FnMut()) {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut callers = connect(server, load).await;
        for _ in 0..spans {
            for _ in 0..times {
                for caller in &mut callers {
                    caller.send().await;
                }
                for caller in &mut callers {
                    caller.receive().await;
                }
            }
            between();
        }
    });
}

async fn connect(server: &Server, load: Load) -> Vec<Caller> {
    let questions: Arc<[Vec<u8>]> = (0..QUESTIONS).map(question).collect();
    let mut callers = Vec::new();
    for number in 0..load.connections {
        let stream = TcpStream::connect(server.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        callers.push(Caller {
            stream,
            questions: Arc::clone(&questions),
            // Prime to the number of questions, so that the callers spread over all of them.
            next: number * 37,
            // No two callers ask the same question at the same step, so the step's number makes it a spelling that has not been sent before.
            spelling: load.respelled.then_some(0),
            message_id: 0,
            depth: load.depth,
            input: vec![0; answer_octets() * load.depth],
            answers_are_read: server.kind != super::server::Kind::Echo,
        });
    }
    callers
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
    input: Vec<u8>,
    answers_are_read: bool,
}

impl Caller {
    async fn call(mut self, tally: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.send().await;
            self.receive().await;
            tally.fetch_add(self.depth as u64, Ordering::Relaxed);
        }
    }

    async fn send(&mut self) {
        let requests: Vec<u8> = (0..self.depth).flat_map(|_| self.request()).collect();
        self.stream.write_all(&requests).await.unwrap();
    }

    async fn receive(&mut self) {
        self.stream.read_exact(&mut self.input).await.unwrap();
        if self.answers_are_read {
            // The last octets are those of a SearchResultDone of success under the last messageID.
            let done = request(self.message_id, &[0x65, 7, 10, 1, 0, 4, 0, 4, 0]);
            assert!(self.input.ends_with(&done), "not a complete answer");
        }
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
