//! `[cache]` and `[[cache.rule]]`.

use super::{Context, name, path};
use crate::config::table::Table;
use crate::config::{Cache, CacheRule, Lifetimes};
use crate::ldap::filter::Filter;
use std::time::Duration;

/// Reads the cache's settings.
pub(super) fn read(mut table: Table<'_>, context: Context<'_>) -> Cache {
    let Cache { capacity, defaults, .. } = Cache::default();
    let capacity = table.size(
        "capacity",
        capacity,
        1 << 20..=1 << 40,
        "must be 1MiB to 1TiB; to keep nothing, write ttl = \"0s\" and empty_ttl = \"0s\"",
    );
    let defaults = lifetimes(&mut table, defaults, context);
    let mut names: Vec<String> = Vec::new();
    let mut rules = Vec::new();
    for rule in table.tables("rule") {
        let Some((rule, place)) = rule_of(rule, defaults, context) else { continue };
        if names.contains(&rule.name) {
            context.notes.problem(&place, "another cache rule has this name; `redial explain` could not tell them apart");
        }
        names.push(rule.name.clone());
        rules.push(rule);
    }
    let keep = path(&mut table, "keep", context).map(|keep| keep.value);
    table.finish();
    Cache { capacity, defaults, rules, keep }
}

fn rule_of(mut table: Table<'_>, defaults: Lifetimes, context: Context<'_>) -> Option<(CacheRule, crate::config::problem::Place)> {
    let name = name(&mut table);
    let template =
        table.required("filter", "the filter's shape, with ? for any value: \"(telephoneNumber=?)\"").and_then(
            |value| match Filter::parse(value.text()?) {
                Ok(template) => Some(template),
                Err(error) => {
                    value.problem(error.to_string());
                    None
                }
            },
        );
    let lifetimes = lifetimes(&mut table, defaults, context);
    table.finish();
    let name = name?;
    Some((CacheRule { name: name.value, template: template?, lifetimes }, name.place))
}

/// What is not written is as in `defaults`.
fn lifetimes(table: &mut Table<'_>, defaults: Lifetimes, context: Context<'_>) -> Lifetimes {
    let month = Duration::ZERO..=Duration::from_secs(30 * 24 * 60 * 60);
    let ttl_place = table.value("ttl").map(|value| value.place);
    let empty_ttl_place = table.value("empty_ttl").map(|value| value.place);
    let lifetimes = Lifetimes {
        ttl: table.duration("ttl", defaults.ttl, month.clone(), "must be at most 30d; 0s keeps nothing"),
        empty_ttl: table.duration("empty_ttl", defaults.empty_ttl, month.clone(), "must be at most 30d; 0s keeps no empty answers"),
        stale: table.duration("stale", defaults.stale, month, "must be at most 30d; 0s lets no answer outlive its ttl"),
        refresh: table.fraction(
            "refresh",
            defaults.refresh,
            0.1..=1.0,
            "must be 0.1 to 1.0, a part of the ttl; 1.0 never asks ahead of time",
        ),
    };
    if lifetimes.empty_ttl > lifetimes.ttl
        && let Some(place) = empty_ttl_place.or(ttl_place)
    {
        let why = "answers without entries outlive answers with entries: somebody who was just added stays unknown for longer than meant";
        context.notes.warn(&place, why);
    }
    lifetimes
}
