//! What the decoder does with octets that lead others astray, and whether it agrees with an independent one (rasn).
//!
//! rasn takes forms that LDAP forbids, and refuses some that occur. Each has a test that says what happens here.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    reason = "a test fails by panicking, and uses its part of what is shared"
)]

mod common;

use common::agreement;
use common::generate;
use common::messages::{self, element, search};
use common::requests::frame;
use proptest::prelude::*;
use redial::ldap::ber::{self, BerError, tag};
use redial::ldap::control::parse_controls;
use redial::ldap::envelope::{Envelope, op};
use redial::ldap::filter::{Filter, FilterError, MAX_DEPTH, MAX_NODES};
use redial::ldap::frame::{FrameError, frame_length};
use redial::ldap::message::{Authentication, LdapResult, Request, RequestError, ResultCode, WriteKind};

/// An Unbind under messageID 1: the smallest message there is.
const UNBIND: [u8; 7] = [0x30, 0x05, 0x02, 0x01, 0x01, 0x42, 0x00];

fn parse(frame: &[u8]) -> Result<Envelope<'_>, BerError> {
    Envelope::parse(frame)
}

fn request(frame: &[u8]) -> Result<Request<'_>, RequestError> {
    Request::parse(&parse(frame)?)
}

fn refused(frame: &[u8]) -> RequestError {
    request(frame).unwrap_err()
}

fn malformed(frame: &[u8], why: BerError) {
    assert_eq!(refused(frame), RequestError::Malformed(why), "{frame:02x?}");
}

fn rasn_takes(frame: &[u8]) -> bool {
    agreement::decode(frame).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_message_means_the_same_to_both(message in generate::message()) {
        prop_assert!(agreement::check(&message));
    }

    #[test]
    fn what_both_take_of_a_damaged_message_means_the_same(octets in generate::damaged_message()) {
        agreement::check(&octets);
    }
}

mod lengths {
    use super::*;

    #[test]
    fn an_indefinite_length_is_refused_at_every_level() {
        let outer = [0x30, 0x80, 0x02, 0x01, 0x01, 0x42, 0x00, 0x00, 0x00];
        assert!(rasn_takes(&outer));
        assert_eq!(frame_length(&outer, 1000), Err(FrameError::BadLength));
        malformed(&outer, BerError::IndefiniteLength);
        malformed(&frame(1, &[0x6e, 0x80, 0x00, 0x00]), BerError::IndefiniteLength);
    }

    #[test]
    fn more_than_four_length_octets_are_refused_whatever_their_value() {
        let content = &UNBIND[2..];
        for count in 5..=126_u8 {
            let mut padded = vec![0x30, 0x80 | count];
            padded.extend(std::iter::repeat_n(0, usize::from(count) - 1));
            padded.push(5);
            padded.extend_from_slice(content);
            assert_eq!(frame_length(&padded, 1000), Err(FrameError::BadLength));
            malformed(&padded, BerError::LengthTooLong);
        }
        let ten = [&[0x30, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..], content].concat();
        assert!(rasn_takes(&ten));
    }

    #[test]
    fn a_length_that_would_wrap_is_refused() {
        let wrapping = [&[0x30, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 5][..], &UNBIND[2..]].concat();
        malformed(&wrapping, BerError::LengthTooLong);
        malformed(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02], BerError::Truncated);
    }

    #[test]
    fn a_longer_form_than_needed_is_taken_up_to_four_octets() {
        for prefix in [&[0x81][..], &[0x82, 0], &[0x83, 0, 0], &[0x84, 0, 0, 0]] {
            let padded = [&[0x30], prefix, &[5], &UNBIND[2..]].concat();
            assert_eq!(frame_length(&padded, 1000), Ok(Some(padded.len())));
            assert!(matches!(request(&padded), Ok(Request::Unbind)));
        }
    }

    #[test]
    fn an_element_longer_than_the_one_around_it_is_refused() {
        for inner in [&[0x04, 0x03, b'a'][..], &[0x30, 0x02, 0x04, 0x01], &[0x30, 0x01, 0x04], &[0x04]] {
            malformed(&frame(1, &element(op::COMPARE_REQUEST, inner)), BerError::Truncated);
            // The contents of a search are walked once, later, with the same outcome for the client: the session ends.
            assert_eq!(refused(&frame(1, &element(op::SEARCH_REQUEST, inner))), RequestError::NotARequest(op::SEARCH_REQUEST));
        }
    }

    #[test]
    fn octets_behind_the_message_are_refused() {
        malformed(&[&UNBIND[..], &[0]].concat(), BerError::TrailingOctets);
        malformed(&[&UNBIND[..], &UNBIND[..]].concat(), BerError::TrailingOctets);
    }

    #[test]
    fn a_tag_of_several_octets_is_refused() {
        malformed(&frame(1, &[0x7f, 0x22, 0x00]), BerError::HighTag);
    }

    #[test]
    fn raw_nesting_ends_at_the_bound() {
        let nested = |depth: usize| {
            let mut octets = Vec::new();
            for _ in 0..depth {
                octets = element(tag::SEQUENCE, &octets);
            }
            octets
        };
        assert_eq!(ber::check_tree(&nested(ber::MAX_DEPTH)), Ok(()));
        assert_eq!(ber::check_tree(&nested(ber::MAX_DEPTH + 1)), Err(BerError::TooDeep));
    }
}

