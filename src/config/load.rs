//! Reads a configuration and the files that it names, and checks all of it.
//!
//! Everything is looked at before the program starts, so that a wrong path or a key that does not fit its certificate is found by
//! `redial check` and not by the first phone. Messages name files and lines, never what a secret file holds.

use super::file::{Mention, Mentioned, PasswordSource, Written, read};
use super::problem::{Notes, Place, Problem};
use super::ticket_keys::ticket_keys;
use super::{Config, DirectoryKind, ServiceAccount, check};
use crate::identity::accounts;
use crate::secret::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::Permissions;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A configuration that holds, with what is questionable about it.
#[derive(Debug)]
pub struct Loaded {
    /// Only valid values.
    pub config: Config,
    /// What works, but hardly as meant.
    pub warnings: Vec<Problem>,
    /// All files that it was read from.
    pub files: Vec<PathBuf>,
}

/// A configuration that does not hold.
#[derive(Debug)]
pub struct Rejected {
    /// Everything that must be changed; at least one.
    pub problems: Vec<Problem>,
    /// What else is questionable.
    pub warnings: Vec<Problem>,
    /// The files that it was read from, as far as they are known.
    pub files: Vec<PathBuf>,
}

impl std::fmt::Display for Rejected {
    /// One problem a line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Reads `file`, the certificates, keys and passwords that it names, and checks all of it. Blocks on the disk.
///
/// # Errors
/// All problems at once.
pub fn load(file: &Path) -> Result<Loaded, Rejected> {
    let files = vec![file.to_owned()];
    let rejected = |why: String| Rejected { problems: vec![Problem::of_file(why)], warnings: Vec::new(), files: files.clone() };
    let octets = read_file(file, LARGEST_FILE).map_err(|error| rejected(cannot_read(&error)))?;
    let text = std::str::from_utf8(&octets).map_err(|_| rejected("is not UTF-8 text".to_owned()))?;
    let is_private = std::fs::metadata(file).is_ok_and(|metadata| is_private(&metadata.permissions()));
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    match load_text(text, folder, is_private) {
        Ok(loaded) => Ok(Loaded { files: [files, loaded.files].concat(), ..loaded }),
        Err(rejected) => Err(Rejected { files: [files, rejected.files].concat(), ..rejected }),
    }
}

/// The same for a configuration that is at hand: `folder` is where relative paths start, and `is_private` says that nobody else can read
/// `text`, so that it may hold passwords.
///
/// # Errors
/// All problems at once.
pub fn load_text(text: &str, folder: &Path, is_private: bool) -> Result<Loaded, Rejected> {
    let notes = Notes::default();
    let mut files = Vec::new();
    let config = read(text, folder, is_private, &notes).and_then(|written| {
        files = written.mentions.iter().flat_map(|mention| mention.what.files()).cloned().collect();
        check::check(&written, &notes);
        complete(written, &notes)
    });
    let (problems, warnings) = notes.into_parts();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, warnings, files }),
        _ => Err(Rejected { problems, warnings, files }),
    }
}

