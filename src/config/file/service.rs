//! The service account of a directory, and where its password is.

use super::{Context, Mention, Mentioned, PasswordSource, secret_path};
use crate::config::problem::Place;
use crate::config::table::Table;
use crate::config::{SearchAs, ServiceAccount};
use crate::secret::Secret;

/// `bind_dn` with exactly one source of its password.
pub(super) fn read(
    table: &mut Table<'_>,
    context: Context<'_>,
    search_as: SearchAs,
    directory: usize,
    mentions: &mut Vec<Mention>,
) -> Option<ServiceAccount> {
    let bind_dn = table.value("bind_dn");
    let sources = password_sources(table, context);
    for (place, _) in sources.iter().skip(1) {
        context.notes.problem(place, "only one of password_file, password_env and password may be there");
    }
    let source = sources.into_iter().next();
    let Some(value) = bind_dn else {
        if let Some((place, _)) = source {
            table.doubt(place.problem("has no effect without bind_dn: name the service account, or remove it"));
        } else if search_as == SearchAs::Service {
            table.lacks("bind_dn", "searches run under a service account; name it, or write search_as = \"client\"");
        }
        return None;
    };
    let bind_dn = value.text()?.to_owned();
    if bind_dn.is_empty() {
        value.problem("must not be empty: name the service account by its DN, or by user@domain with Active Directory");
    }
    let Some((place, source)) = source else {
        if !["password_file", "password_env", "password"].iter().any(|key| table.has(key)) {
            table.doubt(value.place.problem("has no password: add password_file (or password_env)"));
        }
        return None;
    };
    if search_as == SearchAs::Client {
        context.notes.warn(&value.place, "has no effect on searches, which run as the client");
    }
    mentions.push(Mention { place, what: Mentioned::Password { directory, source } });
    // The password is filled in by `load`.
    Some(ServiceAccount { bind_dn, password: Secret::new(&[]) })
}

/// Each place that says the service account's password, or where it is.
fn password_sources(table: &mut Table<'_>, context: Context<'_>) -> Vec<(Place, PasswordSource)> {
    let mut sources = Vec::new();
    if let Some(file) = secret_path(table, "password_file", context) {
        sources.push((file.place, PasswordSource::File(file.value)));
    }
    if let Some(value) = table.secret("password_env")
        && let Some(variable) = value.text()
    {
        if variable.is_empty() || variable.contains(['=', '\0']) {
            value.problem("must be the name of an environment variable");
        }
        sources.push((value.place, PasswordSource::Environment(variable.to_owned())));
    }
    if let Some(value) = table.secret("password")
        && let Some(password) = value.text()
    {
        if !context.is_private {
            value.problem(
                "may stand here only where nobody but its owner can read this file: chmod 600 it, or use password_file or password_env",
            );
        }
        if password.is_empty() {
            value.problem("must not be empty: a bind with an empty password is anonymous (RFC 4513 section 5.1.2)");
        }
        sources.push((value.place, PasswordSource::Inline(Secret::new(password.as_bytes()))));
    }
    sources
}
