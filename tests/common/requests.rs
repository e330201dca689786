//! Requests as a phone encodes them, and a look at what comes back.

use redial::ldap::ber::{Reader, tag, write_constructed, write_element, write_integer};
use redial::ldap::control::{PagedResults, write_control};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::message::{LdapResult, Scope, SearchRequest};
use redial::ldap::{Envelope, MessageId, oid};

pub(crate) fn frame(message_id: u32, op: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_envelope(&mut out, MessageId::new(message_id).unwrap(), op, None);
    out
}

pub(crate) fn frame_with_control(message_id: u32, op: &[u8], control: &str, critical: bool) -> Vec<u8> {
    let mut controls = Vec::new();
    write_control(&mut controls, control, critical, None);
    let mut out = Vec::new();
    write_envelope(&mut out, MessageId::new(message_id).unwrap(), op, Some(&controls));
    out
}

pub(crate) fn bind(name: &str, password: &str) -> Vec<u8> {
    bind_version(3, name, password)
}

pub(crate) fn bind_version(version: u32, name: &str, password: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_constructed(&mut out, op::BIND_REQUEST, |out| {
        write_integer(out, tag::INTEGER, version);
        write_element(out, tag::OCTET_STRING, name.as_bytes());
        write_element(out, 0x80, password.as_bytes());
    });
    out
}

pub(crate) fn sasl_bind(mechanism: &str) -> Vec<u8> {
    sasl_bind_with(mechanism, None)
}

pub(crate) fn sasl_bind_with(mechanism: &str, credentials: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    write_constructed(&mut out, op::BIND_REQUEST, |out| {
        write_integer(out, tag::INTEGER, 3);
        write_element(out, tag::OCTET_STRING, b"");
        write_constructed(out, 0xa3, |out| {
            write_element(out, tag::OCTET_STRING, mechanism.as_bytes());
            if let Some(credentials) = credentials {
                write_element(out, tag::OCTET_STRING, credentials);
            }
        });
    });
    out
}

pub(crate) fn search() -> Vec<u8> {
    search_for("dc=contacts", "(objectClass=*)", &[])
}

pub(crate) fn search_for(base: &str, filter: &str, attributes: &[&str]) -> Vec<u8> {
    SearchRequest::new(base, Scope::WholeSubtree, Filter::parse(filter).unwrap(), attributes).encode()
}

pub(crate) fn compare() -> Vec<u8> {
    compare_with("cn=a", "sn", "b")
}

pub(crate) fn compare_with(entry: &str, attribute: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_constructed(&mut out, op::COMPARE_REQUEST, |out| {
        write_element(out, tag::OCTET_STRING, entry.as_bytes());
        write_constructed(out, tag::SEQUENCE, |out| {
            write_element(out, tag::OCTET_STRING, attribute.as_bytes());
            write_element(out, tag::OCTET_STRING, value.as_bytes());
        });
    });
    out
}

pub(crate) fn delete() -> Vec<u8> {
    delete_of("cn=a")
}

pub(crate) fn delete_of(entry: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_element(&mut out, op::DELETE_REQUEST, entry.as_bytes());
    out
}

/// Replaces one attribute's values by one.
pub(crate) fn modify_of(entry: &str, attribute: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_constructed(&mut out, op::MODIFY_REQUEST, |out| {
        write_element(out, tag::OCTET_STRING, entry.as_bytes());
        write_constructed(out, tag::SEQUENCE, |out| {
            write_constructed(out, tag::SEQUENCE, |out| {
                write_integer(out, tag::ENUMERATED, 2);
                write_constructed(out, tag::SEQUENCE, |out| {
                    write_element(out, tag::OCTET_STRING, attribute.as_bytes());
                    write_constructed(out, tag::SET, |out| write_element(out, tag::OCTET_STRING, value.as_bytes()));
                });
            });
        });
    });
    out
}

/// A Password Modify of that name's password, or of one's own.
pub(crate) fn password_modify(name: &str) -> Vec<u8> {
    let mut value = Vec::new();
    write_constructed(&mut value, tag::SEQUENCE, |out| {
        if !name.is_empty() {
            write_element(out, 0x80, name.as_bytes());
        }
        write_element(out, 0x82, b"new");
    });
    extended(oid::PASSWORD_MODIFY, Some(&value))
}

