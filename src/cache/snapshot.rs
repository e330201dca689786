//! The cache as a file, pure: what is written, and what is believed of what is read.
//!
//! ```text
//!  "RedialKP" version  owners  written_at  { 1 key directory fresh_for stale_for code ops { length op } } 0  checksum
//!      8         4       32       8          1  4+  4           8         8       4    4      4             1     32
//! ```
//!
//! Numbers are big-endian, times in milliseconds: `written_at` since 1970, `fresh_for` and `stale_for` counted from it. `owners` is a digest
//! of the configuration that decides whose an answer is: a key names accesses and directories by their places in it. The checksum
//! is SHA-256 of everything before it. Octets that others may have written are read here, so each length is checked before it is used, and
//! each protocolOp before it is kept.

use super::answer::{Answer, AnswerBuilder};
use crate::ldap::ber::Reader;
use crate::ldap::envelope::op;
use crate::ldap::message::{LdapResult, ResultCode};
use std::io::{self, Read, Write};
use std::time::Duration;

/// What the whole file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The digest of what decides whose an answer is.
    pub(crate) owners: [u8; DIGEST],
    /// The wall clock when it was written, since 1970.
    pub(crate) written_at: Duration,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Its whole key.
    pub(crate) key: Box<[u8]>,
    /// The directory that gave it; `None`: several.
    pub(crate) directory: Option<usize>,
    /// How long it was still fresh when it was written.
    pub(crate) fresh_for: Duration,
    /// How long it could still stand in.
    pub(crate) stale_for: Duration,
    /// The answer.
    pub(crate) answer: Answer,
}

/// Writes the beginning of the file.
///
/// # Errors
/// As `out`'s.
pub(crate) fn write_header(out: &mut impl Write, header: &Header) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_be_bytes())?;
    out.write_all(&header.owners)?;
    out.write_all(&milliseconds(header.written_at).to_be_bytes())
}

/// Writes one answer.
///
/// # Errors
/// As `out`'s, and when the answer is larger than any that is read.
pub(crate) fn write_record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    out.write_all(&[A_RECORD])?;
    write_octets(out, &record.key)?;
    let directory = record.directory.map_or(Ok(SEVERAL), u32::try_from).map_err(io::Error::other)?;
    out.write_all(&directory.to_be_bytes())?;
    out.write_all(&milliseconds(record.fresh_for).to_be_bytes())?;
    out.write_all(&milliseconds(record.stale_for).to_be_bytes())?;
    out.write_all(&record.answer.code().0.to_be_bytes())?;
    out.write_all(&(record.answer.entry_count() + 1).to_be_bytes())?;
    record.answer.entries().chain([record.answer.done_op()]).try_for_each(|op| write_octets(out, op))
}

/// Writes the end, before the checksum.
///
/// # Errors
/// As `out`'s.
pub(crate) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[THE_END])
}

/// Reads the beginning of the file.
///
/// # Errors
/// When it is no snapshot, or of another version.
pub(crate) fn read_header(from: &mut impl Read) -> io::Result<Header> {
    if &array::<8>(from)? != MAGIC {
        return Err(bad("it is no snapshot of a cache"));
    }
    if u32::from_be_bytes(array(from)?) != VERSION {
        return Err(bad("it was written by another version of Redial"));
    }
    Ok(Header { owners: array(from)?, written_at: duration(from)? })
}

/// Reads one answer; `None` at the end. Nothing longer than `longest` octets is read.
///
/// # Errors
/// When it is malformed.
pub(crate) fn read_record(from: &mut impl Read, longest: usize) -> io::Result<Option<Record>> {
    match array::<1>(from)? {
        [THE_END] => return Ok(None),
        [A_RECORD] => {}
        _ => return Err(bad("a record that does not begin")),
    }
    let key = octets(from, longest)?.into_boxed_slice();
    let directory = match u32::from_be_bytes(array(from)?) {
        SEVERAL => None,
        directory => Some(usize::try_from(directory).map_err(io::Error::other)?),
    };
    let (fresh_for, stale_for) = (duration(from)?, duration(from)?);
    let code = ResultCode(u32::from_be_bytes(array(from)?));
    let mut entries = u32::from_be_bytes(array(from)?).checked_sub(1).ok_or_else(|| bad("an answer without an end"))?;
    let mut builder = AnswerBuilder::default();
    while entries > 0 {
        let entry = octets(from, longest.saturating_sub(builder.len()))?;
        is_whole(&entry, op::SEARCH_RESULT_ENTRY)?;
        builder.push_entry(&entry);
        entries -= 1;
    }
    let done = octets(from, longest)?;
    if LdapResult::parse(is_whole(&done, op::SEARCH_RESULT_DONE)?).map_err(io::Error::other)?.code != code {
        return Err(bad("an answer that ends otherwise than it says"));
    }
    let answer = builder.finish(code, &done);
    Ok(Some(Record { key, directory, fresh_for, stale_for, answer }))
}

