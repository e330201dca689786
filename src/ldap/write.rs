//! The four writes (RFC 4511 sections 4.6 to 4.9) and Password Modify (RFC 3062): checked for shape, read for their target, passed on as they
//! came.

use super::ber::{BerError, Reader, tag};
use super::message::Extended;

/// Which of the four writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteKind {
    /// Section 4.6.
    Modify,
    /// Section 4.7.
    Add,
    /// Section 4.8.
    Delete,
    /// Section 4.9.
    ModifyDn,
}

/// A write: its target is read, the rest is checked for shape and travels as it came.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// Which one.
    pub kind: WriteKind,
    /// The protocolOp with tag and length, as it came.
    pub op: &'a [u8],
    /// The entry that is written.
    pub target: &'a str,
    /// Where a ModifyDN moves it, if it moves.
    pub new_superior: Option<&'a str>,
    /// A Modify that names an attribute in which directories keep passwords.
    pub sets_password: bool,
}

impl<'a> Write<'a> {
    pub(super) fn parse_modify(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        let mut changes = Reader::new(fields.expect(tag::SEQUENCE)?.content);
        fields.finish()?;
        let mut sets_password = false;
        while !changes.is_empty() {
            let mut change = Reader::new(changes.expect(tag::SEQUENCE)?.content);
            let operation = change.integer(tag::ENUMERATED, MAX_CHANGE)?;
            let values = if matches!(operation, CHANGE_DELETE | CHANGE_REPLACE) { Values::Any } else { Values::AtLeastOne };
            sets_password |= holds_password(check_attribute(&mut change, values)?);
            change.finish()?;
        }
        Ok(Self { kind: WriteKind::Modify, op, target, new_superior: None, sets_password })
    }

    pub(super) fn parse_add(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        let mut attributes = Reader::new(fields.expect(tag::SEQUENCE)?.content);
        fields.finish()?;
        while !attributes.is_empty() {
            check_attribute(&mut attributes, Values::AtLeastOne)?;
        }
        Ok(Self { kind: WriteKind::Add, op, target, new_superior: None, sets_password: false })
    }

    pub(super) fn parse_delete(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let target = std::str::from_utf8(content).map_err(|_| BerError::NotUtf8)?;
        Ok(Self { kind: WriteKind::Delete, op, target, new_superior: None, sets_password: false })
    }

    pub(super) fn parse_modify_dn(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        fields.text(tag::OCTET_STRING)?;
        fields.boolean(tag::BOOLEAN)?;
        let new_superior = fields.optional(NEW_SUPERIOR)?.map(|element| element.text()).transpose()?;
        fields.finish()?;
        Ok(Self { kind: WriteKind::ModifyDn, op, target, new_superior, sets_password: false })
    }
}

impl<'a> Extended<'a> {
    /// The userIdentity of a Password Modify (RFC 3062 section 2); without one it is the client's own password.
    pub fn whose_password(&self) -> Option<&'a str> {
        let mut value = Reader::new(self.value?);
        let mut fields = Reader::new(value.expect(tag::SEQUENCE).ok()?.content);
        fields.optional(USER_IDENTITY).ok()??.text().ok()
    }
}

/// By RFC 4519 and RFC 3112, or by Active Directory's schema; under its name or its number, with options or without.
fn holds_password(description: &str) -> bool {
    let attribute = description.split(';').next().unwrap_or_default();
    PASSWORDS.iter().any(|password| password.eq_ignore_ascii_case(attribute))
}

/// How many values a PartialAttribute must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Any,
    AtLeastOne,
}

/// Reads one PartialAttribute (RFC 4511 section 4.1.7): its description.
fn check_attribute<'a>(attributes: &mut Reader<'a>, wanted: Values) -> Result<&'a str, BerError> {
    let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE)?.content);
    let description = attribute.text(tag::OCTET_STRING)?;
    let mut values = Reader::new(attribute.expect(tag::SET)?.content);
    attribute.finish()?;
    if wanted == Values::AtLeastOne && values.is_empty() {
        return Err(BerError::Truncated);
    }
    while !values.is_empty() {
        values.expect(tag::OCTET_STRING)?;
    }
    Ok(description)
}

/// See [`holds_password`].
const PASSWORDS: [&str; 7] =
    ["userPassword", "2.5.4.35", "unicodePwd", "1.2.840.113556.1.4.90", "clearTextPassword", "authPassword", "1.3.6.1.4.1.4203.1.3.4"];

/// `delete` of a Modify.
const CHANGE_DELETE: u32 = 1;
/// `replace` of a Modify.
const CHANGE_REPLACE: u32 = 2;
/// `increment` of a Modify (RFC 4525).
const MAX_CHANGE: u32 = 3;
/// `newSuperior` of a ModifyDN.
const NEW_SUPERIOR: u8 = 0x80;
/// `userIdentity` of a Password Modify.
const USER_IDENTITY: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::oid;

    #[test]
    fn a_password_modify_names_whose_password_and_not_which() {
        let extended = |value| Extended { op: &[], name: oid::PASSWORD_MODIFY, value };
        assert_eq!(extended(Some(b"\x30\x0c\x80\x04cn=a\x82\x04new!")).whose_password(), Some("cn=a"));
        assert_eq!(extended(Some(b"\x30\x06\x82\x04new!")).whose_password(), None);
        assert_eq!(extended(Some(b"\x30")).whose_password(), None);
        assert_eq!(extended(None).whose_password(), None);
    }

    #[test]
    fn a_modify_that_sets_a_password_is_known_by_the_attribute() {
        let sets_password = |attribute: &str| {
            let mut content = b"\x04\x04cn=a\x30".to_vec();
            let length = u8::try_from(attribute.len()).unwrap();
            content.extend([length + 11, 0x30, length + 9, 0x0a, 1, 2, 0x30, length + 4, 4, length]);
            content.extend_from_slice(attribute.as_bytes());
            content.extend([0x31, 0]);
            Write::parse_modify(&[], &content).unwrap().sets_password
        };
        for password in ["userPassword", "UNICODEPWD", "userpassword;x-old", "2.5.4.35"] {
            assert!(sets_password(password), "{password}");
        }
        for other in ["mobile", "userPasswordHint", "pwdLastSet", ""] {
            assert!(!sets_password(other), "{other}");
        }
    }
}
