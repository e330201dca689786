//! The cache's file, `[cache] keep`: written now and then and at the end, read at the start, so that a restart while all controllers are
//! away leaves the phonebook there. [`super::snapshot`] is its format; the disk and the wall clock are here.
//!
//! The file is its owner's alone (mode 0600), and is replaced as a whole or not at all. It holds no password and no bind, and no answer that
//! was made for one client's own name. What cannot be trusted is not used: a file that others own, can read or write, a broken one, one of
//! another version, or one written under a configuration that gave answers to others.

use super::SearchCache;
use super::key::renumbered;
use super::snapshot::{DIGEST, Header, Record, read_header, read_record, write_end, write_header, write_record};
use crate::config::lineage::Lineage;
use crate::config::{Config, DirectoryKind};
use aws_lc_rs::digest::{Context, SHA256, digest};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A directory, as far as its answers may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A phonebook in memory is there when Redial is.
    Embedded,
    /// Controllers, whose answers are as good as their time.
    Upstream,
    /// Controllers that clients write to. After a crash nobody knows what was written since the file was: nothing in it is fresh.
    Written,
}

/// Where the cache is kept, and for whom.
#[derive(Debug)]
pub(crate) struct Keep {
    file: PathBuf,
    owners: [u8; DIGEST],
    /// Keys in memory have numbers for accesses and directories, keys in the file their places.
    lineage: Lineage,
    /// By place.
    directories: Box<[Kind]>,
    capacity: u64,
}

impl Keep {
    /// `None` where nothing is to be kept.
    pub(crate) fn new(config: &Config, lineage: &Lineage) -> Option<Self> {
        let file = config.cache.keep.clone()?;
        let kind = |kind: &DirectoryKind| match kind {
            DirectoryKind::Embedded { .. } => Kind::Embedded,
            DirectoryKind::Upstream(upstream) if upstream.forward_writes => Kind::Written,
            DirectoryKind::Upstream(_) => Kind::Upstream,
        };
        let directories = config.directories.iter().map(|directory| kind(&directory.kind)).collect();
        Some(Self { file, owners: owners(config), lineage: lineage.clone(), directories, capacity: config.cache.capacity })
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Puts what was kept into `cache`, each answer for as long as it could still have been served; says how many. Blocks.
    ///
    /// # Errors
    /// When there is no file ([`io::ErrorKind::NotFound`]), or it is not to be trusted; what was read until then is no harm.
    pub(crate) fn read(&self, cache: &SearchCache) -> io::Result<usize> {
        self.read_at(cache, since_1970())
    }

    fn read_at(&self, cache: &SearchCache, now: Duration) -> io::Result<usize> {
        let mut file = File::open(&self.file)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.mode() & OTHERS != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others than its owner can read or write it: chmod 600 it"));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        if metadata.len() > self.capacity.saturating_mul(2) {
            return Err(bad("it is larger than the cache could have written it"));
        }
        is_unbroken(&mut file, metadata.len())?;
        file.rewind()?;
        let mut from = BufReader::new(file);
        let header = read_header(&mut from)?;
        if header.owners != self.owners {
            return Err(bad("it was written under another configuration of accesses, directories or cache rules"));
        }
        // Where the clock was set back nobody knows how long ago it was written: nothing is fresh then, and nothing older than it may be.
        let passed = now.checked_sub(header.written_at);
        let mut count = 0;
        while let Some(mut record) = read_record(&mut from, cache.store.keep_limit())? {
            record.fresh_for = passed.map_or(Duration::ZERO, |passed| record.fresh_for.saturating_sub(passed));
            record.stale_for = record.stale_for.saturating_sub(passed.unwrap_or_default());
            if record.directory.and_then(|place| self.directories.get(place)) == Some(&Kind::Written) {
                record.fresh_for = Duration::ZERO;
            }
            let number = |place| self.lineage.directory(place);
            let Some(key) = renumbered(&record.key, |place| self.lineage.access(place), number) else { continue };
            let Some(directory) = record.directory.map_or(Some(None), |place| number(place).map(Some)) else { continue };
            count += usize::from(cache.store.restore(Record { key, directory, ..record }, Instant::now()));
        }
        Ok(count)
    }

