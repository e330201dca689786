//! Connections under strain: phones that do not read, that flood, that leave; and listeners on real sockets.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "connection/introduced.rs"]
mod introduced;

use common::hearing::{hear, settle};
use common::house::House;
use common::requests::{abandon, bind, extended, frame, search_for, who_am_i};
use common::scripted_directory::ScriptedDirectory;
use redial::directory::Directory;
use redial::downstream::Listener;
use redial::ldap::ResultCode;
use redial::ldap::frame::frame_length;
use redial::pipeline::Pipeline;
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Gives the directory entries of a kilobyte for its first question until it can take no more; how many that were.
async fn fill(house: &House, most: usize) -> usize {
    let description = "x".repeat(1000);
    let mut given = 0;
    while given < most {
        if house.directory.entry(1, "cn=a,dc=corp", &[("description", &description)]) {
            given += 1;
            continue;
        }
        settle().await;
        if !house.directory.entry(1, "cn=a,dc=corp", &[("description", &description)]) {
            return given;
        }
        given += 1;
    }
    given
}

#[tokio::test(start_paused = true)]
async fn five_thousand_phones_with_one_question_make_one_search() {
    let house = House::new("", "");
    let mut phones = Vec::new();
    for _ in 0..5000 {
        let mut phone = house.connect(1024);
        phone.write_all(&frame(1, &search_for("dc=corp", "(telephoneNumber=17)", &[]))).await.unwrap();
        phones.push(phone);
    }
    settle().await;
    assert_eq!(house.directory.times_asked(), 1);
    assert!(house.directory.entry(1, "cn=a,dc=corp", &[("telephoneNumber", "17")]));
    house.directory.done(1, ResultCode::SUCCESS);
    for phone in &mut phones {
        assert_eq!(hear(phone, 2).await[1], "1 done 0");
    }
    assert_eq!(house.directory.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_does_not_read_slows_its_own_answer_and_goes_after_10_seconds() {
    // Nothing is kept of an answer over a hundredth of the cache, so this one is streamed.
    let house = House::new("", "[limits]\nqueued = \"64KiB\"\n[cache]\ncapacity = \"1MiB\"");
    let mut stream = house.connect(1024);
    stream.write_all(&frame(1, &search_for("dc=corp", "(cn=*)", &[]))).await.unwrap();
    settle().await;
    let given = fill(&house, 100_000).await;
    assert!(given < 2_000, "{given} entries of a kilobyte were taken for a phone that reads nothing");

    let before = Instant::now();
    while !house.directory.is_rid_of(1) {
        assert!(before.elapsed() < Duration::from_secs(60), "the search outlives its phone");
        sleep(Duration::from_millis(100)).await;
    }
    assert!((9..12).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_reads_slowly_gets_all_of_it() {
    let house = House::new("", "[limits]\nqueued = \"64KiB\"\n[cache]\ncapacity = \"1MiB\"");
    let mut stream = house.connect(1024);
    stream.write_all(&frame(1, &search_for("dc=corp", "(cn=*)", &[]))).await.unwrap();
    settle().await;
    assert_eq!(fill(&house, 200).await, 200);
    house.directory.done(1, ResultCode::SUCCESS);
    let before = Instant::now();
    let (mut received, mut messages) = (Vec::new(), 0);
    while messages <= 200 {
        sleep(Duration::from_millis(500)).await;
        let mut octets = [0; 512];
        let count = stream.read(&mut octets).await.unwrap();
        assert_ne!(count, 0, "closed after {messages} messages");
        received.extend_from_slice(&octets[..count]);
        while let Some(length) = frame_length(&received, usize::MAX).unwrap().filter(|length| *length <= received.len()) {
            received.drain(..length);
            messages += 1;
        }
    }
    assert!(before.elapsed() > Duration::from_secs(100), "it did not read slowly");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pipelined_requests_is_answered_in_order() {
    let house = House::new("", "");
    let (mut reader, mut writer) = tokio::io::split(house.connect(1000));
    let flood = (1..=5000).flat_map(who_am_i).collect::<Vec<_>>();
    let writing = tokio::spawn(async move { writer.write_all(&flood).await.map(|()| writer) });
    let heard = hear(&mut reader, 5000).await;
    assert!(heard.iter().zip(1..).all(|(message, number)| *message == format!("{number} extended 0")));
    writing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_cut_at_any_octet_are_the_same_requests() {
    let house = House::new("", "");
    let octets = [who_am_i(1), frame(2, &extended("1.2.3", None)), who_am_i(3)].concat();
    for cut in 0..octets.len() {
        let mut stream = house.connect(4096);
        stream.write_all(&octets[..cut]).await.unwrap();
        settle().await;
        stream.write_all(&octets[cut..]).await.unwrap();
        assert_eq!(hear(&mut stream, 3).await, ["1 extended 0", "2 extended 2", "3 extended 0"], "cut at {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_refused_before_it_has_arrived() {
    let house = House::new("", "[limits]\nmessage = \"4KiB\"");
    let mut stream = house.connect(4096);
    stream.write_all(&[0x30, 0x82, 0x10, 0x00]).await.unwrap();
    assert_eq!(hear(&mut stream, 1).await, ["notice 2"]);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_operation_ends_in_the_pipeline_that_it_began_in_and_the_next_begins_in_its_successor() {
    let house = House::new("", "");
    let mut stream = house.connect(4096);
    stream.write_all(&frame(1, &search_for("dc=corp", "(cn=ada)", &[]))).await.unwrap();
    settle().await;
    assert_eq!(house.directory.times_asked(), 1);

    let successor = Arc::new(ScriptedDirectory::by_hand());
    let pipeline = Pipeline::new(&house.config, vec![Arc::clone(&successor) as Arc<dyn Directory>], Arc::clone(&house.metrics));
    let before = Arc::downgrade(&house.pipeline.load());
    house.pipeline.replace(Arc::new(pipeline));
    stream.write_all(&frame(2, &search_for("dc=corp", "(cn=ada)", &[]))).await.unwrap();
    settle().await;
    assert_eq!((house.directory.times_asked(), successor.times_asked()), (1, 1));

    successor.done(1, ResultCode::SUCCESS);
    assert_eq!(hear(&mut stream, 1).await, ["2 done 0"]);
    assert!(before.upgrade().is_some(), "an operation of it is under way");
    house.directory.done(1, ResultCode::SUCCESS);
    assert_eq!(hear(&mut stream, 1).await, ["1 done 0"]);
    settle().await;
    assert!(before.upgrade().is_none(), "nothing of it is left");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_abandoned_before_it_could_begin_is_on_record() {
    let house = House::new("", "");
    let mut stream = house.connect(4096);
    let both = [frame(1, &search_for("dc=corp", "(cn=ada)", &[])), frame(2, &abandon(1))].concat();
    stream.write_all(&both).await.unwrap();
    settle().await;
    assert_eq!(house.directory.times_asked(), 0);
    let recorded = r#"redial_operations_total{operation="search",served="abandoned",code="canceled"} 1"#;
    assert!(house.metrics.render().contains(recorded), "{}", house.metrics.render());
}

fn bind_listener(house: &House) -> (Listener, SocketAddr) {
    let configured = redial::config::Listener { address: "127.0.0.1:0".parse().unwrap(), ..house.config.listeners[0].clone() };
    let listener = Listener::bind(0, &configured, &house.config.limits).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn run(house: &House, listener: Listener) -> tokio::task::JoinHandle<()> {
    tokio::spawn(listener.open(Arc::clone(&house.pipeline), Arc::clone(&house.metrics)).run(house.lifecycle.clone()))
}

#[tokio::test]
async fn a_listener_serves_until_the_end_begins() {
    let house = House::new("", "");
    let (listener, address) = bind_listener(&house);
    let running = run(&house, listener);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&who_am_i(1)).await.unwrap();
    assert_eq!(hear(&mut stream, 1).await, ["1 extended 0"]);
    house.ending.begin();
    assert_eq!(hear(&mut stream, 1).await, ["notice 52"]);
    running.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    let House { ending, lifecycle, .. } = house;
    drop((lifecycle, stream));
    timeout(Duration::from_secs(5), ending.all_gone()).await.expect("nothing runs any more");
}

#[tokio::test]
async fn who_is_not_from_an_allowed_network_is_closed_at_once() {
    let house = House::new("networks = [\"192.0.2.0/24\"]", "");
    let (listener, address) = bind_listener(&house);
    run(&house, listener);
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Closed in order or reset, whichever the kernel makes of it.
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_full_listener_lets_newcomers_wait() {
    let house = House::new("", "[limits]\nconnections = 1");
    let (listener, address) = bind_listener(&house);
    run(&house, listener);
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(&who_am_i(1)).await.unwrap();
    assert_eq!(hear(&mut first, 1).await, ["1 extended 0"]);
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(&who_am_i(2)).await.unwrap();
    // Served once the first has left, whenever that is.
    drop(first);
    assert_eq!(hear(&mut second, 1).await, ["2 extended 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_hit_takes_one_read_and_one_write_and_so_do_many_that_come_together() {
    let house = House::new("", "");
    let (mut phone, near) = duplex(64 * 1024);
    let counts = Arc::new(Counts::default());
    house.connect_over(Counting { stream: near, counts: Arc::clone(&counts) });
    let question = search_for("dc=corp", "(cn=a)", &["cn", "mobile"]);
    phone.write_all(&frame(1, &question)).await.unwrap();
    settle().await;
    house.directory.entry(1, "cn=a,dc=corp", &[("cn", "a")]);
    house.directory.done(1, ResultCode::SUCCESS);
    hear(&mut phone, 2).await;
    // In the first of these the octets are known by their key alone.
    for message_id in 2..8 {
        counts.take();
        phone.write_all(&frame(message_id, &question)).await.unwrap();
        hear(&mut phone, 2).await;
        assert_eq!(counts.take(), (1, 1), "messageID {message_id}");
    }
    let sixteen: Vec<u8> = (20..36).flat_map(|message_id| frame(message_id, &question)).collect();
    phone.write_all(&sixteen).await.unwrap();
    let heard = hear(&mut phone, 32).await;
    assert_eq!(counts.take(), (1, 1));
    assert_eq!(heard.iter().collect::<HashSet<_>>().len(), 32, "each under its own messageID");
    assert_eq!(house.directory.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bind_ends_what_was_known_of_the_client() {
    let accesses = "[[access]]\nname = \"bound\"\nclients = \"bound\"\nbases = [\"dc=corp\"]\nattributes = [\"cn\"]";
    let house = House::with("plain_passwords = \"allow\"", accesses, |config| config.accesses.reverse());
    let mut phone = house.connect(64 * 1024);
    let question = search_for("dc=corp", "(cn=a)", &["cn", "mobile"]);
    phone.write_all(&frame(1, &question)).await.unwrap();
    settle().await;
    house.directory.entry(1, "cn=a,dc=corp", &[("cn", "a"), ("mobile", "1")]);
    house.directory.done(1, ResultCode::SUCCESS);
    hear(&mut phone, 2).await;
    for message_id in 2..6 {
        phone.write_all(&frame(message_id, &question)).await.unwrap();
        hear(&mut phone, 2).await;
    }
    phone.write_all(&frame(10, &bind("cn=phone,dc=corp", "secret"))).await.unwrap();
    settle().await;
    house.directory.done(2, ResultCode::SUCCESS);
    hear(&mut phone, 1).await;
    phone.write_all(&frame(11, &question)).await.unwrap();
    settle().await;
    assert_eq!(house.directory.times_asked(), 3, "under another access it is another search");
}

/// How often octets were read and written.
#[derive(Default)]
struct Counts {
    reads: AtomicUsize,
    writes: AtomicUsize,
}

impl Counts {
    fn take(&self) -> (usize, usize) {
        (self.reads.swap(0, Ordering::SeqCst), self.writes.swap(0, Ordering::SeqCst))
    }
}

struct Counting {
    stream: DuplexStream,
    counts: Arc<Counts>,
}

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.counts.reads.fetch_add(1, Ordering::SeqCst);
        }
        read
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.counts.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
