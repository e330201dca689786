//! Distinguished names (RFC 4514) for comparing: is this base under that one?
//!
//! A [`Dn`] is normalised when made: attribute types folded to lower case, values folded by Unicode simple case and inner runs of
//! space made one, escapes undone and put back in one canonical way, multi-valued RDNs sorted. Two spellings that a
//! directory treats as one DN may stay different here (under-unify); two different DNs never become one.
//!
//! A value in the `#` form stays in that form, folded to lower case, and equals no value in the text form: what it encodes is the
//! schema's business.

use super::ber::{self, tag};
use std::borrow::Cow;
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
    /// Normalised RDNs, leftmost (the entry itself) first, with commas between them.
    text: String,
    /// Where each RDN begins in the text.
    starts: Vec<usize>,
}

impl Dn {
    /// The empty name: rootDSE as a base, and above every other name.
    pub const ROOT: Self = Self { text: String::new(), starts: Vec::new() };

    /// Reads RFC 4514 text, and the blanks around separators that phones put there (`dc=acme, dc=com`).
    ///
    /// # Errors
    /// When the text is no distinguished name.
    pub fn parse(text: &str) -> Result<Self, DnError> {
        let mut parser = Parser::new(text);
        let mut dn = Self { text: String::with_capacity(text.len()), starts: Vec::new() };
        while parser.has_rdn(dn.depth())? {
            if dn.depth() > 0 {
                dn.text.push(',');
            }
            dn.starts.push(dn.text.len());
            push_rdn(&mut dn.text, parser.rdn()?);
        }
        Ok(dn)
    }

    /// The empty name.
    pub const fn is_root(&self) -> bool {
        self.starts.is_empty()
    }

    /// How many RDNs.
    pub const fn depth(&self) -> usize {
        self.starts.len()
    }

    /// The same entry, or below it.
    pub fn is_under(&self, base: &Self) -> bool {
        let Some(below) = self.depth().checked_sub(base.depth()) else { return false };
        self.starts.get(below).is_none_or(|&start| self.text.get(start..) == Some(&base.text))
    }

    /// One level up; the root has no parent.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.starts.split_first()?;
        let Some(&start) = above.first() else { return Some(Self::ROOT) };
        let text = self.text.get(start..)?.to_owned();
        Some(Self { text, starts: above.iter().map(|above| above - start).collect() })
    }

    /// Normalised text, borrowed; as [`Dn::normalised`].
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Normalised text: the key under which an entry is found. It reads back as the same name.
    pub fn normalised(&self) -> String {
        self.text.clone()
    }

    /// The attribute types and values of the leftmost RDN (values unescaped, in their original case), from the text as written.
    /// A value in the `#` form, or one that is not UTF-8 once its escapes are undone, is given in the `#` form.
    ///
    /// # Errors
    /// When the text is no distinguished name.
    pub fn rdn_of(text: &str) -> Result<Vec<(String, String)>, DnError> {
        Self::parse(text)?;
        let mut parser = Parser::new(text);
        if !parser.has_rdn(0)? {
            return Ok(Vec::new());
        }
        let written = |value| match value {
            Value::Text(text) => text.into_owned(),
            Value::Hex(digits) => format!("#{digits}"),
        };
        Ok(parser.rdn()?.into_iter().map(|(attribute, value)| (attribute.to_owned(), written(value))).collect())
    }
}

