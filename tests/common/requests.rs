//! Requests as a phone encodes them, and a look at what comes back.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    dead_code,
    reason = "tests fail by panicking, and each of them uses its part of this"
)]

use redial::ldap::ber::{Reader, tag, write_boolean, write_constructed, write_element, write_integer};
use redial::ldap::control::write_control;
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::message::LdapResult;
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
    let mut out = Vec::new();
    write_constructed(&mut out, op::BIND_REQUEST, |out| {
        write_integer(out, tag::INTEGER, 3);
        write_element(out, tag::OCTET_STRING, b"");
        write_constructed(out, 0xa3, |out| write_element(out, tag::OCTET_STRING, mechanism.as_bytes()));
    });
    out
}

pub(crate) fn search() -> Vec<u8> {
    let mut out = Vec::new();
    write_constructed(&mut out, op::SEARCH_REQUEST, |out| {
        write_element(out, tag::OCTET_STRING, b"dc=contacts");
        write_integer(out, tag::ENUMERATED, 2);
        write_integer(out, tag::ENUMERATED, 0);
        write_integer(out, tag::INTEGER, 0);
        write_integer(out, tag::INTEGER, 0);
        write_boolean(out, tag::BOOLEAN, false);
        write_element(out, 0x87, b"objectClass");
        write_constructed(out, tag::SEQUENCE, |_| {});
    });
    out
}

pub(crate) fn compare() -> Vec<u8> {
    let mut out = Vec::new();
    write_constructed(&mut out, op::COMPARE_REQUEST, |out| {
        write_element(out, tag::OCTET_STRING, b"cn=a");
        write_constructed(out, tag::SEQUENCE, |out| {
            write_element(out, tag::OCTET_STRING, b"sn");
            write_element(out, tag::OCTET_STRING, b"b");
        });
    });
    out
}

pub(crate) fn delete() -> Vec<u8> {
    let mut out = Vec::new();
    write_element(&mut out, op::DELETE_REQUEST, b"cn=a");
    out
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