    /// Replaces the file by what `cache` holds; says how many answers. Blocks, but no longer than [`LONGEST`].
    ///
    /// # Errors
    /// When it cannot be written, or not in time; then the one before stays.
    pub(crate) fn write(&self, cache: &SearchCache) -> io::Result<usize> {
        let mut name = self.file.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        // One that a crash has left behind.
        let _ = fs::remove_file(&new);
        let written = self.write_to(&new, cache).and_then(|count| {
            fs::rename(&new, &self.file)?;
            let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            File::open(folder)?.sync_all()?;
            Ok(count)
        });
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write_to(&self, new: &Path, cache: &SearchCache) -> io::Result<usize> {
        let file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(new)?;
        let mut out = Digesting { out: BufWriter::new(file), digest: Context::new(&SHA256) };
        write_header(&mut out, &Header { owners: self.owners, written_at: since_1970() })?;
        let begun = Instant::now();
        let mut count = 0;
        for mut record in cache.store.remaining(begun) {
            if begun.elapsed() > LONGEST {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the disk is too slow for it"));
            }
            let place = |number| {
                self.lineage.place_of(number).filter(|place| self.directories.get(*place).is_some_and(|kind| *kind != Kind::Embedded))
            };
            let Some(key) = renumbered(&record.key, |number| self.lineage.place_of_access(number), place) else { continue };
            record.directory = match record.directory.map(place) {
                Some(None) => continue,
                // It may hold what a phonebook in memory said, which may be another one after a restart.
                None => {
                    record.fresh_for = Duration::ZERO;
                    None
                }
                Some(place) => place,
            };
            write_record(&mut out, &Record { key, ..record })?;
            count += 1;
        }
        write_end(&mut out)?;
        let Digesting { mut out, digest } = out;
        out.write_all(digest.finish().as_ref())?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(count)
    }
}

/// Is that a file, or is nothing there yet? A pipe would be waited for when it is opened, and no file can take the place of a folder.
///
/// # Errors
/// With what it is.
pub(crate) fn may_be_kept_in(file: &Path) -> io::Result<()> {
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder: name a file in it")),
        Ok(found) if !found.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file, but a pipe, a socket or a device"))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The same, and can whoever asks write files into its folder? One is written there, and taken away.
///
/// # Errors
/// With what is wrong.
pub(crate) fn can_be_kept_in(file: &Path) -> io::Result<()> {
    may_be_kept_in(file)?;
    let mut name = file.to_owned().into_os_string();
    name.push(format!(".check-{}", std::process::id()));
    let probe = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&name);
    probe.map_err(|error| io::Error::new(error.kind(), format!("its folder is not there, or not to be written to ({error})")))?;
    fs::remove_file(name)
}

/// Checks the digest at the end of the file, before anything in it is believed.
fn is_unbroken(file: &mut File, length: u64) -> io::Result<()> {
    let content = length.checked_sub(DIGEST as u64).ok_or_else(|| bad("it is cut short"))?;
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; PIECE];
    let mut from = file.take(content);
    loop {
        let count = from.read(&mut piece)?;
        match piece.get(..count) {
            Some(read) if count > 0 => context.update(read),
            _ => break,
        }
    }
    let mut written = [0; DIGEST];
    from.into_inner().read_exact(&mut written)?;
    if context.finish().as_ref() == written { Ok(()) } else { Err(bad("it is broken: its checksum is wrong")) }
}

/// Of what decides whose an answer is and for how long it may be served. Keys name accesses and directories by their places.
fn owners(config: &Config) -> [u8; DIGEST] {
    let mut text = format!("{} {:?} {:?} {:?}", env!("CARGO_PKG_VERSION"), config.accesses, config.cache.defaults, config.cache.rules);
    for directory in &config.directories {
        text.push_str(&format!(" {:?} {:?}", directory.name, directory.base));
        if let DirectoryKind::Upstream(upstream) = &directory.kind {
            let servers: Vec<_> = upstream.servers.iter().map(|server| &server.url).collect();
            let account = upstream.service.as_ref().map(|service| &service.bind_dn);
            let domain = upstream.discover.as_ref().map(|discover| &discover.domain);
            text.push_str(&format!(" {servers:?} {domain:?} {:?} {account:?}", upstream.search_as));
        }
    }
    let mut owners = [0; DIGEST];
    owners.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    owners
}

