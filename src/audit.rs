//! The audit log: one JSON line per bind and per write, and per search and compare where the configuration wants them.
//!
//! In: a [`Subject`] and its [`Outcome`], from the pipeline. Out: a line, written by a thread of its own, many at once. Whoever notes something
//! never waits: where the queue is full the line is dropped and counted, and the log says later how many it lacks. No secret comes
//! here: no password, and no value of a write.

use crate::config;
use crate::config::AuditFile;
use crate::metrics::Metrics;
use crate::outcome::{OperationKind, Outcome, Subject};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::SystemTime;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// Where operations are noted. Dropped, its thread writes what it has and ends.
#[derive(Debug)]
pub(crate) struct Audit {
    /// By kind.
    covers: [bool; OperationKind::ALL.len()],
    /// `None`: there is no audit log.
    queue: Option<mpsc::Sender<Message>>,
    missing: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

/// What the thread is told.
#[derive(Debug)]
enum Message {
    Note(Note),
    /// Write all that came before, open the file anew, and say how that went.
    Reopen(oneshot::Sender<io::Result<()>>),
    /// Write all that came before, say so, and end.
    End(oneshot::Sender<()>),
}

/// One operation, at its end.
#[derive(Debug)]
struct Note {
    at: SystemTime,
    subject: Box<Subject>,
    outcome: Outcome,
}

impl Audit {
    /// No audit log: it covers nothing.
    pub(crate) fn off(metrics: Arc<Metrics>) -> Self {
        Self { covers: [false; OperationKind::ALL.len()], queue: None, missing: Arc::default(), metrics }
    }

    /// Opens the file to append to it, and starts the thread that writes. `listeners` are the names of the listeners, in the order of the
    /// configuration.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread not be started.
    pub(crate) fn open(config: &config::Audit, listeners: Vec<String>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let file = config.file.clone();
        let open = move || -> io::Result<Sink> {
            Ok(match &file {
                AuditFile::StandardOutput => Box::new(io::stdout()),
                // Names of people: for the group that reads logs, and nobody else.
                AuditFile::Path(path) => Box::new(OpenOptions::new().append(true).create(true).mode(0o640).open(path)?),
            })
        };
        let covers = OperationKind::ALL.map(|kind| match kind {
            OperationKind::Search => config.searches,
            OperationKind::Compare => config.compares,
            _ => kind == OperationKind::Bind || kind.is_write(),
        });
        Self::begin(covers, Box::new(open), listeners, metrics)
    }

    fn begin(covers: [bool; OperationKind::ALL.len()], open: Open, listeners: Vec<String>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let sink = open()?;
        let (queue, messages) = mpsc::channel(QUEUE);
        let missing = Arc::default();
        let writer = Writer { open, sink, listeners, missing: Arc::clone(&missing), metrics: Arc::clone(&metrics), fails: false };
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(messages))?;
        Ok(Self { covers, queue: Some(queue), missing, metrics })
    }

    /// Operations of this kind are noted.
    pub(crate) fn covers(&self, kind: OperationKind) -> bool {
        self.covers.get(kind as usize).copied().unwrap_or_default()
    }

    /// Notes an operation that has ended just now. Never waits.
    pub(crate) fn note(&self, subject: Box<Subject>, outcome: &Outcome) {
        let Some(queue) = &self.queue else { return };
        let note = Note { at: SystemTime::now(), subject, outcome: *outcome };
        if queue.try_send(Message::Note(note)).is_err() {
            self.missing.fetch_add(1, Ordering::Relaxed);
            self.metrics.audit_dropped(1);
        }
    }

