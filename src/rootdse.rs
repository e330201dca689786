//! The rootDSE (RFC 4512 section 5.1): what Redial itself says it is and can do. Nothing of a controller's own shows through.
//!
//! (Interface for the pipeline; its owner fills it in.)

use crate::config::Config;
use crate::ldap::envelope::op;
use crate::ldap::message::Search;
use crate::ldap::response::write_result;
use crate::ldap::{MessageId, ResultCode};

/// The rootDSE, as each listener shows it.
#[derive(Debug)]
pub struct RootDse {}

impl RootDse {
    /// Made from the configuration once.
    pub fn new(_config: &Config) -> Self {
        Self {}
    }

    /// Appends the whole answer to a base search of the empty name on that listener, and says its resultCode and how many entries it has.
    pub fn write_answer(&self, _listener: usize, _search: &Search<'_>, message_id: MessageId, out: &mut Vec<u8>) -> (ResultCode, u32) {
        write_result(out, message_id, op::SEARCH_RESULT_DONE, ResultCode::NO_SUCH_OBJECT, "");
        (ResultCode::NO_SUCH_OBJECT, 0)
    }
}
