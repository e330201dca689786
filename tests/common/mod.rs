//! What several test binaries use.

pub(crate) mod ldap_client;
