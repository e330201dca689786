//! The container image, run as nobody, without capabilities, on a read-only root and with its own ports: by an engine, and in a chroot, which is
//! all that some machines allow.
//!
//! The last stage of the Dockerfile is built as it stands, around the program that is tested; the stage before it, which compiles the program, needs
//! a base image from a registry.

use crate::bed;
use crate::redial::eventually;
use std::fs;
use std::io::{BufRead, BufReader, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Listeners at the ports that the image exposes, and the admin address that its health check asks.
const CONFIGURATION: &str = r#"
listener = [{ address = "0.0.0.0:3890" }]
admin = { address = "127.0.0.1:9390" }
directory.demo = { base = "dc=example,dc=com", ldif = "demo.ldif" }
access = [{ name = "all", clients = "any", bases = ["dc=example,dc=com"], attributes = ["*"] }]
"#;
const DOCKERFILE: &str = include_str!("../../Dockerfile");
const UID: &str = "65532";

/// A command and the options that it always takes.
#[derive(Clone)]
struct Tool(Vec<String>);

impl Tool {
    fn new(words: &[&str]) -> Self {
        let sudo: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["sudo", "-n"] };
        Self([sudo, words].concat().into_iter().map(str::to_owned).collect())
    }

    fn with(&self, words: &[&str]) -> Self {
        Self(self.0.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]);
        command
    }

    /// What it said, or why it failed.
    fn attempt(&self) -> Result<String, String> {
        let Output { status, stdout, stderr } = self.command().output().map_err(|error| format!("{:?}: {error}", self.0))?;
        let said = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
        if status.success() { Ok(said(&stdout)) } else { Err(format!("{:?}: {}", self.0, said(&stderr))) }
    }

    fn run(&self) -> String {
        self.attempt().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// What an image is built of and what it is given to read, and where an engine may keep what it makes; removed when dropped.
struct Workshop {
    folder: PathBuf,
    tag: String,
}

impl Workshop {
    fn new(name: &str) -> Self {
        let tag = format!("redial-{name}-{}", std::process::id());
        let workshop = Self { folder: bed::state().join(&tag), tag };
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = |inside| {
            fs::create_dir_all(workshop.folder.join(inside)).expect("a folder");
            workshop.at(inside)
        };
        let collect = top.join("config/container/collect").display().to_string();
        let image = folder("context") + "/image";
        Tool(vec![collect, env!("CARGO_BIN_EXE_redial").to_owned(), image]).run();
        let (_, last_stage) = DOCKERFILE.split_once("\nFROM scratch\n").expect("its last stage");
        let last_stage = format!("FROM scratch\n{}", last_stage.replace("--from=build /image", "image"));
        fs::write(workshop.folder.join("context/Dockerfile"), last_stage).expect("the last stage");
        let config = PathBuf::from(folder("config"));
        fs::write(config.join("redial.toml"), CONFIGURATION).expect("the configuration");
        fs::copy(top.join("config/demo.ldif"), config.join("demo.ldif")).expect("the phonebook");
        workshop
    }

    fn at(&self, inside: &str) -> String {
        self.folder.join(inside).display().to_string()
    }

    /// podman, with a store of the test's own, and what works without systemd and on any file system.
    fn podman(&self) -> Tool {
        let places = ["--root", &self.at("store"), "--runroot", &self.at("run"), "--storage-driver", "vfs"];
        Tool::new(&["podman"]).with(&places).with(&["--runtime", "runc", "--cgroup-manager", "cgroupfs"])
    }

    /// buildah, which also builds where no container can be run.
    fn buildah(&self) -> Tool {
        Tool::new(&["buildah", "--root", &self.at("store"), "--runroot", &self.at("run"), "--storage-driver", "vfs"])
    }

    /// The first engine that builds the image and can run a container of it; or why none does.
    fn engine(&self) -> Result<Tool, String> {
        let build = ["build", "-t", &self.tag];
        // Only Docker's format of an image has a health check.
        let tries = [(self.podman(), &["--format", "docker"][..]), (Tool::new(&["docker"]), &[])];
        let mut refused = Vec::new();
        for (engine, format) in tries {
            let built = engine.with(&build).with(format).with(&[&self.at("context")]).attempt();
            let ran = built.and_then(|_| engine.with(&["run", "--rm"]).with(&AROUND).with(&[&self.tag, "--version"]).attempt());
            match ran {
                Ok(_) => return Ok(engine),
                Err(why) => refused.push(why),
            }
        }
        Err(refused.join("\n"))
    }

    fn run_by(&self, engine: &Tool) -> Container {
        let volume = format!("{}:/etc/redial:ro", self.at("config"));
        let sealed = ["--name", &self.tag, "--read-only", "--cap-drop=ALL", "--security-opt", "no-new-privileges", "-v", &volume];
        let run = engine.with(&["run"]).with(&AROUND).with(&sealed).with(&[&self.tag]);
        let process = run.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the container");
        let pid = engine.with(&["inspect", "--format", "{{.State.Pid}}", &self.tag]);
        eventually("the container runs", || pid.attempt().is_ok_and(|pid| pid != "0"));
        Container {
            process,
            pid: pid.run(),
            inside: engine.with(&["exec", &self.tag]),
            stop: engine.with(&["stop", "-t", "20", &self.tag]),
            remove: engine.with(&["rm", "-f", &self.tag]),
        }
    }

    fn run_in_a_chroot(&self) -> Container {
        let root = format!("type=local,dest={}", self.at("root"));
        self.buildah().with(&["build", "--isolation", "chroot", "--output", &root, &self.at("context")]).run();
        let sealed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed/sealed").display().to_string();
        let run = Tool::new(&["unshare", "--mount", "--net", &sealed, &self.at("root"), &self.at("config")]);
        let started = words_of("ENTRYPOINT").into_iter().chain(words_of("CMD")).collect::<Vec<_>>();
        let run = Tool([run.0, started].concat());
        let mut process = run.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the chroot");
        let mut pid = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut pid).expect("its process id");
        let pid = pid.trim().to_owned();
        let enter = ["--target", &pid, "--mount", "--net", "--root", "--wd", "--setuid", UID, "--setgid", UID];
        Container {
            process,
            inside: Tool::new(&["nsenter"]).with(&enter),
            stop: Tool::new(&["kill", "-TERM", &pid]),
            remove: Tool::new(&["kill", "-KILL", &pid]),
            pid,
        }
    }
}

