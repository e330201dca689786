//! Redial in front of a [`Site`], and somebody who asks it.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "tests fail by panicking, and each of them uses its part of this"
)]

use crate::site::{CALLER, PAPERS, Site};
use redial::config::load::load_text;
use redial::directory::Directory;
use redial::identity::Identity;
use redial::ldap::ber::{Reader, tag, write_constructed, write_element, write_integer};
use redial::ldap::control::{PagedResults, write_control};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::message::{LdapResult, Request, Scope, SearchRequest};
use redial::ldap::{Envelope, MessageId, ResultCode, oid};
use redial::lifecycle::{Ending, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::{Begun, Client, Pipeline, Said};
use redial::session::{Accepted, AcceptedRequest, ClientMessageId, Security};
use redial::upstream::{Dial, Upstream};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// See the module.
pub(crate) struct Bench {
    pub(crate) site: Arc<Site>,
    pub(crate) pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
    client: RefCell<Client>,
    number: Cell<u32>,
    _ending: Ending,
}

/// An operation of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// A password that memory does not know.
    Bind,
    /// A search that memory answers.
    Fresh,
    /// A search that memory knows an answer to whose time is over.
    Old,
    /// A search that memory does not know.
    New,
    /// A search that a client asks for by pages, and that is longer than a page upstream.
    Paged,
    /// A delete.
    Write,
}

/// What a client met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) code: ResultCode,
    pub(crate) entries: usize,
    /// From where, as the metrics tell it.
    pub(crate) served: String,
    /// How often the operation reached a controller.
    pub(crate) reached: usize,
    pub(crate) took: Duration,
}

impl Column {
    pub(crate) const ALL: [Self; 6] = [Self::Bind, Self::Fresh, Self::Old, Self::New, Self::Paged, Self::Write];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Fresh => "cached search",
            Self::Old => "expired search",
            Self::New => "uncached search",
            Self::Paged => "paged search",
            Self::Write => "write",
        }
    }
}

impl Bench {
    /// Redial after a quiet minute in front of controllers that are well. It prefers `dc0`, and has every kind of connection to it.
    pub(crate) async fn new(tls: bool) -> Self {
        let bench = Self::before(Site::new(tls), tls, "");
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.client.borrow_mut().identity = bench.bind("cn=writer,dc=corp,dc=example").await;
        for column in [Column::Bind, Column::Write, Column::Fresh, Column::Old] {
            let met = bench.meets(column).await;
            assert_eq!(met.code, ResultCode::SUCCESS, "all is well before {column:?}: {met:?}");
        }
        tokio::time::sleep(Duration::from_secs(45)).await;
        bench
    }