mod forms {
    use super::*;

    #[test]
    fn a_constructed_octet_string_is_refused() {
        let constructed = element(0x24, &element(tag::OCTET_STRING, b"dc=x"));
        let frame = messages::with_field(0, &constructed);
        assert!(rasn_takes(&frame));
        malformed(&frame, BerError::UnexpectedTag { expected: tag::OCTET_STRING, found: 0x24 });
    }

    #[test]
    fn a_constructed_integer_enumeration_or_boolean_is_refused() {
        for (field, expected, found) in [
            (1, tag::ENUMERATED, 0x2a),
            (2, tag::ENUMERATED, 0x2a),
            (3, tag::INTEGER, 0x22),
            (4, tag::INTEGER, 0x22),
            (5, tag::BOOLEAN, 0x21),
        ] {
            // The contents are an element, or else the tree itself would not hold.
            malformed(&messages::with_field(field, &element(found, &[0x05, 0x00])), BerError::UnexpectedTag { expected, found });
        }
        malformed(&[0x30, 0x06, 0x22, 0x02, 0x05, 0x00, 0x42, 0x00], BerError::UnexpectedTag { expected: tag::INTEGER, found: 0x22 });
    }

    #[test]
    fn an_integer_of_more_than_four_octets_or_of_none_is_refused() {
        for octets in [&[][..], &[0; 5], &[0, 0, 0, 0, 0, 0, 0, 0, 1]] {
            malformed(&messages::with_field(3, &element(tag::INTEGER, octets)), BerError::IntegerRange);
            malformed(&element(tag::SEQUENCE, &[&element(tag::INTEGER, octets)[..], &[0x42, 0]].concat()), BerError::IntegerRange);
        }
        let nine = messages::with_field(3, &element(tag::INTEGER, &[0, 0, 0, 0, 0, 0, 0, 0, 1]));
        assert!(rasn_takes(&nine));
        assert!(request(&messages::with_field(3, &element(tag::INTEGER, &[0, 0, 0, 1]))).is_ok());
    }

    #[test]
    fn a_negative_limit_or_one_beyond_the_largest_integer_is_refused() {
        malformed(&messages::with_field(3, &element(tag::INTEGER, &[0xff])), BerError::IntegerRange);
        malformed(&messages::with_field(3, &element(tag::INTEGER, &[0x80, 0, 0, 0])), BerError::IntegerRange);
        malformed(&messages::with_field(4, &element(tag::INTEGER, &[0, 0x80, 0, 0, 0])), BerError::IntegerRange);
        assert!(request(&messages::with_field(4, &element(tag::INTEGER, &[0x7f, 0xff, 0xff, 0xff]))).is_ok());
    }

    #[test]
    fn message_ids_reach_from_zero_to_the_largest_integer() {
        let with_id = |octets: &[u8]| element(tag::SEQUENCE, &[&element(tag::INTEGER, octets)[..], &[0x42, 0]].concat());
        assert_eq!(parse(&with_id(&[0])).unwrap().message_id.number(), 0, "whoever receives it judges it");
        assert_eq!(parse(&with_id(&[0x7f, 0xff, 0xff, 0xff])).unwrap().message_id.number(), 0x7fff_ffff);
        for octets in [&[0, 0x80, 0, 0, 0][..], &[0, 0xff, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0xff]] {
            malformed(&with_id(octets), BerError::IntegerRange);
        }
        assert!(rasn_takes(&with_id(&[0, 0x80, 0, 0, 0])));
    }

