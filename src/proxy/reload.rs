//! Another configuration under running connections.
//!
//! Everything that can fail comes first: files are read, sockets bound, directories started. Then all of it is put in force at once, and what
//! is under way ends as it began. Where anything is wrong, nothing has changed.

use super::descriptors;
use super::doors::Opening;
use super::{Proxy, StartError, admin_token_of, expiry, keeper, open_audit};
use crate::config::Config;
use crate::pipeline::Pipeline;
use std::sync::Arc;
use tracing::{info, warn};

impl Proxy {
    /// Puts another configuration in force. What needs a restart stays as it was, and the log says so.
    ///
    /// # Errors
    /// As [`StartError`] says; then the configuration in force stays so.
    pub async fn reload(&mut self, mut config: Config) -> Result<(), StartError> {
        descriptors::fit(&mut config);
        let admin_address = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
        if admin_address(&config) != admin_address(&self.config) {
            warn!("[admin] cannot move while Redial runs: the old address stays until it is restarted, and its token too");
            config.admin.clone_from(&self.config.admin);
        }
        keeper::examine(&config).await?;
        let doors = self.doors.prepare(&config.listeners, &config.limits)?;
        let by_place = Config { listeners: doors.by_place(), ..config.clone() };
        let is_audited_alike = config.audit == self.config.audit && by_place.listeners.len() == self.doors.places();
        let audit = if is_audited_alike { Arc::clone(&self.audit) } else { Arc::new(open_audit(&by_place, &self.metrics)?) };
        let residents = self.residents.succeeded(&config, &self.metrics).await?;

        let before = self.pipeline.load();
        let (old, new) = (self.residents.digests(), residents.digests());
        let lineage = before.lineage().succeeded((&self.config, &old), (&config, &new));
        let pipeline = before.succeeded(&by_place, lineage, residents.directories()).with_audit(Arc::clone(&audit));
        drop(before);
        self.put_in_force(pipeline);
        self.admin_token.store(admin_token_of(&config));
        for listener in by_place.listeners.iter().skip(self.doors.places()) {
            self.metrics.listener_opened(&listener.address.to_string());
        }
        let lifecycle = self.ending.lifecycle();
        let opening = Opening { pipeline: &self.pipeline, metrics: &self.metrics, lifecycle, tasks: &mut self.tasks };
        self.doors.change(doors, opening);
        self.residents.retire(&residents, &self.metrics);
        info!(directories_restarted = residents.differ_from(&self.residents), "configuration reloaded");
        self.retired.retain(|ending| !ending.is_over());
        self.retired.extend(self.residents.endings().map(Arc::clone));
        self.residents = residents;
        self.audit = audit;
        self.config = config;
        expiry::note(&self.config, &self.metrics);
        Ok(())
    }

    /// Operations begin in this pipeline from now on.
    fn put_in_force(&self, pipeline: Pipeline) {
        self.pipeline.replace(Arc::new(pipeline));
    }
}
