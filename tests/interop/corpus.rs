//! The searches that real phones and PBXs send (`tests/corpus/phone-searches.jsonl`), moved to where the people of the test servers are.

use crate::bed::BASE;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest};
use redial::ldap::oid;
use serde_json::Value;

/// One search of the corpus.
#[derive(Debug, Clone)]
pub(crate) struct PhoneSearch {
    /// Line, vendor, model and purpose, for messages.
    pub(crate) name: String,
    pub(crate) request: SearchRequest,
    /// The client asks by pages of this many entries.
    pub(crate) page_size: Option<u32>,
}

/// Every search of the corpus but those of the rootDSE, which is Redial's own.
pub(crate) fn phone_searches() -> Vec<PhoneSearch> {
    let lines = include_str!("../corpus/phone-searches.jsonl").lines().enumerate();
    lines.filter_map(|(index, line)| PhoneSearch::read(index + 1, line)).collect()
}

impl PhoneSearch {
    fn read(line: usize, json: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(json).expect("a line of JSON");
        let text = |key: &str| json[key].as_str().unwrap_or_else(|| panic!("line {line}: {key}"));
        let number = |key: &str| u32::try_from(json[key].as_u64().unwrap_or_else(|| panic!("line {line}: {key}"))).expect("a small number");
        let base_object = place(text("at"), text("base"))?;
        let scope = match text("scope") {
            "base" => Scope::BaseObject,
            "one" => Scope::SingleLevel,
            "sub" => Scope::WholeSubtree,
            other => panic!("line {line}: scope {other}"),
        };
        let attributes = json["attributes"].as_array().expect("a list of attributes");
        let request = SearchRequest {
            base_object,
            scope,
            deref_aliases: 0,
            size_limit: number("sizelimit"),
            time_limit: number("timelimit"),
            types_only: false,
            filter: Filter::parse(text("filter")).unwrap_or_else(|error| panic!("line {line}: {error}")),
            attributes: attributes.iter().map(|name| name.as_str().expect("a name").to_owned()).collect(),
        };
        Some(Self {
            name: format!("line {line}, {} {}, {}: {}", text("vendor"), text("model"), text("purpose"), text("filter")),
            request,
            page_size: page_size(&json["controls"]),
        })
    }
}

/// The test servers' place for a base: `at` says what the phone meant by it.
fn place(at: &str, base: &str) -> Option<String> {
    // A space after the comma is legal, and some administrators write one (RFC 4514 section 3, as RFC 2253 had it).
    let spaced = |dn: &str| if base.contains(", ") { dn.replace(',', ", ") } else { dn.to_owned() };
    match at {
        "root" => None,
        "base" => Some(spaced(BASE)),
        "people" => Some(spaced(&format!("OU=Staff,{BASE}"))),
        "unit" => Some(spaced(&format!("OU=Berlin,OU=Staff,{BASE}"))),
        // An entry whose DN has a comma and umlauts, and which has a photo.
        "entry" | "photo" => Some(format!("CN=Jörg Übel\\, Dr.,OU=Berlin,OU=Staff,{BASE}")),
        "group" => Some(format!("CN=UC-Users,OU=Groups,{BASE}")),
        other => panic!("no place for {other}"),
    }
}

/// The page size, if the client pages. Other controls of the corpus (sorting, virtual list views) are not critical, and Redial, which does not
/// announce them, leaves them out.
fn page_size(controls: &Value) -> Option<u32> {
    let paged = controls.as_array()?.iter().find(|control| control["oid"] == oid::PAGED_RESULTS)?;
    u32::try_from(paged["value"]["size"].as_u64()?).ok()
}
