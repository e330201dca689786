//! What the swarms do not do: clients of other kinds, each of which knows what it must be told.

use crate::common::ldap_client::{Change, Found, LdapClient, Outcome, subtree};
use crate::world::{OWN, Of, PASSWORD, PEOPLE, USERS, World, desk, names, user};
use redial::ldap::envelope::write_envelope;
use redial::ldap::envelope::{Envelope, op};
use redial::ldap::frame::frame_length;
use redial::ldap::message::LdapResult;
use redial::ldap::{MessageId, ResultCode};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What clients share.
pub(crate) struct Around {
    pub(crate) world: World,
    /// Plain, StartTLS and LDAPS.
    pub(crate) listeners: [SocketAddr; 3],
    /// Of the listeners' certificates.
    pub(crate) ca: PathBuf,
    /// All shall end.
    pub(crate) over: AtomicBool,
    /// Operations that were answered as they should.
    pub(crate) operations: AtomicU64,
}

/// Names with wrong passwords.
pub(crate) const STRANGERS: usize = 80;

/// Ends all, if its thread panics.
pub(crate) struct Alarm<'a>(pub(crate) &'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// What a client does until all is over; it has a number among those of its kind.
type Kind = fn(&Around, usize);

/// Every kind of client, with how many of it there are at once.
pub(crate) const KINDS: [(usize, Kind); 10] = [
    (1, pulse),
    (4, owner),
    (4, writer),
    (1, pager),
    (2, wanderer),
    (1, slow_reader),
    (1, deaf),
    (1, slow_writer),
    (2, guesser),
    (1, abandoner),
];

