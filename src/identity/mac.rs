//! A keyed digest: what memory holds instead of a name or a password. Pure.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

/// An HMAC-SHA256 under the process's key. Compared in constant time; `Debug` does not show it.
#[derive(Clone, Copy)]
pub(crate) struct Mac([u8; 32]);

impl Mac {
    /// The digest of two texts and of what they are, so that no two questions have the same octets.
    pub(super) fn new(key: &hmac::Key, what: u8, first: &[u8], second: &[u8]) -> Self {
        let mut context = hmac::Context::with_key(key);
        context.update(&[what]);
        context.update(&first.len().to_be_bytes());
        context.update(first);
        context.update(second);
        let mut mac = [0; 32];
        for (to, from) in mac.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        Self(mac)
    }
}

impl PartialEq for Mac {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Mac {}

impl std::hash::Hash for Mac {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mac(***)")
    }
}

#[cfg(test)]
impl Mac {
    pub(super) fn for_tests(number: u16) -> Self {
        let mut mac = [0; 32];
        mac[..2].copy_from_slice(&number.to_be_bytes());
        Self(mac)
    }
}
