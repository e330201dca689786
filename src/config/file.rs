//! The TOML as written: text in, typed sections out, every mistake of a single key noted on the way.
//!
//! Pure: files that the configuration names are only collected here, as [`Mention`]s; `load` reads them. How the sections fit together is
//! `check`'s business. A value of a key that may hold a secret never enters a message.

mod access;
mod account;
mod admin;
mod audit;
mod binds;
mod cache;
mod directory;
mod discover;
mod limits;
mod listener;
mod servers;
mod service;

use super::lines::Lines;
use super::problem::{Notes, Place, Problem};
use super::table::{Source, Table, Value};
use super::{Access, Account, Admin, Audit, Binds, Cache, DirectoryConfig, Limits, Listener};
use crate::secret::Secret;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// A configuration as written; secrets from files are still missing.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) listeners: Vec<Placed<Listener>>,
    pub(super) directories: Vec<Placed<DirectoryConfig>>,
    pub(super) accesses: Vec<WrittenAccess>,
    pub(super) cache: Cache,
    pub(super) binds: Binds,
    pub(super) limits: Limits,
    pub(super) accounts: Vec<Placed<Account>>,
    pub(super) admin: Option<Placed<Admin>>,
    pub(super) audit: Option<Audit>,
    /// Where something else must still be read.
    pub(super) mentions: Vec<Mention>,
    /// A directory could not be read well enough to be listed.
    pub(super) lacks_directories: bool,
}

/// Something with where it was written.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// An access, with where each base was written.
#[derive(Debug)]
pub(super) struct WrittenAccess {
    pub(super) access: Access,
    pub(super) place: Place,
    pub(super) bases: Vec<Place>,
}

/// Something outside the file that belongs to the configuration.
#[derive(Debug)]
pub(super) struct Mention {
    pub(super) place: Place,
    pub(super) what: Mentioned,
}

/// What is mentioned.
#[derive(Debug)]
pub(super) enum Mentioned {
    /// A listener's certificate and key, which must belong together.
    Certificate { certificate: PathBuf, key: PathBuf, key_place: Place },
    /// CA certificates.
    Ca(PathBuf),
    /// Keys for session tickets.
    TicketKeys(PathBuf),
    /// The password of a directory's service account.
    Password { directory: usize, source: PasswordSource },
    /// The hash of an account's password.
    PasswordHash { account: usize, file: PathBuf },
    /// The admin address's token.
    AdminToken(PathBuf),
    /// An embedded directory's entries.
    Ldif(PathBuf),
}

impl Mentioned {
    /// The files that are read for it.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, other) = match self {
            Self::Certificate { certificate, key, .. } => (Some(certificate), Some(key)),
            Self::Ca(file)
            | Self::Ldif(file)
            | Self::TicketKeys(file)
            | Self::AdminToken(file)
            | Self::PasswordHash { file, .. }
            | Self::Password { source: PasswordSource::File(file), .. } => (Some(file), None),
            Self::Password { source: PasswordSource::Environment(_) | PasswordSource::Inline(_), .. } => (None, None),
        };
        one.into_iter().chain(other)
    }
}

/// Where a password comes from.
#[derive(Debug)]
pub(super) enum PasswordSource {
    /// The first line of this file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// The configuration file itself.
    Inline(Secret),
}

/// What a section needs besides its table.
#[derive(Debug, Clone, Copy)]
struct Context<'d> {
    notes: &'d Notes,
    /// Relative paths start here.
    folder: &'d Path,
    /// Nobody but its owner can read the configuration file.
    is_private: bool,
}

/// Reads `text`; paths in it are relative to `folder`.
pub(super) fn read(text: &str, folder: &Path, is_private: bool, notes: &Notes) -> Option<Written> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::of(text);
    let source = Source { text, lines: &lines, notes };
    for error in errors.iter().take(MAX_ERRORS) {
        let line = error.span().map(|span| source.line(span.start));
        notes.note(Problem { line, ..Problem::of_file(format!("not TOML: {}", error.message())) });
    }
    if !errors.is_empty() {
        return None;
    }
    Some(sections(source.root(root.get_ref()), Context { notes, folder, is_private }))
}