    #[test]
    fn a_boolean_is_one_octet() {
        malformed(&messages::with_field(5, &element(tag::BOOLEAN, &[])), BerError::BooleanLength);
        malformed(&messages::with_field(5, &element(tag::BOOLEAN, &[0, 0])), BerError::BooleanLength);
        let frame = messages::with_field(5, &element(tag::BOOLEAN, &[1]));
        let Ok(Request::Search(search)) = request(&frame) else { panic!("TRUE as 01 was refused") };
        assert!(search.types_only, "BER writers that say TRUE with 1 are understood");
    }

    #[test]
    fn scope_and_aliases_out_of_range_are_refused() {
        malformed(&messages::with_field(1, &element(tag::ENUMERATED, &[3])), BerError::IntegerRange);
        malformed(&messages::with_field(2, &element(tag::ENUMERATED, &[4])), BerError::IntegerRange);
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_in_requests() {
        malformed(&messages::with_field(0, &element(tag::OCTET_STRING, b"cn=M\xfcller")), BerError::NotUtf8);
        malformed(&messages::with_field(7, &element(tag::SEQUENCE, &element(tag::OCTET_STRING, b"\xff"))), BerError::NotUtf8);
    }

    #[test]
    fn an_element_too_many_in_a_request_is_refused() {
        let mut content = messages::search_fields(&messages::present("cn"), &["cn"]).concat();
        content.extend_from_slice(&[0x05, 0x00]);
        malformed(&frame(1, &element(op::SEARCH_REQUEST, &content)), BerError::TrailingOctets);
    }
}

mod requests {
    use super::*;

    #[test]
    fn unbind_is_primitive_and_empty() {
        assert!(matches!(request(&UNBIND), Ok(Request::Unbind)));
        assert!(rasn_takes(&[0x30, 0x05, 0x02, 0x01, 0x01, 0x62, 0x00]));
        assert_eq!(refused(&[0x30, 0x05, 0x02, 0x01, 0x01, 0x62, 0x00]), RequestError::NotARequest(0x62));
        malformed(&[0x30, 0x06, 0x02, 0x01, 0x01, 0x42, 0x01, 0x00], BerError::TrailingOctets);
    }

    #[test]
    fn a_response_is_no_request() {
        for tag in [op::BIND_RESPONSE, op::SEARCH_RESULT_ENTRY, op::SEARCH_RESULT_DONE, op::EXTENDED_RESPONSE, op::INTERMEDIATE_RESPONSE] {
            assert_eq!(refused(&frame(1, &element(tag, &[]))), RequestError::NotARequest(tag));
        }
    }

    #[test]
    fn a_version_is_one_to_127() {
        let bind = |version: &[u8]| frame(1, &element(op::BIND_REQUEST, &[&element(tag::INTEGER, version)[..], &[4, 0, 0x80, 0]].concat()));
        for version in [1, 2, 3, 4, 127] {
            assert!(matches!(request(&bind(&[version])), Ok(Request::Bind(bind)) if bind.version == version));
        }
        for version in [&[0][..], &[0, 0x80], &[1, 0], &[0xff]] {
            malformed(&bind(version), BerError::IntegerRange);
        }
    }

    #[test]
    fn an_unknown_way_to_authenticate_is_kept_for_its_answer() {
        let bind = |choice: &[u8]| frame(1, &element(op::BIND_REQUEST, &[&[2, 1, 3, 4, 0][..], choice].concat()));
        for choice in [0x89, 0x8a, 0x8b, 0xa5] {
            let frame = bind(&[choice, 0]);
            assert!(!rasn_takes(&frame));
            let Ok(Request::Bind(bind)) = request(&frame) else { panic!("{choice:#04x} was refused") };
            assert!(matches!(bind.authentication, Authentication::Unknown(tag) if tag == choice));
        }
        for choice in [0x83, 0xa0, 0x04, 0x30] {
            malformed(&bind(&[choice, 0]), BerError::UnexpectedTag { expected: 0x80, found: choice });
        }
    }

    #[test]
    fn an_empty_sasl_mechanism_is_let_pass_for_its_answer() {
        let frame = frame(1, &element(op::BIND_REQUEST, &[2, 1, 3, 4, 0, 0xa3, 2, 4, 0]));
        let Ok(Request::Bind(bind)) = request(&frame) else { panic!() };
        assert!(matches!(bind.authentication, Authentication::Sasl { mechanism: "", credentials: None }));
    }

