//! A future that is polled only when it was woken itself.
//!
//! A task that waits for two things polls both whenever one of them wakes it. Where polling the rarer one takes a lock that all connections
//! share, as waiting for the program's end does, that would be paid for with every request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// See the module.
#[derive(Debug)]
pub(super) struct WhenWoken<F> {
    future: Pin<Box<F>>,
    /// What the future wakes, once it has been polled.
    signal: Option<Arc<Signal>>,
}

#[derive(Debug)]
struct Signal {
    woken: AtomicBool,
    /// Never taken, so that every wake finds it.
    task: Waker,
}

impl<F: Future> WhenWoken<F> {
    /// Wraps a future that has not been polled yet.
    pub(super) fn new(future: F) -> Self {
        Self { future: Box::pin(future), signal: None }
    }
}

impl<F: Future> WhenWoken<F> {
    // Out of line, so that a poll to no purpose costs next to nothing.
    #[inline(never)]
    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let signal = match &mut self.signal {
            Some(signal) if signal.task.will_wake(cx.waker()) => signal,
            // The first poll, or the first of another task.
            signal => signal.insert(Arc::new(Signal { woken: AtomicBool::new(true), task: cx.waker().clone() })),
        };
        // Before the poll, so that a wake during it counts.
        signal.woken.swap(false, Ordering::AcqRel);
        self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(signal))))
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let sleeps = |signal: &Arc<Signal>| signal.task.will_wake(cx.waker()) && !signal.woken.load(Ordering::Acquire);
        if self.signal.as_ref().is_some_and(sleeps) { Poll::Pending } else { self.poll_woken(cx) }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU32;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn it_is_polled_when_woken_and_not_else() {
        let polls = Cell::new(0);
        let (sender, mut receiver) = oneshot::channel();
        let mut future = WhenWoken::new(std::future::poll_fn(|cx| {
            polls.set(polls.get() + 1);
            Pin::new(&mut receiver).poll(cx)
        }));
        for _ in 0..5 {
            let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx))).await;
            assert!(polled.is_pending());
        }
        assert_eq!(polls.get(), 1);
        tokio::task::yield_now().await;
        sender.send(7).unwrap();
        assert_eq!(future.await, Ok(7));
        assert_eq!(polls.get(), 2);
    }

    /// Ready once it has been woken for the last time.
    struct Bell {
        rung: Arc<AtomicU32>,
        waker: Arc<Mutex<Option<Waker>>>,
    }

    impl Future for Bell {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            if self.rung.load(Ordering::Acquire) == RINGS { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_is_lost_however_it_falls_between_polls() {
        let (rung, waker) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(None::<Waker>)));
        let mut future = WhenWoken::new(Bell { rung: Arc::clone(&rung), waker: Arc::clone(&waker) });
        let ringer = tokio::task::spawn_blocking(move || {
            for _ in 0..RINGS {
                rung.fetch_add(1, Ordering::Release);
                // The same waker again and again, as of a future that does not ask for it anew.
                if let Some(waker) = &*waker.lock().unwrap() {
                    waker.wake_by_ref();
                }
            }
        });
        (&mut future).await;
        ringer.await.unwrap();
    }

    #[tokio::test]
    async fn another_task_that_polls_it_is_woken_in_the_place_of_the_first() {
        let (sender, receiver) = oneshot::channel();
        let mut future = WhenWoken::new(receiver);
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let waiting = tokio::spawn(future);
        tokio::task::yield_now().await;
        sender.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(7));
    }

    const RINGS: u32 = 100_000;
}
