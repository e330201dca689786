//! Strategies: requests of every kind as a client encodes them, and damage done to them.

use super::messages::element;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use redial::ldap::MessageId;
use redial::ldap::ber::{self, tag};
use redial::ldap::control::write_control;
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::filter::{Assertion, Extensible, Filter, Substrings};
use redial::ldap::message::{Scope, SearchRequest};

/// A filter whose attribute descriptions have the characters that they may have.
pub(crate) fn filter() -> impl Strategy<Value = Filter> {
    let description = || prop_oneof!["cn|sn|telephoneNumber|mobile", "[a-zA-Z][a-zA-Z0-9;.-]{0,8}"];
    let value = || prop_oneof!["[a-z0-9*()\\\\ \u{e4}\u{fc}\u{7f}]{0,6}".prop_map(String::into_bytes), vec(any::<u8>(), 0..6)];
    let piece = || value().prop_map(|piece| if piece.is_empty() { vec![b'x'] } else { piece });
    let assertion = || (description(), value()).prop_map(|(attribute, value)| Assertion { attribute, value });
    let substrings =
        (description(), option::of(piece()), vec(piece(), 0..3), option::of(piece())).prop_map(|(attribute, initial, mut any, final_)| {
            if initial.is_none() && any.is_empty() && final_.is_none() {
                any.push(b"x".to_vec());
            }
            Filter::Substrings(Substrings { attribute, initial, any, final_ })
        });
    let extensible =
        (option::of("[a-z0-9.]{3,9}"), description(), value(), any::<bool>()).prop_map(|(rule, attribute, value, dn_attributes)| {
            let attribute = if rule.is_some() && value.len() % 2 == 0 { None } else { Some(attribute) };
            Filter::Extensible(Extensible { rule, attribute, value, dn_attributes })
        });
    let leaf = prop_oneof![
        4 => assertion().prop_map(Filter::Equality),
        4 => substrings,
        2 => description().prop_map(Filter::Present),
        1 => assertion().prop_map(Filter::GreaterOrEqual),
        1 => assertion().prop_map(Filter::LessOrEqual),
        1 => assertion().prop_map(Filter::Approx),
        1 => extensible,
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Filter::And),
            vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|branch| Filter::Not(Box::new(branch))),
        ]
    })
}

/// A search.
pub(crate) fn search() -> impl Strategy<Value = SearchRequest> {
    let scope = prop_oneof![Just(Scope::BaseObject), Just(Scope::SingleLevel), Just(Scope::WholeSubtree)];
    (name(), scope, 0..4_u8, number(), number(), any::<bool>(), filter(), vec("[a-zA-Z*+;.=-]{0,12}", 0..5)).prop_map(
        |(base_object, scope, deref_aliases, size_limit, time_limit, types_only, filter, attributes)| SearchRequest {
            base_object,
            scope,
            deref_aliases,
            size_limit,
            time_limit,
            types_only,
            filter,
            attributes,
        },
    )
}

/// A whole message with a request of any kind and perhaps controls.
pub(crate) fn message() -> impl Strategy<Value = Vec<u8>> {
    (number(), operation(), option::of(controls())).prop_map(|(message_id, op, controls)| {
        let mut out = Vec::new();
        write_envelope(&mut out, MessageId::new(message_id).unwrap(), &op, controls.as_deref());
        out
    })
}

/// A message with some octets changed, added or taken out.
pub(crate) fn damaged_message() -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<prop::sample::Index>(), 0..4_u8, any::<u8>());
    (message(), vec(damage, 1..4)).prop_map(|(mut octets, damages)| {
        for (at, kind, octet) in damages {
            let at = at.index(octets.len().max(1));
            match kind {
                0 if at < octets.len() => drop(octets.remove(at)),
                1 => octets.insert(at, octet),
                2 if at < octets.len() => octets[at] ^= 1 << (octet % 8),
                3 if at < octets.len() => octets[at] = octet,
                _ => {}
            }
        }
        octets
    })
}

