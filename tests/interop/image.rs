//! The container image: built of nothing but the program and its libraries, and run as nobody, without capabilities, on a read-only root.
//!
//! The last stage of the Dockerfile is built as it stands, around the program that is tested; the stage before it, which compiles the program, needs
//! a base image from a registry.

use crate::bed;
use crate::common::ldap_client::{LdapClient, subtree};
use crate::redial::{eventually, free_addresses};
use redial::ldap::ResultCode;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A container engine, and where it keeps what it makes.
struct Engine {
    command: Vec<String>,
    folder: PathBuf,
}

impl Engine {
    /// Docker where its daemon runs, else podman with a store of the test's own.
    fn new() -> Self {
        let folder = bed::state().join(format!("image-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a directory for the image");
        let docker = Command::new("docker").arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let command = if docker.is_ok_and(|status| status.success()) {
            vec!["docker".to_owned()]
        } else {
            let at = |name: &str| folder.join(name).display().to_string();
            let options = ["--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs"].map(str::to_owned);
            let places = ["--root".to_owned(), at("store"), "--runroot".to_owned(), at("run")];
            ["podman".to_owned()].into_iter().chain(places).chain(options).collect()
        };
        Self { command, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap_or_else(|error| panic!("{}: {error}", self.command[0]));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Builds the image as the Dockerfile says.
    fn build(&self, tag: &str) {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let collected = Command::new(top.join("config/container/collect"))
            .args([Path::new(env!("CARGO_BIN_EXE_redial")), &self.folder.join("context/image")])
            .status();
        assert!(collected.is_ok_and(|status| status.success()), "the image's files are not there");
        let dockerfile = fs::read_to_string(top.join("Dockerfile")).expect("the Dockerfile");
        let (_, last_stage) = dockerfile.split_once("\nFROM scratch\n").expect("its last stage");
        let last_stage = format!("FROM scratch\n{}", last_stage.replace("--from=build /image", "image"));
        fs::write(self.folder.join("context/Dockerfile"), last_stage).expect("the last stage");
        let context = self.folder.join("context").display().to_string();
        let format: &[&str] = if self.command[0] == "podman" { &["--format", "docker"] } else { &[] };
        self.run(&[&["build", "-t", tag][..], format, &[&context]].concat());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A running container; removed when dropped.
struct Container<'a> {
    engine: &'a Engine,
    name: String,
    process: Child,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.engine.command(&["rm", "-f", &self.name]).output();
        let _ = self.process.wait();
    }
}

#[test]
fn the_image_serves_as_nobody_without_capabilities_on_a_read_only_root() {
    let engine = Engine::new();
    let name = format!("redial-{}", std::process::id());
    engine.build(&name);
    let [ldap, admin] = free_addresses();
    let config = engine.folder.join("config");
    fs::create_dir_all(&config).expect("a directory for the configuration");
    let toml = format!(
        "[[listener]]\naddress = \"{ldap}\"\n[admin]\naddress = \"{admin}\"\n[directory.x]\nbase = \"dc=x\"\nldif = \"phonebook.ldif\"\n\
         [[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"dc=x\"]\nattributes = [\"*\"]\n"
    );
    for (file, text) in [("redial.toml", toml.as_str()), ("phonebook.ldif", "dn: dc=x\nobjectClass: domain\n\ndn: cn=Ada,dc=x\ncn: Ada\n")]
    {
        fs::write(config.join(file), text).expect("the configuration");
        fs::set_permissions(config.join(file), fs::Permissions::from_mode(0o644)).expect("its mode");
    }
    let volume = format!("{}:/etc/redial:ro", config.display());
    let sealed = ["--read-only", "--cap-drop=ALL", "--security-opt", "no-new-privileges"];
    let around = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "host", "-v", &volume];
    let mut command = engine.command(&[&["run", "--name", &name][..], &sealed, &around, &[&name]].concat());
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the container");
    let mut container = Container { engine: &engine, name: name.clone(), process };

    eventually("the image's listener answers", || LdapClient::plain(ldap).is_ok());
    let found = LdapClient::plain(ldap).expect("a connection").search(&subtree("dc=x", "(cn=Ada)", &["*"]));
    assert_eq!((found.outcome.code, found.entries.len()), (ResultCode::SUCCESS, 1));

    let pid = String::from_utf8(engine.run(&["inspect", "--format", "{{.State.Pid}}", &name]).stdout).expect("a number");
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).expect("the process's status");
    for line in ["Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.lines().any(|there| there == line), "no {line:?} in {status}");
    }
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", pid.trim())).expect("the process's mounts");
    let root = mounts.lines().find(|mount| mount.split(' ').nth(1) == Some("/")).expect("a root");
    assert!(root.split(' ').nth(3).expect("its options").split(',').any(|option| option == "ro"), "{root}");
    engine.run(&["exec", &name, "/usr/bin/redial", "healthcheck", "--ready", "--address", &admin.to_string()]);

    engine.run(&["stop", "-t", "20", &name]);
    assert_eq!(container.process.wait().expect("its end").code(), Some(0));
}
