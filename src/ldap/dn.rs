//! Distinguished names (RFC 4514) for comparing: is this base under that one?
//!
//! A [`Dn`] is normalised when made: attribute types folded to lower case, values folded by Unicode simple case and inner runs of
//! space made one, escapes undone and put back in one canonical way, multi-valued RDNs sorted. Two spellings that a
//! directory treats as one DN may stay different here (under-unify); two different DNs never become one.

use thiserror::Error;

/// A text that is no distinguished name. A client that sends one is told invalidDNSyntax(34).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a distinguished name at octet {at}: {why}")]
pub struct DnError {
    /// Where reading stopped, in octets from the start.
    pub at: usize,
    /// What was expected there.
    pub why: &'static str,
}

/// A normalised distinguished name. The empty one is the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dn {
    /// Normalised RDNs, leftmost (the entry itself) first.
    rdns: Vec<Box<str>>,
}

impl Dn {
    /// The empty name: rootDSE as a base, and above every other name.
    pub const ROOT: Self = Self { rdns: Vec::new() };

    /// Reads RFC 4514 text, and the blanks around separators that phones put there (`dc=acme, dc=com`).
    ///
    /// # Errors
    /// When the text is no distinguished name.
    pub fn parse(text: &str) -> Result<Self, DnError> {
        todo!()
    }

    /// The empty name.
    pub fn is_root(&self) -> bool {
        self.rdns.is_empty()
    }

    /// How many RDNs.
    pub fn depth(&self) -> usize {
        self.rdns.len()
    }

    /// The same entry, or below it.
    pub fn is_under(&self, base: &Self) -> bool {
        todo!()
    }

    /// One level up; the root has no parent.
    pub fn parent(&self) -> Option<Self> {
        todo!()
    }

    /// Normalised text: the key under which an entry is found.
    pub fn normalised(&self) -> String {
        todo!()
    }

    /// The attribute types and values of the leftmost RDN (values unescaped, in their original case), from the text as written.
    ///
    /// # Errors
    /// When the text is no distinguished name.
    pub fn rdn_of(text: &str) -> Result<Vec<(String, String)>, DnError> {
        todo!()
    }
}
