//! The smallest site: one listener before a phonebook of one person.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    dead_code,
    reason = "tests fail by panicking, and each of them uses its part of this"
)]

use std::path::{Path, PathBuf};

/// Ada, below `dc=x`.
pub(crate) const PHONEBOOK: &str = "dn: dc=x\nobjectClass: domain\n\ndn: cn=Ada,dc=x\nobjectClass: person\ncn: Ada\ntelephoneNumber: 17\n";

/// A configuration that listens there and lets everybody read everything, with other tables behind it.
pub(crate) fn toml(address: &str, more: &str) -> String {
    format!(
        r#"
        [[listener]]
        address = "{address}"

        [directory.contacts]
        base = "dc=x"
        ldif = "phonebook.ldif"

        [[access]]
        name = "everybody"
        clients = "any"
        bases = ["dc=x"]
        attributes = ["*"]

        {more}
        "#
    )
}

/// A folder of that test's own, with the phonebook in it.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("phonebook.ldif"), PHONEBOOK).unwrap();
    folder
}
