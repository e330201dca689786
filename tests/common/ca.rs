//! The certificate of a CA that signs nobody here, for directories that are reached without TLS: without one, each test would read the system's.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Where it is; made once in each test program.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) fn ca() -> PathBuf {
    static CA: OnceLock<PathBuf> = OnceLock::new();
    let written = CA.get_or_init(|| {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ca-{}.pem", std::process::id()));
        std::fs::write(&path, certified.cert.pem()).unwrap();
        path
    });
    written.clone()
}
