//! The pipeline in force. A reload puts another in its place while connections stand and operations run.
//!
//! Whoever begins operations asks anew for each batch of them, which costs one atomic load; what is under way ends in the pipeline that it
//! began in, and the last of it lets that pipeline go.

use super::Pipeline;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct Current(ArcSwap<Pipeline>);

impl Current {
    /// This one, until it is replaced.
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Self(ArcSwap::new(pipeline))
    }

    /// The one in force, for a moment: to begin operations and not to be held while something is waited for.
    pub fn load(&self) -> Guard<Arc<Pipeline>> {
        self.0.load()
    }

    /// The same, to be held for as long as it is needed.
    pub fn load_full(&self) -> Arc<Pipeline> {
        self.0.load_full()
    }

    /// From now on operations begin in `pipeline`, which has [succeeded](Pipeline::succeeded) this one.
    pub fn replace(&self, pipeline: Arc<Pipeline>) {
        self.0.store(pipeline);
    }
}

#[cfg(test)]
impl Current {
    /// One that answers to the configuration of a site, with a phonebook in memory behind it.
    pub(crate) fn for_tests() -> Arc<Self> {
        let text = "[[listener]]\naddress = \"127.0.0.1:3389\"\n[directory.corp]\nbase = \"dc=corp\"\nservers = [\"ldaps://dc1.corp.example\"]\n\
                    search_as = \"client\"\n[[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"dc=corp\"]\nattributes = [\"*\"]\n";
        let config = crate::config::load::load_text(text, std::path::Path::new("."), true).unwrap().config;
        let book = crate::book::Book::from_ldif(b"dn: dc=corp\nobjectClass: domain\ndc: corp\n", &config.directories[0].base_dn).unwrap();
        let metrics = Arc::new(crate::metrics::Metrics::unrecorded());
        Arc::new(Self::new(Arc::new(Pipeline::new(&config, vec![Arc::new(book)], metrics))))
    }
}
