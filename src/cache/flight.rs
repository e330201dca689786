//! Single flight: identical searches in flight become one.
//!
//! A flight is a task of its own that runs a [`Fill`] to its end and stores the answer; it survives whoever asked first. A result that grows
//! past what the cache would keep stops being shared: who asked first gets what was gathered and the rest of the stream. A search that
//! begins after a write never joins a flight that left before it.

use super::answer::{Answer, AnswerBuilder};
use super::fill::Fill;
use super::store::{Generation, Lookup, Store};
use crate::config::Lifetimes;
use crate::directory::{DirectoryError, Done, Reply};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// What a fetch brought.
#[derive(Debug)]
pub(crate) enum Fetched<F> {
    /// The complete answer, asked for by this caller.
    Answer(Answer),
    /// The complete answer, asked for by somebody else who wanted the same.
    Coalesced(Answer),
    /// Too large to keep: what was gathered, and the stream that brings the rest.
    Overflow(Box<Overflow>),
    /// Too large to share, and somebody else has the stream: run a [`Fill`] of your own, which this starts.
    NotShared(F),
    /// The directory gave no answer.
    Failed(DirectoryError),
}

/// A result that is too large to keep, in the middle of coming.
#[derive(Debug)]
pub(crate) struct Overflow {
    /// What has come.
    pub(crate) gathered: AnswerBuilder,
    /// What is still to come.
    pub(crate) rest: Fill,
}

/// The fills in flight.
#[derive(Debug)]
pub(crate) struct Flights {
    store: Arc<Store>,
    table: Arc<Table>,
    numbers: AtomicU64,
    room: Arc<Semaphore>,
}

type Table = DashMap<Arc<[u8]>, Flight, foldhash::quality::RandomState>;

/// A fill in flight, as those see it who want the same.
#[derive(Debug)]
struct Flight {
    number: u64,
    generation: Generation,
    landing: Arc<Landing>,
}

/// Where those who wait for a flight learn how it ended, in the order in which they began to wait.
#[derive(Debug, Default)]
struct Landing {
    landed: OnceLock<Landed>,
    /// A result that is too large to be shared, for whoever started the flight.
    overflow: Mutex<Option<Box<Overflow>>>,
    told: Notify,
}

/// How a flight ended.
#[derive(Debug, Clone)]
enum Landed {
    Answer(Answer),
    NotShared,
    Failed(DirectoryError),
}

/// How a search gets its answer.
enum Boarded<F> {
    /// It started the flight.
    Started(Arc<Landing>),
    /// It waits for a flight that had started.
    Joined(Arc<Landing>, F),
    /// A flight had just landed.
    Found(Answer),
    /// Too many flights are under way.
    Full,
}

