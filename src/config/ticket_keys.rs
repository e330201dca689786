//! The file of keys for TLS session tickets: one a line, 32 random octets in base64, the current one first. Blank lines and those that begin
//! with # do not count.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

/// One of them.
pub(crate) type TicketKey = Zeroizing<[u8; TICKET_KEY]>;

/// Octets of a key.
pub(crate) const TICKET_KEY: usize = 32;

/// Why such a file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum TicketKeysError {
    /// That line, counted from 1, is no key.
    #[error("line {0} is not 32 octets in base64: make keys with `openssl rand -base64 32`")]
    NotAKey(usize),
    /// There is none.
    #[error("holds no key: make one with `openssl rand -base64 32`")]
    Empty,
    /// Each ticket would be tried against all of them.
    #[error("holds more than {MOST} keys: remove the old ones")]
    TooMany,
}

/// The keys in the contents of such a file, in its order; at least one.
///
/// # Errors
/// What is wrong, and never what stands there.
pub(crate) fn ticket_keys(octets: &[u8]) -> Result<Vec<TicketKey>, TicketKeysError> {
    let mut keys = Vec::new();
    for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if keys.len() == MOST {
            return Err(TicketKeysError::TooMany);
        }
        let mut key = TicketKey::default();
        // The decoder wants room for what the text could hold at most.
        let mut decoded = Zeroizing::new([0; TICKET_KEY + 3]);
        match BASE64_STANDARD.decode_slice(line, decoded.as_mut_slice()) {
            Ok(TICKET_KEY) => key.iter_mut().zip(decoded.iter()).for_each(|(to, from)| *to = *from),
            Ok(_) | Err(_) => return Err(TicketKeysError::NotAKey(index + 1)),
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(TicketKeysError::Empty) } else { Ok(keys) }
}

/// A week of keys that change thrice a day is more than anybody needs.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_one_a_line_in_their_order() {
        let text = format!("# rotated at noon\n{}\r\n\n  {} \n", BASE64_STANDARD.encode([1; 32]), BASE64_STANDARD.encode([2; 32]));
        let keys = ticket_keys(text.as_bytes()).unwrap();
        assert_eq!(keys.iter().map(|key| **key).collect::<Vec<_>>(), [[1; 32], [2; 32]]);
    }

    #[test]
    fn what_is_no_key_is_told_by_its_line() {
        let key = BASE64_STANDARD.encode([1; 32]);
        for (text, expected) in [
            (String::new(), TicketKeysError::Empty),
            ("# nothing\n".to_owned(), TicketKeysError::Empty),
            (format!("{key}\nsecret\n"), TicketKeysError::NotAKey(2)),
            // 80 octets, as other servers have them, in lines of 64 characters.
            (BASE64_STANDARD.encode([1; 48]), TicketKeysError::NotAKey(1)),
            (BASE64_STANDARD.encode([1; 31]), TicketKeysError::NotAKey(1)),
            (format!("{key}{key}"), TicketKeysError::NotAKey(1)),
            (format!("{key}\n").repeat(MOST + 1), TicketKeysError::TooMany),
        ] {
            assert_eq!(ticket_keys(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
        assert_eq!(ticket_keys(format!("{key}\n").repeat(MOST).as_bytes()).unwrap().len(), MOST);
    }
}
