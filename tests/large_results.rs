//! A result of fifty megabytes on its way through: it takes no memory to speak of, and nobody waits behind it.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use allocation_counter::measure;
use common::configuration::Configuration;
use common::requests::{frame, search_for};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::ldap::{Envelope, MessageId, ResultCode};
use redial::proxy::Proxy;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

#[test]
fn a_large_result_passes_in_little_memory() {
    let (runtime, proxy) = proxy_before(controller());
    let phones = proxy.addresses()[0];
    let (told, read) = oneshot::channel();
    thread::spawn(move || {
        let mut phone = TcpStream::connect(phones).unwrap();
        phone.write_all(&frame(1, &search_for("dc=corp", LARGE, &[]))).unwrap();
        told.send(read_answer(&mut phone)).unwrap();
    });
    // The proxy alone has this thread.
    let mut octets = 0;
    let counted = measure(|| octets = runtime.block_on(read).unwrap());
    assert!(octets > ENTRIES * PHOTO, "{octets}");
    println!("{octets} octets passed in {} of memory at most", counted.bytes_max);
    assert!(counted.bytes_max < 12 << 20, "{}", counted.bytes_max);
}

#[test]
fn a_phone_that_does_not_read_holds_up_nobody_on_the_same_connection() {
    let (runtime, proxy) = proxy_before(controller());
    let phones = proxy.addresses()[0];
    let asking = runtime.spawn_blocking(move || {
        let mut slow = TcpStream::connect(phones).unwrap();
        slow.write_all(&frame(1, &search_for("dc=corp", LARGE, &[]))).unwrap();
        let mut first = [0];
        slow.read_exact(&mut first).unwrap();
        let mut quick = TcpStream::connect(phones).unwrap();
        quick.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        for number in 0..100 {
            quick.write_all(&frame(1, &search_for("dc=corp", &format!("(cn=small {number})"), &[]))).unwrap();
            assert!(read_answer(&mut quick) < 200);
        }
        drop(slow);
    });
    runtime.block_on(asking).unwrap();
}

/// A proxy with one connection to that controller. It runs when the runtime does.
fn proxy_before(controller: SocketAddr) -> (Runtime, Proxy) {
    let directory =
        format!("servers = [\"ldap://{controller}\"]\nstart_tls = false\nbind_dn = \"cn=redial\"\npassword = \"x\"\nconnections = 1");
    let more = "[limits]\nupstream_message = \"1MiB\"";
    let config = Configuration { address: "127.0.0.1:0", directory: &directory, more, ..Configuration::default() }.load();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let proxy = runtime.block_on(Proxy::start(config)).unwrap();
    (runtime, proxy)
}

/// A controller that announces nothing, finds five hundred photographs if asked for [`LARGE`], and else one small entry.
fn controller() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || converse(stream.unwrap()));
        }
    });
    address
}

/// Whoever asks closes at some time.
fn converse(mut stream: TcpStream) -> Option<()> {
    let mut inbox = Vec::new();
    loop {
        let request = next_frame(&mut stream, &mut inbox)?;
        let envelope = Envelope::parse(&request).unwrap();
        let (entries, done) = match envelope.op_tag {
            op::BIND_REQUEST => (0, op::BIND_RESPONSE),
            op::SEARCH_REQUEST if request.windows(5).any(|part| part == b"large") => (ENTRIES, op::SEARCH_RESULT_DONE),
            op::SEARCH_REQUEST => (1, op::SEARCH_RESULT_DONE),
            _ => continue,
        };
        let photo = vec![0; if entries > 1 { PHOTO } else { 10 }];
        let (mut entry, mut message, mut result) = (Vec::new(), Vec::new(), Vec::new());
        write_entry_op(&mut entry, "cn=a,dc=corp", [("jpegPhoto", [&photo[..]])]);
        write_envelope(&mut message, envelope.message_id, &entry, None);
        for _ in 0..entries {
            stream.write_all(&message).ok()?;
        }
        write_result_op(&mut result, done, ResultCode::SUCCESS, "", "");
        message.clear();
        write_envelope(&mut message, envelope.message_id, &result, None);
        stream.write_all(&message).ok()?;
    }
}

/// Reads to the SearchResultDone; how many octets that were.
fn read_answer(stream: &mut TcpStream) -> usize {
    let (mut inbox, mut octets) = (Vec::new(), 0);
    loop {
        let message = next_frame(stream, &mut inbox).unwrap();
        octets += message.len();
        let envelope = Envelope::parse(&message).unwrap();
        assert_eq!(envelope.message_id, MessageId::new(1).unwrap());
        if envelope.op_tag == op::SEARCH_RESULT_DONE {
            assert!(envelope.op_content.starts_with(&[10, 1, 0]), "success: {:02x?}", envelope.op_content);
            return octets;
        }
    }
}

/// The next message; `None` at the end.
fn next_frame(stream: &mut TcpStream, inbox: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut received = [0; 65536];
    loop {
        if let Some(length) = frame_length(inbox, usize::MAX).unwrap().filter(|length| *length <= inbox.len()) {
            return Some(inbox.drain(..length).collect());
        }
        match stream.read(&mut received) {
            Ok(count @ 1..) => inbox.extend_from_slice(&received[..count]),
            _ => return None,
        }
    }
}

const LARGE: &str = "(cn=large)";
const ENTRIES: usize = 500;
const PHOTO: usize = 100_000;
