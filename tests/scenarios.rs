//! Plays the scenarios in `tests/scenarios/*.scn`: phones, a directory and a clock, in words, without sockets and in no time.
//!
//! A scenario is read line by line. `#` begins a comment. Lines that begin with `|` are TOML: those that begin with `|listener` go into the
//! `[[listener]]` table (`plain_passwords = "allow"` is there already unless the scenario says something else), the others stand for
//! themselves, as in `| limits = { pending = 2 }`. There is one directory, `dc=corp`, which everybody may search. Then, in any order:
//!
//! ```text
//! PHONE sends ID OPERATION        a phone (any word; it connects when first named) sends an LDAPMessage
//! PHONE holds ID OPERATION        the same, but it leaves together with the next one, in one segment
//! PHONE sends hex 30 0c ...       octets
//! PHONE hears MESSAGE             the next message that it receives is this one
//! PHONE hears nothing             none has come
//! PHONE hears the end             its connection is closed, and nothing came before that
//! PHONE leaves                    it closes its connection without a word
//! directory is asked N QUESTION   the Nth operation that reached the directory is this one
//! directory is asked nothing      no operation has come beyond those named before
//! directory answers N entry DN ATTRIBUTE=VALUE ...
//! directory answers N done CODE DIAGNOSTIC ...
//! directory fails N REASON        unavailable, lost, busy, refused
//! directory is rid of N           nobody waits for that operation any more
//! administrator drops NAME        or `everybody`
//! time passes 300s                (also ms, m, h)
//! the end begins                  SIGTERM
//! ```
//!
//! OPERATION: `bind NAME PASSWORD` (`-` for an empty one), `sasl MECHANISM`, `search BASE FILTER ATTRIBUTE ...` (scope sub),
//! `compare DN ATTRIBUTE VALUE`, `delete DN`, `modify DN ATTRIBUTE VALUE`, `passwd NAME` (`-`: one's own), `abandon ID`, `cancel ID`, `whoami`,
//! `starttls`, `unbind`, `extended OID`.
//! MESSAGE: `ID entry DN ATTRIBUTE=VALUE ...`, `ID done CODE`, `ID bind CODE`, `ID compare CODE`, `ID delete CODE`, `ID modify CODE`,
//! `ID extended CODE [VALUE]`, `notice CODE`. QUESTION: as `tests/common/scripted_directory.rs` words it.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a scenario fails by panicking")]

mod common;

use common::hearing::settle;
use common::house::House;
use common::requests;
use redial::directory::DirectoryError;
use redial::ldap::ResultCode;
use redial::ldap::frame::frame_length;
use redial::ldap::oid;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{advance, timeout};

#[test]
fn every_scenario_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>();
    files.sort();
    assert!(files.len() >= 10, "the scenarios are gone");
    let failures = files.iter().filter_map(|file| play(file).err()).collect::<Vec<_>>();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Plays one file: the first line that does not come true, if any.
fn play(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut stage = Stage::new(&text);
        let register = Arc::clone(&stage.house.register);
        tokio::spawn(async move { register.watch().await });
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap().trim();
            if !line.is_empty() && !line.starts_with('|') {
                stage.step(line).await.map_err(|why| format!("{}:{}: {line}\n    {why}", file.display(), number + 1))?;
            }
        }
        Ok(())
    })
}

/// All that a scenario plays with.
struct Stage {
    house: House,
    phones: HashMap<String, Phone>,
    /// Operations of the directory that the scenario has named.
    named: usize,
}

impl Stage {
    fn new(text: &str) -> Self {
        let (mut listener, mut toml) = (String::new(), String::new());
        for line in text.lines() {
            match line.strip_prefix("|listener") {
                Some(setting) => listener.push_str(&format!("{setting}\n")),
                None => toml.extend(line.strip_prefix('|').map(|line| format!("{line}\n"))),
            }
        }
        if listener.is_empty() {
            listener.push_str("plain_passwords = \"allow\"\n");
        }
        Self { house: House::new(&listener, &toml), phones: HashMap::new(), named: 0 }
    }

    async fn step(&mut self, line: &str) -> Result<(), String> {
        let words = line.split_whitespace().collect::<Vec<_>>();
        match words.as_slice() {
            ["time", "passes", duration] => {
                settle().await;
                advance(duration_of(duration)).await;
                settle().await;
            }
            ["administrator", "drops", "everybody"] => _ = self.house.register.drop_everybody(),
            ["administrator", "drops", name] => _ = self.house.register.drop_principal(name),
            ["the", "end", "begins"] => self.house.ending.begin(),
            ["directory", rest @ ..] => return self.directory(rest).await,
            [phone, verb, rest @ ..] => {
                let house = &self.house;
                let phone = self.phones.entry((*phone).to_owned()).or_insert_with(|| Phone::new(house.connect(BUFFER)));
                return phone.step(verb, rest).await;
            }
            _ => return Err("no such step".to_owned()),
        }
        Ok(())
    }

