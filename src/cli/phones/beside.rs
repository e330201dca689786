//! Live phones beside a boot storm: connected before it, each looking up callers at a steady pace, and what the storm does to them.
//!
//! They have a thread and a runtime of their own, and the phones that boot have another one. In real life they are all other machines, and wait
//! for the server only. Here they share processors, and a thread that becomes ready may have to wait until the next tick for one that
//! runs, whatever their niceness: 4 ms, where an answer takes a quarter of one. So threads of phones that boot run when nobody else wants
//! to, and those of live phones, where that is allowed (to root, and with `CAP_SYS_NICE`), as soon as they want to.

use super::pace::Pace;
use super::phone::{Phone, Swarm};
use super::report::Met;
use super::tally::Tally;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Live phones at work.
pub(super) struct Beside {
    swarm: Arc<Swarm>,
    pace: Arc<Pace>,
    phones: usize,
    before: Tally,
    threads: [JoinHandle<()>; 2],
}

impl Beside {
    /// Connects them, and lets them work in peace for a moment.
    pub(super) async fn begin(swarm: Swarm, phones: usize) -> io::Result<Self> {
        let swarm = Arc::new(swarm);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (are_connected, connected) = oneshot::channel();
        let theirs = Arc::clone(&swarm);
        let (begun, beginning) = oneshot::channel::<Arc<Pace>>();
        let work = thread::spawn(move || {
            run_under(AT_ONCE);
            runtime.block_on(async {
                let mut prepared = Vec::with_capacity(phones);
                for index in 0..phones {
                    prepared.push(Phone::new(index, Arc::clone(&theirs)).prepare().await);
                }
                // Whoever waits for it is there, or nobody wants it any more.
                let _ = are_connected.send(());
                let Ok(pace) = beginning.await else { return };
                let running: JoinSet<()> = prepared.into_iter().map(|phone| phone.run(Arc::clone(&pace))).collect();
                running.join_all().await;
            });
        });
        // An error is that of a thread that has ended, whose phones then say nothing.
        let _ = connected.await;
        // Handshakes are no part of it.
        let connecting = swarm.take();
        let pace = Arc::new(Pace::begin(None, None, Some((phones as f64 * EACH_PER_SECOND, 1))));
        let _ = begun.send(Arc::clone(&pace));
        let bell = Arc::clone(&pace);
        let bell = thread::spawn(move || {
            run_under(AT_ONCE);
            bell.ring();
        });
        sleep(CALM).await;
        let mut before = swarm.take();
        before.add_mishaps(&connecting);
        Ok(Self { swarm, pace, phones, before, threads: [work, bell] })
    }

    /// The storm is over.
    pub(super) fn end(self) -> Met {
        let during = self.swarm.take();
        self.pace.stop();
        for thread in self.threads {
            // A panic in it was reported already.
            let _ = thread.join();
        }
        Met { phones: self.phones, before: self.before, during }
    }
}

/// For the phones that boot.
pub(super) fn runtime_that_gives_way() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().on_thread_start(|| run_under(WHEN_NOBODY_ELSE_WANTS_TO)).build()
}

/// This thread, from now on; where it may not, it goes on as before.
fn run_under(policy: ThreadSchedulePolicy) {
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

const AT_ONCE: ThreadSchedulePolicy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
const WHEN_NOBODY_ELSE_WANTS_TO: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
/// Lookups of one phone in a second: far more than a person calls.
const EACH_PER_SECOND: f64 = 10.0;
/// Before the storm.
const CALM: Duration = Duration::from_secs(3);
