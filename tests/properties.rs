//! What holds for every message, however it is cut, renumbered, written again or damaged.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "a test fails by panicking, and uses its part of what is shared"
)]

#[path = "../fuzz/src/checks/mod.rs"]
mod checks;
mod common;
#[path = "properties/corpus.rs"]
mod corpus;

use common::generate;
use common::messages;
use common::requests;
use proptest::collection::vec;
use proptest::prelude::*;
use redial::ldap::ber::{self, Reader};
use redial::ldap::control::parse_controls;
use redial::ldap::envelope::Envelope;
use redial::ldap::filter::Filter;
use redial::ldap::frame::frame_length;
use redial::ldap::message::Request;

/// The elements with a NULL at the end of constructed element number `at`, if there are as many.
fn with_element_too_many(octets: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let mut elements = Reader::new(octets);
    let mut before = Vec::new();
    while !elements.is_empty() {
        let element = elements.element().unwrap();
        if element.tag & ber::CONSTRUCTED != 0 {
            let changed = if *at == 0 {
                Some([element.content, &[0x05, 0x00]].concat())
            } else {
                *at -= 1;
                with_element_too_many(element.content, at)
            };
            if let Some(content) = changed {
                return Some([&before[..], &messages::element(element.tag, &content), elements.rest()].concat());
            }
        }
        before.extend_from_slice(element.raw);
    }
    None
}

proptest! {
    #[test]
    fn a_stream_gives_the_same_frames_however_it_is_cut(
        messages in vec(generate::message(), 1..5),
        pieces in vec(1..40_usize, 1..200),
    ) {
        let stream = messages.concat();
        let mut frames = Vec::new();
        let mut buffered = Vec::new();
        let mut rest = &stream[..];
        for piece in pieces.into_iter().cycle() {
            let (arrived, behind) = rest.split_at(piece.min(rest.len()));
            rest = behind;
            buffered.extend_from_slice(arrived);
            while let Some(length) = frame_length(&buffered, 100_000).unwrap().filter(|length| *length <= buffered.len()) {
                frames.push(buffered.drain(..length).collect::<Vec<_>>());
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(frames, messages);
        prop_assert!(buffered.is_empty());
    }

    #[test]
    fn every_generated_message_is_understood(message in generate::message()) {
        let envelope = Envelope::parse(&message).unwrap();
        prop_assert!(Request::parse(&envelope).is_ok());
        // Our writer is canonical, so a message of ours is itself again.
        prop_assert_eq!(checks::wire::write(envelope, envelope.message_id), message);
    }

    #[test]
    fn an_element_too_many_is_refused_wherever_it_is(message in generate::message()) {
        let envelope = Envelope::parse(&message).unwrap();
        let mut at = 0;
        while let Some(op) = with_element_too_many(envelope.op, &mut at.clone()) {
            let frame = requests::frame(1, &op);
            prop_assert!(Request::parse(&Envelope::parse(&frame).unwrap()).is_err(), "{:02x?}", op);
            at += 1;
        }
        let mut at = 0;
        while let Some(controls) = with_element_too_many(envelope.controls.unwrap_or_default(), &mut at.clone()) {
            prop_assert!(parse_controls(Some(&controls)).is_err());
            at += 1;
        }
    }

    #[test]
    fn a_search_reads_back(search in generate::search()) {
        let frame = requests::frame(1, &search.encode());
        let envelope = Envelope::parse(&frame).unwrap();
        let Ok(Request::Search(view)) = Request::parse(&envelope) else { panic!("refused") };
        prop_assert_eq!(view.to_owned().unwrap(), search);
    }

    #[test]
    fn a_filter_reads_back_from_octets_and_from_text(filter in generate::filter()) {
        checks::wire::both_ways(&filter);
        prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
    }

    #[test]
    fn nothing_breaks_on_a_damaged_message(octets in generate::damaged_message()) {
        checks::OF_OCTETS.iter().for_each(|(_, check)| check(&octets));
    }

    #[test]
    fn nothing_breaks_on_a_cut_message(message in generate::message(), at in any::<prop::sample::Index>()) {
        let cut = &message[..at.index(message.len())];
        prop_assert!(Envelope::parse(cut).is_err());
        checks::OF_OCTETS.iter().for_each(|(_, check)| check(cut));
    }

    #[test]
    fn nothing_breaks_on_any_octets(octets in vec(any::<u8>(), 0..200)) {
        checks::OF_OCTETS.iter().for_each(|(_, check)| check(&octets));
    }

    #[test]
    fn nothing_breaks_on_almost_a_filter(text in "[(&|!)(a=*b:\\\\0c) ]{0,30}") {
        checks::wire::filter_text(text.as_bytes());
    }

    #[test]
    fn nothing_breaks_on_almost_a_name(text in "[a-cA-C=,+#\\\\ 0\"\u{130}\u{e4}]{0,30}") {
        checks::wire::dn(text.as_bytes());
    }

    #[test]
    fn a_name_of_any_values_reads_back(values in vec("\\PC{0,10}", 1..4)) {
        let escaped = |value: &String| value.bytes().map(|octet| format!("\\{octet:02x}")).collect::<String>();
        let text = values.iter().map(|value| format!("CN={}", escaped(value))).collect::<Vec<_>>().join(", ");
        checks::wire::dn(text.as_bytes());
        let read = redial::ldap::dn::Dn::rdn_of(&text).unwrap();
        prop_assert_eq!(&read[0], &("CN".to_owned(), values[0].clone()));
    }
}
