//! When each certificate that matters expires: shown while it is in use, and no longer.
//!
//! The recorder never forgets a series, and one of a certificate that is not in use any more would be an alarm. So these are kept here.

use super::names::Metric;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateOf {
    /// A listener's, with those that signed it.
    Listener,
    /// The CAs that a directory's controllers, or a listener's clients, are checked against.
    Ca,
    /// A controller's, as it was shown last.
    Controller,
}

impl CertificateOf {
    const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Ca => "ca",
            Self::Controller => "controller",
        }
    }
}

/// By kind and name: an address, or a file. What a controller shows stands with the controller.
#[derive(Debug, Default)]
pub(super) struct Certificates(Mutex<BTreeMap<(CertificateOf, String), Duration>>);

impl Certificates {
    /// Of one.
    pub(super) fn set(&self, of: CertificateOf, name: &str, not_after: Duration) {
        self.all().insert((of, name.to_owned()), not_after);
    }

    /// Keeps those for which this is true.
    pub(super) fn retain(&self, is_in_use: impl Fn(CertificateOf, &str) -> bool) {
        self.all().retain(|(of, name), _| is_in_use(*of, name));
    }

    /// Those that expire before that.
    pub(super) fn expiring_before(&self, when: Duration) -> Vec<(CertificateOf, String, Duration)> {
        let expires = |(_, not_after): &(_, &Duration)| **not_after < when;
        self.all().iter().filter(expires).map(|((of, name), not_after)| (*of, name.clone(), *not_after)).collect()
    }

    /// Appends them to the page, and those besides that their servers show.
    pub(super) fn render(&self, metric: Metric, shown: Vec<(CertificateOf, String, Duration)>, page: &mut String) {
        let Metric { name, .. } = metric;
        metric.begin("gauge", page);
        let own = self.expiring_before(Duration::MAX);
        for (of, whose, not_after) in own.into_iter().chain(shown) {
            let whose = super::histogram::escaped(&whose);
            let _ = writeln!(page, "{name}{{of=\"{}\",name=\"{whose}\"}} {}", of.name(), not_after.as_secs());
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<(CertificateOf, String), Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