impl Flights {
    /// None yet; answers go into `store`.
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let table = Arc::new(DashMap::with_hasher(foldhash::quality::RandomState::default()));
        Self { store, table, numbers: AtomicU64::default(), room: Arc::new(Semaphore::new(MAX_FLIGHTS)) }
    }

    /// How many there are.
    pub(crate) fn under_way(&self) -> usize {
        self.table.len()
    }

    /// Joins the flight for `key`, or starts it. See [`super::SearchCache::fetch`].
    ///
    /// Cancel safe.
    pub(crate) async fn join<F: FnOnce() -> Fill>(
        &self,
        key: &Arc<[u8]>,
        directory: Option<usize>,
        lifetimes: Lifetimes,
        start: F,
    ) -> Fetched<F> {
        match self.board(key, directory, lifetimes, start) {
            Boarded::Started(landing) => match landing.landed().await {
                Landed::Answer(answer) => Fetched::Answer(answer),
                Landed::NotShared => landing.take_overflow().map_or(Fetched::Failed(DirectoryError::Unavailable), Fetched::Overflow),
                Landed::Failed(error) => Fetched::Failed(error),
            },
            Boarded::Joined(landing, start) => match landing.landed().await {
                Landed::Answer(answer) => Fetched::Coalesced(answer),
                Landed::NotShared => Fetched::NotShared(start),
                Landed::Failed(error) => Fetched::Failed(error),
            },
            Boarded::Found(answer) => Fetched::Coalesced(answer),
            Boarded::Full => Fetched::Failed(DirectoryError::Busy),
        }
    }

    /// Starts the flight for `key` unless it is under way. See [`super::SearchCache::refresh`].
    pub(crate) fn start(&self, key: &Arc<[u8]>, directory: Option<usize>, lifetimes: Lifetimes, start: impl FnOnce() -> Fill) {
        let generation = self.store.generation(directory);
        if let Entry::Vacant(vacant) = self.table.entry(Arc::clone(key))
            && let Ok(permit) = Arc::clone(&self.room).try_acquire_owned()
        {
            let (flight, ticket) = self.announce(key, generation, permit);
            drop(vacant.insert(flight));
            tokio::spawn(ticket.fly(start().watched_by(&self.store, directory), lifetimes));
        }
    }

    /// What is being asked under the keys that go is not kept, and nobody joins it any more.
    pub(crate) fn disown(&self, goes: impl Fn(&[u8]) -> bool) {
        self.table.retain(|key, _| !goes(key));
    }

    fn board<F: FnOnce() -> Fill>(&self, key: &Arc<[u8]>, directory: Option<usize>, lifetimes: Lifetimes, start: F) -> Boarded<F> {
        let generation = self.store.generation(directory);
        let entry = self.table.entry(Arc::clone(key));
        match &entry {
            Entry::Occupied(other) if other.get().generation == generation => {
                return Boarded::Joined(Arc::clone(&other.get().landing), start);
            }
            Entry::Occupied(_) => {}
            // A flight leaves the table after its answer is stored, so between the caller's look-up and now one may have landed.
            Entry::Vacant(_) => {
                if let Lookup::Fresh(answer) | Lookup::RefreshDue(answer) = self.store.look_up(key, None, Instant::now()) {
                    return Boarded::Found(answer);
                }
            }
        }
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return Boarded::Full };
        let (flight, ticket) = self.announce(key, generation, permit);
        let landing = Arc::clone(&flight.landing);
        drop(entry.insert(flight));
        tokio::spawn(ticket.fly(start().watched_by(&self.store, directory), lifetimes));
        Boarded::Started(landing)
    }

    /// A flight for the table, and what its task needs.
    fn announce(&self, key: &Arc<[u8]>, generation: Generation, permit: OwnedSemaphorePermit) -> (Flight, Ticket) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let landing = Arc::<Landing>::default();
        let place = Place { table: Arc::clone(&self.table), key: Arc::clone(key), number, _permit: permit };
        let ticket = Ticket { place, store: Arc::clone(&self.store), generation, tower: Tower(Arc::clone(&landing)) };
        (Flight { number, generation, landing }, ticket)
    }
}

impl Landing {
    /// How the flight ended. Cancel safe.
    async fn landed(&self) -> Landed {
        let told = self.told.notified();
        if self.landed.get().is_none() {
            told.await;
        }
        self.landed.get().cloned().unwrap_or(Landed::Failed(DirectoryError::Unavailable))
    }

    fn take_overflow(&self) -> Option<Box<Overflow>> {
        self.overflow.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tell(&self, landed: Landed) {
        self.landed.set(landed).ok();
        self.told.notify_waiters();
    }
}

/// Tells the end of a flight; of one that is lost, when it is dropped.
struct Tower(Arc<Landing>);

impl Drop for Tower {
    fn drop(&mut self) {
        self.0.tell(Landed::Failed(DirectoryError::Unavailable));
    }
}

/// What the task of one flight needs.
struct Ticket {
    place: Place,
    store: Arc<Store>,
    generation: Generation,
    tower: Tower,
}

impl Ticket {
    /// Runs the fill to its end. The answer is stored before the flight leaves the table, so whoever comes finds one or the other.
    async fn fly(self, mut fill: Fill, lifetimes: Lifetimes) {
        let mut gathered = AnswerBuilder::default();
        let landed = match gather(&mut fill, &mut gathered, self.store.keep_limit()).await {
            Ok(Some(done)) => {
                let answer = gathered.finish(done.code, &done.op);
                if !fill.is_behind() && answer.is_complete(fill.entries_wanted()) {
                    self.keep(&answer, &lifetimes);
                }
                // Its turn is over before anybody can hear of it and ask for more.
                drop(fill);
                Landed::Answer(answer)
            }
            Ok(None) => {
                // Where whoever started it is gone it is dropped with the landing, which abandons it.
                let overflow = Overflow { gathered, rest: fill };
                *self.tower.0.overflow.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(overflow));
                Landed::NotShared
            }
            Err(error) => {
                drop(fill);
                Landed::Failed(error)
            }
        };
        drop(self.place);
        self.tower.0.tell(landed);
    }

    /// Stores the answer, unless it was [disowned](Flights::disown). Its place in the table is held meanwhile, so whoever disowns it and then throws
    /// out what is stored finds it in one of the two.
    fn keep(&self, answer: &Answer, lifetimes: &Lifetimes) {
        let Place { table, key, number, .. } = &self.place;
        let flight = table.get(key).filter(|flight| flight.number == *number);
        if flight.is_some() {
            self.store.insert(key, answer, self.generation, lifetimes, fastrand::f64(), Instant::now());
        }
        drop(flight);
    }
}

