//! A small blocking LDAP client that hides nothing: every message that comes is looked at, every value is kept in the order it came.
//!
//! It encodes and decodes with the library's own floor `ldap`, but takes no decision of the proxy's. A wait for a message ends after
//! [`PATIENCE`].

use redial::ldap::ber::{self, Reader, tag};
use redial::ldap::control::{PagedResults, parse_controls, write_control};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::frame::frame_length;
use redial::ldap::message::{LdapResult, Scope, SearchRequest};
use redial::ldap::{Envelope, MessageId, ResultCode, oid};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a message may take to come: longer than any answer should, shorter than anybody waits for a test.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets of one message.
const LARGEST_MESSAGE: usize = 16 << 20;

/// One connection to an LDAP server.
pub(crate) struct LdapClient {
    stream: Stream,
    received: Vec<u8>,
    last_id: u32,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// One whole LDAPMessage, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u32,
    /// The tag of the protocolOp.
    pub(crate) op_tag: u8,
    /// The contents of the protocolOp.
    pub(crate) content: Vec<u8>,
    /// The contents of the controls element.
    pub(crate) controls: Option<Vec<u8>>,
}

/// A result's code and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: ResultCode,
    pub(crate) diagnostic: String,
}

/// One entry of a search result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) dn: String,
    /// Description and values, both in the order they came.
    pub(crate) attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// A whole search result.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    pub(crate) references: usize,
    pub(crate) outcome: Outcome,
    /// The contents of the controls element of the SearchResultDone.
    pub(crate) controls: Option<Vec<u8>>,
}

/// What a Modify does to an attribute (RFC 4511 section 4.6).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Add = 0,
    Delete = 1,
    Replace = 2,
}

impl LdapClient {
    /// Connects without TLS.
    pub(crate) fn plain(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        Ok(Self { stream: Stream::Plain(socket), received: Vec::new(), last_id: 0 })
    }

    /// Connects by LDAPS, with a certificate by that CA for the address.
    pub(crate) fn ldaps(address: SocketAddr, ca: &Path) -> io::Result<Self> {
        Self::ldaps_with(address, &trusting(ca)?)
    }

    /// The same with TLS settings that outlive the connection, so that the next one resumes its session.
    pub(crate) fn ldaps_with(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Self::plain(address)?.secured(address, config)
    }

    /// Connects, asks for StartTLS, and goes on by TLS.
    pub(crate) fn start_tls(address: SocketAddr, ca: &Path) -> io::Result<Self> {
        let mut client = Self::plain(address)?;
        let outcome = client.extended(oid::START_TLS, None);
        if outcome.code != ResultCode::SUCCESS {
            return Err(io::Error::other(format!("StartTLS: {outcome:?}")));
        }
        client.secured(address, &trusting(ca)?)
    }

