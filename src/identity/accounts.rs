//! Accounts of phones that no directory knows: a name and an Argon2id hash from the configuration.
//!
//! A name and a password come in; whether they belong together goes out. Hashing is slow on purpose (some 20 ms and 19 MiB), so it runs on
//! the blocking threads, a bounded number at once, with a bounded queue before it: a flood of binds costs neither memory nor the cores that
//! answer searches. An unknown name is hashed like a known one, so time does not tell them apart.

use crate::config;
use crate::ldap::dn::Dn;
use crate::secret::Secret;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// The local accounts, ready to be asked.
#[derive(Debug)]
pub struct Accounts {
    hashes: HashMap<String, Arc<PasswordHash>>,
    /// What an unknown name is hashed against; the outcome is thrown away.
    decoy: Option<Arc<PasswordHash>>,
    /// Hashes under way.
    running: Arc<Semaphore>,
    /// Binds that hash or wait to.
    admitted: Semaphore,
}

/// What became of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// It is that name's.
    Accepted,
    /// It is not, or nobody has that name: invalidCredentials(49).
    Refused,
    /// Too many wait, or the deadline passed: busy(51). Says nothing about the password.
    TooBusy,
}

/// Why a text is no hash that Redial takes, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HashError {
    /// Not a PHC string with salt and hash.
    #[error("is not a password hash in PHC format: make one with `redial hash-password`")]
    Malformed,
    /// Another algorithm.
    #[error("is not an Argon2id hash: make one with `redial hash-password`")]
    WrongAlgorithm,
    /// Each bind would cost more than a proxy can give.
    #[error("costs too much to verify: at most 256 MiB of memory, 16 passes and 16 lanes")]
    TooCostly,
    /// The random number generator failed, or the password is longer than Argon2 takes.
    #[error("the password cannot be hashed")]
    Failed,
}

impl Accounts {
    /// Prepares the configured accounts. A hash that [`check_hash`] refuses belongs to nobody; the configuration holds none.
    pub fn new(accounts: &[config::Account]) -> Self {
        let parsed = |account: &config::Account| Some((normalised(&account.name), Arc::new(parse(&account.password_hash).ok()?)));
        let hashes: HashMap<_, _> = accounts.iter().filter_map(parsed).collect();
        let decoy = hashes.values().next().cloned();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Half the cores, so that searches keep the other half.
        let running = Arc::new(Semaphore::new((cores / 2).max(1)));
        Self { hashes, decoy, running, admitted: Semaphore::new(MOST_WAITING) }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// There is an account of that name.
    pub fn knows(&self, name: &str) -> bool {
        !self.hashes.is_empty() && self.hashes.contains_key(&normalised(name))
    }

    /// Is this the password of that name? The answer comes by `deadline`.
    ///
    /// Cancel safe: a hash that has begun runs on and is forgotten.
    pub async fn verify(&self, name: &str, password: &Secret, deadline: Instant) -> Verification {
        let Some(decoy) = &self.decoy else { return Verification::Refused };
        if password.is_empty() {
            return Verification::Refused;
        }
        let Ok(_admitted) = self.admitted.try_acquire() else { return Verification::TooBusy };
        let Ok(Ok(permit)) = timeout_at(deadline, Arc::clone(&self.running).acquire_owned()).await else {
            return Verification::TooBusy;
        };
        let known = self.hashes.get(&normalised(name)).cloned();
        let hash = Arc::clone(known.as_ref().unwrap_or(decoy));
        let password = password.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            let fits = Argon2::default().verify_password(password.expose(), &*hash).is_ok();
            drop(permit);
            fits
        });
        match timeout_at(deadline, hashing).await {
            Ok(Ok(fits)) if fits && known.is_some() => Verification::Accepted,
            Ok(Ok(_)) => Verification::Refused,
            Ok(Err(_)) | Err(_) => Verification::TooBusy,
        }
    }
}

/// The Argon2id hash of a password, in PHC format, with a random salt. Takes some 20 ms.
///
/// # Errors
/// [`HashError::Failed`].
pub fn hash(password: &Secret) -> Result<String, HashError> {
    let hash: PasswordHash = Argon2::default().hash_password(password.expose()).map_err(|_| HashError::Failed)?;
    Ok(hash.to_string())
}

/// Proves that `text` is a hash that [`Accounts`] can use.
///
/// # Errors
/// Says what it is instead.
pub fn check_hash(text: &str) -> Result<(), HashError> {
    parse(text).map(drop)
}

