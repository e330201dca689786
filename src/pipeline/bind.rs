//! A password is proved: by a local account, from memory, or by one directory, once.
//!
//! What holds always: one client bind causes at most one upstream bind; a directory that cannot be asked is unavailable(52) and never
//! invalidCredentials(49); an unknown name and a wrong password look the same. How a directory is asked, without locking an account, is in
//! [`super::proofs`].

use super::controls::{self, Refused};
use super::delivery::{Delivery, write_end};
use super::proofs::{Landed, Question};
use super::{Arrival, AskedAt, Begun, Bound, Client, Pipeline, Running, Station, Work};
use crate::identity::accounts::Verification;
use crate::identity::binds::Recalled;
use crate::identity::register::Register;
use crate::identity::roster::{Caller, Member};
use crate::identity::{Credentials, Principal, Who};
use crate::ldap::ResultCode;
use crate::ldap::dn::Dn;
use crate::ldap::envelope::write_envelope;
use crate::ldap::message::{Authentication, Bind};
use crate::outcome::{Outcome, Served};
use crate::secret::Secret;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A name and a password on their way to whoever knows them.
#[derive(Debug)]
pub(super) struct BindWork {
    name: String,
    password: Secret,
    listener: usize,
    peer: SocketAddr,
}

impl Pipeline {
    /// A simple bind with name and password; all others the session has answered.
    pub(super) fn begin_bind(&self, Arrival { client, asked, controls }: Arrival<'_>, bind: &Bind<'_>) -> Result<Begun, Refused> {
        controls::of_bind(controls)?;
        let Authentication::Simple(password) = bind.authentication else { return Err(NOT_SIMPLE) };
        if password.is_empty() || bind.name.is_empty() {
            // RFC 4513 section 5.1.2: the session refuses these; a second lock on the same door.
            return Err(EMPTY);
        }
        let (name, password) = (bind.name.to_owned(), Secret::new(password));
        let work = BindWork { name, password, listener: client.listener, peer: client.peer };
        Ok(Running::begun(asked, Work::Bind(Box::new(work))))
    }

    /// The place in the roster of a client that has proved who it is without a password.
    pub fn enter(&self, client: &Client) -> Member {
        let name = client.identity.name();
        let register = self.proofs.register();
        let presented = register.present(client.listener, name, &Secret::new(b""));
        register.enter(&presented, Caller { name: name.into(), peer: client.peer, listener: client.listener })
    }

    /// Proves the password and says who the client is now.
    pub(super) async fn finish_bind(&self, work: BindWork, delivery: Delivery) -> Outcome {
        let register = self.proofs.register();
        let presented = register.present(work.listener, &work.name, &work.password);
        // Before anybody is asked: who is revoked from now on is refused, or known to be revoked.
        let member = register.enter(&presented, work.caller());
        if self.accounts.knows(&work.name) {
            return self.ask_account(&work, member, delivery).await;
        }
        let Some(station) = self.directory_of_name(&work.name) else {
            // Nobody has that name, and that is found out as slowly as the wrong password of a local account.
            return self.ask_account(&work, member, delivery).await;
        };
        let principal = |who| work.principal(station, who, register);
        let recalled = self.proofs.recall(&presented, principal);
        self.metrics.bind_recalled((&recalled).into());
        let generation = match recalled {
            Recalled::Accepted(principal) => return accept_at(station, delivery, principal, member, Served::Hit).await,
            Recalled::Rejected => return refuse(delivery, Served::Hit).await,
            Recalled::Unknown(generation) => generation,
        };
        let question = work.question(station, delivery.asked());
        let (landed, served) = self.proofs.ask(&presented, generation, question).await;
        match landed {
            Landed::Accepted(proved) => {
                // Whose name it is may be known only since.
                let presented = register.present(work.listener, &work.name, &work.password);
                member.is(&presented);
                let principal = match self.proofs.recall(&presented, principal) {
                    Recalled::Accepted(shared) => shared,
                    Recalled::Rejected | Recalled::Unknown(_) => Arc::new(principal(proved.who)),
                };
                accept_at(station, delivery, principal, member, served).await
            }
            Landed::Rejected => refuse(delivery, served).await,
            // The server's diagnostic tells an unknown user from a wrong password: not for everybody.
            Landed::Answered(done) if done.code == ResultCode::INVALID_CREDENTIALS => refuse(delivery, served).await,
            Landed::Answered(done) => {
                let mut response = Vec::new();
                write_envelope(&mut response, delivery.asked().message_id.wire(), &done.op, None);
                delivery.bound(None, response, served, done.code).await
            }
            Landed::Guarded(code) => say(delivery, None, code, "", served).await,
            Landed::Failed(error) => say(delivery, None, error.result_code(), &error.to_string(), served).await,
        }
    }

