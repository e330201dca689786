//! LDIF (RFC 2849), the content records of it: text in, entries with their line numbers out.
//!
//! Understood: the version line, comments, folded lines, `name: value`, `name:: base64`, `dn::`, LF and CRLF, and `changetype: add`.
//! Refused with a clear message: values by URL (`:<`), which would read any file; all other changes; octets that are not UTF-8
//! outside base64. Every problem of the file is reported, up to [`MAX_ERRORS`].

use super::attribute;
use super::build::EntryProblem;
use super::store::Entry;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use thiserror::Error;

/// So many problems are reported of one file.
pub const MAX_ERRORS: usize = 100;

/// One problem of an LDIF file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct LdifError {
    /// Where: the first line of what is wrong, counted from 1.
    pub line: usize,
    /// What.
    pub problem: LdifProblem,
}

/// What can be wrong with an LDIF file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LdifProblem {
    /// Not `name: value`.
    #[error("expected `attribute: value`")]
    NotALine,
    /// A blank at the front continues a line, and there is none.
    #[error("a line that begins with a blank continues the one above, and there is none")]
    ContinuesNothing,
    /// Not a name or OID with options (RFC 4512 section 2.5).
    #[error("`{0}` is no attribute description")]
    BadAttribute(String),
    /// After `::`.
    #[error("the value is not base64")]
    BadBase64,
    /// Outside `::`.
    #[error("the value is not UTF-8: convert the file, or write the value in base64 after `::`")]
    NotUtf8,
    /// After `:<`.
    #[error("values from URLs are not read: write the value itself, in base64 after `::`")]
    Url,
    /// A version other than 1.
    #[error("only version 1 of LDIF is known")]
    BadVersion,
    /// A record that does not begin with its name.
    #[error("a record begins with `dn:`")]
    NoDn,
    /// What ldapsearch writes behind the entries.
    #[error("this is ldapsearch's own remark, not an entry: write the file with `ldapsearch -LLL`")]
    Remark,
    /// A second `dn:` without an empty line before it.
    #[error("a second `dn:` in one record: an empty line separates records")]
    SecondDn,
    /// A record of a name alone.
    #[error("an entry without attributes")]
    NoAttributes,
    /// A change record, or a control.
    #[error("only entries are read, not changes: `{0}`")]
    Change(String),
    /// The entry itself cannot be in the book.
    #[error("{0}")]
    Entry(#[from] EntryProblem),
}

/// The entries of a file, each with the line of its `dn:`.
pub(super) fn parse(text: &[u8]) -> Result<Vec<(usize, Entry)>, Vec<LdifError>> {
    let mut parser = Parser::default();
    let mut lines = Lines::new(text);
    while let Some((line, content)) = lines.next_logical(&mut parser.errors) {
        if parser.errors.len() >= MAX_ERRORS {
            break;
        }
        if content.is_empty() {
            parser.end_record();
        } else if let Err(problem) = parser.line(line, &content) {
            parser.errors.push(LdifError { line, problem });
        }
    }
    parser.end_record();
    if parser.errors.is_empty() { Ok(parser.entries) } else { Err(parser.errors) }
}

/// Where in the file the parser stands.
#[derive(Debug, Default)]
struct Parser {
    entries: Vec<(usize, Entry)>,
    errors: Vec<LdifError>,
    record: Record,
    began: bool,
}

#[derive(Debug, Default)]
enum Record {
    /// Between records.
    #[default]
    Between,
    /// In one.
    Entry(usize, Entry),
    /// In one that cannot be read; the rest of it is skipped.
    Broken,
}

impl Parser {
    fn line(&mut self, line: usize, content: &[u8]) -> Result<(), LdifProblem> {
        let first = !std::mem::replace(&mut self.began, true);
        if matches!(self.record, Record::Broken) {
            return Ok(());
        }
        let (name, value) = split(content)?;
        if first && name.eq_ignore_ascii_case("version") {
            return if &*value == b"1" { Ok(()) } else { Err(LdifProblem::BadVersion) };
        }
        let is_dn = name.eq_ignore_ascii_case("dn");
        match &mut self.record {
            Record::Broken => Ok(()),
            Record::Between if is_dn => {
                self.record = Record::Broken;
                let dn = String::from_utf8(value.into_owned()).map_err(|_| LdifProblem::NotUtf8)?;
                self.record = Record::Entry(line, Entry::new(dn));
                Ok(())
            }
            Record::Between => {
                self.record = Record::Broken;
                let remark = ["search", "result", "ref"].iter().any(|word| name.eq_ignore_ascii_case(word));
                Err(if remark { LdifProblem::Remark } else { LdifProblem::NoDn })
            }
            Record::Entry(..) if is_dn => {
                self.record = Record::Broken;
                Err(LdifProblem::SecondDn)
            }
            Record::Entry(_, entry) => {
                if entry.attributes.is_empty() && (name.eq_ignore_ascii_case("changetype") || name.eq_ignore_ascii_case("control")) {
                    if name.eq_ignore_ascii_case("changetype") && value.eq_ignore_ascii_case(b"add") {
                        return Ok(());
                    }
                    let change = format!("{name}: {}", String::from_utf8_lossy(&value));
                    self.record = Record::Broken;
                    return Err(LdifProblem::Change(change));
                }
                entry.attributes.push((name.to_owned(), value.into_owned()));
                Ok(())
            }
        }
    }

