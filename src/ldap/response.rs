//! What Redial says itself: results, entries of its own, the Notice of Disconnection (RFC 4511 sections 4.1.9, 4.4.1, 4.5.2).

use super::ber::{self, tag};
use super::envelope::{MessageId, op, write_envelope};
use super::message::ResultCode;
use super::oid;

/// Appends a protocolOp that is an LDAPResult and nothing more (SearchResultDone, BindResponse, ModifyResponse ...), without
/// its envelope. `tag` is the response's, see [`super::envelope::op`].
pub fn write_result_op(out: &mut Vec<u8>, tag: u8, code: ResultCode, matched_dn: &str, diagnostic: &str) {
    ber::write_constructed(out, tag, |out| write_result_fields(out, code, matched_dn, diagnostic));
}

/// Appends a whole LDAPMessage that holds such a result.
pub fn write_result(out: &mut Vec<u8>, message_id: MessageId, tag: u8, code: ResultCode, diagnostic: &str) {
    let mut op = Vec::new();
    write_result_op(&mut op, tag, code, "", diagnostic);
    write_envelope(out, message_id, &op, None);
}

/// Appends a whole LDAPMessage with an ExtendedResponse.
pub fn write_extended_response(
    out: &mut Vec<u8>,
    message_id: MessageId,
    code: ResultCode,
    diagnostic: &str,
    name: Option<&str>,
    value: Option<&[u8]>,
) {
    let mut op = Vec::new();
    ber::write_constructed(&mut op, op::EXTENDED_RESPONSE, |out| {
        write_result_fields(out, code, "", diagnostic);
        if let Some(name) = name {
            ber::write_element(out, RESPONSE_NAME, name.as_bytes());
        }
        if let Some(value) = value {
            ber::write_element(out, RESPONSE_VALUE, value);
        }
    });
    write_envelope(out, message_id, &op, None);
}

/// Appends a whole LDAPMessage with a BindResponse that asks the client to go on (RFC 4513 section 5.2.1.3), with an empty challenge.
pub fn write_sasl_challenge(out: &mut Vec<u8>, message_id: MessageId) {
    let mut op = Vec::new();
    ber::write_constructed(&mut op, op::BIND_RESPONSE, |out| {
        write_result_fields(out, ResultCode::SASL_BIND_IN_PROGRESS, "", "");
        ber::write_element(out, SERVER_SASL_CREDS, b"");
    });
    write_envelope(out, message_id, &op, None);
}

/// Appends a Notice of Disconnection: the last thing said on a connection.
pub fn write_notice_of_disconnection(out: &mut Vec<u8>, code: ResultCode, diagnostic: &str) {
    write_extended_response(out, MessageId::UNSOLICITED, code, diagnostic, Some(oid::NOTICE_OF_DISCONNECTION), None);
}

/// Appends a SearchResultEntry protocolOp without its envelope. Attributes without values are written with an empty set, which is what
/// typesOnly asks for.
pub fn write_entry_op<'a, V>(out: &mut Vec<u8>, object_name: &str, attributes: impl IntoIterator<Item = (&'a str, V)>)
where
    V: IntoIterator<Item = &'a [u8]>,
{
    ber::write_constructed(out, op::SEARCH_RESULT_ENTRY, |out| {
        ber::write_element(out, tag::OCTET_STRING, object_name.as_bytes());
        ber::write_constructed(out, tag::SEQUENCE, |out| {
            for (attribute, values) in attributes {
                ber::write_constructed(out, tag::SEQUENCE, |out| {
                    ber::write_element(out, tag::OCTET_STRING, attribute.as_bytes());
                    ber::write_constructed(out, tag::SET, |out| {
                        for value in values {
                            ber::write_element(out, tag::OCTET_STRING, value);
                        }
                    });
                });
            }
        });
    });
}

/// The tag of the response to the request with tag `request`, if it has one (Abandon and Unbind have none).
pub const fn response_tag(request: u8) -> Option<u8> {
    match request {
        op::BIND_REQUEST => Some(op::BIND_RESPONSE),
        op::SEARCH_REQUEST => Some(op::SEARCH_RESULT_DONE),
        op::MODIFY_REQUEST => Some(op::MODIFY_RESPONSE),
        op::ADD_REQUEST => Some(op::ADD_RESPONSE),
        op::DELETE_REQUEST => Some(op::DELETE_RESPONSE),
        op::MODIFY_DN_REQUEST => Some(op::MODIFY_DN_RESPONSE),
        op::COMPARE_REQUEST => Some(op::COMPARE_RESPONSE),
        op::EXTENDED_REQUEST => Some(op::EXTENDED_RESPONSE),
        _ => None,
    }
}

/// The components of LDAPResult, without a tag around them.
fn write_result_fields(out: &mut Vec<u8>, code: ResultCode, matched_dn: &str, diagnostic: &str) {
    ber::write_integer(out, tag::ENUMERATED, code.0);
    ber::write_element(out, tag::OCTET_STRING, matched_dn.as_bytes());
    ber::write_element(out, tag::OCTET_STRING, diagnostic.as_bytes());
}

/// The tag of responseName in an ExtendedResponse.
const RESPONSE_NAME: u8 = 0x8a;
/// The tag of responseValue in an ExtendedResponse.
const RESPONSE_VALUE: u8 = 0x8b;
/// The tag of serverSaslCreds in a BindResponse.
const SERVER_SASL_CREDS: u8 = 0x87;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::envelope::Envelope;
    use crate::ldap::message::LdapResult;

    #[test]
    fn a_result_is_read_back_as_it_was_written() {
        let mut out = Vec::new();
        write_result(&mut out, MessageId::new(300).unwrap(), op::SEARCH_RESULT_DONE, ResultCode::BUSY, &"later ".repeat(60));
        let envelope = Envelope::parse(&out).unwrap();
        assert_eq!((envelope.message_id.number(), envelope.op_tag), (300, op::SEARCH_RESULT_DONE));
        let result = LdapResult::parse(envelope.op_content).unwrap();
        assert_eq!(result.code, ResultCode::BUSY);
        assert_eq!(result.diagnostic, "later ".repeat(60).as_bytes());
        assert_eq!(result.referral, None);
    }

    #[test]
    fn the_notice_of_disconnection_is_the_one_of_rfc_4511() {
        let mut out = Vec::new();
        write_notice_of_disconnection(&mut out, ResultCode::UNAVAILABLE, "");
        assert_eq!(out, b"\x30\x24\x02\x01\x00\x78\x1f\x0a\x01\x34\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20036");
    }

    #[test]
    fn a_challenge_is_there_even_when_it_is_empty() {
        let mut out = Vec::new();
        write_sasl_challenge(&mut out, MessageId::new(1).unwrap());
        assert_eq!(out, b"\x30\x0e\x02\x01\x01\x61\x09\x0a\x01\x0e\x04\x00\x04\x00\x87\x00");
    }

    #[test]
    fn an_entry_without_values_has_empty_sets() {
        let mut out = Vec::new();
        write_entry_op(&mut out, "cn=a", [("cn", vec![&b"a"[..], b"b"]), ("sn", vec![])]);
        assert_eq!(out, b"\x64\x1e\x04\x04cn=a\x30\x16\x30\x0c\x04\x02cn\x31\x06\x04\x01a\x04\x01b\x30\x06\x04\x02sn\x31\x00");
    }
}
