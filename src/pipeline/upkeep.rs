//! What happens to a pipeline besides operations: whoever runs the program looks into it, and takes from it.

use super::Pipeline;
use crate::audit::Audit;
use crate::directory::Directory;
use crate::identity::register::Register;
use crate::pressure::Pressure;
use std::sync::Arc;

impl Pipeline {
    /// With an audit log.
    pub fn with_audit(self, audit: Arc<Audit>) -> Self {
        Self { audit, ..self }
    }

    /// What is remembered of principals. A pipeline that succeeds another has the same one.
    pub fn register(&self) -> &Arc<Register> {
        self.proofs.register()
    }

    /// Its directories, by their names in the configuration.
    pub fn directories(&self) -> impl Iterator<Item = (&str, &Arc<dyn Directory>)> {
        self.stations.iter().map(|station| (station.config.name.as_str(), &station.directory))
    }

    /// How much memory is left, as far as somebody [watches](Pressure::watch) it.
    pub const fn pressure(&self) -> &Arc<Pressure> {
        &self.pressure
    }

    /// Little memory is left: part of what is kept goes.
    pub fn relieve(&self) {
        self.cache.relieve();
    }

    /// Answers and octets that the cache holds, approximately.
    pub fn cache_holds(&self) -> (u64, u64) {
        self.cache.holds()
    }
}
