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
        let callers = Callers::begin(server, load, usize::MAX).await;
        tokio::time::sleep(WARM_UP).await;
        let (answered, cpu, began) = (callers.answered(), server.cpu_nanoseconds(), Instant::now());
        tokio::time::sleep(duration).await;
        let (answered, cpu, took) = (callers.answered() - answered, server.cpu_nanoseconds() - cpu, began.elapsed());
        callers.end().await;
        Measured { cpu_microseconds: float(cpu) / 1e3 / float(answered), requests_per_second: float(answered) / took.as_secs_f64() }
    })
}

/// Asks that many times on each connection, and returns how many requests that were.
pub(crate) fn ask(server: &Server, load: Load, times: usize) -> u64 {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut callers = Callers::begin(server, load, times).await;
        while let Some(ended) = callers.tasks.join_next().await {
            ended.unwrap();
        }
        callers.answered()
    })
}

struct Callers {
    tasks: JoinSet<()>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Callers {
    async fn begin(server: &Server, load: Load, times: usize) -> Self {
        let questions: Arc<[Vec<u8>]> = (0..QUESTIONS).map(question).collect();
        let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for number in 0..load.connections {
            let stream = TcpStream::connect(server.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let caller = Caller {
                stream,
                questions: Arc::clone(&questions),
                // Prime to the number of questions, so that the callers spread over all of them.
                next: number * 37,
                spelling: load.respelled.then_some(number << 24),
                message_id: 0,
                answers_are_read: server.kind != super::server::Kind::Echo,
            };
            tasks.spawn(caller.call(load.depth, times, Arc::clone(&answered), Arc::clone(&stop)));
        }
        Self { tasks, answered, stop }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// One phone.
struct Caller {
    stream: TcpStream,
    questions: Arc<[Vec<u8>]>,
    next: usize,
    /// The number of its next spelling, where each is a new one.
    spelling: Option<usize>,
    message_id: u32,
    answers_are_read: bool,
}

impl Caller {
    async fn call(mut self, depth: usize, times: usize, answered: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
        let mut input = vec![0; answer_octets() * depth];
        let mut output = Vec::new();
        for _ in 0..times {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            output.clear();
            for _ in 0..depth {
                output.extend_from_slice(&self.request());
            }
            self.stream.write_all(&output).await.unwrap();
            self.stream.read_exact(&mut input).await.unwrap();
            if self.answers_are_read {
                self.check(&input);
            }
            answered.fetch_add(depth as u64, Ordering::Relaxed);
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

    /// The last octets are those of a SearchResultDone of success under the last messageID.
    fn check(&self, answers: &[u8]) {
        let done = request(self.message_id, &[0x65, 7, 10, 1, 0, 4, 0, 4, 0]);
        assert!(answers.ends_with(&done), "not a complete answer");
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}

const WARM_UP: Duration = Duration::from_millis(300);
