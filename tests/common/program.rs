//! A `redial serve` of a test's own.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    dead_code,
    reason = "tests fail by panicking, and each of them uses its part of this"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// See the module. It ends when this is dropped.
pub(crate) struct Program {
    pub(crate) process: Child,
}

impl Program {
    /// With its log, from `info` on, there.
    pub(crate) fn serving(config: &Path, log: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redial"));
        command.args(["serve", "--config"]).arg(config).env("RUST_LOG", "info");
        Self { process: command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap() }
    }

    /// Makes it read its configuration again.
    pub(crate) fn hang_up(&self) {
        assert!(Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
