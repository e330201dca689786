//! What Redial does towards controllers, with scripted ones on loopback: each test is a sentence of the promise.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that meets the unexpected fails")]

mod common;

#[path = "upstream/as_the_client.rs"]
mod as_the_client;
#[path = "upstream/binds.rs"]
mod binds;
#[path = "upstream/collecting.rs"]
mod collecting;
#[path = "upstream/connecting.rs"]
mod connecting;
#[path = "upstream/failover.rs"]
mod failover;
#[path = "upstream/sharing.rs"]
mod sharing;

use bytes::Bytes;
use common::scripted_controller::{Act, Certificate, Heard, ScriptedController, certificate, usual};
use redial::config::{self, Limits, SearchAs, Server, ServiceAccount, UpstreamSecurity};
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Reply, RunAs};
use redial::identity::Credentials;
use redial::identity::register::Register;
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest, WriteKind};
use redial::lifecycle::{Ending, lifecycle};
use redial::metrics::Metrics;
use redial::secret::Secret;
use redial::upstream::Upstream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A directory of controllers under test.
struct Bench {
    upstream: Upstream,
    _ending: Ending,
}

fn plain(controllers: &[&ScriptedController]) -> config::Upstream {
    let servers = controllers.iter().map(|controller| server(controller, "127.0.0.1", UpstreamSecurity::Plain)).collect();
    config::Upstream {
        servers,
        discover: None,
        ca: Some(certificate(Certificate::Good).0),
        search_as: SearchAs::Service,
        service: Some(ServiceAccount { bind_dn: "cn=redial".into(), password: Secret::new(b"service") }),
        forward_writes: true,
        connections: 4,
        connect_timeout: Duration::from_secs(10),
        operation_timeout: Duration::from_secs(10),
        idle: Duration::from_secs(300),
        probe_interval: Duration::from_secs(600),
        page_size: 1000,
    }
}

fn server(controller: &ScriptedController, host: &str, security: UpstreamSecurity) -> Server {
    Server {
        url: format!("ldap://{}", controller.address),
        host: host.into(),
        port: controller.address.port(),
        security,
        priority: 1,
        weight: 1,
    }
}

fn over_tls(controller: &ScriptedController, host: &str, security: UpstreamSecurity, ca: PathBuf) -> config::Upstream {
    config::Upstream { servers: vec![server(controller, host, security)], ca: Some(ca), ..plain(&[]) }
}

fn bench(config: &config::Upstream) -> Bench {
    let (ending, lifecycle) = lifecycle();
    let upstream = Upstream::new(3, config, &Limits::default(), Arc::new(Metrics::unrecorded()), lifecycle).unwrap();
    Bench { upstream, _ending: ending }
}

impl Bench {
    async fn run(&self, run_as: RunAs, request: Asked) -> Result<(Vec<Bytes>, Done), DirectoryError> {
        self.run_with(run_as, request, None, Duration::from_secs(20)).await
    }

    async fn run_with(
        &self,
        run_as: RunAs,
        request: Asked,
        controls: Option<Bytes>,
        wait: Duration,
    ) -> Result<(Vec<Bytes>, Done), DirectoryError> {
        let operation = Operation { run_as, request, controls, deadline: Instant::now() + wait };
        let mut replies = self.upstream.run(operation).await?;
        let mut entries = Vec::new();
        loop {
            match replies.next().await.expect("the end comes before the stream ends")? {
                Reply::Entry(entry) => entries.push(entry),
                Reply::Intermediate(_) | Reply::Who(_) => {}
                Reply::Again => entries.clear(),
                Reply::Done(done) => {
                    assert!(replies.next().await.is_none(), "nothing follows the end");
                    return Ok((entries, done));
                }
            }
        }
    }

    async fn search(&self, base: &str, wanted: Option<u32>) -> Result<(Vec<Bytes>, Done), DirectoryError> {
        self.run(RunAs::Service, search(base, wanted)).await
    }

    async fn bind(&self, name: &str) -> Result<Done, DirectoryError> {
        let request = Asked::Bind { name: name.into(), password: Secret::new(b"secret"), groups: Arc::default() };
        self.run(RunAs::Service, request).await.map(|(_, done)| done)
    }
}

fn search(base: &str, wanted: Option<u32>) -> Asked {
    let request = SearchRequest {
        base_object: base.into(),
        scope: Scope::WholeSubtree,
        deref_aliases: 0,
        size_limit: wanted.unwrap_or(0),
        time_limit: 0,
        types_only: false,
        filter: Filter::Present("cn".into()),
        attributes: vec!["cn".into()],
    };
    Asked::Search { op: request.encode().into(), entries_wanted: wanted }
}

fn modify() -> Asked {
    Asked::Write { op: Bytes::from_static(&[op::MODIFY_REQUEST, 4, 4, 0, 0x30, 0]), kind: WriteKind::Modify }
}

fn compare() -> Asked {
    let op = Bytes::from_static(&[op::COMPARE_REQUEST, 8, 4, 0, 0x30, 4, 4, 0, 4, 0]);
    Asked::Compare { op, entry: String::new(), attribute: String::new(), value: Vec::new() }
}

fn client(name: &str, password: &[u8]) -> Arc<Credentials> {
    let register = Arc::new(Register::new(&config::Binds::default()));
    Arc::new(Credentials::new(name.into(), Secret::new(password), register))
}

/// The usual controller with a script for everything but binds and the rootDSE.
async fn answering(script: impl Fn(&Heard) -> Option<Vec<Act>> + Send + Sync + 'static) -> ScriptedController {
    let is_plumbing = |heard: &Heard| heard.tag == op::BIND_REQUEST || heard.is_root_dse();
    ScriptedController::plain(move |heard| if is_plumbing(heard) { None } else { script(heard) }).await
}

async fn well() -> ScriptedController {
    ScriptedController::plain(|_| None).await
}

fn searches(controller: &ScriptedController) -> Vec<Heard> {
    controller.heard_with(op::SEARCH_REQUEST).into_iter().filter(|heard| !heard.is_root_dse()).collect()
}

/// The binds that clients asked for, without the service account's.
fn client_binds(controller: &ScriptedController) -> Vec<Heard> {
    let is_service = |heard: &Heard| heard.op.windows(9).any(|part| part == b"cn=redial");
    controller.heard_with(op::BIND_REQUEST).into_iter().filter(|heard| !is_service(heard)).collect()
}