struct Digesting<W> {
    out: W,
    digest: Context,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = self.out.write(octets)?;
        self.digest.update(octets.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What it may take to write it.
const LONGEST: Duration = Duration::from_secs(10);
/// The file's mode, and what it must not have.
const OWNER_ONLY: u32 = 0o600;
const OTHERS: u32 = 0o077;
const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::super::answer::AnswerBuilder;
    use super::super::key::{Owner, write_key};
    use super::super::{Answer, Hashing, Lookup};
    use super::*;
    use crate::config::load::load_text;
    use crate::ldap::ResultCode;
    use crate::ldap::filter::Filter;
    use crate::ldap::message::{Request, Scope, SearchRequest};
    use crate::ldap::response::write_entry_op;
    use crate::ldap::{Envelope, MessageId, envelope};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder, gone when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let folder = std::env::temp_dir().join(format!("redial-keep-{}-{number}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn config(&self, attributes: &str) -> Config {
            self.config_with(attributes, "")
        }

        /// With these keys of the directory.
        fn config_with(&self, attributes: &str, of_directory: &str) -> Config {
            let text = format!(
                "[[listener]]\naddress = \"127.0.0.1:3389\"\n[directory.corp]\nbase = \"dc=corp\"\nservers = [\"ldaps://dc1\"]\n\
                 bind_dn = \"cn=redial,dc=corp\"\npassword = \"hunter2\"\n{of_directory}\n[[access]]\nname = \"all\"\nclients = \"any\"\n\
                 bases = [\"dc=corp\"]\nattributes = {attributes}\n[cache]\nkeep = {:?}\n",
                self.0.join("cache")
            );
            load_text(&text, Path::new("."), true).unwrap().config
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn key(principal: Option<&str>) -> Vec<u8> {
        let request = SearchRequest::new("dc=corp", Scope::WholeSubtree, Filter::Present("cn".to_owned()), &[]);
        let mut frame = Vec::new();
        envelope::write_envelope(&mut frame, MessageId::new(1).unwrap(), &request.encode(), None);
        let envelope = Envelope::parse(&frame).unwrap();
        let Ok(Request::Search(search)) = Request::parse(&envelope) else { panic!("a search") };
        let mut key = Vec::new();
        write_key(&mut key, Owner { access: 0, principal }, Some(0), &search, None);
        key
    }

    fn answer() -> Answer {
        let (mut entry, mut builder) = (Vec::new(), AnswerBuilder::default());
        write_entry_op(&mut entry, "cn=ada,dc=corp", [("telephoneNumber", [&b"+49 30 1"[..]])]);
        builder.push_entry(&entry);
        builder.finish(ResultCode::SUCCESS, &[0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0])
    }

    /// A cache that holds one answer for everybody and one for Ada, kept in the file.
    fn kept(config: &Config) -> (Keep, Lineage) {
        let lineage = Lineage::new(config);
        let (cache, keep) = (SearchCache::new(&config.cache, lineage.next(), Hashing::random()), Keep::new(config, &lineage).unwrap());
        for key in [key(None), key(Some("ada"))] {
            let generation = cache.store.generation(Some(0));
            assert!(cache.store.insert(&key, &answer(), generation, &config.cache.defaults, 0.0, Instant::now()));
        }
        assert_eq!(keep.write(&cache).unwrap(), 1, "Ada's own answer is not kept");
        (keep, lineage)
    }

    /// What a restart finds so long (in hours) after the file was written.
    fn found(keep: &Keep, lineage: &Lineage, config: &Config, hours: i64) -> Lookup {
        let cache = SearchCache::new(&config.cache, lineage.next(), Hashing::random());
        let hour = Duration::from_secs(3_600 * hours.unsigned_abs());
        let now = if hours < 0 { since_1970() - hour } else { since_1970() + hour };
        keep.read_at(&cache, now).unwrap();
        cache.look_up(&key(None), None, Instant::now())
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_ages_by_the_wall_clock() {
        let folder = Folder::new();
        let config = folder.config("[\"cn\"]");
        let (keep, lineage) = kept(&config);
        let Lookup::Fresh(back) = found(&keep, &lineage, &config, 0) else { panic!("fresh at once") };
        assert_eq!((back.code(), back.entries().collect::<Vec<_>>()), (ResultCode::SUCCESS, answer().entries().collect()));
        assert!(matches!(found(&keep, &lineage, &config, 1), Lookup::Stale(_)));
        assert!(matches!(found(&keep, &lineage, &config, 23), Lookup::Stale(_)));
        assert!(matches!(found(&keep, &lineage, &config, 25), Lookup::Miss), "past `stale`");
        assert!(matches!(found(&keep, &lineage, &config, -1), Lookup::Stale(_)), "a clock set back makes nothing fresh");
    }

    #[test]
    fn nothing_is_fresh_after_a_restart_where_clients_write() {
        let folder = Folder::new();
        let config = folder.config_with("[\"cn\"]", "writes = \"forward\"");
        let (keep, lineage) = kept(&config);
        assert!(matches!(found(&keep, &lineage, &config, 0), Lookup::Stale(_)));
    }

    #[test]
    fn the_file_is_its_owners_alone_and_holds_no_password() {
        let folder = Folder::new();
        let config = folder.config("[\"cn\"]");
        let (keep, lineage) = kept(&config);
        assert_eq!(fs::metadata(keep.file()).unwrap().mode() & 0o777, 0o600);
        assert!(!String::from_utf8_lossy(&fs::read(keep.file()).unwrap()).contains("hunter2"));
        fs::set_permissions(keep.file(), fs::Permissions::from_mode(0o640)).unwrap();
        let error = keep.read(&SearchCache::new(&config.cache, lineage.next(), Hashing::random())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_file_of_another_configuration_is_not_used() {
        let folder = Folder::new();
        let (_, lineage) = kept(&folder.config("[\"cn\"]"));
        let wider = folder.config("[\"cn\", \"mobile\"]");
        let keep = Keep::new(&wider, &lineage).unwrap();
        let error = keep.read(&SearchCache::new(&wider.cache, lineage.next(), Hashing::random())).unwrap_err();
        assert!(error.to_string().contains("another configuration"), "{error}");
    }

    #[test]
    fn a_file_with_any_octet_changed_or_missing_is_not_used() {
        let folder = Folder::new();
        let config = folder.config("[\"cn\"]");
        let (keep, lineage) = kept(&config);
        let good = fs::read(keep.file()).unwrap();
        let cache = SearchCache::new(&config.cache, lineage.next(), Hashing::random());
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(keep.file(), &bad).unwrap();
            assert!(keep.read(&cache).is_err(), "octet {place}");
            fs::write(keep.file(), &good[..place]).unwrap();
            assert!(keep.read(&cache).is_err(), "{place} octets");
        }
        assert!(matches!(cache.look_up(&key(None), None, Instant::now()), Lookup::Miss));
    }

    #[test]
    fn only_a_file_in_a_folder_that_can_be_written_to_is_one_to_keep_in() {
        let folder = Folder::new();
        let why = |name: &str| can_be_kept_in(&folder.0.join(name)).unwrap_err().to_string();
        assert!(can_be_kept_in(&folder.0.join("cache")).is_ok(), "it need not be there");
        fs::write(folder.0.join("cache"), "x").unwrap();
        assert!(can_be_kept_in(&folder.0.join("cache")).is_ok() && may_be_kept_in(&folder.0.join("cache")).is_ok());
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing else is left there");
        assert!(why("elsewhere/cache").contains("its folder is not there"));
        assert!(why("").contains("it is a folder"));
        let _socket = std::os::unix::net::UnixListener::bind(folder.0.join("socket")).unwrap();
        assert!(why("socket").contains("it is no file"));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_one_before() {
        let folder = Folder::new();
        let config = folder.config("[\"cn\"]");
        let (keep, lineage) = kept(&config);
        let good = fs::read(keep.file()).unwrap();
        // Where the new file should go stands something that cannot be removed like one.
        let mut new = keep.file().to_owned().into_os_string();
        new.push(".new");
        fs::create_dir(&new).unwrap();
        assert!(keep.write(&SearchCache::new(&config.cache, lineage.next(), Hashing::random())).is_err());
        assert_eq!(fs::read(keep.file()).unwrap(), good);
    }
}