    fn secured(self, address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let Stream::Plain(mut socket) = self.stream else { return Err(io::Error::other("TLS inside TLS")) };
        let name = ServerName::IpAddress(address.ip().into());
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Self { stream: Stream::Tls(Box::new(StreamOwned::new(tls, socket))), ..self })
    }

    /// Binds with a password.
    pub(crate) fn bind(&mut self, name: &str, password: &str) -> Outcome {
        let mut bind = Vec::new();
        ber::write_constructed(&mut bind, op::BIND_REQUEST, |out| {
            ber::write_integer(out, tag::INTEGER, 3);
            ber::write_element(out, tag::OCTET_STRING, name.as_bytes());
            ber::write_element(out, 0x80, password.as_bytes());
        });
        self.ask(&bind, op::BIND_RESPONSE)
    }

    /// The connection, bound; panics when the bind is refused.
    pub(crate) fn bound(mut self, name: &str, password: &str) -> Self {
        let outcome = self.bind(name, password);
        assert_eq!(outcome.code, ResultCode::SUCCESS, "bind as {name}: {}", outcome.diagnostic);
        self
    }

    /// Searches once, with the contents of a controls element if any.
    pub(crate) fn search_with(&mut self, request: &SearchRequest, controls: Option<&[u8]>) -> Found {
        let id = self.send(&request.encode(), controls);
        let (mut entries, mut references) = (Vec::new(), 0);
        loop {
            let message = self.receive().expect("the rest of a search result");
            assert_eq!(message.id, id, "a message that nobody asked for: {message:?}");
            match message.op_tag {
                op::SEARCH_RESULT_ENTRY => entries.push(Entry::parse(&message.content)),
                op::SEARCH_RESULT_REFERENCE => references += 1,
                op::SEARCH_RESULT_DONE => {
                    return Found { entries, references, outcome: Outcome::parse(&message.content), controls: message.controls };
                }
                other => panic!("{other:#04x} in a search result"),
            }
        }
    }

    /// Searches once.
    pub(crate) fn search(&mut self, request: &SearchRequest) -> Found {
        self.search_with(request, None)
    }

    /// Searches by pages of `size` entries until the server has no more (RFC 2696).
    pub(crate) fn search_paged(&mut self, request: &SearchRequest, size: u32) -> Found {
        let (mut cookie, mut entries, mut references) = (Vec::new(), Vec::new(), 0);
        loop {
            let mut controls = Vec::new();
            let value = PagedResults { size, cookie: &cookie }.encode();
            write_control(&mut controls, oid::PAGED_RESULTS, true, Some(&value));
            let page = self.search_with(request, Some(&controls));
            entries.extend(page.entries);
            references += page.references;
            cookie = next_cookie(page.controls.as_deref());
            if cookie.is_empty() {
                return Found { entries, references, outcome: page.outcome, controls: page.controls };
            }
        }
    }

    /// Compares a value.
    pub(crate) fn compare(&mut self, dn: &str, attribute: &str, value: &[u8]) -> Outcome {
        let mut compare = Vec::new();
        ber::write_constructed(&mut compare, op::COMPARE_REQUEST, |out| {
            ber::write_element(out, tag::OCTET_STRING, dn.as_bytes());
            ber::write_constructed(out, tag::SEQUENCE, |out| {
                ber::write_element(out, tag::OCTET_STRING, attribute.as_bytes());
                ber::write_element(out, tag::OCTET_STRING, value);
            });
        });
        self.ask(&compare, op::COMPARE_RESPONSE)
    }

    /// Changes one attribute.
    pub(crate) fn modify(&mut self, dn: &str, change: Change, attribute: &str, values: &[&str]) -> Outcome {
        self.modify_all(dn, &[(change, attribute, values)])
    }

    /// Makes several changes at once.
    pub(crate) fn modify_all(&mut self, dn: &str, changes: &[(Change, &str, &[&str])]) -> Outcome {
        let mut modify = Vec::new();
        ber::write_constructed(&mut modify, op::MODIFY_REQUEST, |out| {
            ber::write_element(out, tag::OCTET_STRING, dn.as_bytes());
            ber::write_constructed(out, tag::SEQUENCE, |out| {
                for (change, attribute, values) in changes {
                    ber::write_constructed(out, tag::SEQUENCE, |out| {
                        ber::write_integer(out, tag::ENUMERATED, *change as u32);
                        write_attribute(out, attribute, values);
                    });
                }
            });
        });
        self.ask(&modify, op::MODIFY_RESPONSE)
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, dn: &str, attributes: &[(&str, &[&str])]) -> Outcome {
        let mut add = Vec::new();
        ber::write_constructed(&mut add, op::ADD_REQUEST, |out| {
            ber::write_element(out, tag::OCTET_STRING, dn.as_bytes());
            ber::write_constructed(out, tag::SEQUENCE, |out| {
                for (name, values) in attributes {
                    write_attribute(out, name, values);
                }
            });
        });
        self.ask(&add, op::ADD_RESPONSE)
    }

    /// Deletes an entry.
    pub(crate) fn delete(&mut self, dn: &str) -> Outcome {
        let mut delete = Vec::new();
        ber::write_element(&mut delete, op::DELETE_REQUEST, dn.as_bytes());
        self.ask(&delete, op::DELETE_RESPONSE)
    }

    /// Renames an entry in its place; the old value leaves it.
    pub(crate) fn rename(&mut self, dn: &str, new_rdn: &str) -> Outcome {
        let mut rename = Vec::new();
        ber::write_constructed(&mut rename, op::MODIFY_DN_REQUEST, |out| {
            ber::write_element(out, tag::OCTET_STRING, dn.as_bytes());
            ber::write_element(out, tag::OCTET_STRING, new_rdn.as_bytes());
            ber::write_boolean(out, tag::BOOLEAN, true);
        });
        self.ask(&rename, op::MODIFY_DN_RESPONSE)
    }

    /// Asks for an extended operation.
    pub(crate) fn extended(&mut self, name: &str, value: Option<&[u8]>) -> Outcome {
        Outcome::parse(&self.extended_response(name, value))
    }

    /// Who the server says this is (RFC 4532): an authzId, empty for nobody.
    pub(crate) fn who_am_i(&mut self) -> String {
        let content = self.extended_response(oid::WHO_AM_I, None);
        let (outcome, mut fields) = (Outcome::parse(&content), Reader::new(&content));
        assert_eq!(outcome.code, ResultCode::SUCCESS, "Who am I?: {}", outcome.diagnostic);
        let mut value = String::new();
        while !fields.is_empty() {
            let field = fields.element().expect("a field of the response");
            if field.tag == 0x8b {
                value = String::from_utf8(field.content.to_vec()).expect("an authzId");
            }
        }
        value
    }

    /// Changes a password, one's own where `user` says so (RFC 3062).
    pub(crate) fn change_password(&mut self, user: &str, old: &str, new: &str) -> Outcome {
        let mut value = Vec::new();
        ber::write_constructed(&mut value, tag::SEQUENCE, |out| {
            for (tag, text) in [(0x80, user), (0x81, old), (0x82, new)] {
                ber::write_element(out, tag, text.as_bytes());
            }
        });
        self.extended(oid::PASSWORD_MODIFY, Some(&value))
    }

    fn extended_response(&mut self, name: &str, value: Option<&[u8]>) -> Vec<u8> {
        let mut extended = Vec::new();
        ber::write_constructed(&mut extended, op::EXTENDED_REQUEST, |out| {
            ber::write_element(out, 0x80, name.as_bytes());
            if let Some(value) = value {
                ber::write_element(out, 0x81, value);
            }
        });
        self.response(&extended, op::EXTENDED_RESPONSE)
    }

    /// Stops an operation; there is no response.
    pub(crate) fn abandon(&mut self, id: u32) {
        let mut abandon = Vec::new();
        ber::write_integer(&mut abandon, op::ABANDON_REQUEST, id);
        self.send(&abandon, None);
    }

    /// Sends a protocolOp and waits for the one result it has.
    fn ask(&mut self, op: &[u8], response: u8) -> Outcome {
        Outcome::parse(&self.response(op, response))
    }

    /// The contents of that one response.
    fn response(&mut self, op: &[u8], response: u8) -> Vec<u8> {
        let id = self.send(op, None);
        let message = self.receive().expect("a response");
        assert_eq!((message.id, message.op_tag), (id, response), "another response than was asked for");
        message.content
    }

    /// Sends a protocolOp under the next messageID, which it returns.
    pub(crate) fn send(&mut self, op: &[u8], controls: Option<&[u8]>) -> u32 {
        let message = self.message(op, controls);
        self.stream.write_all(&message).expect("a server that reads");
        self.last_id
    }

    /// Sends a protocolOp and abandons it in the same breath: the server has no time to answer in between.
    pub(crate) fn send_and_abandon(&mut self, op: &[u8]) {
        let mut both = self.message(op, None);
        let mut abandon = Vec::new();
        ber::write_integer(&mut abandon, op::ABANDON_REQUEST, self.last_id);
        both.extend(self.message(&abandon, None));
        self.stream.write_all(&both).expect("a server that reads");
    }

    /// The next message to send.
    fn message(&mut self, op: &[u8], controls: Option<&[u8]>) -> Vec<u8> {
        self.last_id += 1;
        let mut message = Vec::new();
        write_envelope(&mut message, MessageId::new(self.last_id).expect("few messages"), op, controls);
        message
    }

    /// The next message, whatever it is.
    ///
    /// # Errors
    /// When the server closes, or says nothing for [`PATIENCE`].
    pub(crate) fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(length) = frame_length(&self.received, LARGEST_MESSAGE).map_err(io::Error::other)?
                && length <= self.received.len()
            {
                let frame: Vec<u8> = self.received.drain(..length).collect();
                return Message::parse(&frame);
            }
            let mut piece = [0; 16 << 10];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(&piece[..count]),
            }
        }
    }
}

