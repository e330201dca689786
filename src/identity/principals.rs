//! Names and passwords as memory may hold them: keyed digests that only this process could have made and that give nothing back.
//!
//! A name, a password and a listener come in, a [`Presented`] goes out. The key is random, made anew for each process, and never leaves it. A name
//! is folded (a DN normalised, other text in lower case), and once a directory has said which names are one principal's
//! ([`Principals::learn_alias`]) they are one here as well.

use super::accounts::normalised;
use super::mac::Mac;
use super::recent::Recent;
use crate::secret::Secret;
use aws_lc_rs::hmac;
use std::sync::{Mutex, PoisonError};

/// Makes digests, and knows which names are the same principal's.
#[derive(Debug)]
pub(crate) struct Principals {
    key: hmac::Key,
    /// From a name's digest to its principal's.
    aliases: Mutex<Recent<Option<Mac>>>,
}

/// A name and a password that somebody presented at a listener.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    /// Whose they are said to be, however spelled.
    pub(crate) principal: Mac,
    /// This password, whoever presents it.
    pub(crate) password: Mac,
    /// This password under exactly this spelling of the name: what a directory is asked.
    pub(crate) proof: Mac,
    /// The index of the listener in the configuration.
    pub listener: usize,
}

/// A name turned out to be one of several that a principal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alias {
    /// The name's own digest, under which nothing is kept any more.
    pub(crate) from: Mac,
    /// The principal's, under which it is kept instead.
    pub(crate) to: Mac,
}

impl Principals {
    /// `key` is random and this process's own; the caller wipes its copy.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), aliases: Mutex::new(Recent::new(MOST_ALIASES)) }
    }

    /// What is remembered of a name and a password.
    pub(crate) fn present(&self, listener: usize, name: &str, password: &Secret) -> Presented {
        let password_of = |use_: u8, owner: &[u8]| Mac::new(&self.key, use_, owner, password.expose());
        let (password, proof) = (password_of(PASSWORD, &[]), password_of(PROOF, name.as_bytes()));
        Presented { principal: self.principal(name), password, proof, listener }
    }

    /// Whose name that is.
    pub(crate) fn principal(&self, name: &str) -> Mac {
        let name = self.name(name);
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner).touch(&name).and_then(|alias| *alias).unwrap_or(name)
    }

    /// The directory with this number has said whose name that is: `canonical` is the same for all names of one principal. What was remembered
    /// under [`Alias::from`] belongs to [`Alias::to`] from now on; `None` where that was known already.
    pub(crate) fn learn_alias(&self, name_as_sent: &str, directory: usize, canonical: &str) -> Option<Alias> {
        let (from, to) = (self.name(name_as_sent), self.canonical(directory, canonical));
        let known = self.aliases.lock().unwrap_or_else(PoisonError::into_inner).entry(&from).replace(to);
        (known != Some(to)).then_some(Alias { from, to })
    }

    /// The principal whose own name in the directory with this number is `canonical`.
    pub(crate) fn canonical(&self, directory: usize, canonical: &str) -> Mac {
        Mac::new(&self.key, CANONICAL, &directory.to_be_bytes(), canonical.as_bytes())
    }

    fn name(&self, name: &str) -> Mac {
        Mac::new(&self.key, NAME, &[], normalised(name).as_bytes())
    }
}

const NAME: u8 = 0;
const PASSWORD: u8 = 1;
const PROOF: u8 = 2;
const CANONICAL: u8 = 3;

/// Names whose principal is known; some 5 MiB.
const MOST_ALIASES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn principals() -> Principals {
        Principals::new(&[7; 32])
    }

    fn present(principals: &Principals, name: &str, password: &str) -> Presented {
        principals.present(0, name, &Secret::new(password.as_bytes()))
    }

    #[test]
    fn spellings_of_a_name_are_one_principal_and_different_questions() {
        let principals = principals();
        for (one, other) in [("Alice@Corp.example", "alice@corp.EXAMPLE"), ("CN=Alice, DC=corp", "cn=alice,dc=CORP")] {
            let (one, other) = (present(&principals, one, "a"), present(&principals, other, "a"));
            assert!(one.principal == other.principal && one.password == other.password);
            assert!(one.proof != other.proof, "a directory may tell them apart");
        }
        assert_ne!(principals.principal("alice"), principals.principal("bob"));
    }

    #[test]
    fn no_part_of_a_name_can_pass_for_a_part_of_a_password() {
        let principals = principals();
        let (one, other) = (present(&principals, "alice", "x1"), present(&principals, "alicex", "1"));
        assert!(one.proof != other.proof && one.password != other.password);
        let principal = principals.principal("alice");
        assert!(principal != one.password && principal != one.proof && one.password != one.proof);
    }

    #[test]
    fn another_process_has_other_digests() {
        let (one, other) = (principals(), Principals::new(&[8; 32]));
        assert_ne!(present(&one, "alice", "a").proof, present(&other, "alice", "a").proof);
    }

    #[test]
    fn names_that_a_directory_calls_one_principal_are_one() {
        let principals = principals();
        let canonical = "S-1-5-21-1-2-3-1104";
        let own = principals.principal("alice@corp.example");
        let alias = principals.learn_alias("alice@corp.example", 0, canonical).unwrap();
        assert_eq!((alias.from, alias.to), (own, principals.principal("ALICE@corp.example")));
        assert!(principals.learn_alias("CORP\\alice", 0, canonical).is_some());
        assert_eq!(principals.principal("corp\\ALICE"), principals.principal("alice@corp.example"));
        assert_eq!(principals.learn_alias("corp\\alice", 0, canonical), None, "known");
        assert_ne!(principals.principal(canonical), principals.principal("alice@corp.example"), "that text is nobody's name");
        principals.learn_alias("alice", 1, canonical);
        assert_ne!(principals.principal("alice"), principals.principal("alice@corp.example"), "another directory's");
    }

    #[test]
    fn a_name_that_was_given_to_somebody_else_is_theirs_and_the_other_names_stay() {
        let principals = principals();
        let own = principals.principal("alice@corp.example");
        for name in ["alice@corp.example", "CORP\\alice"] {
            principals.learn_alias(name, 0, "S-1-5-21-1-2-3-1104");
        }
        let before = principals.principal("CORP\\alice");
        let moved = principals.learn_alias("alice@corp.example", 0, "S-1-5-21-1-2-3-2000").unwrap();
        assert_eq!(moved, Alias { from: own, to: principals.principal("alice@corp.example") });
        assert_eq!(principals.principal("CORP\\alice"), before);
        assert_ne!(moved.to, before);
    }

    #[test]
    fn debug_shows_neither_name_nor_password_nor_digest() {
        let principals = principals();
        let presented = present(&principals, "alice", "hunter2");
        for text in [format!("{presented:?}"), format!("{principals:?}")] {
            assert!(!text.contains("alice") && !text.contains("hunter2"), "{text}");
        }
        assert!(format!("{presented:?}").contains("Mac(***)"));
    }
}