/// A flight's place in the table; given up when dropped, whatever became of the task.
struct Place {
    table: Arc<Table>,
    key: Arc<[u8]>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.remove_if(&self.key, |_, flight| flight.number == self.number);
    }
}

/// Gathers a whole answer, to its end; `None` when it is more than may be kept, in the middle of coming.
async fn gather(fill: &mut Fill, gathered: &mut AnswerBuilder, keep_limit: usize) -> Result<Option<Done>, DirectoryError> {
    loop {
        match fill.next().await? {
            Reply::Entry(op) => gathered.push_entry(&op),
            // Only controls that are not cached ask for these.
            Reply::Intermediate(_) | Reply::Who(_) => {}
            Reply::Again => gathered.truncate(fill.entries()),
            Reply::Done(done) => return Ok(Some(done)),
        }
        if gathered.len() > keep_limit {
            return Ok(None);
        }
    }
}

/// Fills in flight at once: enough for every phone of a large site to look for something else, and a bound on what a flood of searches that
/// nobody waits for can hold.
const MAX_FLIGHTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::scripted::{Scripted, Step};
    use crate::ldap::message::ResultCode;
    use Step::{Done, Entry, Fail, Wait};
    use futures_util::future::join_all;
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    const LIFETIMES: Lifetimes =
        Lifetimes { ttl: Duration::from_secs(100), empty_ttl: Duration::from_secs(100), stale: Duration::from_secs(1000), refresh: 0.8 };

    fn flights() -> Flights {
        // The hundredth that is kept: 1,000 octets.
        Flights::new(Arc::new(Store::new(100_000, 1, Duration::from_secs(2_000))))
    }

    async fn join(flights: &Flights, directory: &Arc<Scripted>) -> Fetched<impl FnOnce() -> Fill> {
        flights.join(&key(), Some(0), LIFETIMES, || directory.fill(1, Some(2))).await
    }

    fn key() -> Arc<[u8]> {
        Arc::from(*b"key")
    }

    fn slow() -> Vec<Step> {
        vec![Wait(1), Entry("a"), Done(ResultCode::SUCCESS)]
    }

    fn large() -> Vec<Step> {
        vec![Wait(1), Entry(LONG), Entry(LONG), Done(ResultCode::SUCCESS)]
    }

    const LONG: &str = match std::str::from_utf8(&[b'x'; 300]) {
        Ok(text) => text,
        Err(_) => "",
    };

    fn is_stored(flights: &Flights) -> bool {
        matches!(flights.store.look_up(b"key", None, Instant::now()), Lookup::Fresh(_))
    }

    #[tokio::test(start_paused = true)]
    async fn five_thousand_who_want_the_same_are_one_search() {
        let (flights, directory) = (flights(), Scripted::new([slow()]));
        let fetched = join_all((0..5_000).map(|_| join(&flights, &directory))).await;
        assert_eq!(directory.asked(), 1);
        assert_eq!(fetched.iter().filter(|fetched| matches!(fetched, Fetched::Answer(_))).count(), 1);
        assert_eq!(fetched.iter().filter(|fetched| matches!(fetched, Fetched::Coalesced(_))).count(), 4_999);
        assert!(is_stored(&flights) && flights.table.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fill_survives_whoever_asked_first() {
        let (flights, directory) = (flights(), Scripted::new([slow()]));
        let second = async {
            sleep(Duration::from_millis(1)).await;
            join(&flights, &directory).await
        };
        let (first, second) = tokio::join!(timeout(Duration::from_millis(100), join(&flights, &directory)), second);
        assert!(first.is_err(), "who asked first gave up");
        assert!(matches!(second, Fetched::Coalesced(_)));
        assert_eq!((directory.asked(), directory.abandoned()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fill_that_nobody_waits_for_is_stored() {
        let (flights, directory) = (flights(), Scripted::new([slow()]));
        assert!(timeout(Duration::from_millis(100), join(&flights, &directory)).await.is_err());
        sleep(Duration::from_secs(2)).await;
        assert!(is_stored(&flights));
    }

    #[tokio::test(start_paused = true)]
    async fn a_miss_that_was_overtaken_by_a_landing_asks_nobody() {
        let (flights, directory) = (flights(), Scripted::new([slow()]));
        assert!(matches!(join(&flights, &directory).await, Fetched::Answer(_)));
        assert!(matches!(join(&flights, &directory).await, Fetched::Coalesced(_)));
        assert_eq!(directory.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_everybodys_and_is_not_kept() {
        let (flights, directory) = (flights(), Scripted::new([vec![Wait(1), Fail(DirectoryError::Unavailable)], slow()]));
        let (first, second) = tokio::join!(join(&flights, &directory), join(&flights, &directory));
        assert!(matches!(first, Fetched::Failed(DirectoryError::Unavailable)));
        assert!(matches!(second, Fetched::Failed(DirectoryError::Unavailable)));
        assert!(matches!(join(&flights, &directory).await, Fetched::Answer(_)), "the next one asks again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_complete_is_shared_but_not_kept() {
        let busy = || vec![Wait(1), Entry("a"), Done(ResultCode::BUSY)];
        let own_limit = || vec![Wait(1), Entry("a"), Done(ResultCode::SIZE_LIMIT_EXCEEDED)];
        let (flights, directory) = (flights(), Scripted::new([busy(), own_limit()]));
        for expected in [ResultCode::BUSY, ResultCode::SIZE_LIMIT_EXCEEDED] {
            let Fetched::Answer(answer) = join(&flights, &directory).await else { panic!("it is an answer") };
            assert_eq!(answer.code(), expected);
            assert!(!is_stored(&flights));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_clients_own_limit_cut_is_kept() {
        let script = vec![Entry("a"), Entry("b"), Entry("c"), Done(ResultCode::SUCCESS)];
        let (flights, directory) = (flights(), Scripted::new([script]));
        let Fetched::Answer(answer) = join(&flights, &directory).await else { panic!("it is an answer") };
        assert_eq!((answer.code(), answer.entry_count()), (ResultCode::SIZE_LIMIT_EXCEEDED, 2));
        assert!(is_stored(&flights));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_result_goes_to_who_asked_first_and_the_others_ask_themselves() {
        let (flights, directory) = (flights(), Scripted::new([large()]));
        let (first, second) = tokio::join!(join(&flights, &directory), join(&flights, &directory));
        let Fetched::Overflow(mut overflow) = first else { panic!("it is too large") };
        assert_eq!(overflow.gathered.entry_count(), 2);
        assert!(matches!(overflow.rest.next().await, Ok(Reply::Done(_))));
        assert!(matches!(second, Fetched::NotShared(_)));
        assert!(!is_stored(&flights) && flights.table.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_result_that_nobody_waits_for_is_abandoned() {
        let (flights, directory) = (flights(), Scripted::new([large()]));
        assert!(timeout(Duration::from_millis(100), join(&flights, &directory)).await.is_err());
        sleep(Duration::from_secs(2)).await;
        assert_eq!(directory.abandoned(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_after_a_write_joins_no_flight_from_before() {
        let (flights, directory) = (flights(), Scripted::new([slow(), slow()]));
        let later = async {
            sleep(Duration::from_millis(500)).await;
            drop(flights.store.write_begins(0));
            join(&flights, &directory).await
        };
        let (_, later) = tokio::join!(join(&flights, &directory), later);
        assert!(matches!(later, Fetched::Answer(_)));
        assert_eq!(directory.asked(), 2);
        assert!(is_stored(&flights) && flights.table.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fill_that_a_write_overtook_is_not_stored() {
        let (flights, directory) = (flights(), Scripted::new([slow()]));
        let write = async {
            sleep(Duration::from_millis(500)).await;
            drop(flights.store.write_begins(0));
        };
        tokio::join!(join(&flights, &directory), write);
        assert!(!is_stored(&flights));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_runs_once_and_replaces_the_answer() {
        let (flights, directory) = (flights(), Scripted::new([slow(), slow()]));
        join(&flights, &directory).await;
        sleep(Duration::from_secs(95)).await;
        for _ in 0..3 {
            flights.start(&key(), Some(0), LIFETIMES, || directory.fill(1, Some(2)));
        }
        sleep(Duration::from_secs(50)).await;
        assert_eq!(directory.asked(), 2);
        assert!(is_stored(&flights));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_different_searches_is_refused_and_not_queued() {
        let (flights, directory) = (flights(), Scripted::new((0..MAX_FLIGHTS).map(|_| slow())));
        let fetched = join_all((0..=MAX_FLIGHTS).map(|number| {
            let (flights, directory) = (&flights, &directory);
            async move { flights.join(&Arc::from(number.to_be_bytes()), Some(0), LIFETIMES, || directory.fill(1, None)).await }
        }))
        .await;
        assert!(matches!(fetched.last(), Some(Fetched::Failed(DirectoryError::Busy))));
        assert_eq!(fetched.iter().filter(|fetched| matches!(fetched, Fetched::Answer(_))).count(), MAX_FLIGHTS);
        assert_eq!(flights.room.available_permits(), MAX_FLIGHTS);
    }
}
