//! A message as a tree of BER elements, and everything that can be wrong with one element of it: in its tag, its length, its contents, or
//! its place. After the manner of the PROTOS suite for LDAPv3 (CERT CA-2001-18), which RFC 4511 section 6 names.

use redial::ldap::ber::{CONSTRUCTED, Reader};

/// One element.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    tag: u8,
    contents: Contents,
}

#[derive(Debug, Clone)]
enum Contents {
    Octets(Vec<u8>),
    Elements(Vec<Node>),
}

/// What is wrong with an element.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    /// Another tag.
    Tag(Vec<u8>),
    /// These length octets, whatever the contents.
    Length(Vec<u8>),
    /// As many octets more (or fewer) are announced than there are.
    LengthOff(i32),
    /// The length in so many octets, zeros first.
    LengthIn(usize),
    /// The indefinite form, with its end or without.
    Indefinite { ended: bool },
    /// Other contents.
    Contents(Vec<u8>),
    /// It is missing.
    Missing,
    /// It is there so many times.
    Repeated(usize),
    /// This follows it.
    Followed(Vec<u8>),
    /// It is wrapped in so many elements of that tag.
    Wrapped(u8, usize),
}

impl Node {
    /// The tree of one well-formed message.
    pub(crate) fn parse(octets: &[u8]) -> Self {
        let element = Reader::new(octets).element().unwrap();
        let contents = if element.tag & CONSTRUCTED == 0 {
            Contents::Octets(element.content.to_vec())
        } else {
            let (mut reader, mut elements) = (Reader::new(element.content), Vec::new());
            while !reader.is_empty() {
                elements.push(Self::parse(reader.element().unwrap().raw));
            }
            Contents::Elements(elements)
        };
        Self { tag: element.tag, contents }
    }

    /// How many elements there are.
    pub(crate) fn size(&self) -> usize {
        match &self.contents {
            Contents::Octets(_) => 1,
            Contents::Elements(elements) => 1 + elements.iter().map(Self::size).sum::<usize>(),
        }
    }

    /// The message with element number `at` (the message itself is 0) damaged, and all others as they should be.
    pub(crate) fn damaged(&self, at: usize, damage: &Damage) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut at.clone(), damage, &mut out);
        out
    }

    fn write(&self, at: &mut usize, damage: &Damage, out: &mut Vec<u8>) {
        let here = *at == 0;
        *at = at.wrapping_sub(1);
        let contents = match &self.contents {
            Contents::Octets(octets) => octets.clone(),
            Contents::Elements(elements) => {
                let mut contents = Vec::new();
                elements.iter().for_each(|element| element.write(at, damage, &mut contents));
                contents
            }
        };
        if here {
            damage.apply(self.tag, &contents, out);
        } else {
            write(&[self.tag], &length(contents.len()), &contents, out);
        }
    }
}

impl Damage {
    fn apply(&self, tag: u8, contents: &[u8], out: &mut Vec<u8>) {
        let right = length(contents.len());
        let tag = [tag];
        match self {
            Self::Tag(other) => write(other, &right, contents, out),
            Self::Length(octets) => write(&tag, octets, contents, out),
            Self::LengthOff(by) => {
                let announced = i32::try_from(contents.len()).unwrap().saturating_add(*by).max(0);
                write(&tag, &length(announced.try_into().unwrap()), contents, out);
            }
            Self::LengthIn(count) => {
                let mut octets = vec![0x80 | u8::try_from(*count).unwrap()];
                let bytes = contents.len().to_be_bytes();
                octets.extend((0..*count).rev().map(|place| bytes.iter().rev().nth(place).copied().unwrap_or(0)));
                write(&tag, &octets, contents, out);
            }
            Self::Indefinite { ended } => {
                write(&tag, &[0x80], contents, out);
                if *ended {
                    out.extend_from_slice(&[0, 0]);
                }
            }
            Self::Contents(other) => write(&tag, &length(other.len()), other, out),
            Self::Missing => {}
            Self::Repeated(times) => (0..*times).for_each(|_| write(&tag, &right, contents, out)),
            Self::Followed(behind) => {
                write(&tag, &right, contents, out);
                out.extend_from_slice(behind);
            }
            Self::Wrapped(around, levels) => {
                let mut inner = Vec::new();
                write(&tag, &right, contents, &mut inner);
                // From the inside: the headers are made first, since each depends on those within.
                let mut headers = Vec::new();
                let mut size = inner.len();
                for _ in 0..*levels {
                    let header = [&[*around][..], &length(size)].concat();
                    size += header.len();
                    headers.push(header);
                }
                headers.iter().rev().for_each(|header| out.extend_from_slice(header));
                out.extend_from_slice(&inner);
            }
        }
    }

