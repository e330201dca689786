//! Somebody who asks a pipeline, without a connection.

use super::requests;
use redial::identity::{Identity, Principal};
use redial::ldap::ber::Reader;
use redial::ldap::control::{PagedResults, parse_controls};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::message::{LdapResult, Request};
use redial::ldap::{Envelope, MessageId, ResultCode, oid};
use redial::pipeline::{Begun, Client, Pipeline, Said, outbox};
use redial::session::{Accepted, AcceptedRequest, ClientMessageId, Security};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Phone {
    pipeline: Arc<Pipeline>,
    pub(crate) client: Client,
}

/// What came back: entries, and a last word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The octets of each entry's protocolOp.
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) code: ResultCode,
    pub(crate) diagnostic: String,
    /// At once, without waiting.
    pub(crate) from_memory: bool,
    pub(crate) cookie: Option<Vec<u8>>,
}

impl Phone {
    /// At the first listener, without TLS, and known to nobody.
    pub(crate) fn new(pipeline: &Arc<Pipeline>) -> Self {
        let client = Client::new(([10, 20, 1, 7], 50_000).into(), 0, Security::Clear, Identity::Anonymous);
        Self { pipeline: Arc::clone(pipeline), client }
    }

    /// Binds, and is thereafter whom the answer makes it.
    pub(crate) async fn bind(&mut self, name: &str, password: &str) -> Answered {
        self.client.identity = Identity::Anonymous;
        let (answered, identity) = self.run(&requests::bind(name, password), None).await;
        self.client.identity = identity.expect("a bind says who the client is");
        assert_eq!(self.client.identity.is_anonymous(), answered.code != ResultCode::SUCCESS);
        answered
    }

    /// Whose name a directory has accepted.
    pub(crate) fn principal(&self) -> &Arc<Principal> {
        let Identity::Bound(principal) = &self.client.identity else { panic!("nobody has bound") };
        principal
    }

    /// Searches a subtree for numbers.
    pub(crate) async fn search(&self, base: &str, filter: &str) -> Answered {
        self.ask(&requests::search_for(base, filter, &["telephoneNumber"]), None).await
    }

    /// The same by pages.
    pub(crate) async fn page(&self, base: &str, filter: &str, size: u32, cookie: &[u8]) -> Answered {
        let controls = requests::paged(size, cookie);
        self.ask(&requests::search_for(base, filter, &["telephoneNumber"]), Some(&controls)).await
    }

    /// Asks anything else.
    pub(crate) async fn ask(&self, op: &[u8], controls: Option<&[u8]>) -> Answered {
        self.run(op, controls).await.0
    }

    async fn run(&self, op: &[u8], controls: Option<&[u8]>) -> (Answered, Option<Identity>) {
        let (mut out, mut identity) = (Vec::new(), None);
        let running = match self.begin(op, controls, &mut out) {
            Begun::Answered(_) => return (answered(&out, true), None),
            Begun::Running(running) => running,
        };
        let (outbox, mut said) = outbox();
        // In a task of this future, so that it ends where the phone hangs up.
        let mut running = JoinSet::from_iter([Arc::clone(&self.pipeline).finish(running, outbox)]);
        while let Some(said) = said.next().await {
            match said {
                Said::Part(_, octets) | Said::Finished(_, octets) => out.extend_from_slice(&octets),
                Said::Answer(message_id, answer) => answer.write(message_id.wire(), &mut out),
                Said::BindFinished(_, bound, octets) => {
                    identity = Some(bound.map_or(Identity::Anonymous, |bound| Identity::Bound(bound.principal)));
                    out.extend_from_slice(&octets);
                }
            }
        }
        running.join_next().await.unwrap().unwrap();
        (answered(&out, false), identity)
    }

    fn begin(&self, op: &[u8], controls: Option<&[u8]>, out: &mut Vec<u8>) -> Begun {
        let mut frame = Vec::new();
        write_envelope(&mut frame, MessageId::new(ID).unwrap(), op, controls);
        let envelope = Envelope::parse(&frame).unwrap();
        self.pipeline.begin(&self.client, &accepted(&envelope), Instant::now(), out)
    }
}

/// As the session accepts it.
pub(crate) fn accepted<'a>(envelope: &Envelope<'a>) -> Accepted<'a> {
    let request = match Request::parse(envelope).unwrap() {
        Request::Search(search) => AcceptedRequest::Search(search),
        Request::Bind(bind) => AcceptedRequest::Bind(bind),
        Request::Compare(compare) => AcceptedRequest::Compare(compare),
        Request::Write(write) => AcceptedRequest::Write(write),
        Request::Extended(extended) => AcceptedRequest::Extended(extended),
        Request::Unbind | Request::Abandon(_) => panic!("the session's own"),
    };
    Accepted { message_id: ClientMessageId::new(envelope.message_id).unwrap(), request, controls: envelope.controls }
}

fn answered(octets: &[u8], from_memory: bool) -> Answered {
    let mut messages = Reader::new(octets);
    let mut entries = Vec::new();
    loop {
        let envelope = Envelope::parse(messages.element().expect("a last word").raw).unwrap();
        assert_eq!(envelope.message_id.number(), ID);
        if envelope.op_tag == op::SEARCH_RESULT_ENTRY {
            entries.push(envelope.op.to_vec());
            continue;
        }
        assert!(messages.is_empty(), "something after the last word");
        let result = LdapResult::parse(envelope.op_content).unwrap();
        assert!(result.referral.is_none(), "no client can follow it");
        let controls = parse_controls(envelope.controls).unwrap();
        let cookie = controls.iter().find(|control| control.oid == oid::PAGED_RESULTS);
        let cookie = cookie.map(|control| PagedResults::parse(control.value.unwrap()).unwrap().cookie.to_vec());
        let diagnostic = String::from_utf8_lossy(result.diagnostic).into_owned();
        return Answered { entries, code: result.code, diagnostic, from_memory, cookie };
    }
}

/// The messageID of all that is asked.
const ID: u32 = 7;
