//! `[[account]]`.

use super::{Context, Mention, Mentioned, Placed, secret_path};
use crate::config::Account;
use crate::config::table::Table;
use crate::identity::accounts;

/// Reads one account, the `index`th; `None` where it has no name or no hash.
pub(super) fn read(mut table: Table<'_>, context: Context<'_>, index: usize, mentions: &mut Vec<Mention>) -> Option<Placed<Account>> {
    let name = table.required("name", "the name that the phone binds with");
    let hash = table.secret("password_hash");
    let file = secret_path(&mut table, "password_hash_file", context);
    if !table.has("password_hash") && !table.has("password_hash_file") {
        table.lacks("password_hash", "what `redial hash-password` prints, or password_hash_file");
    }
    table.finish();

    let name = name?;
    let text = name.text()?.trim().to_owned();
    if text.is_empty() {
        name.problem("must not be empty");
        return None;
    }
    let password_hash = match (hash, file) {
        (Some(hash), None) => {
            let text = hash.text()?;
            if let Err(error) = accounts::check_hash(text) {
                hash.problem(error.to_string());
                return None;
            }
            text.to_owned()
        }
        (None, Some(file)) => {
            mentions.push(Mention { place: file.place, what: Mentioned::PasswordHash { account: index, file: file.value } });
            // Filled in by `load`.
            String::new()
        }
        (Some(hash), Some(_)) => {
            hash.problem("only one of password_hash and password_hash_file may be there");
            return None;
        }
        (None, None) => return None,
    };
    Some(Placed { value: Account { name: text, password_hash }, place: name.place })
}
