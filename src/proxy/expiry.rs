//! Certificates that are about to expire: a metric of each, and a warning a day from two weeks before.

use crate::certificate::{SOON, first_not_after};
use crate::config::{Config, DirectoryKind};
use crate::metrics::{CertificateOf, Metrics};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::interval;
use tracing::warn;

/// Tells the metrics when the certificates of this configuration expire. A file that cannot be read is somebody else's complaint.
pub(super) fn note(config: &Config, metrics: &Metrics) {
    let mut read = Vec::new();
    let listeners = config.listeners.iter().filter_map(|listener| Some((listener.address.to_string(), listener.tls.as_ref()?)));
    for (address, tls) in listeners {
        read.push((CertificateOf::Listener, address, tls.certificate.as_path()));
        read.extend(tls.client_ca.as_deref().map(|file| (CertificateOf::Ca, file.display().to_string(), file)));
    }
    let upstreams = config.directories.iter().filter_map(|directory| match &directory.kind {
        DirectoryKind::Upstream(upstream) => Some(upstream),
        DirectoryKind::Embedded { .. } => None,
    });
    for upstream in upstreams {
        read.extend(upstream.ca.as_deref().map(|file| (CertificateOf::Ca, file.display().to_string(), file)));
    }
    metrics.retain_certificates(|of, name| read.iter().any(|(kind, known, _)| (*kind, known.as_str()) == (of, name)));
    for (of, name, file) in &read {
        if let Some(not_after) = certificates_expire(file) {
            metrics.certificate_expires(*of, name, not_after);
        }
    }
}

fn certificates_expire(file: &Path) -> Option<Duration> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file).ok()?.flatten().collect();
    first_not_after(certificates.iter().map(|certificate| certificate.as_ref()))
}

/// Warns of those that expire soon, now and once a day. Never ends.
pub(super) async fn watch(metrics: Arc<Metrics>) {
    let mut day = interval(DAY);
    loop {
        day.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for (of, name, not_after) in metrics.certificates_expiring_before(now + SOON) {
            let when = humantime::format_rfc3339_seconds(UNIX_EPOCH + not_after);
            match not_after.checked_sub(now) {
                Some(left) => warn!(?of, name, not_after = %when, "a certificate expires in {} days", left.as_secs() / DAY.as_secs()),
                None => warn!(?of, name, not_after = %when, "a certificate has expired"),
            }
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
