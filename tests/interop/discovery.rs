//! A domain controller's own DNS, with the records that Active Directory writes, names it to Redial.

use crate::bed::{BASE, PASSWORD, Server};
use crate::common::ldap_client::subtree;
use crate::redial::Setup;
use redial::ldap::ResultCode;

#[test]
fn a_domain_controller_is_found_by_its_domain_and_by_its_site_over_ldaps_and_start_tls() {
    let domain = Server::with_dns("named");
    for (discover, url) in [
        ("discover = { domain = \"ldaps://corp.example\", resolvers = [\"127.0.66.4\"] }\n", "ldaps://dc1.corp.example"),
        (
            "discover = { domain = \"CORP.EXAMPLE\", site = \"Default-First-Site-Name\", within = [\"dc1.corp.example\"], resolvers = [\"127.0.66.4:53\"] }\n",
            "ldap://dc1.corp.example",
        ),
    ] {
        let redial = Setup { servers: Vec::new(), directory: discover, ..Setup::before(&domain) }.start();
        let mut phone = redial.connect();
        let found = phone.search(&subtree(BASE, "(cn=Alice Test)", &["cn"]));
        assert_eq!((found.entries.len(), found.outcome.code), (1, ResultCode::SUCCESS), "{}", redial.log());
        let bound = phone.bind("alice@corp.example", PASSWORD);
        assert_eq!(bound.code, ResultCode::SUCCESS, "{}", bound.diagnostic);
        let (_, metrics) = redial.http("/metrics").expect("the metrics");
        assert!(metrics.contains(&format!("redial_upstream_up{{directory=\"corp\",server=\"{url}\"}} 1\n")), "{metrics}");
        assert!(metrics.contains("redial_upstream_discovery_successful{directory=\"corp\"} 1\n"), "{metrics}");
    }
}
