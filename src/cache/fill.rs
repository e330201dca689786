//! One fill: the searches that together answer one client's search, run one after another, their answers concatenated and cut.
//!
//! In: directories and operations. Out: a stream of replies as from one directory ([`Fill::next`]), with at most the wanted number of
//! entries and one SearchResultDone at its end. Used by the cache's flights, and directly for searches that are not cached.

use super::store::Store;
use crate::directory::{Directory, DirectoryError, Done, Operation, Replies, Reply};
use crate::ldap::envelope::op;
use crate::ldap::message::ResultCode;
use crate::ldap::response::write_result_op;
use crate::patience::by;
use crate::turns::Turn;
use std::sync::Arc;
use tokio::time::Instant;

/// A list of searches under way.
#[derive(Debug)]
pub(crate) struct Fill {
    waiting: std::vec::IntoIter<(Arc<dyn Directory>, Operation)>,
    running: Option<Running>,
    /// There was more than one to begin with, or none: the end is Redial's own.
    is_joined: bool,
    entries_wanted: Option<u32>,
    entries: u32,
    /// Without one it does not have to wait.
    turn: Option<Turn>,
    /// Who is told of the end, and of which directory's.
    watched_by: Option<(Arc<Store>, Option<usize>)>,
    is_behind: bool,
}

/// The search whose replies are coming.
#[derive(Debug)]
struct Running {
    directory: Arc<dyn Directory>,
    behind_before: u64,
    replies: Replies,
    deadline: Instant,
    /// Entries of the searches before this one.
    entries_before: u32,
}

impl Fill {
    /// The searches to run, in order; none: success without entries. `entries_wanted` is for all of them together.
    pub(crate) fn new(searches: Vec<(Arc<dyn Directory>, Operation)>, entries_wanted: Option<u32>) -> Self {
        Self {
            is_joined: searches.len() != 1,
            waiting: searches.into_iter(),
            running: None,
            entries_wanted,
            entries: 0,
            turn: None,
            watched_by: None,
            is_behind: false,
        }
    }

    /// The same fill, which begins when its client's turn has come, and keeps it to its end.
    pub(crate) fn in_turn(self, turn: Turn) -> Self {
        Self { turn: Some(turn), ..self }
    }

    /// The same fill, which tells `store` of its end before it tells anybody else.
    pub(super) fn watched_by(mut self, store: &Arc<Store>, directory: Option<usize>) -> Self {
        self.watched_by = Some((Arc::clone(store), directory));
        self
    }

    /// The answer may lack a write that was acknowledged before it was asked for: it may be given, and is not to be kept.
    pub(super) const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// The most entries that come.
    pub(crate) const fn entries_wanted(&self) -> Option<u32> {
        self.entries_wanted
    }

    /// How many entries have come; after [`Reply::Again`] those that still count.
    pub(crate) const fn entries(&self) -> u32 {
        self.entries
    }

    /// The next reply; after [`Reply::Done`] or an error it is not called again. When more entries come than wanted the answer is cut, and
    /// its end says sizeLimitExceeded(4). noSuchObject(32) from one of several searches counts as no entries; any other failure of one
    /// ends the whole.
    ///
    /// Cancel safe, but for the start of a search: that one may be lost. Dropping the fill abandons what runs.
    ///
    /// # Errors
    /// When a directory gives no answer, or not before the operation's deadline.
    pub(crate) async fn next(&mut self) -> Result<Reply, DirectoryError> {
        let reply = self.advance().await;
        if let (Ok(Reply::Done(_)) | Err(_), Some((store, directory))) = (&reply, &self.watched_by) {
            store.read_ended(*directory);
        }
        reply
    }

