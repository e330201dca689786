//! What is true of any octets that are taken for LDAP: frames, envelopes, requests, filters and names; and for a PROXY header before it.

use redial::downstream::proxy_header::{Decoded, LONGEST, decode};
use redial::ldap::ber;
use redial::ldap::control::{parse_controls, write_control};
use redial::ldap::dn::Dn;
use redial::ldap::envelope::{Envelope, MessageId, op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::frame::{FrameError, frame_length};
use redial::ldap::message::{Form, LdapResult, Request};

/// Frames and what remains are the input, and the frames do not depend on how much of it had arrived when they were looked for.
pub fn frame(octets: &[u8]) {
    let limit = 1000;
    let (frames, end) = frames(octets, limit);
    let mut consumed = 0;
    for frame in &frames {
        assert!(!frame.is_empty() && frame.len() <= limit);
        assert_eq!(octets[consumed..].get(..frame.len()), Some(*frame));
        // One octet less is never enough, and never another frame.
        let known = frame_length(&frame[..frame.len() - 1], limit);
        assert!(matches!(known, Ok(None)) || known == Ok(Some(frame.len())));
        consumed += frame.len();
    }
    let rest = &octets[consumed..];
    match end {
        Ok(None) => assert!(rest.len() < 6, "a header is at most six octets"),
        Ok(Some(needed)) => assert!(needed > rest.len() && needed <= limit),
        // What is refused early is refused with all of the octets there as well.
        Err(_) => assert!((0..rest.len()).all(|so_far| !matches!(frame_length(&rest[..so_far], limit), Ok(Some(_))))),
    }
}

/// All frames at the front of `octets`, and what is said of the rest.
pub fn frames(octets: &[u8], limit: usize) -> (Vec<&[u8]>, Result<Option<usize>, FrameError>) {
    let mut frames = Vec::new();
    let mut rest = octets;
    loop {
        match frame_length(rest, limit) {
            Ok(Some(length)) if length <= rest.len() => {
                let (frame, behind) = rest.split_at(length);
                frames.push(frame);
                rest = behind;
            }
            end => return (frames, end),
        }
    }
}

/// What is taken apart is put together again under any messageID, and taken apart alike.
pub fn envelope(octets: &[u8]) {
    let Ok(envelope) = Envelope::parse(octets) else { return };
    assert_eq!(frame_length(octets, octets.len()), Ok(Some(octets.len())));
    if envelope.op_tag != op::SEARCH_REQUEST || Request::parse(&envelope).is_ok() {
        assert_eq!(ber::check_tree(octets), Ok(()), "nothing is let through unchecked");
    }

    let written = write(envelope, envelope.message_id);
    let again = Envelope::parse(&written).unwrap();
    assert_eq!((again.message_id, again.op, again.controls), (envelope.message_id, envelope.op, envelope.controls));
    for message_id in [0, 127, 128, 0x8000, MessageId::MAX] {
        let other = write(envelope, MessageId::new(message_id).unwrap());
        assert_eq!(write(Envelope::parse(&other).unwrap(), envelope.message_id), written);
    }

    if let Ok(controls) = parse_controls(envelope.controls) {
        let raw: Vec<u8> = controls.iter().flat_map(|control| control.raw).copied().collect();
        assert_eq!(raw, envelope.controls.unwrap_or_default(), "every control is accounted for");
        for control in controls {
            let mut written = Vec::new();
            write_control(&mut written, control.oid, control.critical, control.value);
            let again = parse_controls(Some(&written)).unwrap();
            assert_eq!((again[0].oid, again[0].critical, again[0].value), (control.oid, control.critical, control.value));
        }
    }
    if let Ok(result) = LdapResult::parse(envelope.op_content) {
        assert!(result.matched_dn.len() + result.diagnostic.len() < envelope.op_content.len());
    }
}

/// A request is understood or refused; a search that is understood is the same one after it has been written again.
pub fn request(octets: &[u8]) {
    let Ok(envelope) = Envelope::parse(octets) else { return };
    let Ok(request) = Request::parse(&envelope) else { return };
    let Request::Search(search) = request else {
        assert!(!format!("{request:?}").is_empty());
        return;
    };
    let owned = search.to_owned().unwrap();
    assert_eq!(search.attribute_names().count(), owned.attributes.len());
    let (form, behind) = Form::split(search.op).unwrap();
    assert_eq!(behind, search.filter);
    assert!(form.attributes.ends_with(search.attributes));

    let op = owned.encode();
    let mut written = Vec::new();
    write_envelope(&mut written, envelope.message_id, &op, envelope.controls);
    let again = Envelope::parse(&written).unwrap();
    let Ok(Request::Search(again)) = Request::parse(&again) else { panic!("what was written is not understood") };
    let again = again.to_owned().unwrap();
    assert_eq!(again, owned);
    assert_eq!(again.encode(), op);
    filter(search.filter);
}

/// Checking and building a filter agree; octets and text both read back as the same tree.
pub fn filter(octets: &[u8]) {
    let checked = Filter::check(octets);
    let built = Filter::decode(octets);
    assert_eq!(checked, built.as_ref().map(|_| ()).map_err(|error| *error));
    if let Ok(filter) = built {
        assert_eq!(ber::check_tree(octets), Ok(()));
        both_ways(&filter);
    }
}

/// A text that is a filter reads back, as text and as octets.
pub fn filter_text(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    match Filter::parse(text) {
        Ok(filter) => both_ways(&filter),
        Err(error) => assert!(error.at <= text.len()),
    }
}

/// A filter that was read reads back.
pub fn both_ways(filter: &Filter) {
    let mut octets = Vec::new();
    filter.encode(&mut octets);
    assert_eq!(Filter::decode(&octets).as_ref(), Ok(filter));
    let text = filter.to_string();
    assert!(!text.chars().any(char::is_control), "a log line stays one line");
    if has_plain_names(filter) {
        assert_eq!(Filter::parse(&text).as_ref(), Ok(filter), "{text}");
    }
}

/// Its descriptions hold only what RFC 4512 allows, so that its text can be read; a rule that is called `dn` cannot be told from the flag.
fn has_plain_names(filter: &Filter) -> bool {
    let plain = |name: &String| !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-.;_".contains(&octet));
    match filter {
        Filter::And(branches) | Filter::Or(branches) => branches.iter().all(has_plain_names),
        Filter::Not(branch) => has_plain_names(branch),
        Filter::Present(attribute) => plain(attribute),
        Filter::Substrings(substrings) => plain(&substrings.attribute),
        Filter::Extensible(extensible) => {
            extensible.attribute.as_ref().is_none_or(plain)
                && extensible.rule.as_ref().is_none_or(|rule| plain(rule) && !rule.eq_ignore_ascii_case("dn"))
        }
        Filter::Equality(assertion) | Filter::GreaterOrEqual(assertion) | Filter::LessOrEqual(assertion) | Filter::Approx(assertion) => {
            plain(&assertion.attribute)
        }
    }
}

/// A normalised name is a name, and normalised already; every name is under its parents and under no child.
pub fn dn(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let dn = match Dn::parse(text) {
        Ok(dn) => dn,
        Err(error) => {
            assert!(error.at <= text.len());
            assert!(Dn::rdn_of(text).is_err());
            return;
        }
    };
    let normalised = dn.normalised();
    assert_eq!(Dn::parse(&normalised).as_ref(), Ok(&dn), "{normalised:?}");
    assert_eq!(Dn::rdn_of(text).unwrap().is_empty(), dn.is_root());
    assert!(dn.is_under(&dn) && dn.is_under(&Dn::ROOT));
    if let Some(parent) = dn.parent() {
        assert_eq!(parent.depth() + 1, dn.depth());
        assert!(dn.is_under(&parent) && !parent.is_under(&dn));
    }
}

/// The message under another messageID.
pub fn write(envelope: Envelope<'_>, message_id: MessageId) -> Vec<u8> {
    let mut out = Vec::new();
    write_envelope(&mut out, message_id, envelope.op, envelope.controls);
    out
}

/// A PROXY header is decoded from what has come, whoever sends it and however slowly: not an octet behind it is ever asked for.
pub fn proxy_header(octets: &[u8]) {
    match decode(octets) {
        Ok(Decoded::Whole(length, source)) => {
            assert!(length <= octets.len().min(LONGEST));
            let mut come = 0;
            while come < length {
                match decode(&octets[..come]) {
                    Ok(Decoded::Needs(more)) => assert!((1..=length - come).contains(&more), "{more} after {come} of {length}"),
                    other => panic!("{other:?} after {come} of {length}"),
                }
                come += 1;
            }
            assert_eq!(decode(&octets[..length]), Ok(Decoded::Whole(length, source)));
        }
        Ok(Decoded::Needs(more)) => assert!((1..=LONGEST).contains(&more) && octets.len() + more <= LONGEST),
        Err(error) => {
            // What follows cannot mend it.
            assert_eq!(decode(&[octets, b"\r\n"].concat()), Err(error));
        }
    }
}
