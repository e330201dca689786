//! What is kept is found, and nothing else.

use super::*;
use crate::cache::Standing;
use crate::cache::answer::AnswerBuilder;
use crate::ldap::message::ResultCode;
use proptest::prelude::*;
use std::num::NonZeroU64;

const LIFETIMES: Lifetimes =
    Lifetimes { ttl: Duration::from_secs(100), empty_ttl: Duration::from_secs(10), stale: Duration::from_secs(1000), refresh: 0.8 };

fn answer(octets: usize) -> Answer {
    let mut builder = AnswerBuilder::default();
    builder.push_entry(&vec![0x64; octets]);
    builder.finish(ResultCode::SUCCESS, &[0x65, 0])
}

fn store() -> Store {
    Store::new(1 << 20, 2, seconds(2_000))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn is_found(store: &Store, key: &[u8], now: Instant) -> bool {
    matches!(store.look_up(key, None, now), Lookup::Fresh(_))
}

#[test]
fn an_answer_is_found_by_its_whole_key() {
    let (store, now) = (store(), Instant::now());
    let kept = answer(10);
    assert!(store.insert(b"key", &kept, store.generation(Some(0)), &LIFETIMES, 0.0, now));
    let Lookup::Fresh(found) = store.look_up(b"key", None, now) else { panic!("it was just stored") };
    assert!(found.is(&kept));
    assert!(!is_found(&store, b"ke", now) && !is_found(&store, b"keys", now) && !is_found(&store, b"", now));
}

#[test]
fn time_decides_how_good_it_is() {
    let (store, now) = (store(), Instant::now());
    assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
    assert!(matches!(store.look_up(b"key", None, now + seconds(79)), Lookup::Fresh(_)));
    assert!(matches!(store.look_up(b"key", None, now + seconds(80)), Lookup::RefreshDue(_)));
    assert!(matches!(store.look_up(b"key", None, now + seconds(100)), Lookup::Stale(_)));
    assert!(matches!(store.look_up(b"key", None, now + seconds(1100)), Lookup::Miss));
}

#[test]
fn one_asker_every_few_seconds_is_told_to_refresh() {
    let (store, now) = (store(), Instant::now());
    assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
    let due = |after: u64| matches!(store.look_up(b"key", None, now + seconds(after)), Lookup::RefreshDue(_));
    assert_eq!([due(80), due(80), due(84), due(85), due(86), due(95)], [true, false, false, true, false, true]);
}

#[test]
fn an_invalidation_hides_what_was_asked_before() {
    let (store, now) = (store(), Instant::now());
    for directory in [0, 1] {
        assert!(store.insert(&[directory], &answer(10), store.generation(Some(directory.into())), &LIFETIMES, 0.0, now));
    }
    assert!(store.insert(b"both", &answer(10), store.generation(None), &LIFETIMES, 0.0, now));
    store.histories.moves_on(1);
    assert!(is_found(&store, &[0], now));
    assert!(!is_found(&store, &[1], now));
    assert!(!is_found(&store, b"both", now));
    assert!(matches!(store.look_up(&[1], None, now + seconds(200)), Lookup::Miss), "nor as a stale one");
}

#[test]
fn a_fill_that_a_write_overtook_is_not_kept() {
    let (store, now) = (store(), Instant::now());
    let (one, all) = (store.generation(Some(0)), store.generation(None));
    store.histories.moves_on(0);
    assert!(!store.insert(b"key", &answer(10), one, &LIFETIMES, 0.0, now));
    assert!(!store.insert(b"key", &answer(10), all, &LIFETIMES, 0.0, now));
    assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
    assert!(is_found(&store, b"key", now));
}

#[test]
fn an_overtaken_fill_does_not_replace_a_newer_answer() {
    let (store, now) = (store(), Instant::now());
    let before = store.generation(Some(0));
    store.histories.moves_on(0);
    let newer = answer(10);
    assert!(store.insert(b"key", &newer, store.generation(Some(0)), &LIFETIMES, 0.0, now));
    assert!(!store.insert(b"key", &answer(10), before, &LIFETIMES, 0.0, now));
    let Lookup::Fresh(found) = store.look_up(b"key", None, now) else { panic!("the newer one stays") };
    assert!(found.is(&newer));
}

#[test]
fn more_than_a_hundredth_of_the_capacity_is_not_kept() {
    let (store, now) = (Store::new(1_000_000, 1, seconds(2_000)), Instant::now());
    assert!(!store.insert(b"large", &answer(10_000), store.generation(Some(0)), &LIFETIMES, 0.0, now));
    assert!(store.insert(b"small", &answer(9_000), store.generation(Some(0)), &LIFETIMES, 0.0, now));
}

#[test]
fn a_lifetime_of_zero_is_not_kept() {
    let (store, now) = (store(), Instant::now());
    let lifetimes = Lifetimes { ttl: Duration::ZERO, ..LIFETIMES };
    assert!(!store.insert(b"key", &answer(10), store.generation(Some(0)), &lifetimes, 0.0, now));
    let empty = AnswerBuilder::default().finish(ResultCode::SUCCESS, &[0x65, 0]);
    assert!(store.insert(b"empty", &empty, store.generation(Some(0)), &lifetimes, 0.0, now), "the other lifetime is not zero");
}

#[test]
fn the_capacity_counts_octets_and_holds() {
    let (store, now) = (Store::new(200_000, 1, seconds(2_000)), Instant::now());
    for number in 0u32..2_000 {
        store.insert(&number.to_be_bytes(), &answer(1_000), store.generation(Some(0)), &LIFETIMES, 0.0, now);
    }
    let (entries, octets) = store.holds();
    assert!(octets <= 200_000, "{octets} octets");
    assert!((50..200).contains(&entries), "{entries} entries");
}

#[test]
fn under_other_bounds_the_answers_stay_and_their_histories_go_on() {
    let (store, now) = (Arc::new(Store::new(1_000_000, 2, seconds(2_000))), Instant::now());
    for directory in [0u8, 1] {
        assert!(store.insert(&[directory], &answer(10), store.generation(Some(directory.into())), &LIFETIMES, 0.0, now));
    }
    assert!(store.insert(b"large", &answer(9_000), store.generation(Some(0)), &LIFETIMES, 0.0, now));
    assert!(Arc::ptr_eq(&store, &store.succeeding(1_000_000, 3, seconds(2_000))), "the same bounds");
    let write = store.write_begins(1);
    let smaller = store.succeeding(500_000, 3, seconds(2_000));
    assert!(matches!(smaller.look_up(&[0], None, now), Lookup::Fresh(_)));
    assert!(matches!(smaller.look_up(&[1], None, now), Lookup::Fresh(_)));
    assert!(matches!(smaller.look_up(b"large", None, now), Lookup::Miss), "over a hundredth of the capacity");
    drop(write);
    assert!(matches!(smaller.look_up(&[1], None, now), Lookup::Miss), "a write that began before ends after");
    assert!(smaller.insert(b"new", &answer(10), smaller.generation(Some(2)), &LIFETIMES, 0.0, now));
    smaller.histories.moves_on(2);
    assert!(matches!(smaller.look_up(b"new", None, now), Lookup::Miss), "a directory that came later has a history");
}

#[derive(Debug, Clone)]
enum Event {
    /// Of that search, in that spelling.
    Asked(u8, u8),
    /// An answer to that search came.
    Came(u8),
    Written(usize),
    Passed(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0u8..6, 0u8..2).prop_map(|(search, spelling)| Event::Asked(search, spelling)),
        2 => (0u8..6).prop_map(Event::Came),
        1 => (0usize..2).prop_map(Event::Written),
        1 => prop_oneof![0u64..3, 50u64..100, 900u64..1200].prop_map(Event::Passed),
    ];
    prop::collection::vec(event, 0..120)
}

