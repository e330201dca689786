//! What the cache holds, in an administrator's words: names of the configuration instead of numbers, and people instead of owners.

use super::Pipeline;
use crate::cache::rules::fits;
use crate::cache::{Held, Question};
use crate::ldap::dn::Dn;
use crate::ldap::filter::Filter;
use std::collections::BTreeMap;
use thiserror::Error;

/// Which answers are meant: those of which all of this holds.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// The name of the directory that answered, alone or with others.
    pub directory: Option<&'a str>,
    /// The name of the access that allowed it.
    pub access: Option<&'a str>,
    /// One whose own they are, by any of their names.
    pub principal: Option<&'a str>,
    /// A name: the searches that look at entries there or below.
    pub base: Option<&'a str>,
    /// A filter as a rule of the configuration has it: `?` stands for any value.
    pub filter: Option<&'a str>,
    /// The name of the rule that decides how long they are kept.
    pub rule: Option<&'a str>,
}

/// Why nothing can be meant by that.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unclear {
    /// The configuration in force has no such thing.
    #[error("there is no {0} of this name")]
    Unknown(&'static str),
    /// The text does not say what it should.
    #[error("{0}: {1}")]
    Malformed(&'static str, String),
}

/// An answer that is kept.
#[derive(Debug)]
pub struct KeptAnswer<'p> {
    /// What was asked.
    pub question: Question,
    /// What is kept.
    pub held: Held,
    /// The name of its access.
    pub access: Option<&'p str>,
    /// The name of the one directory that answered.
    pub directory: Option<&'p str>,
    /// The name of its rule.
    pub rule: Option<&'p str>,
}

impl Pipeline {
    /// The first `most` of the answers that are meant and could be served, behind the one that stood at `after`; by where they stand.
    ///
    /// # Errors
    /// When nothing can be meant.
    pub fn kept_answers(&self, wanted: &Wanted<'_>, after: Option<u64>, most: usize) -> Result<BTreeMap<u64, KeptAnswer<'_>>, Unclear> {
        let found = self.cache.held(self.meaning(wanted)?, after, most);
        let named = |(place, (question, held)): (u64, (Question, Held))| {
            let access = self.lineage.place_of_access(question.access).map(|place| self.accesses.access_name(place));
            let station = |number: usize| self.stations.iter().find(|station| station.number == number);
            let directory = question.directory.and_then(station).map(|station| station.config.name.as_str());
            let rule = self.cache.rule(&question.filter);
            (place, KeptAnswer { question, held, access, directory, rule })
        };
        Ok(found.into_iter().map(named).collect())
    }

    /// Forgets the answers that are meant; what is being asked of these at the moment is not kept. Says how many it were. Blocks for as long as it
    /// takes to look at each answer that is kept.
    ///
    /// # Errors
    /// When nothing can be meant.
    pub fn drop_answers(&self, wanted: &Wanted<'_>) -> Result<usize, Unclear> {
        Ok(self.cache.drop_those(self.meaning(wanted)?))
    }

    fn access_number(&self, name: &str) -> Option<usize> {
        self.lineage.access(self.accesses.place_of(name)?)
    }

    fn meaning(&self, wanted: &Wanted<'_>) -> Result<impl Fn(&Question) -> bool, Unclear> {
        let directory = wanted.directory.map(|name| {
            let named = self.stations.iter().find(|station| station.config.name == name);
            named.map(|station| station.number).ok_or(Unclear::Unknown("directory"))
        });
        let access = wanted.access.map(|name| self.access_number(name).ok_or(Unclear::Unknown("access")));
        let base = wanted.base.map(|base| Dn::parse(base).map_err(|error| Unclear::Malformed("base", error.to_string())));
        let filter = wanted.filter.map(|filter| Filter::parse(filter).map_err(|error| Unclear::Malformed("filter", error.to_string())));
        let rule = wanted.rule.map(|name| self.cache.has_rule(name).then(|| name.to_owned()).ok_or(Unclear::Unknown("rule")));
        let (directory, access, base, filter, rule) =
            (directory.transpose()?, access.transpose()?, base.transpose()?, filter.transpose()?, rule.transpose()?);
        let is_whose = wanted.principal.map(|name| self.register().is_whose(name));
        Ok(move |question: &Question| {
            directory.is_none_or(|directory| question.directory.is_none_or(|answered| answered == directory))
                && access.is_none_or(|access| question.access == access)
                && base.as_ref().is_none_or(|base| question.reaches(base))
                && filter.as_ref().is_none_or(|template| fits(template, &question.filter))
                && rule.as_ref().is_none_or(|rule| self.cache.rule(&question.filter) == Some(rule))
                && is_whose.as_ref().is_none_or(|is_whose| question.owner.as_deref().is_some_and(is_whose))
        })
    }
}
