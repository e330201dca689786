//! `redial explain`: what a search would meet, told by the same code that decides about real ones. Nothing is sent anywhere.
//!
//! A configuration and a search come in; out goes which access decides and why the earlier ones do not, what would be sent to which
//! servers under whose name, and for how long which answer would be kept under which key.

use super::{Failure, print};
use crate::access::narrow::Part;
use crate::access::{Accesses, Asker, Refusal, Verdict};
use crate::cache::key::{Keyed, Owner, write_key};
use crate::cache::rules::Rules;
use crate::config::load::load;
use crate::config::{Access, Clients, Config, DirectoryConfig, DirectoryKind, Lifetimes, SearchAs};
use crate::identity::{Identity, Membership, Principal};
use crate::ldap::dn::Dn;
use crate::ldap::envelope::write_envelope;
use crate::ldap::filter::Filter;
use crate::ldap::message::{Request, Scope, SearchRequest};
use crate::ldap::{Envelope, MessageId, ResultCode};
use clap::{Args, ValueEnum};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// What `redial explain` takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration file
    pub(crate) file: PathBuf,
    /// The phone's address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: IpAddr,
    /// The name that the phone binds with, or "anonymous"
    #[arg(long = "as", value_name = "NAME", default_value = ANONYMOUS)]
    pub(crate) name: String,
    /// A group that the phone's user is in, by its DN; may be given more than once
    #[arg(long = "in", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Where the search begins
    #[arg(long)]
    pub(crate) base: String,
    /// How deep it goes
    #[arg(long, value_enum, default_value = "sub")]
    pub(crate) scope: ScopeWord,
    /// What it looks for
    #[arg(long, default_value = "(objectClass=*)")]
    pub(crate) filter: String,
    /// Which attributes it wants, separated by commas; all where left out
    #[arg(long, value_delimiter = ',')]
    pub(crate) attributes: Vec<String>,
    /// The most entries it wants, 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) size_limit: u32,
}

/// The scope as ldapsearch writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeWord {
    /// The base alone
    Base,
    /// Its children
    One,
    /// It and all below
    Sub,
}

/// Prints the explanation to standard output.
///
/// # Errors
/// When the configuration does not hold, or the filter is none. A search that would be refused is no failure.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = load(&arguments.file).map_err(Failure::configuration)?.config;
    let filter = Filter::parse(&arguments.filter).map_err(|error| Failure::configuration(format_args!("--filter: {error}")))?;
    let request = SearchRequest {
        size_limit: arguments.size_limit,
        attributes: arguments.attributes.clone(),
        ..SearchRequest::new(&arguments.base, arguments.scope.into(), filter, &[])
    };
    let groups = arguments.groups.iter().map(|group| Dn::parse(group)).collect::<Result<Vec<_>, _>>();
    let groups = groups.map_err(|error| Failure::configuration(format_args!("--in: {error}")))?;
    let identity = identity(&arguments.name, groups);
    print(&explain(&config, arguments.from, &identity, &request)?)
}

/// The whole explanation.
fn explain(config: &Config, from: IpAddr, identity: &Identity, request: &SearchRequest) -> Result<String, Failure> {
    let asker = Asker { peer: from, identity };
    let mut text = String::new();
    listeners(&mut text, config, from);
    if request.base_object.is_empty() && request.scope == Scope::BaseObject {
        text.push_str("The empty base with scope base is Redial's own rootDSE: answered to everybody.\n");
        return Ok(text);
    }

    text.push_str("Access\n");
    let accesses = Accesses::new(&config.accesses, &config.directories);
    let verdict = accesses.decide(&asker, &request.base_object, request.scope);
    let decides = config.accesses.iter().position(|access| is_decisive(access, config, &asker, request));
    for (index, access) in config.accesses.iter().enumerate().take(decides.map_or(usize::MAX, |decides| decides + 1)) {
        let why = if Some(index) == decides { "decides".to_owned() } else { why_not(access, config, &asker, request) };
        line(&mut text, &format!("{}. {:?}", index + 1, access.name), &why);
    }
    let grant = match verdict {
        Verdict::Refuse(Refusal { code, reason }) => {
            line(&mut text, "refused", &format!("{code} {reason}"));
            return Ok(text);
        }
        Verdict::Allow(grant) => grant,
    };
    let op = request.encode();
    let mut frame = Vec::new();
    write_envelope(&mut frame, MessageId::UNSOLICITED, &op, None);
    let envelope = Envelope::parse(&frame).map_err(Failure::fault)?;
    let Request::Search(search) = Request::parse(&envelope).map_err(Failure::configuration)? else {
        return Err(Failure::fault("the search was not read as a search"));
    };
    let parts = grant.narrow(&search).map_err(Failure::fault)?;
    if parts.is_empty() {
        text.push_str("Nothing is sent: the filter can match nothing that this access shows. The answer is success without entries.\n");
    }
    for part in &parts {
        sent(&mut text, config, part, &asker);
    }

    let mut key = Vec::new();
    let principal = grant.runs_as_client().then(|| identity.owner());
    let owner = Owner { access: grant.index(), principal };
    let keyed = write_key(&mut key, owner, grant.directory(), &search, None);
    cache(&mut text, config, &request.filter, (keyed == Keyed::Cacheable).then_some(&key));
    Ok(text)
}