/// Limits that engines would otherwise raise, which not every machine allows; and no network but its own loopback.
const AROUND: [&str; 6] = ["--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = Tool::new(&["rm", "-rf", &self.at("")]).attempt();
    }
}

/// The words of an instruction of the image, which stand in the Dockerfile as JSON.
fn words_of(instruction: &str) -> Vec<String> {
    let line = DOCKERFILE.lines().rfind(|line| line.starts_with(instruction)).expect("the instruction");
    let begin = line.find('[').expect("its words");
    serde_json::from_str(&line[begin..]).expect("a list of words")
}

/// The image's program, running; ended when dropped.
struct Container {
    process: Child,
    pid: String,
    /// Runs a command beside it.
    inside: Tool,
    stop: Tool,
    remove: Tool,
}

impl Container {
    fn serves_sealed_until_it_is_stopped(mut self) {
        let inside = |words: &[String]| Tool([&self.inside.0[..], words].concat());
        let health_check = inside(&words_of("HEALTHCHECK"));
        eventually("the health check is content", || health_check.attempt().is_ok());
        let [program] = words_of("ENTRYPOINT").try_into().expect("one word");
        inside(&[program]).with(&["phones", "ldap://127.0.0.1:3890", "--connections", "2", "--count", "20"]).run();

        let of_process = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid)).expect("what /proc says of it");
        let status = of_process("status");
        let nobody = ["Uid:", "Gid:"].map(|id| format!("{id}\t{UID}\t{UID}\t{UID}\t{UID}"));
        let powerless = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(|set| format!("{set}\t0000000000000000"));
        for line in nobody.into_iter().chain(powerless).chain(["NoNewPrivs:\t1".to_owned()]) {
            assert!(status.lines().any(|there| there == line), "no {line:?} in {status}");
        }
        for place in ["/", "/etc/redial"] {
            let mounts = of_process("mounts");
            let mount = mounts.lines().rfind(|mount| mount.split(' ').nth(1) == Some(place)).expect("a mount");
            assert!(mount.split(' ').nth(3).expect("its options").split(',').any(|option| option == "ro"), "{mount}");
        }

        self.stop.run();
        assert_eq!(self.process.wait().expect("its end").code(), Some(0));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.remove.attempt();
            let _ = self.process.wait();
        }
    }
}

#[test]
fn an_engine_runs_the_image_as_nobody_without_capabilities_on_a_read_only_root() {
    let workshop = Workshop::new("engine");
    let went = match workshop.engine() {
        Ok(engine) => {
            workshop.run_by(&engine).serves_sealed_until_it_is_stopped();
            let _ = engine.with(&["rm", "-f", &workshop.tag]).attempt();
            let _ = engine.with(&["rmi", "-f", &workshop.tag]).attempt();
            format!("was run by {}", engine.0.join(" "))
        }
        Err(why) => format!("was run in a chroot only; no engine runs it here:\n{why}"),
    };
    // Past what the test harness hides: which way it went is to be seen.
    writeln!(stderr(), "The image {went}").expect("standard error");
}

#[test]
fn without_an_engine_the_image_runs_so_in_a_chroot() {
    Workshop::new("chroot").run_in_a_chroot().serves_sealed_until_it_is_stopped();
}
