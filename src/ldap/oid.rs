//! Object identifiers that Redial knows by name.

/// StartTLS (RFC 4511 section 4.14).
pub const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// Notice of Disconnection (RFC 4511 section 4.4.1).
pub const NOTICE_OF_DISCONNECTION: &str = "1.3.6.1.4.1.1466.20036";
/// "Who am I?" (RFC 4532).
pub const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
/// Cancel (RFC 3909).
pub const CANCEL: &str = "1.3.6.1.1.8";
/// Password Modify (RFC 3062).
pub const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
/// Simple paged results (RFC 2696).
pub const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
/// Domain scope: the server makes no references (MS-ADTS 3.1.1.3.4.1.14).
pub const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
/// ManageDsaIT (RFC 3296).
pub const MANAGE_DSA_IT: &str = "2.16.840.1.113730.3.4.2";
/// Proxied authorization (RFC 4370), which never travels through Redial.
pub const PROXIED_AUTHORIZATION: &str = "2.16.840.1.113730.3.4.18";
/// Assertion (RFC 4528).
pub const ASSERTION: &str = "1.3.6.1.1.12";
/// Pre-read (RFC 4527).
pub const PRE_READ: &str = "1.3.6.1.1.13.1";
/// Post-read (RFC 4527).
pub const POST_READ: &str = "1.3.6.1.1.13.2";
/// Server side sorting, request (RFC 2891).
pub const SORT_REQUEST: &str = "1.2.840.113556.1.4.473";
/// Virtual list view, request.
pub const VIRTUAL_LIST_VIEW: &str = "2.16.840.1.113730.3.4.9";
/// Password policy for LDAP directories, as OpenLDAP and 389 speak it.
pub const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
/// Active Directory's fast bind (MS-ADTS 3.1.1.3.4.2.5), an extended operation.
pub const FAST_BIND: &str = "1.2.840.113556.1.4.1781";
/// Bitwise AND matching rule of Active Directory: all bits of the assertion are set.
pub const BIT_AND: &str = "1.2.840.113556.1.4.803";
/// Bitwise OR matching rule of Active Directory: any bit of the assertion is set.
pub const BIT_OR: &str = "1.2.840.113556.1.4.804";
/// A capability of the rootDSE: every Active Directory has it.
pub const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
/// Absolute true and false filters (RFC 4526), a feature.
pub const ABSOLUTE_FILTERS: &str = "1.3.6.1.4.1.4203.1.5.3";
/// All operational attributes by `+` (RFC 3673), a feature.
pub const ALL_OPERATIONAL: &str = "1.3.6.1.4.1.4203.1.5.1";
/// Modify does not complain of a value that is there already, or gone already (MS-ADTS 3.1.1.3.4.1.8).
pub const PERMISSIVE_MODIFY: &str = "1.2.840.113556.1.4.1413";
/// Delete with all that is below (MS-ADTS 3.1.1.3.4.1.15).
pub const TREE_DELETE: &str = "1.2.840.113556.1.4.805";
