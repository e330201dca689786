//! The configuration of a small site: one listener, one directory, and an access for everybody who is meant.

use redial::config::Config;
use redial::config::load::load_text;
use std::path::{Path, PathBuf};

/// What a test is about stands in it; the rest is [as usual](Self::default).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Configuration<'a> {
    /// Where the listener listens.
    pub(crate) address: &'a str,
    /// The rest of the listener's table.
    pub(crate) listener: &'a str,
    pub(crate) base: &'a str,
    /// The rest of the directory's table.
    pub(crate) directory: &'a str,
    /// Who may read everything, in TOML.
    pub(crate) clients: &'a str,
    /// The other tables.
    pub(crate) more: &'a str,
}

impl Default for Configuration<'_> {
    /// Anybody may read and write, as far as the directory lets its clients; Redial searches under a name of its own.
    fn default() -> Self {
        Self { address: "127.0.0.1:3389", listener: "", base: "dc=corp", directory: DIRECTORY, clients: "\"any\"", more: "" }
    }
}

impl Configuration<'_> {
    /// As it stands in a file.
    pub(crate) fn toml(&self) -> String {
        let Self { address, listener, base, directory, clients, more } = self;
        format!(
            "[[listener]]\naddress = \"{address}\"\n{listener}\n\n[directory.corp]\nbase = \"{base}\"\n{directory}\n\n\
             [[access]]\nname = \"everybody\"\nclients = {clients}\nbases = [\"{base}\"]\nattributes = [\"*\"]\n\n{more}\n"
        )
    }

    /// As the program reads it, with paths that begin in this package.
    pub(crate) fn load(&self) -> Config {
        self.load_in(Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    /// The same with paths that begin in `folder`.
    pub(crate) fn load_in(&self, folder: &Path) -> Config {
        load(&self.toml(), folder)
    }
}

/// Any other configuration.
pub(crate) fn load(toml: &str, folder: &Path) -> Config {
    load_text(toml, folder, true).unwrap_or_else(|rejected| panic!("{rejected}\n{toml}")).config
}

/// Before [Ada's phonebook](folder), with other tables behind it; as it stands in a file.
pub(crate) fn before_a_phonebook(address: &str, more: &str) -> String {
    Configuration { address, base: "dc=x", directory: IN_MEMORY, more, ..Configuration::default() }.toml()
}

/// A folder of that test's own, with a phonebook in it: Ada, below `dc=x`.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("phonebook.ldif"), PHONEBOOK).unwrap();
    folder
}

/// Nobody is there; it takes writes.
const DIRECTORY: &str = r#"servers = ["ldap://127.0.0.1:1"]
start_tls = false
search_as = "service"
bind_dn = "cn=redial,dc=corp"
password = "service secret"
writes = "forward""#;

/// The directory of [`before_a_phonebook`].
pub(crate) const IN_MEMORY: &str = "ldif = \"phonebook.ldif\"";

/// Ada, below `dc=x`.
pub(crate) const PHONEBOOK: &str = "dn: dc=x\nobjectClass: domain\n\ndn: cn=Ada,dc=x\nobjectClass: person\ncn: Ada\ntelephoneNumber: 17\n";
