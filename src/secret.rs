//! A password from its first octet: never printed, wiped when dropped.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets that must not be seen. `Debug` prints `***`; the memory is overwritten when the last owner goes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes a copy of `octets`; the caller wipes its own.
    pub fn new(octets: &[u8]) -> Self {
        Self(octets.into())
    }

    /// The octets, for the one who must send or verify them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// No octets at all: never a password (RFC 4513 section 5.1.2).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