    fn end_record(&mut self) {
        if let Record::Entry(line, entry) = std::mem::take(&mut self.record) {
            if entry.attributes.is_empty() {
                self.errors.push(LdifError { line, problem: LdifProblem::NoAttributes });
            }
            self.entries.push((line, entry));
        }
    }
}

/// The name and the value of a logical line.
fn split(content: &[u8]) -> Result<(&str, Cow<'_, [u8]>), LdifProblem> {
    let colon = memchr::memchr(b':', content).ok_or(LdifProblem::NotALine)?;
    let (name, rest) = content.split_at(colon);
    let name = std::str::from_utf8(name).map_err(|_| LdifProblem::NotALine)?;
    if !attribute::is_well_formed(name) {
        return Err(LdifProblem::BadAttribute(name.to_owned()));
    }
    let value = match rest {
        [b':', b':', encoded @ ..] => Cow::Owned(STANDARD.decode(encoded.trim_ascii()).map_err(|_| LdifProblem::BadBase64)?),
        [b':', b'<', ..] => return Err(LdifProblem::Url),
        [_, plain @ ..] => {
            let blanks = plain.iter().take_while(|octet| **octet == b' ').count();
            let plain = plain.get(blanks..).unwrap_or_default();
            std::str::from_utf8(plain).map_err(|_| LdifProblem::NotUtf8)?;
            Cow::Borrowed(plain)
        }
        [] => Cow::Borrowed(rest),
    };
    Ok((name, value))
}

