//! Tens of thousands of messages with one thing wrong, and a well-behaved phone that is served after each of them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;
#[path = "exceptions/damage.rs"]
mod damage;

use common::configuration::Configuration;
use common::house::House;
use common::requests::{abandon, bind, compare, delete, extended, frame, frame_with_control, sasl_bind_with, search_for, unbind, who_am_i};
use damage::{Damage, Node};
use redial::book::Book;
use redial::ldap::Envelope;
use redial::ldap::ber;
use redial::ldap::envelope::op;
use redial::ldap::frame::frame_length;
use redial::ldap::oid;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Requests of every kind, well-formed.
fn requests() -> Vec<Vec<u8>> {
    let filters = [
        "(cn=ada)",
        "(|(cn=a*)(sn=*b*c*)(telephoneNumber=*9))",
        "(&(objectClass=person)(!(mobile=*)))",
        "(cn:caseIgnoreMatch:=ada)",
        "(|(pager>=1)(pager<=2)(cn~=ada))",
    ];
    let searches = filters.map(|filter| frame(1, &search_for("dc=contacts", filter, &["cn", "telephoneNumber"])));
    let element = |tag: u8, contents: &[&[u8]]| {
        let mut out = Vec::new();
        ber::write_element(&mut out, tag, &contents.concat());
        out
    };
    let text = |text: &str| element(0x04, &[text.as_bytes()]);
    let attribute = |name: &str, value: &str| element(0x30, &[&text(name), &element(0x31, &[&text(value)])]);
    let change = |kind: u8| element(0x30, &[&element(0x0a, &[&[kind]]), &attribute("telephoneNumber", "+49 30 1")]);
    let modify = element(op::MODIFY_REQUEST, &[&text("cn=a,dc=contacts"), &element(0x30, &[&change(0), &change(2)])]);
    let add = element(op::ADD_REQUEST, &[&text("cn=a,dc=contacts"), &element(0x30, &[&attribute("cn", "a"), &attribute("sn", "b")])]);
    let superior = element(0x80, &[b"dc=contacts"]);
    let rename = element(op::MODIFY_DN_REQUEST, &[&text("cn=a,dc=contacts"), &text("cn=b"), &element(0x01, &[&[0xff]]), &superior]);
    let mut all = vec![
        frame(1, &bind("cn=a,dc=contacts", "secret")),
        frame(1, &bind("", "")),
        frame(1, &sasl_bind_with("PLAIN", Some(b"\0a\0secret"))),
        frame(1, &sasl_bind_with("EXTERNAL", None)),
        frame(1, &extended(oid::CANCEL, Some(&element(0x30, &[&element(0x02, &[&[7]])])))),
        frame_with_control(1, &delete(), oid::MANAGE_DSA_IT, false),
        frame(1, &delete()),
        frame(1, &compare()),
        frame(1, &abandon(7)),
        frame(1, &unbind()),
        who_am_i(1),
        frame(1, &extended(oid::START_TLS, None)),
        frame(1, &extended(oid::PASSWORD_MODIFY, Some(&element(0x30, &[&element(0x80, &[b"a"]), &element(0x81, &[b"b"])])))),
        frame(1, &modify),
        frame(1, &add),
        frame(1, &rename),
        frame_with_control(1, &search_for("dc=contacts", "(cn=*)", &[]), oid::PAGED_RESULTS, true),
    ];
    all.extend(searches);
    all
}

struct Proxy(House<Book>);

impl Proxy {
    fn new(limits: &str) -> Self {
        let config = Configuration {
            listener: "plain_passwords = \"allow\"",
            base: "dc=contacts",
            // The phonebook is not read from the file that is named here, which is any that is there.
            directory: "ldif = \"Cargo.toml\"",
            more: limits,
            ..Configuration::default()
        }
        .load();
        let book = Book::from_ldif(LDIF, &config.directories[0].base_dn).unwrap();
        Self(House::over(book, config))
    }

    /// Sends the octets, and everything that is said to them until the connection ends, which it does by itself.
    async fn say(&self, octets: &[u8]) -> Vec<u8> {
        let (mut reader, mut writer) = tokio::io::split(self.0.connect(1 << 20));
        let mut heard = Vec::new();
        // It may hang up before all has been said.
        let speak = async { drop(writer.write_all(octets).await) };
        let listen = async { drop(reader.read_to_end(&mut heard).await) };
        let ended = timeout(Duration::from_secs(3600), async { tokio::join!(speak, listen) }).await;
        assert!(ended.is_ok(), "the connection outlives its time");
        heard
    }

