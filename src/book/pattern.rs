//! A substring match, folded: what a value begins with, what follows in this order, what it ends in (RFC 4511 section 4.5.1.7.2).
//!
//! Pieces do not overlap. A blank at the edge of a piece is matched by a blank or by the edge of the value, so `(cn=hans *)`
//! finds Hans and Hans Meier, but not Hansen (RFC 4518 section 2.6.1). A piece of blanks alone asks for nothing.

use super::attribute::Matching;
use super::fold;
use crate::ldap::filter::Substrings;
use memchr::memmem;

/// The pieces, ready to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What follows a value's leading blank, see [`Pattern::matches`].
    pub(super) initial: Option<Vec<u8>>,
    pub(super) any: Vec<Vec<u8>>,
    /// With the value's trailing blank.
    pub(super) last: Option<Vec<u8>>,
}

impl Pattern {
    /// Folds the pieces as the values of such an attribute are folded. `None`: no value can match.
    pub(super) fn fold(asked: &Substrings, matching: Matching) -> Option<Self> {
        if matching == Matching::Number {
            return Self::fold_number(asked);
        }
        let piece = |value: &[u8]| {
            let mut out = Vec::new();
            fold::piece(value, &mut out);
            out
        };
        let initial = asked.initial.as_deref().map(|value| piece(value).trim_ascii_start().to_vec());
        let any = asked.any.iter().map(|value| piece(value));
        let last = asked.final_.as_deref().map(|value| piece(value).trim_ascii_end().to_vec());
        Some(Self {
            initial: initial.filter(|piece| !piece.is_empty()),
            any: any.filter(|piece| !piece.trim_ascii().is_empty()).collect(),
            last: last.filter(|piece| !piece.is_empty()).map(with_blank),
        })
    }

    /// In a telephone number a piece of which nothing is left matches nothing: that is OpenLDAP's rule.
    fn fold_number(asked: &Substrings) -> Option<Self> {
        let piece = |value: &Vec<u8>| {
            let mut out = Vec::new();
            fold::number(value, &mut out);
            (!out.is_empty()).then_some(out)
        };
        Some(Self {
            initial: asked.initial.as_ref().map(|value| piece(value).ok_or(())).transpose().ok()?,
            any: asked.any.iter().map(piece).collect::<Option<_>>()?,
            last: asked.final_.as_ref().map(|value| piece(value).map(with_blank).ok_or(())).transpose().ok()?,
        })
    }

    /// More than a prefix, so values have to be read.
    pub(super) fn is_scan(&self) -> bool {
        !self.any.is_empty() || self.last.is_some()
    }

    /// One piece, wherever it stands: what is found by a scan needs no second look.
    pub(super) fn is_contains(&self) -> bool {
        self.initial.is_none() && self.last.is_none() && self.any.len() == 1
    }

    /// Does a value match? `window` is the folded value with one blank before and one behind it.
    pub(super) fn matches(&self, window: &[u8]) -> bool {
        let mut at = 0;
        if let Some(initial) = &self.initial {
            if !window.get(1..).is_some_and(|value| value.starts_with(initial)) {
                return false;
            }
            at = after(1, initial);
        }
        for piece in &self.any {
            match window.get(at..).and_then(|rest| memmem::find(rest, piece)) {
                Some(found) => at = after(at + found, piece),
                None => return false,
            }
        }
        self.last.as_ref().is_none_or(|piece| window.get(at..).is_some_and(|rest| rest.ends_with(piece)))
    }
}

/// Where the next piece may begin. A blank between two pieces serves both: `(cn=hans *)` and ` meier` meet in one.
fn after(found: usize, piece: &[u8]) -> usize {
    found + piece.len() - usize::from(piece.ends_with(b" "))
}

fn with_blank(mut piece: Vec<u8>) -> Vec<u8> {
    piece.push(b' ');
    piece
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use crate::book::attribute::Matching;
    use crate::book::fold;
    use crate::ldap::filter::Substrings;

    /// `text` is a substring match as it stands in a filter: `ha*ns*`.
    fn substrings(text: &str) -> Substrings {
        let mut pieces: Vec<_> = text.split('*').map(|piece| piece.as_bytes().to_vec()).collect();
        let final_ = pieces.pop().filter(|piece| !piece.is_empty());
        let initial = Some(pieces.remove(0)).filter(|piece| !piece.is_empty());
        Substrings { attribute: "cn".to_owned(), initial, any: pieces, final_ }
    }

    fn text_matches(pattern: &str, value: &str) -> bool {
        let mut window = b" ".to_vec();
        fold::text(value.as_bytes(), &mut window);
        window.push(b' ');
        Pattern::fold(&substrings(pattern), Matching::Text).unwrap().matches(&window)
    }

    #[test]
    fn pieces_match_in_order_and_do_not_overlap() {
        assert!(text_matches("ab*c*de", "abcde"));
        assert!(text_matches("a*b*a", "aba"));
        assert!(!text_matches("aba*ba", "aba"));
        assert!(!text_matches("*b*a*", "ab"));
        assert!(!text_matches("ab*b", "ab"));
        assert!(text_matches("*ss*ss*", "ssxss"));
        assert!(!text_matches("*ss*ss*", "sss"));
    }

    #[test]
    fn case_does_not_matter() {
        assert!(text_matches("mÜ*ER", "Müller"));
    }

    #[test]
    fn a_blank_at_an_edge_is_a_blank_or_the_values_edge() {
        for value in ["Hans Meier", "hans   meier", "Hans"] {
            assert!(text_matches("hans *", value), "{value}");
        }
        assert!(!text_matches("hans *", "Hansen"));
        assert!(text_matches("* mei*", "Meier"));
        assert!(text_matches("* mei*", "Hans Meier"));
        assert!(!text_matches("* eier*", "Hans Meier"));
        assert!(text_matches("hans * meier", "Hans Meier"));
        assert!(text_matches("*s *  m*", "Hans Meier"));
        assert!(!text_matches("hans* meier ", "HansMeier"));
    }

    #[test]
    fn blanks_alone_ask_for_nothing() {
        assert_eq!(Pattern::fold(&substrings("  * *"), Matching::Text), Some(Pattern { initial: None, any: Vec::new(), last: None }));
        assert!(text_matches("* *", "Hans"));
    }

    #[test]
    fn in_numbers_a_piece_of_blanks_and_hyphens_matches_nothing() {
        assert_eq!(Pattern::fold(&substrings("- *"), Matching::Number), None);
        assert_eq!(Pattern::fold(&substrings("030* - *"), Matching::Number), None);
        let pattern = Pattern::fold(&substrings("+49 30-1*"), Matching::Number).unwrap();
        assert_eq!(pattern.initial.as_deref(), Some(b"+49301".as_slice()));
    }
}