/// One element of that tag and nothing after it, every length within it right; its content.
fn is_whole(op: &[u8], tag: u8) -> io::Result<&[u8]> {
    let mut reader = Reader::new(op);
    let content = reader.expect(tag).map_err(io::Error::other)?.content;
    reader.finish().map_err(io::Error::other)?;
    crate::ldap::ber::check_tree(op).map_err(io::Error::other)?;
    Ok(content)
}

fn write_octets(out: &mut impl Write, octets: &[u8]) -> io::Result<()> {
    out.write_all(&u32::try_from(octets.len()).map_err(io::Error::other)?.to_be_bytes())?;
    out.write_all(octets)
}

/// As many octets as are said to come, if they come: room is made for what is there, not for what is said.
fn octets(from: &mut impl Read, longest: usize) -> io::Result<Vec<u8>> {
    let length = u32::from_be_bytes(array(from)?);
    if usize::try_from(length).map_or(true, |length| length > longest) {
        return Err(bad("an answer that is too large"));
    }
    let mut octets = Vec::new();
    from.take(length.into()).read_to_end(&mut octets)?;
    if octets.len() as u64 == u64::from(length) { Ok(octets) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    from.read_exact(&mut octets)?;
    Ok(octets)
}

fn duration(from: &mut impl Read) -> io::Result<Duration> {
    Ok(Duration::from_millis(u64::from_be_bytes(array(from)?)))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Octets of a digest.
pub(crate) const DIGEST: usize = 32;
const MAGIC: &[u8; 8] = b"RedialKP";
/// Raised when the format changes, or what a key means.
const VERSION: u32 = 2;
const A_RECORD: u8 = 1;
const THE_END: u8 = 0;
/// Stands for no directory of its own.
const SEVERAL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::response::write_entry_op;
    use proptest::prelude::*;

    fn record(key: Vec<u8>, entries: &[String], fresh_for: u64, stale_for: u64) -> Record {
        let mut builder = AnswerBuilder::default();
        for name in entries {
            let mut entry = Vec::new();
            write_entry_op(&mut entry, name, [("cn", [name.as_bytes()])]);
            builder.push_entry(&entry);
        }
        let answer = builder.finish(ResultCode::SUCCESS, &[0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0]);
        let (fresh_for, stale_for) = (Duration::from_millis(fresh_for), Duration::from_millis(stale_for));
        Record { key: key.into(), directory: Some(3), fresh_for, stale_for, answer }
    }

    fn encoded(records: &[Record]) -> Vec<u8> {
        let mut out = Vec::new();
        write_header(&mut out, &Header { owners: [7; DIGEST], written_at: Duration::from_millis(1_700_000_000_000) }).unwrap();
        records.iter().for_each(|record| write_record(&mut out, record).unwrap());
        write_end(&mut out).unwrap();
        out
    }

    /// Everything in it, until its end or the first error.
    fn decoded(mut octets: &[u8]) -> io::Result<Vec<Record>> {
        read_header(&mut octets)?;
        let mut records = Vec::new();
        while let Some(record) = read_record(&mut octets, 1 << 16)? {
            records.push(record);
        }
        Ok(records)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
            entries in prop::collection::vec("[a-z]{0,30}", 0..5),
            times in any::<(u32, u32)>(),
        ) {
            let records: Vec<_> = keys.into_iter().map(|key| record(key, &entries, times.0.into(), times.1.into())).collect();
            let read = decoded(&encoded(&records)).unwrap();
            prop_assert_eq!(read.len(), records.len());
            for (read, written) in read.iter().zip(&records) {
                prop_assert_eq!((&read.key, read.directory, read.fresh_for), (&written.key, written.directory, written.fresh_for));
                prop_assert_eq!((read.stale_for, read.answer.code()), (written.stale_for, written.answer.code()));
                prop_assert!(read.answer.entries().eq(written.answer.entries()) && read.answer.done_op() == written.answer.done_op());
            }
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut file = encoded(&[]);
            file.pop();
            file.extend(octets);
            // Neither a panic nor more room than there are octets.
            let _ = decoded(&file);
        }

        #[test]
        fn a_record_with_octets_changed_is_whole_or_refused(place in any::<prop::sample::Index>(), octet in any::<u8>()) {
            let mut file = encoded(&[record(b"key".to_vec(), &["ada".to_owned(), "bob".to_owned()], 1, 2)]);
            let place = place.index(file.len());
            file[place] = octet;
            for record in decoded(&file).unwrap_or_default() {
                for op in record.answer.entries().chain([record.answer.done_op()]) {
                    prop_assert_eq!(crate::ldap::ber::check_tree(op), Ok(()));
                }
            }
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let file = encoded(&[record(b"key".to_vec(), &["ada".to_owned()], 1, 2)]);
        assert!(decoded(&file).is_ok());
        assert!((0..file.len()).all(|length| decoded(&file[..length]).is_err()));
    }

    #[test]
    fn what_announces_more_than_may_be_kept_is_refused() {
        let file = encoded(&[record(vec![0; 100], &[], 1, 2)]);
        let mut from = &file[..];
        read_header(&mut from).unwrap();
        assert!(read_record(&mut from, 99).is_err());
    }
}