/// Reads what the configuration mentions, and fills in the secrets.
fn complete(mut written: Written, notes: &Notes) -> Option<Config> {
    for Mention { place, what } in std::mem::take(&mut written.mentions) {
        match what {
            Mentioned::Certificate { certificate, key, key_place } => certified_key(&certificate, &key, &place, &key_place, notes),
            Mentioned::Ca(file) => {
                certificates(&file, &place, notes);
            }
            Mentioned::TicketKeys(file) => check_ticket_keys(&file, &place, notes),
            Mentioned::Ldif(file) => {
                if let Err(error) = std::fs::File::open(&file) {
                    notes.problem(&place, cannot_read(&error));
                }
            }
            Mentioned::Password { directory, source } => {
                let password = password(source, &place, notes);
                if let (Some(password), Some(service)) = (password, service_of(&mut written, directory)) {
                    service.password = password;
                }
            }
            Mentioned::AdminToken(file) => {
                if let (Some(token), Some(admin)) = (token(&file, &place, notes), &mut written.admin) {
                    admin.value.token = Some(token);
                }
            }
            Mentioned::PasswordHash { account, file } => {
                if let (Some(hash), Some(account)) = (password_hash(&file, &place, notes), written.accounts.get_mut(account)) {
                    account.value.password_hash = hash;
                }
            }
        }
    }
    Some(Config {
        listeners: written.listeners.into_iter().map(|listener| listener.value).collect(),
        directories: written.directories.into_iter().map(|directory| directory.value).collect(),
        accesses: written.accesses.into_iter().map(|access| access.access).collect(),
        cache: written.cache,
        binds: written.binds,
        limits: written.limits,
        accounts: written.accounts.into_iter().map(|account| account.value).collect(),
        admin: written.admin.map(|admin| admin.value),
        audit: written.audit,
    })
}

fn service_of(written: &mut Written, directory: usize) -> Option<&mut ServiceAccount> {
    match &mut written.directories.get_mut(directory)?.value.kind {
        DirectoryKind::Upstream(upstream) => upstream.service.as_mut(),
        DirectoryKind::Embedded { .. } => None,
    }
}

fn password_hash(file: &Path, place: &Place, notes: &Notes) -> Option<String> {
    let line = first_line(file, place, notes)?;
    match std::str::from_utf8(&line).ok().map(|text| (text, accounts::check_hash(text))) {
        Some((text, Ok(()))) => return Some(text.to_owned()),
        Some((_, Err(error))) => notes.problem(place, error.to_string()),
        None => notes.problem(place, "is not text"),
    }
    None
}

fn certified_key(certificate: &Path, key: &Path, place: &Place, key_place: &Place, notes: &Notes) {
    let chain = certificates(certificate, place, notes);
    let private = match read_file(key, LARGEST_FILE) {
        Err(error) => {
            notes.problem(key_place, cannot_read(&error));
            return;
        }
        Ok(octets) => PrivateKeyDer::from_pem_slice(&octets),
    };
    if is_readable_by_all(key) {
        notes.problem(key_place, "everybody on this machine can read this private key: chmod 600 (or 640 for a group) it");
    }
    let Ok(private) = private else {
        notes.problem(key_place, "holds no private key in PEM that can be read; an encrypted one must be decrypted first");
        return;
    };
    let Some(chain) = chain else { return };
    match CertifiedKey::from_der(chain, private, &rustls::crypto::aws_lc_rs::default_provider()) {
        Ok(_) => {}
        Err(rustls::Error::InconsistentKeys(_)) => notes.problem(key_place, "is not the key of the listener's certificate"),
        Err(error) => notes.problem(key_place, format!("cannot be used: {error}")),
    }
}

/// The certificates in a PEM file, at least one.
fn certificates(file: &Path, place: &Place, notes: &Notes) -> Option<Vec<CertificateDer<'static>>> {
    let octets = match read_file(file, LARGEST_FILE) {
        Ok(octets) => octets,
        Err(error) => {
            notes.problem(place, cannot_read(&error));
            return None;
        }
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => return Some(certificates),
        Ok(_) => notes.problem(place, "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"),
        Err(_) => notes.problem(place, "is not well-formed PEM"),
    }
    None
}

fn check_ticket_keys(file: &Path, place: &Place, notes: &Notes) {
    match read_file(file, LARGEST_SECRET) {
        Err(error) => notes.problem(place, cannot_read(&error)),
        Ok(octets) => {
            if let Err(error) = ticket_keys(&octets) {
                notes.problem(place, error.to_string());
            }
        }
    }
    if is_readable_by_all(file) {
        notes.problem(place, "everybody on this machine can read these keys: chmod 600 (or 640 for a group) it");
    }
}

