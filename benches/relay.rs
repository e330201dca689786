//! What a miss costs: a search that memory does not answer, on its way to a controller and back, beside a plain relay of the same octets.
//!
//!     cargo bench --bench relay       allocations, instructions (with valgrind), and the time of one by criterion
//!
//! The relay copies both ways and looks at nothing, over a connection of its own for each phone; Redial checks every message, decides, keeps the
//! answer, and has all phones share a few connections. Every search is a new one, and its answer the same ten entries.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "it is a program of its own")]

mod side_by_side;

use allocation_counter::measure;
use criterion::Criterion;
use redial::config::load::load_text;
use redial::ldap::Envelope;
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::response::write_result_op;
use redial::ldap::{MessageId, ResultCode};
use redial::proxy::Proxy;
use side_by_side::load::float;
use side_by_side::server::{Drive, Kind, Server, relay, serve};
use side_by_side::workload::{answer, answer_octets, configuration_before, question_for, request};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

fn main() {
    // Cargo says `--bench` to every bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve(&arguments[1..]);
    }
    let controller = controller();
    for beside in BOTH {
        println!("{:>8.1} allocations a miss: {}", allocations(beside, controller), beside.name());
    }
    if Command::new("valgrind").arg("--version").output().is_ok() {
        for phones in [1, 50] {
            for beside in BOTH {
                println!("{:>8.0} instructions a miss, {phones} phones: {}", instructions(beside, controller, phones), beside.name());
            }
        }
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("relay");
    for beside in BOTH {
        let server = InThread::start(beside, controller);
        let mut phone = Phone::connect(server.address);
        group.bench_function(beside.name(), |bencher| bencher.iter(|| phone.ask()));
        drop(phone);
        server.stop();
    }
    group.finish();
}

/// What stands side by side.
#[derive(Debug, Clone, Copy)]
enum Beside {
    Relay,
    Redial,
}

const BOTH: [Beside; 2] = [Beside::Relay, Beside::Redial];

impl Beside {
    const fn name(self) -> &'static str {
        match self {
            Self::Relay => "a plain relay",
            Self::Redial => "Redial",
        }
    }
}

/// Allocations of the thread that does everything for one miss.
fn allocations(beside: Beside, controller: SocketAddr) -> f64 {
    let [few, many] = [FEW, MANY].map(|times| {
        let server = InThread::start(beside, controller);
        ask(server.address, 1, times);
        server.stop()
    });
    float(many - few) / float(MANY - FEW)
}

/// Instructions of the server's process for one miss, in the program and not in the kernel.
fn instructions(beside: Beside, controller: SocketAddr, phones: u64) -> f64 {
    let [few, many] = [FEW, MANY].map(|times| {
        let said = std::env::temp_dir().join(format!("relay-{}", std::process::id()));
        let log = format!("--log-file={}", said.display());
        let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", &log].map(str::to_owned);
        let kind = match beside {
            Beside::Relay => Kind::Relay(controller),
            Beside::Redial => Kind::Miss(controller),
        };
        let server = Server::start(kind, Drive::Program, &tool);
        ask(server.address, phones, times / phones);
        server.stop();
        let log = std::fs::read_to_string(&said).unwrap();
        std::fs::remove_file(said).unwrap();
        let collected = log.lines().find_map(|line| line.split_once("Collected :")).unwrap_or_else(|| panic!("valgrind said: {log}"));
        collected.1.trim().parse::<u64>().unwrap()
    });
    float(many - few) / float(MANY - FEW)
}

/// A server on a thread of its own.
struct InThread {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<u64>,
}

impl InThread {
    fn start(beside: Beside, controller: SocketAddr) -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let listening: (SocketAddr, Option<Proxy>) = runtime.block_on(async {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                match beside {
                    Beside::Relay => {
                        let listener = tokio::net::TcpListener::bind(any).await.unwrap();
                        let address = listener.local_addr().unwrap();
                        tokio::spawn(async move {
                            loop {
                                let (stream, _) = listener.accept().await.unwrap();
                                stream.set_nodelay(true).unwrap();
                                tokio::spawn(relay(stream, controller));
                            }
                        });
                        (address, None)
                    }
                    Beside::Redial => {
                        let text = configuration_before(controller, any);
                        let proxy = Proxy::start(load_text(&text, Path::new("."), true).unwrap().config).await.unwrap();
                        (*proxy.addresses().first().unwrap(), Some(proxy))
                    }
                }
            });
            tell.send(listening.0).unwrap();
            measure(|| runtime.block_on(stopped).unwrap()).count_total
        });
        Self { address: told.recv().unwrap(), stop, thread }
    }

    /// How many allocations it has made since it stood.
    fn stop(self) -> u64 {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// So many phones, each asking so often, one search at a time.
fn ask(server: SocketAddr, phones: u64, times: u64) {
    thread::scope(|scope| {
        for _ in 0..phones {
            scope.spawn(|| {
                let mut phone = Phone::connect(server);
                (0..times).for_each(|_| phone.ask());
            });
        }
    });
}

/// A phone on a connection that it keeps.
struct Phone {
    stream: TcpStream,
    message_id: u32,
    answer: Vec<u8>,
}

impl Phone {
    fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, message_id: 0, answer: vec![0; answer_octets()] }
    }

    /// Asks what nobody has asked before; the messageID stays below 128, so that all answers are of one length.
    fn ask(&mut self) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.message_id = self.message_id % 127 + 1;
        let question = question_for(&format!("{:09}", NEXT.fetch_add(1, Ordering::Relaxed)));
        self.stream.write_all(&request(self.message_id, &question)).unwrap();
        self.stream.read_exact(&mut self.answer).unwrap();
        assert!(self.answer == answer(MessageId::new(self.message_id).unwrap()), "another answer");
    }
}

/// A controller that finds the same ten entries whatever is searched, and accepts every bind.
fn controller() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || converse(stream.unwrap()));
        }
    });
    address
}

/// Until the other side closes.
fn converse(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let (mut inbox, mut received) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut received) {
        inbox.extend_from_slice(received.get(..count).unwrap());
        let mut said = Vec::new();
        while let Some(length) = frame_length(&inbox, usize::MAX).unwrap().filter(|length| *length <= inbox.len()) {
            let frame: Vec<u8> = inbox.drain(..length).collect();
            let envelope = Envelope::parse(&frame).unwrap();
            let mut end = |tag| {
                let mut result = Vec::new();
                write_result_op(&mut result, tag, ResultCode::SUCCESS, "", "");
                write_envelope(&mut said, envelope.message_id, &result, None);
            };
            match envelope.op_tag {
                op::BIND_REQUEST => end(op::BIND_RESPONSE),
                // Of the rootDSE, which is empty.
                op::SEARCH_REQUEST if envelope.op_content.starts_with(&[4, 0]) => end(op::SEARCH_RESULT_DONE),
                op::SEARCH_REQUEST => said.extend(answer(envelope.message_id)),
                _ => {}
            }
        }
        if stream.write_all(&said).is_err() {
            return;
        }
    }
}

/// Misses of the two runs whose difference counts.
const FEW: u64 = 500;
const MANY: u64 = 5_500;
