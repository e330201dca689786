//! When certificates expire. Pure.

use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The end of a certificate's validity, since 1970; `None` where it cannot be read.
pub(crate) fn not_after(der: &[u8]) -> Option<Duration> {
    Some(Certificate::from_der(der).ok()?.tbs_certificate().validity().not_after.to_unix_duration())
}

/// Close enough to be warned of.
pub(crate) const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The first end among these.
pub(crate) fn first_not_after<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Option<Duration> {
    certificates.into_iter().filter_map(not_after).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn until(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_first_of_several_to_expire_is_told() {
        let (late, early) = (until(2040), until(2030));
        assert_eq!(not_after(&early), Some(Duration::from_secs(1_893_456_000)));
        assert_eq!(first_not_after([&late[..], &early[..], b"no certificate"]), not_after(&early));
        assert_eq!(not_after(&late[..100]), None);
    }
}
