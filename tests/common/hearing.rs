//! What a test hears on a connection.

use super::requests::in_words;
use redial::ldap::frame::frame_length;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The next message, taken from what was `received` and from the stream; `None`: the other side has hung up.
pub(crate) async fn next(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(length) = frame_length(received, usize::MAX).unwrap().filter(|length| *length <= received.len()) {
            return Some(received.drain(..length).collect());
        }
        match stream.read_buf(received).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// So many messages in words, and nothing behind them.
pub(crate) async fn hear(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<String> {
    let (mut received, mut heard) = (Vec::new(), Vec::new());
    while heard.len() < count {
        match next(stream, &mut received).await {
            Some(message) => heard.push(in_words(&message)),
            None => panic!("hung up on after {heard:?} and {received:02x?}"),
        }
    }
    assert!(received.is_empty(), "something behind {heard:?}");
    heard
}

/// The one message that comes, in words.
pub(crate) async fn hear_one(stream: &mut (impl AsyncRead + Unpin)) -> String {
    hear(stream, 1).await.remove(0)
}

/// An answer up to its last message, in words; `None`: the other side has hung up.
pub(crate) async fn hear_all(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<String>> {
    let (mut received, mut heard) = (Vec::new(), Vec::new());
    while heard.last().is_none_or(|message: &String| message.contains(" entry ")) {
        heard.push(in_words(&next(stream, &mut received).await?));
    }
    assert!(received.is_empty(), "something behind {heard:?}");
    Some(heard)
}

/// Sends a message, and hears the one that comes back.
pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), message: &[u8]) -> String {
    stream.write_all(message).await.unwrap();
    stream.flush().await.unwrap();
    hear_one(stream).await
}

/// Lets every task do what it can without time passing.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
