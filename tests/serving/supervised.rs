//! The program between its supervisor, its phones and its controllers: what each of them is told, and that nothing is lost at the end.

use crate::common::addresses::free_addresses;
use crate::common::configuration::{Configuration, before_a_phonebook, folder};
use crate::common::ldap_client::{LdapClient, Outcome};
use crate::common::program::Program;
use redial::ldap::envelope::{Envelope, op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::response::{response_tag, write_result_op};
use redial::ldap::{ResultCode, ber};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Of some password.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$HBXWqIwn6Ms4UqcJfQcjUg$0jH0MbL39U104etOeB2kWmldvA+Ik8pftz04Ao4BhkA";

fn free_address() -> SocketAddr {
    let [address] = free_addresses();
    address
}

/// The program, and what it tells its supervisor.
struct Supervised {
    program: Program,
    told: UnixDatagram,
    folder: PathBuf,
}

impl Supervised {
    /// With that socket as the one that the supervisor has opened.
    fn start(test: &str, toml: &str, inherits: Option<TcpListener>) -> Self {
        let folder = folder(&format!("lifecycle-{test}"));
        let config = folder.join("redial.toml");
        std::fs::write(&config, toml).unwrap();
        let socket = folder.join("notify");
        let _ = std::fs::remove_file(&socket);
        let told = UnixDatagram::bind(&socket).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        // A supervisor hands sockets over from descriptor 3 on.
        let hand_over = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
        let script = if inherits.is_some() { hand_over } else { "exec \"$@\"" };
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_redial"), "serve", "--log", "warn", "--config"]).arg(&config);
        command.stdin(inherits.map_or_else(Stdio::null, |socket| Stdio::from(OwnedFd::from(socket)))).stdout(Stdio::null());
        let program = Program::of(command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000"));
        Self { program, told, folder }
    }

    /// Waits until the supervisor is told that.
    fn tells(&self, what: &str) -> String {
        let mut message = [0; 4096];
        loop {
            let length = self.told.recv(&mut message).unwrap();
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            if message.lines().any(|line| line == what) {
                return message;
            }
        }
    }

    /// Waits for its end.
    fn ended(&mut self) -> Option<i32> {
        self.program.process.wait().unwrap().code()
    }
}

#[test]
fn the_supervisor_is_told_of_readiness_life_reloads_and_the_stop() {
    let toml = before_a_phonebook(&free_address().to_string(), "");
    let mut redial = Supervised::start("supervisor", &toml, None);
    redial.tells("READY=1");
    redial.tells("WATCHDOG=1");
    redial.program.signal("HUP");
    assert!(redial.tells("RELOADING=1").lines().any(|line| line.starts_with("MONOTONIC_USEC=")));
    assert!(redial.tells("READY=1").contains("STATUS=serving"));
    std::fs::write(redial.folder.join("redial.toml"), "nonsense").unwrap();
    redial.program.signal("HUP");
    redial.tells("RELOADING=1");
    assert!(redial.tells("READY=1").contains("is wrong"));
    redial.tells("WATCHDOG=1");
    redial.program.signal("TERM");
    assert!(redial.tells("STOPPING=1").contains("STATUS=stopping"));
    assert_eq!(redial.ended(), Some(0));
}

#[test]
fn while_files_are_being_written_the_supervisor_is_told_that_nothing_is_decided() {
    // A pipe is read as long as its writer likes, and looks changed afterwards.
    let pipe = folder("lifecycle-unsettled").join("hash");
    let _ = std::fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let account = "[[account]]\nname = \"ada\"\npassword_hash_file = \"hash\"";
    let redial = Supervised::start("unsettled", &before_a_phonebook(&free_address().to_string(), account), None);
    std::fs::write(&pipe, HASH).unwrap();
    assert!(redial.tells("READY=1").contains("STATUS=serving"));

    assert!(redial.tells("RELOADING=1").contains("STATUS=serving; reading"));
    std::fs::write(&pipe, "half of a ha").unwrap();
    assert!(redial.tells("READY=1").contains("STATUS=serving; files of the configuration are being written"));
    redial.program.signal("HUP");
    redial.tells("RELOADING=1");
    std::fs::write(&pipe, HASH).unwrap();
    assert_eq!(redial.tells("READY=1").lines().last(), Some("STATUS=serving"));
}

#[test]
fn a_socket_that_the_supervisor_has_opened_is_served_and_outlives_the_program() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let toml = before_a_phonebook(&address.to_string(), &format!("[[listener]]\naddress = \"{}\"", free_address()));
    for _ in 0..2 {
        let mut redial = Supervised::start("inherits", &toml, Some(socket.try_clone().unwrap()));
        // A phone that comes before the program does waits in the socket's queue.
        assert_eq!(LdapClient::plain(address).unwrap().who_am_i(), "");
        redial.tells("READY=1");
        redial.program.signal("TERM");
        assert_eq!(redial.ended(), Some(0));
    }
}

/// A controller that answers at once, but for deletes: it says when one has come, and answers it when it is told to.
fn controller(deleted: Sender<()>, go_on: Receiver<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let go_on = std::sync::Arc::new(std::sync::Mutex::new(go_on));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (deleted, go_on) = (deleted.clone(), std::sync::Arc::clone(&go_on));
            std::thread::spawn(move || {
                let _ = answer(stream.unwrap(), &deleted, &go_on);
            });
        }
    });
    address
}

