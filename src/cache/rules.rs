//! Which lifetimes hold for an answer: the first template that fits the filter decides.

use crate::config::{self, Lifetimes};
use crate::ldap::filter::Filter;

/// The configured rules and what holds where none fits.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<config::CacheRule>,
    defaults: Lifetimes,
}

impl Rules {
    /// As configured.
    pub fn new(config: &config::Cache) -> Self {
        Self { rules: config.rules.clone(), defaults: config.defaults }
    }

    /// The lifetimes for answers to `filter`.
    pub fn lifetimes(&self, filter: &Filter) -> Lifetimes {
        self.fitting(filter).map_or(self.defaults, |rule| rule.lifetimes)
    }

    /// The first rule whose template fits.
    pub fn fitting(&self, filter: &Filter) -> Option<&config::CacheRule> {
        todo!()
    }
}
