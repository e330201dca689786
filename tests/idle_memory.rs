//! What an idle phone costs in resident memory: next to nothing without TLS, and hardly more than the TLS library's own with it.
#![cfg(target_os = "linux")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::certificates::Certificate;
use common::house::House;
use common::requests::{extended, frame};
use redial::config::TlsMode;
use redial::downstream::Listener;
use redial::ldap::oid;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_phones_take_little_memory() {
    let certificate = Certificate::new("idle");
    let plain = House::new("", "[limits]\nhandshakes = 8");
    let ldaps = House::with("", "", |config| config.listeners[0].tls = Some(certificate.listener_tls(TlsMode::Ldaps)));
    let phone = Arc::new(certificate.phone(&[&TLS13]));

    let address = listen(&plain);
    let of_plain = per_connection(move || ask(TcpStream::connect(address).unwrap())).await;
    let address = listen(&ldaps);
    let of_tls = per_connection(move || {
        let name = ServerName::try_from("phonebook.example").unwrap();
        let client = ClientConnection::new(Arc::clone(&phone), name).unwrap();
        // The phone's own TLS state goes; its socket stays open.
        ask(StreamOwned::new(client, TcpStream::connect(address).unwrap())).sock.try_clone().unwrap()
    })
    .await;
    println!("resident octets of an idle connection: {of_plain} plain, {of_tls} under TLS");
    assert!(of_plain <= 1536, "{of_plain}");
    assert!(of_tls <= 11 * 1024, "{of_tls}");
}

fn listen(house: &House) -> SocketAddr {
    let configured = redial::config::Listener { address: "127.0.0.1:0".parse().unwrap(), ..house.config.listeners[0].clone() };
    let listener = Listener::bind(0, &configured, &house.config.limits).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.open(Arc::clone(&house.pipeline), Arc::clone(&house.metrics)).run(house.lifecycle.clone()));
    address
}

/// One request and its answer.
fn ask<S: Read + Write>(mut stream: S) -> S {
    stream.write_all(&frame(1, &extended(oid::WHO_AM_I, None))).unwrap();
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).unwrap();
    stream
}

/// Resident octets that a phone adds, the first ones aside, which fill the allocator's and the runtime's stores.
async fn per_connection<S: Send + 'static>(connect: impl Fn() -> S + Clone + Send + 'static) -> usize {
    let warm_up = many(connect.clone(), 100).await;
    let before = resident();
    let phones = many(connect, PHONES).await;
    let after = resident();
    drop((warm_up, phones));
    after.saturating_sub(before) / PHONES
}

async fn many<S: Send + 'static>(connect: impl Fn() -> S + Send + 'static, count: usize) -> Vec<S> {
    tokio::task::spawn_blocking(move || (0..count).map(|_| connect()).collect()).await.unwrap()
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Both ends are in this process, which may often open no more than 1,024 files.
const PHONES: usize = 350;