    #[test]
    fn passwords_are_not_printed() {
        let secret = element(op::BIND_REQUEST, &[&[2, 1, 3, 4, 0][..], &element(0x80, b"hunter2")].concat());
        assert!(!format!("{:?}", request(&frame(1, &secret)).unwrap()).contains("hunter2"));
        assert!(!format!("{:?}", request(&frame(1, &secret)).unwrap()).contains("104, 117"));
        let sasl = element(0xa3, &[element(4, b"PLAIN"), element(4, b"hunter2")].concat());
        let sasl = element(op::BIND_REQUEST, &[&[2, 1, 3, 4, 0][..], &sasl].concat());
        assert!(!format!("{:?}", request(&frame(1, &sasl)).unwrap()).contains("104, 117"));
    }

    #[test]
    fn a_modify_knows_four_operations() {
        let modify = |operation: u8, values: &[&[u8]]| {
            let values: Vec<u8> = values.iter().flat_map(|value| element(tag::OCTET_STRING, value)).collect();
            let attribute = element(tag::SEQUENCE, &[element(tag::OCTET_STRING, b"uidNumber"), element(tag::SET, &values)].concat());
            let change = element(tag::SEQUENCE, &[element(tag::ENUMERATED, &[operation]), attribute].concat());
            frame(1, &element(op::MODIFY_REQUEST, &[element(tag::OCTET_STRING, b"cn=a"), element(tag::SEQUENCE, &change)].concat()))
        };
        for operation in 0..=3 {
            let octets = modify(operation, &[b"1"]);
            assert!(matches!(request(&octets), Ok(Request::Write(write)) if write.kind == WriteKind::Modify && write.target == "cn=a"));
        }
        assert!(!rasn_takes(&modify(3, &[b"1"])), "increment (RFC 4525)");
        malformed(&modify(4, &[b"1"]), BerError::IntegerRange);
        assert!(request(&modify(1, &[])).is_ok() && request(&modify(2, &[])).is_ok());
        malformed(&modify(0, &[]), BerError::Truncated);
    }

    #[test]
    fn an_attribute_to_be_added_has_a_value() {
        let add = |values: &[u8]| {
            let attribute = element(tag::SEQUENCE, &[element(tag::OCTET_STRING, b"cn"), element(tag::SET, values)].concat());
            frame(1, &element(op::ADD_REQUEST, &[element(tag::OCTET_STRING, b"cn=a"), element(tag::SEQUENCE, &attribute)].concat()))
        };
        assert!(request(&add(&[4, 1, b'a'])).is_ok());
        malformed(&add(&[]), BerError::Truncated);
        malformed(&add(&[2, 1, 1]), BerError::UnexpectedTag { expected: tag::OCTET_STRING, found: tag::INTEGER });
    }
}

mod filters {
    use super::*;

    fn bad_filter(filter: &[u8], why: FilterError) {
        assert_eq!(refused(&search(filter, &[])), RequestError::Filter(why), "{filter:02x?}");
        assert_eq!(Filter::decode(filter), Err(why));
    }

    #[test]
    fn an_empty_and_or_or_is_true_or_false() {
        assert_eq!(Filter::decode(&[0xa0, 0]), Ok(Filter::And(vec![])));
        assert_eq!(Filter::decode(&[0xa1, 0]), Ok(Filter::Or(vec![])));
        assert!(request(&search(&[0xa0, 0], &[])).is_ok());
    }

    #[test]
    fn substrings_have_a_piece_and_an_order() {
        let substrings = |pieces: &[(u8, &[u8])]| {
            let pieces: Vec<u8> = pieces.iter().flat_map(|(tag, piece)| element(*tag, piece)).collect();
            element(0xa4, &[element(tag::OCTET_STRING, b"cn"), element(tag::SEQUENCE, &pieces)].concat())
        };
        assert!(request(&search(&substrings(&[(0x80, b"a"), (0x81, b"b"), (0x81, b"c"), (0x82, b"d")]), &[])).is_ok());
        let bad: [&[(u8, &[u8])]; 7] = [
            &[],
            &[(0x82, b"a"), (0x80, b"b")],
            &[(0x81, b"a"), (0x80, b"b")],
            &[(0x82, b"a"), (0x82, b"b")],
            &[(0x80, b"a"), (0x80, b"b")],
            &[(0x80, b"")],
            &[(0x83, b"a")],
        ];
        for pieces in bad {
            bad_filter(&substrings(pieces), FilterError::BadItem);
        }
        assert!(rasn_takes(&search(&substrings(&[]), &[])));
        assert!(rasn_takes(&search(&substrings(&[(0x82, b"a"), (0x80, b"b")]), &[])));
    }

