//! Octets of messages, put together by hand where a test needs a wrong one, and a small stack to handle them on.

use super::requests::frame;
use redial::ldap::ber::{self, tag};
use redial::ldap::envelope::op;

/// One element.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_element(&mut out, tag, content);
    out
}

/// The filter `(attribute=*)`.
pub(crate) fn present(attribute: &str) -> Vec<u8> {
    element(0x87, attribute.as_bytes())
}

/// A search below `dc=x`.
pub(crate) fn search(filter: &[u8], attributes: &[&str]) -> Vec<u8> {
    frame(1, &element(op::SEARCH_REQUEST, &search_fields(filter, attributes).concat()))
}

/// A search whose field number `at` (from baseObject, which is 0, to attributes, which is 7) is `field`.
pub(crate) fn with_field(at: usize, field: &[u8]) -> Vec<u8> {
    let mut fields = search_fields(&present("cn"), &["cn"]);
    fields[at] = field.to_vec();
    frame(1, &element(op::SEARCH_REQUEST, &fields.concat()))
}

/// The eight fields of a search.
pub(crate) fn search_fields(filter: &[u8], attributes: &[&str]) -> Vec<Vec<u8>> {
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| element(tag::OCTET_STRING, attribute.as_bytes())).collect();
    vec![
        element(tag::OCTET_STRING, b"dc=x"),
        element(tag::ENUMERATED, &[2]),
        element(tag::ENUMERATED, &[0]),
        element(tag::INTEGER, &[50]),
        element(tag::INTEGER, &[0]),
        element(tag::BOOLEAN, &[0]),
        filter.to_vec(),
        element(tag::SEQUENCE, &attributes),
    ]
}

/// Runs `test` on a stack of 64 KiB; an overflow ends the process.
pub(crate) fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(64 * 1024).spawn(test).unwrap().join().unwrap();
}
