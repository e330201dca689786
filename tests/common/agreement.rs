//! The independent decoder, asked whether it reads the same.
//!
//! Its filters are compared through our encoding of both: its own `==` takes exponential time.

use rasn_ldap::{AttributeValueAssertion, AuthenticationChoice, LdapMessage, ProtocolOp, SubstringChoice};
use redial::ldap::Envelope;
use redial::ldap::control::parse_controls;
use redial::ldap::filter::{Assertion, Extensible, Filter, Substrings};
use redial::ldap::message::{Authentication, Request, Scope, Search, SearchRequest, Write, WriteKind};

/// The message as rasn reads it, if it does.
pub(crate) fn decode(frame: &[u8]) -> Option<LdapMessage> {
    let (message, rest) = rasn::ber::decode_with_remainder::<LdapMessage>(frame).ok()?;
    rest.is_empty().then_some(message)
}

/// Checks that every field is the same where both decoders take the request; says whether both did.
pub(crate) fn check(frame: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(frame) else { return false };
    let Ok(request) = Request::parse(&envelope) else { return false };
    let Ok(controls) = parse_controls(envelope.controls) else { return false };
    let Some(theirs) = decode(frame) else { return false };

    assert_eq!(envelope.message_id.number(), theirs.message_id);
    let their_controls = theirs.controls.unwrap_or_default();
    assert_eq!(controls.len(), their_controls.len());
    for (ours, theirs) in controls.iter().zip(&their_controls) {
        assert_eq!(ours.oid.as_bytes(), &theirs.control_type[..]);
        assert_eq!((ours.critical, ours.value), (theirs.criticality, theirs.control_value.as_deref()));
    }
    check_request(&request, &theirs.protocol_op);
    true
}

fn check_request(ours: &Request<'_>, theirs: &ProtocolOp) {
    match (ours, theirs) {
        (Request::Unbind, ProtocolOp::UnbindRequest(_)) => {}
        (Request::Abandon(ours), ProtocolOp::AbandonRequest(theirs)) => assert_eq!(ours.number(), theirs.0),
        (Request::Search(ours), ProtocolOp::SearchRequest(theirs)) => check_search(ours, theirs),
        (Request::Write(ours), theirs) => check_write(ours, theirs),
        (Request::Bind(ours), ProtocolOp::BindRequest(theirs)) => {
            assert_eq!((ours.version, ours.name), (theirs.version, theirs.name.as_str()));
            match (&ours.authentication, &theirs.authentication) {
                (Authentication::Simple(ours), AuthenticationChoice::Simple(theirs)) => assert_eq!(*ours, &theirs[..]),
                (Authentication::Sasl { mechanism, credentials }, AuthenticationChoice::Sasl(theirs)) => {
                    assert_eq!((*mechanism, *credentials), (theirs.mechanism.as_str(), theirs.credentials.as_deref()));
                }
                _ => panic!("{ours:?} is another choice there"),
            }
        }
        (Request::Compare(ours), ProtocolOp::CompareRequest(theirs)) => {
            assert_eq!((ours.entry, ours.attribute), (theirs.entry.as_str(), theirs.ava.attribute_desc.as_str()));
            assert_eq!(ours.value, &theirs.ava.assertion_value[..]);
        }
        (Request::Extended(ours), ProtocolOp::ExtendedReq(theirs)) => {
            assert_eq!((ours.name.as_bytes(), ours.value), (&theirs.request_name[..], theirs.request_value.as_deref()));
        }
        _ => panic!("{ours:?} is another operation there"),
    }
}

fn check_search(ours: &Search<'_>, theirs: &rasn_ldap::SearchRequest) {
    let scope = match theirs.scope {
        rasn_ldap::SearchRequestScope::BaseObject => Scope::BaseObject,
        rasn_ldap::SearchRequestScope::SingleLevel => Scope::SingleLevel,
        _ => Scope::WholeSubtree,
    };
    let theirs = SearchRequest {
        base_object: theirs.base_object.0.clone(),
        scope,
        deref_aliases: theirs.deref_aliases as u8,
        size_limit: theirs.size_limit,
        time_limit: theirs.time_limit,
        types_only: theirs.types_only,
        filter: filter(&theirs.filter),
        attributes: theirs.attributes.iter().map(|attribute| attribute.0.clone()).collect(),
    };
    assert_eq!(ours.to_owned().unwrap(), theirs);
    assert_eq!(ours.to_owned().unwrap().encode(), theirs.encode());
}

fn check_write(ours: &Write<'_>, theirs: &ProtocolOp) {
    let (kind, target, new_superior) = match theirs {
        ProtocolOp::ModifyRequest(theirs) => (WriteKind::Modify, &theirs.object, None),
        ProtocolOp::AddRequest(theirs) => (WriteKind::Add, &theirs.entry, None),
        ProtocolOp::DelRequest(theirs) => (WriteKind::Delete, &theirs.0, None),
        ProtocolOp::ModDnRequest(theirs) => (WriteKind::ModifyDn, &theirs.entry, theirs.new_superior.as_ref()),
        _ => panic!("{ours:?} is another operation there"),
    };
    assert_eq!((ours.kind, ours.target), (kind, target.as_str()));
    assert_eq!(ours.new_superior, new_superior.map(|superior| superior.as_str()));
}

/// Their filter as one of ours, in the order that they keep.
fn filter(theirs: &rasn_ldap::Filter) -> Filter {
    match theirs {
        rasn_ldap::Filter::And(branches) => Filter::And(branches.iter().map(filter).collect()),
        rasn_ldap::Filter::Or(branches) => Filter::Or(branches.iter().map(filter).collect()),
        rasn_ldap::Filter::Not(branch) => Filter::Not(Box::new(filter(branch))),
        rasn_ldap::Filter::EqualityMatch(theirs) => Filter::Equality(assertion(theirs)),
        rasn_ldap::Filter::GreaterOrEqual(theirs) => Filter::GreaterOrEqual(assertion(theirs)),
        rasn_ldap::Filter::LessOrEqual(theirs) => Filter::LessOrEqual(assertion(theirs)),
        rasn_ldap::Filter::ApproxMatch(theirs) => Filter::Approx(assertion(theirs)),
        rasn_ldap::Filter::Present(attribute) => Filter::Present(attribute.0.clone()),
        rasn_ldap::Filter::Substrings(theirs) => {
            let mut ours = Substrings { attribute: theirs.r#type.0.clone(), initial: None, any: Vec::new(), final_: None };
            for piece in &theirs.substrings {
                match piece {
                    SubstringChoice::Initial(piece) => ours.initial = Some(piece.to_vec()),
                    SubstringChoice::Any(piece) => ours.any.push(piece.to_vec()),
                    SubstringChoice::Final(piece) => ours.final_ = Some(piece.to_vec()),
                    _ => panic!("a fourth kind of piece"),
                }
            }
            Filter::Substrings(ours)
        }
        rasn_ldap::Filter::ExtensibleMatch(theirs) => Filter::Extensible(Extensible {
            rule: theirs.matching_rule.as_ref().map(|rule| rule.0.clone()),
            attribute: theirs.r#type.as_ref().map(|attribute| attribute.0.clone()),
            value: theirs.match_value.to_vec(),
            dn_attributes: theirs.dn_attributes,
        }),
        _ => panic!("an eleventh kind of filter"),
    }
}

fn assertion(theirs: &AttributeValueAssertion) -> Assertion {
    Assertion { attribute: theirs.attribute_desc.0.clone(), value: theirs.assertion_value.to_vec() }
}