fn standing() -> Standing {
    Standing(NonZeroU64::MIN)
}

#[test]
fn the_second_time_a_spelling_comes_it_is_remembered() {
    let (store, now) = (store(), Instant::now());
    let spelling = Spelling { standing: standing(), op: b"as it came" };
    assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
    let mut known = Vec::new();
    for _ in 0..3 {
        known.push(store.look_up_again(&store.spelled(&spelling), now).is_some());
        assert!(matches!(store.look_up(b"key", Some(&spelling), now), Lookup::Fresh(_)));
    }
    assert_eq!(known, [false, false, true]);
    let other = Spelling { standing: Standing(NonZeroU64::MAX), ..spelling };
    assert!(store.look_up_again(&store.spelled(&other), now).is_none(), "somebody else's");
    assert!(store.look_up_again(&store.spelled(&Spelling { op: b"as it cam", ..spelling }), now).is_none());
}

#[test]
fn once_in_a_minute_in_which_anything_is_stored_a_repeated_search_is_found_by_its_key() {
    let (store, now) = (store(), Instant::now());
    let store_at = |key: &[u8], now| assert!(store.insert(key, &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
    let spelling = Spelling { standing: standing(), op: b"as it came" };
    let is_known = |now| store.look_up_again(&store.spelled(&spelling), now).is_some();
    let find = |now| assert!(matches!(store.look_up(b"key", Some(&spelling), now), Lookup::Fresh(_)));
    store_at(b"key", now);
    find(now);
    find(now);
    let later = now + seconds(61);
    assert!(is_known(now) && is_known(later), "nothing came that could throw it out");
    store_at(b"another", later);
    assert!(!is_known(later));
    find(later);
    store_at(b"a third", later);
    assert!(is_known(later));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_the_first_level_finds_is_what_the_key_finds_fresh(events in events()) {
        // So small that answers are thrown out.
        let (store, mut now) = (Store::new(60_000, 2, seconds(2_000)), Instant::now());
        for event in events {
            match event {
                Event::Asked(search, spelling) => {
                    let spelling = Spelling { standing: standing(), op: &[search, spelling] };
                    let again = store.look_up_again(&store.spelled(&spelling), now).map(|again| again.answer().clone());
                    let by_key = store.look_up(&[search], Some(&spelling), now);
                    if let Some(again) = again {
                        let Lookup::Fresh(answer) = by_key else { panic!("{by_key:?}") };
                        prop_assert!(again.is(&answer));
                    }
                }
                Event::Came(search) => {
                    let generation = store.generation(Some(usize::from(search % 2)));
                    store.insert(&[search], &answer(400), generation, &LIFETIMES, 0.0, now);
                }
                Event::Written(directory) => store.histories.moves_on(directory),
                Event::Passed(time) => now += seconds(time),
            }
        }
    }
}