fn sections(mut root: Table<'_>, context: Context<'_>) -> Written {
    let mut mentions = Vec::new();
    let listeners = root.tables("listener");
    if !root.has("listener") {
        root.doubt(Problem::of_file("missing: at least one [[listener]], where phones connect"));
    }
    let listeners = listeners.into_iter().filter_map(|table| listener::read(table, context, &mut mentions)).collect();
    let (directories, lacks_directories) = directories(&mut root, context, &mut mentions);
    let accesses = root.tables("access");
    if !root.has("access") {
        context.notes.warn_of_file(Problem::of_file("there is no [[access]]: every search will be refused"));
    }
    let accesses = accesses.into_iter().filter_map(|table| access::read(table, context)).collect();
    let cache = root.table("cache").map(|table| cache::read(table, context)).unwrap_or_default();
    let binds = root.table("binds").map(binds::read).unwrap_or_default();
    let limits = root.table("limits").map(limits::read).unwrap_or_default();
    let mut accounts = Vec::new();
    for table in root.tables("account") {
        accounts.extend(account::read(table, context, accounts.len(), &mut mentions));
    }
    let admin = root.table("admin").and_then(|table| admin::read(table, context, &mut mentions));
    let audit = root.table("audit").and_then(|table| audit::read(table, context));
    root.finish();
    Written { listeners, directories, accesses, cache, binds, limits, accounts, admin, audit, mentions, lacks_directories }
}

/// `[directory.NAME]`, in the order of the file, and whether one could not be read.
fn directories(root: &mut Table<'_>, context: Context<'_>, mentions: &mut Vec<Mention>) -> (Vec<Placed<DirectoryConfig>>, bool) {
    let is_there = root.has("directory");
    let table = root.table("directory");
    let is_table = table.is_some();
    let named = table.map(Table::named).unwrap_or_default();
    if named.is_empty() && (is_table || !is_there) {
        root.doubt(Problem::of_file("missing: at least one [directory.NAME], which answers"));
    }
    let mut lacks_directories = named.is_empty();
    let mut directories = Vec::new();
    for (name, value) in named {
        let read = value.table().and_then(|table| directory::read(name, table, context, directories.len(), mentions));
        lacks_directories |= read.is_none();
        directories.extend(read);
    }
    (directories, lacks_directories)
}

/// An `address` that must be there.
fn address(table: &mut Table<'_>, what: &str) -> Option<Placed<SocketAddr>> {
    let value = table.required("address", what)?;
    let Ok(address) = value.text()?.parse() else {
        value.problem("must be an IP address and a port, such as \"0.0.0.0:636\" or \"[::]:636\"");
        return None;
    };
    Some(Placed { value: address, place: value.place })
}

/// A list of networks; empty where there is none.
fn networks(table: &mut Table<'_>, key: &'static str) -> Vec<ipnet::IpNet> {
    let Some(value) = table.value(key) else { return Vec::new() };
    let Some(items) = value.list() else { return Vec::new() };
    if items.is_empty() {
        value.problem("must not be empty; leave the key out where everybody is meant");
    }
    items.iter().filter_map(network).collect()
}

/// A network; an address alone is a network of one.
fn network(value: &Value<'_>) -> Option<ipnet::IpNet> {
    let text = value.text()?;
    let network = text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()));
    let Some(network): Option<ipnet::IpNet> = network else {
        value.problem("must be a network such as \"10.20.0.0/16\" or \"fd00::/8\"");
        return None;
    };
    if network != network.trunc() {
        value.problem(format!("has bits beyond its prefix; write \"{}\"", network.trunc()));
        return None;
    }
    Some(network)
}

/// A path, from the configuration file's folder where it is relative.
fn path(table: &mut Table<'_>, key: &'static str, context: Context<'_>) -> Option<Placed<PathBuf>> {
    path_of(table.value(key)?, context)
}

/// The path of a file with a secret: never repeated, since it may be the secret itself, by mistake.
fn secret_path(table: &mut Table<'_>, key: &'static str, context: Context<'_>) -> Option<Placed<PathBuf>> {
    path_of(table.secret(key)?, context)
}

fn path_of(value: Value<'_>, context: Context<'_>) -> Option<Placed<PathBuf>> {
    let text = value.text()?;
    if text.is_empty() {
        value.problem("must name a file");
        return None;
    }
    Some(Placed { value: context.folder.join(text), place: value.place })
}

/// A name that an administrator gives: for logs, metrics and `explain`.
fn name(table: &mut Table<'_>) -> Option<Placed<String>> {
    let value = table.required("name", "a name for logs, metrics and `redial explain`")?;
    let text = value.text()?;
    if text.trim().is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
        value.problem("must be a name of 1 to 64 characters");
        return None;
    }
    Some(Placed { value: text.to_owned(), place: value.place })
}

/// Mistakes of syntax that are told; a file of more is not TOML at all.
const MAX_ERRORS: usize = 100;
