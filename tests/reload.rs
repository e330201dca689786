//! Another configuration while phones are served: nobody fails, nobody sees what is not theirs, and a bad file changes nothing.
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::addresses::free_addresses;
use common::configuration;
use common::hearing::{hear, hear_all, settle};
use common::house::House;
use common::ldap_client::{LdapClient, subtree, trusting};
use common::program::Program;
use common::requests::{bind, delete_of, frame, search_for};
use common::scripted_directory::ScriptedDirectory;
use common::site::Site;
use rcgen::KeyPair;
use redial::config::lineage::Lineage;
use redial::config::load::load;
use redial::config::{Config, DirectoryKind, SearchAs};
use redial::directory::Directory;
use redial::ldap::ResultCode;
use redial::pipeline::Pipeline;
use redial::proxy::Proxy;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, spawn_blocking};

// ── Over a directory that is played by hand ─────────────────────────────────────────────────────────────────────────────────

/// Puts the configuration in force that `change` makes of the house's own, before `directory`.
fn succeed(house: &mut House, directory: &Arc<ScriptedDirectory>, change: impl FnOnce(&mut Config)) {
    let mut config = house.config.clone();
    change(&mut config);
    let before = house.pipeline.load();
    let digests = [[0; 32]; 3];
    let lineage: Lineage = before.lineage().succeeded((&house.config, &digests), (&config, &digests));
    let directories = config.directories.iter().map(|_| Arc::clone(directory) as Arc<dyn Directory>).collect();
    let pipeline: Pipeline = before.succeeded(&config, lineage, directories);
    drop(before);
    house.pipeline.replace(Arc::new(pipeline));
    house.config = config;
}

/// Asks, lets the directory answer its question of that number with an entry where it is asked, and says what came back.
async fn ask(stream: &mut DuplexStream, octets: &[u8], answer: impl FnOnce()) -> Vec<String> {
    stream.write_all(octets).await.unwrap();
    settle().await;
    answer();
    hear_all(stream).await.expect("an answer")
}