    /// Everything that can be wrong.
    pub(crate) fn all() -> Vec<Self> {
        let tags = [
            0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x09, 0x0a, 0x0c, 0x10, 0x30, 0x31, 0x42, 0x60, 0x63, 0x65, 0x78, 0x80, 0xa0, 0xa3, 0xc0,
            0xff,
        ];
        let tags = tags.into_iter().map(|tag| vec![tag]).chain([
            vec![0x1f, 0x04],
            vec![0x3f, 0x81, 0x00],
            vec![0xbf, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ]);
        let lengths = [
            vec![0x84, 0x7f, 0xff, 0xff, 0xff],
            vec![0x84, 0xff, 0xff, 0xff, 0xff],
            vec![0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            vec![0x89, 0x01, 0, 0, 0, 0, 0, 0, 0, 0x03],
            vec![0x83, 0x03, 0xff, 0xff],
            vec![0xfe],
            vec![0xff],
        ];
        let repeated = |text: &str, times: usize| text.repeat(times).into_bytes();
        let contents = [
            vec![],
            vec![0],
            vec![0x7f],
            vec![0x80],
            vec![0xff],
            vec![0x7f, 0xff, 0xff, 0xff],
            vec![0x80, 0, 0, 0],
            vec![0, 0xff, 0xff, 0xff, 0xff],
            vec![0, 0, 0, 0, 0, 0, 0, 0, 1],
            vec![0xff; 9],
            vec![0; 20],
            repeated("A", 127),
            repeated("A", 128),
            repeated("A", 256),
            repeated("A", 65_536),
            repeated("A", 200_000),
            repeated("%s%n%x%d", 50),
            repeated("\\", 99),
            repeated("(", 200),
            repeated(")", 200),
            repeated("(&", 500),
            repeated(",", 100),
            repeated("=", 100),
            repeated("cn=a,", 2_000),
            repeated("cn=a+", 300),
            repeated("\"", 101),
            repeated("1.", 1_000),
            repeated("*", 300),
            repeated("\r\n", 20),
            repeated("\u{0}", 300),
            b"\xc0\x80".to_vec(),
            b"\xed\xa0\x80".to_vec(),
            b"\xf4\x90\x80\x80".to_vec(),
            b"\xff\xfe".to_vec(),
            "\u{202e}\u{feff}".into(),
            b"<GUID=0>".to_vec(),
            b"#04".to_vec(),
        ];
        let structure = [
            Self::Missing,
            Self::Repeated(2),
            Self::Repeated(300),
            Self::Followed(vec![0x05, 0]),
            Self::Followed(vec![0x04, 0x05, b'x']),
            Self::Followed(vec![0, 0]),
            Self::Followed(vec![0x30; 64]),
            Self::Wrapped(0x30, 1),
            Self::Wrapped(0x30, 200),
            Self::Wrapped(0xa0, 30_000),
            Self::Wrapped(0xa2, 60),
            Self::Indefinite { ended: true },
            Self::Indefinite { ended: false },
        ];
        let off = [-2, -1, 1, 2, 100, 70_000].map(Self::LengthOff);
        let wide = [1, 2, 3, 4, 5, 8, 9, 100].map(Self::LengthIn);
        let damages = tags.map(Self::Tag).chain(lengths.into_iter().map(Self::Length)).chain(contents.into_iter().map(Self::Contents));
        damages.chain(structure).chain(off).chain(wide).collect()
    }
}

fn write(tag: &[u8], length: &[u8], contents: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(tag);
    out.extend_from_slice(length);
    out.extend_from_slice(contents);
}

/// The shortest form.
fn length(length: usize) -> Vec<u8> {
    if length < 0x80 {
        return vec![u8::try_from(length).unwrap()];
    }
    let octets: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    [&[0x80 | u8::try_from(octets.len()).unwrap()], octets.as_slice()].concat()
}
