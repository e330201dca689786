//! Whose certificates are believed: the configured CA's, or the system's roots where none is configured.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Why no controller could be verified.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file of `ca` is not there, or is not PEM.
    #[error("{path}: cannot read the CA certificates ({why}); `ca` must name a PEM file that this program may read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system or the parser said.
        why: String,
    },
    /// It holds no certificate that can be used.
    #[error("{path}: holds no usable CA certificate; `ca` must name a PEM file with at least one")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system has no roots.
    #[error("the system has no root certificates; install the ca-certificates package, or set `ca`")]
    NoSystemRoots,
    /// The cryptographic library refuses to work.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS towards controllers: 1.2 and 1.3, verified by name against the CAs in `ca`.
///
/// # Errors
/// As [`TrustError`] says.
pub(crate) fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let roots = match ca {
        Some(path) => read(path)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn read(path: &Path) -> Result<RootCertStore, TrustError> {
    let unreadable = |error: &dyn std::fmt::Display| TrustError::Unreadable { path: path.to_owned(), why: error.to_string() };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() { Err(TrustError::Empty { path: path.to_owned() }) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TrustError::NoSystemRoots) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_ca_file_is_named() {
        let error = client_config(Some(Path::new("no/such.pem"))).unwrap_err();
        assert!(error.to_string().starts_with("no/such.pem: cannot read"), "{error}");
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        let error = client_config(Some(Path::new("Cargo.toml"))).unwrap_err();
        assert!(matches!(error, TrustError::Empty { .. }), "{error}");
    }
}