    #[test]
    fn a_not_has_one_branch() {
        let leaf = messages::present("cn");
        assert!(request(&search(&element(0xa2, &leaf), &[])).is_ok());
        bad_filter(&element(0xa2, &[]), FilterError::Malformed(BerError::Truncated));
        bad_filter(&element(0xa2, &[leaf.clone(), leaf].concat()), FilterError::Malformed(BerError::TrailingOctets));
    }

    #[test]
    fn an_extensible_match_names_a_rule_or_an_attribute() {
        bad_filter(&element(0xa9, &[0x83, 1, b'x']), FilterError::BadItem);
        assert!(Filter::decode(&element(0xa9, &[0x82, 1, b'a', 0x83, 1, b'x', 0x84, 1, 0xff])).is_ok());
    }

    #[test]
    fn an_unknown_choice_is_refused() {
        bad_filter(&element(0xaa, &[]), FilterError::UnknownChoice(0xaa));
        bad_filter(&[0x05, 0x00], FilterError::UnknownChoice(0x05));
    }

    #[test]
    fn nodes_are_counted() {
        let broad = |leaves: usize| element(0xa1, &messages::present("a").repeat(leaves));
        assert!(request(&search(&broad(MAX_NODES - 1), &[])).is_ok());
        let refusal = refused(&search(&broad(MAX_NODES), &[]));
        assert_eq!(refusal, RequestError::Filter(FilterError::TooManyNodes));
        assert_eq!(refusal.result_code(), ResultCode::ADMIN_LIMIT_EXCEEDED);
    }

    #[test]
    fn attributes_are_counted() {
        let leaf = messages::present("a");
        assert!(request(&search(&leaf, &["cn"; 256])).is_ok());
        assert_eq!(refused(&search(&leaf, &["cn"; 257])), RequestError::TooManyAttributes);
    }

    /// All three kinds of nesting.
    fn nested(depth: usize, tag: u8) -> Vec<u8> {
        // From the inside out into a reversed buffer, so that this takes linear time.
        let mut reversed: Vec<u8> = messages::present("cn").into_iter().rev().collect();
        for _ in 0..depth {
            let mut header = Vec::new();
            ber::write_header(&mut header, tag, reversed.len());
            reversed.extend(header.iter().rev());
        }
        reversed.reverse();
        reversed
    }

    #[test]
    fn a_deep_filter_is_refused_on_a_small_stack() {
        messages::on_a_small_stack(|| {
            for tag in [0xa0, 0xa1, 0xa2] {
                for depth in [MAX_DEPTH + 1, 100, 10_000, 100_000] {
                    let filter = nested(depth, tag);
                    assert_eq!(Filter::check(&filter), Err(FilterError::TooDeep));
                    assert_eq!(Filter::decode(&filter), Err(FilterError::TooDeep));
                    assert!(request(&search(&filter, &[])).is_err());
                }
                let text = |depth: usize| format!("{}(cn=*){}", "(!".repeat(depth), ")".repeat(depth));
                assert!(Filter::parse(&text(100_000)).is_err());
            }
        });
    }

    #[test]
    fn the_deepest_filter_allowed_is_handled_on_a_small_stack() {
        messages::on_a_small_stack(|| {
            for tag in [0xa0, 0xa1, 0xa2] {
                let octets = nested(MAX_DEPTH, tag);
                let filter = Filter::decode(&octets).unwrap();
                let text = filter.to_string();
                assert!(Filter::parse(&text).unwrap() == filter);
                let mut encoded = Vec::new();
                filter.encode(&mut encoded);
                assert_eq!(encoded, octets);
                assert!(format!("{filter:?}").len() > MAX_DEPTH);
            }
        });
    }

    #[test]
    fn equal_filters_are_compared_in_linear_time() {
        let twice = |inner: &[u8]| element(0xa0, inner);
        let mut filter = messages::present("a");
        for _ in 0..60 {
            filter = twice(&filter);
        }
        let filter = Filter::decode(&filter).unwrap();
        assert!(filter == filter.clone());
    }
}

mod envelopes {
    use super::*;

