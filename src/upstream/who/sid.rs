//! Security identifiers of Active Directory (MS-DTYP 2.4.2), pure.

use std::fmt::{Display, Formatter, Result};

/// A security identifier in its binary form: revision, number of subauthorities, authority, subauthorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sid(Box<[u8]>);

impl Sid {
    /// Reads an attribute's value; `None` where it is none.
    pub(crate) fn parse(octets: &[u8]) -> Option<Self> {
        let [REVISION, count, _, _, _, _, _, _, subauthorities @ ..] = octets else { return None };
        let is_whole = *count <= MOST_SUBAUTHORITIES && subauthorities.len() == usize::from(*count) * 4;
        is_whole.then(|| Self(octets.into()))
    }

    /// The binary form.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl Display for Sid {
    /// The text form, `S-1-5-21-...`.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (head, subauthorities) = self.0.split_at(HEAD);
        let authority = head.iter().skip(2).fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        write!(f, "S-{REVISION}-{authority}")?;
        let (subauthorities, _) = subauthorities.as_chunks::<4>();
        subauthorities.iter().try_for_each(|octets| write!(f, "-{}", u32::from_le_bytes(*octets)))
    }
}

const REVISION: u8 = 1;
/// Octets before the subauthorities.
const HEAD: usize = 8;
const MOST_SUBAUTHORITIES: u8 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_s_sid_reads_as_active_directory_writes_it() {
        let octets = [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0xc7, 0x35, 0x3a, 0x42, 2, 0, 0, 0, 3, 0, 0, 0, 0x50, 4, 0, 0];
        assert_eq!(Sid::parse(&octets).unwrap().to_string(), "S-1-5-21-1111111111-2-3-1104");
        assert_eq!(Sid::parse(&[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap().to_string(), "S-1-1-0");
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_none() {
        for octets in
            [&[][..], &[1, 1, 0, 0, 0, 0, 0], &[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 1, 0], &[2, 0, 0, 0, 0, 0, 0, 1]]
        {
            assert_eq!(Sid::parse(octets), None, "{octets:?}");
        }
        let mut sixteen = vec![1, 16, 0, 0, 0, 0, 0, 5];
        sixteen.resize(8 + 64, 0);
        assert_eq!(Sid::parse(&sixteen), None);
    }
}