fn operation() -> impl Strategy<Value = Vec<u8>> {
    let text = |text: String| element(tag::OCTET_STRING, text.as_bytes());
    let octets = || vec(any::<u8>(), 0..12);
    let attribute = || {
        ("[a-z]{1,6}", vec(octets(), 1..3)).prop_map(move |(description, values)| {
            let values: Vec<u8> = values.iter().flat_map(|value| element(tag::OCTET_STRING, value)).collect();
            element(tag::SEQUENCE, &[text(description), element(tag::SET, &values)].concat())
        })
    };
    let simple = octets().prop_map(|password| element(0x80, &password));
    let sasl = ("[A-Z0-9-]{0,8}", option::of(octets())).prop_map(move |(mechanism, credentials)| {
        let credentials = credentials.map(|credentials| element(tag::OCTET_STRING, &credentials)).unwrap_or_default();
        element(0xa3, &[text(mechanism), credentials].concat())
    });
    let bind = (1..128_u32, name(), prop_oneof![simple, sasl])
        .prop_map(move |(version, name, choice)| element(op::BIND_REQUEST, &[integer(tag::INTEGER, version), text(name), choice].concat()));
    let change = (0..3_u32, attribute())
        .prop_map(|(operation, attribute)| element(tag::SEQUENCE, &[integer(tag::ENUMERATED, operation), attribute].concat()));
    let modify = (name(), vec(change, 0..3)).prop_map(move |(target, changes)| {
        element(op::MODIFY_REQUEST, &[text(target), element(tag::SEQUENCE, &changes.concat())].concat())
    });
    let add = (name(), vec(attribute(), 0..3)).prop_map(move |(target, attributes)| {
        element(op::ADD_REQUEST, &[text(target), element(tag::SEQUENCE, &attributes.concat())].concat())
    });
    let modify_dn = (name(), name(), any::<bool>(), option::of(name())).prop_map(move |(target, rdn, delete, superior)| {
        let superior = superior.map(|superior| element(0x80, superior.as_bytes())).unwrap_or_default();
        let delete = element(tag::BOOLEAN, &[if delete { 0xff } else { 0 }]);
        element(op::MODIFY_DN_REQUEST, &[text(target), text(rdn), delete, superior].concat())
    });
    let compare = (name(), "[a-z]{1,6}", octets()).prop_map(move |(entry, description, value)| {
        let assertion = element(tag::SEQUENCE, &[text(description), element(tag::OCTET_STRING, &value)].concat());
        element(op::COMPARE_REQUEST, &[text(entry), assertion].concat())
    });
    let extended = ("[0-9.]{1,12}", option::of(octets())).prop_map(|(name, value)| {
        let value = value.map(|value| element(0x81, &value)).unwrap_or_default();
        element(op::EXTENDED_REQUEST, &[element(0x80, name.as_bytes()), value].concat())
    });
    prop_oneof![
        6 => search().prop_map(|search| search.encode()),
        2 => bind,
        1 => modify,
        1 => add,
        1 => name().prop_map(|target| element(op::DELETE_REQUEST, target.as_bytes())),
        1 => modify_dn,
        1 => compare,
        1 => extended,
        1 => number().prop_map(|message_id| integer(op::ABANDON_REQUEST, message_id)),
        1 => Just(element(op::UNBIND_REQUEST, &[])),
    ]
}

fn controls() -> impl Strategy<Value = Vec<u8>> {
    let control = ("[0-9.]{1,12}", any::<bool>(), option::of(vec(any::<u8>(), 0..8)));
    vec(control, 0..4).prop_map(|controls| {
        let mut out = Vec::new();
        controls.iter().for_each(|(oid, critical, value)| write_control(&mut out, oid, *critical, value.as_deref()));
        out
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["", "cn=[a-z\u{e4}]{1,8},dc=acme, dc=com", "\\PC{0,12}"]
}

/// A messageID or a limit; small ones, and those around the bounds of their lengths.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..200_u32, 0x7ff0..0x8010_u32, 0x7f_fff0..0x80_0010_u32, 0x7fff_fff0..=0x7fff_ffff_u32]
}

fn integer(tag: u8, value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_integer(&mut out, tag, value);
    out
}
