//! Why a request at the admin address is not carried out.

use hyper::StatusCode;

/// See the module.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// For the administrator.
    pub(super) why: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    /// The request does not say what it should.
    pub(super) fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}