impl Message {
    fn parse(frame: &[u8]) -> io::Result<Self> {
        let envelope = Envelope::parse(frame).map_err(io::Error::other)?;
        Ok(Self {
            id: envelope.message_id.number(),
            op_tag: envelope.op_tag,
            content: envelope.op_content.to_vec(),
            controls: envelope.controls.map(<[u8]>::to_vec),
        })
    }
}

impl Outcome {
    pub(crate) fn parse(content: &[u8]) -> Self {
        let result = LdapResult::parse(content).expect("an LDAPResult");
        Self { code: result.code, diagnostic: String::from_utf8_lossy(result.diagnostic).into_owned() }
    }
}

impl Entry {
    pub(crate) fn parse(content: &[u8]) -> Self {
        let mut reader = Reader::new(content);
        let dn = reader.text(tag::OCTET_STRING).expect("objectName").to_owned();
        let list = reader.expect(tag::SEQUENCE).expect("attributes");
        reader.finish().expect("nothing after the attributes");
        let (mut list, mut attributes) = (Reader::new(list.content), Vec::new());
        while !list.is_empty() {
            let mut attribute = Reader::new(list.expect(tag::SEQUENCE).expect("PartialAttribute").content);
            let name = attribute.text(tag::OCTET_STRING).expect("type").to_owned();
            let mut set = Reader::new(attribute.expect(tag::SET).expect("vals").content);
            let mut values = Vec::new();
            while !set.is_empty() {
                values.push(set.expect(tag::OCTET_STRING).expect("a value").content.to_vec());
            }
            attributes.push((name, values));
        }
        Self { dn, attributes }
    }