    /// Redial as it starts before these controllers; `cache` is put into its `[cache]`.
    pub(crate) fn before(site: Arc<Site>, tls: bool, cache: &str) -> Self {
        let scheme = if tls { "ldaps" } else { "ldap" };
        let how = if tls { format!("ca = {:?}", PAPERS.ca) } else { "start_tls = false\nplain = \"allow\"".to_owned() };
        let text = CONFIGURATION.replace("SCHEME", scheme).replace("HOW", &how).replace("CACHE", cache);
        let config = load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}\n{text}")).config;
        let redial::config::DirectoryKind::Upstream(upstream) = &config.directories[0].kind else { panic!("controllers") };
        let metrics = Arc::new(Metrics::new(&config));
        let (ending, lifecycle) = lifecycle();
        let dial = Some(Arc::clone(&site) as Arc<dyn Dial>);
        let upstream = Upstream::reached_by(dial, 0, upstream, &config.limits, Arc::clone(&metrics), lifecycle).unwrap();
        upstream.start();
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::new(upstream)];
        let pipeline = Arc::new(Pipeline::new(&config, directories, Arc::clone(&metrics)));
        let client = Client {
            peer: "10.20.1.7:50000".parse().unwrap(),
            listener: 0,
            security: Security::Clear,
            identity: Identity::Anonymous,
            standing: None,
        };
        Self { site, pipeline, metrics, client: RefCell::new(client), number: Cell::new(0), _ending: ending }
    }

    /// Carries out an operation of that kind.
    pub(crate) async fn meets(&self, column: Column) -> Met {
        self.number.set(self.number.get() + 1);
        let number = self.number.get();
        let (op, controls) = match column {
            Column::Bind => (bind(&format!("{CALLER}{number},dc=corp,dc=example")), None),
            Column::Fresh => (search("ou=small", "(cn=fresh)", 3), None),
            Column::Old => (search("ou=small", "(sn=old)", 3), None),
            Column::New => (search("ou=small", &format!("(cn=new{number})"), 3), None),
            Column::Paged => {
                let mut control = Vec::new();
                write_control(&mut control, oid::PAGED_RESULTS, true, Some(&PagedResults { size: 100, cookie: b"" }.encode()));
                (search("ou=large", &format!("(cn=new{number})"), 0), Some(control))
            }
            Column::Write => {
                let mut delete = Vec::new();
                write_element(&mut delete, op::DELETE_REQUEST, b"cn=a,dc=corp,dc=example");
                (delete, None)
            }
        };
        let (heard, counted, began) = (self.site.heard(), self.served(), Instant::now());
        let octets = timeout(Duration::from_secs(60), self.ask(&op, controls.as_deref())).await;
        let (octets, _) = octets.unwrap_or_else(|_| panic!("{column:?} hangs"));
        let took = began.elapsed();
        let counted_after = self.served();
        let mut more = counted_after.iter().filter(|now| !counted.contains(now));
        let served = more.next().map_or_else(|| "uncounted".to_owned(), |(series, _)| series.clone());
        assert_eq!(more.next(), None, "one operation counts once");
        let kind = match column {
            Column::Bind => 0,
            Column::Fresh | Column::Old | Column::New | Column::Paged => 1,
            Column::Write => 2,
        };
        let (code, entries) = ending_of(&octets);
        Met { code, entries, served, reached: self.site.heard()[kind] - heard[kind], took }
    }

    /// The value of a counter without labels.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let page = self.metrics.render();
        let value = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// The value of a gauge, over all servers.
    pub(crate) fn gauge(&self, name: &str) -> f64 {
        let page = self.metrics.render();
        let values = page.lines().filter(|line| line.starts_with(&format!("{name}{{"))).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    async fn bind(&self, name: &str) -> Identity {
        self.ask(&bind(name), None).await.1.expect("a bind says who the client is")
    }

    /// How often operations were served how.
    fn served(&self) -> Vec<(String, String)> {
        let page = self.metrics.render();
        let series = page.lines().filter_map(|line| {
            let (labels, count) = line.strip_prefix("redial_operations_total{")?.rsplit_once("} ")?;
            let served = labels.split("served=\"").nth(1)?.split('"').next()?;
            Some((labels.to_owned(), served.to_owned(), count.to_owned()))
        });
        series.map(|(labels, served, count)| (served, format!("{labels} {count}"))).collect()
    }

    async fn ask(&self, op: &[u8], controls: Option<&[u8]>) -> (Vec<u8>, Option<Identity>) {
        let mut frame = Vec::new();
        write_envelope(&mut frame, MessageId::new(7).unwrap(), op, controls);
        let envelope = Envelope::parse(&frame).unwrap();
        let request = match Request::parse(&envelope).unwrap() {
            Request::Search(search) => AcceptedRequest::Search(search),
            Request::Bind(bind) => AcceptedRequest::Bind(bind),
            Request::Write(write) => AcceptedRequest::Write(write),
            other => panic!("{other:?} is in no column"),
        };
        let message_id = ClientMessageId::new(envelope.message_id).unwrap();
        let accepted = Accepted { message_id, request, controls: envelope.controls };
        let mut out = Vec::new();
        let begun = self.pipeline.begin(&self.client.borrow(), &accepted, Instant::now(), &mut out);
        let Begun::Running(running) = begun else { return (out, None) };
        let (outbox, mut said) = mpsc::channel(4);
        tokio::spawn(Arc::clone(&self.pipeline).finish(running, outbox));
        let mut identity = None;
        while let Some(said) = said.recv().await {
            match said {
                Said::Part(_, octets) | Said::Finished(_, octets) => out.extend_from_slice(&octets),
                Said::BindFinished(_, who, octets) => {
                    identity = Some(who.map_or(Identity::Anonymous, |bound| Identity::Bound(bound.principal)));
                    out.extend_from_slice(&octets);
                }
            }
        }
        (out, identity)
    }
}

/// The code of the last of these messages, and how many entries stand before it. Nothing else may.
fn ending_of(octets: &[u8]) -> (ResultCode, usize) {
    let mut messages = Reader::new(octets);
    let mut entries = 0;
    loop {
        let envelope = Envelope::parse(messages.element().expect("a last word").raw).unwrap();
        assert_eq!(envelope.message_id.number(), 7);
        if envelope.op_tag == op::SEARCH_RESULT_ENTRY {
            entries += 1;
            continue;
        }
        assert!(messages.is_empty(), "something after the last word");
        assert!(octets.len() < 10_000, "what a controller floods with reaches no phone");
        return (LdapResult::parse(envelope.op_content).unwrap().code, entries);
    }
}

fn search(base: &str, filter: &str, size_limit: u32) -> Vec<u8> {
    SearchRequest {
        base_object: format!("{base},dc=corp,dc=example"),
        scope: Scope::WholeSubtree,
        deref_aliases: 0,
        size_limit,
        time_limit: 0,
        types_only: false,
        filter: Filter::parse(filter).unwrap(),
        attributes: vec!["telephoneNumber".to_owned()],
    }
    .encode()
}

fn bind(name: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write_constructed(&mut request, op::BIND_REQUEST, |out| {
        write_integer(out, tag::INTEGER, 3);
        write_element(out, tag::OCTET_STRING, name.as_bytes());
        write_element(out, 0x80, b"secret");
    });
    request
}

/// The most connections that Redial may have to both controllers: 4 for searches, 8 for binds, one for a client, and one that looks
/// whether a silent server is there.
pub(crate) const MOST_CONNECTIONS: usize = 2 * (4 + 8 + 1 + 1);

const CONFIGURATION: &str = r#"
[[listener]]
address = "127.0.0.1:3389"
plain_passwords = "allow"

[directory.corp]
base = "dc=corp,dc=example"
servers = ["SCHEME://dc0", { url = "SCHEME://dc1", priority = 2 }]
HOW
bind_dn = "cn=redial,dc=corp,dc=example"
password = "service"
writes = "forward"
page_size = 3

[[access]]
name = "everybody"
clients = "any"
bases = ["dc=corp,dc=example"]
attributes = ["*"]

[cache]
CACHE

[[cache.rule]]
name = "soon old"
filter = "(sn=?)"
ttl = "10s"
"#;