/// Takes a file apart into logical lines: folded ones joined, comments left out, empty ones kept since they separate records.
#[derive(Debug)]
struct Lines<'a> {
    rest: &'a [u8],
    /// The number of the next physical line.
    line: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text), line: 1 }
    }

    fn next_logical(&mut self, errors: &mut Vec<LdifError>) -> Option<(usize, Cow<'a, [u8]>)> {
        loop {
            let line = self.line;
            let mut content = Cow::Borrowed(self.next_physical()?);
            if content.first() == Some(&b' ') {
                errors.push(LdifError { line, problem: LdifProblem::ContinuesNothing });
                continue;
            }
            while !content.is_empty() && self.rest.first() == Some(&b' ') {
                let more = self.next_physical().and_then(|more| more.get(1..)).unwrap_or_default();
                content.to_mut().extend_from_slice(more);
            }
            if content.first() != Some(&b'#') {
                return Some((line, content));
            }
        }
    }

    fn next_physical(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let (line, rest) = match memchr::memchr(b'\n', self.rest) {
            Some(end) => (self.rest.get(..end)?, self.rest.get(end + 1..)?),
            None => (self.rest, [].as_slice()),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// What some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::{LdifProblem, MAX_ERRORS, parse};
    use crate::book::Entry;

    fn entries(text: &str) -> Vec<(usize, Entry)> {
        parse(text.as_bytes()).unwrap()
    }

    fn problems(text: impl AsRef<[u8]>) -> Vec<(usize, LdifProblem)> {
        parse(text.as_ref()).unwrap_err().into_iter().map(|error| (error.line, error.problem)).collect()
    }

    /// Example 1 of RFC 2849.
    const TWO_ENTRIES: &str = "version: 1
dn: cn=Barbara Jensen, ou=Product Development, dc=airius, dc=com
objectclass: top
objectclass: person
objectclass: organizationalPerson
cn: Barbara Jensen
cn: Barbara J Jensen
cn: Babs Jensen
sn: Jensen
uid: bjensen
telephonenumber: +1 408 555 1212
description: A big sailing fan.

dn: cn=Bjorn Jensen, ou=Accounting, dc=airius, dc=com
objectclass: top
objectclass: person
objectclass: organizationalPerson
cn: Bjorn Jensen
sn: Jensen
telephonenumber: +1 408 555 1212
";

    #[test]
    fn the_first_example_of_the_rfc_is_two_entries_with_their_lines() {
        let found = entries(TWO_ENTRIES);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0, found[1].0), (2, 14));
        let names: Vec<_> = found[0].1.attributes.iter().filter(|(name, _)| name == "cn").map(|(_, value)| value.as_slice()).collect();
        assert_eq!(names, [b"Barbara Jensen".as_slice(), b"Barbara J Jensen", b"Babs Jensen"]);
        assert_eq!(found[1].1.dn, "cn=Bjorn Jensen, ou=Accounting, dc=airius, dc=com");
    }

    #[test]
    fn a_folded_value_is_joined_without_the_blank_that_folds_it() {
        // Example 2 of the RFC, with the lines broken in the middle of a word.
        let found = entries(
            "dn: cn=B, dc=com\ndescription:Babs is a big sailing fan, and travels extensively in sea\n rch of perfect sailing conditions.\ntitle:Product Manager, Rod and Reel Division\n",
        );
        let (_, description) = &found[0].1.attributes[0];
        assert_eq!(description, b"Babs is a big sailing fan, and travels extensively in search of perfect sailing conditions.");
        assert_eq!(found[0].1.attributes[1].1, b"Product Manager, Rod and Reel Division");
    }

    #[test]
    fn base64_is_decoded_in_values_and_names() {
        // Examples 3 and 4 of the RFC.
        let found = entries(
            "dn:: b3U95Za25qWt6YOoLG89QWlyaXVz\nobjectclass:: b3JnYW5pemF0aW9uYWxVbml0\nou;lang-ja:: 5Za25qWt6YOo\nou;lang-en: Sales\n",
        );
        assert_eq!(found[0].1.dn, "ou=営業部,o=Airius");
        assert_eq!(found[0].1.attributes[0].1, b"organizationalUnit");
        assert_eq!(found[0].1.attributes[1], ("ou;lang-ja".to_owned(), "営業部".as_bytes().to_vec()));
    }

    #[test]
    fn folded_base64_is_joined_first() {
        assert_eq!(entries("dn: dc=a\ncn:: SGFu\n cyBN\n ZWllcg==\n")[0].1.attributes[0].1, b"Hans Meier");
    }

    #[test]
    fn comments_crlf_a_byte_order_mark_and_empty_lines_do_not_matter() {
        let text = "\u{feff}# a comment\r\n#  folded\r\n  onto a second line\r\nversion: 1\r\n\r\n\r\ndn: dc=a\r\n# inside\r\ndc: a\r\n\r\n\r\ndn: cn=b,dc=a\r\ncn: b";
        let found = entries(text);
        assert_eq!(found.iter().map(|(line, entry)| (*line, entry.dn.as_str())).collect::<Vec<_>>(), [(7, "dc=a"), (12, "cn=b,dc=a")]);
        assert_eq!(found[0].1.attributes, [("dc".to_owned(), b"a".to_vec())]);
    }

    #[test]
    fn plain_utf8_and_empty_values_are_taken() {
        let found = entries("dn: cn=Jürgen,dc=a\ncn: Jürgen\ndescription:\ntitle: a: b :c\n");
        assert_eq!(found[0].1.attributes[1].1, b"");
        assert_eq!(found[0].1.attributes[2].1, b"a: b :c");
    }

    #[test]
    fn an_add_is_an_entry_and_every_other_change_is_refused() {
        assert_eq!(entries("dn: dc=a\nchangetype: add\ndc: a\n")[0].1.attributes.len(), 1);
        for (text, change) in [
            ("dn: dc=a\nchangetype: delete\n", "changetype: delete"),
            ("dn: dc=a\nchangetype: modify\nadd: cn\ncn: x\n-\n", "changetype: modify"),
            ("dn: dc=a\ncontrol: 1.2.3 true\nchangetype: add\ncn: x\n", "control: 1.2.3 true"),
        ] {
            assert_eq!(problems(text), [(2, LdifProblem::Change(change.to_owned()))]);
        }
    }

    #[test]
    fn values_from_urls_are_refused() {
        assert_eq!(problems("dn: dc=a\njpegphoto:< file:///etc/passwd\n"), [(2, LdifProblem::Url), (1, LdifProblem::NoAttributes)]);
    }

    #[test]
    fn every_problem_is_reported_with_its_line() {
        let text = " x\nversion: 2\n\ndn: dc=a\nno colon here\ncn:: %%%\n-: x\n\ncn: without a name\nsn: skipped\n\ndn: dc=b\ndn: dc=c\n";
        assert_eq!(
            problems(text),
            [
                (1, LdifProblem::ContinuesNothing),
                (2, LdifProblem::BadVersion),
                (5, LdifProblem::NotALine),
                (6, LdifProblem::BadBase64),
                (7, LdifProblem::BadAttribute("-".to_owned())),
                (4, LdifProblem::NoAttributes),
                (9, LdifProblem::NoDn),
                (13, LdifProblem::SecondDn),
            ]
        );
    }

    #[test]
    fn the_remarks_of_ldapsearch_are_recognised() {
        assert_eq!(problems("dn: dc=a\ndc: a\n\nsearch: 2\nresult: 0 Success\n"), [(4, LdifProblem::Remark)]);
    }

    #[test]
    fn octets_that_are_not_utf8_are_a_problem_outside_base64_only() {
        assert_eq!(problems(b"dn: dc=a\ncn: J\xfcrgen\ndc: a\n"), [(2, LdifProblem::NotUtf8)]);
        assert_eq!(entries("dn: dc=a\nx:: /w==\n")[0].1.attributes[0].1, b"\xff");
    }

    #[test]
    fn reporting_ends_somewhere() {
        assert_eq!(problems("nonsense\n\n".repeat(1000)).len(), MAX_ERRORS);
    }

    #[test]
    fn an_empty_file_has_no_entries() {
        assert!(entries("").is_empty());
        assert!(entries("version: 1\n\n# nothing\n").is_empty());
    }
}
