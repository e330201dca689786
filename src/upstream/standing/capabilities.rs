//! What a controller says of itself in its rootDSE (RFC 4512 section 5.1), pure.

use crate::ldap::ber::BerError;
use crate::ldap::entry::Entry;
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
    /// "Who am I?" (RFC 4532).
    pub(crate) who_am_i: bool,
    /// Binds that are only checks, many at once on one connection (MS-ADTS 3.1.1.3.4.2.5).
    pub(crate) fast_bind: bool,
    /// It is Active Directory, or speaks as it does.
    pub(crate) active_directory: bool,
}

impl Capabilities {
    /// The search that asks for them, encoded.
    pub(crate) fn request() -> Vec<u8> {
        SearchRequest::new(
            "",
            Scope::BaseObject,
            Filter::Present("objectClass".into()),
            &["supportedControl", "supportedExtension", "supportedCapabilities"],
        )
        .encode()
    }

    /// Reads a SearchResultEntry.
    ///
    /// # Errors
    /// When it is malformed.
    pub(crate) fn parse(entry: &[u8]) -> Result<Self, BerError> {
        let mut found = Self::default();
        Entry::parse(entry)?.each_value(|attribute, value| found.note(attribute, value))?;
        Ok(found)
    }

    fn note(&mut self, attribute: &[u8], value: &[u8]) {
        let is = |name: &str, oid: &str| attribute.eq_ignore_ascii_case(name.as_bytes()) && value == oid.as_bytes();
        self.paging |= is("supportedControl", oid::PAGED_RESULTS);
        self.domain_scope |= is("supportedControl", oid::DOMAIN_SCOPE);
        self.who_am_i |= is("supportedExtension", oid::WHO_AM_I);
        self.fast_bind |= is("supportedExtension", oid::FAST_BIND);
        self.active_directory |= is("supportedCapabilities", oid::ACTIVE_DIRECTORY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::response::write_entry_op;

    #[test]
    fn what_the_root_announces_is_found_by_attribute_and_oid() {
        let mut entry = Vec::new();
        let attributes: [(&str, Vec<&[u8]>); 3] = [
            ("SUPPORTEDCONTROL", vec![b"1.2.840.113556.1.4.319", b"1.2.3"]),
            ("supportedExtension", vec![oid::DOMAIN_SCOPE.as_bytes(), oid::WHO_AM_I.as_bytes()]),
            ("supportedCapabilities", vec![oid::ACTIVE_DIRECTORY.as_bytes(), oid::FAST_BIND.as_bytes()]),
        ];
        write_entry_op(&mut entry, "", attributes);
        let found = Capabilities::parse(&entry).unwrap();
        let expected = Capabilities { paging: true, domain_scope: false, who_am_i: true, fast_bind: false, active_directory: true };
        assert_eq!(found, expected, "an OID in the wrong attribute counts for nothing");
    }

    #[test]
    fn fast_bind_is_an_extension() {
        let mut entry = Vec::new();
        write_entry_op(&mut entry, "", [("supportedExtension", [oid::FAST_BIND.as_bytes()])]);
        assert_eq!(Capabilities::parse(&entry).unwrap(), Capabilities { fast_bind: true, ..Capabilities::default() });
    }

    #[test]
    fn an_entry_cut_short_is_an_error() {
        assert!(Capabilities::parse(&[0x64, 5, 4, 0]).is_err());
        assert!(Capabilities::parse(&[0x64, 2, 4, 0]).is_err());
    }
}
