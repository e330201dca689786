//! A bug that ends a task in the middle of a bind: the log says where, and not what the phone had sent.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking, and here a bug is wanted")]

mod common;

use common::ldap_client::LdapClient;
use futures_util::future::BoxFuture;
use redial::config::load::load_text;
use redial::directory::{Asked, Directory, DirectoryError, Operation, Replies};
use redial::ldap::ResultCode;
use redial::proxy::Proxy;
use redial::telemetry::{self, Format};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::task::spawn_blocking;

const NAME: &str = "cn=somebody,dc=x";
/// Its third octet is in the middle of a letter.
const PASSWORD: &str = "h\u{f6}chst geheim";
/// Set where this program runs as the proxy that is watched.
const WATCHED: &str = "REDIAL_WATCHED";

/// Its bugs are those that put what was received into their message.
#[derive(Debug)]
struct Buggy;

impl Directory for Buggy {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        Box::pin(async move {
            let Asked::Bind { name, password, .. } = &operation.request else { return Err(DirectoryError::Unavailable) };
            let password = std::str::from_utf8(password.expose()).unwrap();
            assert!(password.len() < 5, "{name} has {password}");
            panic!("{}", &password[..2]);
        })
    }

    fn is_available(&self) -> bool {
        true
    }
}

#[test]
fn a_panic_in_the_middle_of_a_bind_tells_where_and_neither_name_nor_password() {
    if std::env::var_os(WATCHED).is_some() {
        return watched();
    }
    for format in ["text", "json"] {
        let this_test = "a_panic_in_the_middle_of_a_bind_tells_where_and_neither_name_nor_password";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", this_test, "--nocapture"]).env(WATCHED, format).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        let ran = command.output().unwrap();
        let told = [ran.stdout, ran.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
        assert!(ran.status.success(), "{told}");
        assert_eq!(told.matches("a bug of Redial's has ended a task").count(), 2, "each is told once: {told}");
        assert!(told.contains("tests/panics.rs:"), "{told}");
        for secret in [NAME, PASSWORD, "h\u{f6}c"] {
            assert!(!told.contains(secret), "{secret:?} in {told}");
        }
    }
}

/// The proxy, and a phone that binds.
fn watched() {
    let format = if std::env::var(WATCHED).unwrap() == "json" { Format::Json } else { Format::Text };
    telemetry::begin(Some("info"), format).unwrap();
    let toml = "[[listener]]\naddress = \"127.0.0.1:0\"\nplain_passwords = \"allow\"\n[directory.x]\nbase = \"dc=x\"\n\
                servers = [\"ldaps://dc.x\"]\nsearch_as = \"client\"\n\
                [[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"dc=x\"]\nattributes = [\"*\"]\n";
    let config = load_text(toml, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}")).config;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let proxy = Proxy::start_with(config, vec![Arc::new(Buggy)]).await.unwrap();
        let address = proxy.addresses()[0];
        let answered = spawn_blocking(move || {
            let mut client = LdapClient::plain(address).unwrap();
            [PASSWORD, &PASSWORD[..4]].map(|password| client.bind(NAME, password).code)
        });
        assert_eq!(answered.await.unwrap(), [ResultCode::UNAVAILABLE; 2], "it is answered nevertheless");
        proxy.stop().await;
    });
}
