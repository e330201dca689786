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

    /// Forgets the answers of the directory of that name, or of all; what is being asked at this moment is not kept. `false` where no directory
    /// has the name.
    pub fn forget_answers(&self, directory: Option<&str>) -> bool {
        let meant = self.stations.iter().filter(|station| directory.is_none_or(|name| station.config.name == name));
        let numbers: Vec<_> = meant.map(|station| station.number).collect();
        numbers.iter().for_each(|number| self.cache.forget(*number));
        directory.is_none() || !numbers.is_empty()
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