pub(crate) fn unbind() -> Vec<u8> {
    let mut out = Vec::new();
    write_element(&mut out, op::UNBIND_REQUEST, b"");
    out
}

pub(crate) fn abandon(target: u32) -> Vec<u8> {
    let mut out = Vec::new();
    write_integer(&mut out, op::ABANDON_REQUEST, target);
    out
}

pub(crate) fn extended(name: &str, value: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    write_constructed(&mut out, op::EXTENDED_REQUEST, |out| {
        write_element(out, 0x80, name.as_bytes());
        if let Some(value) = value {
            write_element(out, 0x81, value);
        }
    });
    out
}

/// The controls of a search by pages (RFC 2696).
pub(crate) fn paged(size: u32, cookie: &[u8]) -> Vec<u8> {
    let mut controls = Vec::new();
    write_control(&mut controls, oid::PAGED_RESULTS, true, Some(&PagedResults { size, cookie }.encode()));
    controls
}

/// The whole message.
pub(crate) fn who_am_i(message_id: u32) -> Vec<u8> {
    frame(message_id, &extended(oid::WHO_AM_I, None))
}

pub(crate) fn cancel(target: u32) -> Vec<u8> {
    let mut value = Vec::new();
    write_constructed(&mut value, tag::SEQUENCE, |out| write_integer(out, tag::INTEGER, target));
    extended(oid::CANCEL, Some(&value))
}

/// What came out: messageID, tag, result code of each message.
pub(crate) fn said(out: &[u8]) -> Vec<(u32, u8, u32)> {
    let mut messages = Reader::new(out);
    let mut said = Vec::new();
    while !messages.is_empty() {
        let message = messages.element().unwrap();
        let envelope = Envelope::parse(message.raw).unwrap();
        let result = LdapResult::parse(envelope.op_content).unwrap();
        said.push((envelope.message_id.number(), envelope.op_tag, result.code.0));
    }
    said
}

/// A response as one line: `2 done 0`, `1 entry cn=a,dc=corp cn=a`, `notice 52`.
pub(crate) fn in_words(frame: &[u8]) -> String {
    let envelope = Envelope::parse(frame).unwrap();
    let id = envelope.message_id.number();
    if envelope.op_tag == op::SEARCH_RESULT_ENTRY {
        return format!("{id} entry {}", entry_in_words(envelope.op_content));
    }
    let code = LdapResult::parse(envelope.op_content).unwrap().code.0;
    match envelope.op_tag {
        op::SEARCH_RESULT_DONE => format!("{id} done {code}"),
        op::BIND_RESPONSE => format!("{id} bind {code}"),
        op::COMPARE_RESPONSE => format!("{id} compare {code}"),
        op::DELETE_RESPONSE => format!("{id} delete {code}"),
        op::MODIFY_RESPONSE => format!("{id} modify {code}"),
        op::EXTENDED_RESPONSE if id == 0 => format!("notice {code}"),
        op::EXTENDED_RESPONSE => format!("{id} extended {code} {}", extended_value(envelope.op_content)).trim_end().to_owned(),
        other => format!("{id} {other:#04x} {code}"),
    }
}

fn entry_in_words(content: &[u8]) -> String {
    let mut fields = Reader::new(content);
    let mut words = vec![fields.text(tag::OCTET_STRING).unwrap().to_owned()];
    let mut attributes = Reader::new(fields.expect(tag::SEQUENCE).unwrap().content);
    while !attributes.is_empty() {
        let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE).unwrap().content);
        let name = attribute.text(tag::OCTET_STRING).unwrap();
        let mut values = Reader::new(attribute.expect(tag::SET).unwrap().content);
        while !values.is_empty() {
            words.push(format!("{name}={}", values.text(tag::OCTET_STRING).unwrap()));
        }
    }
    words.join(" ")
}

fn extended_value(content: &[u8]) -> String {
    let mut fields = Reader::new(content);
    std::iter::from_fn(|| fields.element().ok())
        .find(|field| field.tag == 0x8b)
        .map(|field| String::from_utf8_lossy(field.content).into_owned())
        .unwrap_or_default()
}
