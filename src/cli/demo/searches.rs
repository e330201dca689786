//! Searches to paste: each finds somebody in the demo's phonebook.

use super::site::{ACCOUNT, ACCOUNT_PASSWORD, BASE};
use std::fmt::{Display, Formatter};
use std::net::SocketAddr;

/// A search to try. Displayed, it is the shell's command.
#[derive(Debug)]
pub(super) struct Search {
    /// Which phone asks like this, and when.
    pub(super) who: &'static str,
    way: Way,
    base: &'static str,
    /// Of the base entry alone, not of all below it.
    base_only: bool,
    filter: &'static str,
    attributes: &'static str,
}

/// How it comes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Plain(SocketAddr),
    StartTls(SocketAddr),
    StartTlsAndBind(SocketAddr),
    Ldaps(SocketAddr),
}

/// All of them, for these addresses.
pub(super) fn all(ldap: SocketAddr, ldaps: SocketAddr) -> Vec<Search> {
    use Way::{Ldaps, Plain, StartTls, StartTlsAndBind};
    let below = |way, filter, attributes, who| Search { who, way, base: BASE, base_only: false, filter, attributes };
    let entry = |base, attributes, who| Search { who, way: Plain(ldap), base, base_only: true, filter: "(objectClass=*)", attributes };
    vec![
        below(
            Plain(ldap),
            "(|(cn=mü*)(sn=mü*))",
            "cn telephoneNumber",
            "Type-ahead: a Yealink or Grandstream after the keys m, ü; capitals do not matter",
        ),
        below(
            Plain(ldap),
            "(|(telephoneNumber=+491713920014)(mobile=+491713920014))",
            "cn department",
            "Somebody calls: every phone of the ring group looks the number up; spaces in it do not matter",
        ),
        below(Plain(ldap), "(cn=*ÖRN*)", "cn telephoneNumber", "Contains: a Cisco SPA looks inside names"),
        below(Plain(ldap), "(sn=иван*)", "cn ipPhone", "Names in another alphabet, as they are written there"),
        below(StartTls(ldap), "(&(telephoneNumber=*)(sn=sch*))", "cn telephoneNumber", "By StartTLS, which Linphone does unasked"),
        below(Ldaps(ldaps), "(&(telephoneNumber=*)(sn=b*))", "cn telephoneNumber", "By LDAPS: a Snom"),
        entry(SOMEBODY, "", "The details of one entry: a Gigaset reads it by its name"),
        below(
            StartTlsAndBind(ldap),
            "(sn=vogel)",
            "",
            "A phone with an account of its own sees mail and title as well; its password goes through TLS only",
        ),
        entry("", "'*' +", "What can this server do? Many clients' first question"),
    ]
}

impl Display for Search {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { way, base, filter, attributes, .. } = self;
        match way {
            Way::Plain(address) => write!(f, "ldapsearch -LLL -x -H ldap://{address}")?,
            Way::StartTls(address) => write!(f, "{TRUSTING} ldapsearch -LLL -x -ZZ -H ldap://{address}")?,
            Way::StartTlsAndBind(address) => {
                write!(f, "{TRUSTING} ldapsearch -LLL -x -ZZ -H ldap://{address} -D '{ACCOUNT}' -w {ACCOUNT_PASSWORD}")?;
            }
            Way::Ldaps(address) => write!(f, "{TRUSTING} ldapsearch -LLL -x -H ldaps://{address}")?,
        }
        let scope = if self.base_only { " -s base" } else { "" };
        let space = if attributes.is_empty() { "" } else { " " };
        write!(f, " -b '{base}'{scope} '{filter}'{space}{attributes}")
    }
}

/// The demo's certificate is signed by nobody.
const TRUSTING: &str = "LDAPTLS_REQCERT=never";
const SOMEBODY: &str = "uid=kaethe.gross,ou=Einkauf,ou=people,dc=example,dc=com";

#[cfg(test)]
mod tests {
    use super::super::site::PHONEBOOK;
    use super::*;
    use crate::book::Book;
    use crate::ldap::dn::Dn;
    use crate::ldap::filter::Filter;
    use crate::ldap::message::{Scope, SearchRequest};

    #[test]
    fn each_finds_somebody_in_the_phonebook() {
        let book = Book::from_ldif(PHONEBOOK, &Dn::parse(BASE).unwrap()).unwrap();
        let address = "127.0.0.1:3389".parse().unwrap();
        // The rootDSE is not the phonebook's.
        for search in all(address, address).iter().filter(|search| !search.base.is_empty()) {
            let request = SearchRequest::new(
                search.base,
                if search.base_only { Scope::BaseObject } else { Scope::WholeSubtree },
                Filter::parse(search.filter).unwrap(),
                &[],
            );
            assert!(book.search(&request, None).count() > 0, "nobody is found by {search}");
        }
    }

    #[test]
    fn a_search_is_a_command_for_the_shell() {
        let commands: Vec<_> =
            all("127.0.0.1:3389".parse().unwrap(), "127.0.0.1:3636".parse().unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(
            commands[0],
            "ldapsearch -LLL -x -H ldap://127.0.0.1:3389 -b 'dc=example,dc=com' '(|(cn=mü*)(sn=mü*))' cn telephoneNumber"
        );
        assert!(commands[5].starts_with("LDAPTLS_REQCERT=never ldapsearch -LLL -x -H ldaps://127.0.0.1:3636 -b "), "{}", commands[5]);
    }
}
