//! Most of the load: `redial phones`, several at once, each in another manner. They compare every answer with the first one to the same question.

use crate::world::{PASSWORD, PEOPLE, asked_for, user};
use redial::ldap::ResultCode;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One `redial phones` that runs; ended when dropped.
pub(crate) struct Swarm {
    process: Child,
    report: PathBuf,
    said: PathBuf,
}

/// How many operations of a thousand a swarm has its share of, the listener that it connects to, and its manner.
const MANNERS: [(u64, Listener, &str); 6] = [
    (600, Listener::Plain, "--scenario mix --keep --connections 40"),
    (350, Listener::Ldaps, "--scenario mix --keep --connections 40 --ca CA"),
    (20, Listener::Plain, "--scenario type-ahead --connections 8"),
    (10, Listener::Ldaps, "--scenario caller --connections 4 --ca CA --resume"),
    (10, Listener::Ldaps, "--scenario caller --connections 4 --ca CA --bind-dn USER --password-file PASSWORD"),
    (10, Listener::StartTls, "--scenario caller --connections 4 --ca CA --start-tls"),
];

#[derive(Debug, Clone, Copy)]
enum Listener {
    Plain = 0,
    StartTls = 1,
    Ldaps = 2,
}

/// What a swarm met.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(crate) operations: u64,
    /// Searches that failed while the machine had no time for them.
    pub(crate) failed: u64,
    pub(crate) resumed: u64,
    /// The slowest search.
    pub(crate) longest: Duration,
}

impl Met {
    /// Adds what others met.
    pub(crate) fn add(&mut self, others: &Self) {
        self.operations += others.operations;
        self.failed += others.failed;
        self.resumed += others.resumed;
        self.longest = self.longest.max(others.longest);
    }
}

impl Swarm {
    /// All manners at once: so many operations in so many seconds.
    pub(crate) fn begin(listeners: [SocketAddr; 3], folder: &Path, operations: u64, seconds: u64) -> Vec<Self> {
        let begin = |(number, (share, listener, manner)): (usize, &(u64, Listener, &str))| {
            let count = (operations * share / 1000).max(20);
            let scheme = if matches!(listener, Listener::Ldaps) { "ldaps" } else { "ldap" };
            let rate = count as f64 / seconds as f64;
            Self::of(&format!("{scheme}://{} {manner} --count {count} --rate {rate}", listeners[*listener as usize]), folder, number)
        };
        MANNERS.iter().enumerate().map(begin).collect()
    }

    /// One that asks for callers on kept connections, so many times, 300 times a second. 60 operations ask for each.
    pub(crate) fn of_callers(listener: SocketAddr, folder: &Path, operations: u64) -> Self {
        Self::of(&format!("ldap://{listener} --scenario caller --keep --connections 20 --rate 300 --count {operations}"), folder, 0)
    }

    fn of(words: &str, folder: &Path, number: usize) -> Self {
        let (names, numbers) = asked_for();
        for (file, text) in [("names", names.as_str()), ("numbers", numbers.as_str()), ("phones-password", PASSWORD)] {
            let file = folder.join(file);
            // A swarm that began a moment ago may be reading it.
            if std::fs::read_to_string(&file).ok().as_deref() != Some(text) {
                std::fs::write(file, text).unwrap();
            }
        }
        let (report, said) = (folder.join(format!("phones-{number}.json")), folder.join(format!("phones-{number}.txt")));
        let _ = std::fs::remove_file(&report);
        let words = words.replace("CA", "ca.pem").replace("PASSWORD", "phones-password");
        let mut command = Command::new(env!("CARGO_BIN_EXE_redial"));
        command.arg("phones").args(words.split(' ').map(|word| if word == "USER" { user(0) } else { word.to_owned() }));
        command.args([
            "--base",
            PEOPLE,
            "--number-attributes",
            "telephoneNumber",
            "--size-limit",
            "0",
            "--ring-group",
            "5",
            "--names",
            "names",
            "--numbers",
            "numbers",
        ]);
        let output = std::fs::File::create(&said).unwrap();
        command.arg("--json").arg(&report).stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self { process: command.current_dir(folder).spawn().unwrap(), report, said }
    }

    /// It is not over yet.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for its end. Every answer was right, and every search has succeeded, but for a thousandth where the machine has starved all of them.
    /// A bind may have met a controller that went.
    pub(crate) fn end(mut self, starved: bool) -> Met {
        let status = self.process.wait().unwrap();
        let said = std::fs::read_to_string(&self.said).unwrap();
        assert!(status.success(), "{said}");
        let report: Value = serde_json::from_slice(&std::fs::read(&self.report).unwrap()).unwrap();
        assert_eq!(report["errors"], Value::Array(Vec::new()), "{said}");
        assert_eq!(report["wrong_answers"], 0, "{said}");
        let results = report["results"].as_array().unwrap();
        let may_be = |result: &Value| [0, ResultCode::UNAVAILABLE.0, ResultCode::BUSY.0].iter().any(|code| result["code"] == *code);
        assert!(results.iter().all(may_be), "{said}");
        let searches = results.iter().filter(|result| result["operation"] == "search");
        let number = |value: &Value| value.as_u64().unwrap();
        let operations = number(&report["operations"]);
        let failed = searches.filter(|result| result["code"] != 0).map(|result| number(&result["count"])).sum();
        assert!(failed == 0 || (starved && failed <= operations / 1000 + 5), "{said}");
        Met {
            operations,
            failed,
            resumed: number(&report["resumed_handshakes"]),
            longest: Duration::from_secs_f64(report["latency_us"]["search"]["max"].as_f64().unwrap() / 1e6),
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