impl Around {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// By the listeners in turn.
    fn connect(&self, turn: usize) -> LdapClient {
        let address = self.listeners[turn % 3];
        let client = match turn % 3 {
            0 => LdapClient::plain(address),
            1 => LdapClient::start_tls(address, &self.ca),
            _ => LdapClient::ldaps(address, &self.ca),
        };
        client.unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Did it succeed? It may have failed only if that many controllers were not well since it was asked.
    pub(crate) fn succeeded(&self, what: &str, outcome: &Outcome, since: Instant, of: Of) -> bool {
        if outcome.code == ResultCode::SUCCESS {
            self.operations.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let may_fail = [ResultCode::UNAVAILABLE, ResultCode::BUSY, ResultCode::TIME_LIMIT_EXCEEDED].contains(&outcome.code);
        assert!(may_fail && self.world.was_troubled(of, since), "{what}: {outcome:?} after {:?}", since.elapsed());
        false
    }

    /// Binds as that user.
    fn bind(&self, client: &mut LdapClient, number: usize) -> bool {
        let since = Instant::now();
        let outcome = client.bind(&user(number), PASSWORD);
        self.succeeded("bind", &outcome, since, Of::One)
    }
}

/// Asks what Redial knows by itself, again and again. Where even that takes long, the machine is too busy for any of this.
fn pulse(around: &Around, _: usize) {
    let mut client = around.connect(0);
    while around.goes_on() {
        let since = Instant::now();
        assert_eq!(client.who_am_i(), "");
        if since.elapsed() > Duration::from_millis(300) {
            around.world.starves();
        }
        sleep(PAUSE);
    }
}

/// Binds as one after the other, on new connections and on the same, and asks who it is.
fn owner(around: &Around, number: usize) {
    for round in number.. {
        let mut client = around.connect(round);
        assert_eq!(client.who_am_i(), "", "nobody has bound here");
        for step in 0..3 {
            if !around.goes_on() {
                return;
            }
            let who = (round * 7 + step * 5 + number) % USERS;
            if !around.bind(&mut client, who) {
                assert_eq!(client.who_am_i(), "", "the bind has failed");
                continue;
            }
            assert_eq!(client.who_am_i(), format!("dn:{}", user(who)));
            for _ in 0..4 {
                let since = Instant::now();
                let found = client.search(&subtree(OWN, "(objectClass=*)", &["description"]));
                if around.succeeded("a search as the client", &found.outcome, since, Of::One) {
                    assert_eq!(found.entries.len(), 1);
                    assert_eq!(found.entries[0].values("description"), [user(who)], "who the controller takes {} for", user(who));
                }
            }
            sleep(PAUSE);
        }
    }
}

/// Writes to its own entry, and reads what it has written.
fn writer(around: &Around, number: usize) {
    let own = subtree(&desk(number), "(objectClass=*)", &["telephoneNumber"]);
    // Numbers go on from round to round.
    static NEXT: [AtomicU64; USERS] = [const { AtomicU64::new(1) }; USERS];
    for turn in number.. {
        let mut client = around.connect(turn);
        if !around.bind(&mut client, number) {
            sleep(PAUSE);
            continue;
        }
        let (mut acknowledged, mut perhaps) = (None, Vec::new());
        for _ in 0..50 {
            if !around.goes_on() {
                return;
            }
            let value = NEXT[number].fetch_add(1, Ordering::Relaxed).to_string();
            let since = Instant::now();
            let outcome = client.modify(&desk(number), Change::Replace, "telephoneNumber", &[&value]);
            if around.succeeded("a write", &outcome, since, Of::One) {
                (acknowledged, perhaps) = (Some(value), Vec::new());
            } else {
                perhaps.push(value);
            }
            let since = Instant::now();
            let found = client.search(&own);
            if around.succeeded("a search for what was written", &found.outcome, since, Of::One) {
                let read = &found.entries[0].values("telephoneNumber")[0];
                let is_known = acknowledged.is_none() || acknowledged.as_ref() == Some(read) || perhaps.contains(read);
                assert!(is_known, "{read} is read where {acknowledged:?} was written, and perhaps {perhaps:?}");
            }
            sleep(PAUSE);
        }
    }
}

/// Reads the whole directory by pages.
fn pager(around: &Around, _: usize) {
    let everybody = names();
    for turn in 0.. {
        let mut client = around.connect(turn);
        for size in [7, 30, 100] {
            if !around.goes_on() {
                return;
            }
            let since = Instant::now();
            let found = client.search_paged(&subtree(PEOPLE, "(cn=*)", &["cn"]), size);
            if around.succeeded("a paged search", &found.outcome, since, Of::All) {
                assert_eq!(sorted_names(&found), everybody);
            }
            sleep(PAUSE);
        }
    }
}

/// Asks what nobody has asked before, many searches at once: nothing of it can come from memory, and the memory is never full for long.
fn wanderer(around: &Around, number: usize) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for turn in number.. {
        let mut client = around.connect(turn);
        for _ in 0..20 {
            if !around.goes_on() {
                return;
            }
            let since = Instant::now();
            let mut asked: Vec<u32> = (0..8)
                .map(|_| {
                    let number = NEXT.fetch_add(1, Ordering::Relaxed);
                    client.send(&subtree(PEOPLE, &format!("(|(cn=Grace*)(telephoneNumber={number}))"), &[]).encode(), None)
                })
                .collect();
            while !asked.is_empty() {
                let message = client.receive().expect("an answer");
                assert!(asked.contains(&message.id), "{message:?}");
                if message.op_tag == op::SEARCH_RESULT_DONE {
                    asked.retain(|id| *id != message.id);
                    around.succeeded("a search that nobody asked before", &Outcome::parse(&message.content), since, Of::All);
                }
            }
            sleep(2 * PAUSE);
        }
    }
}

/// Abandons most of what it asks.
fn abandoner(around: &Around, _: usize) {
    for turn in 0.. {
        let mut client = around.connect(turn);
        for round in 0..20 {
            if !around.goes_on() {
                return;
            }
            for number in 0..8 {
                client.send_and_abandon(&subtree(PEOPLE, &format!("(telephoneNumber=abandoned {turn} {round} {number})"), &[]).encode());
            }
            // Whatever was answered in time comes before this.
            let id = client.send(&subtree("", "(objectClass=*)", &[]).encode(), None);
            while client.receive().expect("an answer").id != id {}
            around.operations.fetch_add(8, Ordering::Relaxed);
            sleep(PAUSE);
        }
    }
}

/// Holds a wrong password. It is never right, whatever is the matter.
fn guesser(around: &Around, number: usize) {
    for round in 0.. {
        let mut client = around.connect(round);
        for guess in 0..4 {
            if !around.goes_on() {
                return;
            }
            let name = format!("cn=stranger {},dc=corp", (round * 2 + number) % STRANGERS);
            let outcome = client.bind(&name, &format!("guess {round} {guess}"));
            let expected = [ResultCode::INVALID_CREDENTIALS, ResultCode::UNAVAILABLE, ResultCode::BUSY];
            assert!(expected.contains(&outcome.code), "{name}: {outcome:?}");
            around.operations.fetch_add(1, Ordering::Relaxed);
            sleep(PAUSE);
        }
    }
}

/// Asks for much at once, and reads it drop by drop; all of it comes.
fn slow_reader(around: &Around, _: usize) {
    while around.goes_on() {
        let mut stream = narrow(around.listeners[0]);
        let wanted = 30;
        for id in 1..=wanted {
            stream.write_all(&everybody(id)).unwrap();
        }
        let (mut received, mut done, mut piece) = (Vec::new(), 0, [0; 4096]);
        while done < wanted {
            let count = stream.read(&mut piece).unwrap();
            assert_ne!(count, 0, "it reads, if slowly");
            received.extend_from_slice(&piece[..count]);
            while let Some(length) = frame_length(&received, 1 << 20).unwrap().filter(|length| *length <= received.len()) {
                let frame: Vec<u8> = received.drain(..length).collect();
                let envelope = Envelope::parse(&frame).unwrap();
                if envelope.op_tag == op::SEARCH_RESULT_DONE {
                    assert_eq!(LdapResult::parse(envelope.op_content).unwrap().code, ResultCode::SUCCESS);
                    done += 1;
                }
            }
            sleep(Duration::from_millis(2));
        }
        around.operations.fetch_add(u64::from(wanted), Ordering::Relaxed);
    }
}

/// Asks for much and never reads: Redial closes the connection, some time after nothing more can be written.
fn deaf(around: &Around, _: usize) {
    let mut streams = Vec::new();
    while around.goes_on() {
        let mut stream = narrow(around.listeners[0]);
        for id in 1..=60 {
            stream.write_all(&everybody(id)).unwrap();
        }
        streams.push(stream);
        if streams.len() > 20 {
            streams.remove(0);
        }
        sleep(Duration::from_millis(100));
    }
}

/// Writes a request octet by octet; and sometimes only half of it, or something else, and is gone.
fn slow_writer(around: &Around, _: usize) {
    for round in 0.. {
        if !around.goes_on() {
            return;
        }
        let mut stream = narrow(around.listeners[0]);
        let request = everybody(1);
        match round % 4 {
            0 => {
                for octet in &request {
                    stream.write_all(&[*octet]).unwrap();
                    sleep(Duration::from_millis(2));
                }
                stream.read_exact(&mut [0; 4096]).unwrap();
                around.operations.fetch_add(1, Ordering::Relaxed);
            }
            1 => stream.write_all(&request[..request.len() / 2]).unwrap(),
            2 => {
                // No LDAP: it is told so, or hung up on at once.
                stream.write_all(b"GET / HTTP/1.1\r\nHost: phonebook\r\n\r\n").unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
            _ => {
                stream.write_all(&request).unwrap();
                stream.write_all(&request[..7]).unwrap();
            }
        }
        sleep(PAUSE);
    }
}

/// A search for everybody.
fn everybody(id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    write_envelope(&mut out, MessageId::new(id).unwrap(), &subtree(PEOPLE, "(objectClass=*)", &[]).encode(), None);
    out
}

/// A connection for which the system keeps little.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

fn sorted_names(found: &Found) -> Vec<String> {
    let mut names: Vec<_> = found.entries.iter().map(|entry| entry.dn.clone()).collect();
    names.sort();
    names
}

/// So that these clients, who are there to be looked at closely, leave the machine to the swarms.
const PAUSE: Duration = Duration::from_millis(20);
