//! What happens to a pipeline besides operations: whoever runs the program looks into it, and takes from it.

use super::Pipeline;
use crate::audit::Audit;
use crate::directory::Directory;
use crate::identity::register::Register;
use crate::metrics::Metrics;
use crate::pressure::Pressure;
use std::io;
use std::sync::Arc;
use tracing::{info, warn};

impl Pipeline {
    /// With an audit log.
    pub(crate) fn with_audit(self, audit: Arc<Audit>) -> Self {
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

    /// Shows what its tables hold, and how much the cache does.
    pub fn measure(&self, metrics: &Metrics) {
        let (entries, octets) = self.cache.holds();
        metrics.cache_holds(entries, octets);
        let register = self.register();
        metrics.lockout_guarded(register.guarded());
        metrics.bound_sessions(register.sessions());
        let (passwords, guard) = register.remembered();
        let pages = usize::try_from(self.pages.open()).unwrap_or(usize::MAX);
        let tables = [
            ("searches", self.cache.under_way()),
            ("binds", self.proofs.under_way()),
            ("clients", self.turns.clients()),
            ("pages", pages),
            ("passwords", passwords),
            ("guard", guard),
            ("askers", self.standings.len()),
            ("forms", self.cache.forms()),
        ];
        tables.iter().for_each(|(table, entries)| metrics.table_holds(table, *entries));
    }

    /// Answers and octets that the cache holds, approximately.
    pub fn cache_holds(&self) -> (u64, u64) {
        self.cache.holds()
    }

    /// Is anything of the cache kept over a restart? It is read before the first phone is served, and written at intervals and at the end.
    pub const fn is_kept(&self) -> bool {
        self.keep.is_some()
    }

    /// Takes in what was kept. What cannot be used is told of and left alone. Blocks.
    pub fn recall_kept(&self) {
        let Some(keep) = &self.keep else { return };
        let file = keep.file().display();
        match keep.read(&self.cache) {
            Ok(answers) => info!(%file, answers, "the cache goes on with what was kept"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => info!(%file, "nothing was kept of the cache"),
            Err(error) => warn!(%file, %error, "what was kept of the cache is not used"),
        }
    }

    /// Keeps what the cache holds. Blocks, for some seconds at most.
    pub fn keep(&self) {
        let Some(keep) = &self.keep else { return };
        if let Err(error) = keep.write(&self.cache) {
            warn!(file = %keep.file().display(), %error, "the cache is not kept; what was kept before stays");
        }
    }
}