fn identity(name: &str, groups: Vec<Dn>) -> Identity {
    if name == ANONYMOUS || name.is_empty() {
        return Identity::Anonymous;
    }
    let principal = Principal::of_redial(name.to_owned());
    principal.renew(Membership { groups: groups.into(), as_of: Instant::now() });
    Identity::Bound(Arc::new(principal))
}

/// Where the phone could connect.
fn listeners(text: &mut String, config: &Config, from: IpAddr) {
    text.push_str("Listeners\n");
    for listener in &config.listeners {
        let is_allowed = listener.networks.is_empty() || listener.networks.iter().any(|network| network.contains(&from.to_canonical()));
        let why = if is_allowed { "lets that address connect" } else { "hangs up: that address is in none of its networks" };
        line(text, &listener.address.to_string(), why);
    }
}

/// Would this access decide, if it were the only one?
fn is_decisive(access: &Access, config: &Config, asker: &Asker<'_>, request: &SearchRequest) -> bool {
    let alone = Accesses::new(std::slice::from_ref(access), &config.directories);
    match alone.decide(asker, &request.base_object, request.scope) {
        Verdict::Allow(_) => true,
        Verdict::Refuse(refusal) => refusal.code == ResultCode::NO_SUCH_OBJECT,
    }
}

/// What keeps this access from deciding: it is asked again with all but one of its conditions lifted.
fn why_not(access: &Access, config: &Config, asker: &Asker<'_>, request: &SearchRequest) -> String {
    let everywhere = || vec![(String::new(), Dn::ROOT)];
    let by_network = Access { clients: Clients::Any, bases: everywhere(), ..access.clone() };
    let by_client = Access { networks: Vec::new(), bases: everywhere(), ..access.clone() };
    let by_base = Access { networks: Vec::new(), clients: Clients::Any, ..access.clone() };
    // Below any directory every access without bases of its own would decide.
    let anywhere = config.directories.first().map_or("", |directory| &directory.base);
    let elsewhere = SearchRequest { base_object: anywhere.to_owned(), ..request.clone() };
    let mut reasons = Vec::new();
    if !is_decisive(&by_network, config, asker, &elsewhere) {
        reasons.push("the address is in none of its networks".to_owned());
    }
    if !is_decisive(&by_client, config, asker, &elsewhere) {
        reasons.push(format!("it is for {}", whom(&access.clients)));
    }
    if !is_decisive(&by_base, config, asker, request) {
        reasons.push("the base is neither below nor above its bases".to_owned());
    }
    format!("does not match: {}", reasons.join("; "))
}

fn whom(clients: &Clients) -> String {
    match clients {
        Clients::Any => "everybody".to_owned(),
        Clients::Anonymous => "anonymous clients".to_owned(),
        Clients::Bound => "clients that have bound".to_owned(),
        Clients::Listed { names, groups } => {
            let members = groups.iter().map(|group| format!("the members of {}", group.name));
            names.iter().cloned().chain(members).collect::<Vec<_>>().join(", ")
        }
    }
}

/// What goes to one directory.
fn sent(text: &mut String, config: &Config, part: &Part, asker: &Asker<'_>) {
    let Some(directory) = config.directories.get(part.directory) else { return };
    let Ok(request) = SearchRequest::decode(&part.op) else { return };
    let _ = writeln!(text, "Asked of directory.{} when it is not in the cache", directory.name);
    answerers(text, directory, asker);
    line(text, "base", &format!("{:?}", request.base_object));
    line(text, "scope", scope_word(request.scope));
    line(text, "filter", &request.filter.to_string());
    line(text, "attributes", &if request.attributes.is_empty() { "all".to_owned() } else { request.attributes.join(", ") });
    line(text, "size limit", &if request.size_limit == 0 { "none".to_owned() } else { request.size_limit.to_string() });
}

