//! What a crate boundary would enforce, enforced by reading the sources: pure rooms stay pure, imports run downwards, files stay small.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// The house from the ground up; a module uses what stands on its own floor or below.
const FLOORS: &[&[&str]] = &[
    &["certificate", "secret", "lifecycle", "patience", "telemetry"],
    &["ldap"],
    &["config", "identity", "outcome", "turns"],
    &["access", "cache", "directory", "metrics", "session"],
    &["audit", "book", "pressure", "upstream"],
    &["rootdse"],
    &["pipeline"],
    &["admin", "downstream"],
    &["proxy"],
    &["cli"],
];

/// Files without sockets, files, clock, randomness, logging and metrics; a name with a slash is a room, with all that is in it.
const PURE: &[&str] = &[
    "access/",
    "book",
    "book/answer",
    "book/attribute",
    "book/bitset",
    "book/build",
    "book/column",
    "book/evaluate",
    "book/extensible",
    "book/fold",
    "book/ldif",
    "book/names",
    "book/pattern",
    "book/store",
    "book/tree",
    "cache/answer",
    "cache/freshness",
    "cache/key/",
    "cache/rules",
    "cache/snapshot",
    "certificate",
    "cli/phones/numbers",
    "cli/phones/picture",
    "cli/phones/question",
    "cli/phones/report/",
    "cli/phones/script",
    "cli/phones/tally",
    "cli/phones/target",
    "cli/phones/verify",
    "config",
    "config/check",
    "config/file/",
    "config/lineage",
    "config/lines",
    "config/problem",
    "config/table",
    "config/ticket_keys",
    "config/words",
    "downstream/client_certificate",
    "downstream/proxy_header",
    "identity",
    "identity/binds",
    "identity/bond",
    "identity/credentials",
    "identity/judgement",
    "identity/lockout",
    "identity/mac",
    "identity/principals",
    "identity/recent",
    "identity/revocation",
    "identity/roster",
    "ldap/",
    "outcome",
    "rootdse",
    "session/",
    "upstream/answer/budget",
    "upstream/answer/collect",
    "upstream/balance",
    "upstream/connection/message_ids",
    "upstream/discovery/renewal",
    "upstream/discovery/srv",
    "upstream/standing/capabilities",
    "upstream/standing/health",
    "upstream/who/sid",
    "upstream/writes/pin",
];

const IMPURE: &[&str] = &[
    "tokio::net",
    "std::net::Tcp",
    "std::fs",
    "tokio::fs",
    "Instant::now",
    "SystemTime::now",
    "fastrand::",
    "rand::",
    "metrics::",
    "tracing::",
];

const MOST_LINES: usize = 600;

#[test]
fn pure_rooms_touch_nothing_outside_memory() {
    for (file, source) in sources().filter(|(file, _)| PURE.iter().any(|place| is_in(file, place))) {
        let code = code_of(&source);
        let found = IMPURE.iter().filter(|word| code.contains(**word)).collect::<Vec<_>>();
        assert!(found.is_empty(), "src/{file}.rs is pure and yet names {found:?}");
    }
}

#[test]
fn every_pure_room_exists() {
    for place in PURE {
        assert!(sources().any(|(file, _)| is_in(&file, place)), "no src/{place}: correct the list");
    }
}

#[test]
fn imports_run_downwards() {
    for (file, source) in sources().filter(|(file, _)| !matches!(file.as_str(), "lib" | "main")) {
        let code = code_of(&source);
        assert!(!code.contains("crate::{"), "src/{file}.rs: one `use` a module, so that this test can read it");
        let own = file.split('/').next().unwrap();
        for used in code.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()) {
            assert!(floor(used) <= floor(own), "src/{file}.rs uses crate::{used}, which stands above it");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_small() {
    for (file, source) in sources() {
        assert!(source.starts_with("//! "), "src/{file}.rs has no module doc");
        let lines = source.lines().count();
        assert!(lines <= MOST_LINES, "src/{file}.rs has {lines} lines: look for the second noun");
    }
}

#[test]
fn nothing_names_a_place_on_a_developers_machine() {
    // In two parts, so that this file does not name them either.
    let places = [("/ho", "me/"), ("/Us", "ers/"), ("/ro", "ot/"), ("/wo", "rk/"), ("../sh", "ared")].map(|(a, b)| format!("{a}{b}"));
    for path in files_below(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let found = places.iter().filter(|place| text.contains(place.as_str())).collect::<Vec<_>>();
        assert!(found.is_empty(), "{} names {found:?}", path.display());
    }
}

/// Every file of src: its path below src without `.rs`, and its text.
fn sources() -> impl Iterator<Item = (String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    files_below(&src).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).map(move |path| {
        let name = path.strip_prefix(&src).unwrap().with_extension("").to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    })
}

/// A room is a file and the folder of its name.
fn is_in(file: &str, place: &str) -> bool {
    place.strip_suffix('/').map_or(file == place, |room| file == room || file.starts_with(place))
}

/// The source without comments and without the tests at its end.
fn code_of(source: &str) -> String {
    let end = source.find("#[cfg(test)]\nmod ").unwrap_or(source.len());
    source[..end].lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).unwrap_or_else(|| panic!("which floor is {module} on? add it to FLOORS"))
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_ours =
        |path: &PathBuf| !matches!(path.file_name().and_then(|name| name.to_str()), Some("target" | ".git" | "corpus" | "artifacts"));
    entries.filter(is_ours).flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
