//! How the sections fit together: what a single key cannot show. Pure.

use super::file::{Placed, Written, WrittenAccess};
use super::problem::{Notes, Place};
use super::{Admin, Clients, DirectoryConfig, DirectoryKind, Listener, TlsMode};
use crate::identity::accounts::normalised;
use std::collections::HashSet;
use std::net::SocketAddr;

/// Looks at everything, and notes what does not fit.
pub(super) fn check(written: &Written, notes: &Notes) {
    listeners(&written.listeners, notes);
    if let Some(admin) = &written.admin {
        self::admin(admin, &written.listeners, notes);
    }
    directories(&written.directories, notes);
    for (index, access) in written.accesses.iter().enumerate() {
        if written.accesses.iter().take(index).any(|earlier| earlier.access.name == access.access.name) {
            notes.problem(&access.place, "another access has this name; the logs and `redial explain` could not tell them apart");
        }
        self::access(access, written, notes);
    }
    accounts(written, notes);
}

fn listeners(listeners: &[Placed<Listener>], notes: &Notes) {
    for (index, Placed { value: listener, place }) in listeners.iter().enumerate() {
        if let Some(other) = listeners.iter().take(index).find(|other| collide(other.value.address, listener.address)) {
            notes.problem(place, format!("is taken already by the listener on line {}", line_of(&other.place)));
        }
        match (listener.tls.as_ref().map(|tls| tls.mode), listener.address.port()) {
            (Some(TlsMode::Ldaps), 389) => notes.warn(place, "port 389 is for plain LDAP and StartTLS: phones expect LDAPS on 636"),
            (None | Some(TlsMode::StartTlsOptional | TlsMode::StartTlsRequired), 636) => {
                notes.warn(place, "port 636 is for LDAPS: phones expect TLS from the first octet there");
            }
            _ => {}
        }
        let always_encrypted = matches!(listener.tls.as_ref().map(|tls| tls.mode), Some(TlsMode::Ldaps | TlsMode::StartTlsRequired));
        if listener.plain_passwords && always_encrypted {
            notes.warn(place, "plain_passwords = \"allow\" has no effect here: nothing is said before TLS");
        }
    }
}

fn admin(Placed { value: admin, place }: &Placed<Admin>, listeners: &[Placed<Listener>], notes: &Notes) {
    if admin.token.is_none() && !admin.address.ip().is_loopback() {
        notes.problem(place, "others than this machine reach it: add token_file, or take a loopback address (127.0.0.1 or [::1])");
    }
    if let Some(other) = listeners.iter().find(|other| collide(other.value.address, admin.address)) {
        notes.problem(place, format!("is taken already by the listener on line {}", line_of(&other.place)));
    }
}

fn directories(directories: &[Placed<DirectoryConfig>], notes: &Notes) {
    for (index, Placed { value: directory, place }) in directories.iter().enumerate() {
        for other in directories.iter().take(index).map(|other| &other.value) {
            let (name, base) = (&other.name, &other.base_dn);
            if directory.base_dn == *base {
                notes.problem(place, format!("is the base of directory.{name} too: list all controllers of one base in one directory"));
            } else if directory.base_dn.is_under(base) {
                notes.problem(place, format!("lies below the base of directory.{name}: bases must not overlap"));
            } else if base.is_under(&directory.base_dn) {
                notes.problem(place, format!("lies above the base of directory.{name}: bases must not overlap"));
            }
        }
    }
}

fn access(WrittenAccess { access, place, bases }: &WrittenAccess, written: &Written, notes: &Notes) {
    for (index, ((_, base), place)) in access.bases.iter().zip(bases).enumerate() {
        if access.bases.iter().take(index).any(|(_, earlier)| earlier == base) {
            notes.warn(place, "is listed twice");
        }
        let mut directories = written.directories.iter().map(|directory| &directory.value.base_dn);
        if !written.lacks_directories && !directories.any(|directory| base.is_under(directory) || directory.is_under(base)) {
            notes.problem(place, format!("no directory answers there; the bases are {}", known_bases(&written.directories)));
        }
    }
    for group in access.groups().iter().filter(|_| !written.lacks_directories) {
        let controllers = |directory: &&Placed<DirectoryConfig>| matches!(directory.value.kind, DirectoryKind::Upstream(_));
        if !written.directories.iter().filter(controllers).any(|directory| group.dn.is_under(&directory.value.base_dn)) {
            let why = "lies below no directory with controllers, which could say who is in it";
            notes.problem(place, format!("group:{} {why}; the bases are {}", group.name, known_bases(&written.directories)));
        }
    }
    if matches!(access.clients, Clients::Any | Clients::Anonymous) {
        for directory in written.directories.iter().map(|directory| &directory.value).filter(|directory| directory.is_searched_as_client())
        {
            if access.bases.iter().any(|(_, base)| base.is_under(&directory.base_dn) || directory.base_dn.is_under(base)) {
                let name = &directory.name;
                notes.warn(
                    place,
                    format!("lets anonymous clients in, but directory.{name} searches under the client's name: they will be refused there"),
                );
            }
        }
    }
}

fn accounts(written: &Written, notes: &Notes) {
    let mut names = HashSet::new();
    for Placed { value: account, place } in &written.accounts {
        if !names.insert(normalised(&account.name)) {
            notes.problem(place, "another account has this name");
        }
    }
}

/// Both cannot be listened on. A wildcard takes the port on every address of its family; port 0 is any free one.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let same_address = one.ip() == other.ip() || (same_family && (one.ip().is_unspecified() || other.ip().is_unspecified()));
    one.port() != 0 && one.port() == other.port() && same_address
}

fn known_bases(directories: &[Placed<DirectoryConfig>]) -> String {
    let bases: Vec<String> = directories.iter().map(|directory| format!("{:?}", directory.value.base)).collect();
    if bases.is_empty() { "none".to_owned() } else { bases.join(", ") }
}

fn line_of(place: &Place) -> usize {
    place.line.unwrap_or_default()
}
