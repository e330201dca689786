//! The rootDSE (RFC 4512 section 5.1): what Redial itself says it is and can do. Nothing of a controller's own shows through.
