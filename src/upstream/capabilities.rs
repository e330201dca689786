//! What a controller says of itself in its rootDSE (RFC 4512 section 5.1), pure.

use crate::ldap::ber::{BerError, Reader, tag};
use crate::ldap::filter::Filter;
use crate::ldap::message::{Scope, SearchRequest};
use crate::ldap::oid;

/// What a controller announces, as far as Redial uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Capabilities {
    /// Simple paged results (RFC 2696).
    pub(crate) paging: bool,
    /// The control that suppresses search references.
    pub(crate) domain_scope: bool,
}

impl Capabilities {
    /// The search that asks for them, encoded.
    pub(crate) fn request() -> Vec<u8> {
        SearchRequest {
            base_object: String::new(),
            scope: Scope::BaseObject,
            deref_aliases: 0,
            size_limit: 0,
            time_limit: 0,
            types_only: false,
            filter: Filter::Present("objectClass".into()),
            attributes: vec!["supportedControl".into()],
        }
        .encode()
    }

    /// Reads a SearchResultEntry.
    ///
    /// # Errors
    /// When it is malformed.
    pub(crate) fn parse(entry: &[u8]) -> Result<Self, BerError> {
        let mut found = Self::default();
        let mut entry = Reader::new(Reader::new(entry).element()?.content);
        entry.expect(tag::OCTET_STRING)?;
        let mut attributes = Reader::new(entry.expect(tag::SEQUENCE)?.content);
        while !attributes.is_empty() {
            let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE)?.content);
            let name = attribute.expect(tag::OCTET_STRING)?.content;
            let mut values = Reader::new(attribute.expect(tag::SET)?.content);
            while !values.is_empty() {
                found.note(name, values.expect(tag::OCTET_STRING)?.content);
            }
        }
        Ok(found)
    }

    fn note(&mut self, attribute: &[u8], value: &[u8]) {
        let is = |name: &str, oid: &str| attribute.eq_ignore_ascii_case(name.as_bytes()) && value == oid.as_bytes();
        self.paging |= is("supportedControl", oid::PAGED_RESULTS);
        self.domain_scope |= is("supportedControl", oid::DOMAIN_SCOPE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::response::write_entry_op;

    #[test]
    fn what_the_root_announces_is_found_by_attribute_and_oid() {
        let mut entry = Vec::new();
        let attributes: [(&str, Vec<&[u8]>); 2] =
            [("SUPPORTEDCONTROL", vec![b"1.2.840.113556.1.4.319", b"1.2.3"]), ("supportedExtension", vec![oid::DOMAIN_SCOPE.as_bytes()])];
        write_entry_op(&mut entry, "", attributes);
        let found = Capabilities::parse(&entry).unwrap();
        assert_eq!(found, Capabilities { paging: true, domain_scope: false }, "an OID in the wrong attribute counts for nothing");
    }

    #[test]
    fn an_entry_cut_short_is_an_error() {
        assert!(Capabilities::parse(&[0x64, 5, 4, 0]).is_err());
        assert!(Capabilities::parse(&[0x64, 2, 4, 0]).is_err());
    }
}
