//! The rootDSE (RFC 4512 section 5.1): what Redial itself says it is and can do.
//!
//! Anybody may read it, so nothing of a controller's own shows through: no name, no functional level, no SASL mechanism that a proxy could not
//! carry. What stands in it works through Redial, on that connection. It is a phonebook of one entry without a name, so filters and
//! selections hold as they do everywhere; every attribute is shown for `*` and for an empty selection, as Active Directory does.

use crate::book::{Book, Entry};
use crate::config::{Config, DirectoryKind, Listener, TlsMode};
use crate::ldap::dn::Dn;
use crate::ldap::envelope::{op, write_envelope};
use crate::ldap::message::Search;
use crate::ldap::response::write_result;
use crate::ldap::{MessageId, ResultCode, oid};
use crate::session::Security;

/// The rootDSE, as each listener shows it.
#[derive(Debug)]
pub(crate) struct RootDse {
    listeners: Vec<Shown>,
}

/// What a listener shows before TLS, under it, and to a client with a certificate.
#[derive(Debug)]
struct Shown {
    in_the_clear: Book,
    under_tls: Book,
    certified: Book,
}

impl RootDse {
    /// Made from the configuration once.
    pub(crate) fn new(config: &Config) -> Self {
        let shown = |listener| {
            let under = |security| book_of(&entry(config, listener, security));
            Shown { in_the_clear: under(Security::Clear), under_tls: under(Security::Tls), certified: under(Security::Certified) }
        };
        Self { listeners: config.listeners.iter().map(shown).collect() }
    }

    /// Appends the whole answer to a base search of the empty name on a connection of that listener, and says its resultCode and
    /// how many entries it has.
    pub(crate) fn write_answer(
        &self,
        listener: usize,
        security: Security,
        search: &Search<'_>,
        message_id: MessageId,
        out: &mut Vec<u8>,
    ) -> (ResultCode, u32) {
        let (Some(shown), Ok(request)) = (self.listeners.get(listener), search.to_owned()) else {
            write_result(out, message_id, op::SEARCH_RESULT_DONE, ResultCode::OPERATIONS_ERROR, "");
            return (ResultCode::OPERATIONS_ERROR, 0);
        };
        let book = match security {
            Security::Clear => &shown.in_the_clear,
            Security::Tls => &shown.under_tls,
            Security::Certified => &shown.certified,
        };
        let answer = book.search(&request, None);
        let result = answer.result().clone();
        let mut entries = 0;
        for entry in answer {
            write_envelope(out, message_id, &entry, None);
            entries += 1;
        }
        write_envelope(out, message_id, &result.encode(op::SEARCH_RESULT_DONE), None);
        (result.code, entries)
    }
}

fn entry(config: &Config, listener: &Listener, security: Security) -> Entry {
    let contexts = config.directories.iter().map(|directory| ("namingContexts", directory.base.as_str()));
    let default_context = config.directories.first().map(|directory| ("defaultNamingContext", directory.base.as_str()));
    let write_controls = WRITE_CONTROLS.iter().filter(|_| forwards_writes(config));
    let controls = CONTROLS.iter().chain(write_controls).map(|oid| ("supportedControl", *oid));
    let features = FEATURES.iter().map(|oid| ("supportedFeatures", *oid));
    let mechanisms: &[&str] = match security {
        Security::Clear => &[],
        Security::Tls => &["PLAIN"],
        Security::Certified => &["EXTERNAL", "PLAIN"],
    };
    let attributes = [("objectClass", "top")]
        .into_iter()
        .chain(contexts)
        .chain(default_context)
        .chain([("supportedLDAPVersion", "3")])
        .chain(controls)
        .chain(extensions(config, listener).map(|oid| ("supportedExtension", oid)))
        .chain(features)
        .chain(mechanisms.iter().map(|mechanism| ("supportedSASLMechanisms", *mechanism)))
        .chain([("vendorName", "Redial"), ("vendorVersion", env!("CARGO_PKG_VERSION"))]);
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
    Entry { attributes, ..Entry::new("") }
}

fn extensions(config: &Config, listener: &Listener) -> impl Iterator<Item = &'static str> {
    let offers_start_tls = listener.tls.as_ref().is_some_and(|tls| tls.mode != TlsMode::Ldaps);
    let always = [oid::WHO_AM_I, oid::CANCEL].into_iter();
    offers_start_tls.then_some(oid::START_TLS).into_iter().chain(always).chain(forwards_writes(config).then_some(oid::PASSWORD_MODIFY))
}