impl std::fmt::Display for Dn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A value as it was meant, whatever escapes it was written with.
enum Value<'a> {
    Text(Cow<'a, str>),
    /// The hexadecimal digits behind `#`.
    Hex(String),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Goes to the front of the next RDN, over the comma after `read` others; `false` at the end of the text.
    fn has_rdn(&mut self, read: usize) -> Result<bool, DnError> {
        self.skip_blanks();
        if self.peek().is_none() {
            return Ok(false);
        }
        if read > 0 {
            self.take(b',', "a comma is expected")?;
        }
        if read == MAX_RDNS { Err(self.error("too many relative names")) } else { Ok(true) }
    }

    /// `type=value`, and more of them behind `+`.
    fn rdn(&mut self) -> Result<Vec<(&'a str, Value<'a>)>, DnError> {
        let mut pairs = Vec::new();
        loop {
            self.skip_blanks();
            let attribute = self.attribute()?;
            self.skip_blanks();
            self.take(b'=', "= is expected")?;
            self.skip_blanks();
            let value = if self.peek() == Some(b'#') { self.hex_value()? } else { self.text_value()? };
            pairs.push((attribute, value));
            self.skip_blanks();
            if self.peek() != Some(b'+') {
                return Ok(pairs);
            }
            if pairs.len() == MAX_PAIRS {
                return Err(self.error("too many values in one relative name"));
            }
            self.at += 1;
        }
    }

    fn attribute(&mut self) -> Result<&'a str, DnError> {
        let start = self.at;
        while self.peek().is_some_and(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_')) {
            self.at += 1;
        }
        match self.text.get(start..self.at) {
            Some(attribute) if !attribute.is_empty() => Ok(attribute),
            _ => Err(self.error("an attribute type is expected")),
        }
    }

    /// `#` and pairs of hexadecimal digits.
    fn hex_value(&mut self) -> Result<Value<'a>, DnError> {
        self.at += 1;
        let start = self.at;
        while self.peek().is_some_and(|octet| octet.is_ascii_hexdigit()) {
            self.at += 1;
        }
        match self.text.get(start..self.at) {
            Some(digits) if !digits.is_empty() && digits.len().is_multiple_of(2) => Ok(Value::Hex(digits.to_ascii_lowercase())),
            _ => Err(self.error("pairs of hexadecimal digits follow #")),
        }
    }

    /// A value with its escapes undone, without the blanks at its end that no backslash protects.
    fn text_value(&mut self) -> Result<Value<'a>, DnError> {
        let start = self.at;
        while let Some(octet) = self.peek() {
            match octet {
                b',' | b'+' => break,
                b'\\' => return self.escaped_value(start),
                b'"' | b';' | b'<' | b'>' | 0 => return Err(self.error("a character that must be escaped")),
                _ => self.at += 1,
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        Ok(Value::Text(Cow::Borrowed(text.trim_end_matches(' '))))
    }

    /// The value that began at `start` and in which a backslash has come.
    fn escaped_value(&mut self, start: usize) -> Result<Value<'a>, DnError> {
        let mut value = self.text.as_bytes().get(start..self.at).unwrap_or_default().to_vec();
        // Up to here the value's blanks count.
        let mut kept = value.len();
        while let Some(octet) = self.peek() {
            match octet {
                b',' | b'+' => break,
                b'\\' => {
                    self.at += 1;
                    value.push(self.escaped()?);
                    kept = value.len();
                }
                b'"' | b';' | b'<' | b'>' | 0 => return Err(self.error("a character that must be escaped")),
                _ => {
                    self.at += 1;
                    value.push(octet);
                    if octet != b' ' {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
        Ok(match String::from_utf8(value) {
            Ok(text) => Value::Text(Cow::Owned(text)),
            Err(not_text) => Value::Hex(octet_string_digits(not_text.as_bytes())),
        })
    }

    /// What follows a backslash: one of the characters that need it, or two hexadecimal digits.
    fn escaped(&mut self) -> Result<u8, DnError> {
        let error = Err(self.error("an escape is one special character or two hexadecimal digits"));
        let Some(first) = self.peek() else { return error };
        if matches!(first, b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\') {
            self.at += 1;
            return Ok(first);
        }
        let digits = self.text.get(self.at..self.at + 2).filter(|digits| digits.bytes().all(|octet| octet.is_ascii_hexdigit()));
        let Some(octet) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return error };
        self.at += 2;
        Ok(octet)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, octet: u8, why: &'static str) -> Result<(), DnError> {
        if self.peek() != Some(octet) {
            return Err(self.error(why));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    const fn error(&self, why: &'static str) -> DnError {
        DnError { at: self.at, why }
    }
}

/// Appends one RDN in its canonical spelling.
fn push_rdn(out: &mut String, pairs: Vec<(&str, Value<'_>)>) {
    if let [(attribute, value)] = pairs.as_slice() {
        return push_pair(out, attribute, value);
    }
    let spelled = |(attribute, value): (&str, Value<'_>)| {
        let mut pair = String::new();
        push_pair(&mut pair, attribute, &value);
        pair
    };
    let mut pairs: Vec<String> = pairs.into_iter().map(spelled).collect();
    pairs.sort_unstable();
    out.push_str(&pairs.join("+"));
}

fn push_pair(out: &mut String, attribute: &str, value: &Value<'_>) {
    out.extend(attribute.chars().map(|character| character.to_ascii_lowercase()));
    out.push('=');
    match value {
        Value::Text(text) => push_folded(out, text),
        Value::Hex(digits) => {
            out.push('#');
            out.push_str(digits);
        }
    }
}

/// Appends a value with its case and inner runs of spaces folded, and escaped so that it can be read in one way only.
fn push_folded(out: &mut String, value: &str) {
    let mut is_first = true;
    let mut is_behind_space = false;
    for (at, character) in value.char_indices() {
        if character == ' ' && is_behind_space {
            continue;
        }
        let is_last = || value.get(at..).is_some_and(|rest| rest.bytes().all(|octet| octet == b' '));
        match character {
            '\0' => out.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', character]),
            ' ' if is_first || is_last() => out.push_str("\\ "),
            '#' if is_first => out.push_str("\\#"),
            _ => out.push(simple_fold(character)),
        }
        is_behind_space = character == ' ';
        is_first = false;
    }
}

/// One character in lower case, where the two are a pair. The Kelvin sign is none: its lower case is the letter k, whose upper
/// case is K, so folding it would make two names one.
fn simple_fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(only), None) if only.to_uppercase().eq([character]) => only,
        _ => character,
    }
}

/// The digits of the BER encoding of an OCTET STRING with these contents, which is what the `#` form holds.
fn octet_string_digits(content: &[u8]) -> String {
    let mut element = Vec::new();
    ber::write_element(&mut element, tag::OCTET_STRING, content);
    element.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The most RDNs in one name. The deepest trees in use have some twenty.
const MAX_RDNS: usize = 256;
/// The most values in one RDN.
const MAX_PAIRS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(text: &str) -> String {
        Dn::parse(text).unwrap().normalised()
    }

    #[test]
    fn spellings_of_one_name_are_equal() {
        assert_eq!(normalised("CN=Ann  LEE , OU=Users,DC=acme, DC=com"), "cn=ann lee,ou=users,dc=acme,dc=com");
        assert_eq!(normalised("cn=a\\2Cb"), normalised("CN=A\\,B"));
        assert_eq!(normalised("ou=x+cn=y,dc=z"), normalised("CN=Y + OU=X , DC=Z"));
        assert_eq!(normalised("cn=M\u{dc}LLER"), "cn=m\u{fc}ller");
        assert_eq!(normalised("cn=m\\c3\\bcller"), "cn=m\u{fc}ller");
        assert_eq!(normalised("cn=#0401AB"), "cn=#0401ab");
    }

    #[test]
    fn different_names_stay_different() {
        assert_ne!(normalised("cn=a\\,ou=b"), normalised("cn=a,ou=b"));
        assert_ne!(normalised("cn=a\\+ou=b"), normalised("cn=a+ou=b"));
        assert_ne!(normalised("cn=\u{212a}"), normalised("cn=k"));
        assert_ne!(normalised("cn=\\#0401"), normalised("cn=#0401"));
        assert_ne!(normalised("cn=a\\20"), normalised("cn=a"));
        assert_ne!(normalised("cn=a\\5c,ou=b"), normalised("cn=a\\\\\\,ou=b"));
    }

    #[test]
    fn under_means_the_same_entry_or_a_descendant() {
        let base = Dn::parse("OU=Staff,DC=corp").unwrap();
        assert!(Dn::parse("cn=a,ou=staff, dc=corp").unwrap().is_under(&base));
        assert!(base.is_under(&base) && base.is_under(&Dn::ROOT));
        assert!(!Dn::parse("dc=corp").unwrap().is_under(&base));
        assert!(!Dn::parse("cn=a,xou=staff,dc=corp").unwrap().is_under(&base));
        assert!(!Dn::parse("cn=a\\,ou=staff,dc=corp").unwrap().is_under(&base));
        assert_eq!(base.parent().unwrap().normalised(), "dc=corp");
        assert_eq!(Dn::ROOT.parent(), None);
    }

    #[test]
    fn the_empty_text_is_the_root() {
        assert!(Dn::parse("").unwrap().is_root());
        assert_eq!(Dn::parse("dc=a,dc=b").unwrap().depth(), 2);
    }

    #[test]
    fn what_is_no_name_is_refused_where_it_stops_being_one() {
        for (text, at) in [
            ("cn", 2),
            ("=a", 0),
            ("cn=a,", 5),
            (",cn=a", 0),
            ("cn=a;dc=b", 4),
            ("cn=\"a\"", 3),
            ("cn=a\\", 5),
            ("cn=a\\zz", 5),
            ("cn=a\\2", 5),
            ("cn=#0", 5),
            ("cn=a\0", 4),
        ] {
            assert_eq!(Dn::parse(text).unwrap_err().at, at, "{text:?}");
        }
        assert!(Dn::parse(&["dc=a"; MAX_RDNS].join(",")).is_ok());
        assert!(Dn::parse(&["dc=a"; MAX_RDNS + 1].join(",")).is_err());
    }

    #[test]
    fn the_first_rdn_is_given_unescaped_in_its_own_case() {
        assert_eq!(Dn::rdn_of("CN=Lee\\, Ann + UID=7,dc=x").unwrap(), [("CN".into(), "Lee, Ann".into()), ("UID".into(), "7".into())]);
        assert_eq!(Dn::rdn_of("cn=\\ff").unwrap(), [("cn".into(), "#0401ff".into())]);
        assert_eq!(Dn::rdn_of("").unwrap(), []);
        assert!(Dn::rdn_of("cn=a,b").is_err());
    }
}