    /// The values of an attribute, as text.
    pub(crate) fn values(&self, attribute: &str) -> Vec<String> {
        let named = self.attributes.iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
        named.flat_map(|(_, values)| values).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// TLS with servers whose certificate is by that CA.
pub(crate) fn trusting(ca: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(ca).map_err(io::Error::other)?.flatten());
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// A whole-subtree search without limits.
pub(crate) fn subtree(base: &str, filter: &str, attributes: &[&str]) -> SearchRequest {
    SearchRequest::new(base, Scope::WholeSubtree, Filter::parse(filter).expect("a filter"), attributes)
}

fn write_attribute(out: &mut Vec<u8>, name: &str, values: &[&str]) {
    ber::write_constructed(out, tag::SEQUENCE, |out| {
        ber::write_element(out, tag::OCTET_STRING, name.as_bytes());
        ber::write_constructed(out, tag::SET, |out| {
            for value in values {
                ber::write_element(out, tag::OCTET_STRING, value.as_bytes());
            }
        });
    });
}

/// The cookie of a page's response; empty where there is none, so that reading ends.
fn next_cookie(controls: Option<&[u8]>) -> Vec<u8> {
    let controls = parse_controls(controls).expect("well-formed controls");
    let paged = controls.iter().find(|control| control.oid == oid::PAGED_RESULTS).and_then(|control| control.value);
    paged.map(|value| PagedResults::parse(value).expect("a paged results value").cookie.to_vec()).unwrap_or_default()
}
