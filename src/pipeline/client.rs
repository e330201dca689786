//! Whoever asks.

use crate::access::Asker;
use crate::cache::Standing;
use crate::directory::RunAs;
use crate::identity::Identity;
use crate::session::Security;
use crate::turns::Whose;
use std::net::SocketAddr;
use std::sync::Arc;

/// Whoever asks: what an access looks at.
#[derive(Debug, Clone)]
pub struct Client {
    /// From where.
    pub peer: SocketAddr,
    /// The index of the listener in the configuration.
    pub listener: usize,
    /// Over what.
    pub security: Security,
    /// Who.
    pub identity: Identity,
    /// What [`super::Pipeline::standing`] says of them, where repeated searches are to be known by it.
    pub standing: Option<Standing>,
}

impl Client {
    /// Somebody whose repeated searches are not known yet.
    pub const fn new(peer: SocketAddr, listener: usize, security: Security, identity: Identity) -> Self {
        Self { peer, listener, security, identity, standing: None }
    }

    /// As accesses see it.
    pub(super) const fn asker(&self) -> Asker<'_> {
        Asker { peer: self.peer.ip(), identity: &self.identity }
    }

    /// Whose turns its operations take.
    pub(super) fn whose(&self) -> Whose {
        match &self.identity {
            Identity::Bound(_) => Whose::principal(self.identity.owner()),
            Identity::Anonymous => Whose::address(self.peer.ip()),
        }
    }

    /// The name under which this client's operations run on the directory of that number, where it has proved one there.
    pub(super) fn runs_as(&self, directory: usize) -> Option<RunAs> {
        let Identity::Bound(principal) = &self.identity else { return None };
        let credentials = principal.credentials.as_ref().filter(|_| principal.directory == Some(directory))?;
        Some(RunAs::Client(Arc::clone(credentials)))
    }

    /// Some directory has accepted a name and a password of this client, and operations may run under them.
    pub(super) fn has_credentials(&self) -> bool {
        matches!(&self.identity, Identity::Bound(principal) if principal.credentials.is_some())
    }
}
