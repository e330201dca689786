//! What a phone asks: octets made once, and what every right answer has in common.

use super::known::Known;
use crate::ldap::ber::{self, tag};
use crate::ldap::envelope::{op, write_envelope};
use crate::ldap::filter::{Assertion, Filter, Substrings};
use crate::ldap::message::{Scope, SearchRequest};
use crate::ldap::{MessageId, oid};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use zeroize::Zeroizing;

/// A request whose messageID is changed in place: one octet, as on a phone that counts from 1.
#[derive(Clone)]
pub(super) struct Request {
    /// A Bind holds a password.
    octets: Zeroizing<Vec<u8>>,
    id_at: usize,
}

impl Request {
    /// The request with this protocolOp.
    pub(super) fn new(op: &[u8]) -> Self {
        let mut octets = Zeroizing::new(Vec::with_capacity(op.len() + MOST_AROUND));
        write_envelope(&mut octets, ANY_ID, op, None);
        let id_at = octets.len() - op.len() - 1;
        Self { octets, id_at }
    }

    /// A simple bind; with an empty name and password an anonymous one.
    pub(super) fn bind(name: &str, password: &[u8]) -> Self {
        let mut op = Zeroizing::new(Vec::with_capacity(name.len() + password.len() + MOST_AROUND));
        ber::write_constructed(&mut op, op::BIND_REQUEST, |out| {
            ber::write_integer(out, tag::INTEGER, 3);
            ber::write_element(out, tag::OCTET_STRING, name.as_bytes());
            ber::write_element(out, SIMPLE, password);
        });
        Self::new(&op)
    }

    /// StartTLS.
    pub(super) fn start_tls() -> Self {
        let mut op = Vec::new();
        ber::write_constructed(&mut op, op::EXTENDED_REQUEST, |out| ber::write_element(out, REQUEST_NAME, oid::START_TLS.as_bytes()));
        Self::new(&op)
    }

    /// Appends it under that messageID, which is below 128.
    pub(super) fn write(&self, out: &mut Vec<u8>, message_id: u8) {
        let at = out.len() + self.id_at;
        out.extend_from_slice(&self.octets);
        if let Some(octet) = out.get_mut(at) {
            *octet = message_id;
        }
    }
}

/// Appends an Abandon of `target`.
pub(super) fn write_abandon(out: &mut Vec<u8>, message_id: u8, target: u8) {
    out.extend_from_slice(&[tag::SEQUENCE, 6, tag::INTEGER, 1, message_id, op::ABANDON_REQUEST, 1, target]);
}

/// Appends an Unbind.
pub(super) fn write_unbind(out: &mut Vec<u8>, message_id: u8) {
    out.extend_from_slice(&[tag::SEQUENCE, 5, tag::INTEGER, 1, message_id, op::UNBIND_REQUEST, 0]);
}

/// One search of the many that phones ask, shared by all of them.
pub(super) struct Question {
    /// To be sent.
    pub(super) request: Request,
    /// Its filter as text, for whoever reads of a wrong answer.
    pub(super) text: String,
    /// What each entry must fulfil.
    pub(super) meaning: Meaning,
    /// The most entries asked for; 0 for all.
    pub(super) size_limit: u32,
    /// The first complete answer's fingerprint; 0 before it.
    pub(super) first: AtomicU64,
    /// And its octets, unless they are many.
    pub(super) known: OnceLock<Known>,
}

/// What an entry must have to belong into the answer: one of these attributes, with such a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Not looked at: the attributes of the filter are not asked for.
    Unchecked,
    /// A value that begins so.
    Prefix(Vec<String>, String),
    /// This number.
    Number(Vec<String>, String),
    /// Any value.
    Present(Vec<String>),
}

/// What all searches have in common.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) base: String,
    pub(super) name_attributes: Vec<String>,
    pub(super) number_attributes: Vec<String>,
    pub(super) attributes: Vec<String>,
    pub(super) size_limit: u32,
}

impl Manner {
    /// `(|(cn=x*)(sn=x*))`.
    pub(super) fn prefix(&self, prefix: &str) -> Question {
        let starts = |attribute: &String| {
            let initial = Some(prefix.as_bytes().to_vec());
            Filter::Substrings(Substrings { attribute: attribute.clone(), initial, any: Vec::new(), final_: None })
        };
        let filter = any_of(self.name_attributes.iter().map(starts));
        self.question(filter, &self.name_attributes, |attributes| Meaning::Prefix(attributes, prefix.to_owned()))
    }

    /// `(|(telephoneNumber=x)(mobile=x))`.
    pub(super) fn number(&self, number: &str) -> Question {
        let equals = |attribute: &String| Filter::Equality(Assertion { attribute: attribute.clone(), value: number.as_bytes().to_vec() });
        let filter = any_of(self.number_attributes.iter().map(equals));
        self.question(filter, &self.number_attributes, |attributes| Meaning::Number(attributes, number.to_owned()))
    }

