//! Nothing that is decoded takes much more memory than it took octets to send it.

use allocation_counter::measure;
use redial::ldap::control::parse_controls;
use redial::ldap::dn::Dn;
use redial::ldap::envelope::Envelope;
use redial::ldap::filter::Filter;
use redial::ldap::message::Request;

/// One message, taken for everything that it could be.
pub fn of_decoding(octets: &[u8]) {
    let few = 4 * octets.len() + SMALL;
    let parsed = measure(|| {
        if let Ok(envelope) = Envelope::parse(octets) {
            let _ = Request::parse(&envelope);
            let _ = parse_controls(envelope.controls);
        }
    });
    assert!(parsed.bytes_max <= few as u64, "{} octets to understand {}", parsed.bytes_max, octets.len());
    let named = measure(|| drop(std::str::from_utf8(octets).map(Dn::parse)));
    assert!(named.bytes_max <= (few + COMPONENT * octets.len()) as u64, "{} octets for a name of {}", named.bytes_max, octets.len());
    let built = measure(|| drop(Filter::decode(octets)));
    assert!(built.bytes_max <= (few + TREE) as u64, "{} octets for a filter of {}", built.bytes_max, octets.len());
}

/// A list that grows takes some room in advance.
const SMALL: usize = 4 << 10;
/// A name is a list of its parts, and a part takes three octets at least (`c=,`).
const COMPONENT: usize = 64;
/// A tree of as many nodes as a filter may have (1,024), each with room for four branches that are not there.
const TREE: usize = 512 << 10;