    /// Opens the file anew, as is wanted after the old one was renamed: what was noted before stands in the old one, all that follows in the new
    /// one. Waits as long as the file takes.
    ///
    /// # Errors
    /// The file cannot be opened; then the old one goes on being written.
    pub(crate) async fn reopen(&self) -> io::Result<()> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let (tell, reopened) = oneshot::channel();
        // An error means that the thread has ended, and with it the log.
        if queue.send(Message::Reopen(tell)).await.is_err() {
            return Ok(());
        }
        reopened.await.unwrap_or(Ok(()))
    }

    /// Resolves when all that was noted before has been written; nothing is noted afterwards. Waits as long as the file takes.
    pub(crate) async fn end(&self) {
        let Some(queue) = &self.queue else { return };
        let (written, ended) = oneshot::channel();
        if queue.send(Message::End(written)).await.is_ok() {
            // An error means that the thread has ended, which is an end as well.
            let _ = ended.await;
        }
    }
}

/// Where lines go.
type Sink = Box<dyn Write + Send>;

/// Opens that.
type Open = Box<dyn Fn() -> io::Result<Sink> + Send>;

/// The thread's own.
struct Writer {
    open: Open,
    sink: Sink,
    listeners: Vec<String>,
    missing: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    /// The last attempt to write failed, perhaps in the middle of a line.
    fails: bool,
}

impl Writer {
    fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        while messages.blocking_recv_many(&mut batch, BATCH) > 0 {
            let mut notes = Vec::with_capacity(batch.len());
            for message in batch.drain(..) {
                match message {
                    Message::Note(note) => notes.push(note),
                    Message::Reopen(reopened) => {
                        self.write(&notes);
                        notes.clear();
                        // Whoever asked may have stopped waiting.
                        let _ = reopened.send(self.reopen());
                    }
                    Message::End(written) => {
                        self.write(&notes);
                        // As above.
                        let _ = written.send(());
                        return;
                    }
                }
            }
            self.write(&notes);
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.sink = (self.open)()?;
        // A line that was torn stands in the old file.
        self.fails = false;
        Ok(())
    }

    /// Writes these, and how many are missing before the next.
    fn write(&mut self, notes: &[Note]) {
        if notes.is_empty() && self.missing.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut lines = String::new();
        if self.fails {
            lines.push('\n');
        }
        for note in notes {
            let listener = self.listeners.get(note.subject.listener).map_or("", String::as_str);
            push_note(&mut lines, note, listener);
        }
        let missing = self.missing.swap(0, Ordering::Relaxed);
        if missing > 0 {
            push_missing(&mut lines, missing);
        }
        match self.sink.write_all(lines.as_bytes()).and_then(|()| self.sink.flush()) {
            Ok(()) if self.fails => {
                self.fails = false;
                info!("the audit log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                if !self.fails {
                    warn!(%error, "the audit log cannot be written: lines are dropped and counted until it can");
                }
                self.fails = true;
                self.missing.fetch_add(missing + notes.len() as u64, Ordering::Relaxed);
                self.metrics.audit_dropped(notes.len() as u64);
            }
        }
    }
}

/// The line of one operation. What is not there (the target of a bind, say) has no key.
fn push_note(lines: &mut String, note: &Note, listener: &str) {
    let Note { at, subject, outcome } = note;
    // Of the extended operations only Password Modify comes this far.
    let operation = if outcome.kind == OperationKind::Extended { "password_modify" } else { outcome.kind.name() };
    let texts = [
        ("time", Some(humantime::format_rfc3339_millis(*at).to_string().into())),
        ("peer", Some(subject.peer.to_string().into())),
        ("listener", Some(listener.into())),
        ("principal", Some(subject.principal.as_str().into())),
        ("operation", Some(operation.into())),
        ("target", subject.target.as_deref().map(Value::from)),
        ("filter", subject.filter.as_deref().map(Value::from)),
        ("code", Some(outcome.code.0.into())),
        ("result", Some(outcome.code.name().into())),
        ("served", Some(outcome.served.name().into())),
        ("took_us", Some(u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX).into())),
    ];
    push_line(lines, texts.into_iter().filter_map(|(key, value)| Some((key, value?))));
}

/// The line that says that lines are missing.
fn push_missing(lines: &mut String, missing: u64) {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    push_line(lines, [("time", time.into()), ("dropped", missing.into())].into_iter());
}

