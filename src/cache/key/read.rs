//! A key read back: what was asked, and whose the answer is.
//!
//! For an administrator who looks at the cache. What a key folds comes out folded; what is no key comes out as nothing.

use super::{A_CONTROL, A_PRINCIPALS_OWN, A_SELECTED, END, NO_TEXT, NOBODYS_OWN, read_number};
use crate::ldap::ber::{Reader, tag};
use crate::ldap::dn::Dn;
use crate::ldap::filter::Filter;
use crate::ldap::message::Scope;

/// What a key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The number of the access that allowed the search.
    pub access: usize,
    /// The number of the directory that answered; `None`: several.
    pub directory: Option<usize>,
    /// Whose own the answer is: [`crate::identity::Identity::owner`].
    pub owner: Option<String>,
    /// Where it was searched.
    pub base: String,
    /// How far below.
    pub scope: Scope,
    /// The client's size limit, 0 for none.
    pub size_limit: usize,
    /// Names without values were asked for.
    pub types_only: bool,
    /// The selected attributes; none: all.
    pub attributes: Vec<String>,
    /// What was searched for.
    pub filter: Filter,
}

impl Question {
    /// Reads a key that [`super::write_key`] wrote.
    pub fn read(key: &[u8]) -> Option<Self> {
        let mut rest = Rest(key);
        let access = rest.number()?;
        let directory = Some(rest.number()?).filter(|directory| *directory != usize::MAX);
        let owner = match rest.octet()? {
            NOBODYS_OWN => None,
            A_PRINCIPALS_OWN => Some(rest.text()?),
            _ => return None,
        };
        let scope = match rest.octet()? {
            0 => Scope::BaseObject,
            1 => Scope::SingleLevel,
            2 => Scope::WholeSubtree,
            _ => return None,
        };
        let _deref_aliases = rest.octet()?;
        let types_only = rest.octet()? != 0;
        let size_limit = rest.number()?;
        let base = rest.base()?;
        let attributes = rest.attributes()?;
        let _controls = rest.list(A_CONTROL, Rest::octets)?;
        let filter = Filter::decode(rest.0).ok()?;
        Some(Self { access, directory, owner, base, scope, size_limit, types_only, attributes, filter })
    }

    /// The search looks at entries in that subtree.
    pub fn reaches(&self, subtree: &Dn) -> bool {
        let Ok(base) = Dn::parse(&self.base) else { return false };
        base.is_under(subtree)
            || match self.scope {
                Scope::BaseObject => false,
                Scope::SingleLevel => subtree.parent().as_ref() == Some(&base),
                Scope::WholeSubtree => subtree.is_under(&base),
            }
    }
}