/// The form in which names are compared: as DNs where they are DNs, else without case.
pub fn normalised(name: &str) -> String {
    match Dn::parse(name) {
        Ok(dn) if !dn.is_root() => dn.normalised(),
        _ => name.to_lowercase(),
    }
}

fn parse(text: &str) -> Result<PasswordHash, HashError> {
    let hash = PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
    if hash.algorithm.as_str() != argon2::Algorithm::Argon2id.as_str() {
        return Err(HashError::WrongAlgorithm);
    }
    let params = Params::try_from(&hash).map_err(|_| HashError::Malformed)?;
    if hash.hash.is_none_or(|output| output.as_bytes().len() < SHORTEST_OUTPUT) || hash.salt.is_none() {
        return Err(HashError::Malformed);
    }
    if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
        return Err(HashError::TooCostly);
    }
    Ok(hash)
}

/// Binds that may wait for their turn: more would wait longer than a phone does.
const MOST_WAITING: usize = 256;
/// In KiB; a hash from elsewhere may ask for more than ours, but not for the whole machine.
const MOST_MEMORY_KIB: u32 = 256 << 10;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;
/// In octets: a shorter hash is met by chance.
const SHORTEST_OUTPUT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes())
    }

    fn accounts() -> Accounts {
        let password_hash = hash(&secret("correct horse")).unwrap();
        Accounts::new(&[config::Account { name: "phone-17".to_owned(), password_hash }])
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn a_name_is_accepted_with_its_password_and_in_any_case() {
        let accounts = accounts();
        assert_eq!(accounts.verify("phone-17", &secret("correct horse"), soon()).await, Verification::Accepted);
        assert_eq!(accounts.verify("PHONE-17", &secret("correct horse"), soon()).await, Verification::Accepted);
        assert_eq!(accounts.verify("phone-17", &secret("Correct horse"), soon()).await, Verification::Refused);
    }

    #[tokio::test]
    async fn an_unknown_name_is_refused_even_with_somebody_elses_password() {
        let accounts = accounts();
        assert!(accounts.knows("phone-17") && !accounts.knows("phone-18"));
        assert_eq!(accounts.verify("phone-18", &secret("correct horse"), soon()).await, Verification::Refused);
    }

    #[tokio::test]
    async fn an_empty_password_is_refused() {
        let password_hash = hash(&secret("")).unwrap();
        let accounts = Accounts::new(&[config::Account { name: "x".to_owned(), password_hash }]);
        assert_eq!(accounts.verify("x", &secret(""), soon()).await, Verification::Refused);
    }

    #[tokio::test]
    async fn without_accounts_everybody_is_refused() {
        assert_eq!(Accounts::new(&[]).verify("x", &secret("y"), soon()).await, Verification::Refused);
    }

    #[tokio::test]
    async fn a_flood_of_binds_is_told_that_redial_is_busy() {
        let accounts = accounts();
        let all = accounts.admitted.acquire_many(u32::try_from(MOST_WAITING).unwrap()).await.unwrap();
        assert_eq!(accounts.verify("phone-17", &secret("correct horse"), soon()).await, Verification::TooBusy);
        drop(all);
        assert_eq!(accounts.verify("phone-17", &secret("correct horse"), soon()).await, Verification::Accepted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bind_that_waits_past_its_deadline_is_told_that_redial_is_busy() {
        let accounts = accounts();
        let all = u32::try_from(accounts.running.available_permits()).unwrap();
        let _held = accounts.running.acquire_many(all).await.unwrap();
        assert_eq!(accounts.verify("phone-17", &secret("correct horse"), soon()).await, Verification::TooBusy);
    }

    #[test]
    fn only_affordable_argon2id_hashes_are_taken() {
        let good = hash(&secret("x")).unwrap();
        assert_eq!(check_hash(&good), Ok(()));
        assert_eq!(check_hash("hunter2"), Err(HashError::Malformed));
        assert_eq!(check_hash(&good.replace("argon2id", "argon2i")), Err(HashError::WrongAlgorithm));
        assert_eq!(check_hash(&good.replace("m=19456", "m=1048576")), Err(HashError::TooCostly));
        assert_eq!(check_hash(good.rsplit_once('$').unwrap().0), Err(HashError::Malformed));
    }

    #[test]
    fn names_are_compared_without_case() {
        assert_eq!(normalised("Phone-17"), normalised("phone-17"));
        assert_ne!(normalised("phone-17"), normalised("phone-18"));
    }
}
