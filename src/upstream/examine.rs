//! Looks at the configured controllers once, for `redial check --online`: resolve, connect, verify, bind, read the rootDSE.
//!
//! One after another, since a password that one of them refuses is not tried on the next: the service account must not be locked by a
//! check.

use super::connect::{ConnectError, Connector, Dns, Names, TrustError, client_config};
use super::connection::{Connection, Settings};
use super::discovery::{self, Selection};
use super::search::{base_search, entries, present};
use crate::config;
use crate::directory::DirectoryError;
use crate::ldap::ResultCode;
use crate::ldap::ber::BerError;
use crate::ldap::dn::Dn;
use crate::ldap::entry::Entry;
use crate::ldap::oid;
use crate::lifecycle::lifecycle;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// What one controller showed.
#[derive(Debug)]
pub(crate) struct Examined {
    /// Its URL as configured.
    pub(crate) server: String,
    /// What it says of itself, or why nothing is known.
    pub(crate) found: Result<Found, String>,
}

/// What a controller says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// The service account was accepted; `false` where there is none, or where it was not tried any more.
    pub(crate) bound: bool,
    /// For connecting, TLS and bind together.
    pub(crate) took: Duration,
    /// It is Active Directory, or says so.
    pub(crate) active_directory: bool,
    /// It knows paged results (RFC 2696).
    pub(crate) paging: bool,
    /// Its naming contexts, as written.
    pub(crate) naming_contexts: Vec<String>,
    /// Of the groups that accesses name, those that the service account does not find.
    pub(crate) missing_groups: Vec<String>,
}

impl Found {
    /// Does it hold this base? `true` where it does not tell its naming contexts.
    pub(crate) fn holds(&self, base: &Dn) -> bool {
        let mut contexts = self.naming_contexts.iter().filter_map(|context| Dn::parse(context).ok()).peekable();
        contexts.peek().is_none() || contexts.any(|context| base.is_under(&context))
    }

    /// Adds what one entry, the rootDSE, tells.
    fn read(&mut self, entry: &[u8]) -> Result<(), BerError> {
        Entry::parse(entry)?.each_value(|attribute, value| {
            self.note(&String::from_utf8_lossy(attribute).to_ascii_lowercase(), &String::from_utf8_lossy(value));
        })
    }

    fn note(&mut self, attribute: &str, value: &str) {
        match attribute {
            "namingcontexts" => self.naming_contexts.push(value.to_owned()),
            "supportedcapabilities" => self.active_directory |= value == oid::ACTIVE_DIRECTORY,
            "supportedcontrol" => self.paging |= value == oid::PAGED_RESULTS,
            _ => {}
        }
    }
}

/// What the controllers of one directory showed.
#[derive(Debug, Default)]
pub(crate) struct Examination {
    /// In the order of the configuration, or as DNS names them, the best first.
    pub(crate) servers: Vec<Examined>,
    /// What DNS names and may not be asked.
    pub(crate) refused: Vec<String>,
}

/// Why nothing is known of any.
#[derive(Debug, Error)]
pub(crate) enum ExamineError {
    /// The CAs cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// DNS does not name any.
    #[error("{0}")]
    Discover(String),
}

/// Examines each server of a directory.
///
/// # Errors
/// As [`ExamineError`] says.
pub(crate) async fn examine(
    config: &config::Upstream,
    groups: &[config::Group],
    limits: &config::Limits,
) -> Result<Examination, ExamineError> {
    let tls = client_config(config.ca.as_deref())?;
    let settings = Settings::new(config, limits);
    // Ends the connections when the examination is over.
    let (_ending, running) = lifecycle();
    let mut account = config.service.as_ref();
    let (names, Selection { servers, refused, .. }) = named(config).await.map_err(ExamineError::Discover)?;
    let mut examined = Vec::with_capacity(servers.len());
    for server in servers {
        let connector = Connector {
            server: server.clone(),
            tls: Arc::clone(&tls),
            names: Arc::clone(&names),
            timeout: config.connect_timeout,
            lifecycle: running.clone(),
            dial: None,
            metrics: None,
        };
        let begun = Instant::now();
        let bind_as = account.map(|account| (account.bind_dn.as_str(), &account.password));
        let found = match connector.connect(bind_as, settings, ()).await {
            Err(error) => {
                if matches!(&error, ConnectError::BindRefused { code, .. } if *code == ResultCode::INVALID_CREDENTIALS) {
                    account = None;
                }
                Err(error.to_string())
            }
            Ok(connection) => {
                let found = Found { bound: bind_as.is_some(), took: begun.elapsed(), ..Found::default() };
                let deadline = Instant::now() + config.operation_timeout;
                let read = root_dse(&connection, found, deadline).await;
                match read.map_err(|error| format!("{}: the rootDSE cannot be read: {error}", server.url)) {
                    Ok(found) if found.bound => {
                        let looked_up = look_up(groups, &connection, found, deadline).await;
                        looked_up.map_err(|error| format!("{}: the groups cannot be read: {error}", server.url))
                    }
                    read => read,
                }
            }
        };
        examined.push(Examined { server: server.url, found });
    }
    Ok(Examination { servers: examined, refused })
}

/// The servers, and who knows their addresses.
async fn named(config: &config::Upstream) -> Result<(Arc<dyn Names>, Selection), String> {
    let Some(discover) = &config.discover else {
        return Ok((Arc::new(Dns::default()), Selection { servers: config.servers.clone(), ..Selection::default() }));
    };
    let names = Arc::new(Dns { resolvers: discover.resolvers.clone() });
    let (selection, _) = discovery::ask(discover, &*names).await?;
    if selection.is_declined {
        return Err(format!("DNS says that {} has no LDAP service", discover.domain));
    }
    Ok((names, selection))
}

async fn look_up(groups: &[config::Group], connection: &Connection, mut found: Found, deadline: Instant) -> Result<Found, DirectoryError> {
    for group in groups {
        let request = base_search(&group.name, present("objectClass"), &["1.1"]);
        if entries(connection, &request, deadline).await?.is_empty() {
            found.missing_groups.push(group.name.clone());
        }
    }
    Ok(found)
}

async fn root_dse(connection: &Connection, mut found: Found, deadline: Instant) -> Result<Found, DirectoryError> {
    let request = base_search("", present("objectClass"), &["namingContexts", "supportedCapabilities", "supportedControl"]);
    for entry in entries(connection, &request, deadline).await? {
        found.read(&entry).map_err(|_| DirectoryError::Misbehaved("a malformed rootDSE"))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::response::write_entry_op;

    #[test]
    fn what_a_controller_says_of_itself_is_read_from_its_root() {
        let mut entry = Vec::new();
        let attributes: [(&str, Vec<&[u8]>); 3] = [
            ("NamingContexts", vec![b"DC=corp", b"CN=Configuration,DC=corp"]),
            ("supportedCapabilities", vec![oid::ACTIVE_DIRECTORY.as_bytes()]),
            ("supportedExtension", vec![oid::PAGED_RESULTS.as_bytes()]),
        ];
        write_entry_op(&mut entry, "", attributes);
        let mut found = Found::default();
        found.read(&entry).unwrap();
        assert!(found.active_directory && !found.paging);
        assert!(found.holds(&Dn::parse("ou=staff,dc=CORP").unwrap()));
        assert!(!found.holds(&Dn::parse("dc=other").unwrap()));
    }

    #[test]
    fn a_controller_that_tells_nothing_may_hold_anything() {
        assert!(Found::default().holds(&Dn::parse("dc=other").unwrap()));
    }
}