fn forwards_writes(config: &Config) -> bool {
    config.directories.iter().any(|directory| matches!(&directory.kind, DirectoryKind::Upstream(upstream) if upstream.forward_writes))
}

#[expect(clippy::expect_used, reason = "the one entry has the name of its base, the empty one, and no name can be wrong")]
fn book_of(entry: &Entry) -> Book {
    Book::from_entries(&Dn::ROOT, std::slice::from_ref(entry)).expect("a phonebook of one entry without a name")
}

/// The controls that work through Redial (RFC 2696, RFC 3296).
const CONTROLS: [&str; 2] = [oid::PAGED_RESULTS, oid::MANAGE_DSA_IT];
/// And those of writes (RFC 4528, RFC 4527).
const WRITE_CONTROLS: [&str; 3] = [oid::ASSERTION, oid::PRE_READ, oid::POST_READ];
/// The features that work through Redial (RFC 4526, RFC 3673).
const FEATURES: [&str; 2] = [oid::ABSOLUTE_FILTERS, oid::ALL_OPERATIONAL];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Binds, Cache, DirectoryConfig, Lifetimes, Limits, ListenerTls, SearchAs, Upstream};
    use crate::ldap::ber::{Reader, tag};
    use crate::ldap::envelope::Envelope;
    use crate::ldap::filter::Filter;
    use crate::ldap::message::{Request, Scope, SearchRequest};
    use std::time::Duration;

    fn listener(mode: Option<TlsMode>) -> Listener {
        let tls = |mode| ListenerTls {
            certificate: "cert.pem".into(),
            key: "key.pem".into(),
            mode,
            client_ca: None,
            client_name: None,
            ticket_keys: None,
        };
        Listener {
            address: "127.0.0.1:389".parse().unwrap(),
            tls: mode.map(tls),
            networks: Vec::new(),
            proxies: Vec::new(),
            plain_passwords: false,
        }
    }

    fn directory(base: &str, forward_writes: bool) -> DirectoryConfig {
        let second = Duration::from_secs(1);
        let upstream = Upstream {
            servers: Vec::new(),
            discover: None,
            ca: None,
            search_as: SearchAs::Client,
            service: None,
            forward_writes,
            connections: 1,
            connect_timeout: second,
            operation_timeout: second,
            idle: second,
            probe_interval: second,
            page_size: 1,
        };
        let base_dn = Dn::parse(base).unwrap();
        DirectoryConfig { name: "test".to_owned(), base: base.to_owned(), base_dn, kind: DirectoryKind::Upstream(upstream) }
    }

    fn config(listeners: Vec<Listener>, forward_writes: bool) -> Config {
        let second = Duration::from_secs(1);
        let lifetimes = Lifetimes { ttl: second, empty_ttl: second, stale: second, refresh: 1.0 };
        Config {
            listeners,
            directories: vec![directory("DC=corp,DC=example", forward_writes), directory("dc=contacts", false)],
            accesses: Vec::new(),
            cache: Cache { capacity: 0, defaults: lifetimes, rules: Vec::new(), keep: None },
            binds: Binds::default(),
            limits: Limits::default(),
            accounts: Vec::new(),
            admin: None,
            audit: None,
        }
    }

    /// What a client reads without TLS: `attribute: value` lines, and how it ended.
    fn read(config: &Config, number: usize, filter: &str, attributes: &[&str]) -> (Vec<String>, ResultCode) {
        read_over(Security::Clear, config, number, filter, attributes)
    }

    fn read_over(security: Security, config: &Config, number: usize, filter: &str, attributes: &[&str]) -> (Vec<String>, ResultCode) {
        let request = SearchRequest::new("", Scope::BaseObject, Filter::parse(filter).unwrap(), attributes);
        let mut frame = Vec::new();
        write_envelope(&mut frame, MessageId::new(1).unwrap(), &request.encode(), None);
        let envelope = Envelope::parse(&frame).unwrap();
        let Request::Search(search) = Request::parse(&envelope).unwrap() else { panic!("it is a search") };
        let mut out = Vec::new();
        let (code, entries) = RootDse::new(config).write_answer(number, security, &search, MessageId::new(300).unwrap(), &mut out);
        let (mut messages, mut lines, mut seen) = (Reader::new(&out), Vec::new(), 0);
        while !messages.is_empty() {
            let message = Envelope::parse(messages.element().unwrap().raw).unwrap();
            assert_eq!(message.message_id.number(), 300);
            if message.op_tag == op::SEARCH_RESULT_ENTRY {
                seen += 1;
                lines.extend(lines_of(message.op_content));
            }
        }
        assert_eq!(entries, seen);
        (lines, code)
    }

    fn lines_of(entry: &[u8]) -> Vec<String> {
        let mut entry = Reader::new(entry);
        assert_eq!(entry.text(tag::OCTET_STRING).unwrap(), "");
        let (mut attributes, mut lines) = (Reader::new(entry.expect(tag::SEQUENCE).unwrap().content), Vec::new());
        while !attributes.is_empty() {
            let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE).unwrap().content);
            let name = attribute.text(tag::OCTET_STRING).unwrap();
            let mut values = Reader::new(attribute.expect(tag::SET).unwrap().content);
            while !values.is_empty() {
                lines.push(format!("{name}: {}", values.text(tag::OCTET_STRING).unwrap()));
            }
        }
        lines
    }

    #[test]
    fn it_says_what_is_served_and_what_works() {
        let (mut lines, code) = read(&config(vec![listener(None)], false), 0, "(objectClass=*)", &[]);
        lines.sort();
        let mut expected = vec![
            "defaultNamingContext: DC=corp,DC=example".to_owned(),
            "namingContexts: DC=corp,DC=example".to_owned(),
            "namingContexts: dc=contacts".to_owned(),
            "objectClass: top".to_owned(),
            format!("supportedControl: {}", oid::PAGED_RESULTS),
            format!("supportedControl: {}", oid::MANAGE_DSA_IT),
            format!("supportedExtension: {}", oid::WHO_AM_I),
            format!("supportedExtension: {}", oid::CANCEL),
            format!("supportedFeatures: {}", oid::ABSOLUTE_FILTERS),
            format!("supportedFeatures: {}", oid::ALL_OPERATIONAL),
            "supportedLDAPVersion: 3".to_owned(),
            "vendorName: Redial".to_owned(),
            format!("vendorVersion: {}", env!("CARGO_PKG_VERSION")),
        ];
        expected.sort();
        assert_eq!((lines, code), (expected, ResultCode::SUCCESS));
    }

    #[test]
    fn start_tls_stands_only_where_it_is_offered() {
        let modes = [None, Some(TlsMode::Ldaps), Some(TlsMode::StartTlsOptional), Some(TlsMode::StartTlsRequired)];
        let config = config(modes.map(listener).to_vec(), false);
        let offers =
            |number| read(&config, number, "(objectClass=*)", &["*"]).0.contains(&format!("supportedExtension: {}", oid::START_TLS));
        assert_eq!([0, 1, 2, 3].map(offers), [false, false, true, true]);
    }

    #[test]
    fn plain_is_offered_under_tls_only_and_external_with_a_certificate_only() {
        let config = config(vec![listener(Some(TlsMode::StartTlsOptional))], false);
        let mechanisms = |security| read_over(security, &config, 0, "(objectClass=*)", &["supportedSASLMechanisms"]).0;
        assert_eq!(mechanisms(Security::Clear), Vec::<String>::new());
        assert_eq!(mechanisms(Security::Tls), ["supportedSASLMechanisms: PLAIN"]);
        assert_eq!(mechanisms(Security::Certified), ["supportedSASLMechanisms: EXTERNAL", "supportedSASLMechanisms: PLAIN"]);
    }

    #[test]
    fn what_belongs_to_writes_stands_only_where_they_are_forwarded() {
        let says =
            |forward_writes, line: String| read(&config(vec![listener(None)], forward_writes), 0, "(objectClass=*)", &[]).0.contains(&line);
        for line in [format!("supportedExtension: {}", oid::PASSWORD_MODIFY), format!("supportedControl: {}", oid::POST_READ)] {
            assert!(says(true, line.clone()) && !says(false, line));
        }
    }

    #[test]
    fn filter_and_selection_hold() {
        let config = config(vec![listener(None)], false);
        let version = || vec!["supportedLDAPVersion: 3".to_owned()];
        assert_eq!(read(&config, 0, "(supportedLDAPVersion=3)", &["supportedldapversion"]).0, version());
        assert_eq!(read(&config, 0, "(objectClass=*)", &["1.1"]), (Vec::new(), ResultCode::SUCCESS));
        assert_eq!(read(&config, 0, "(cn=nobody)", &[]), (Vec::new(), ResultCode::SUCCESS));
        assert_eq!(read(&config, 0, "(objectClass=*)", &["supportedSASLMechanisms", "dnsHostName"]).0, Vec::<String>::new());
    }

    #[test]
    fn a_listener_that_does_not_exist_gets_an_error() {
        assert_eq!(read(&config(Vec::new(), false), 0, "(objectClass=*)", &[]).1, ResultCode::OPERATIONS_ERROR);
    }
}
