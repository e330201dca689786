//! Files that an administrator wrote, or somebody who wished him ill.

use redial::book::Book;
use redial::config::load::load_text;
use redial::ldap::ber::{self, Reader};
use redial::ldap::dn::Dn;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest};
use std::fmt::Write;
use std::path::Path;

/// A phonebook of the naming context that its first line names is read, or every problem has its line.
pub fn ldif(octets: &[u8]) {
    let lines = octets.split(|&octet| octet == b'\n').count();
    match Book::from_ldif(octets, &first_name(octets).unwrap_or(Dn::ROOT)) {
        Ok(book) => {
            assert!(book.entries() as usize <= lines, "an entry takes a line at least");
            everybody_is_found(&book);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// What the first line that begins with `dn:` says.
fn first_name(octets: &[u8]) -> Option<Dn> {
    let name = octets.split(|&octet| octet == b'\n').find_map(|line| line.strip_prefix(b"dn:"))?;
    Dn::parse(std::str::from_utf8(name).ok()?.trim()).ok()
}

/// A search for everybody yields as many as there are, each well-formed and each to be found by its own name.
fn everybody_is_found(book: &Book) {
    let find = |base: &str, scope| book.search(&SearchRequest::new(base, scope, Filter::And(Vec::new()), &["*"]), None);
    let mut found = 0;
    for entry in find(book.base().as_str(), Scope::WholeSubtree) {
        assert_eq!(ber::check_tree(&entry), Ok(()));
        let content = Reader::new(&entry).element().unwrap().content;
        let name = std::str::from_utf8(Reader::new(content).element().unwrap().content).unwrap();
        assert_eq!(find(name, Scope::BaseObject).collect::<Vec<_>>(), std::slice::from_ref(&entry), "{name}");
        found += 1;
    }
    assert_eq!(found, book.entries());
}

/// A configuration holds, or every problem is said in a line of its own. What is not there is not read: no file that it names exists.
pub fn configuration(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if may_name_a_file(text) {
        return;
    }
    match load_text(text, Path::new("/nowhere"), true) {
        Ok(loaded) => {
            let config = loaded.config;
            assert!(!config.listeners.is_empty() && !config.directories.is_empty());
            assert!(config.limits.message <= config.limits.bound_message);
            assert!(config.directories.iter().all(|directory| !directory.name.is_empty()));
        }
        Err(rejected) => {
            assert!(!rejected.problems.is_empty());
            let mut line = String::new();
            for problem in rejected.problems {
                line.clear();
                assert!(write!(line, "{problem}").is_ok());
                assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}

/// An absolute path could be a device that never ends. Slashes are those of a URL (`ldaps://dc1`) or of a network (`10.0.0.0/8`), and there are no escapes.
fn may_name_a_file(text: &str) -> bool {
    let is_plain = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    text.contains('\\') || text.replace("://", ":").split('/').skip(1).any(|rest| !is_plain(rest))
}
