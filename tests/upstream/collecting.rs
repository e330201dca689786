//! Results that are longer than a controller gives at once, and the controls that travel.

use super::*;
use common::scripted_controller::root_dse;
use redial::ldap::control::write_control;
use redial::ldap::oid;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A controller with `total` entries that gives at most 1,000 at once, as Active Directory does.
async fn with_entries(total: u32) -> ScriptedController {
    answering(move |heard| {
        if heard.tag != op::SEARCH_REQUEST {
            return None;
        }
        let (size, cookie) = heard.page().unwrap_or((u32::MAX, Vec::new()));
        let from: u32 = String::from_utf8(cookie).unwrap().parse().unwrap_or(0);
        let limit = if heard.size_limit() == 0 { u32::MAX } else { heard.size_limit() };
        let to = total.min(from.saturating_add(size.min(1000).min(limit)));
        let mut acts: Vec<Act> = (from..to).map(|number| heard.entry(&format!("cn={number}"))).collect();
        acts.push(match (heard.page(), to < total) {
            (Some(_), true) => heard.page_done(to.to_string().as_bytes()),
            (Some(_), false) => heard.page_done(b""),
            (None, true) => heard.done(ResultCode::SIZE_LIMIT_EXCEEDED),
            (None, false) => heard.done(ResultCode::SUCCESS),
        });
        Some(acts)
    })
    .await
}

#[tokio::test]
async fn more_entries_than_a_controller_gives_at_once_are_collected() {
    let controller = with_entries(2500).await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=a", None).await.unwrap();
    assert_eq!((entries.len(), done.code), (2500, ResultCode::SUCCESS));
    assert!(done.controls.is_none(), "the page's own control is not the client's");
    let pages = searches(&controller);
    assert_eq!(pages.len(), 3);
    assert!(pages.iter().all(|page| page.connection == pages[0].connection && page.size_limit() == 0));
}

#[tokio::test]
async fn collecting_stops_at_the_number_wanted_and_says_that_there_is_more() {
    let controller = with_entries(5000).await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=a", Some(1500)).await.unwrap();
    assert_eq!((entries.len(), done.code), (1500, ResultCode::SIZE_LIMIT_EXCEEDED));
    let pages: Vec<_> = searches(&controller).iter().map(|page| page.page().unwrap().0).collect();
    assert_eq!(pages, [1000, 501]);
}

#[tokio::test]
async fn a_result_of_exactly_the_number_wanted_is_complete() {
    let controller = with_entries(1500).await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=a", Some(1500)).await.unwrap();
    assert_eq!((entries.len(), done.code), (1500, ResultCode::SUCCESS));
}

#[tokio::test]
async fn a_search_for_few_is_not_paged_and_its_4_is_passed_on() {
    let controller = with_entries(2500).await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=a", Some(500)).await.unwrap();
    assert_eq!((entries.len(), done.code), (500, ResultCode::SIZE_LIMIT_EXCEEDED));
    assert!(searches(&controller)[0].page().is_none());
}

#[tokio::test]
async fn a_server_that_does_not_announce_paging_is_asked_plainly() {
    let controller =
        ScriptedController::plain(|heard| heard.is_root_dse().then(|| vec![root_dse(heard, &[]), heard.done(ResultCode::SUCCESS)])).await;
    let bench = bench(&plain(&[&controller]));
    bench.search("dc=a", None).await.unwrap();
    assert!(searches(&controller)[0].controls.is_none());
}

#[tokio::test]
async fn paged_searches_never_share_a_connection_at_the_same_time() {
    // As OpenLDAP does: a connection knows the cookie of its last paged search and no other.
    let cookies: Mutex<std::collections::HashMap<usize, Vec<u8>>> = Mutex::default();
    let serial = AtomicUsize::new(0);
    let controller = answering(move |heard| {
        let (_, cookie) = heard.page()?;
        let mut cookies = cookies.lock().unwrap();
        if !cookie.is_empty() && cookies.get(&heard.connection) != Some(&cookie) {
            return Some(vec![heard.done(ResultCode::PROTOCOL_ERROR)]);
        }
        if cookie.first() == Some(&b'b') {
            return Some(vec![heard.entry("cn=last"), heard.page_done(b"")]);
        }
        let page = if cookie.is_empty() { 'a' } else { 'b' };
        let next = format!("{page}{}", serial.fetch_add(1, Ordering::SeqCst)).into_bytes();
        cookies.insert(heard.connection, next.clone());
        Some(vec![heard.entry("cn=more"), heard.page_done(&next)])
    })
    .await;
    let bench = Arc::new(bench(&plain(&[&controller])));
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.search("dc=a", None).await })
        })
        .collect();
    for task in asking {
        let (entries, done) = task.await.unwrap().unwrap();
        assert_eq!((entries.len(), done.code), (3, ResultCode::SUCCESS));
    }
    assert!(controller.connections().1 <= 4);
}

#[tokio::test]
async fn the_clients_controls_travel_and_domain_scope_joins_them() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    let mut controls = Vec::new();
    write_control(&mut controls, oid::MANAGE_DSA_IT, true, None);
    let wait = Duration::from_secs(20);
    bench.run_with(RunAs::Service, search("dc=a", Some(5)), Some(controls.clone().into()), wait).await.unwrap();
    let sent = searches(&controller)[0].controls.clone().unwrap();
    let mut expected = controls;
    write_control(&mut expected, oid::DOMAIN_SCOPE, false, None);
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_compare_is_answered() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    assert_eq!(bench.run(RunAs::Service, compare()).await.unwrap().1.code, ResultCode::COMPARE_TRUE);
}
