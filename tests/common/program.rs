//! The program as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

/// A `redial serve`; ended when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) process: Child,
    /// What it logs, where somebody reads it.
    log: Option<BufReader<ChildStderr>>,
}

impl Program {
    /// With its log, JSON from `info` on, there; where that is [`Stdio::piped`], the test reads it.
    pub(crate) fn serving(configuration: &Path, log: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redial"));
        command.args(["serve", "--log-json", "--config"]).arg(configuration).env("RUST_LOG", "info");
        Self::of(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))
    }

    /// Whatever that command becomes.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let log = process.stderr.take().map(BufReader::new);
        Self { process, log }
    }

    /// Reads its log until a line holds that text; what it said until then, and that line.
    pub(crate) fn log_until(&mut self, text: &str) -> String {
        let log = self.log.as_mut().expect("a log to be read");
        let mut seen = String::new();
        loop {
            let before = seen.len();
            assert_ne!(log.read_line(&mut seen).unwrap(), 0, "no {text:?} in {seen}");
            if seen[before..].contains(text) {
                return seen;
            }
        }
    }

    /// Sends it a signal, `TERM` for one.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap().success());
    }

    /// How it ended, and what it still said.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.log.take().expect("a log to be read").read_to_string(&mut said).unwrap();
        (self.process.wait().unwrap(), said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
