//! What stays itself when the configuration changes.
//!
//! Directories and accesses stand at places in their configuration, which mean something else in the next one. What outlives a configuration
//! (answers in the cache, the sessions of those who bound) names them by numbers instead: one that is still the same keeps its number,
//! and no number is ever given to another. Pure.

use super::{Access, Config, DirectoryConfig, DirectoryKind, Upstream};

/// The numbers of the directories and accesses of one configuration, in its order.
#[derive(Debug, Clone)]
pub struct Lineage {
    directories: Vec<usize>,
    accesses: Vec<usize>,
    next: usize,
}

/// What a directory's file held: tells one LDIF from the next.
pub type Digest = [u8; 32];

impl Lineage {
    /// Of the first configuration: places are numbers.
    pub fn new(config: &Config) -> Self {
        let (directories, accesses) = (config.directories.len(), config.accesses.len());
        Self { directories: (0..directories).collect(), accesses: (0..accesses).collect(), next: directories.max(accesses) }
    }

    /// Of the next configuration. The digests are those of the embedded directories' files, by place.
    pub fn succeeded(&self, before: (&Config, &[Digest]), after: (&Config, &[Digest])) -> Self {
        let mut next = self.next;
        let mut fresh = || {
            next += 1;
            next - 1
        };
        let known: Vec<_> = before.0.directories.iter().zip(before.1).zip(&self.directories).collect();
        let directories = numbers(after.0.directories.iter().zip(after.1), &known, is_same_directory, &mut fresh);
        let known: Vec<_> = before.0.accesses.iter().map(|access| shows(access, before.0, &self.directories)).zip(&self.accesses).collect();
        let shown = after.0.accesses.iter().map(|access| shows(access, after.0, &directories));
        let accesses = numbers(shown, &known, PartialEq::eq, &mut fresh);
        Self { directories, accesses, next }
    }

    /// The number of the directory at that place.
    pub fn directory(&self, place: usize) -> Option<usize> {
        self.directories.get(place).copied()
    }

    /// The number of the access at that place.
    pub fn access(&self, place: usize) -> Option<usize> {
        self.accesses.get(place).copied()
    }

    /// The place of the directory with that number.
    pub fn place_of(&self, directory: usize) -> Option<usize> {
        self.directories.iter().position(|number| *number == directory)
    }

    /// The place of the access with that number.
    pub fn place_of_access(&self, access: usize) -> Option<usize> {
        self.accesses.iter().position(|number| *number == access)
    }

    /// Above all numbers that were given.
    pub const fn next(&self) -> usize {
        self.next
    }
}

/// The number of whichever of the known is the same, each of them once.
fn numbers<T>(
    items: impl Iterator<Item = T>,
    known: &[(T, &usize)],
    is_same: impl Fn(&T, &T) -> bool,
    mut fresh: impl FnMut() -> usize,
) -> Vec<usize> {
    let mut given = Vec::new();
    for item in items {
        let same = known.iter().find(|(before, number)| !given.contains(*number) && is_same(before, &item));
        given.push(same.map_or_else(&mut fresh, |(_, number)| **number));
    }
    given
}

/// What the one holds, the other does: the same naming context, read under the same name, from servers of which one at least was there before,
/// or which DNS names for the same domain.
fn is_same_directory(before: &(&DirectoryConfig, &Digest), after: &(&DirectoryConfig, &Digest)) -> bool {
    let same_content = match (&before.0.kind, &after.0.kind) {
        (DirectoryKind::Upstream(one), DirectoryKind::Upstream(other)) => {
            one.search_as == other.search_as && account(one) == account(other) && has_server_of(one, other)
        }
        (DirectoryKind::Embedded { .. }, DirectoryKind::Embedded { .. }) => before.1 == after.1,
        _ => false,
    };
    same_content && before.0.base_dn == after.0.base_dn
}

fn account(upstream: &Upstream) -> Option<&str> {
    upstream.service.as_ref().map(|account| account.bind_dn.as_str())
}

fn has_server_of(one: &Upstream, other: &Upstream) -> bool {
    let domain = |upstream: &Upstream| upstream.discover.as_ref().map(|discover| discover.domain.clone());
    if domain(one).is_some() || domain(other).is_some() {
        return domain(one) == domain(other);
    }
    one.servers.iter().any(|server| other.servers.iter().any(|known| (&known.host, known.port) == (&server.host, server.port)))
}

