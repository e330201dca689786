//! What holds a session to the directory that it was bound to, and what of a reload breaks that. Pure.

use super::revocation::Revocation;

/// How a session depends on its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bond {
    /// The directory's number, the same in every configuration.
    pub directory: usize,
    /// The session is nothing without it: operations run there under its name, or it says what the session may ask for.
    pub is_needed: bool,
    /// Operations may run under the session's name: its password is at hand.
    pub has_credentials: bool,
}

/// A directory that is configured, as sessions depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footing {
    /// Its number.
    pub directory: usize,
    /// Operations run there under its clients' own names.
    pub runs_as_clients: bool,
}

impl Bond {
    /// Why the session cannot go on among these directories, if it cannot. Without credentials, where clients' names are asked for now, it would be
    /// refused what it may do as soon as it binds anew, and nothing would tell it to.
    pub(crate) fn broken_by(&self, directories: &[Footing]) -> Option<Revocation> {
        let asks_more = |footing: &Footing| footing.runs_as_clients && !self.has_credentials;
        match directories.iter().find(|footing| footing.directory == self.directory) {
            Some(footing) => asks_more(footing).then_some(Revocation::DirectoryChanged),
            // Any of the others may be what replaced it.
            None => (self.is_needed || directories.iter().any(asks_more)).then_some(Revocation::DirectoryGone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bond_breaks_with_the_directory_that_is_needed_and_where_credentials_are_asked_for_that_the_session_lacks() {
        let bonds = [(true, true), (true, false), (false, false)].map(|(is_needed, has_credentials)| Bond {
            directory: 0,
            is_needed,
            has_credentials,
        });
        let service = Footing { directory: 0, runs_as_clients: false };
        let clients = Footing { runs_as_clients: true, ..service };
        let [another, another_s_clients] = [service, clients].map(|footing| Footing { directory: 1, ..footing });
        let (gone, changed) = (Some(Revocation::DirectoryGone), Some(Revocation::DirectoryChanged));
        for (directories, expected) in [
            ([another, service], [None, None, None]),
            ([another_s_clients, service], [None, None, None]),
            ([another, clients], [None, changed, changed]),
            ([another, another], [gone, gone, None]),
            ([another, another_s_clients], [gone, gone, gone]),
        ] {
            assert_eq!(bonds.map(|bond| bond.broken_by(&directories)), expected, "{directories:?}");
        }
    }
}
