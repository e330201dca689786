//! Who is called that? Asked under the service account where a connection stays anonymous whatever is bound on it (fast bind).
//!
//! Active Directory takes a name by the first of a list of readings that fits somebody (MS-ADTS 5.1.1.1.1): a DN, a UPN, `DOMAIN\user`, and others.
//! Only these three say whose name it is. Any other may be somebody's displayName, and `OTHER\user` may be of a trusted domain, which
//! has users of the same names: taken for the nearest match, a client would get what is another's.

use super::sid::Sid;
use crate::directory::DirectoryError;
use crate::ldap::dn::Dn;
use crate::ldap::entry::Entry;
use crate::ldap::filter::Filter;
use crate::ldap::message::{Scope, SearchRequest};
use crate::upstream::connection::Connection;
use crate::upstream::search::{OBJECT_SID, base_search, entries, equality};
use tokio::time::Instant;

/// The SID of the one user below `base` who is called `name`; `None` where that is nobody, or not certain.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn sid_of_name(reader: &Connection, name: &str, base: &str, deadline: Instant) -> Result<Option<Sid>, DirectoryError> {
    let Some(request) = who_is(name, base) else { return Ok(None) };
    let found = entries(reader, &request, deadline).await?;
    let [entry] = &found[..] else { return Ok(None) };
    let (mut sid, mut down_level) = (None, None);
    let parsed = Entry::parse(entry).and_then(|parsed| {
        parsed.each_value(|attribute, value| {
            if attribute.eq_ignore_ascii_case(OBJECT_SID.as_bytes()) {
                sid = Sid::parse(value);
            } else if attribute.eq_ignore_ascii_case(DOWN_LEVEL.as_bytes()) {
                down_level = Some(value);
            }
        })
    });
    parsed.map_err(|_| DirectoryError::Misbehaved("a malformed entry"))?;
    let is_of_this_domain = match Reading::of(name) {
        Some(Reading::DownLevel(_)) => down_level.is_some_and(|known| known.eq_ignore_ascii_case(name.as_bytes())),
        _ => true,
    };
    Ok(sid.filter(|_| is_of_this_domain))
}

/// How a name is to be read.
#[derive(Debug, PartialEq, Eq)]
enum Reading<'a> {
    Dn,
    Upn,
    /// `DOMAIN\user`: the user.
    DownLevel(&'a str),
}

impl<'a> Reading<'a> {
    fn of(name: &'a str) -> Option<Self> {
        if Dn::parse(name).is_ok_and(|dn| dn.depth() > 0) {
            return Some(Self::Dn);
        }
        match name.split_once('\\') {
            _ if name.contains('@') => Some(Self::Upn),
            Some((domain, user)) if !domain.is_empty() && !user.is_empty() => Some(Self::DownLevel(user)),
            _ => None,
        }
    }
}

/// The search for whoever is called that.
fn who_is(name: &str, base: &str) -> Option<SearchRequest> {
    let upn = || equality("userPrincipalName", name.as_bytes());
    let by = |filter| Filter::And(vec![equality("objectClass", b"user"), filter]);
    let below =
        |filter| SearchRequest { scope: Scope::WholeSubtree, size_limit: 2, ..base_search(base, by(filter), &[OBJECT_SID, DOWN_LEVEL]) };
    Some(match Reading::of(name)? {
        Reading::Dn => base_search(name, equality("objectClass", b"user"), &[OBJECT_SID]),
        Reading::Upn => below(upn()),
        // A UPN of that spelling would be read first.
        Reading::DownLevel(user) => below(Filter::Or(vec![upn(), equality("sAMAccountName", user.as_bytes())])),
    })
}

/// `DOMAIN\user`, as Active Directory makes it of the domain's name and the user's.
const DOWN_LEVEL: &str = "msDS-PrincipalName";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_a_dn_then_a_upn_then_a_down_level_name() {
        assert_eq!(Reading::of("cn=a@b,dc=corp"), Some(Reading::Dn));
        assert_eq!(Reading::of("a@corp.example"), Some(Reading::Upn));
        assert_eq!(Reading::of(r"CORP\a@corp.example"), Some(Reading::Upn));
        assert_eq!(Reading::of(r"CORP\a"), Some(Reading::DownLevel("a")));
        for nobody_in_particular in ["", "alice", r"\alice", r"CORP\", "<SID=S-1-5-7>"] {
            assert_eq!(Reading::of(nobody_in_particular), None, "{nobody_in_particular}");
        }
    }

    #[test]
    fn what_a_name_holds_is_a_value_and_never_a_part_of_the_filter() {
        let hostile = r"CORP\*)(objectClass=*";
        let filter = who_is(hostile, "dc=corp").unwrap().filter.to_string();
        assert_eq!(
            filter,
            r"(&(objectClass=user)(|(userPrincipalName=CORP\5c\2a\29\28objectClass=\2a)(sAMAccountName=\2a\29\28objectClass=\2a)))"
        );
    }
}