/// What an access shows, and of which directories; whom it shows it to does not change an answer.
fn shows<'a>(access: &'a Access, config: &Config, numbers: &[usize]) -> impl PartialEq + 'a {
    // Every field by name: one that comes is put on this side or the other.
    let Access { name: _, networks: _, clients: _, bases, attributes, filter, size_limit } = access;
    let meets =
        |directory: &DirectoryConfig| bases.iter().any(|(_, base)| base.is_under(&directory.base_dn) || directory.base_dn.is_under(base));
    let met: Vec<_> = config.directories.iter().zip(numbers).filter(|(directory, _)| meets(directory)).map(|(_, number)| *number).collect();
    (bases, attributes, filter, size_limit, met)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load_text;
    use std::path::Path;

    const NO_FILES: &[Digest] = &[[0; 32]; 4];
    const CORP: &str = "[directory.corp]\nbase = \"dc=corp\"\nservers = [\"ldaps://dc1\"]\nbind_dn = \"cn=a\"\npassword = \"b\"\n";
    const LAB: &str = "[directory.lab]\nbase = \"dc=lab\"\nservers = [\"ldaps://lab1\"]\nbind_dn = \"cn=a\"\npassword = \"b\"\n";
    const PHONES: &str = "[[access]]\nname = \"phones\"\nclients = \"any\"\nbases = [\"dc=corp\"]\nattributes = [\"cn\"]\n";
    const DESKS: &str = "[[access]]\nname = \"desks\"\nclients = \"bound\"\nbases = [\"dc=corp\"]\nattributes = [\"cn\", \"mobile\"]\n";
    const ALL: &str = "[[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"\"]\nattributes = [\"cn\"]\n";

    fn config(parts: &[&str]) -> Config {
        let text = format!("[[listener]]\naddress = \"127.0.0.1:389\"\n{}", parts.concat());
        load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}")).config
    }

    /// The numbers of directories and accesses after one change.
    fn after(before: &[&str], after: &[&str]) -> (Vec<usize>, Vec<usize>) {
        let (before, after) = (config(before), config(after));
        let lineage = Lineage::new(&before).succeeded((&before, NO_FILES), (&after, NO_FILES));
        (lineage.directories, lineage.accesses)
    }

    #[test]
    fn what_is_the_same_keeps_its_number_wherever_it_stands() {
        assert_eq!(after(&[CORP, LAB, PHONES, DESKS], &[LAB, CORP, DESKS, PHONES]), (vec![1, 0], vec![1, 0]));
        assert_eq!(after(&[CORP, PHONES], &[LAB, CORP, DESKS, PHONES]), (vec![1, 0], vec![2, 0]));
    }

    #[test]
    fn no_number_is_given_to_another_ever() {
        let (one, other) = (config(&[CORP, PHONES]), config(&[LAB, ALL]));
        let second = Lineage::new(&one).succeeded((&one, NO_FILES), (&other, NO_FILES));
        let third = second.succeeded((&other, NO_FILES), (&one, NO_FILES));
        assert_eq!((second.directory(0), second.access(0)), (Some(1), Some(2)));
        assert_eq!((third.directory(0), third.access(0)), (Some(3), Some(4)), "it was gone, and whoever remembers it is not asked");
        assert_eq!((third.place_of(0), third.place_of(3)), (None, Some(0)));
    }

    #[test]
    fn a_directory_is_the_same_while_it_holds_the_same() {
        let corp = |what: &str, instead: &str| CORP.replace(what, instead);
        for (change, number) in [
            (corp("ldaps://dc1", "ldaps://dc2\", \"ldaps://dc1"), 0),
            (corp("\"b\"", "\"c\"\nconnections = 9"), 0),
            (corp("[directory.corp]", "[directory.head-office]"), 0),
            (corp("dc=corp", "DC=CORP"), 0),
            (corp("ldaps://dc1", "ldaps://dc9"), 1),
            (corp("cn=a", "cn=another"), 1),
            (corp("dc=corp", "dc=branch"), 1),
            (format!("{CORP}search_as = \"client\"\n"), 1),
        ] {
            assert_eq!(after(&[CORP], &[&change]).0, [number], "{change}");
        }
    }

    #[test]
    fn a_discovered_directory_is_the_same_while_its_domain_is() {
        let corp = |discover: &str| CORP.replace("servers = [\"ldaps://dc1\"]", &format!("discover = {discover}"));
        let domain = corp("\"ldaps://corp.example\"");
        for (change, number) in [
            (corp("\"corp.example\""), 0),
            (corp("{ domain = \"Corp.Example.\", site = \"Berlin\" }"), 0),
            (corp("\"ldaps://lab.example\""), 1),
            (CORP.to_owned(), 1),
        ] {
            assert_eq!(after(&[&domain], &[&change]).0, [number], "{change}");
        }
    }

    #[test]
    fn an_embedded_directory_is_the_same_while_its_file_is() {
        let book = config(&["[directory.book]\nbase = \"dc=book\"\nldif = \"Cargo.toml\"\n"]);
        let lineage = Lineage::new(&book);
        assert_eq!(lineage.succeeded((&book, &[[1; 32]]), (&book, &[[1; 32]])).directories, [0]);
        assert_eq!(lineage.succeeded((&book, &[[1; 32]]), (&book, &[[2; 32]])).directories, [1]);
    }

    #[test]
    fn an_access_is_the_same_while_it_shows_the_same_of_the_same() {
        let phones = |what: &str, instead: &str| PHONES.replace(what, instead);
        for (change, number) in [
            (phones("\"any\"", "\"anonymous\"\nnetworks = [\"10.0.0.0/8\"]"), 0),
            (phones("\"phones\"", "\"handsets\""), 0),
            (phones("[\"cn\"]", "[\"cn\", \"mail\"]"), 1),
            (phones("[\"cn\"]", "[\"cn\"]\nfilter = \"(mail=*)\""), 1),
            (phones("[\"cn\"]", "[\"cn\"]\nsize_limit = 3"), 1),
            (phones("dc=corp", "ou=a,dc=corp"), 1),
        ] {
            assert_eq!(after(&[CORP, PHONES], &[CORP, &change]).1, [number], "{change}");
        }
        assert_eq!(after(&[CORP, ALL], &[CORP, LAB, ALL]).1, [2], "it shows another directory as well");
        assert_eq!(after(&[CORP, PHONES], &[&CORP.replace("cn=a", "cn=b"), PHONES]).1, [2], "it shows what another account sees");
        assert_eq!(after(&[CORP, PHONES], &[CORP, PHONES, &phones("\"phones\"", "\"again\"")]).1, [0, 1], "two that show the same");
    }
}