fn answerers(text: &mut String, directory: &DirectoryConfig, asker: &Asker<'_>) {
    match &directory.kind {
        DirectoryKind::Embedded { ldif } => line(text, "answered by", &format!("the entries of {}", ldif.display())),
        DirectoryKind::Upstream(upstream) => {
            let listed = || upstream.servers.iter().map(|server| server.url.as_str()).collect::<Vec<_>>().join(", ");
            line(text, "servers", &upstream.discover.as_ref().map_or_else(listed, ToString::to_string));
            let under = match (upstream.search_as, &upstream.service) {
                (SearchAs::Service, Some(service)) => format!("the service account {}", service.bind_dn),
                (SearchAs::Service, None) => "nobody".to_owned(),
                (SearchAs::Client, _) if asker.identity.is_anonymous() => "refused: an anonymous client must bind first".to_owned(),
                (SearchAs::Client, _) => format!("the client, {}, if that directory accepted its password", asker.identity.name()),
            };
            line(text, "under", &under);
        }
    }
}

fn cache(text: &mut String, config: &Config, filter: &Filter, key: Option<&Vec<u8>>) {
    text.push_str("Cache\n");
    let Some(key) = key else {
        line(text, "kept", "no");
        return;
    };
    let rules = Rules::new(&config.cache);
    let rule = rules.fitting(filter).map_or_else(|| "none fits; [cache] holds".to_owned(), |rule| format!("{:?}", rule.name));
    line(text, "rule", &rule);
    let Lifetimes { ttl, empty_ttl, stale, refresh } = rules.of(filter);
    let shown = |duration| humantime::format_duration(duration).to_string();
    line(text, "fresh for", &format!("{}, and {} where nothing was found", shown(ttl), shown(empty_ttl)));
    line(text, "stale for", &format!("{} more, while the directory fails or dawdles", shown(stale)));
    if refresh < 1.0 {
        line(text, "asked again", &format!("by a hit after {}", shown(std::time::Duration::from_secs(ttl.mul_f64(refresh).as_secs()))));
    }
    line(text, "key", &readable(key));
}

/// A key's own octets, text as text and the rest in hex: searches with the same line share an answer.
fn readable(key: &[u8]) -> String {
    let is_text = |octet: &u8| octet.is_ascii_graphic() && !matches!(octet, b'<' | b'>');
    let mut text = String::new();
    for run in key.chunk_by(|one, next| is_text(one) == is_text(next)) {
        // A single letter among lengths and tags is no text.
        if run.len() > 1 && run.iter().all(is_text) {
            text.extend(run.iter().map(|octet| char::from(*octet)));
        } else {
            let hex: String = run.iter().map(|octet| format!("{octet:02x}")).collect();
            let _ = write!(text, "<{hex}>");
        }
    }
    text
}

fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::BaseObject => "base",
        Scope::SingleLevel => "one",
        Scope::WholeSubtree => "sub",
    }
}

fn line(text: &mut String, what: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {what:<14} {value}");
}

impl From<ScopeWord> for Scope {
    fn from(word: ScopeWord) -> Self {
        match word {
            ScopeWord::Base => Self::BaseObject,
            ScopeWord::One => Self::SingleLevel,
            ScopeWord::Sub => Self::WholeSubtree,
        }
    }
}