    /// A phone asks, is answered, and leaves.
    async fn serves(&self) {
        let mut stream = self.0.connect(1 << 20);
        stream.write_all(&frame(1, &search_for("dc=contacts", "(sn=lovelace)", &["cn"]))).await.unwrap();
        let mut heard = Vec::new();
        while whole_messages(&heard).0.last() != Some(&(1, op::SEARCH_RESULT_DONE)) {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "hung up on");
        }
        assert_eq!(messages(&heard), [(1, op::SEARCH_RESULT_ENTRY), (1, op::SEARCH_RESULT_DONE)]);
        stream.write_all(&frame(2, &unbind())).await.unwrap();
    }
}

/// The messageID and tag of each message, all of which are well-formed to the last octet.
fn messages(octets: &[u8]) -> Vec<(u32, u8)> {
    let (messages, rest) = whole_messages(octets);
    assert_eq!(rest, [0; 0]);
    messages
}

/// The same for what has arrived so far, and the beginning of the next.
fn whole_messages(mut octets: &[u8]) -> (Vec<(u32, u8)>, &[u8]) {
    let mut messages = Vec::new();
    while let Some(length) = frame_length(octets, usize::MAX).unwrap().filter(|length| *length <= octets.len()) {
        let (message, behind) = octets.split_at(length);
        assert_eq!(ber::check_tree(message), Ok(()));
        let envelope = Envelope::parse(message).unwrap();
        messages.push((envelope.message_id.number(), envelope.op_tag));
        octets = behind;
    }
    (messages, octets)
}

/// How many messages these are, if lengths are believed.
fn frames(mut octets: &[u8]) -> usize {
    let mut frames = 0;
    while let Ok(Some(length)) = frame_length(octets, usize::MAX) {
        frames += 1;
        octets = octets.get(length..).unwrap_or_default();
    }
    frames
}

/// What a server may send (RFC 4511 section 4.2 and the following).
const RESPONSES: [u8; 10] = [0x61, 0x64, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, 0x78, 0x79];

#[tokio::test(start_paused = true)]
async fn after_each_of_20_000_exceptions_a_phone_is_served() {
    let proxy = Proxy::new("");
    let damages = Damage::all();
    let mut tried = 0;
    for request in requests() {
        let tree = Node::parse(&request);
        assert_eq!(tree.damaged(usize::MAX, &Damage::Missing), request, "undamaged, it is itself");
        for (at, damage) in (0..tree.size()).flat_map(|at| damages.iter().map(move |damage| (at, damage))) {
            let exception = tree.damaged(at, damage);
            let heard = messages(&proxy.say(&exception).await);
            assert!(heard.len() <= MOST_ANSWERS * frames(&exception) + 1, "{at} {damage:?} of {request:02x?}: {heard:?}");
            for (_, tag) in heard {
                assert!(RESPONSES.contains(&tag), "{at} {damage:?} of {request:02x?}: {tag:02x}");
            }
            proxy.serves().await;
            tried += 1;
        }
    }
    assert!(tried >= 20_000, "only {tried}");
    assert!(proxy.0.metrics.render().contains("\nredial_panics_total 0\n"));
}

#[tokio::test(start_paused = true)]
async fn filters_nested_up_to_100_000_levels_are_refused_one_by_one() {
    let proxy = Proxy::new("[limits]\nmessage = \"16MiB\"\nbound_message = \"16MiB\"");
    let tree = Node::parse(&frame(1, &search_for("dc=contacts", "(cn=*)", &[])));
    // The filter is the tenth element: the message, its messageID, the search, and six fields before.
    let filter_at = 9;
    for branch in [0xa0, 0xa1, 0xa2] {
        for levels in [1, 60, 64, 65, 127, 128, 1_000, 10_000, 100_000] {
            let heard = messages(&proxy.say(&tree.damaged(filter_at, &Damage::Wrapped(branch, levels))).await);
            let answered = heard.contains(&(1, op::SEARCH_RESULT_DONE));
            // What is too deep is refused in its own response, or ends the session with a notice.
            assert!(answered || (levels > 64 && heard == [(0, op::EXTENDED_RESPONSE)]), "{branch:02x} {levels}: {heard:?}");
            proxy.serves().await;
        }
    }
}

/// To one message: both entries of the phonebook, and the end. Besides there is the notice when the connection ends.
const MOST_ANSWERS: usize = 3;

const LDIF: &str = "dn: dc=contacts
objectClass: domain
dc: contacts

dn: cn=Ada Lovelace,dc=contacts
objectClass: person
cn: Ada Lovelace
sn: Lovelace
telephoneNumber: +49 30 1
";
