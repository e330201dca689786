//! The SearchResultEntry (RFC 4511 section 4.5.2), borrowed.

use super::ber::{BerError, Reader, tag};

/// An entry of a search's result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// objectName, as it came.
    pub(crate) name: &'a [u8],
    /// The contents of the PartialAttributeList.
    attributes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads a protocolOp, tag and length included.
    ///
    /// # Errors
    /// When it is malformed.
    pub(crate) fn parse(op: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(Reader::new(op).element()?.content);
        let name = fields.expect(tag::OCTET_STRING)?.content;
        let attributes = fields.expect(tag::SEQUENCE)?.content;
        Ok(Self { name, attributes })
    }

    /// Shows each value with its attribute's description, in the order in which they came.
    ///
    /// # Errors
    /// When the attributes are malformed; what came before that has been shown.
    pub(crate) fn each_value(&self, mut show: impl FnMut(&'a [u8], &'a [u8])) -> Result<(), BerError> {
        let mut attributes = Reader::new(self.attributes);
        while !attributes.is_empty() {
            let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE)?.content);
            let description = attribute.expect(tag::OCTET_STRING)?.content;
            let mut values = Reader::new(attribute.expect(tag::SET)?.content);
            while !values.is_empty() {
                show(description, values.expect(tag::OCTET_STRING)?.content);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::response::write_entry_op;

    #[test]
    fn each_value_comes_with_its_attribute() {
        let mut op = Vec::new();
        let attributes: [(&str, Vec<&[u8]>); 3] = [("cn", vec![b"a", b"b"]), ("empty", vec![]), ("sn", vec![b""])];
        write_entry_op(&mut op, "cn=a", attributes);
        let mut shown = Vec::new();
        let entry = Entry::parse(&op).unwrap();
        entry.each_value(|attribute, value| shown.push((attribute, value))).unwrap();
        assert_eq!((entry.name, shown), (&b"cn=a"[..], vec![(&b"cn"[..], &b"a"[..]), (b"cn", b"b"), (b"sn", b"")]));
    }

    #[test]
    fn an_entry_cut_short_is_an_error() {
        assert!(Entry::parse(&[0x64, 5, 4, 0]).is_err());
        assert!(Entry::parse(&[0x64, 2, 4, 0]).is_err());
        assert!(Entry::parse(&[0x64, 6, 4, 0, 0x30, 2, 0x30, 1]).map_or(true, |entry| entry.each_value(|_, _| {}).is_err()));
    }
}