/// One JSON object in the order of its keys, which need no escaping.
fn push_line(lines: &mut String, fields: impl Iterator<Item = (&'static str, Value)>) {
    for (index, (key, value)) in fields.enumerate() {
        lines.push_str(if index == 0 { "{\"" } else { ",\"" });
        lines.push_str(key);
        lines.push_str("\":");
        lines.push_str(&value.to_string());
    }
    lines.push_str("}\n");
}

/// Lines that wait to be written. With the longest names there are they take some 15 MiB.
const QUEUE: usize = 4096;

/// Lines that are written at once.
const BATCH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::ResultCode;
    use crate::outcome::Served;
    use std::sync::{Condvar, Mutex};
    use std::time::{Duration, UNIX_EPOCH};

    fn subject(principal: &str) -> Box<Subject> {
        let peer = "10.20.1.7:50000".parse().unwrap();
        Box::new(Subject { peer, listener: 0, principal: principal.to_owned(), target: None, filter: None })
    }

    fn outcome(kind: OperationKind) -> Outcome {
        Outcome { kind, served: Served::Forwarded, code: ResultCode::SUCCESS, entries: 0, took: Duration::from_micros(2311) }
    }

    fn line(subject: Box<Subject>, outcome: Outcome) -> String {
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_042);
        let mut line = String::new();
        push_note(&mut line, &Note { at, subject, outcome }, "0.0.0.0:636");
        line
    }

    /// A file that takes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<Behind>);

    #[derive(Default)]
    struct Behind {
        is_open: Mutex<bool>,
        opened: Condvar,
        taken: Mutex<Vec<u8>>,
    }

    impl Gate {
        fn open(&self) {
            *self.0.is_open.lock().unwrap() = true;
            self.0.opened.notify_all();
        }

        /// What it has taken; an empty line is the rest of one that was torn.
        fn lines(&self) -> Vec<Value> {
            let text = String::from_utf8(self.0.taken.lock().unwrap().clone()).unwrap();
            text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    impl Write for Gate {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let is_open = self.0.is_open.lock().unwrap();
            drop(self.0.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
            self.0.taken.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn audit(sink: impl Write + Send + Clone + 'static) -> Audit {
        opening(move || Ok(Box::new(sink.clone())))
    }

    fn opening(open: impl Fn() -> io::Result<Sink> + Send + 'static) -> Audit {
        let metrics = Arc::new(Metrics::unrecorded());
        Audit::begin([true; OperationKind::ALL.len()], Box::new(open), vec!["0.0.0.0:636".to_owned()], metrics).unwrap()
    }

    #[test]
    fn a_line_says_who_what_and_how_it_ended() {
        assert_eq!(
            line(subject("cn=pbx,dc=corp"), outcome(OperationKind::Bind)),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.042Z","peer":"10.20.1.7:50000","listener":"0.0.0.0:636","principal":"cn=pbx,dc=corp","#,
                r#""operation":"bind","code":0,"result":"success","served":"forwarded","took_us":2311}"#,
                "\n"
            )
        );
        let of_search = Subject { target: Some(String::new()), filter: Some("(cn=a*)".to_owned()), ..*subject("") };
        let of_search = line(Box::new(of_search), outcome(OperationKind::Search));
        assert!(of_search.contains(r#""principal":"","operation":"search","target":"","filter":"(cn=a*)","code":0"#), "{of_search}");
        assert!(line(subject("a"), outcome(OperationKind::Extended)).contains(r#""operation":"password_modify""#));
    }

    #[test]
    fn a_hostile_name_stays_one_line_and_one_value() {
        for name in [
            "a\nb",
            "a\r\n{\"operation\":\"bind\"}",
            "\"",
            "\\",
            "\\\"",
            "\0\u{1}\u{1f}\u{7f}",
            "\u{2028}",
            "ü€😀",
            "\",\"code\":0,\"x\":\"",
        ] {
            let line = line(subject(name), outcome(OperationKind::Bind));
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(!line.trim_end().contains(char::is_control) || name.contains('\u{7f}'), "{line:?}");
            let read: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["principal"], name);
            assert_eq!(read.as_object().unwrap().len(), 9, "{line}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_drops_counts_and_tells_and_nobody_waits() {
        let gate = Gate::default();
        let audit = audit(gate.clone());
        // One batch may have been taken out of the queue by the thread that stands at the gate.
        for _ in 0..QUEUE + BATCH + 100 {
            audit.note(subject("a"), &outcome(OperationKind::Bind));
        }
        let dropped = audit.missing.load(Ordering::Relaxed);
        assert!((100..=100 + BATCH as u64).contains(&dropped), "{dropped}");
        assert!(audit.metrics.render().lines().any(|line| line == format!("redial_audit_dropped_total {dropped}")));
        gate.open();
        audit.end().await;
        let lines = gate.lines();
        let told: u64 = lines.iter().filter_map(|line| line["dropped"].as_u64()).sum();
        assert_eq!(told, dropped);
        assert_eq!(lines.iter().filter(|line| line["operation"] == "bind").count() as u64, (QUEUE + BATCH + 100) as u64 - dropped);
    }

    #[tokio::test]
    async fn nothing_that_was_noted_before_the_end_is_lost() {
        let gate = Gate::default();
        gate.open();
        let audit = audit(gate.clone());
        for _ in 0..3000 {
            audit.note(subject("a"), &outcome(OperationKind::Delete));
        }
        audit.end().await;
        assert_eq!(gate.lines().len(), 3000);
        audit.note(subject("late"), &outcome(OperationKind::Delete));
        audit.end().await;
        assert_eq!(gate.lines().len(), 3000);
    }

    #[tokio::test]
    async fn a_file_that_is_opened_anew_gets_what_comes_after_and_nothing_is_lost() {
        let files: [Gate; 2] = Default::default();
        files.iter().for_each(Gate::open);
        let (opened, later) = (AtomicU64::new(0), files.clone());
        let audit = opening(move || match later.get(usize::try_from(opened.fetch_add(1, Ordering::Relaxed)).unwrap()) {
            Some(file) => Ok(Box::new(file.clone())),
            None => Err(io::ErrorKind::PermissionDenied.into()),
        });
        for _ in 0..1000 {
            audit.note(subject("before"), &outcome(OperationKind::Bind));
        }
        audit.reopen().await.unwrap();
        for _ in 0..1000 {
            audit.note(subject("after"), &outcome(OperationKind::Bind));
        }
        assert_eq!(audit.reopen().await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        audit.note(subject("last"), &outcome(OperationKind::Bind));
        audit.end().await;
        let [old, new] = files.map(|file| file.lines());
        assert!(old.len() == 1000 && old.iter().all(|line| line["principal"] == "before"));
        assert!(new.len() == 1001 && new[..1000].iter().all(|line| line["principal"] == "after"));
        assert_eq!(new[1000]["principal"], "last");
        audit.reopen().await.unwrap();
    }

    /// A disk that is full once, in the middle of a line.
    struct FullOnce(Gate, bool);

    impl Write for FullOnce {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.1, true) {
                return self.0.write(octets);
            }
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_was_full_is_told_of_when_it_is_not() {
        let gate = Gate::default();
        gate.open();
        let metrics = Arc::new(Metrics::unrecorded());
        let sink = Box::new(FullOnce(gate.clone(), false));
        let open: Open = Box::new(|| Err(io::ErrorKind::NotFound.into()));
        let mut writer = Writer { open, sink, listeners: Vec::new(), missing: Arc::default(), metrics: Arc::clone(&metrics), fails: false };
        let note = || Note { at: UNIX_EPOCH, subject: subject("a"), outcome: outcome(OperationKind::Add) };
        writer.write(&[note(), note()]);
        assert!(metrics.render().lines().any(|line| line == "redial_audit_dropped_total 2"));
        writer.write(&[note()]);
        let lines = gate.lines();
        assert_eq!((lines.len(), &lines[0]["operation"], &lines[1]["dropped"]), (2, &Value::from("add"), &Value::from(2)));
    }
}
