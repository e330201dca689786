//! Session tickets (RFC 5077, RFC 8446 section 4.6.1) under keys from a file, so that whoever has the file resumes what others began: replicas, and
//! this process after a restart.
//!
//! The first key seals, all of them open. A session carries its client's certificate along, so where certificates are asked for and where they are
//! not, different keys are derived: it must not travel to where nobody can check it.

use crate::config::ticket_keys::{TICKET_KEY, TicketKey};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// Tickets as `name of the key, nonce, sealed session`.
#[derive(Debug)]
pub(super) struct Tickets {
    /// The current one first; at least one.
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    name: [u8; NAME],
    seal: RandomizedNonceKey,
}

impl Tickets {
    /// For a listener that asks for client certificates, or for one that does not.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub(super) fn new(keys: &[TicketKey], for_certificates: bool) -> Result<Self, Unspecified> {
        Ok(Self { keys: keys.iter().map(|key| Key::derived(key, for_certificates)).collect::<Result<_, _>>()? })
    }
}

impl Key {
    fn derived(key: &TicketKey, for_certificates: bool) -> Result<Self, Unspecified> {
        let secret = Salt::new(HKDF_SHA256, b"redial session tickets").extract(key.as_slice());
        let derive = |purpose: &[u8]| -> Result<Zeroizing<[u8; TICKET_KEY]>, Unspecified> {
            let mut derived = Zeroizing::new([0; TICKET_KEY]);
            secret.expand(&[purpose, &[u8::from(for_certificates)]], HKDF_SHA256)?.fill(derived.as_mut_slice())?;
            Ok(derived)
        };
        let mut name = [0; NAME];
        name.iter_mut().zip(derive(b"name ")?.iter()).for_each(|(to, from)| *to = *from);
        Ok(Self { name, seal: RandomizedNonceKey::new(&AES_256_GCM, derive(b"seal ")?.as_slice())? })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal.seal_in_place_append_tag(Aad::from(key.name), &mut sealed).ok()?;
        Some([key.name.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.iter().find(|key| key.name == *name)?;
        let mut sealed = sealed.to_vec();
        let length = key.seal.open_in_place(Nonce::from(nonce), Aad::from(key.name), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

/// Octets of a key's name.
const NAME: usize = 16;
/// For how long a phone may keep a ticket, in seconds: a day. A key that is gone from the file ends its tickets sooner.
const LIFETIME: u32 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(keys: &[u8], for_certificates: bool) -> Tickets {
        let keys: Vec<_> = keys.iter().map(|key| Zeroizing::new([*key; TICKET_KEY])).collect();
        Tickets::new(&keys, for_certificates).unwrap()
    }

    #[test]
    fn whoever_has_the_key_opens_the_ticket_also_when_it_is_no_longer_current() {
        let ticket = tickets(&[1], false).encrypt(b"session").unwrap();
        for keys in [&[1][..], &[2, 1], &[3, 2, 1]] {
            assert_eq!(tickets(keys, false).decrypt(&ticket).unwrap(), b"session");
        }
        assert_eq!(tickets(&[2, 3], false).decrypt(&ticket), None);
    }

    #[test]
    fn the_first_key_seals() {
        let ticket = tickets(&[2, 1], false).encrypt(b"session").unwrap();
        assert_eq!(tickets(&[1], false).decrypt(&ticket), None);
        assert_eq!(tickets(&[2], false).decrypt(&ticket).unwrap(), b"session");
    }

    #[test]
    fn a_ticket_does_not_travel_to_where_client_certificates_are_not_asked_for() {
        let ticket = tickets(&[1], true).encrypt(b"session").unwrap();
        assert_eq!(tickets(&[1], false).decrypt(&ticket), None);
        assert_eq!(tickets(&[1], true).decrypt(&ticket).unwrap(), b"session");
    }

    #[test]
    fn what_was_changed_or_cut_opens_nothing() {
        let tickets = tickets(&[1], false);
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_ne!(ticket, tickets.encrypt(b"session").unwrap(), "each has a nonce of its own");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "octet {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at} octets");
        }
    }
}
