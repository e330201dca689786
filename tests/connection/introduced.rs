//! Clients that a load balancer introduces by the PROXY protocol, over real sockets.

use crate::common::certificates::Certificate;
use crate::common::hearing::next;
use crate::common::house::House;
use crate::common::requests::{frame, in_words, search_for, who_am_i};
use redial::config::TlsMode;
use redial::downstream::Listener;
use redial::ldap::ResultCode;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Everything that comes from loopback is a load balancer's; only 192.0.2.0/24 may search.
fn house(listener: &str, certificate: Option<&Certificate>) -> (House, SocketAddr) {
    let listener = format!("proxy_protocol = [\"127.0.0.1\"]\n{listener}");
    let house = House::with(&listener, "[limits]\nfirst_message = \"1s\"", |config| {
        config.accesses[0].networks = vec!["192.0.2.0/24".parse().unwrap()];
        config.listeners[0].address = "127.0.0.1:0".parse().unwrap();
        config.listeners[0].tls = certificate.map(|certificate| certificate.listener_tls(TlsMode::Ldaps));
    });
    let listener = Listener::bind(0, &house.config.listeners[0], &house.config.limits).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.open(Arc::clone(&house.pipeline), Arc::clone(&house.metrics)).run(house.lifecycle.clone()));
    (house, address)
}

fn line(client: Ipv4Addr) -> Vec<u8> {
    format!("PROXY TCP4 {client} 10.0.0.1 50000 389\r\n").into_bytes()
}

fn binary(client: Ipv4Addr) -> Vec<u8> {
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &client.octets(), &[10, 0, 0, 1, 0xc3, 0x50, 1, 0x85]].concat()
}

const MEMBER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// The first message that comes; `None`: it hangs up.
async fn heard(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    next(stream, &mut Vec::new()).await.map(|message| in_words(&message))
}

async fn say(address: SocketAddr, octets: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(octets).await.unwrap();
    heard(&mut stream).await
}

#[tokio::test]
async fn the_client_is_whom_the_header_names_wherever_it_is_cut() {
    let (_house, address) = house("", None);
    let who = who_am_i(1);
    for header in [line(MEMBER), binary(MEMBER)] {
        let octets = [header, who.clone()].concat();
        for cut in 1..octets.len() {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            stream.write_all(&octets[..cut]).await.unwrap();
            tokio::task::yield_now().await;
            stream.write_all(&octets[cut..]).await.unwrap();
            assert_eq!(heard(&mut stream).await.as_deref(), Some("1 extended 0"), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn accesses_and_networks_look_at_the_client_and_not_at_the_proxy() {
    let (house, address) = house("", None);
    for (number, header) in (1..).zip([line as fn(_) -> _, binary]) {
        let search = frame(1, &search_for("dc=corp", &format!("(cn={number})"), &[]));
        let refused = say(address, &[header(STRANGER), search.clone()].concat()).await;
        assert_eq!(refused.as_deref(), Some("1 done 50"));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[header(MEMBER), search].concat()).await.unwrap();
        while house.directory.times_asked() < number {
            tokio::task::yield_now().await;
        }
        house.directory.done(number, ResultCode::SUCCESS);
        assert_eq!(heard(&mut stream).await.as_deref(), Some("1 done 0"));
    }
    let (house, address) = self::house("networks = [\"192.0.2.0/24\"]", None);
    let who = who_am_i(1);
    for header in [line as fn(_) -> _, binary] {
        assert_eq!(say(address, &[header(STRANGER), who.clone()].concat()).await, None);
        assert_eq!(say(address, &[header(MEMBER), who.clone()].concat()).await.as_deref(), Some("1 extended 0"));
    }
    assert_eq!(say(address, &[&b"PROXY UNKNOWN\r\n"[..], &who].concat()).await, None, "the proxy itself is not among the networks");
    drop(house);
}

#[tokio::test]
async fn a_proxy_that_sends_no_header_is_hung_up_on_and_a_silent_one_after_its_time() {
    let (house, address) = house("", None);
    let who = who_am_i(1);
    for octets in
        [who, b"\x16\x03\x01\x02\x00\x01".to_vec(), b"PROXY TCP4 192.0.2.7\r\n".to_vec(), b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec()]
    {
        assert_eq!(say(address, &octets).await, None);
    }
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"PROXY").await.unwrap();
    assert_eq!(timeout(Duration::from_secs(60), heard(&mut silent)).await, Ok(None));
    assert!(say(address, &[line(MEMBER), who_am_i(1)].concat()).await.is_some(), "others are served");
    drop(house);
}

#[tokio::test]
async fn a_header_from_anybody_else_is_not_believed() {
    let (house, _) = house("", None);
    let configured = redial::config::Listener { proxies: vec!["192.0.2.1/32".parse().unwrap()], ..house.config.listeners[0].clone() };
    let listener = Listener::bind(0, &configured, &house.config.limits).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.open(Arc::clone(&house.pipeline), Arc::clone(&house.metrics)).run(house.lifecycle.clone()));
    for header in [line(MEMBER), binary(MEMBER)] {
        let answer = say(address, &[header, who_am_i(1)].concat()).await;
        assert_eq!(answer.as_deref(), Some("notice 2"));
    }
}

#[tokio::test]
async fn tls_begins_behind_the_header() {
    let certificate = Certificate::new("introduced");
    let (house, address) = house("", Some(&certificate));
    let connector = TlsConnector::from(Arc::new(certificate.phone(&[&TLS13])));
    for header in [line(STRANGER), binary(STRANGER)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&header).await.unwrap();
        let mut stream = connector.connect(ServerName::try_from("phonebook.example").unwrap(), stream).await.unwrap();
        stream.write_all(&frame(1, &search_for("dc=corp", "(cn=a)", &[]))).await.unwrap();
        assert_eq!(heard(&mut stream).await.as_deref(), Some("1 done 50"));
    }
    assert_eq!(house.directory.times_asked(), 0);
}