fn password(source: PasswordSource, place: &Place, notes: &Notes) -> Option<Secret> {
    match source {
        PasswordSource::Inline(password) => Some(password),
        PasswordSource::Environment(variable) => match std::env::var_os(&variable) {
            Some(value) if !value.is_empty() => Some(Secret::new(value.as_encoded_bytes())),
            Some(_) => {
                notes.problem(place, "this environment variable is empty");
                None
            }
            None => {
                notes.problem(place, "this environment variable is not set");
                None
            }
        },
        PasswordSource::File(file) => secret_line(&file, "password", place, notes),
    }
}

/// The admin address's token: what an HTTP header can carry (RFC 6750 section 2.1), and nobody guesses.
fn token(file: &Path, place: &Place, notes: &Notes) -> Option<Secret> {
    let token = secret_line(file, "token", place, notes)?;
    let octets = token.expose();
    if !octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(octet)) {
        notes.problem(place, "a token is made of letters, digits and -._~+/= only, such as `openssl rand -hex 32` prints");
    } else if octets.len() < SHORTEST_TOKEN {
        notes.problem(place, format!("a token has {SHORTEST_TOKEN} characters at least: `openssl rand -hex 32` prints one"));
    }
    Some(token)
}

/// The secret in the first line of a file; `what` it is called.
fn secret_line(file: &Path, what: &str, place: &Place, notes: &Notes) -> Option<Secret> {
    let line = first_line(file, place, notes)?;
    if is_readable_by_all(file) {
        notes.problem(place, format!("everybody on this machine can read this {what}: chmod 600 (or 640 for a group) it"));
    }
    if line.is_empty() {
        notes.problem(place, format!("holds no {what} in its first line"));
        return None;
    }
    Some(Secret::new(&line))
}

/// The first line of a small file, without its end of line.
fn first_line(file: &Path, place: &Place, notes: &Notes) -> Option<Zeroizing<Vec<u8>>> {
    let octets = match read_file(file, LARGEST_SECRET) {
        Ok(octets) => octets,
        Err(error) => {
            notes.problem(place, cannot_read(&error));
            return None;
        }
    };
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    Some(Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
}

/// A whole file, unless it is larger than a file of this kind can be.
fn read_file(file: &Path, largest: u64) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let opened = std::fs::File::open(file)?;
    // With room for all of it, a password is not left behind in a smaller buffer that was outgrown.
    let mut octets = Zeroizing::new(Vec::with_capacity(usize::try_from(opened.metadata()?.len().min(largest)).unwrap_or_default() + 1));
    if opened.take(largest + 1).read_to_end(&mut octets)? as u64 > largest {
        return Err(std::io::Error::other("too large"));
    }
    Ok(octets)
}

fn cannot_read(error: &std::io::Error) -> String {
    format!("cannot be read: {error}")
}

fn is_readable_by_all(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| others_may_read(&metadata.permissions()))
}

#[cfg(unix)]
fn is_private(permissions: &Permissions) -> bool {
    use std::os::unix::fs::PermissionsExt;
    permissions.mode() & 0o077 == 0
}

#[cfg(unix)]
fn others_may_read(permissions: &Permissions) -> bool {
    use std::os::unix::fs::PermissionsExt;
    permissions.mode() & 0o004 != 0
}

/// Where there are no modes, a configuration is taken as readable by others, so it may hold no password.
#[cfg(not(unix))]
fn is_private(_: &Permissions) -> bool {
    false
}

#[cfg(not(unix))]
fn others_may_read(_: &Permissions) -> bool {
    false
}

/// Of a configuration, a certificate chain or a bundle of CAs.
const LARGEST_FILE: u64 = 16 << 20;
/// Of a file with one password, hash or token.
const LARGEST_SECRET: u64 = 64 << 10;
/// Of a token: 64 bits, where it is written in hexadecimal digits.
const SHORTEST_TOKEN: usize = 16;
