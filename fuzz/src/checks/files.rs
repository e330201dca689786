//! Files that an administrator wrote, or somebody who wished him ill.

use redial::book::Book;
use redial::config::load::load_text;
use redial::ldap::dn::Dn;
use std::path::Path;

/// A phonebook is read, or every problem has its line.
pub fn ldif(octets: &[u8]) {
    let lines = octets.split(|&octet| octet == b'\n').count();
    match Book::from_ldif(octets, &Dn::ROOT) {
        Ok(book) => assert!(book.entries() as usize <= lines, "an entry takes a line at least"),
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// A configuration holds, or every problem is said in a line of its own. What is not there is not read: no file that it names exists.
pub fn configuration(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    // A path of its own choice could be a device that never ends.
    if text.contains(['/', '\\']) {
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
            for problem in rejected.problems {
                let line = problem.to_string();
                assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}
