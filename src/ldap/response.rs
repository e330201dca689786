//! What Redial says itself: results, entries of its own, the Notice of Disconnection (RFC 4511 sections 4.1.9, 4.4.1, 4.5.2).

use super::envelope::MessageId;
use super::message::ResultCode;

/// Appends a protocolOp that is an LDAPResult and nothing more (SearchResultDone, BindResponse, ModifyResponse ...), without
/// its envelope. `tag` is the response's, see [`super::envelope::op`].
pub fn write_result_op(out: &mut Vec<u8>, tag: u8, code: ResultCode, matched_dn: &str, diagnostic: &str) {
    todo!()
}

/// Appends a whole LDAPMessage that holds such a result.
pub fn write_result(out: &mut Vec<u8>, message_id: MessageId, tag: u8, code: ResultCode, diagnostic: &str) {
    todo!()
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
    todo!()
}

/// Appends a Notice of Disconnection: the last thing said on a connection.
pub fn write_notice_of_disconnection(out: &mut Vec<u8>, code: ResultCode, diagnostic: &str) {
    todo!()
}

/// Appends a SearchResultEntry protocolOp without its envelope. Attributes without values are written with an empty set, which is what
/// typesOnly asks for.
pub fn write_entry_op<'a, V>(out: &mut Vec<u8>, object_name: &str, attributes: impl IntoIterator<Item = (&'a str, V)>)
where
    V: IntoIterator<Item = &'a [u8]>,
{
    todo!()
}

/// The tag of the response to the request with tag `request`, if it has one (Abandon and Unbind have none).
pub const fn response_tag(request: u8) -> Option<u8> {
    use super::envelope::op;
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