    async fn directory(&mut self, words: &[&str]) -> Result<(), String> {
        settle().await;
        let directory = &self.house.directory;
        match words {
            ["is", "asked", "nothing"] => match directory.question(self.named + 1) {
                Some(question) => return Err(format!("it was asked: {question}")),
                None => return Ok(()),
            },
            ["is", "asked", number, question @ ..] => {
                self.named = number.parse().unwrap();
                let asked = directory.question(self.named).ok_or("it was not asked")?;
                return same(&asked, &question.join(" "));
            }
            ["answers", number, "entry", name, attributes @ ..] => {
                let attributes = attributes.iter().map(|attribute| attribute.split_once('=').unwrap()).collect::<Vec<_>>();
                directory.entry(number.parse().unwrap(), name, &attributes);
            }
            ["answers", number, "done", code, diagnostic @ ..] => {
                directory.done_with(number.parse().unwrap(), ResultCode(code.parse().unwrap()), &diagnostic.join(" "));
            }
            ["fails", number, reason] => {
                let error = match *reason {
                    "unavailable" => DirectoryError::Unavailable,
                    "lost" => DirectoryError::ConnectionLost { sent: true },
                    "busy" => DirectoryError::Busy,
                    "refused" => DirectoryError::CredentialsRefused,
                    _ => return Err("no such reason".to_owned()),
                };
                directory.fail(number.parse().unwrap(), error);
            }
            ["is", "rid", "of", number] => {
                return if directory.is_rid_of(number.parse().unwrap()) { Ok(()) } else { Err("it is still waited for".to_owned()) };
            }
            _ => return Err("no such step".to_owned()),
        }
        Ok(())
    }
}

/// A phone: its end of a connection, and what it has not looked at yet.
struct Phone {
    stream: Option<DuplexStream>,
    held: Vec<u8>,
    received: Vec<u8>,
}

impl Phone {
    fn new(stream: DuplexStream) -> Self {
        Self { stream: Some(stream), held: Vec::new(), received: Vec::new() }
    }

    async fn step(&mut self, verb: &str, words: &[&str]) -> Result<(), String> {
        match (verb, words) {
            ("holds", [id, operation @ ..]) => self.held.extend(request(id, operation)?),
            ("sends", ["hex", octets @ ..]) => {
                self.held.extend(octets.iter().map(|octet| u8::from_str_radix(octet, 16).unwrap()));
                self.send().await;
            }
            ("sends", [id, operation @ ..]) => {
                self.held.extend(request(id, operation)?);
                self.send().await;
            }
            ("leaves", []) => self.stream = None,
            ("hears", ["nothing"]) => {
                settle().await;
                return match self.message().await {
                    Some(message) => Err(format!("it heard: {}", message?)),
                    None => Ok(()),
                };
            }
            ("hears", ["the", "end"]) => return self.hears_the_end().await,
            ("hears", expected) => {
                let heard = self.message().await.ok_or("it heard nothing")??;
                return same(&heard, &expected.join(" "));
            }
            _ => return Err("no such step".to_owned()),
        }
        Ok(())
    }

    /// Sends what was held; a connection that is closed takes nothing, which what follows will show.
    async fn send(&mut self) {
        let octets = std::mem::take(&mut self.held);
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(&octets).await;
        }
        settle().await;
    }

    /// The next message in words; `None` when none comes.
    async fn message(&mut self) -> Option<Result<String, String>> {
        loop {
            if let Ok(Some(length)) = frame_length(&self.received, usize::MAX)
                && length <= self.received.len()
            {
                let frame = self.received.drain(..length).collect::<Vec<_>>();
                return Some(Ok(requests::in_words(&frame)));
            }
            match timeout(MOMENT, self.stream.as_mut()?.read_buf(&mut self.received)).await {
                Err(_) => return None,
                Ok(Ok(1..)) => {}
                Ok(_) => return Some(Err("its connection is closed".to_owned())),
            }
        }
    }

    async fn hears_the_end(&mut self) -> Result<(), String> {
        match self.message().await {
            Some(Ok(message)) => Err(format!("it heard: {message}")),
            Some(Err(_)) => Ok(()),
            None => Err("its connection is still open".to_owned()),
        }
    }
}

fn request(id: &str, operation: &[&str]) -> Result<Vec<u8>, String> {
    let id = id.parse().map_err(|_| "a messageID was expected")?;
    let text = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
    let op = match operation {
        ["bind", name, password] => requests::bind(&text(name), &text(password)),
        ["sasl", mechanism] => requests::sasl_bind(mechanism),
        ["search", base, filter, attributes @ ..] => requests::search_for(base, filter, attributes),
        ["compare", entry, attribute, value] => requests::compare_with(entry, attribute, value),
        ["delete", entry] => requests::delete_of(entry),
        ["modify", entry, attribute, value] => requests::modify_of(entry, attribute, value),
        ["passwd", name] => requests::password_modify(&text(name)),
        ["abandon", target] => requests::abandon(target.parse().unwrap()),
        ["cancel", target] => requests::cancel(target.parse().unwrap()),
        ["whoami"] => requests::extended(oid::WHO_AM_I, None),
        ["starttls"] => requests::extended(oid::START_TLS, None),
        ["extended", name] => requests::extended(name, None),
        ["unbind"] => requests::unbind(),
        _ => return Err("no such operation".to_owned()),
    };
    Ok(requests::frame(id, &op))
}

fn same(found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("it was: {found}")) }
}

fn duration_of(text: &str) -> Duration {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number = digits.parse::<u64>().unwrap();
    match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        "h" => Duration::from_secs(3600 * number),
        unit => panic!("no such unit: {unit}"),
    }
}

/// What a message may take to arrive; passes at once, since the clock stands still.
const MOMENT: Duration = Duration::from_millis(1);
/// Octets in the buffers between a phone and the listener.
const BUFFER: usize = 1 << 20;
