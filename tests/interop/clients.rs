//! Clients that other people wrote get through Redial what the directory itself gives them: OpenLDAP's own `ldapsearch`, python-ldap,
//! ldap3 and ldapts, by LDAPS and StartTLS.

use crate::bed::{self, Kind, PASSWORD, Server};
use crate::corpus::phone_searches;
use crate::redial::Setup;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use redial::ldap::message::{Scope, SearchRequest};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// With Debian's packages; another python3 may come first in the PATH.
const PYTHON: &str = "/usr/bin/python3";
const ALICE: &str = "CN=Alice Test,OU=Berlin,OU=Staff,DC=corp,DC=example";

#[test]
fn python_ldap_gets_the_same() {
    compare(&[PYTHON], "python_ldap.py");
}

#[test]
fn ldap3_gets_the_same() {
    compare(&[PYTHON], "ldap3_client.py");
}

#[test]
fn ldapts_gets_the_same() {
    compare(&["node"], "ldapts_client.mjs");
}

#[test]
fn ldapsearch_gets_the_same() {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        for request in searches() {
            let expected = ldapsearch(&format!("ldaps://{}", server.ldaps), &[], &request);
            assert!(expected.status.code().is_some_and(|code| code < 0x50), "{}", String::from_utf8_lossy(&expected.stderr));
            let start_tls = format!("ldap://{}", redial.start_tls);
            for (url, more) in
                [(format!("ldaps://{}", redial.ldaps), None), (format!("ldap://{}", redial.plain), None), (start_tls, Some("-ZZ"))]
            {
                let found = ldapsearch(&url, more.as_slice(), &request);
                let what = format!("{:?} {url} {}: {}", server.kind, request.filter, String::from_utf8_lossy(&found.stderr));
                assert_eq!(found.status.code(), expected.status.code(), "{what}");
                assert_eq!(entries(&found), entries(&expected), "{what}");
            }
        }
    }
}

#[test]
fn ldapsearch_with_a_certificate_needs_no_password() {
    let server = bed::slapd();
    let files = bed::state().join(format!("pbx-{}", std::process::id()));
    fs::create_dir_all(&files).expect("a directory for its files");
    let [ca, certificate, key] = ["ca.pem", "certificate.pem", "key.pem"].map(|name| files.join(name));
    make_certificate([&ca, &certificate, &key]);
    let access = "[[access]]\nname = \"pbx\"\nclients = [\"CN=pbx,O=Example\"]\nbases = [\"DC=corp,DC=example\"]\nattributes = [\"cn\"]\n";
    let tls = format!(", client_ca = {ca:?}, client_name = \"subject\"");
    let redial = Setup { tls, ..Setup::before(server).with(access) }.start();
    let run = |program: &str, more: &[&str], shown: bool| {
        let mut command = Command::new(program);
        command.args(["-Q", "-Y", "EXTERNAL", "-H", &format!("ldaps://{}", redial.ldaps)]).args(more);
        command.env("LDAPTLS_CACERT", bed::ca()).env("LDAPTLS_REQCERT", "demand");
        if shown {
            command.env("LDAPTLS_CERT", &certificate).env("LDAPTLS_KEY", &key);
        }
        command.output().expect(program)
    };
    let search = ["-LLL", "-b", bed::BASE, "(cn=Alice Test)", "cn", "sn"];

    let said = run("ldapwhoami", &[], true);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "dn:CN=pbx,O=Example", "{}", String::from_utf8_lossy(&said.stderr));
    let found = entries(&run("ldapsearch", &search, true));
    assert_eq!(found.len(), 1);
    assert!(found.iter().all(|entry| entry.contains("cn:") && !entry.contains("sn:")), "what the access shows: {found:?}");
    let refused = run("ldapsearch", &search, false);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{}", String::from_utf8_lossy(&refused.stdout));
    fs::remove_dir_all(&files).expect("its own files");
}

/// A certificate for a PBX, its key, and the CA that has signed it.
fn make_certificate([ca_file, certificate_file, key_file]: [&Path; 3]) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, "pbx");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &ca).expect("a certificate");
    for (file, pem) in [(ca_file, ca.pem()), (certificate_file, certificate.pem()), (key_file, key.serialize_pem())] {
        fs::write(file, pem).expect("a file");
    }
}

/// Runs a script against each server and against Redial in front of it, and compares what it prints.
fn compare(interpreter: &[&str], script: &str) {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        let file = bed::state().join(format!("{script}-{:?}.json", server.kind));
        let searches = searches();
        fs::write(&file, as_json(&searches)).expect("the searches");
        let expected = printed(interpreter, script, &format!("ldaps://{}", server.ldaps), server, &file);
        assert_eq!(expected.len(), searches.len());
        assert!(expected.iter().filter(|line| line.len() > 40).count() > 5, "most searches find nobody: {expected:#?}");
        for url in [format!("ldaps://{}", redial.ldaps), format!("ldap://{}", redial.start_tls)] {
            let found = printed(interpreter, script, &url, server, &file);
            for ((found, expected), request) in found.iter().zip(&expected).zip(&searches) {
                assert_eq!(found, expected, "{script} at {url} before {:?}: {}", server.kind, request.filter);
            }
            assert_eq!(found.len(), expected.len());
        }
    }
}

fn printed(interpreter: &[&str], script: &str, url: &str, server: &Server, searches: &Path) -> Vec<String> {
    let name = if server.kind == Kind::Samba { "alice@corp.example" } else { ALICE };
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let output = Command::new(interpreter[0])
        .args(&interpreter[1..])
        .arg(clients.join(script))
        .arg(url)
        .arg(bed::ca())
        .args([name, PASSWORD])
        .arg(searches)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the interpreter");
    assert!(output.status.success(), "{script} at {url}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// A part of the corpus that is large enough to meet each kind of filter and scope. No size limit is asked for: which entries come under
/// one is the directory's own choice.
fn searches() -> Vec<SearchRequest> {
    let all = phone_searches().into_iter().filter(|search| search.page_size.is_none()).map(|search| search.request);
    let by_name = all.filter(|request| !request.attributes.is_empty() && !request.attributes.iter().any(|name| name == "*"));
    by_name.step_by(3).map(|request| SearchRequest { size_limit: 0, ..request }).collect()
}

fn as_json(searches: &[SearchRequest]) -> String {
    let searches = searches.iter().map(|request| {
        json!({
            "base": request.base_object,
            "scope": scope(request.scope),
            "filter": request.filter.to_string(),
            "attributes": request.attributes,
            "sizelimit": request.size_limit,
        })
    });
    serde_json::Value::from_iter(searches).to_string()
}

fn ldapsearch(url: &str, more: &[&str], request: &SearchRequest) -> Output {
    Command::new("ldapsearch")
        .args(["-x", "-LLL", "-o", "ldif-wrap=no", "-H", url, "-D", ALICE, "-w", PASSWORD])
        .args(more)
        .args(["-b", &request.base_object, "-s", scope(request.scope), "-z", &request.size_limit.to_string()])
        .arg(request.filter.to_string())
        .args(&request.attributes)
        .env("LDAPTLS_CACERT", bed::ca())
        .env("LDAPTLS_REQCERT", "demand")
        .output()
        .expect("ldapsearch")
}

/// The entries that were printed, in no order, without references.
fn entries(output: &Output) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("\n\n").map(str::trim).filter(|entry| entry.starts_with("dn:")).map(str::to_owned).collect()
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::BaseObject => "base",
        Scope::SingleLevel => "one",
        Scope::WholeSubtree => "sub",
    }
}
