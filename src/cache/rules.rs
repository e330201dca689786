//! Which lifetimes hold for an answer: the first template that fits the filter decides.
//!
//! A template is a filter in which a value of `?` alone stands for any assertion value, so `(cn=?*)` fits `(cn=smi*)` but neither
//! `(cn=*smi*)` nor `(cn=smith)`. Structure and order of branches must be the same; attribute names and literal values compare without case.
//! Asked when an answer is stored, never for a hit.

use super::freshness;
use crate::config::{self, Lifetimes};
use crate::ldap::filter::{Assertion, Filter, FilterError};
use std::time::Duration;

/// The configured rules and what holds where none fits.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<config::CacheRule>,
    defaults: Lifetimes,
}

impl Rules {
    /// As configured.
    pub(crate) fn new(config: &config::Cache) -> Self {
        Self { rules: config.rules.clone(), defaults: config.defaults }
    }

    /// The lifetimes for answers to `filter`, which is read only where there are rules.
    ///
    /// # Errors
    /// As [`Filter::decode`].
    pub(crate) fn lifetimes(&self, filter: &[u8]) -> Result<Lifetimes, FilterError> {
        if self.rules.is_empty() {
            return Ok(self.defaults);
        }
        Ok(self.of(&Filter::decode(filter)?))
    }

    /// The same of a filter that has been read.
    pub(crate) fn of(&self, filter: &Filter) -> Lifetimes {
        self.fitting(filter).map_or(self.defaults, |rule| rule.lifetimes)
    }

    /// How long after it came any answer may still be served.
    pub(crate) fn longest(&self) -> Duration {
        let others = self.rules.iter().map(|rule| freshness::longest(&rule.lifetimes));
        others.fold(freshness::longest(&self.defaults), Duration::max)
    }

    /// One of them has that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.name == name)
    }

    /// The first rule whose template fits.
    pub(crate) fn fitting(&self, filter: &Filter) -> Option<&config::CacheRule> {
        self.rules.iter().find(|rule| fits(&rule.template, filter))
    }
}

/// Does the filter look like the template? Recursion is as deep as the template, which the administrator wrote.
pub(crate) fn fits(template: &Filter, filter: &Filter) -> bool {
    match (template, filter) {
        (Filter::And(template), Filter::And(filter)) | (Filter::Or(template), Filter::Or(filter)) => all_fit(template, filter, fits),
        (Filter::Not(template), Filter::Not(filter)) => fits(template, filter),
        (Filter::Equality(template), Filter::Equality(filter))
        | (Filter::GreaterOrEqual(template), Filter::GreaterOrEqual(filter))
        | (Filter::LessOrEqual(template), Filter::LessOrEqual(filter))
        | (Filter::Approx(template), Filter::Approx(filter)) => assertion_fits(template, filter),
        (Filter::Present(template), Filter::Present(filter)) => template.eq_ignore_ascii_case(filter),
        (Filter::Substrings(template), Filter::Substrings(filter)) => {
            template.attribute.eq_ignore_ascii_case(&filter.attribute)
                && piece_fits(template.initial.as_ref(), filter.initial.as_ref())
                && all_fit(&template.any, &filter.any, |template, piece| value_fits(template, piece))
                && piece_fits(template.final_.as_ref(), filter.final_.as_ref())
        }
        (Filter::Extensible(template), Filter::Extensible(filter)) => {
            name_fits(template.rule.as_deref(), filter.rule.as_deref())
                && name_fits(template.attribute.as_deref(), filter.attribute.as_deref())
                && template.dn_attributes == filter.dn_attributes
                && value_fits(&template.value, &filter.value)
        }
        _ => false,
    }
}

fn all_fit<T>(templates: &[T], items: &[T], fits: impl Fn(&T, &T) -> bool) -> bool {
    templates.len() == items.len() && templates.iter().zip(items).all(|(template, item)| fits(template, item))
}

fn assertion_fits(template: &Assertion, assertion: &Assertion) -> bool {
    template.attribute.eq_ignore_ascii_case(&assertion.attribute) && value_fits(&template.value, &assertion.value)
}

