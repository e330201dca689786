//! What the swarm of `redial phones` could measure at all: caller lookups over kept plain connections, answered by a server that looks at a request's
//! messageID and nothing else.
//!
//!     cargo bench --bench ceiling [-- --duration 5s --connections 50]
//!
//! Swarm and server share the machine, so the ceiling is above what this says.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]

use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::ldap::{Envelope, MessageId, ResultCode};
use std::path::Path;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

fn main() {
    // Cargo says `--bench` to every bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(answer(stream));
        }
    });
    let numbers = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-ceiling-numbers");
    std::fs::write(&numbers, format!("{NUMBER}\n")).unwrap();
    let mut swarm = Command::new(env!("CARGO_BIN_EXE_redial"));
    swarm.args(["phones", &format!("ldap://{address}"), "--scenario", "caller", "--keep", "--base", "dc=x", "--numbers"]).arg(numbers);
    swarm.args(["--server-pid", &std::process::id().to_string()]);
    if arguments.is_empty() {
        swarm.args(["--duration", "5s"]);
    }
    assert!(swarm.args(arguments).status().unwrap().success());
}

/// The same person for every search, under its messageID, which is below 128.
async fn answer(mut stream: TcpStream) {
    let (mut answer, mut ids) = (Vec::new(), Vec::new());
    for op in ops() {
        ids.push(answer.len() + 4);
        write_envelope(&mut answer, MessageId::new(1).unwrap(), &op, None);
    }
    let mut received = [0; 4096];
    let mut length = 0;
    // The swarm sends one request, and waits.
    while let Ok(read @ 1..) = stream.read(&mut received[length..]).await {
        length += read;
        if frame_length(&received[..length], usize::MAX).unwrap() != Some(length) {
            continue;
        }
        let envelope = Envelope::parse(&received[..length]).unwrap();
        if envelope.op_tag == op::UNBIND_REQUEST {
            return;
        }
        let message_id = u8::try_from(envelope.message_id.number()).unwrap();
        ids.iter().for_each(|place| answer[*place] = message_id);
        length = 0;
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn ops() -> [Vec<u8>; 2] {
    let [mut entry, mut done] = [Vec::new(), Vec::new()];
    write_entry_op(&mut entry, "cn=a", [("cn", [&b"Ada"[..]]), ("telephoneNumber", [NUMBER.as_bytes()])]);
    write_result_op(&mut done, op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "", "");
    [entry, done]
}

const NUMBER: &str = "+49 30 12345678";
