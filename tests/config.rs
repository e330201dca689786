//! Configurations that must be accepted, and configurations that must be refused with exactly the messages beside them.
//!
//! Each runs from a copy in a folder that holds the files which configurations mention: certificates, keys, passwords, LDIF. To write the
//! expected messages of a new bad file, run with `REDIAL_WRITE_EXPECTED=1`, and read them before committing.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test")]

#[path = "config/check_online.rs"]
mod check_online;
mod common;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redial::config::load::{Loaded, Rejected, load, load_text};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// No message may hold this; bad files use it wherever a password or a hash could stand.
const SECRET: &str = "hunter2";

/// A folder with everything that the configurations mention; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("redial-config-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("tls")).unwrap();
        fs::create_dir_all(folder.join("secrets")).unwrap();
        let this = Self(folder);

        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["redial.example".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        for name in ["tls/ca.pem", "tls/corp-ca.pem"] {
            this.write(name, &ca.pem(), 0o644);
        }
        this.write("tls/cert.pem", &certificate.pem(), 0o644);
        this.write("tls/key.pem", &key.serialize_pem(), 0o600);
        this.write("tls/open-key.pem", &key.serialize_pem(), 0o644);
        this.write("tls/other-key.pem", &KeyPair::generate().unwrap().serialize_pem(), 0o600);
        this.write("tls/broken.pem", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", 0o600);
        this.write("tls/empty.pem", "", 0o600);

        for name in ["secrets/corp", "secrets/people"] {
            this.write(name, &format!("{SECRET}\n"), 0o600);
        }
        this.write("secrets/open", &format!("{SECRET}\n"), 0o644);
        this.write("secrets/empty", "\n", 0o600);
        this.write("secrets/admin-token", &format!("{SECRET}-{SECRET}-{SECRET}\n"), 0o600);
        this.write("secrets/open-token", &format!("{SECRET} {SECRET} {SECRET}\n"), 0o644);
        this.write("secrets/ticket-keys", "# a key\n7e1GrqMwvTLrnWLPqPEkwEBW4BLvRiYfQmoNsfkZ5Hs=\n", 0o600);
        this.write("secrets/open-ticket-keys", &format!("{SECRET}\n"), 0o644);
        this.write("secrets/not-a-hash", &format!("{SECRET}\n"), 0o600);
        for name in ["secrets/phones.hash", "secrets/conference-room.hash"] {
            this.write(name, &format!("{HASH}\n"), 0o600);
        }
        this.write("contacts.ldif", "dn: dc=contacts\nobjectClass: domain\ndc: contacts\n", 0o644);
        this.write("broken.ldif", "dn: dc=contacts\nobjectClass domain\n", 0o644);
        this
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        file
    }

    /// A configuration, copied into the folder; readable by all, unless its first line asks for privacy.
    fn copy(&self, configuration: &Path) -> PathBuf {
        let text = fs::read_to_string(configuration).unwrap();
        let mode = if text.starts_with("# mode 0600\n") { 0o600 } else { 0o644 };
        self.write(configuration.file_name().unwrap().to_str().unwrap(), &text, mode)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind in the temporary directory is no failure.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A hash of "correct horse".
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$HBXWqIwn6Ms4UqcJfQcjUg$0jH0MbL39U104etOeB2kWmldvA+Ik8pftz04Ao4BhkA";

fn configurations(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// What is said of a configuration: problems, then warnings, one a line.
fn said(result: &Result<Loaded, Rejected>) -> String {
    let (problems, warnings) = match result {
        Ok(loaded) => (&[][..], &loaded.warnings),
        Err(rejected) => (&rejected.problems[..], &rejected.warnings),
    };
    let problems = problems.iter().map(|problem| format!("{problem}\n"));
    let warnings = warnings.iter().map(|warning| format!("warning: {warning}\n"));
    problems.chain(warnings).collect()
}

fn redial(arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_redial"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn every_bad_file_gets_exactly_its_messages() {
    let folder = Folder::new("bad");
    let files = configurations("tests/config/bad");
    assert!(files.len() >= 40, "only {} bad files", files.len());
    let mut wrong = String::new();
    for file in files {
        let result = load(&folder.copy(&file));
        let said = said(&result);
        let expected_in = file.with_extension("txt");
        if std::env::var_os("REDIAL_WRITE_EXPECTED").is_some() {
            fs::write(&expected_in, &said).unwrap();
        }
        let expected = fs::read_to_string(&expected_in).unwrap_or_default();
        if result.is_ok() || said != expected {
            wrong += &format!("{}:\n--- expected\n{expected}--- said\n{said}\n", file.display());
        }
        assert!(!said.contains(SECRET), "{}: tells a secret:\n{said}", file.display());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_file_that_is_not_toml_at_all_is_told_so_a_hundred_times_at_most() {
    let rejected = load_text(&"what a log says\n".repeat(1000), Path::new(""), true).unwrap_err();
    assert_eq!(rejected.problems.len(), 100);
    assert_eq!(rejected.problems[99].line, Some(100));
}

#[test]
fn every_good_file_is_accepted_with_exactly_its_warnings() {
    let folder = Folder::new("good");
    for file in configurations("tests/config/good") {
        let result = load(&folder.copy(&file));
        let said = said(&result);
        let expected_in = file.with_extension("txt");
        if std::env::var_os("REDIAL_WRITE_EXPECTED").is_some() && !said.is_empty() {
            fs::write(&expected_in, &said).unwrap();
        }
        assert!(result.is_ok(), "{}:\n{said}", file.display());
        assert_eq!(said, fs::read_to_string(&expected_in).unwrap_or_default(), "{}", file.display());
        assert!(!format!("{:?}", result.unwrap().config).contains(SECRET), "{}: Debug tells a secret", file.display());
    }
}

#[test]
fn every_sample_is_accepted_without_a_warning() {
    let folder = Folder::new("samples");
    let files = configurations("config");
    assert!(files.len() >= 4);
    for file in files {
        let result = load(&folder.copy(&file));
        assert!(result.is_ok() && said(&result).is_empty(), "{}:\n{}", file.display(), said(&result));
    }
}

#[test]
fn the_defaults_in_the_sample_are_the_defaults() {
    let folder = Folder::new("defaults");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/redial.toml")).unwrap();
    let is_default = |line: &&str| line.starts_with('#') && line[1..].starts_with(|letter: char| letter.is_ascii_lowercase());
    assert!(text.lines().filter(is_default).count() > 25);
    let shown: String = text.lines().map(|line| format!("{}\n", if is_default(&line) { &line[1..] } else { line })).collect();

    let without = load_text(&text, &folder.0, false).map_err(|rejected| rejected.to_string()).unwrap();
    let with = load_text(&shown, &folder.0, false).map_err(|rejected| rejected.to_string()).unwrap();
    assert_eq!(format!("{:#?}", without.config), format!("{:#?}", with.config));
}

#[test]
fn the_sample_explains_every_key() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/redial.toml")).unwrap();
    let sections = [
        "listener = [{x=1}]",
        "listener = [{tls={x=1}}]",
        "directory.a.x = 1",
        "directory.a.discover = {x=1}",
        "access = [{x=1}]",
        "account = [{x=1}]",
        "cache.x = 1",
        "cache.rule = [{x=1}]",
        "binds.x = 1",
        "limits.x = 1",
        "admin.x = 1",
        "audit.x = 1",
    ];
    let words: Vec<&str> = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').collect();
    for section in sections {
        let rejected = load_text(section, Path::new(""), false).unwrap_err();
        let said = rejected.to_string();
        let known = said.lines().find_map(|line| line.split_once("unknown key; known here: ")).unwrap_or_else(|| panic!("{said}")).1;
        for key in known.split(", ") {
            assert!(words.contains(&key), "{section}: {key} is not explained");
        }
    }
}

#[test]
fn a_password_in_a_private_file_or_the_environment_is_taken() {
    let folder = Folder::new("password");
    let text =
        "[[listener]]\naddress = \"127.0.0.1:3389\"\n[directory.a]\nbase = \"dc=a\"\nservers = [\"ldaps://a\"]\nbind_dn = \"cn=a\"\n";
    let inline = format!("{text}password = {SECRET:?}\n");
    assert!(load_text(&inline, &folder.0, true).is_ok());
    assert!(load_text(&inline, &folder.0, false).is_err());
    // PATH is set wherever tests run; what it holds does not matter.
    assert!(load_text(&format!("{text}password_env = \"PATH\"\n"), &folder.0, false).is_ok());
}

#[test]
fn check_prints_the_report_and_exits_with_64() {
    let folder = Folder::new("check");
    let good = redial(&["check", folder.copy(&configurations("config")[1]).to_str().unwrap()], "");
    let report = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.code() == Some(0) && report.ends_with("1 entry\nThe configuration is fine.\n"), "{report}");

    let bad = redial(&["check", folder.write("bad.toml", "[cache]\nttl = 5\n", 0o644).to_str().unwrap()], "");
    assert_eq!(bad.status.code(), Some(64));
    assert!(String::from_utf8(bad.stdout).unwrap().contains("line 2: cache.ttl = 5: must be a duration"));
    assert_eq!(String::from_utf8(bad.stderr).unwrap(), "");

    let missing = redial(&["check", folder.0.join("missing.toml").to_str().unwrap()], "");
    assert_eq!(missing.status.code(), Some(64));
}

#[test]
fn bad_arguments_exit_with_64() {
    assert_eq!(redial(&[], "").status.code(), Some(64));
    assert_eq!(redial(&["chekc"], "").status.code(), Some(64));
    assert_eq!(redial(&["check"], "").status.code(), Some(64));
    assert_eq!(redial(&["--version"], "").status.code(), Some(0));
    assert_eq!(redial(&["help"], "").status.code(), Some(0));
}

#[test]
fn hash_password_prints_a_hash_that_an_account_takes() {
    let output = redial(&["hash-password"], "correct horse\n");
    assert_eq!(output.status.code(), Some(0));
    let hash = String::from_utf8(output.stdout).unwrap();
    assert!(hash.starts_with("$argon2id$") && !hash.contains("correct horse"));
    redial::identity::accounts::check_hash(hash.trim()).unwrap();
    assert_eq!(redial(&["hash-password"], "\n").status.code(), Some(64));
}
