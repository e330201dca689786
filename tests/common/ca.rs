//! The certificate of a CA that signs nobody here, for directories that are reached without TLS: without one, each test would read the system's.

use redial::config::{Config, DirectoryKind};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Puts it into the directories of controllers, which it verifies nobody for.
pub(crate) fn trust_in_nobody(config: &mut Config) {
    for directory in &mut config.directories {
        if let DirectoryKind::Upstream(upstream) = &mut directory.kind {
            upstream.ca = Some(ca());
        }
    }
}

/// Where it is; made once in each test program.
fn ca() -> PathBuf {
    static CA: OnceLock<PathBuf> = OnceLock::new();
    let written = CA.get_or_init(|| {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ca-{}.pem", std::process::id()));
        std::fs::write(&path, certified.cert.pem()).unwrap();
        path
    });
    written.clone()
}
