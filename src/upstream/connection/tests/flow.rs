//! Who waits for whom on one connection: slow readers, large results, requests that leave together.

use super::*;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

#[tokio::test(start_paused = true)]
async fn a_reader_that_keeps_others_waiting_is_given_up_and_they_go_on() {
    let (connection, mut controller) = connected_with(Settings { backlog: 1000, ..SETTINGS });
    let mut slow = begin(&connection, search("cn=slow")).await;
    let slow_id = controller.hear().await.unwrap().id;
    for _ in 0..100 {
        controller.say(slow_id, &entry("cn=x")).await;
    }
    let mut quick = begin(&connection, search("cn=quick")).await;
    let quick_id = controller.hear().await.unwrap().id;
    controller.done(quick_id, op::SEARCH_RESULT_DONE).await;
    let before = Instant::now();
    assert!(timeout(Duration::from_millis(900), quick.next()).await.is_err(), "the slow one still has its time");
    assert!(connection.is_stalled());
    done(&mut quick).await;
    assert!(before.elapsed() <= Duration::from_secs(2), "{:?}", before.elapsed());
    assert!(!connection.is_stalled());
    let abandon = controller.hear().await.unwrap().tag_and_number();
    assert_eq!(abandon, (op::ABANDON_REQUEST, slow_id));
    assert!(matches!(slow.next().await, Some(Err(DirectoryError::Busy))));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_for_whom_nobody_waits_has_all_the_time_it_takes() {
    let (connection, mut controller) = connected_with(Settings { backlog: 1000, ..SETTINGS });
    let mut slow = connection.begin(search("cn=slow"), Instant::now() + Duration::from_secs(600)).await.unwrap();
    let id = controller.hear().await.unwrap().id;
    for _ in 0..100 {
        controller.say(id, &entry("cn=x")).await;
    }
    controller.done(id, op::SEARCH_RESULT_DONE).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(matches!(slow.next().await, Some(Ok(Reply::Entry(_)))));
    }
    done(&mut slow).await;

    let mut slow = begin(&connection, search("cn=slow")).await;
    let slow_id = controller.hear().await.unwrap().id;
    for _ in 0..100 {
        controller.say(slow_id, &entry("cn=x")).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(connection.is_stalled());
    let mut quick = begin(&connection, search("cn=quick")).await;
    let quick_id = controller.hear().await.unwrap().id;
    controller.done(quick_id, op::SEARCH_RESULT_DONE).await;
    assert!(timeout(Duration::from_millis(900), quick.next()).await.is_err(), "what nobody waited for is not charged");
    assert!(matches!(slow.next().await, Some(Ok(Reply::Entry(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stands_still_behind_the_end_of_its_result_is_given_up_too() {
    let (connection, mut controller) = connected_with(Settings { backlog: 1000, ..SETTINGS });
    let mut slow = begin(&connection, search("cn=slow")).await;
    let slow_id = controller.hear().await.unwrap().id;
    controller.say(slow_id, &entry(&"x".repeat(900))).await;
    controller.done(slow_id, op::SEARCH_RESULT_DONE).await;
    let mut quick = begin(&connection, search("cn=quick")).await;
    let quick_id = controller.hear().await.unwrap().id;
    controller.say(quick_id, &entry("cn=y")).await;
    controller.done(quick_id, op::SEARCH_RESULT_DONE).await;
    assert!(matches!(quick.next().await, Some(Ok(Reply::Entry(_)))));
    done(&mut quick).await;
    assert!(matches!(slow.next().await, Some(Ok(Reply::Entry(_)))), "nobody had to wait yet");
    done(&mut slow).await;

    let mut slow = begin(&connection, search("cn=slow")).await;
    let slow_id = controller.hear().await.unwrap().id;
    controller.say(slow_id, &entry(&"x".repeat(2000))).await;
    controller.done(slow_id, op::SEARCH_RESULT_DONE).await;
    let mut quick = begin(&connection, search("cn=quick")).await;
    let quick_id = controller.hear().await.unwrap().id;
    controller.done(quick_id, op::SEARCH_RESULT_DONE).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    done(&mut quick).await;
    assert!(matches!(slow.next().await, Some(Err(DirectoryError::Busy))));
}

#[tokio::test(start_paused = true)]
async fn a_small_search_does_not_wait_behind_ten_megabytes_that_nobody_reads() {
    let (connection, mut controller) = connected();
    let mut large = begin(&connection, search("cn=large")).await;
    let large_id = controller.hear().await.unwrap().id;
    let photo = entry(&"x".repeat(100_000));
    for _ in 0..100 {
        controller.say(large_id, &photo).await;
    }
    let before = Instant::now();
    let mut small = begin(&connection, search("cn=small")).await;
    let small_id = controller.hear().await.unwrap().id;
    controller.say(small_id, &entry("cn=y")).await;
    controller.done(small_id, op::SEARCH_RESULT_DONE).await;
    assert!(matches!(small.next().await, Some(Ok(Reply::Entry(_)))));
    done(&mut small).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(!connection.is_stalled());
    controller.done(large_id, op::SEARCH_RESULT_DONE).await;
    for _ in 0..100 {
        assert!(matches!(large.next().await, Some(Ok(Reply::Entry(op))) if op.len() == photo.len()));
    }
    done(&mut large).await;
}

#[tokio::test(start_paused = true)]
async fn more_than_the_backlog_is_not_read_until_its_reader_takes_some() {
    let (connection, mut controller) = connected_with(Settings { backlog: 100_000, ..SETTINGS });
    let mut large = begin(&connection, search("cn=large")).await;
    let id = controller.hear().await.unwrap().id;
    let op = entry(&"x".repeat(1000));
    let telling = async {
        for _ in 0..1000 {
            controller.say(id, &op).await;
        }
        controller.done(id, op::SEARCH_RESULT_DONE).await;
    };
    tokio::pin!(telling);
    assert!(timeout(Duration::from_secs(5), &mut telling).await.is_err(), "a megabyte does not fit");
    assert!(connection.is_stalled());
    let reading = async {
        for _ in 0..1000 {
            assert!(matches!(large.next().await, Some(Ok(Reply::Entry(_)))));
        }
        done(&mut large).await;
    };
    tokio::join!(telling, reading);
}

#[tokio::test]
async fn a_slow_reader_that_goes_on_gets_every_entry_in_order() {
    let (connection, mut controller) = connected();
    let mut in_flight = begin(&connection, search("cn=a")).await;
    let id = controller.hear().await.unwrap().id;
    let telling = async {
        for number in 0..1000 {
            controller.say(id, &entry(&format!("cn={number}"))).await;
        }
        controller.done(id, op::SEARCH_RESULT_DONE).await;
    };
    let reading = async {
        for number in 0..1000 {
            tokio::task::yield_now().await;
            let Some(Ok(Reply::Entry(found))) = in_flight.next().await else { panic!("no entry") };
            assert_eq!(found[..], entry(&format!("cn={number}"))[..]);
        }
        done(&mut in_flight).await;
    };
    tokio::join!(telling, reading);
}

#[tokio::test]
async fn requests_that_are_ready_leave_in_one_write() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let (writes, mut lengths) = mpsc::unbounded_channel();
    let (_ending, lifecycle) = lifecycle();
    let connection = Connection::spawn(EachWrite { stream: near, writes }, SETTINGS, lifecycle, ());
    let deadline = soon();
    // The connection's task runs when this one waits.
    let mut in_flight = Vec::new();
    for number in 0..20 {
        in_flight.push(connection.begin(search(&format!("cn={number:02}")), deadline).await.unwrap());
    }
    let mut written = vec![0; lengths.recv().await.unwrap()];
    far.read_exact(&mut written).await.unwrap();
    let mut requests = 0;
    let mut rest = &written[..];
    while let Some(length) = frame_length(rest, 1 << 20).unwrap() {
        requests += 1;
        rest = &rest[length..];
    }
    assert_eq!(requests, 20);
    assert!(lengths.try_recv().is_err());
}

/// Tells how long each write is.
struct EachWrite {
    stream: DuplexStream,
    writes: mpsc::UnboundedSender<usize>,
}

impl AsyncRead for EachWrite {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for EachWrite {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, octets);
        if let Poll::Ready(Ok(length)) = written {
            self.writes.send(length).unwrap();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