    /// A local account: its hash is here.
    async fn ask_account(&self, work: &BindWork, member: Member, delivery: Delivery) -> Outcome {
        let deadline = delivery.asked().received_at + ACCOUNT_PATIENCE;
        match self.accounts.verify(&work.name, &work.password, deadline).await {
            Verification::Accepted => accept(delivery, Arc::new(Principal::of_redial(work.name.clone())), member, Served::Local).await,
            Verification::Refused => refuse(delivery, Served::Local).await,
            Verification::TooBusy => say(delivery, None, ResultCode::BUSY, "too many binds at once", Served::Failed).await,
        }
    }

    /// Which directory knows that name: a DN's own, else the first one that is asked upstream, since only a controller can make sense of a UPN or
    /// `DOMAIN\user`.
    fn directory_of_name(&self, name: &str) -> Option<&Station> {
        let mut stations = self.stations.iter();
        match Dn::parse(name) {
            Ok(dn) if !dn.is_root() => stations.find(|station| dn.is_under(&station.config.base_dn)),
            _ => stations.find(|station| station.is_upstream()),
        }
    }
}

impl BindWork {
    /// Who the client is when the password was accepted. The password itself is kept only where something runs under it.
    fn principal(&self, station: &Station, who: Option<Arc<Who>>, register: &Arc<Register>) -> Principal {
        let credentials = || Credentials::new(self.name.clone(), self.password.clone(), Arc::clone(register));
        let credentials = station.runs_as_clients().then(|| Arc::new(credentials()));
        Principal::proved(self.name.clone(), station.number, who, credentials)
    }

    fn caller(&self) -> Caller {
        Caller { name: self.name.as_str().into(), peer: self.peer, listener: self.listener }
    }

    fn question(&self, station: &Station, asked: &AskedAt) -> Question {
        Question {
            directory: Arc::clone(&station.directory),
            number: station.number,
            name: self.name.clone(),
            password: self.password.clone(),
            groups: Arc::clone(&station.groups),
            peer: self.peer.ip(),
            deadline: asked.received_at + station.patience,
        }
    }
}

/// The client is that principal of the directory from now on.
async fn accept_at(station: &Station, delivery: Delivery, principal: Arc<Principal>, member: Member, served: Served) -> Outcome {
    member.bound_to(station.bond(&principal));
    accept(delivery, principal, member, served).await
}

/// The client is that principal from now on.
async fn accept(delivery: Delivery, principal: Arc<Principal>, member: Member, served: Served) -> Outcome {
    say(delivery, Some(Bound { principal, member }), ResultCode::SUCCESS, "", served).await
}

/// A wrong password, an unknown name, or what must look the same.
async fn refuse(delivery: Delivery, served: Served) -> Outcome {
    say(delivery, None, ResultCode::INVALID_CREDENTIALS, "", served).await
}

/// The BindResponse, and who the client is from now on: nobody, unless it proved somebody.
async fn say(delivery: Delivery, bound: Option<Bound>, code: ResultCode, diagnostic: &str, served: Served) -> Outcome {
    let mut response = Vec::new();
    write_end(*delivery.asked(), code, diagnostic, &mut response);
    delivery.bound(bound, response, served, code).await
}

/// A local account's password is looked at within this, or the client is told to come again.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(8);

const NOT_SIMPLE: Refused = Refused { code: ResultCode::AUTH_METHOD_NOT_SUPPORTED, reason: "simple binds only" };
const EMPTY: Refused = Refused { code: ResultCode::UNWILLING_TO_PERFORM, reason: "a bind with an empty name or password proves nothing" };