/// Who did not bind.
const ANONYMOUS: &str = "anonymous";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load_text;
    use std::path::Path;

    const CONFIG: &str = r#"
        [[listener]]
        address = "0.0.0.0:389"
        networks = ["10.0.0.0/8"]

        [directory.corp]
        base = "DC=corp"
        servers = ["ldaps://dc1.corp", "ldaps://dc2.corp"]
        bind_dn = "CN=redial,DC=corp"
        password_env = "PATH"

        [directory.own]
        base = "DC=own"
        servers = ["ldaps://dc1.own"]
        search_as = "client"

        [[access]]
        name = "elsewhere"
        networks = ["192.0.2.0/24"]
        clients = "bound"
        bases = ["DC=own"]
        attributes = ["*"]

        [[access]]
        name = "phones"
        clients = "any"
        bases = ["OU=Staff,DC=corp", "DC=own"]
        attributes = ["cn", "mail"]
        filter = "(!(hidden=TRUE))"
        size_limit = 500

        [[cache.rule]]
        name = "type-ahead"
        filter = "(cn=?*)"
        ttl = "10m"
    "#;

    fn explained(from: &str, name: &str, base: &str, scope: Scope, filter: &str) -> String {
        let config = load_text(CONFIG, Path::new(""), false).map_err(|rejected| rejected.to_string()).unwrap().config;
        let request = SearchRequest { scope, filter: Filter::parse(filter).unwrap(), ..request(base) };
        explain(&config, from.parse().unwrap(), &identity(name, Vec::new()), &request).unwrap()
    }

    #[test]
    fn controllers_that_dns_names_are_called_so() {
        let discover = "discover = { domain = \"ldaps://own.example\", site = \"Berlin\" }";
        let config = load_text(&CONFIG.replace("servers = [\"ldaps://dc1.own\"]", discover), Path::new(""), false).unwrap().config;
        let said = explain(&config, "10.1.1.1".parse().unwrap(), &identity("cn=a,dc=own", Vec::new()), &request("DC=own")).unwrap();
        assert!(said.contains("whatever DNS names for own.example, by LDAPS, those of the site Berlin first\n"), "{said}");
    }

    fn request(base: &str) -> SearchRequest {
        SearchRequest::new(base, Scope::WholeSubtree, Filter::And(Vec::new()), &["cn", "title"])
    }

    fn sub(base: &str) -> String {
        explained("10.1.2.3", ANONYMOUS, base, Scope::WholeSubtree, "(cn=smi*)")
    }

    #[track_caller]
    fn says(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
    }

    #[test]
    fn the_whole_way_of_a_search_is_told() {
        let text = sub("ou=staff,dc=corp");
        says(
            &text,
            &[
                "0.0.0.0:389    lets that address connect",
                "1. \"elsewhere\" does not match: the address is in none of its networks; it is for clients that have bound; the base is",
                "2. \"phones\"    decides",
                "Asked of directory.corp",
                "ldaps://dc1.corp, ldaps://dc2.corp",
                "the service account CN=redial,DC=corp",
                "(&(cn=smi*)(!(hidden=TRUE)))",
                "attributes     cn\n",
                "size limit     500",
                "rule           \"type-ahead\"",
                "fresh for      10m, and 30s where nothing was found",
                "by a hit after 8m",
                "ou=staff,dc=corp",
            ],
        );
    }

    #[test]
    fn a_search_that_means_the_same_has_the_same_key() {
        let key = |text: String| text.lines().find(|line| line.starts_with("  key")).unwrap().to_owned();
        assert_eq!(key(sub("ou=staff,dc=corp")), key(sub("OU=Staff, DC=corp")));
        assert_ne!(key(sub("ou=staff,dc=corp")), key(sub("dc=own")));
    }

    #[test]
    fn a_key_is_shown_as_text_where_it_is_text() {
        assert_eq!(readable(b"\x00\x02cn\x00\x01x\x00<cn>"), "<0002>cn<0001><78><003c>cn<3e>");
    }

    #[test]
    fn a_refusal_names_its_code() {
        says(&sub("dc=nowhere"), &["insufficientAccessRights(50)", "2. \"phones\"    does not match: the base is neither"]);
        says(&explained("10.1.2.3", ANONYMOUS, "nonsense", Scope::BaseObject, "(cn=x)"), &["invalidDNSyntax(34)"]);
        says(&explained("10.1.2.3", ANONYMOUS, "DC=corp", Scope::BaseObject, "(cn=x)"), &["2. \"phones\"    decides", "noSuchObject(32)"]);
    }

    #[test]
    fn only_the_condition_that_fails_is_blamed() {
        let text = explained("10.1.2.3", "alice", "dc=own", Scope::WholeSubtree, "(cn=x)");
        says(&text, &["1. \"elsewhere\" does not match: the address is in none of its networks\n", "the client, alice"]);
        let text = explained("192.0.2.1", ANONYMOUS, "dc=own", Scope::WholeSubtree, "(cn=x)");
        says(&text, &["does not match: it is for clients that have bound\n", "must bind first", "hangs up"]);
    }

    #[test]
    fn an_access_for_a_group_is_met_by_who_is_in_it() {
        let config = CONFIG.replace(r#"clients = "any""#, r#"clients = ["pbx", "group:CN=Phones,DC=corp"]"#);
        let config = load_text(&config, Path::new(""), false).map_err(|rejected| rejected.to_string()).unwrap().config;
        let request = SearchRequest { filter: Filter::parse("(cn=a)").unwrap(), ..request("DC=corp") };
        let explained = |groups: &[&str]| {
            let groups = groups.iter().map(|group| Dn::parse(group).unwrap()).collect();
            explain(&config, "10.1.2.3".parse().unwrap(), &identity("alice", groups), &request).unwrap()
        };
        says(&explained(&["cn=phones, dc=CORP"]), &["2. \"phones\"    decides"]);
        says(&explained(&["cn=others,dc=corp"]), &["does not match: it is for pbx, the members of CN=Phones,DC=corp\n", "refused"]);
    }

    #[test]
    fn what_can_match_nothing_is_not_sent() {
        says(&explained("10.1.2.3", ANONYMOUS, "dc=own", Scope::WholeSubtree, "(salary>=1)"), &["Nothing is sent"]);
    }

    #[test]
    fn the_root_dse_is_for_everybody() {
        says(&explained("10.1.2.3", ANONYMOUS, "", Scope::BaseObject, "(objectClass=*)"), &["rootDSE"]);
    }
}