/// What is still to be read of a key.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (octet, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*octet)
    }

    fn number(&mut self) -> Option<usize> {
        let (number, rest) = read_number(self.0)?;
        self.0 = rest;
        Some(number)
    }

    fn octets(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        let (octets, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(octets)
    }

    fn text(&mut self) -> Option<String> {
        self.octets().map(|octets| String::from_utf8_lossy(octets).into_owned())
    }

    fn base(&mut self) -> Option<String> {
        let end = self.0.iter().position(|octet| *octet == NO_TEXT)?;
        let (base, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..)?;
        Some(String::from_utf8_lossy(base).into_owned())
    }

    /// Sorted, they are elements; else each is marked.
    fn attributes(&mut self) -> Option<Vec<String>> {
        let mut sorted = Vec::new();
        while self.0.first() == Some(&tag::OCTET_STRING) {
            let mut reader = Reader::new(self.0);
            sorted.push(reader.text(tag::OCTET_STRING).ok()?.to_owned());
            self.0 = reader.rest();
        }
        let mut marked = self.list(A_SELECTED, Self::text)?;
        sorted.append(&mut marked);
        Some(sorted)
    }

    /// Items up to [`END`], each of which begins with `mark`.
    fn list<T>(&mut self, mark: u8, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        loop {
            match self.octet()? {
                END => return Some(items),
                octet if octet == mark => items.push(item(self)?),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::{Keyed, Owner, write_key};
    use crate::ldap::message::Search;

    /// The key of a search for `filter` below `base`.
    fn key(owner: Owner<'_>, base: &str, scope: Scope, attributes: &[&str], filter: &str) -> Vec<u8> {
        let mut octets = Vec::new();
        Filter::parse(filter).unwrap().encode(&mut octets);
        let mut selected = Vec::new();
        attributes.iter().for_each(|name| crate::ldap::ber::write_element(&mut selected, 4, name.as_bytes()));
        let search = Search {
            base_object: base,
            scope,
            deref_aliases: 3,
            size_limit: 100,
            time_limit: 0,
            types_only: false,
            filter: &octets,
            attributes: &selected,
            op: &octets,
        };
        let mut key = Vec::new();
        assert_eq!(write_key(&mut key, owner, Some(1), &search, None), Keyed::Cacheable);
        key
    }

    fn question(filter: &str) -> Question {
        Question::read(&key(Owner { access: 70, principal: None }, "dc=corp", Scope::WholeSubtree, &[], filter)).unwrap()
    }

    #[test]
    fn a_key_says_what_was_asked_and_whose_it_is() {
        let owner = Owner { access: 70, principal: Some("0 as CORP\\Ada") };
        let key = key(owner, "OU=Staff, DC=corp", Scope::SingleLevel, &["sn", "CN", "cn"], "(Mail=Ada@Corp.example)");
        let question = Question::read(&key).unwrap();
        assert_eq!((question.access, question.directory, question.size_limit), (70, Some(1), 100));
        assert_eq!(question.owner.as_deref(), Some("0 as CORP\\Ada"));
        assert_eq!((question.base.as_str(), question.scope), ("ou=staff,dc=corp", Scope::SingleLevel));
        assert_eq!(question.attributes, ["cn", "sn"]);
        assert_eq!(question.filter.to_string(), "(mail=ada@corp.example)");
    }

    #[test]
    fn every_filter_is_read_back() {
        for filter in [
            "(cn=smi*)",
            "(cn=*a*b*c)",
            "(&(objectclass=*)(!(cn=a))(|(sn>=b)(sn<=c)(sn~=d)))",
            "(useraccountcontrol:1.2.840.113556.1.4.803:=2)",
            "(ou:dn:caseexactmatch:=X)",
            "(&)",
            "(|)",
            "(serialnumber=A\\00\\ffB)",
        ] {
            assert_eq!(question(filter).filter, Filter::parse(filter).unwrap(), "{filter}");
        }
    }

    #[test]
    fn what_is_no_key_is_nothing() {
        let whole = key(Owner { access: 0, principal: None }, "dc=corp", Scope::WholeSubtree, &["cn"], "(&(cn=a)(sn=b*))");
        for length in 0..whole.len() {
            assert_eq!(Question::read(&whole[..length]), None, "{length}");
        }
        assert_eq!(Question::read(&[&whole[..], &[0]].concat()), None);
    }

    #[test]
    fn a_search_reaches_what_it_looks_at() {
        let reaches = |base: &str, scope, subtree: &str| {
            let key = key(Owner { access: 0, principal: None }, base, scope, &[], "(cn=a)");
            Question::read(&key).unwrap().reaches(&Dn::parse(subtree).unwrap())
        };
        assert!(reaches("ou=a,dc=corp", Scope::BaseObject, "OU=A, DC=Corp"));
        assert!(reaches("cn=x,ou=a,dc=corp", Scope::BaseObject, "ou=a,dc=corp"));
        assert!(reaches("dc=corp", Scope::WholeSubtree, "cn=x,ou=a,dc=corp"));
        assert!(reaches("dc=corp", Scope::SingleLevel, "ou=a,dc=corp"));
        assert!(!reaches("dc=corp", Scope::SingleLevel, "cn=x,ou=a,dc=corp"));
        assert!(!reaches("dc=corp", Scope::BaseObject, "ou=a,dc=corp"));
        assert!(!reaches("ou=b,dc=corp", Scope::WholeSubtree, "ou=a,dc=corp"));
    }
}
