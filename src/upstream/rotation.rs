//! Controllers that an administrator takes out of rotation, and back.
//!
//! One that is out is chosen for nothing: no search, no bind, no write. What it has goes on to its end, and it is probed on, so that its health
//! is known when it comes back. Writes have another home then, as where it is down ([`super::writes`]).

use super::Upstream;
use super::balance::Call;
use crate::directory::{Controller, NotMoved, Rotation};
use std::sync::PoisonError;
use tracing::{info, warn};

impl Upstream {
    /// See [`crate::directory::Directory::controllers`].
    pub(super) fn seen(&self) -> Vec<Controller> {
        self.inner.servers.listed().iter().map(|server| server.standing.seen()).collect()
    }

    /// See [`crate::directory::Directory::rotate`].
    pub(super) fn move_to(&self, url: &str, rotation: Rotation) -> Result<(), NotMoved> {
        // One at a time: else two could each rely on the other to stay.
        let _one_at_a_time = self.inner.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = self.inner.servers.listed();
        let server = listed.iter().find(|server| server.connector.server.url == url).ok_or(NotMoved::Unknown)?;
        let is_out = rotation != Rotation::In;
        let has_others =
            listed.iter().any(|other| other.standing.server() != server.standing.server() && other.standing.load().call == Call::Eligible);
        if rotation == Rotation::Out && !has_others && !server.standing.is_out() {
            return Err(NotMoved::LastOne);
        }
        if server.standing.rotate(is_out) != is_out {
            match is_out {
                true if has_others => info!(server = url, "controller is out of rotation"),
                true => warn!(server = url, "controller is out of rotation, and no other is there"),
                false => info!(server = url, "controller is back in rotation"),
            }
        }
        Ok(())
    }
}