fn answers_with(directory: &ScriptedDirectory, number: usize, name: &str) {
    assert_eq!(directory.times_asked(), number, "who is asked");
    directory.entry(number, name, &[("cn", "a")]);
    directory.done(number, ResultCode::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn an_access_that_shows_the_same_keeps_its_answers_and_one_that_comes_before_it_does_not_get_them() {
    let mut house = House::new("", "");
    let directory = Arc::clone(&house.directory);
    let mut stream = house.connect(4096);
    let search = |id| frame(id, &search_for("dc=corp", "(cn=a)", &[]));
    ask(&mut stream, &search(1), || answers_with(&directory, 1, "cn=wide,dc=corp")).await;

    let wide = house.config.accesses[0].clone();
    let mut narrow = wide.clone();
    narrow.name = "narrow".to_owned();
    narrow.attributes = Some(Arc::from(["cn".to_owned()]));
    succeed(&mut house, &directory, |config| config.accesses = vec![narrow.clone(), wide.clone()]);
    let heard = ask(&mut stream, &search(2), || answers_with(&directory, 2, "cn=narrow,dc=corp")).await;
    assert!(heard[0].contains("cn=narrow"), "{heard:?}");

    succeed(&mut house, &directory, |config| config.accesses = vec![wide]);
    let heard = ask(&mut stream, &search(3), || ()).await;
    assert!(heard[0].contains("cn=wide"), "{heard:?}");
    assert_eq!(directory.times_asked(), 2, "its answer was still there");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_bound_to_one_directory_does_not_write_to_another_that_stands_in_its_place() {
    let mut house = House::new("plain_passwords = \"allow\"", "");
    let first = Arc::clone(&house.directory);
    let mut stream = house.connect(4096);
    let bound = ask(&mut stream, &frame(1, &bind("cn=ada,dc=corp", "secret")), || first.done(1, ResultCode::SUCCESS)).await;
    assert_eq!(bound, ["1 bind 0"]);
    let second = Arc::new(ScriptedDirectory::by_hand());
    succeed(&mut house, &second, has_another_server);
    stream.write_all(&frame(2, &delete_of("cn=bob,dc=corp"))).await.unwrap();
    assert_eq!(hear(&mut stream, 1).await, [GONE], "it is told to connect and bind, and not that it may not");
    assert_eq!(hear_all(&mut stream).await, None);
    assert_eq!((first.times_asked(), second.times_asked()), (1, 0), "nobody was asked, and nobody was shown the password");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_of_a_directory_that_is_replaced_hears_it_first() {
    let mut house = House::new("plain_passwords = \"allow\"", "");
    let first = Arc::clone(&house.directory);
    let mut stream = house.connect(4096);
    ask(&mut stream, &frame(1, &bind("cn=ada,dc=corp", "secret")), || first.done(1, ResultCode::SUCCESS)).await;
    stream.write_all(&frame(2, &delete_of("cn=bob,dc=corp"))).await.unwrap();
    settle().await;
    succeed(&mut house, &Arc::new(ScriptedDirectory::by_hand()), has_another_server);
    stream.write_all(&frame(3, &delete_of("cn=eve,dc=corp"))).await.unwrap();
    settle().await;
    first.done(2, ResultCode::SUCCESS);
    assert_eq!(hear(&mut stream, 2).await, ["2 delete 0", GONE]);
    assert_eq!(first.times_asked(), 2, "what came after the reload was not taken");
}

#[tokio::test(start_paused = true)]
async fn a_bind_that_a_directory_accepts_after_it_was_replaced_does_not_last() {
    let mut house = House::new("plain_passwords = \"allow\"", "");
    let first = Arc::clone(&house.directory);
    let mut stream = house.connect(4096);
    stream.write_all(&frame(1, &bind("cn=ada,dc=corp", "secret"))).await.unwrap();
    settle().await;
    succeed(&mut house, &Arc::new(ScriptedDirectory::by_hand()), has_another_server);
    first.done(1, ResultCode::SUCCESS);
    assert_eq!(hear(&mut stream, 2).await, ["1 bind 0", GONE]);
}

#[tokio::test(start_paused = true)]
async fn sessions_under_whose_name_nothing_runs_outlive_the_servers_that_they_were_bound_at() {
    let refuse_writes = |config: &mut Config| change_upstream(config, |upstream| upstream.forward_writes = false);
    let mut house = House::with("plain_passwords = \"allow\"", "", refuse_writes);
    let first = Arc::clone(&house.directory);
    let mut stream = house.connect(4096);
    ask(&mut stream, &frame(1, &bind("cn=ada,dc=corp", "secret")), || first.done(1, ResultCode::SUCCESS)).await;
    let second = Arc::new(ScriptedDirectory::by_hand());
    succeed(&mut house, &second, has_another_server);
    let search = frame(2, &search_for("dc=corp", "(cn=a)", &[]));
    let heard = ask(&mut stream, &search, || answers_with(&second, 1, "cn=ada,dc=corp")).await;
    assert_eq!(heard.len(), 2, "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn who_was_bound_before_anything_ran_under_its_name_is_told_to_bind_anew() {
    let changes: [fn(&mut redial::config::Upstream); 2] =
        [|upstream| upstream.forward_writes = true, |upstream| upstream.search_as = SearchAs::Client];
    for change in changes {
        let refuse_writes = |config: &mut Config| change_upstream(config, |upstream| upstream.forward_writes = false);
        let mut house = House::with("plain_passwords = \"allow\"", "", refuse_writes);
        let directory = Arc::clone(&house.directory);
        let (mut stream, mut under_way) = (house.connect(4096), house.connect(4096));
        ask(&mut stream, &frame(1, &bind("cn=ada,dc=corp", "secret")), || directory.done(1, ResultCode::SUCCESS)).await;
        under_way.write_all(&frame(1, &bind("cn=bob,dc=corp", "secret"))).await.unwrap();
        settle().await;
        succeed(&mut house, &directory, |config| change_upstream(config, change));
        directory.done(2, ResultCode::SUCCESS);
        assert_eq!(hear(&mut stream, 1).await, [GONE]);
        assert_eq!(hear(&mut under_way, 2).await, ["1 bind 0", GONE]);

        let mut anew = house.connect(4096);
        ask(&mut anew, &frame(1, &bind("cn=ada,dc=corp", "secret")), || directory.done(3, ResultCode::SUCCESS)).await;
        let heard = ask(&mut anew, &frame(2, &search_for("dc=corp", "(cn=a)", &[])), || answers_with(&directory, 4, "cn=a,dc=corp")).await;
        assert_eq!(heard.len(), 2, "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_of_whom_a_reload_asks_nothing_new_stay() {
    let change = |config: &mut Config| change_upstream(config, |upstream| upstream.forward_writes = false);
    for writes_first in [true, false] {
        let mut house = House::with("plain_passwords = \"allow\"", "", |config| {
            if !writes_first {
                change(config)
            }
        });
        let directory = Arc::clone(&house.directory);
        let (mut stream, mut anonymous) = (house.connect(4096), house.connect(4096));
        ask(&mut stream, &frame(1, &bind("cn=ada,dc=corp", "secret")), || directory.done(1, ResultCode::SUCCESS)).await;
        ask(&mut anonymous, &frame(1, &bind("", "")), || ()).await;
        succeed(&mut house, &directory, change);
        let search = frame(2, &search_for("dc=corp", "(cn=a)", &[]));
        let heard = ask(&mut stream, &search, || answers_with(&directory, 2, "cn=a,dc=corp")).await;
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert_eq!(ask(&mut anonymous, &search, || ()).await, heard);
    }
}

/// What a session hears whose directory is another now.
const GONE: &str = "notice 52";

fn has_another_server(config: &mut Config) {
    change_upstream(config, |upstream| upstream.servers[0].host = "another.example".to_owned());
}

fn change_upstream(config: &mut Config, change: impl FnOnce(&mut redial::config::Upstream)) {
    let DirectoryKind::Upstream(upstream) = &mut config.directories[0].kind else { panic!("a directory of controllers") };
    change(upstream);
}

#[tokio::test(start_paused = true)]
async fn remembered_binds_outlive_a_reload_that_does_not_touch_them_and_no_other() {
    let mut house = House::new("plain_passwords = \"allow\"", "");
    let directory = Arc::clone(&house.directory);
    let octets = frame(1, &bind("cn=ada,dc=corp", "secret"));
    ask(&mut house.connect(4096), &octets, || directory.done(1, ResultCode::SUCCESS)).await;
    succeed(&mut house, &directory, |config| config.cache.defaults.ttl *= 2);
    assert_eq!(ask(&mut house.connect(4096), &octets, || ()).await, ["1 bind 0"]);
    assert_eq!(directory.times_asked(), 1, "it was remembered");

    // One that is under way when the directory changes is not remembered either.
    let other = frame(1, &bind("cn=bob,dc=corp", "secret"));
    let mut under_way = house.connect(4096);
    under_way.write_all(&other).await.unwrap();
    settle().await;
    succeed(&mut house, &directory, |config| config.binds.ttl *= 2);
    assert_eq!(ask(&mut under_way, &[], || directory.done(2, ResultCode::SUCCESS)).await, ["1 bind 0"]);
    assert_eq!(ask(&mut house.connect(4096), &octets, || directory.done(3, ResultCode::SUCCESS)).await, ["1 bind 0"]);
    assert_eq!(ask(&mut house.connect(4096), &other, || directory.done(4, ResultCode::SUCCESS)).await, ["1 bind 0"]);
    assert_eq!(directory.times_asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn wrong_passwords_are_counted_on_across_a_reload() {
    let mut house = House::new("plain_passwords = \"allow\"", "");
    let directory = Arc::clone(&house.directory);
    for (number, password) in [(1, "a"), (2, "b"), (3, "c")] {
        let octets = frame(1, &bind("cn=ada,dc=corp", password));
        ask(&mut house.connect(4096), &octets, || directory.done(number, ResultCode::INVALID_CREDENTIALS)).await;
        succeed(&mut house, &directory, |config| config.binds.rejected_ttl *= 2);
    }
    assert_eq!(ask(&mut house.connect(4096), &frame(1, &bind("cn=ada,dc=corp", "d")), || ()).await, ["1 bind 49"]);
    assert_eq!(directory.times_asked(), 3, "the account has had its attempts");
}

// ── Over sockets ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The files of a configuration, with a phonebook.
fn site(test: &str) -> Site {
    let site = Site::new(&format!("reload-{test}"));
    site.write("phonebook.ldif", &phonebook(0));
    site
}

impl Site {
    async fn start(&self, toml: &str) -> Proxy {
        Proxy::start(load(&self.configure(toml)).unwrap_or_else(|rejected| panic!("{rejected}")).config).await.unwrap()
    }

    async fn reload(&self, proxy: &mut Proxy, toml: &str) {
        let loaded = load(&self.configure(toml)).unwrap_or_else(|rejected| panic!("{rejected}"));
        proxy.reload(loaded.config).await.unwrap();
    }
}

/// Ada's number is `number`.
fn phonebook(number: usize) -> String {
    format!("dn: dc=x\nobjectClass: domain\n\ndn: cn=Ada,dc=x\nobjectClass: person\ncn: Ada\ntelephoneNumber: {number}\n")
}

const LISTENERS: &str = r#"
[[listener]]
address = "127.0.0.1:0"
tls = { certificate = "cert.pem", key = "key.pem", start_tls = "optional" }
[[listener]]
address = "127.0.0.1:0"
tls = { certificate = "cert.pem", key = "key.pem" }
"#;
const DIRECTORY: &str = "[directory.contacts]\nbase = \"dc=x\"\nldif = \"phonebook.ldif\"\n";
const ACCESS: &str = "[[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"dc=x\"]\nattributes = [\"*\"]\n";

/// Ada's number, as a phone finds it.
fn number(client: &mut LdapClient) -> usize {
    let found = client.search(&subtree("dc=x", "(cn=Ada)", &["telephoneNumber"]));
    assert_eq!(found.outcome.code, ResultCode::SUCCESS, "{:?}", found.outcome);
    let value = String::from_utf8(found.entries[0].attributes[0].1[0].clone()).unwrap();
    value.parse().unwrap()
}

/// Phones that ask until they are told to stop, on connections that stand and on new ones, which some resume; how often they asked.
struct Phones {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    phones: Vec<JoinHandle<()>>,
}

/// How a phone connects: once, or for each search.
#[derive(Debug, Clone, Copy)]
enum PhoneKind {
    Plain,
    Ldaps,
    LdapsEach,
    Resumes,
    StartTlsEach,
}

impl PhoneKind {
    const ALL: [Self; 5] = [Self::Plain, Self::Ldaps, Self::LdapsEach, Self::Resumes, Self::StartTlsEach];
}

impl Phones {
    fn begin(plain: SocketAddr, ldaps: SocketAddr, ca: &Path) -> Self {
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let phone = |kind: PhoneKind| {
            let (over, asked, ca) = (Arc::clone(&over), Arc::clone(&asked), ca.to_owned());
            spawn_blocking(move || {
                let remembers = trusting(&ca).unwrap();
                let connect = || match kind {
                    PhoneKind::Plain => LdapClient::plain(plain),
                    PhoneKind::Ldaps | PhoneKind::LdapsEach => LdapClient::ldaps(ldaps, &ca),
                    PhoneKind::Resumes => LdapClient::ldaps_with(ldaps, &remembers),
                    PhoneKind::StartTlsEach => LdapClient::start_tls(plain, &ca),
                };
                let mut client = connect().unwrap();
                while !over.load(Ordering::Relaxed) {
                    if !matches!(kind, PhoneKind::Plain | PhoneKind::Ldaps) {
                        client = connect().unwrap();
                    }
                    number(&mut client);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let phones = PhoneKind::ALL.map(phone).into();
        Self { over, asked, phones }
    }

    /// Waits until some more have been answered.
    async fn ask_on(&self) {
        let before = self.asked.load(Ordering::Relaxed);
        while self.asked.load(Ordering::Relaxed) < before + 3 && self.phones.iter().any(|phone| !phone.is_finished()) {
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for phone in self.phones {
            phone.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_certificates_and_configurations_under_load_fail_no_operation() {
    let site = site("load");
    let mut proxy = site.start(&format!("{LISTENERS}{DIRECTORY}{ACCESS}")).await;
    let addresses = proxy.addresses();
    let phones = Phones::begin(addresses[0], addresses[1], &site.path("ca.pem"));
    let mut client = LdapClient::plain(addresses[0]).unwrap();
    for round in 1..=100 {
        site.certify();
        site.write("phonebook.ldif", &phonebook(round));
        // Another directory before it, another access, more or less room, another listener: each in some of the rounds.
        let other = "[directory.a-branch]\nbase = \"dc=y\"\nldif = \"other.ldif\"\n";
        site.write("other.ldif", "dn: dc=y\nobjectClass: domain\n");
        let parts = [
            (round % 2 == 0, other.to_owned()),
            (true, DIRECTORY.to_owned()),
            (round % 3 == 0, ACCESS.replace("all", "first").replace("\"any\"", "\"bound\"")),
            (true, ACCESS.to_owned()),
            (round % 5 == 0, "[limits]\nconnections = 100\n[cache]\ncapacity = \"64MiB\"\n".to_owned()),
            (round % 4 == 0, "[[listener]]\naddress = \"127.0.0.2:0\"\n".to_owned()),
        ];
        let parts: String = parts.into_iter().filter_map(|(is_in, part)| is_in.then_some(part)).collect();
        site.reload(&mut proxy, &format!("{LISTENERS}{parts}")).await;
        client = spawn_blocking(move || {
            assert_eq!(number(&mut client), round, "the connection stands, and what it is told is of now");
            client
        })
        .await
        .unwrap();
        phones.ask_on().await;
    }
    assert_eq!(proxy.addresses(), [addresses.clone(), proxy.addresses()[2..].to_vec()].concat(), "the sockets are the same");
    phones.end().await;
    let page = proxy.metrics().render();
    let failed: Vec<_> =
        page.lines().filter(|line| line.starts_with("redial_operations_total") && !line.contains("code=\"success\"")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let handshakes = |result: &str| {
        let lines = page.lines().filter(|line| line.starts_with("redial_downstream_tls_handshakes_total") && line.contains(result));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap()).sum::<u32>()
    };
    assert!(handshakes("\"failed\"") == 0 && handshakes("\"resumed\"") > 0, "{page}");
    drop(client);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_and_go_and_who_is_connected_stays() {
    let site = site("listeners");
    // An address that no other test has: whichever port is free again there stays free.
    let one = "[[listener]]\naddress = \"127.0.0.3:0\"\n";
    let two = "[[listener]]\naddress = \"127.0.0.2:0\"\nnetworks = [\"127.0.0.1\"]\n";
    let mut proxy = site.start(&format!("{one}{DIRECTORY}{ACCESS}")).await;
    let first = proxy.addresses()[0];
    let standing = spawn_blocking(move || LdapClient::plain(first).unwrap()).await.unwrap();

    site.reload(&mut proxy, &format!("{two}{DIRECTORY}{ACCESS}")).await;
    let second = proxy.addresses()[0];
    let page = proxy.metrics().render();
    assert!(page.contains("redial_downstream_connections{listener=\"127.0.0.2:0\"} 0"), "{page}");
    spawn_blocking(move || {
        let mut standing = standing;
        assert_eq!(number(&mut standing), 0, "of a listener that is gone");
        assert_eq!(number(&mut LdapClient::plain(second).unwrap()), 0);
        assert!(std::net::TcpStream::connect(first).is_err(), "nobody listens there");
    })
    .await
    .unwrap();

    site.reload(&mut proxy, &format!("{one}{}{DIRECTORY}{ACCESS}", two.replace("127.0.0.1\"", "192.0.2.1\""))).await;
    let addresses = proxy.addresses();
    assert_eq!(addresses[1], second, "its socket is the same");
    spawn_blocking(move || {
        assert_eq!(number(&mut LdapClient::plain(addresses[0]).unwrap()), 0);
        let mut stranger = LdapClient::plain(second).unwrap();
        stranger.send(&subtree("dc=x", "(cn=Ada)", &[]).encode(), None);
        assert!(stranger.receive().is_err(), "its networks are others");
    })
    .await
    .unwrap();
    proxy.stop().await;
}

#[tokio::test]
async fn what_cannot_be_put_in_force_changes_nothing() {
    let site = site("refused");
    let good = format!("{LISTENERS}{DIRECTORY}{ACCESS}");
    let mut proxy = site.start(&good).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("[[listener]]\naddress = \"{}\"\n", taken.local_addr().unwrap());
    site.write("broken.ldif", "dn: cn=Ada,dc=elsewhere\ncn: Ada\n");
    for (change, expected) in
        [(format!("{taken}{good}"), "cannot listen on 127.0.0.1:"), (good.replace("phonebook.ldif", "broken.ldif"), "directory.contacts: ")]
    {
        let error = proxy.reload(configuration::load(&change, &site.folder)).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        let address = proxy.addresses()[0];
        assert_eq!(spawn_blocking(move || number(&mut LdapClient::plain(address).unwrap())).await.unwrap(), 0);
    }
    proxy.stop().await;
}

// ── The program ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The certificate that is shown there.
fn shown(address: SocketAddr, ca: &Path) -> Vec<u8> {
    let mut tls = ClientConnection::new(trusting(ca).unwrap(), ServerName::IpAddress(address.ip().into())).unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).unwrap();
    }
    tls.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_bad_certificate_keeps_the_one_in_force_and_says_why() {
    let site = site("program");
    let [port] = free_addresses();
    let tls = "tls = { certificate = \"cert.pem\", key = \"key.pem\" }";
    let toml = format!("[[listener]]\naddress = \"{port}\"\n{tls}\n{DIRECTORY}{ACCESS}");
    let (cert, key) = (site.path("cert.pem"), site.path("key.pem"));
    let mut in_force = site.certify();
    let config = site.configure(&toml);
    let mut program = Program::serving(&config, Stdio::piped());
    program.log_until("ready");
    assert_eq!(shown(port, &site.path("ca.pem")), in_force);

    let good = (std::fs::read_to_string(&cert).unwrap(), std::fs::read_to_string(&key).unwrap());
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let another = KeyPair::generate().unwrap().serialize_pem();
    for (certificate, key, expected) in [
        ("no certificate".to_owned(), good.1.clone(), "holds no certificate in PEM"),
        (half(&good.0), good.1.clone(), "cert.pem"),
        (good.0.clone(), half(&good.1), "holds no private key in PEM"),
        (good.0.clone(), another, "is not the key of the listener's certificate"),
    ] {
        site.write("cert.pem", &certificate);
        site.write("key.pem", &key);
        program.signal("HUP");
        let said = program.log_until("listener[0].tls");
        assert!(said.contains(expected) || program.log_until(expected).contains(expected), "{said}");
        assert_eq!(shown(port, &site.path("ca.pem")), in_force);
    }

    // A change of the files is noticed without a signal.
    in_force = site.certify();
    program.log_until("configuration reloaded");
    assert_eq!(shown(port, &site.path("ca.pem")), in_force);

    site.configure(&format!("{toml}[cache]\nttl = \"soon\"\ncapacty = 1\n"));
    program.signal("HUP");
    let said = program.log_until("cache.capacty");
    assert!(said.contains("stays in force") && said.contains("cache.ttl"), "all problems: {said}");
    assert_eq!(shown(port, &site.path("ca.pem")), in_force);
}
