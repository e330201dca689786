//! Messages as phones and controllers write them, one a file in tests/wire: what they are read as, and that their operation travels on unchanged.
//!
//! A file holds lines of hexadecimal octets, comments behind `#`, and behind `=` what the octets are read as, line by line.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use redial::ldap::MessageId;
use redial::ldap::control::parse_controls;
use redial::ldap::envelope::{Envelope, op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::message::{Authentication, LdapResult, Request, RequestError};
use std::fs;
use std::path::Path;

/// One file of tests/wire.
struct Case {
    name: String,
    octets: Vec<u8>,
    expected: Vec<String>,
}

#[test]
fn every_message_is_read_as_its_file_says() {
    for case in cases() {
        assert_eq!(describe(&case.octets), case.expected, "{}", case.name);
    }
}

#[test]
fn every_operation_travels_on_octet_for_octet() {
    for case in cases() {
        let envelope = Envelope::parse(&case.octets).unwrap();
        let mut relayed = Vec::new();
        write_envelope(&mut relayed, MessageId::new(70_000).unwrap(), envelope.op, envelope.controls);
        let again = Envelope::parse(&relayed).unwrap();
        assert_eq!((again.op, again.controls), (envelope.op, envelope.controls), "{}", case.name);
    }
}

#[test]
fn every_search_written_anew_reads_the_same() {
    let mut searches = 0;
    for case in cases() {
        let Ok(Request::Search(search)) = Request::parse(&Envelope::parse(&case.octets).unwrap()) else { continue };
        searches += 1;
        let owned = search.to_owned().unwrap();
        let mut written = Vec::new();
        write_envelope(&mut written, MessageId::new(1).unwrap(), &owned.encode(), None);
        let Ok(Request::Search(again)) = Request::parse(&Envelope::parse(&written).unwrap()) else { panic!("{}", case.name) };
        assert_eq!(again.to_owned().unwrap(), owned, "{}", case.name);
    }
    assert!(searches > 10);
}

#[test]
fn the_files_hold_the_form_of_length_that_active_directory_writes() {
    let long = cases().filter(|case| case.octets.starts_with(&[0x30, 0x84, 0, 0, 0])).count();
    assert!(long > 5, "only {long}");
}

/// The message in words, line by line.
fn describe(octets: &[u8]) -> Vec<String> {
    assert_eq!(frame_length(octets, octets.len()), Ok(Some(octets.len())));
    let envelope = Envelope::parse(octets).unwrap();
    let mut lines = vec![format!("message {}", envelope.message_id.number())];
    match Request::parse(&envelope) {
        Ok(Request::Bind(bind)) => lines.push(format!("bind {} {:?} {}", bind.version, bind.name, describe_choice(bind.authentication))),
        Ok(Request::Search(search)) => {
            let search = search.to_owned().unwrap();
            lines.push(format!("search {:?} {:?} size {} time {}", search.base_object, search.scope, search.size_limit, search.time_limit));
            lines.push(format!("filter {}", search.filter));
            lines.push(format!("attributes {}", search.attributes.join(" ")).trim_end().to_owned());
        }
        Ok(Request::Extended(extended)) => {
            let value = extended.value.map_or_else(|| "no value".to_owned(), |value| format!("{} octets", value.len()));
            lines.push(format!("extended {} {value}", extended.name));
        }
        Ok(Request::Abandon(message_id)) => lines.push(format!("abandon {}", message_id.number())),
        Ok(other) => panic!("no file holds a {other:?}"),
        Err(RequestError::NotARequest(tag)) => {
            lines.push(format!("op {tag:#04x}, {} octets", envelope.op.len()));
            if !matches!(tag, op::SEARCH_RESULT_ENTRY | op::SEARCH_RESULT_REFERENCE) {
                let result = LdapResult::parse(envelope.op_content).unwrap();
                lines.push(format!("result {} {:?}", result.code, std::str::from_utf8(result.diagnostic).unwrap()));
                lines.extend(result.referral.map(|_| "referral".to_owned()));
            }
        }
        Err(error) => panic!("{error}"),
    }
    for control in parse_controls(envelope.controls).unwrap() {
        let critical = if control.critical { "critical" } else { "optional" };
        let value: String = control.value.unwrap_or_default().iter().map(|octet| format!("{octet:02x}")).collect();
        lines.push(format!("control {} {critical} {value}", control.oid));
    }
    lines
}

fn describe_choice(authentication: Authentication<'_>) -> String {
    match authentication {
        Authentication::Simple(password) => format!("simple, {} octets", password.len()),
        Authentication::Sasl { mechanism, .. } => format!("sasl {mechanism}"),
        Authentication::Unknown(tag) => format!("unknown {tag:#04x}"),
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let mut files: Vec<_> =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 15);
    files.into_iter().map(|path| {
        let mut case = Case { name: path.display().to_string(), octets: Vec::new(), expected: Vec::new() };
        for line in fs::read_to_string(&path).unwrap().lines() {
            match line.split_once(' ') {
                Some(("#", _)) => {}
                Some(("=", expected)) => case.expected.push(expected.trim_end().to_owned()),
                _ => case.octets.extend(line.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).unwrap())),
            }
        }
        case
    })
}
