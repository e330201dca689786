//! The servers, each in a process of its own. Redial is the program as it is installed; what it stands beside is this program again.
//!
//! To compare runtimes, both are this program: a runtime of as many threads as there are cores, which is what `redial serve` has, or one of a
//! single thread on each core, with a listening socket of its own.

use super::workload::{QUESTIONS, TenPeople, answer_octets, configuration, configuration_before, ldif, request_octets};
use redial::config::load::load_text;
use redial::downstream::{ClientStream, Service};
use redial::lifecycle::lifecycle;
use redial::metrics::Metrics;
use redial::pipeline::{Current, Pipeline};
use socket2::{Domain, Socket, Type};
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers as many octets as Redial would, without looking at what it is sent.
    Echo,
    /// The same, from as many places as there are questions, and copied from there: what any cache does, once it has found what it looks for.
    Shelf,
    /// What the bench that starts it serves by itself, when it is told to `serve`.
    Own,
    /// Redial, with its metrics, before a directory of ten people.
    Redial,
    /// Passes octets on to this controller and back, without looking at them, each connection over one of its own.
    Relay(SocketAddr),
    /// Redial before this controller.
    Miss(SocketAddr),
}

/// What drives a server's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drive {
    /// What the program has.
    Program,
    /// In this program: one runtime.
    Multi,
    /// In this program: a runtime on each core (`SO_REUSEPORT`).
    PerCore,
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    child: Child,
    /// The program's configuration.
    files: Option<PathBuf>,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Shelf => "shelf",
            Self::Own => "own",
            Self::Redial | Self::Miss(_) => "redial",
            Self::Relay(_) => "relay",
        }
    }
}

impl Server {
    /// Starts it by way of `tool` (a command that runs the one behind it), or directly where that is empty.
    pub(crate) fn start(kind: Kind, drive: Drive, tool: &[String]) -> Self {
        match (kind, drive) {
            (Kind::Redial, Drive::Program) => Self::start_build(&program(), tool),
            (Kind::Miss(controller), _) => Self::start_program(kind, &program(), tool, |address| configuration_before(controller, address)),
            _ => Self::start_inside(kind, drive, tool),
        }
    }

    /// The same of that build of Redial.
    pub(crate) fn start_build(program: &Path, tool: &[String]) -> Self {
        Self::start_program(Kind::Redial, program, tool, |address| configuration(address, "people.ldif"))
    }

