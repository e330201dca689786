//! The files of one Redial: its configuration, a CA, certificates by it, and whatever else a test writes beside them.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// See the module.
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Site {
    /// With a CA in `ca.pem`, and a first certificate and key in `cert.pem` and `key.pem`.
    pub(crate) fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let site = Self { folder, ca };
        site.write("ca.pem", &site.ca.pem());
        site.certify();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Another certificate, for 127.0.0.1, and its key.
    pub(crate) fn certify(&self) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        self.write("cert.pem", &certificate.pem());
        self.write("key.pem", &key.serialize_pem());
        certificate.der().to_vec()
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, toml: &str) -> PathBuf {
        self.write("redial.toml", toml);
        self.path("redial.toml")
    }
}