fn answer(mut stream: TcpStream, deleted: &Sender<()>, go_on: &std::sync::Mutex<Receiver<()>>) -> std::io::Result<()> {
    let (mut received, mut octets) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(length) = frame_length(&received, 1 << 20).unwrap().filter(|length| *length <= received.len()) {
            let frame: Vec<u8> = received.drain(..length).collect();
            let envelope = Envelope::parse(&frame).unwrap();
            if envelope.op_tag == op::DELETE_REQUEST {
                deleted.send(()).unwrap();
                go_on.lock().unwrap().recv().unwrap();
            }
            let Some(tag) = response_tag(envelope.op_tag) else { continue };
            let (mut result, mut response) = (Vec::new(), Vec::new());
            write_result_op(&mut result, tag, ResultCode::SUCCESS, "", "");
            write_envelope(&mut response, envelope.message_id, &result, None);
            stream.write_all(&response)?;
        }
        match stream.read(&mut octets)? {
            0 => return Ok(()),
            count => received.extend_from_slice(&octets[..count]),
        }
    }
}

#[test]
fn sigterm_tells_idle_phones_and_loses_no_write_that_is_under_way() {
    let ((deleted, write_has_come), (go_on, may_go_on)) = (channel(), channel());
    let (address, controller) = (free_address(), controller(deleted, may_go_on));
    let directory =
        format!("servers = [\"ldap://{controller}\"]\nstart_tls = false\nsearch_as = \"client\"\nwrites = \"forward\"\ntimeout = \"60s\"");
    let toml = Configuration {
        address: &address.to_string(),
        listener: "plain_passwords = \"allow\"",
        base: "dc=x",
        directory: &directory,
        more: "[limits]\ndrain = \"60s\"",
        ..Configuration::default()
    }
    .toml();
    let mut redial = Supervised::start("drain", &toml, None);
    redial.tells("READY=1");
    let mut idle = LdapClient::plain(address).unwrap();
    assert_eq!(idle.who_am_i(), "");
    let mut writer = LdapClient::plain(address).unwrap().bound("cn=ada,dc=x", "secret");
    let mut delete = Vec::new();
    ber::write_element(&mut delete, op::DELETE_REQUEST, b"cn=bob,dc=x");
    let id = writer.send(&delete, None);
    write_has_come.recv_timeout(PATIENCE).unwrap();

    redial.program.signal("TERM");
    redial.tells("STOPPING=1");
    let notice = idle.receive().unwrap();
    assert_eq!((notice.id, notice.op_tag), (0, op::EXTENDED_RESPONSE));
    assert!(idle.receive().is_err(), "its connection is closed");
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it still listens");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(redial.program.process.try_wait().unwrap().is_none(), "it waits for the write");

    go_on.send(()).unwrap();
    let response = writer.receive().unwrap();
    assert_eq!((response.id, response.op_tag), (id, op::DELETE_RESPONSE));
    assert_eq!(Outcome::parse(&response.content).code, ResultCode::SUCCESS);
    assert_eq!(writer.receive().unwrap().id, 0, "then it is told as well");
    assert_eq!(redial.ended(), Some(0));
}