    async fn advance(&mut self) -> Result<Reply, DirectoryError> {
        loop {
            let Some(running) = &mut self.running else {
                match self.waiting.next() {
                    Some((directory, operation)) => {
                        if let Some(turn) = &mut self.turn
                            && !turn.has_come()
                        {
                            Box::pin(turn.come(operation.deadline)).await.map_err(|_| DirectoryError::Busy)?;
                        }
                        self.running = Some(Running::start(directory, operation, self.entries).await?);
                    }
                    None => return Ok(Reply::Done(own_end(ResultCode::SUCCESS))),
                }
                continue;
            };
            match running.next().await? {
                Reply::Entry(_) if self.entries_wanted.is_some_and(|wanted| self.entries >= wanted) => {
                    self.stop();
                    return Ok(Reply::Done(own_end(ResultCode::SIZE_LIMIT_EXCEEDED)));
                }
                Reply::Entry(op) => {
                    self.entries += 1;
                    return Ok(Reply::Entry(op));
                }
                Reply::Done(done) if self.is_joined && matches!(done.code, ResultCode::SUCCESS | ResultCode::NO_SUCH_OBJECT) => {
                    self.end_running();
                }
                Reply::Done(done) => {
                    self.stop();
                    return Ok(Reply::Done(done));
                }
                Reply::Again => {
                    self.entries = running.entries_before;
                    return Ok(Reply::Again);
                }
                other @ (Reply::Intermediate(_) | Reply::Who(_)) => return Ok(other),
            }
        }
    }

    /// Nothing more is asked; what runs is abandoned.
    fn stop(&mut self) {
        self.end_running();
        self.waiting = Vec::new().into_iter();
    }

    fn end_running(&mut self) {
        self.is_behind |= self.running.take().is_some_and(|running| running.directory.answers_behind() != running.behind_before);
    }
}

impl Running {
    async fn start(directory: Arc<dyn Directory>, operation: Operation, entries_before: u32) -> Result<Self, DirectoryError> {
        let deadline = operation.deadline;
        let behind_before = directory.answers_behind();
        let started = by(deadline, directory.run(operation)).await;
        Ok(Self { replies: started.map_err(|_| DirectoryError::TimedOut)??, directory, behind_before, deadline, entries_before })
    }

    async fn next(&mut self) -> Result<Reply, DirectoryError> {
        match by(self.deadline, self.replies.next()).await {
            Ok(Some(reply)) => reply,
            Ok(None) => Err(DirectoryError::Misbehaved("the answer has no end")),
            Err(_) => Err(DirectoryError::TimedOut),
        }
    }
}

