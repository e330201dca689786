//! What deny.toml says of licences, sources and crates holds for Cargo.lock, also where cargo-deny is not installed. Advisories and withdrawn crates are
//! cargo-deny's alone: it asks a database of theirs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use spdx::{Expression, ParseMode};
use std::process::Command;

const DENY: &str = include_str!("../deny.toml");
const LOCK: &str = include_str!("../Cargo.lock");
const FUZZ_LOCK: &str = include_str!("../fuzz/Cargo.lock");

#[test]
fn every_licence_is_an_allowed_one_and_no_crate_is_banned() {
    let allowed = words_of("allow = [");
    let banned: Vec<_> = DENY.lines().filter_map(|line| line.trim().strip_prefix("{ name = \"")?.split('"').next()).collect();
    assert!(banned.contains(&"ring"));
    let crates = crates("normal,build,dev");
    assert!(crates.lines().count() > 100);
    for one in crates.lines().filter(|line| !line.is_empty()) {
        let [name, licence, _] = one.split('|').collect::<Vec<_>>().try_into().unwrap();
        let expression = Expression::parse_mode(licence, ParseMode::LAX).unwrap();
        assert!(expression.evaluate(|asked| allowed.contains(&asked.to_string().as_str())), "{name}: {licence}");
        assert!(!banned.contains(&name.split(' ').next().unwrap()), "{name} is here");
    }
}

#[test]
fn every_crate_comes_from_cargos_own_registry() {
    let sources: Vec<_> = LOCK.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert!(sources.len() > 100);
    for source in sources {
        assert_eq!(source, "\"registry+https://github.com/rust-lang/crates.io-index\"");
    }
}

#[test]
fn the_fuzz_targets_are_locked_to_the_crates_that_the_program_is_made_of() {
    for one in crates("normal,build").lines().filter(|line| !line.is_empty()) {
        let (name, rest) = one.split_once(" v").unwrap();
        let version = rest.split([' ', '|']).next().unwrap();
        let locked = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(FUZZ_LOCK.contains(&locked), "fuzz/Cargo.lock lacks {name} {version}: cargo metadata in fuzz/ brings it up to date");
    }
}

/// All that is compiled for the platforms in deny.toml by way of these edges, a line each: the crate, its licence, a mark where it stands a second time.
/// Unlike Cargo.lock this leaves out what features that are off would bring.
fn crates(edges: &str) -> String {
    let shape = ["tree", "--locked", "--edges", edges, "--prefix", "none", "--format", "{p}|{l}|"];
    let platforms = words_of("targets = [").into_iter().flat_map(|target| ["--target", target]);
    let tree = Command::new(env!("CARGO")).args(shape).args(platforms).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).unwrap()
}

/// The words of a list in deny.toml that stands in one line.
fn words_of(list: &str) -> Vec<&'static str> {
    let line = DENY.lines().find_map(|line| line.strip_prefix(list)).unwrap();
    line.split('"').skip(1).step_by(2).collect()
}
