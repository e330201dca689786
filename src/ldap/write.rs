//! The four writes (RFC 4511 sections 4.6 to 4.9): checked for shape, read for their target, passed on as they came.

use super::ber::{BerError, Reader, tag};

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
}

impl<'a> Write<'a> {
    pub(super) fn parse_modify(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        let mut changes = Reader::new(fields.expect(tag::SEQUENCE)?.content);
        fields.finish()?;
        while !changes.is_empty() {
            let mut change = Reader::new(changes.expect(tag::SEQUENCE)?.content);
            let operation = change.integer(tag::ENUMERATED, MAX_CHANGE)?;
            let values = if matches!(operation, CHANGE_DELETE | CHANGE_REPLACE) { Values::Any } else { Values::AtLeastOne };
            check_attribute(&mut change, values)?;
            change.finish()?;
        }
        Ok(Self { kind: WriteKind::Modify, op, target, new_superior: None })
    }

    pub(super) fn parse_add(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        let mut attributes = Reader::new(fields.expect(tag::SEQUENCE)?.content);
        fields.finish()?;
        while !attributes.is_empty() {
            check_attribute(&mut attributes, Values::AtLeastOne)?;
        }
        Ok(Self { kind: WriteKind::Add, op, target, new_superior: None })
    }

    pub(super) fn parse_delete(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let target = std::str::from_utf8(content).map_err(|_| BerError::NotUtf8)?;
        Ok(Self { kind: WriteKind::Delete, op, target, new_superior: None })
    }

    pub(super) fn parse_modify_dn(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        fields.text(tag::OCTET_STRING)?;
        fields.boolean(tag::BOOLEAN)?;
        let new_superior = fields.optional(NEW_SUPERIOR)?.map(|element| element.text()).transpose()?;
        fields.finish()?;
        Ok(Self { kind: WriteKind::ModifyDn, op, target, new_superior })
    }
}

/// How many values a PartialAttribute must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Any,
    AtLeastOne,
}

/// Reads one PartialAttribute (RFC 4511 section 4.1.7).
fn check_attribute(attributes: &mut Reader<'_>, wanted: Values) -> Result<(), BerError> {
    let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE)?.content);
    attribute.text(tag::OCTET_STRING)?;
    let mut values = Reader::new(attribute.expect(tag::SET)?.content);
    attribute.finish()?;
    if wanted == Values::AtLeastOne && values.is_empty() {
        return Err(BerError::Truncated);
    }
    while !values.is_empty() {
        values.expect(tag::OCTET_STRING)?;
    }
    Ok(())
}

/// `delete` of a Modify.
const CHANGE_DELETE: u32 = 1;
/// `replace` of a Modify.
const CHANGE_REPLACE: u32 = 2;
/// `increment` of a Modify (RFC 4525).
const MAX_CHANGE: u32 = 3;
/// `newSuperior` of a ModifyDN.
const NEW_SUPERIOR: u8 = 0x80;
