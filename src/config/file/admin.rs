//! `[admin]`.

use super::{Context, Mention, Mentioned, Placed, address, secret_path};
use crate::config::Admin;
use crate::config::table::Table;
use crate::secret::Secret;

/// Reads the admin address and where its token is; `None` where there is no address.
pub(super) fn read(mut table: Table<'_>, context: Context<'_>, mentions: &mut Vec<Mention>) -> Option<Placed<Admin>> {
    let address = address(&mut table, "where metrics, health and administration are answered, such as \"127.0.0.1:9390\"");
    let token = secret_path(&mut table, "token_file", context).map(|file| {
        mentions.push(Mention { place: file.place, what: Mentioned::AdminToken(file.value) });
        // Filled in by `load`.
        Secret::new(&[])
    });
    table.finish();
    let Placed { value: address, place } = address?;
    Some(Placed { value: Admin { address, token }, place })
}