    #[test]
    fn an_unknown_element_at_the_end_of_the_message_is_ignored() {
        let unknown = [0x30, 0x09, 0x02, 0x01, 0x01, 0x42, 0x00, 0x8a, 0x02, b'h', b'i'];
        assert!(!rasn_takes(&unknown));
        let envelope = parse(&unknown).unwrap();
        assert_eq!((envelope.op, envelope.controls), (&[0x42, 0x00][..], None));
    }

    #[test]
    fn controls_cannot_hide_behind_an_unknown_element() {
        let hidden = [&[0x30, 0x09, 0x02, 0x01, 0x01, 0x42, 0x00][..], &[0x8a, 0x00, 0xa0, 0x00]].concat();
        malformed(&hidden, BerError::TrailingOctets);
        let twice = [&[0x30, 0x09, 0x02, 0x01, 0x01, 0x42, 0x00][..], &[0xa0, 0x00, 0xa0, 0x00]].concat();
        malformed(&twice, BerError::TrailingOctets);
    }

    #[test]
    fn a_broken_element_at_the_end_does_not_vanish() {
        let control = element(tag::SEQUENCE, &element(tag::OCTET_STRING, b"1.2.3"));
        let whole = element(0xa0, &[control.clone(), control.clone()].concat());
        let frame = |controls: &[u8]| element(tag::SEQUENCE, &[&UNBIND[2..], controls].concat());
        assert_eq!(parse_controls(parse(&frame(&whole)).unwrap().controls).unwrap().len(), 2);

        let cut = element(0xa0, &[&control[..], &control[..3]].concat());
        malformed(&frame(&cut), BerError::Truncated);
        malformed(&frame(&[0xa0, 0x02, 0x30]), BerError::Truncated);
        let wrong = element(0xa0, &[&control[..], &[0x04, 0x00]].concat());
        assert!(parse_controls(parse(&frame(&wrong)).unwrap().controls).is_err());

        let good = messages::present("cn");
        let bad_last = element(0xa0, &[&good[..], &[0x87, 0x01, 0xff]].concat());
        assert!(request(&search(&bad_last, &[])).is_err());
        let names = [element(tag::OCTET_STRING, b"cn"), element(tag::OCTET_STRING, b"\xff")].concat();
        malformed(&messages::with_field(7, &element(tag::SEQUENCE, &names)), BerError::NotUtf8);
    }

    #[test]
    fn no_more_controls_than_the_bound() {
        let control = element(tag::SEQUENCE, &element(tag::OCTET_STRING, b"1.2.3"));
        assert_eq!(parse_controls(Some(&control.repeat(16))).unwrap().len(), 16);
        assert_eq!(parse_controls(Some(&control.repeat(17))), Err(BerError::TooMany));
    }
}

mod results {
    use super::*;

    fn result(code: &[u8], diagnostic: &[u8]) -> Vec<u8> {
        let fields = [element(tag::ENUMERATED, code), element(tag::OCTET_STRING, b""), element(tag::OCTET_STRING, diagnostic)];
        frame(1, &element(op::SEARCH_RESULT_DONE, &fields.concat()))
    }

    #[test]
    fn a_result_code_that_nobody_knows_is_kept() {
        for (octets, code) in [(&[9][..], 9), (&[118], 118), (&[0x10, 0x00], 4096), (&[0x7f, 0xff, 0xff, 0xff], 0x7fff_ffff)] {
            let frame = result(octets, b"");
            assert!(!rasn_takes(&frame));
            assert_eq!(LdapResult::parse(parse(&frame).unwrap().op_content).unwrap().code, ResultCode(code));
        }
        assert_eq!(ResultCode(9).name(), "other");
    }

    #[test]
    fn a_diagnostic_message_in_latin_1_is_kept() {
        let frame = result(&[49], b"Zugriff f\xfcr M\xfcller verweigert");
        assert!(!rasn_takes(&frame));
        assert_eq!(LdapResult::parse(parse(&frame).unwrap().op_content).unwrap().diagnostic, b"Zugriff f\xfcr M\xfcller verweigert");
    }

    #[test]
    fn a_result_that_is_cut_short_is_refused() {
        assert_eq!(LdapResult::parse(&[0x0a, 1, 0, 4, 0]), Err(BerError::Truncated));
        assert_eq!(LdapResult::parse(&[]), Err(BerError::Truncated));
    }
}
