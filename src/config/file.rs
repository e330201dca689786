//! TOML as written.
