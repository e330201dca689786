//! What is asked and answered: a phone's type-ahead for two letters, all of the same length, and the same ten entries to each.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Replies, Reply};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest};
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::ldap::{MessageId, ResultCode};
use std::net::SocketAddr;

/// How many different questions there are: two letters each.
pub(crate) const QUESTIONS: usize = LETTERS.len() * LETTERS.len();

/// Octets of a request whose messageID has one octet.
pub(crate) fn request_octets() -> usize {
    request(1, &question(0)).len()
}

/// Octets of an answer to a request whose messageID has one octet.
pub(crate) fn answer_octets() -> usize {
    let ops = entry_ops().into_iter().chain([done_op()]);
    ops.map(|op| envelope(1, &op).len()).sum()
}

/// A SearchRequest's octets, for [`request`].
pub(crate) fn question(number: usize) -> Vec<u8> {
    let letters = [number / LETTERS.len() % LETTERS.len(), number % LETTERS.len()].map(|letter| char::from(LETTERS[letter]));
    question_for(&letters.iter().collect::<String>())
}

/// The same for any piece of a name.
pub(crate) fn question_for(piece: &str) -> Vec<u8> {
    let filter = format!("(&(|(telephoneNumber=*)(mobile=*))(|(cn=*{piece}*)(sn=*{piece}*)))");
    SearchRequest {
        base_object: BASE.to_owned(),
        scope: Scope::WholeSubtree,
        deref_aliases: 0,
        size_limit: 50,
        time_limit: 0,
        types_only: false,
        filter: Filter::parse(&filter).unwrap(),
        attributes: ["cn", "telephoneNumber", "mobile", "mail", "o", "title"].map(str::to_owned).to_vec(),
    }
    .encode()
}

/// The same question in another spelling for each number: the letters of attribute names, large where the number has a bit. A cache that knows
/// octets alone has never seen it.
pub(crate) fn respelled(question: &[u8], number: usize) -> Vec<u8> {
    let mut respelled = question.to_vec();
    let mut bits = number;
    for name in [b"telephoneNumber".as_slice(), b"mobile"] {
        let places = question.windows(name.len()).enumerate().filter(|(_, window)| *window == name).map(|(place, _)| place);
        for octet in places.flat_map(|place| place..place + name.len()) {
            if bits & 1 == 1 {
                respelled[octet] ^= 0x20;
            }
            bits >>= 1;
        }
    }
    respelled
}

/// The LDAPMessage.
pub(crate) fn request(message_id: u32, question: &[u8]) -> Vec<u8> {
    envelope(message_id, question)
}

/// A directory that answers anything with the ten entries.
#[derive(Debug)]
pub(crate) struct TenPeople;

impl Directory for TenPeople {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        let replies = match operation.request {
            Asked::Search { .. } => {
                let entries = entry_ops().into_iter().map(|op| Reply::Entry(Bytes::from(op)));
                let done = Done { code: ResultCode::SUCCESS, op: done_op().into(), controls: None };
                Ok(Replies::Ready(entries.chain([Reply::Done(done)]).collect::<Vec<_>>().into_iter()))
            }
            _ => Err(DirectoryError::NotSupported),
        };
        Box::pin(std::future::ready(replies))
    }

    fn is_available(&self) -> bool {
        true
    }
}

/// The people as an LDIF file: the same ten entries for each question, since the surname of each has every two letters somewhere, and nobody
/// asks for surnames.
pub(crate) fn ldif() -> String {
    let mut surname = String::new();
    for first in LETTERS {
        for second in LETTERS {
            surname.extend([char::from(*first), char::from(*second)]);
        }
    }
    let mut ldif = String::from("dn: DC=corp,DC=example\ndc: corp\n\ndn: OU=Staff,DC=corp,DC=example\nou: Staff\n\n");
    ldif.push_str("dn: OU=Sales,OU=Staff,DC=corp,DC=example\nou: Sales\n\n");
    for number in 0..10 {
        ldif.push_str(&format!("dn: {}\nsn: {surname}\n", name(number)));
        for (attribute, value) in attributes(number) {
            ldif.push_str(&format!("{attribute}: {value}\n"));
        }
        ldif.push('\n');
    }
    ldif
}

/// What of the configuration matters to a hit.
pub(crate) fn configuration(address: SocketAddr, ldif: &str) -> String {
    format!(
        r#"
[[listener]]
address = "{address}"
[directory.people]
base = "DC=corp,DC=example"
ldif = "{ldif}"
[[access]]
name = "phones"
networks = ["127.0.0.0/8"]
clients = "anonymous"
bases = ["DC=corp,DC=example"]
attributes = ["*"]
[cache]
ttl = "1d"
"#
    )
}

/// The same before a controller.
pub(crate) fn configuration_before(controller: SocketAddr, address: SocketAddr) -> String {
    let before = format!(
        "servers = [\"ldap://{controller}\"]\nstart_tls = false\nsearch_as = \"service\"\nbind_dn = \"cn=redial\"\npassword = \"x\""
    );
    configuration(address, "").replace("ldif = \"\"", &before)
}

/// A whole answer under that messageID.
pub(crate) fn answer(message_id: MessageId) -> Vec<u8> {
    let mut octets = Vec::new();
    for op in entry_ops().into_iter().chain([done_op()]) {
        write_envelope(&mut octets, message_id, &op, None);
    }
    octets
}

fn name(number: usize) -> String {
    format!("CN=Johanna Person {number},OU=Sales,OU=Staff,DC=corp,DC=example")
}

fn attributes(number: usize) -> [(&'static str, String); 4] {
    [
        ("cn", format!("Johanna Person {number}")),
        ("telephoneNumber", format!("+49 30 1234567{number}")),
        ("mobile", format!("+49 171 2345678{number}")),
        ("o", "Corp".to_owned()),
    ]
}

fn entry_ops() -> Vec<Vec<u8>> {
    (0..10)
        .map(|number| {
            let mut octets = Vec::new();
            let attributes = attributes(number);
            write_entry_op(&mut octets, &name(number), attributes.each_ref().map(|(attribute, value)| (*attribute, [value.as_bytes()])));
            octets
        })
        .collect()
}

fn done_op() -> Vec<u8> {
    let mut octets = Vec::new();
    write_result_op(&mut octets, op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "", "");
    octets
}

fn envelope(message_id: u32, op: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    write_envelope(&mut octets, MessageId::new(message_id).unwrap(), op, None);
    octets
}

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const BASE: &str = "OU=Staff,DC=corp,DC=example";
