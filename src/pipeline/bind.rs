//! A password is proved: by a local account, or by one directory, once.
//!
//! What holds always: one client bind causes at most one upstream bind; a directory that cannot be asked is unavailable(52) and never
//! invalidCredentials(49); an unknown name and a wrong password look the same.

use super::controls::{self, Refused};
use super::delivery::{Delivery, write_end};
use super::{AskedAt, Begun, Pipeline, Running, Work};
use crate::directory::{Asked, DirectoryError, Done, Operation, Reply, RunAs};
use crate::identity::accounts::Verification;
use crate::identity::{Credentials, Identity, Principal};
use crate::ldap::ResultCode;
use crate::ldap::dn::Dn;
use crate::ldap::envelope::write_envelope;
use crate::ldap::message::{Authentication, Bind};
use crate::outcome::{Outcome, Served};
use crate::secret::Secret;
use std::sync::Arc;
use std::time::Duration;

/// A name and a password on their way to whoever knows them.
#[derive(Debug)]
pub(super) struct BindWork {
    name: String,
    password: Secret,
}

impl Pipeline {
    /// A simple bind with name and password; all others the session has answered.
    pub(super) fn begin_bind(&self, asked: AskedAt, bind: &Bind<'_>, controls: Option<&[u8]>) -> Result<Begun, Refused> {
        controls::of_bind(controls)?;
        let Authentication::Simple(password) = bind.authentication else { return Err(NOT_SIMPLE) };
        if password.is_empty() || bind.name.is_empty() {
            // RFC 4513 section 5.1.2: the session refuses these; a second lock on the same door.
            return Err(EMPTY);
        }
        let work = BindWork { name: bind.name.to_owned(), password: Secret::new(password) };
        Ok(Begun::Running(Box::new(Running { asked, work: Work::Bind(work) })))
    }

    /// Proves the password and says who the client is now.
    pub(super) async fn finish_bind(&self, work: BindWork, delivery: Delivery) -> Outcome {
        if self.accounts.knows(&work.name) {
            let deadline = delivery.asked().received_at + ACCOUNT_PATIENCE;
            return match self.accounts.verify(&work.name, &work.password, deadline).await {
                Verification::Accepted => {
                    let principal = Principal { name: work.name, credentials: None, directory: None };
                    say(delivery, Some(principal), ResultCode::SUCCESS, "", Served::Local).await
                }
                Verification::Refused => say(delivery, None, ResultCode::INVALID_CREDENTIALS, "", Served::Local).await,
                Verification::TooBusy => say(delivery, None, ResultCode::BUSY, "too many binds at once", Served::Failed).await,
            };
        }
        let Some(directory) = self.directory_of_name(&work.name) else {
            return say(delivery, None, ResultCode::INVALID_CREDENTIALS, "", Served::Refused).await;
        };
        match self.prove_upstream(directory, &work, delivery.asked()).await {
            Ok(done) if done.code == ResultCode::SUCCESS => {
                let credentials = Arc::new(Credentials { name: work.name.clone(), password: work.password });
                let principal = Principal { name: work.name, credentials: Some(credentials), directory: Some(directory) };
                say(delivery, Some(principal), ResultCode::SUCCESS, "", Served::Forwarded).await
            }
            // The server's diagnostic tells an unknown user from a wrong password: not for everybody.
            Ok(done) if done.code == ResultCode::INVALID_CREDENTIALS => {
                say(delivery, None, ResultCode::INVALID_CREDENTIALS, "", Served::Forwarded).await
            }
            Ok(done) => {
                let mut response = Vec::new();
                write_envelope(&mut response, delivery.asked().message_id.wire(), &done.op, None);
                delivery.bound(Identity::Anonymous, response, Served::Forwarded, done.code).await
            }
            Err((code, diagnostic)) => say(delivery, None, code, &diagnostic, Served::Failed).await,
        }
    }

    /// One attempt at one directory.
    async fn prove_upstream(&self, directory: usize, work: &BindWork, asked: &AskedAt) -> Result<Done, (ResultCode, String)> {
        let Some(station) = self.stations.get(directory) else {
            return Err((ResultCode::UNAVAILABLE, "no such directory".to_owned()));
        };
        let operation = Operation {
            run_as: RunAs::Service,
            request: Asked::Bind { name: work.name.clone(), password: work.password.clone() },
            controls: None,
            deadline: asked.received_at + station.patience,
        };
        match station.last_word(operation).await {
            Ok(done) => Ok(done),
            Err(error) => Err((error.result_code(), error.to_string())),
        }
    }

    /// Which directory knows that name: a DN's own, else the first one that is asked upstream, since only a controller can make sense of a UPN or
    /// `DOMAIN\user`.
    fn directory_of_name(&self, name: &str) -> Option<usize> {
        match Dn::parse(name) {
            Ok(dn) if !dn.is_root() => self.stations.iter().position(|station| dn.is_under(&station.config.base_dn)),
            _ => self.stations.iter().position(|station| station.is_upstream()),
        }
    }
}

impl super::Station {
    /// Runs an operation that has one response.
    pub(super) async fn last_word(&self, operation: Operation) -> Result<Done, DirectoryError> {
        let deadline = operation.deadline;
        let answered = async {
            let mut replies = self.directory.run(operation).await?;
            while let Some(reply) = replies.next().await {
                if let Reply::Done(done) = reply? {
                    return Ok(done);
                }
            }
            Err(DirectoryError::ConnectionLost { sent: true })
        };
        tokio::time::timeout_at(deadline, answered).await.unwrap_or(Err(DirectoryError::TimedOut))
    }
}

/// The BindResponse, and who the client is from now on: nobody, unless it proved somebody.
async fn say(delivery: Delivery, principal: Option<Principal>, code: ResultCode, diagnostic: &str, served: Served) -> Outcome {
    let mut response = Vec::new();
    write_end(*delivery.asked(), code, diagnostic, &mut response);
    let identity = principal.map_or(Identity::Anonymous, |principal| Identity::Bound(Arc::new(principal)));
    delivery.bound(identity, response, served, code).await
}

/// A local account's password is looked at within this, or the client is told to come again.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(8);

const NOT_SIMPLE: Refused = Refused { code: ResultCode::AUTH_METHOD_NOT_SUPPORTED, reason: "simple binds only" };
const EMPTY: Refused = Refused { code: ResultCode::UNWILLING_TO_PERFORM, reason: "a bind with an empty name or password proves nothing" };