    /// `(|(telephoneNumber=*)(mobile=*))`: everybody who can be called.
    pub(super) fn everybody(&self) -> Question {
        let filter = any_of(self.number_attributes.iter().cloned().map(Filter::Present));
        self.question(filter, &self.number_attributes, Meaning::Present)
    }

    fn question(&self, filter: Filter, about: &[String], meaning: impl FnOnce(Vec<String>) -> Meaning) -> Question {
        let text = filter.to_string();
        let meaning = if self.asks_for_all(about) { meaning(about.to_vec()) } else { Meaning::Unchecked };
        let search = SearchRequest {
            size_limit: self.size_limit,
            attributes: self.attributes.clone(),
            ..SearchRequest::new(&self.base, Scope::WholeSubtree, filter, &[])
        };
        Question {
            request: Request::new(&search.encode()),
            text,
            meaning,
            size_limit: self.size_limit,
            first: AtomicU64::new(0),
            known: OnceLock::new(),
        }
    }

    /// Whether an entry shows why it was found.
    fn asks_for_all(&self, about: &[String]) -> bool {
        let is_asked = |wanted: &String| self.attributes.iter().any(|asked| asked == "*" || asked.eq_ignore_ascii_case(wanted));
        self.attributes.is_empty() || about.iter().all(is_asked)
    }
}

/// An Or, where there is more than one.
fn any_of(parts: impl Iterator<Item = Filter>) -> Filter {
    let mut parts: Vec<_> = parts.collect();
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            Filter::Or(parts)
        }
    }
}

/// Overwritten whenever the request is sent; it takes one octet.
const ANY_ID: MessageId = MessageId::new(1).expect("1 is in range");
/// Octets of tags, lengths and messageID around a protocolOp or a few fields, so that a password's buffer is not moved.
const MOST_AROUND: usize = 32;
/// `simple [0] OCTET STRING`.
const SIMPLE: u8 = 0x80;
/// `requestName [0] LDAPOID`.
const REQUEST_NAME: u8 = 0x80;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ldap::Envelope;
    use crate::ldap::message;

    pub(crate) fn manner() -> Manner {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        Manner {
            base: "dc=x".to_owned(),
            name_attributes: words("cn,sn"),
            number_attributes: words("telephoneNumber"),
            attributes: words("cn,SN,telephoneNumber"),
            size_limit: 50,
        }
    }

    #[test]
    fn a_request_is_the_same_under_any_message_id() {
        let question = manner().prefix("a(");
        assert_eq!(question.text, r"(|(cn=a\28*)(sn=a\28*))");
        for id in [1, 127] {
            let mut out = b"before".to_vec();
            question.request.write(&mut out, id);
            let envelope = Envelope::parse(&out[6..]).unwrap();
            assert_eq!(envelope.message_id.number(), u32::from(id));
            let Ok(message::Request::Search(search)) = message::Request::parse(&envelope) else { panic!("not a search") };
            assert_eq!(search.to_owned().unwrap().filter.to_string(), question.text);
            assert_eq!((search.base_object, search.size_limit), ("dc=x", 50));
        }
    }

    #[test]
    fn abandon_unbind_and_bind_are_read_as_such() {
        let mut out = Vec::new();
        write_abandon(&mut out, 9, 8);
        let envelope = Envelope::parse(&out).unwrap();
        assert!(matches!(message::Request::parse(&envelope), Ok(message::Request::Abandon(id)) if id.number() == 8));
        out.clear();
        write_unbind(&mut out, 10);
        assert!(matches!(message::Request::parse(&Envelope::parse(&out).unwrap()), Ok(message::Request::Unbind)));
        out.clear();
        Request::bind("cn=phone", b"secret").write(&mut out, 3);
        let Ok(message::Request::Bind(bind)) = message::Request::parse(&Envelope::parse(&out).unwrap()) else { panic!("not a bind") };
        assert_eq!(bind.name, "cn=phone");
        assert!(matches!(bind.authentication, message::Authentication::Simple(b"secret")));
    }

    #[test]
    fn a_meaning_is_only_checked_where_its_attributes_are_asked_for() {
        let mut manner = manner();
        assert_eq!(manner.number("17").meaning, Meaning::Number(vec!["telephoneNumber".to_owned()], "17".to_owned()));
        assert_eq!(manner.number("17").text, "(telephoneNumber=17)");
        manner.attributes = vec!["cn".to_owned()];
        assert_eq!(manner.prefix("a").meaning, Meaning::Unchecked);
        manner.attributes.clear();
        assert!(matches!(manner.everybody().meaning, Meaning::Present(_)));
    }
}