fn name_fits(template: Option<&str>, name: Option<&str>) -> bool {
    match (template, name) {
        (Some(template), Some(name)) => template.eq_ignore_ascii_case(name),
        (template, name) => template == name,
    }
}

fn piece_fits(template: Option<&Vec<u8>>, piece: Option<&Vec<u8>>) -> bool {
    match (template, piece) {
        (Some(template), Some(piece)) => value_fits(template, piece),
        (template, piece) => template == piece,
    }
}

fn value_fits(template: &[u8], value: &[u8]) -> bool {
    template == ANY_VALUE || template.eq_ignore_ascii_case(value)
}

/// What stands in a template for any assertion value.
const ANY_VALUE: &[u8] = b"?";

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetimes(seconds: u64) -> Lifetimes {
        Lifetimes { ttl: Duration::from_secs(seconds), empty_ttl: Duration::ZERO, stale: Duration::ZERO, refresh: 1.0 }
    }

    fn rules(templates: &[&str]) -> Rules {
        let rules = templates.iter().zip(1..).map(|(template, ttl)| config::CacheRule {
            name: (*template).to_owned(),
            template: Filter::parse(template).unwrap(),
            lifetimes: lifetimes(ttl),
        });
        Rules { rules: rules.collect(), defaults: lifetimes(0) }
    }

    fn fits(template: &str, filter: &str) -> bool {
        rules(&[template]).fitting(&Filter::parse(filter).unwrap()).is_some()
    }

    #[test]
    fn a_question_mark_stands_for_any_value() {
        assert!(fits("(cn=?)", "(CN=Smith)"));
        assert!(fits("(cn=?*)", "(cn=smi*)"));
        assert!(fits("(cn=*?*)", "(cn=*smi*)"));
        assert!(fits("(cn>=?)", "(cn>=a)"));
        assert!(fits("(uac:1.2.840.113556.1.4.803:=?)", "(uac:1.2.840.113556.1.4.803:=2)"));
    }

    #[test]
    fn structure_must_be_the_same() {
        assert!(!fits("(cn=?)", "(cn=smi*)"));
        assert!(!fits("(cn=?*)", "(cn=*smi*)"));
        assert!(!fits("(cn=?*)", "(cn=smi*th)"));
        assert!(!fits("(cn=?)", "(cn=*)"));
        assert!(!fits("(cn=?)", "(sn=smith)"));
        assert!(!fits("(cn=?)", "(cn~=smith)"));
        assert!(!fits("(cn=?)", "(!(cn=smith))"));
        assert!(!fits("(|(cn=?)(sn=?))", "(&(cn=a)(sn=a))"));
        assert!(!fits("(|(cn=?)(sn=?))", "(|(cn=a))"));
        assert!(!fits("(|(cn=?)(sn=?))", "(|(cn=a)(sn=b)(o=c))"));
        assert!(!fits("(|(cn=?)(sn=?))", "(|(sn=a)(cn=b))"));
    }

    #[test]
    fn literal_values_compare_without_case() {
        assert!(fits("(&(objectClass=person)(cn=?*))", "(&(objectclass=Person)(cn=a*))"));
        assert!(!fits("(&(objectClass=person)(cn=?*))", "(&(objectClass=group)(cn=a*))"));
        assert!(!fits("(telephoneNumber=+49?)", "(telephoneNumber=+4930)"), "a question mark within a value is itself");
    }

    #[test]
    fn the_first_that_fits_decides_and_the_defaults_close_the_list() {
        let rules = rules(&["(cn=smith)", "(cn=?)", "(cn=jones)"]);
        let ttl = |filter: &str| {
            let (filter, mut octets) = (Filter::parse(filter).unwrap(), Vec::new());
            filter.encode(&mut octets);
            assert_eq!(rules.lifetimes(&octets), Ok(rules.of(&filter)));
            rules.of(&filter).ttl.as_secs()
        };
        assert_eq!((ttl("(cn=smith)"), ttl("(cn=jones)"), ttl("(sn=x)")), (1, 2, 0));
    }

    #[test]
    fn the_longest_of_all_lifetimes_is_known() {
        assert_eq!(rules(&["(cn=a)", "(cn=b)"]).longest().as_secs(), 2);
    }
}
