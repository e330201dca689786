//! What the demo serves: a configuration, a phonebook and a certificate, written into a directory of their own for as long as it runs.
//!
//! They are files, so that the demo is the same program as `redial serve` in all but its lines; somebody curious can read them.

use super::Arguments;
use crate::identity::accounts;
use crate::secret::Secret;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The files, removed when dropped.
#[derive(Debug)]
pub(super) struct Site {
    directory: PathBuf,
}

impl Site {
    /// Writes them.
    pub(super) fn write(arguments: &Arguments) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("redial-demo-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let site = Self { directory };
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost", "127.0.0.1", "::1"].map(str::to_owned)).map_err(io::Error::other)?;
        site.put("cert.pem", &cert.pem())?;
        site.put("key.pem", &signing_key.serialize_pem())?;
        site.put("phonebook.ldif", PHONEBOOK)?;
        let hash = accounts::hash(&Secret::new(ACCOUNT_PASSWORD.as_bytes())).map_err(io::Error::other)?;
        site.put("demo.toml", &configuration(arguments, &hash))?;
        Ok(site)
    }

    /// The configuration's file.
    pub(super) fn configuration(&self) -> PathBuf {
        self.directory.join("demo.toml")
    }

    /// Where they are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn put(&self, name: &str, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.directory.join(name))?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It is in the system's directory for temporary files, which is swept by others as well.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn configuration(Arguments { ldap_port, ldaps_port, admin_port, .. }: &Arguments, password_hash: &str) -> String {
    format!(
        r#"[[listener]]
address = "127.0.0.1:{ldap_port}"
tls = {{ certificate = "cert.pem", key = "key.pem", start_tls = "optional" }}

[[listener]]
address = "127.0.0.1:{ldaps_port}"
tls = {{ certificate = "cert.pem", key = "key.pem" }}

[directory.demo]
base = "{BASE}"
ldif = "phonebook.ldif"

[[account]]                       # its password is {ACCOUNT_PASSWORD:?}
name = "{ACCOUNT}"
password_hash = "{password_hash}"

[[access]]
name = "phones with an account"
clients = "bound"
bases = ["{BASE}"]
attributes = ["*"]

[[access]]
name = "phones without"
clients = "anonymous"
bases = ["{BASE}"]
attributes = {ATTRIBUTES}
size_limit = 100

[cache]
ttl = "1m"

[[cache.rule]]
name = "caller lookup"
filter = "(|(telephoneNumber=?)(mobile=?))"
ttl = "1h"

[limits]
connections = 500

[admin]
address = "127.0.0.1:{admin_port}"
"#
    )
}

/// The naming context of the demo's phonebook.
pub(super) const BASE: &str = "dc=example,dc=com";
/// A phone's account.
pub(super) const ACCOUNT: &str = "cn=phone,dc=example,dc=com";
/// Its password, for everybody to read.
pub(super) const ACCOUNT_PASSWORD: &str = "demo";
const ATTRIBUTES: &str = r#"["cn", "sn", "givenName", "displayName", "telephoneNumber", "mobile", "ipPhone", "department"]"#;
pub(super) const PHONEBOOK: &str = include_str!("../../../config/demo.ldif");
