//! Controllers that a DNS server on loopback names, before the whole proxy: found, followed when they move, and verified by TLS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::configuration::load;
use common::dns::{Dns, Says, controller};
use common::ldap_client::{LdapClient, subtree};
use common::scripted_controller::{Certificate, ScriptedController, Security, certificate, usual};
use redial::config::Config;
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::proxy::Proxy;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

fn config(scheme: &str, dns: &Dns, ca: &Path) -> Config {
    let discover = format!("{{ domain = \"{scheme}corp.example\", resolvers = [\"{}\"] }}", dns.address);
    configured(&format!("discover = {discover}\nca = {ca:?}"))
}

fn configured(directory: &str) -> Config {
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [directory.corp]\nbase = \"dc=corp\"\nprobe = \"1s\"\nbind_dn = \"cn=redial\"\npassword = \"b\"\n{directory}\n\
         [[access]]\nname = \"open\"\nclients = \"any\"\nbases = [\"dc=corp\"]\nattributes = [\"*\"]\n"
    );
    load(&text, Path::new("."))
}

async fn ldaps(tls: &Arc<ServerConfig>) -> ScriptedController {
    ScriptedController::start(Security::Ldaps(Arc::clone(tls)), |heard| Some(usual(heard))).await
}

/// Asks what nobody has asked before.
async fn search(address: SocketAddr) -> ResultCode {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let filter = format!("(cn={})", NUMBER.fetch_add(1, Ordering::Relaxed));
    spawn_blocking(move || LdapClient::plain(address).unwrap().search(&subtree("dc=corp", &filter, &["cn"])).outcome.code).await.unwrap()
}

/// Asks until it is found.
async fn found_at_last(address: SocketAddr) {
    let patience = Instant::now() + Duration::from_secs(60);
    while search(address).await != ResultCode::SUCCESS {
        assert!(Instant::now() < patience, "not found");
        sleep(Duration::from_millis(100)).await;
    }
}

fn good() -> (PathBuf, Arc<ServerConfig>) {
    certificate(Certificate::Good)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_is_found_at_the_start_and_followed_when_it_moves() {
    let (ca, tls) = good();
    let (mut first, second) = (ldaps(&tls).await, ldaps(&tls).await);
    let dns = Dns::start(controller(first.address.port(), "dc1.corp.example.")).await;
    let proxy = Proxy::start(config("ldaps://", &dns, &ca)).await.unwrap();
    let address = proxy.addresses()[0];
    assert_eq!(search(address).await, ResultCode::SUCCESS, "the first phone finds it");
    let shown = |controller: &ScriptedController| format!("server=\"ldaps://dc1.corp.example:{}\"", controller.address.port());
    assert!(proxy.metrics().render().contains(&shown(&first)));

    // The zone has the new one, and the old one goes.
    dns.says(controller(second.address.port(), "dc1.corp.example."));
    first.stop();
    found_at_last(address).await;
    let page = proxy.metrics().render();
    assert!(page.contains(&shown(&second)) && !page.contains(&shown(&first)), "{page}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_dns_dead_at_the_start_phones_are_told_so_until_it_answers() {
    let (ca, tls) = good();
    let there = ScriptedController::start(Security::StartTls(tls), |heard| Some(usual(heard))).await;
    let dns = Dns::start(Says::Nothing).await;
    let proxy = Proxy::start(config("", &dns, &ca)).await.unwrap();
    let address = proxy.addresses()[0];
    assert_eq!(search(address).await, ResultCode::UNAVAILABLE);
    dns.says(Says::NoSuchName);
    assert_eq!(search(address).await, ResultCode::UNAVAILABLE);
    dns.says(controller(there.address.port(), "DC1.Corp.Example."));
    found_at_last(address).await;
    assert!(proxy.metrics().render().contains("redial_upstream_discovery_successful{directory=\"corp\"} 1\n"));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_long_for_a_datagram_is_whole() {
    let (ca, tls) = good();
    let there = ldaps(&tls).await;
    let mut named = vec![(there.address.port(), "dc1.corp.example.".to_owned())];
    named.extend((100..150).map(|number| (389, format!("dc{number}.a-branch-office-far-away.corp.example."))));
    let dns = Dns::start(Says::Controllers(named)).await;
    let proxy = Proxy::start(config("ldaps://", &dns, &ca)).await.unwrap();
    let page = proxy.metrics().render();
    assert_eq!(page.lines().filter(|line| line.starts_with("redial_upstream_up{")).count(), 51, "{page}");
    found_at_last(proxy.addresses()[0]).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_forges_dns_gets_no_password() {
    let there = ldaps(&good().1).await;
    let named = ["localhost.", "dc1.corp.example."].map(|host| (there.address.port(), host.to_owned()));
    // Another domain's host, and one of this domain for which the machine there has no certificate.
    let dns = Dns::start(Says::Controllers(named.into())).await;
    let proxy = Proxy::start(config("ldaps://", &dns, &good().0)).await.unwrap();
    assert_eq!(search(proxy.addresses()[0]).await, ResultCode::UNAVAILABLE);
    assert!(!proxy.metrics().render().contains("localhost"), "it is not even looked at");
    assert!(there.heard().is_empty(), "something was said to it");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_from_listed_controllers_to_discovered_ones_and_back() {
    let (ca, tls) = good();
    let (listed, discovered) = (ldaps(&tls).await, ldaps(&tls).await);
    let dns = Dns::start(controller(discovered.address.port(), "dc1.corp.example.")).await;
    let by_hand = configured(&format!("servers = [\"ldaps://{}\"]\nca = {ca:?}", listed.address));
    let mut proxy = Proxy::start(by_hand.clone()).await.unwrap();
    let address = proxy.addresses()[0];
    let searches = |controller: &ScriptedController| {
        controller.heard_with(op::SEARCH_REQUEST).iter().filter(|heard| heard.base() == "dc=corp").count()
    };
    assert_eq!(search(address).await, ResultCode::SUCCESS);
    proxy.reload(config("ldaps://", &dns, &ca)).await.unwrap();
    assert_eq!(search(address).await, ResultCode::SUCCESS);
    assert_eq!((searches(&listed), searches(&discovered)), (1, 1));
    proxy.reload(by_hand).await.unwrap();
    assert_eq!(search(address).await, ResultCode::SUCCESS);
    assert_eq!((searches(&listed), searches(&discovered)), (2, 1));
    assert!(!proxy.metrics().render().contains("discovery_successful{"));
    proxy.stop().await;
}
