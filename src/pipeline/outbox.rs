//! Where a running operation speaks to its connection. One word waits at a time, so a slow phone slows its answers; most operations have one.

use super::Said;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The operation's side; dropped, nothing more is said.
#[derive(Debug)]
pub struct Outbox(Arc<Shared>);

/// The connection's side; dropped, nobody hears any more.
#[derive(Debug)]
pub struct Hearing(Arc<Shared>);

/// Nobody hears any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unheard;

/// The two sides for one operation.
pub fn outbox() -> (Outbox, Hearing) {
    let shared = Arc::new(Shared::default());
    (Outbox(Arc::clone(&shared)), Hearing(shared))
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    word: Option<Said>,
    /// One side is gone.
    is_over: bool,
    /// Who waits: for a word, or for room for the next.
    waiting: Option<Waker>,
}

impl Outbox {
    /// Speaks, as soon as the word before has been heard.
    ///
    /// Cancel safe: either it is said or not.
    ///
    /// # Errors
    /// [`Unheard`].
    pub async fn send(&self, said: Said) -> Result<(), Unheard> {
        let mut said = Some(said);
        poll_fn(|cx| self.poll_send(&mut said, cx)).await
    }

    fn poll_send(&self, said: &mut Option<Said>, cx: &Context<'_>) -> Poll<Result<(), Unheard>> {
        let mut state = self.0.state();
        if state.is_over {
            return Poll::Ready(Err(Unheard));
        }
        if state.word.is_some() {
            state.wait(cx);
            return Poll::Pending;
        }
        state.word = said.take();
        wake(state);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Hearing {
    /// The next word; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<Said> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// See [`Hearing::next`].
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Said>> {
        let mut state = self.0.state();
        if let Some(word) = state.word.take() {
            wake(state);
            return Poll::Ready(Some(word));
        }
        if state.is_over {
            return Poll::Ready(None);
        }
        state.wait(cx);
        Poll::Pending
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        // What has been said is dropped when the lock is free again.
        let _unheard = self.0.state().word.take();
        self.0.end();
    }
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waiting {
            Some(waiting) => waiting.clone_from(cx.waker()),
            None => self.waiting = Some(cx.waker().clone()),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        wake(state);
    }
}

/// Wakes the other side, if it waits, when the lock is free again. Only one side ever waits: there is a word, or there is none.
fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = state.waiting.take();
    drop(state);
    if let Some(waiting) = waiting {
        waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::MessageId;
    use crate::session::ClientMessageId;
    use bytes::Bytes;
    use futures_util::FutureExt;

    fn part(octet: u8) -> Said {
        Said::Part(ClientMessageId::new(MessageId::new(1).unwrap()).unwrap(), Bytes::copy_from_slice(&[octet]))
    }

    fn octet(said: Option<Said>) -> Option<u8> {
        said.map(|said| if let Said::Part(_, octets) = said { octets[0] } else { panic!("a part") })
    }

    #[tokio::test]
    async fn words_are_heard_in_order_and_the_end_after_the_last() {
        let (outbox, mut hearing) = outbox();
        let speaking = tokio::spawn(async move {
            for number in 0..5 {
                outbox.send(part(number)).await.unwrap();
            }
        });
        for number in 0..5 {
            assert_eq!(octet(hearing.next().await), Some(number));
        }
        assert_eq!(octet(hearing.next().await), None);
        speaking.await.unwrap();
    }

    #[tokio::test]
    async fn the_second_word_waits_until_the_first_is_heard() {
        let (outbox, mut hearing) = outbox();
        outbox.send(part(1)).await.unwrap();
        let mut second = Box::pin(outbox.send(part(2)));
        assert_eq!((&mut second).now_or_never(), None);
        assert_eq!(octet(hearing.next().await), Some(1));
        second.await.unwrap();
        drop(outbox);
        assert_eq!(octet(hearing.next().await), Some(2), "what was said before the end is heard");
        assert_eq!(octet(hearing.next().await), None);
    }

    #[tokio::test]
    async fn who_speaks_to_nobody_learns_it_though_it_waits() {
        let (outbox, hearing) = outbox();
        outbox.send(part(1)).await.unwrap();
        let waiting = tokio::spawn(async move { outbox.send(part(2)).await });
        tokio::task::yield_now().await;
        drop(hearing);
        assert_eq!(waiting.await.unwrap(), Err(Unheard));
    }
}
