//! The admin address as an administrator meets it: HTTP to a proxy that runs.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::configuration::{Configuration, load};
use common::ldap_client::{LdapClient, subtree};
use common::scripted_controller::{Heard, ScriptedController};
use common::scripted_directory::{Scripted, ScriptedDirectory};
use redial::directory::{Asked, Directory};
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::proxy::Proxy;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{spawn_blocking, yield_now};

fn site() -> String {
    let more = "[[cache.rule]]\nname = \"type-ahead\"\nfilter = \"(cn=?*)\"\nttl = \"1h\"\n\n[admin]\naddress = \"127.0.0.1:0\"";
    let listener = "plain_passwords = \"allow\"";
    Configuration { address: "127.0.0.1:0", listener, more, ..Configuration::default() }.toml()
}

/// A proxy before that directory.
async fn before(directory: &Arc<impl Directory>, toml: &str) -> Proxy {
    Proxy::start_with(load(toml, Path::new(".")), vec![Arc::clone(directory) as Arc<dyn Directory>]).await.unwrap()
}

/// What becomes of a request: the status and the body, as JSON where it is.
async fn ask(proxy: &Proxy, method: &str, path: &str, header: &str) -> (u16, Value) {
    let address = proxy.admin_address().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (answer[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
}

async fn get(proxy: &Proxy, path: &str) -> Value {
    let (status, body) = ask(proxy, "GET", path, "").await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn dropped(proxy: &Proxy, query: &str) -> u64 {
    let (status, body) = ask(proxy, "DELETE", &format!("/cache?{query}"), "").await;
    assert_eq!(status, 200, "{body}");
    body["dropped"].as_u64().unwrap()
}

/// Searches under that name (empty: nobody's), three times on one connection, so that the second level knows and the first one too.
async fn search_as(name: &'static str, address: SocketAddr, base: &'static str, filter: &'static str) {
    let found = move || {
        let mut client = LdapClient::plain(address).unwrap();
        if !name.is_empty() {
            client = client.bound(name, "secret");
        }
        for _ in 0..3 {
            assert_eq!(client.search(&subtree(base, filter, &["cn"])).outcome.code, ResultCode::SUCCESS);
        }
    };
    spawn_blocking(found).await.unwrap();
}

async fn search(proxy: &Proxy, base: &'static str, filter: &'static str) {
    search_as("", proxy.addresses()[0], base, filter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_asked_for_again_and_nothing_else() {
    let directory = Arc::new(ScriptedDirectory::always(Scripted::one("cn=Ada,ou=a,dc=corp", "17")));
    let proxy = before(&directory, &site()).await;
    let searches = [("ou=a,dc=corp", "(cn=ad*)"), ("ou=b,dc=corp", "(cn=bo*)"), ("dc=corp", "(telephoneNumber=17)")];
    for (base, filter) in searches {
        search(&proxy, base, filter).await;
    }
    assert_eq!(directory.times_asked(), 3);
    for (query, gone) in [
        ("rule=type-ahead", vec![0, 1]),
        ("filter=(telephonenumber%3D?)", vec![2]),
        ("filter=(cn=AD*)", vec![0]),
        // The third looks at the whole tree, and so at this part of it.
        ("base=OU%3DB,+DC%3Dcorp", vec![1, 2]),
        ("base=dc%3Dcorp&rule=type-ahead&access=everybody", vec![0, 1]),
        ("directory=corp", vec![0, 1, 2]),
        ("", vec![0, 1, 2]),
        ("base=dc%3Dother", vec![]),
        ("principal=ada", vec![]),
    ] {
        assert_eq!(dropped(&proxy, query).await, gone.len() as u64, "{query}");
        for (number, (base, filter)) in searches.into_iter().enumerate() {
            let before = directory.times_asked();
            search(&proxy, base, filter).await;
            assert_eq!(directory.times_asked() - before, usize::from(gone.contains(&number)), "{query}: {filter}");
        }
    }
    for (query, status) in
        [("rul=type-ahead", 400), ("filter=cn", 400), ("base=cn", 400), ("rule=x", 404), ("access=x", 404), ("directory=x", 404)]
    {
        assert_eq!(ask(&proxy, "DELETE", &format!("/cache?{query}"), "").await.0, status, "{query}");
    }
    assert_eq!(get(&proxy, "/cache").await["entries"], 3, "nothing that was refused dropped anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_asked_when_its_answer_is_dropped_is_not_kept() {
    let directory = Arc::new(ScriptedDirectory::by_hand());
    let proxy = before(&directory, &site()).await;
    let address = proxy.addresses()[0];
    let answered = |number: usize| {
        let directory = Arc::clone(&directory);
        async move {
            while directory.times_asked() < number {
                yield_now().await;
            }
            directory.entry(number, "cn=Ada,dc=corp", &[("cn", "Ada")]);
            directory.done(number, ResultCode::SUCCESS);
        }
    };
    let once =
        |filter| spawn_blocking(move || LdapClient::plain(address).unwrap().search(&subtree("dc=corp", filter, &["cn"])).entries.len());

    let phone = once("(cn=ad*)");
    while directory.times_asked() < 1 {
        yield_now().await;
    }
    assert_eq!(dropped(&proxy, "filter=(cn=?*)").await, 0, "nothing is there yet");
    answered(1).await;
    assert_eq!(phone.await.unwrap(), 1, "whoever asked before is answered");
    let phone = once("(cn=ad*)");
    answered(2).await;
    assert_eq!((phone.await.unwrap(), directory.times_asked()), (1, 2), "it was asked again");

    // Whoever drops something else does not come between.
    let phone = once("(cn=bo*)");
    while directory.times_asked() < 3 {
        yield_now().await;
    }
    assert_eq!(dropped(&proxy, "filter=(cn=ad*)").await, 1);
    answered(3).await;
    assert_eq!((phone.await.unwrap(), once("(cn=bo*)").await.unwrap(), directory.times_asked()), (1, 1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_listed_page_by_page_without_what_was_found() {
    let directory = Arc::new(ScriptedDirectory::always(Scripted::one("cn=Found,dc=corp", "17")));
    let proxy = before(&directory, &site()).await;
    for filter in ["(cn=ad*)", "(cn=bo*)", "(telephoneNumber=17)"] {
        search(&proxy, "ou=a,dc=corp", filter).await;
    }
    let first = get(&proxy, "/cache/answers?limit=2").await;
    let next = first["next"].as_str().unwrap();
    let second = get(&proxy, &format!("/cache/answers?limit=2&after={next}")).await;
    let answers: Vec<_> = [&first, &second].into_iter().flat_map(|page| page["answers"].as_array().unwrap()).collect();
    assert!(answers.len() == 3 && second["next"].is_null(), "{first} {second}");
    let mut filters: Vec<_> = answers.iter().map(|answer| answer["filter"].as_str().unwrap()).collect();
    filters.sort_unstable();
    assert_eq!(filters, ["(cn=ad*)", "(cn=bo*)", "(telephonenumber=17)"]);
    assert!(!format!("{first}{second}").to_lowercase().contains("found"), "{first}");

    let ruled = get(&proxy, "/cache/answers?rule=type-ahead&filter=(cn=ad*)").await;
    let mut answer = ruled["answers"][0].clone();
    for (key, most) in [("age_seconds", 60), ("left_seconds", 3600 + 86_400), ("bytes", 1000)] {
        assert!(answer.as_object_mut().unwrap().remove(key).unwrap().as_u64().unwrap() <= most, "{key}");
    }
    let expected = json!({
        "access": "everybody", "directory": "corp", "principal": null, "base": "ou=a,dc=corp", "scope": "sub", "filter": "(cn=ad*)",
        "attributes": ["cn"], "size_limit": 0, "rule": "type-ahead", "is": "fresh", "entries": 1,
    });
    assert_eq!((answer, ruled["answers"].as_array().unwrap().len()), (expected, 1));
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=x", "x=1"] {
        assert_eq!(ask(&proxy, "GET", &format!("/cache/answers?{wrong}"), "").await.0, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principals_own_answers_are_dropped_by_any_of_its_names() {
    let directory = Arc::new(ScriptedDirectory::new(|operation| match &operation.request {
        Asked::Bind { name, .. } => {
            let canonical = if name.to_lowercase().contains("ada") { "S-1-5-21-1" } else { "S-1-5-21-2" };
            Scripted::Is(canonical, None, Box::new(Scripted::Result(ResultCode::SUCCESS, "")))
        }
        _ => Scripted::one("cn=x,dc=corp", "17"),
    }));
    let proxy =
        before(&directory, &site().replace("search_as = \"service\"", "search_as = \"client\"").replace("\"any\"", "\"bound\"")).await;
    let own = async |name| search_as(name, proxy.addresses()[0], "dc=corp", "(cn=ad*)").await;
    for name in ["CORP\\ada", "bob@corp"] {
        own(name).await;
    }
    for (query, kept) in
        [("CORP%5CADA", "S-1-5-21-2"), ("ada@corp", "S-1-5-21-2"), ("S-1-5-21-1", "S-1-5-21-2"), ("bob@corp", "S-1-5-21-1")]
    {
        own("ada@corp").await;
        own("bob@corp").await;
        assert_eq!(dropped(&proxy, &format!("principal={query}")).await, 1, "{query}");
        let left = get(&proxy, "/cache/answers").await;
        assert_eq!(
            left["answers"].as_array().unwrap().iter().map(|answer| answer["principal"].as_str().unwrap()).collect::<Vec<_>>(),
            [kept]
        );
    }
}

fn folder(test: &str, token: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("admin-{test}"));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("token");
    std::fs::write(&file, token).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_the_new_token_and_forgets_the_old_one() {
    let folder = folder("token", "first-token-0123456789\n");
    let toml = site().replace("[admin]", "[admin]\ntoken_file = \"token\"");
    let directory = Arc::new(ScriptedDirectory::always(Scripted::one("cn=Ada,dc=corp", "17")));
    let mut proxy = Proxy::start_with(load(&toml, &folder), vec![directory]).await.unwrap();
    let (first, second) = ("Authorization: Bearer first-token-0123456789\r\n", "Authorization: Bearer second-token-012345678\r\n");
    let with = async |proxy: &Proxy, header| ask(proxy, "DELETE", "/cache", header).await.0;
    assert_eq!((with(&proxy, "").await, with(&proxy, first).await, with(&proxy, second).await), (401, 200, 401));

    std::fs::write(folder.join("token"), "second-token-012345678\n").unwrap();
    proxy.reload(load(&toml, &folder)).await.unwrap();
    assert_eq!((with(&proxy, "").await, with(&proxy, first).await, with(&proxy, second).await), (401, 401, 200));
    // Another address needs a restart, and so the token of the old one stays.
    let moved = site().replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"127.0.0.2:0\"");
    proxy.reload(load(&moved, &folder)).await.unwrap();
    assert_eq!((with(&proxy, "").await, with(&proxy, second).await), (401, 200));
    proxy.reload(load(&site(), &folder)).await.unwrap();
    assert_eq!(with(&proxy, "").await, 200, "none is asked for any more");
    assert_eq!(ask(&proxy, "GET", "/healthz", "").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_account_is_listed_and_released() {
    let wrong = "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 52e, v4563";
    let directory = Arc::new(ScriptedDirectory::always(Scripted::Result(ResultCode::INVALID_CREDENTIALS, wrong)));
    let proxy = before(&directory, &site()).await;
    let address = proxy.addresses()[0];
    let bind = async |password: &'static str| {
        spawn_blocking(move || LdapClient::plain(address).unwrap().bind("CORP\\ada", password)).await.unwrap();
        directory.times_asked()
    };
    assert_eq!(get(&proxy, "/guarded").await, json!({ "guarded": [], "there_are_more": false }));
    for (password, asked) in [("wrong-1", 1), ("wrong-2", 2), ("wrong-3", 3), ("wrong-4", 3)] {
        assert_eq!(bind(password).await, asked);
    }
    let listed = get(&proxy, "/guarded").await;
    assert!(!listed.to_string().contains("wrong-"), "{listed}");
    let account = &listed["guarded"][0];
    assert_eq!((&account["principal"], &account["peers"]), (&json!("CORP\\ada"), &json!(["127.0.0.1"])));
    assert!(account["wrong_passwords"] == 3 && account["opens_in_seconds"].as_u64().unwrap() > 500, "{account}");
    assert_eq!(ask(&proxy, "DELETE", "/guarded?name=bob", "").await, (200, json!({ "released": 0 })));
    assert_eq!(bind("wrong-4").await, 3);
    assert_eq!(ask(&proxy, "DELETE", "/guarded?name=corp%5CADA", "").await, (200, json!({ "released": 1 })));
    assert_eq!((bind("wrong-4").await, get(&proxy, "/guarded").await["guarded"].as_array().unwrap().len()), (4, 0));
}

/// Two controllers that are well but for a search for `slow`, which they do not answer, and a proxy that knows them.
async fn two_controllers() -> ([ScriptedController; 2], String, Proxy) {
    let is_slow = |heard: &Heard| heard.tag == op::SEARCH_REQUEST && !heard.is_root_dse() && heard.question().2.to_string() == "(cn=slow)";
    let script = move |heard: &Heard| is_slow(heard).then(Vec::new);
    let controllers = [ScriptedController::plain(script).await, ScriptedController::plain(script).await];
    let servers = format!("servers = [\"{}\", \"{}\"]", url(&controllers[0]), url(&controllers[1]));
    let toml = site().replace("servers = [\"ldap://127.0.0.1:1\"]", &servers);
    let proxy = Proxy::start(load(&toml, Path::new("."))).await.unwrap();
    until_up(&proxy).await;
    (controllers, toml, proxy)
}

fn url(controller: &ScriptedController) -> String {
    format!("ldap://{}", controller.address)
}

async fn until_up(proxy: &Proxy) {
    until_seen(proxy, |controllers| controllers.iter().all(|controller| controller["state"] == "up")).await;
}

async fn until_seen(proxy: &Proxy, is_it: impl Fn(&[Value]) -> bool) {
    while !is_it(get(proxy, "/controllers").await["controllers"].as_array().unwrap()) {
        yield_now().await;
    }
}

/// Takes a controller `out` of rotation or back `in`.
async fn rotate(proxy: &Proxy, to: &str, controller: &ScriptedController, more: &str) -> (u16, Value) {
    ask(proxy, "POST", &format!("/controllers/{to}?directory=corp&server={}{more}", url(controller)), "").await
}

/// What a controller was asked for clients.
fn work(controller: &ScriptedController) -> Vec<Heard> {
    let is_work = |heard: &Heard| match heard.tag {
        op::SEARCH_REQUEST => !heard.is_root_dse(),
        op::BIND_REQUEST => heard.bind().0 != "cn=redial,dc=corp",
        op::DELETE_REQUEST => true,
        _ => false,
    };
    controller.heard().into_iter().filter(is_work).collect()
}

/// So many searches that nobody has asked before, binds and writes; how often each of the two was asked meanwhile.
async fn work_on(proxy: &Proxy, controllers: &[ScriptedController; 2], round: &'static str) -> [bool; 2] {
    let before = controllers.each_ref().map(|controller| work(controller).len());
    let address = proxy.addresses()[0];
    let phones = move || {
        for number in 0..12 {
            let mut client = LdapClient::plain(address).unwrap().bound(&format!("cn={round}{number},dc=corp"), "secret");
            assert_eq!(client.search(&subtree("dc=corp", &format!("(cn={round}{number})"), &["cn"])).outcome.code, ResultCode::SUCCESS);
            if number % 4 == 0 {
                assert_eq!(client.delete(&format!("cn={round}{number},dc=corp")).code, ResultCode::SUCCESS);
            }
        }
    };
    spawn_blocking(phones).await.unwrap();
    std::array::from_fn(|place| work(&controllers[place]).len() > before[place])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_out_of_rotation_gets_nothing_until_it_is_back() {
    let (controllers, toml, mut proxy) = two_controllers().await;
    let [first, second] = &controllers;
    // Where it took the first writes, reads and writes went there: another is their home now.
    work_on(&proxy, &controllers, "a").await;
    for (out, other, round, asked) in [(first, second, "b", [false, true]), (second, first, "c", [true, false])] {
        let (status, moved) = rotate(&proxy, "out", out, "").await;
        assert_eq!((status, &moved["server"], &moved["in_rotation"]), (200, &json!(url(out)), &json!(false)));
        assert_eq!(work_on(&proxy, &controllers, round).await, asked);
        assert_eq!(rotate(&proxy, "out", other, "").await.0, 409, "it is the last one");
        let page = get(&proxy, "/metrics").await.as_str().unwrap().to_owned();
        for (controller, value) in [(out, 1), (other, 0)] {
            let line = format!("redial_upstream_out_of_rotation{{directory=\"corp\",server=\"{}\"}} {value}", url(controller));
            assert!(page.lines().any(|shown| shown == line), "{line} in\n{page}");
        }
        assert_eq!(rotate(&proxy, "in", out, "").await.1["in_rotation"], true);
    }

    assert_eq!((rotate(&proxy, "out", first, "").await.0, rotate(&proxy, "out", second, "&force=true").await.0), (200, 200));
    let address = proxy.addresses()[0];
    let code = move || LdapClient::plain(address).unwrap().search(&subtree("dc=corp", "(cn=d)", &["cn"])).outcome.code;
    assert_eq!(spawn_blocking(code).await.unwrap(), ResultCode::UNAVAILABLE);
    // Another configuration, in which both are still there.
    proxy.reload(load(&toml.replace("[directory.corp]", "[directory.corp]\nconnections = 5"), Path::new("."))).await.unwrap();
    until_up(&proxy).await;
    assert_eq!(spawn_blocking(code).await.unwrap(), ResultCode::UNAVAILABLE);
    assert_eq!(rotate(&proxy, "in", second, "").await.0, 200);
    assert_eq!(work_on(&proxy, &controllers, "e").await, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_controller_had_to_do_when_it_was_taken_out_it_ends() {
    let (controllers, _, proxy) = two_controllers().await;
    let address = proxy.addresses()[0];
    let slow = spawn_blocking(move || LdapClient::plain(address).unwrap().search(&subtree("dc=corp", "(cn=slow)", &["cn"])));
    let (asked, heard) = loop {
        let heard = controllers.iter().find_map(|controller| work(controller).pop().map(|heard| (controller, heard)));
        match heard {
            Some(heard) => break heard,
            None => yield_now().await,
        }
    };
    until_seen(&proxy, |controllers| controllers.iter().any(|controller| controller["in_flight"] == 1)).await;
    assert_eq!(rotate(&proxy, "out", asked, "").await.1["in_flight"], 1);
    asked.act(heard.connection, heard.entry("cn=slow,dc=corp"));
    asked.act(heard.connection, heard.done(ResultCode::SUCCESS));
    let found = slow.await.unwrap();
    assert_eq!((found.outcome.code, found.entries.len()), (ResultCode::SUCCESS, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_is_moved_by_its_whole_name_and_by_post_only() {
    let (controllers, _, proxy) = two_controllers().await;
    let server = url(&controllers[0]);
    for (method, path, status) in [
        ("GET", format!("/controllers/out?directory=corp&server={server}"), 405),
        ("POST", format!("/controllers?directory=corp&server={server}"), 405),
        ("POST", "/controllers/out?directory=corp&server=ldap://127.0.0.1:1".to_owned(), 404),
        ("POST", format!("/controllers/out?directory=lab&server={server}"), 404),
        ("POST", format!("/controllers/out?server={server}"), 400),
        ("POST", "/controllers/out?directory=corp".to_owned(), 400),
        ("POST", format!("/controllers/out?directory=corp&server={server}&force=yes"), 400),
        ("GET", "/controllers?directory=lab".to_owned(), 404),
    ] {
        assert_eq!(ask(&proxy, method, &path, "").await.0, status, "{method} {path}");
    }
    let listed = get(&proxy, "/controllers?directory=corp").await;
    let mut seen = listed["controllers"][0].clone();
    for (key, most) in [("connections", 4), ("silent_for_seconds", 60)] {
        assert!(seen.as_object_mut().unwrap().remove(key).unwrap().as_u64().unwrap() <= most, "{key}: {listed}");
    }
    let expected =
        json!({ "directory": "corp", "server": server, "state": "up", "in_rotation": true, "in_flight": 0, "latency_milliseconds": null });
    assert_eq!(seen, expected, "no operation was asked yet");
}
