//! `[audit]`.

use super::{Context, path_of};
use crate::config::table::{Table, Value};
use crate::config::{Audit, AuditFile};

/// Reads where the audit log goes and what stands in it; `None` where no file is named.
pub(super) fn read(mut table: Table<'_>, context: Context<'_>) -> Option<Audit> {
    let file = table.required("file", "where the lines go: a file, or \"-\" for standard output").and_then(|value| file_of(value, context));
    let mut is_on = |key| table.value(key).and_then(|value| value.boolean()).unwrap_or(false);
    let (searches, compares) = (is_on("searches"), is_on("compares"));
    table.finish();
    Some(Audit { file: file?, searches, compares })
}

fn file_of(value: Value<'_>, context: Context<'_>) -> Option<AuditFile> {
    if value.as_text() == Some("-") {
        return Some(AuditFile::StandardOutput);
    }
    path_of(value, context).map(|path| AuditFile::Path(path.value))
}
