//! What one client, one address, or a crowd of slow phones can take from the others: so much and no more.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use allocation_counter::measure;
use common::addresses::free_addresses;
use common::admin;
use common::configuration::{before_a_phonebook, folder, load};
use common::hearing::{hear_one, settle};
use common::house::House;
use common::program::Program;
use common::requests::{abandon, bind, frame, search_for};
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::pressure::Level;
use redial::proxy::Proxy;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Builder;
use tokio::time::sleep;

/// Searches that are all different, under messageIDs from 1 on.
async fn ask(stream: &mut DuplexStream, filters: &[&str]) {
    for (id, filter) in (1..).zip(filters) {
        stream.write_all(&frame(id, &search_for("dc=corp", filter, &[]))).await.unwrap();
    }
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn the_operations_of_one_client_reach_a_directory_so_many_at_a_time() {
    let house = House::new("", "[limits]\nclient_operations = 2");
    let mut phone = house.connect(1 << 16);
    ask(&mut phone, &["(cn=a)", "(cn=b)", "(cn=c)"]).await;
    assert_eq!(house.directory.times_asked(), 2);
    house.directory.done(1, ResultCode::SUCCESS);
    settle().await;
    assert_eq!(house.directory.times_asked(), 3, "the third has its turn when one has ended");

    // Nobody waits for the second any more, but the directory is still at it.
    phone.write_all(&frame(9, &abandon(2))).await.unwrap();
    let mut other = house.connect(1 << 16);
    ask(&mut other, &["(cn=d)"]).await;
    assert_eq!(house.directory.times_asked(), 3, "another connection from the same address makes no difference");
    house.directory.done(2, ResultCode::SUCCESS);
    settle().await;
    assert_eq!(house.directory.times_asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_has_bound_and_who_has_not_have_turns_of_their_own() {
    let house = House::new("plain_passwords = \"allow\"", "[limits]\nclient_operations = 1");
    let (mut anonymous, mut bound) = (house.connect(1 << 16), house.connect(1 << 16));
    bound.write_all(&frame(7, &bind("cn=pbx,dc=corp", "secret"))).await.unwrap();
    settle().await;
    house.directory.done(1, ResultCode::SUCCESS);
    hear_one(&mut bound).await;
    ask(&mut anonymous, &["(cn=a)"]).await;
    ask(&mut bound, &["(cn=b)"]).await;
    assert_eq!(house.directory.times_asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn when_memory_is_scarce_what_is_kept_goes() {
    let house = House::new("", "");
    let pipeline = house.pipeline.load();
    let (relieved, pressure) = (Arc::clone(&pipeline), Arc::clone(pipeline.pressure()));
    let mut phone = house.connect(1 << 16);
    ask(&mut phone, &["(cn=a)"]).await;
    house.directory.done(1, ResultCode::SUCCESS);
    hear_one(&mut phone).await;
    assert_eq!(pipeline.cache_holds().0, 1);
    assert_eq!(pressure.level(), Level::Calm);
    // One octet is less than any process has.
    tokio::spawn(Arc::clone(&pressure).watch(1, Arc::clone(&house.metrics), move || relieved.relieve()));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(pressure.level(), Level::Critical);
    assert_eq!(pipeline.cache_holds().0, 0);
    ask(&mut phone, &["(cn=a)"]).await;
    assert_eq!(house.directory.times_asked(), 2, "who is connected is served all the same");
}

/// A proxy on a port of its own, before a phonebook of one person.
async fn proxy(test: &str, limits: &str) -> Proxy {
    let config = load(&before_a_phonebook("127.0.0.1:0", limits), &folder(test));
    Proxy::start(config).await.unwrap()
}

/// Asks, and says whether an answer came.
async fn is_served(stream: &mut tokio::net::TcpStream) -> bool {
    let request = frame(1, &search_for("dc=x", "(cn=ada)", &["cn"]));
    let mut heard = Vec::new();
    // Writing to a connection that was closed may fail, or not yet.
    let _ = stream.write_all(&request).await;
    while !heard.ends_with(&[op::SEARCH_RESULT_DONE, 7, 10, 1, 0, 4, 0, 4, 0]) {
        match stream.read_buf(&mut heard).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_others_are_served() {
    let proxy = proxy("address", "[limits]\nconnections_per_address = 2").await;
    let address = proxy.addresses()[0];
    let connect = || tokio::net::TcpStream::connect(address);
    let (mut first, mut second, mut third) = (connect().await.unwrap(), connect().await.unwrap(), connect().await.unwrap());
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    assert!(!is_served(&mut third).await);
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    assert!(is_served(&mut elsewhere.connect(address).await.unwrap()).await);
    let refused = r#"redial_downstream_rejected_total{listener="127.0.0.1:0",reason="address"} 1"#;
    assert!(proxy.metrics().render().contains(refused));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_connects_too_often_is_closed_on() {
    let proxy = proxy("rate", "[limits]\nconnects_per_address = 1").await;
    let address = proxy.addresses()[0];
    let mut served = 0;
    for _ in 0..40 {
        served += usize::from(is_served(&mut tokio::net::TcpStream::connect(address).await.unwrap()).await);
    }
    assert!((11..40).contains(&served), "{served}: ten seconds' worth may come at once");
    let page = proxy.metrics().render();
    assert!(page.contains(r#"reason="rate"}"#) && !page.contains(r#"reason="rate"} 0"#), "{page}");
    proxy.stop().await;
}

#[test]
fn two_thousand_phones_that_read_an_octet_a_second_hold_no_more_and_no_more() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let house = runtime.block_on(async { House::new("", "[limits]\nqueued = \"64KiB\"\n[cache]\ncapacity = \"256MiB\"") });
    let mut phones = runtime.block_on(async {
        // An answer of a megabyte, kept.
        let mut first = house.connect(4 << 20);
        ask(&mut first, &["(cn=*)"]).await;
        let description = "x".repeat(1000);
        for _ in 0..1000 {
            while !house.directory.entry(1, "cn=a,dc=corp", &[("description", &description)]) {
                settle().await;
            }
        }
        house.directory.done(1, ResultCode::SUCCESS);
        settle().await;
        let mut phones = Vec::new();
        for _ in 0..2000 {
            let mut phone = house.connect(64);
            ask(&mut phone, &["(cn=*)"]).await;
            phones.push(phone);
        }
        assert_eq!(house.directory.times_asked(), 1, "it is answered from memory");
        phones
    });
    let seconds = |count: usize, phones: &mut Vec<DuplexStream>| {
        runtime.block_on(async {
            for _ in 0..count {
                for phone in phones.iter_mut() {
                    phone.read_exact(&mut [0]).await.unwrap();
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
    };
    let held = measure(|| seconds(1, &mut phones));
    let grown = measure(|| seconds(60, &mut phones));
    assert!(grown.bytes_max < 2_000 * 1_000, "{} octets more for phones that read: {held:?}", grown.bytes_max);
    assert!(grown.bytes_current < 2_000 * 100, "{} octets more are held", grown.bytes_current);
}

/// Whether a search on that connection is answered within a time in which it would be.
fn serves(stream: &mut TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(&frame(1, &search_for("dc=x", "(cn=ada)", &["cn"]))).unwrap();
    let mut heard = [0; 512];
    matches!(stream.read(&mut heard), Ok(1..))
}

#[test]
fn where_files_run_out_newcomers_wait_and_the_admin_address_answers() {
    let folder = folder("files");
    let [listener, admin] = free_addresses();
    let toml = before_a_phonebook(&listener.to_string(), &format!("[admin]\naddress = \"{admin}\""));
    std::fs::write(folder.join("redial.toml"), toml).unwrap();
    let command = format!("ulimit -n 160 && exec {} serve --config redial.toml", env!("CARGO_BIN_EXE_redial"));
    let _program = Program::of(Command::new("sh").args(["-c", &command]).current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::null()));
    while admin::request(admin, "GET", "/healthz").is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut phones: Vec<_> = (0..200).map(|_| TcpStream::connect(listener).unwrap()).collect();
    assert!(serves(&mut phones[0], Duration::from_secs(20)));
    assert!(!serves(&mut phones[199], Duration::from_secs(1)), "it waits in the kernel's queue");
    assert!(admin::request(admin, "GET", "/healthz").is_some_and(|(status, _)| status == 200));
    let (_, metrics) = admin::request(admin, "GET", "/metrics").unwrap();
    let errors = metrics.lines().find(|line| line.starts_with("redial_downstream_accept_errors_total")).unwrap();
    assert!(errors.ends_with(" 0"), "it never came to that: {errors}");
    phones.truncate(0);
    assert!(serves(&mut TcpStream::connect(listener).unwrap(), Duration::from_secs(20)));
}
