//! Controllers that DNS names (RFC 2782): looked up at the start, and again and again. [`srv`] makes servers of the records, [`renewal`] says
//! when DNS is asked again.
//!
//! A failure changes nothing: the servers that were known last go on. Only a clear no takes them away.

mod renewal;
mod srv;

use self::renewal::Renewal;
pub use self::srv::MOST_SERVERS;
pub(crate) use self::srv::Selection;
use self::srv::select;
use super::connect::{Names, Services};
use super::servers::{Change, Servers};
use crate::config::Discover;
use crate::lifecycle::Lifecycle;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

/// The search for one directory's controllers.
#[derive(Debug)]
pub(crate) struct Discovery {
    discover: Box<Discover>,
    servers: Servers,
    /// Told when DNS has been asked, whatever came of it.
    asked: Arc<Notify>,
    /// The log knows that it fails.
    is_failing: bool,
    /// The log knows that there is no such service.
    is_declined: bool,
    /// The log knows of these names.
    refused: Vec<String>,
}

impl Discovery {
    /// Nothing has been asked yet.
    pub(crate) const fn new(discover: Box<Discover>, servers: Servers, asked: Arc<Notify>) -> Self {
        Self { discover, servers, asked, is_failing: false, is_declined: false, refused: Vec::new() }
    }

    /// Keeps the servers as DNS names them, until the end.
    pub(crate) async fn run(mut self, lifecycle: Lifecycle) {
        let mut renewal = Renewal::new(Instant::now());
        loop {
            tokio::select! {
                biased;
                () = lifecycle.ending() => return,
                () = self.due(&renewal) => {}
            }
            let found = tokio::select! {
                biased;
                () = lifecycle.ending() => return,
                found = ask(&self.discover, &*self.servers.common().names) => found,
            };
            let common = self.servers.common();
            common.metrics.discovered(common.index, found.as_ref().is_ok_and(|(selection, _)| !selection.is_declined));
            match found {
                Ok((selection, ttl)) => {
                    let change = self.servers.change(&selection.servers);
                    for server in &change.joined {
                        tokio::spawn(Arc::clone(server).watch(lifecycle.clone()));
                    }
                    self.tell(&selection, &change);
                    renewal.succeeded(ttl, fastrand::f64(), Instant::now());
                }
                Err(why) => {
                    self.tell_of_failure(&why);
                    renewal.failed(fastrand::f64(), Instant::now());
                }
            }
            self.asked.notify_one();
        }
    }

    /// Waits until DNS is to be asked again.
    async fn due(&self, renewal: &Renewal) {
        loop {
            let all_away = !self.servers.listed().is_empty() && !self.servers.any_is_up();
            let (due, now) = (renewal.due(all_away), Instant::now());
            if due <= now {
                return;
            }
            sleep_until(due.min(now + LOOK)).await;
        }
    }

    fn tell(&mut self, selection: &Selection, change: &Change) {
        let domain = self.discover.domain.as_str();
        if std::mem::take(&mut self.is_failing) {
            info!(domain, "DNS names the controllers again");
        }
        if !change.joined.is_empty() || !change.left.is_empty() {
            let (joined, left) = (urls(change.joined.iter()), urls(change.left.iter()));
            info!(domain, joined, left, "the controllers that DNS names have changed");
        }
        if !std::mem::replace(&mut self.is_declined, selection.is_declined) && selection.is_declined {
            warn!(domain, "DNS says that the domain has no LDAP service");
        }
        if !selection.refused.is_empty() && selection.refused != self.refused {
            let refused = selection.refused.join(" ");
            warn!(domain, refused, "DNS names hosts that are not within the domain: they are not asked; see `within` of `discover`");
        }
        if selection.beyond > 0 && !change.joined.is_empty() {
            warn!(domain, more = selection.beyond, "DNS names more controllers than are taken: name a site");
        }
        self.refused.clone_from(&selection.refused);
    }

    fn tell_of_failure(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let kept = self.servers.listed().len();
            warn!(domain = self.discover.domain, why, kept, "DNS does not name the controllers: those that are known are kept");
        }
    }
}

/// Asks DNS once for the controllers, and says how long the answer is good for.
///
/// # Errors
/// When there is no answer, or none that may change the servers: it names none, nor says that there are none. In words for the log.
pub(crate) async fn ask(discover: &Discover, names: &dyn Names) -> Result<(Selection, Duration), String> {
    let answers = async {
        let of_site = match &discover.site {
            Some(site) => names.services(&format!("_ldap._tcp.{site}._sites.{}", discover.domain)).await?,
            None => Services { ttl: Duration::MAX, ..Services::default() },
        };
        let of_domain = names.services(&format!("_ldap._tcp.{}", discover.domain)).await?;
        Ok((of_site, of_domain))
    };
    let (of_site, of_domain) = timeout(PATIENCE, answers).await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))?;
    let selection = select(discover, &of_site.records, &of_domain.records);
    if selection.servers.is_empty() && !selection.is_declined {
        return Err(if selection.refused.is_empty() {
            "there are no SRV records of _ldap._tcp".to_owned()
        } else {
            format!("the records name hosts outside the domain alone, which are not asked: {}", selection.refused.join(" "))
        });
    }
    Ok((selection, of_site.ttl.min(of_domain.ttl)))
}

fn urls<'a>(servers: impl Iterator<Item = &'a Arc<super::server::Server>>) -> String {
    servers.map(|server| server.connector.server.url.as_str()).collect::<Vec<_>>().join(" ")
}

/// How often a look is taken whether any controller is up.
const LOOK: Duration = Duration::from_secs(1);
/// For all questions of one look-up.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
