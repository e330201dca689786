//! `[[access]]`.

use super::{Context, WrittenAccess, name, networks};
use crate::config::table::{Table, Value};
use crate::config::{Access, Clients, Group};
use crate::ldap::dn::Dn;
use crate::ldap::filter::Filter;
use std::sync::Arc;

/// Reads one access; `None` where it is not known whom or what it is for.
pub(super) fn read(mut table: Table<'_>, context: Context<'_>) -> Option<WrittenAccess> {
    let place = table.place.clone();
    let name = name(&mut table);
    let networks = networks(&mut table, "networks");
    let clients =
        table.required("clients", "\"any\", \"anonymous\", \"bound\", or a list of names and groups").and_then(|value| clients(&value));
    let bases = table.required("bases", "the names below which may be searched").map(|value| bases(&value)).unwrap_or_default();
    let attributes =
        table.required("attributes", "the attributes that may be seen, or [\"*\"] for all").and_then(|value| attributes(&value, context));
    let filter = table.value("filter").map(|value| filter(&value));
    let has_size_limit = table.value("size_limit").is_some();
    let size_limit = table.integer("size_limit", 1, 1.., "must be a number of entries, at least 1; leave the key out for no limit");
    table.finish();
    // An access without its filter would show what it should hide, and is never built.
    let filter = match filter {
        Some(filter) => Some(filter?),
        None => None,
    };
    let name = name?;
    if bases.is_empty() {
        return None;
    }
    let (bases, places) = bases.into_iter().unzip();
    let size_limit = has_size_limit.then_some(size_limit);
    let access = Access { name: name.value, networks, clients: clients?, bases, attributes: attributes?, filter, size_limit };
    let place = crate::config::problem::Place { path: format!("{}.name", place.path), ..name.place };
    Some(WrittenAccess { access, place, bases: places })
}

fn clients(value: &Value<'_>) -> Option<Clients> {
    if let Some(word) = value.as_text() {
        return match word {
            "any" => Some(Clients::Any),
            "anonymous" => Some(Clients::Anonymous),
            "bound" => Some(Clients::Bound),
            _ => {
                value.problem("must be \"any\", \"anonymous\", \"bound\", or a list of names and groups");
                None
            }
        };
    }
    if !value.is_list() {
        value.problem("must be \"any\", \"anonymous\", \"bound\", or a list of names and groups");
        return None;
    }
    let texts = value.texts()?;
    if texts.is_empty() {
        value.problem("must not be empty; write \"any\", \"anonymous\" or \"bound\" where no names are meant");
        return None;
    }
    let (mut names, mut groups, mut is_sound) = (Vec::new(), Vec::new(), true);
    for (text, place) in texts {
        match listed(text) {
            Ok(Listed::Name) => names.push(text.to_owned()),
            Ok(Listed::Group(group)) => groups.push(group),
            Err(why) => {
                value.problem_at(&place, why);
                is_sound = false;
            }
        }
    }
    is_sound.then_some(Clients::Listed { names, groups })
}

enum Listed {
    Name,
    Group(Group),
}

/// One of a list of clients.
fn listed(text: &str) -> Result<Listed, String> {
    let group = text.get(..GROUP.len()).filter(|start| start.eq_ignore_ascii_case(GROUP)).and_then(|_| text.get(GROUP.len()..));
    let Some(name) = group.map(str::trim) else {
        return match text {
            "" => Err("must be a name; anonymous clients are meant by clients = \"anonymous\"".to_owned()),
            "any" | "anonymous" | "bound" => Err("is a word of its own, not a name: write it without the brackets".to_owned()),
            _ => Ok(Listed::Name),
        };
    };
    match Dn::parse(name) {
        Ok(dn) if !dn.is_root() => Ok(Listed::Group(Group { name: name.to_owned(), dn })),
        Ok(_) => Err("must name a group by its DN, such as \"group:CN=UC-Users,OU=Groups,DC=corp,DC=example\"".to_owned()),
        Err(error) => Err(format!("must name a group by its DN, such as \"group:CN=UC-Users,OU=Groups,DC=corp,DC=example\": {error}")),
    }
}

fn bases(value: &Value<'_>) -> Vec<((String, Dn), crate::config::problem::Place)> {
    let Some(texts) = value.texts() else { return Vec::new() };
    if texts.is_empty() {
        value.problem("must name at least one base");
    }
    let mut bases: Vec<((String, Dn), _)> = Vec::new();
    for (text, place) in texts {
        match Dn::parse(text) {
            Ok(dn) => bases.push(((text.to_owned(), dn), place)),
            Err(error) => value.problem_at(&place, error.to_string()),
        }
    }
    bases
}

/// The outer `None`: unreadable; the inner: all attributes.
fn attributes(value: &Value<'_>, context: Context<'_>) -> Option<Option<Arc<[String]>>> {
    let texts = value.texts()?;
    if texts.is_empty() {
        value.problem("must not be empty: name what may be seen, or write [\"*\"] for all");
        return None;
    }
    if texts.iter().any(|(text, _)| *text == "*") {
        if texts.len() > 1 {
            value.problem("has both \"*\" and names: write [\"*\"] alone, or names alone");
            return None;
        }
        return Some(None);
    }
    let mut names: Vec<String> = Vec::new();
    let mut is_sound = true;
    for (text, place) in texts {
        let name = text.to_ascii_lowercase();
        if !is_attribute(&name) {
            value.problem_at(&place, "must be an attribute's name, without options; operational attributes are listed by name too");
            is_sound = false;
        } else if names.contains(&name) {
            context.notes.warn(&place, "is listed twice");
        } else {
            names.push(name);
        }
    }
    is_sound.then(|| Some(names.into()))
}

/// A descr or a numericoid (RFC 4512 section 1.4); an underscore is allowed since some schemas have it.
fn is_attribute(name: &str) -> bool {
    let is_oid =
        name.split('.').count() > 1 && name.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|octet| octet.is_ascii_digit()));
    let is_descr = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_');
    (is_oid && name != "1.1") || is_descr
}

fn filter(value: &Value<'_>) -> Option<Filter> {
    match Filter::parse(value.text()?) {
        Ok(filter) => Some(filter),
        Err(error) => {
            value.problem(error.to_string());
            None
        }
    }
}

/// What a group's DN is written after.
const GROUP: &str = "group:";
