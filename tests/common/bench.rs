//! Redial in front of a [`Site`], and somebody who asks it.

use super::faulty_site::{CALLER, PAPERS, Site};
use crate::common::configuration::load;
use crate::common::phone::{Answered, Phone};
use crate::common::requests::{delete_of, paged};
use redial::directory::Directory;
use redial::ldap::ResultCode;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest};
use redial::lifecycle::{Ending, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::Pipeline;
use redial::upstream::{Dial, Upstream};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// See the module.
pub(crate) struct Bench {
    pub(crate) site: Arc<Site>,
    pub(crate) pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
    phone: RefCell<Phone>,
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
        let mut phone = bench.phone.borrow().clone();
        phone.bind("cn=writer,dc=corp,dc=example", "secret").await;
        bench.phone.replace(phone);
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
        let config = load(&text, Path::new("."));
        let redial::config::DirectoryKind::Upstream(upstream) = &config.directories[0].kind else { panic!("controllers") };
        let metrics = Arc::new(Metrics::new(&config));
        let (ending, lifecycle) = lifecycle();
        let dial = Some(Arc::clone(&site) as Arc<dyn Dial>);
        let upstream = Upstream::reached_by(dial, 0, upstream, &config.limits, Arc::clone(&metrics), lifecycle).unwrap();
        upstream.start();
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::new(upstream)];
        let pipeline = Arc::new(Pipeline::new(&config, directories, Arc::clone(&metrics)));
        let phone = RefCell::new(Phone::new(&pipeline));
        Self { site, pipeline, metrics, phone, number: Cell::new(0), _ending: ending }
    }

    /// Carries out an operation of that kind.
    pub(crate) async fn meets(&self, column: Column) -> Met {
        self.number.set(self.number.get() + 1);
        let (heard, counted, began) = (self.site.heard(), self.served(), Instant::now());
        let answered = timeout(Duration::from_secs(60), self.ask(column, self.number.get())).await;
        let answered = answered.unwrap_or_else(|_| panic!("{column:?} hangs"));
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
        let octets: usize = answered.entries.iter().map(Vec::len).sum();
        assert!(octets < 10_000, "what a controller floods with reaches no phone");
        Met { code: answered.code, entries: answered.entries.len(), served, reached: self.site.heard()[kind] - heard[kind], took }
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

    async fn ask(&self, column: Column, number: u32) -> Answered {
        let phone = self.phone.borrow().clone();
        let control = paged(100, b"");
        let (op, controls) = match column {
            Column::Bind => {
                let mut another = Phone::new(&self.pipeline);
                return another.bind(&format!("{CALLER}{number},dc=corp,dc=example"), "secret").await;
            }
            Column::Fresh => (search("ou=small", "(cn=fresh)", 3), None),
            Column::Old => (search("ou=small", "(sn=old)", 3), None),
            Column::New => (search("ou=small", &format!("(cn=new{number})"), 3), None),
            Column::Paged => (search("ou=large", &format!("(cn=new{number})"), 0), Some(control.as_slice())),
            Column::Write => (delete_of("cn=a,dc=corp,dc=example"), None),
        };
        phone.ask(&op, controls).await
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
}

fn search(base: &str, filter: &str, size_limit: u32) -> Vec<u8> {
    let base = format!("{base},dc=corp,dc=example");
    let request = SearchRequest::new(&base, Scope::WholeSubtree, Filter::parse(filter).unwrap(), &["telephoneNumber"]);
    SearchRequest { size_limit, ..request }.encode()
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
