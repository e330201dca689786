//! Folding: the form in which two values are compared, as the directories themselves do it.
//!
//! Letters are folded by Unicode simple case, one code point to one (so `ß` stays, `İ` stays, final sigma becomes sigma), accents
//! stay different, runs of blanks become one blank and the edges are trimmed, control characters vanish (RFC 4518 sections 2.2
//! and 2.6.1). Telephone numbers lose blanks and hyphens altogether (section 2.6.3). Octets that are not UTF-8 compare as they are.

/// Appends the folded form of a whole value.
pub(super) fn text(value: &[u8], out: &mut Vec<u8>) {
    prepare(value, lower, Edges::Trimmed, out);
}

/// Appends the folded form of a piece of a substring match: a blank at an edge stays, since the match may begin or end there.
pub(super) fn piece(value: &[u8], out: &mut Vec<u8>) {
    prepare(value, lower, Edges::Kept, out);
}

/// Appends the value with its blanks made one, and its case kept: what caseExactMatch compares.
pub(super) fn exact(value: &[u8], out: &mut Vec<u8>) {
    prepare(value, |letter| letter, Edges::Trimmed, out);
}

/// Appends the folded form of a telephone number, or of a piece of one.
pub(super) fn number(value: &[u8], out: &mut Vec<u8>) {
    let Ok(value) = std::str::from_utf8(value) else {
        out.extend_from_slice(value);
        return;
    };
    for letter in value.chars() {
        if !letter.is_whitespace() && !letter.is_control() && !HYPHENS.contains(&letter) {
            push(out, lower(letter));
        }
    }
}

/// The number that a value is, where it is written as an INTEGER of at most 64 bits.
pub(super) fn integer(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edges {
    Trimmed,
    Kept,
}

fn prepare(value: &[u8], fold: impl Fn(char) -> char, edges: Edges, out: &mut Vec<u8>) {
    let Ok(value) = std::str::from_utf8(value) else {
        out.extend_from_slice(value);
        return;
    };
    out.reserve(value.len());
    let start = out.len();
    let mut blank = false;
    for letter in value.chars() {
        if letter.is_whitespace() {
            blank = true;
        } else if !letter.is_control() {
            if blank && (edges == Edges::Kept || out.len() > start) {
                out.push(b' ');
            }
            blank = false;
            push(out, fold(letter));
        }
    }
    if blank && edges == Edges::Kept {
        out.push(b' ');
    }
}

fn lower(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    if letter == 'ς' {
        return 'σ';
    }
    let mut folded = letter.to_lowercase();
    match (folded.next(), folded.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

fn push(out: &mut Vec<u8>, letter: char) {
    if let Ok(octet) = u8::try_from(letter)
        && octet.is_ascii()
    {
        out.push(octet);
    } else {
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// What RFC 4518 section 2.6.3 counts as a hyphen.
const HYPHENS: [char; 7] = ['-', '\u{58a}', '\u{2010}', '\u{2011}', '\u{2212}', '\u{fe63}', '\u{ff0d}'];

#[cfg(test)]
mod tests {
    fn folded(value: &str) -> String {
        let mut out = Vec::new();
        super::text(value.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn case_is_folded_in_every_script() {
        assert_eq!(folded("MÜLLER Łukasz ИВАНОВ ΑΛΈΞΑΝΔΡΟΣ Ǆ"), "müller łukasz иванов αλέξανδροσ ǆ");
        assert_eq!(folded("Παπαδόπουλος"), folded("ΠΑΠΑΔΌΠΟΥΛΟΣ"));
    }

    #[test]
    fn letters_that_fold_to_two_or_have_marks_stay_what_they_are() {
        assert_eq!(folded("İstanbul"), "İstanbul");
        assert_ne!(folded("Groß"), folded("Gross"));
        assert_ne!(folded("Müller"), folded("Muller"));
        assert_eq!(folded("GROẞ"), "groß");
    }

    #[test]
    fn blanks_become_one_and_the_edges_none() {
        assert_eq!(folded("  Hans \t\u{a0}  Meier "), "hans meier");
        assert_eq!(folded(" \u{3000} "), "");
        assert_eq!(folded("a\u{0}b\u{7f}c"), "abc");
    }

    #[test]
    fn a_piece_keeps_one_blank_at_its_edges() {
        let piece = |value: &str| {
            let mut out = Vec::new();
            super::piece(value.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(piece("  Hans  M "), " hans m ");
        assert_eq!(piece("   "), " ");
        assert_eq!(piece(""), "");
    }

    #[test]
    fn telephone_numbers_lose_blanks_and_hyphens_and_nothing_else() {
        let mut out = Vec::new();
        super::number("+49 (30) 1234\u{2011}56-7".as_bytes(), &mut out);
        assert_eq!(out, b"+49(30)1234567");
    }

    #[test]
    fn octets_that_are_not_text_stay_as_they_are() {
        let mut out = Vec::new();
        super::text(b"A \xff  B", &mut out);
        assert_eq!(out, b"A \xff  B");
    }

    #[test]
    fn integers_are_digits_with_at_most_a_minus() {
        assert_eq!(super::integer(b"-007"), Some(-7));
        for not in ["", "-", "+1", "1 ", "0x1", "9223372036854775808"] {
            assert_eq!(super::integer(not.as_bytes()), None, "{not}");
        }
    }
}