    fn start_inside(kind: Kind, drive: Drive, tool: &[String]) -> Self {
        let drive = if drive == Drive::PerCore { "per-core" } else { "multi" };
        let mut command = command(tool, &std::env::current_exe().unwrap());
        command.args(["serve", kind.name(), drive]);
        if let Kind::Relay(controller) = kind {
            command.arg(controller.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap_or_else(|_| panic!("the {} server did not start", kind.name()));
        Self { kind, address, child, files: None }
    }

    fn start_program(kind: Kind, program: &Path, tool: &[String], configuration: impl FnOnce(SocketAddr) -> String) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let files = std::env::temp_dir().join(format!("side-by-side-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("people.ldif"), ldif()).unwrap();
        // Free a moment ago, and so, nearly certainly, a moment later.
        let address = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let config = files.join("redial.toml");
        std::fs::write(&config, configuration(address)).unwrap();
        // Before a controller it holds a password.
        std::fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
        let mut child = command(tool, program).args(["serve", "--config"]).arg(config).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(" ready ") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "{} did not start", program.display());
        }
        // Whoever logs later must not wait for a reader.
        thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { kind, address, child, files: Some(files) }
    }

    /// Of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it end by itself, so that a tool around it can say what it saw.
    pub(crate) fn stop(mut self) {
        drop(self.child.stdin.take());
        if let Some(files) = self.files.take() {
            let told = Command::new("kill").arg(self.child.id().to_string()).status();
            assert!(told.unwrap().success());
            std::fs::remove_dir_all(files).unwrap();
        }
        assert!(self.child.wait().unwrap().success());
    }

    /// CPU time that its threads have had, in nanoseconds.
    pub(crate) fn cpu_nanoseconds(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let times = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default());
        times.filter_map(|time| time.split(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Instructions that its threads have had so far, where callgrind runs it.
    pub(crate) fn instructions(&self) -> u64 {
        let asked = Command::new("vgdb").arg(format!("--pid={}", self.child.id())).args(["status", "internal"]).output().unwrap();
        let said = String::from_utf8(asked.stdout).unwrap();
        // One line for each thread; those for the functions that it is in begin otherwise.
        let totals =
            said.lines().filter_map(|line| line.strip_prefix("events-")?.split_once(": ")).filter(|(thread, _)| !thread.contains('-'));
        totals.map(|(_, total)| total.parse::<u64>().unwrap()).sum()
    }
}

/// The server's side of [`Server::start`]: serves until standard input ends.
pub(crate) fn serve(arguments: &[String]) {
    let [kind, drive, controller @ ..] = arguments else { panic!("serve echo|shelf|redial|relay multi|per-core [CONTROLLER]") };
    let kind = match (kind.as_str(), controller) {
        ("echo", _) => Kind::Echo,
        ("shelf", _) => Kind::Shelf,
        ("relay", [controller]) => Kind::Relay(controller.parse().unwrap()),
        _ => Kind::Redial,
    };
    let cores = thread::available_parallelism().unwrap().get();
    let runtimes: Vec<Runtime> = match drive.as_str() {
        "per-core" => (0..cores).map(|_| Builder::new_current_thread().enable_all().build().unwrap()).collect(),
        _ => vec![Builder::new_multi_thread().enable_all().build().unwrap()],
    };
    let shared = Shared::new(kind);
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for runtime in runtimes {
        let socket = listening(address);
        address = socket.local_addr().unwrap().as_socket().unwrap();
        let shared = shared.clone();
        thread::spawn(move || runtime.block_on(accept(socket, shared)));
    }
    println!("{address}");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[derive(Clone)]
enum Shared {
    Echo { request_octets: usize, answers: Arc<[u8]> },
    Shelf { request_octets: usize, answers: Arc<[Box<[u8]>]> },
    Relay(SocketAddr),
    Redial { service: Arc<Service>, lifecycle: redial::lifecycle::Lifecycle, _ending: Arc<redial::lifecycle::Ending> },
}

impl Shared {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Echo => Self::Echo { request_octets: request_octets(), answers: vec![b'e'; answer_octets() * MOST_ANSWERS].into() },
            Kind::Shelf => {
                let answers = (0..QUESTIONS).map(|_| vec![b's'; answer_octets()].into_boxed_slice()).collect();
                Self::Shelf { request_octets: request_octets(), answers }
            }
            Kind::Relay(controller) => Self::Relay(controller),
            Kind::Redial | Kind::Miss(_) | Kind::Own => {
                let text = configuration(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "config/demo.ldif");
                let config = load_text(&text, Path::new(env!("CARGO_MANIFEST_DIR")), true).unwrap().config;
                let metrics = Arc::new(Metrics::new(&config));
                let pipeline = Arc::new(Pipeline::new(&config, vec![Arc::new(TenPeople)], Arc::clone(&metrics)));
                let pipeline = Arc::new(Current::new(pipeline));
                let service = Arc::new(Service::new(0, &config.listeners[0], &config.limits, None, pipeline, metrics));
                let (ending, lifecycle) = lifecycle();
                Self::Redial { service, lifecycle, _ending: Arc::new(ending) }
            }
        }
    }
}

async fn accept(socket: Socket, shared: Shared) {
    let socket = TcpListener::from_std(socket.into()).unwrap();
    // In a task of its own, as the proxy's listeners are.
    let accepting = tokio::spawn(async move {
        loop {
            let (stream, peer) = socket.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            match shared.clone() {
                Shared::Echo { request_octets, answers } => drop(tokio::spawn(echo(stream, request_octets, answers))),
                Shared::Shelf { request_octets, answers } => drop(tokio::spawn(shelf(stream, request_octets, answers))),
                Shared::Relay(controller) => drop(tokio::spawn(relay(stream, controller))),
                Shared::Redial { service, lifecycle, .. } => drop(tokio::spawn(service.serve(ClientStream::from(stream), peer, lifecycle))),
            }
        }
    });
    accepting.await.unwrap();
}

/// An answer's octets for each request's octets, as many at once as have come.
async fn echo(mut stream: TcpStream, request_octets: usize, answers: Arc<[u8]>) {
    let mut input = vec![0; 16 * 1024];
    let mut waiting = 0;
    while let Ok(count @ 1..) = stream.read(&mut input).await {
        waiting += count;
        let answered = waiting / request_octets;
        waiting %= request_octets;
        if stream.write_all(&answers[..answered * answers.len() / MOST_ANSWERS]).await.is_err() {
            return;
        }
    }
}

/// An answer for each request, each from the next place, without looking at what was asked.
async fn shelf(mut stream: TcpStream, request_octets: usize, answers: Arc<[Box<[u8]>]>) {
    let (mut input, mut out) = (vec![0; 16 * 1024], Vec::new());
    let mut waiting = 0;
    // Connections have ports that follow one another, and ask the same as the phones do: each from a place of its own on.
    let mut next = usize::from(stream.peer_addr().unwrap().port()) * 37;
    while let Ok(count @ 1..) = stream.read(&mut input).await {
        waiting += count;
        out.clear();
        for _ in 0..waiting / request_octets {
            next += 1;
            out.extend_from_slice(&answers[next % answers.len()]);
        }
        waiting %= request_octets;
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// What comes, in both directions, until one of them ends.
pub(crate) async fn relay(mut stream: TcpStream, controller: SocketAddr) {
    let mut onward = TcpStream::connect(controller).await.unwrap();
    onward.set_nodelay(true).unwrap();
    // Whoever closes first may leave the other with octets that nobody wants.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
}

/// The command that keeps a server on the first core, after this process has gone to the second; empty where that cannot be.
pub(crate) fn pinned() -> Vec<String> {
    let cores = thread::available_parallelism().unwrap().get();
    let mut itself = Command::new("taskset");
    itself.args(["-cp", "1", &std::process::id().to_string()]).stdout(Stdio::null());
    if cores < 2 || !itself.status().is_ok_and(|status| status.success()) {
        return Vec::new();
    }
    ["taskset", "-c", "0"].map(str::to_owned).to_vec()
}

/// That program, started by way of a tool, which must not leave a process of its own around it.
fn command(tool: &[String], program: &Path) -> Command {
    match tool.split_first() {
        Some((tool, arguments)) => {
            let mut command = Command::new(tool);
            command.args(arguments).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The release build, made now if need be; `REDIAL` may name another. Not the one beside this bench: cargo builds that with what the tests add to
/// the program's crates, and the runtime's clock is dearer so.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("REDIAL") {
        return program.into();
    }
    let built = Command::new(env!("CARGO")).args(["build", "--release", "--quiet", "--bin", "redial"]).status().unwrap();
    assert!(built.success(), "cargo build --release");
    // Of this bench: target/release/deps/NAME.
    std::env::current_exe().unwrap().parent().unwrap().with_file_name("redial")
}

fn listening(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(4096).unwrap();
    socket
}

/// To the requests of one read.
const MOST_ANSWERS: usize = 128;
