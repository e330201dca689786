//! Is a controller that says nothing still there?
//!
//! A machine that vanished closes nothing: what was asked of it would wait until its deadline, and the phone with it. So after [`SILENCE`]
//! without a word from the whole server, a fresh connection is made, once for all who wait; where that fails too, they are told that
//! theirs are lost, while there is still time to ask another server. A server that is only slow answers, and is waited for.

use super::Standing;
use crate::config::ServiceAccount;
use crate::upstream::connect::Connector;
use crate::upstream::connection::Settings;
use futures_util::future::{BoxFuture, FutureExt, Shared};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Asks one server whether it is there.
#[derive(Debug)]
pub(crate) struct Silence {
    connector: Arc<Connector>,
    standing: Arc<Standing>,
    account: Option<ServiceAccount>,
    settings: Settings,
    asking: Mutex<Option<Shared<BoxFuture<'static, bool>>>>,
}

impl Silence {
    /// Nobody asks yet.
    pub(crate) fn new(connector: Arc<Connector>, standing: Arc<Standing>, account: Option<ServiceAccount>, settings: Settings) -> Self {
        Self { connector, standing, account, settings, asking: Mutex::default() }
    }

    /// Is it there? It is when it has answered anything since `asked_at`; else it is asked. Cancel safe.
    pub(crate) async fn is_there(self: &Arc<Self>, asked_at: Instant) -> bool {
        if self.standing.last_answer().is_some_and(|heard| heard >= asked_at) {
            return true;
        }
        let asking = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            asking.take_if(|asking| asking.peek().is_some());
            asking.get_or_insert_with(|| self.ask()).clone()
        };
        asking.await
    }

    fn ask(self: &Arc<Self>) -> Shared<BoxFuture<'static, bool>> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let bind_as = this.account.as_ref().map(|account| (account.bind_dn.as_str(), &account.password));
            let connect = this.connector.connect(bind_as, this.settings, this.standing.connection());
            timeout(LONGEST, connect).await.is_ok_and(|connected| connected.is_ok())
        });
        async move { task.await.unwrap_or(false) }.boxed().shared()
    }
}

/// So long a server may be silent before somebody looks.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);
/// For a fresh connection; then there are still some seconds for another server.
const LONGEST: Duration = Duration::from_secs(1);
