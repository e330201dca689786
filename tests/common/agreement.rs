//! The independent decoder, asked whether it reads the same.

use rasn_ldap::LdapMessage;

/// The message as rasn reads it, if it does.
pub fn decode(frame: &[u8]) -> Option<LdapMessage> {
    let (message, rest) = rasn::ber::decode_with_remainder::<LdapMessage>(frame).ok()?;
    rest.is_empty().then_some(message)
}