fn own_end(code: ResultCode) -> Done {
    let mut octets = Vec::new();
    write_result_op(&mut octets, op::SEARCH_RESULT_DONE, code, "", "");
    Done { code, op: octets.into(), controls: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::scripted::{Scripted, Step, entry_op};
    use Step::{Again, BreakOff, Done as End, Entry, Fail, Wait};

    /// The names of the entries, and how it ended.
    async fn outcome(mut fill: Fill) -> (Vec<bytes::Bytes>, Result<ResultCode, DirectoryError>) {
        let mut entries = Vec::new();
        loop {
            match fill.next().await {
                Ok(Reply::Entry(op)) => entries.push(op),
                Ok(Reply::Intermediate(_) | Reply::Who(_)) => {}
                Ok(Reply::Again) => entries.truncate(fill.entries() as usize),
                Ok(Reply::Done(done)) => return (entries, Ok(done.code)),
                Err(error) => return (entries, Err(error)),
            }
        }
    }

    fn names(names: &[&str]) -> Vec<bytes::Bytes> {
        names.iter().map(|name| entry_op(name)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_search_is_passed_on_as_it_comes() {
        let directory = Scripted::new([vec![Entry("a"), Entry("b"), End(ResultCode::SUCCESS)], vec![End(ResultCode::NO_SUCH_OBJECT)]]);
        assert_eq!(outcome(directory.fill(1, None)).await, (names(&["a", "b"]), Ok(ResultCode::SUCCESS)));
        assert_eq!(outcome(directory.fill(1, None)).await, (names(&[]), Ok(ResultCode::NO_SUCH_OBJECT)));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_concatenated() {
        let directory = Scripted::new([
            vec![Entry("a"), End(ResultCode::SUCCESS)],
            vec![End(ResultCode::NO_SUCH_OBJECT)],
            vec![Entry("b"), End(ResultCode::SUCCESS)],
        ]);
        assert_eq!(outcome(directory.fill(3, None)).await, (names(&["a", "b"]), Ok(ResultCode::SUCCESS)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_size_limit_holds_for_all_and_the_rest_is_abandoned() {
        let script = || vec![Entry("a"), Entry("b"), Entry("c"), End(ResultCode::SUCCESS)];
        let directory = Scripted::new([script(), script(), script()]);
        assert_eq!(outcome(directory.fill(3, Some(4))).await, (names(&["a", "b", "c", "a"]), Ok(ResultCode::SIZE_LIMIT_EXCEEDED)));
        tokio::task::yield_now().await;
        assert_eq!((directory.asked(), directory.abandoned()), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn exactly_the_wanted_number_is_no_excess() {
        let directory = Scripted::new([vec![Entry("a"), Entry("b"), End(ResultCode::SUCCESS)]]);
        assert_eq!(outcome(directory.fill(1, Some(2))).await, (names(&["a", "b"]), Ok(ResultCode::SUCCESS)));
    }

    #[tokio::test(start_paused = true)]
    async fn any_other_code_ends_the_whole() {
        let directory = Scripted::new([vec![Entry("a"), End(ResultCode::BUSY)], vec![Entry("b"), End(ResultCode::SUCCESS)]]);
        assert_eq!(outcome(directory.fill(2, None)).await, (names(&["a"]), Ok(ResultCode::BUSY)));
        assert_eq!(directory.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_to_ask_is_success_without_entries() {
        assert_eq!(outcome(Fill::new(Vec::new(), None)).await, (names(&[]), Ok(ResultCode::SUCCESS)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_breaks_off_and_begins_anew_counts_once() {
        let broken = vec![Entry("b"), Entry("c"), Again, Entry("c"), Entry("b"), End(ResultCode::SUCCESS)];
        let script = || [vec![Entry("a"), End(ResultCode::SUCCESS)], broken.clone()];
        assert_eq!(outcome(Scripted::new(script()).fill(2, None)).await, (names(&["a", "c", "b"]), Ok(ResultCode::SUCCESS)));
        assert_eq!(outcome(Scripted::new(script()).fill(2, Some(3))).await, (names(&["a", "c", "b"]), Ok(ResultCode::SUCCESS)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_end_is_an_error() {
        let directory = Scripted::new([vec![Entry("a"), BreakOff], vec![Fail(DirectoryError::Busy)]]);
        let (entries, end) = outcome(directory.fill(1, None)).await;
        assert_eq!((entries, end), (names(&["a"]), Err(DirectoryError::Misbehaved("the answer has no end"))));
        assert_eq!(outcome(directory.fill(1, None)).await.1, Err(DirectoryError::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fill_waits_for_its_clients_turn_and_keeps_it() {
        let turns = Arc::new(crate::turns::Turns::new(1));
        let ask = || turns.ask(crate::turns::Whose::principal("cn=pbx"));
        let directory = Scripted::new([vec![Entry("a"), End(ResultCode::SUCCESS)], vec![End(ResultCode::SUCCESS)]]);
        let mut first = directory.fill(1, None).in_turn(ask());
        assert!(matches!(first.next().await, Ok(Reply::Entry(_))));
        assert_eq!(outcome(directory.fill(1, None).in_turn(ask())).await.1, Err(DirectoryError::Busy));
        assert_eq!(directory.asked(), 1, "it was not asked");
        drop(first);
        assert_eq!(outcome(directory.fill(1, None).in_turn(ask())).await.1, Ok(ResultCode::SUCCESS));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_directory_is_left_at_the_deadline() {
        let directory = Scripted::new([vec![Entry("a"), Wait(11), End(ResultCode::SUCCESS)]]);
        let began = Instant::now();
        assert_eq!(outcome(directory.fill(1, None)).await, (names(&["a"]), Err(DirectoryError::TimedOut)));
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}
