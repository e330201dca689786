//! What the swarm of `redial phones` could measure at all, on one core: caller lookups over kept plain connections, answered on another core by a
//! server that looks at a request's messageID and nothing else, and by Redial, in turn.
//!
//!     cargo bench --bench ceiling [-- --rounds 3 --duration 3s]
//!
//! Where Redial comes out below the other it is Redial that was measured, and not the swarm.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "it is a program of its own")]

mod side_by_side;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::ldap::{Envelope, MessageId, ResultCode};
use side_by_side::server::{Drive, Kind, Server, pinned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

fn main() {
    // Cargo says `--bench` to every bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        thread::spawn(serve);
        // Until whoever has started it lets go.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let value = |name: &str| arguments.iter().position(|argument| argument == name).map(|place| arguments[place + 1].as_str());
    let rounds = value("--rounds").map_or(3, |rounds| rounds.parse().unwrap());
    let duration = value("--duration").unwrap_or("3s");

    // The swarm goes where this process is; without `taskset` all share all cores.
    let tool = pinned();
    println!("by: {tool:?}");
    println!("| before | operations a second | swarm's CPU, µs | server's CPU, µs | errors, wrong |");
    println!("|---|---|---|---|---|");
    for _ in 0..rounds {
        for (name, kind) in [("the bench's server", Kind::Own), ("Redial", Kind::Redial)] {
            let server = Server::start(kind, Drive::Program, &tool);
            println!("| {name} | {} |", swarm(&server, duration));
            server.stop();
        }
    }
}

/// The cells that a swarm before that server comes to.
fn swarm(server: &Server, duration: &str) -> String {
    let files = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (numbers, report) = (files.join("bench-ceiling-numbers"), files.join("bench-ceiling.json"));
    std::fs::write(&numbers, format!("{NUMBER}\n")).unwrap();
    let mut swarm = Command::new(env!("CARGO_BIN_EXE_redial"));
    swarm.args(["phones", &format!("ldap://{}", server.address), "--scenario", "caller", "--keep", "--connections", "50"]);
    swarm
        .args(["--base", "DC=corp,DC=example", "--duration", duration, "--server-pid", &server.id().to_string(), "--numbers"])
        .arg(numbers);
    assert!(swarm.arg("--json").arg(&report).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    let cpu = |whose: &str| {
        ["user", "system"].map(|part| report[whose][format!("{part}_us_per_operation")].as_f64().unwrap()).iter().sum::<f64>()
    };
    let errors: u64 = report["errors"].as_array().unwrap().iter().map(|error| error["count"].as_u64().unwrap()).sum();
    let per_second = report["per_second"].as_f64().unwrap();
    format!("{per_second:.0} | {:.1} | {:.1} | {errors}, {}", cpu("own_cpu"), cpu("server_cpu"), report["wrong_answers"])
}

/// The same person for every search, under its messageID, which is below 128: one thread, and nothing around it.
fn serve() {
    let (mut answer, mut ids) = (Vec::new(), Vec::new());
    for op in ops() {
        write_envelope(&mut answer, MessageId::new(1).unwrap(), &op, None);
        ids.push(answer.len() - op.len() - 1);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE).unwrap();
    let (mut events, mut streams) = (Events::with_capacity(1024), Vec::<TcpStream>::new());
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() != LISTENER {
                answer_one(&mut streams[event.token().0], &ids, &mut answer);
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nodelay(true).unwrap();
                stream.set_nonblocking(true).unwrap();
                let token = Token(streams.len());
                poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE).unwrap();
                streams.push(stream);
            }
        }
    }
}

/// The swarm sends one request, whole, and waits.
fn answer_one(stream: &mut TcpStream, ids: &[usize], answer: &mut [u8]) {
    let mut received = [0; 1024];
    let Ok(length @ 1..) = stream.read(&mut received) else { return };
    let envelope = Envelope::parse(&received[..length]).unwrap();
    if envelope.op_tag == op::UNBIND_REQUEST {
        return;
    }
    let message_id = u8::try_from(envelope.message_id.number()).unwrap();
    ids.iter().for_each(|place| answer[*place] = message_id);
    stream.write_all(answer).unwrap();
}

fn ops() -> [Vec<u8>; 2] {
    let [mut entry, mut done] = [Vec::new(), Vec::new()];
    let name = "CN=Johanna Person 0,OU=Sales,OU=Staff,DC=corp,DC=example";
    let attributes = [("cn", "Johanna Person 0"), ("telephoneNumber", NUMBER)];
    write_entry_op(&mut entry, name, attributes.map(|(attribute, value)| (attribute, [value.as_bytes()])));
    write_result_op(&mut done, op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "", "");
    [entry, done]
}

/// Of one of the ten people in Redial's directory.
const NUMBER: &str = "+49 30 12345670";
const LISTENER: Token = Token(usize::MAX);
