//! The text of filters (RFC 4515), both ways; [`Filter::parse`] and its `Display` lead here.
//!
//! What is written reads back as the same tree, as long as attribute descriptions hold only the characters that RFC 4512
//! allows in them; others (a peer may send any UTF-8) are escaped, which no reader takes. A rule
//! that is itself called `dn` cannot be told from the flag.

use super::filter::{Assertion, Builder, Complete, Extensible, Filter, FilterTextError, MAX_DEPTH, MAX_NODES, Operator, Substrings};
use std::fmt::{Formatter, Result as FmtResult, Write};

/// Reads a whole text as one filter.
pub(super) fn parse(text: &str) -> Result<Filter, FilterTextError> {
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    parser.skip_blanks();
    let filter = parser.filter()?;
    parser.skip_blanks();
    if parser.at == text.len() { Ok(filter) } else { Err(parser.error("nothing may follow the filter")) }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    /// `( ... )`, with all that is nested in it.
    fn filter(&mut self) -> Result<Filter, FilterTextError> {
        let mut tree = Builder::default();
        let mut nodes = 0;
        loop {
            self.skip_blanks();
            let complete = if tree.is_full() || (tree.depth() > 0 && self.peek() == Some(b')')) {
                let closed = tree.close().ok_or_else(|| self.error("a filter is expected behind !"))?;
                self.take(b')', "a filter ends with )")?;
                closed
            } else {
                self.take(b'(', "a filter begins with (")?;
                self.skip_blanks();
                nodes += 1;
                if nodes > MAX_NODES {
                    return Err(self.error("too many nodes"));
                }
                if let Some(operator) = self.operator() {
                    if tree.depth() == MAX_DEPTH {
                        return Err(self.error("nested too deep"));
                    }
                    tree.open(operator);
                    continue;
                }
                let item = self.item()?;
                self.take(b')', "a filter ends with )")?;
                tree.add(item)
            };
            if let Complete::Yes(filter) = complete {
                return Ok(filter);
            }
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        let operator = match self.peek()? {
            b'&' => Operator::And,
            b'|' => Operator::Or,
            b'!' => Operator::Not,
            _ => return None,
        };
        self.at += 1;
        Some(operator)
    }

    fn item(&mut self) -> Result<Filter, FilterTextError> {
        let attribute = self.description();
        if self.peek() == Some(b':') {
            return self.extensible(attribute);
        }
        let Some(attribute) = attribute else { return Err(self.error("an attribute description is expected")) };
        match self.peek() {
            Some(b'=') => {
                self.at += 1;
                self.equality(attribute)
            }
            Some(b'>') => Ok(Filter::GreaterOrEqual(self.assertion(attribute)?)),
            Some(b'<') => Ok(Filter::LessOrEqual(self.assertion(attribute)?)),
            Some(b'~') => Ok(Filter::Approx(self.assertion(attribute)?)),
            _ => Err(self.error("one of = >= <= ~= := is expected")),
        }
    }

    /// What follows `>`, `<` or `~`.
    fn assertion(&mut self, attribute: String) -> Result<Assertion, FilterTextError> {
        self.at += 1;
        self.take(b'=', "= is expected")?;
        Ok(Assertion { attribute, value: self.value()? })
    }

    /// Equality, presence and substrings: they differ in their asterisks.
    fn equality(&mut self, attribute: String) -> Result<Filter, FilterTextError> {
        let first = self.value()?;
        if self.peek() != Some(b'*') {
            return Ok(Filter::Equality(Assertion { attribute, value: first }));
        }
        let mut any = Vec::new();
        let final_ = loop {
            self.at += 1;
            let piece = self.value()?;
            if self.peek() != Some(b'*') {
                break piece;
            }
            if piece.is_empty() {
                return Err(self.error("something is expected between two asterisks"));
            }
            any.push(piece);
        };
        if first.is_empty() && any.is_empty() && final_.is_empty() {
            return Ok(Filter::Present(attribute));
        }
        let unless_empty = |piece: Vec<u8>| if piece.is_empty() { None } else { Some(piece) };
        Ok(Filter::Substrings(Substrings { attribute, initial: unless_empty(first), any, final_: unless_empty(final_) }))
    }

    /// `[attribute] [":dn"] [":" rule] ":=" value`, from the first colon.
    fn extensible(&mut self, attribute: Option<String>) -> Result<Filter, FilterTextError> {
        let mut dn_attributes = false;
        let mut rule = None;
        loop {
            self.take(b':', ":= is expected")?;
            if self.peek() == Some(b'=') {
                self.at += 1;
                break;
            }
            let Some(word) = self.description() else { return Err(self.error("dn or a matching rule is expected")) };
            if rule.is_some() {
                return Err(self.error("only one matching rule may be named"));
            }
            if word.eq_ignore_ascii_case("dn") && !dn_attributes {
                dn_attributes = true;
            } else {
                rule = Some(word);
            }
        }
        if attribute.is_none() && rule.is_none() {
            return Err(self.error("an attribute or a matching rule is expected"));
        }
        Ok(Filter::Extensible(Extensible { rule, attribute, value: self.value()?, dn_attributes }))
    }

    /// An attribute description or the name of a rule, if one is here.
    fn description(&mut self) -> Option<String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|&&octet| is_description(octet)).count();
        self.at += length;
        let word = rest.get(..length).and_then(|word| std::str::from_utf8(word).ok())?;
        if word.is_empty() { None } else { Some(word.to_owned()) }
    }

    /// A value or a piece of one, unescaped, up to `*` or `)`.
    fn value(&mut self) -> Result<Vec<u8>, FilterTextError> {
        let mut value = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.error("a filter ends with )")),
                Some(b')' | b'*') => return Ok(value),
                Some(b'(') => return Err(self.error("( must be written \\28 in a value")),
                Some(0) => return Err(self.error("a zero octet must be written \\00")),
                Some(b'\\') => {
                    let digits = self.text.get(self.at + 1..self.at + 3);
                    let Some(octet) = digits.and_then(hex_octet) else { return Err(self.error("two hexadecimal digits follow \\")) };
                    value.push(octet);
                    self.at += 3;
                }
                Some(octet) => {
                    value.push(octet);
                    self.at += 1;
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, octet: u8, why: &'static str) -> Result<(), FilterTextError> {
        if self.peek() != Some(octet) {
            return Err(self.error(why));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    const fn error(&self, why: &'static str) -> FilterTextError {
        FilterTextError { at: self.at, why }
    }
}

/// Writes a filter as text.
pub(super) fn write(filter: &Filter, f: &mut Formatter<'_>) -> FmtResult {
    f.write_char('(')?;
    match filter {
        Filter::And(branches) => write_branches('&', branches, f)?,
        Filter::Or(branches) => write_branches('|', branches, f)?,
        Filter::Not(branch) => {
            f.write_char('!')?;
            write(branch, f)?;
        }
        _ => write_item(filter, f)?,
    }
    f.write_char(')')
}

fn write_branches(operator: char, branches: &[Filter], f: &mut Formatter<'_>) -> FmtResult {
    f.write_char(operator)?;
    branches.iter().try_for_each(|branch| write(branch, f))
}

fn write_item(filter: &Filter, f: &mut Formatter<'_>) -> FmtResult {
    match filter {
        Filter::Equality(assertion) => write_assertion(assertion, "=", f),
        Filter::GreaterOrEqual(assertion) => write_assertion(assertion, ">=", f),
        Filter::LessOrEqual(assertion) => write_assertion(assertion, "<=", f),
        Filter::Approx(assertion) => write_assertion(assertion, "~=", f),
        Filter::Present(attribute) => {
            write_description(attribute, f)?;
            f.write_str("=*")
        }
        Filter::Substrings(substrings) => write_substrings(substrings, f),
        Filter::Extensible(extensible) => write_extensible(extensible, f),
        // `write` has taken these.
        Filter::And(_) | Filter::Or(_) | Filter::Not(_) => Ok(()),
    }
}

fn write_assertion(assertion: &Assertion, operator: &str, f: &mut Formatter<'_>) -> FmtResult {
    write_description(&assertion.attribute, f)?;
    f.write_str(operator)?;
    write_value(&assertion.value, f)
}

fn write_substrings(substrings: &Substrings, f: &mut Formatter<'_>) -> FmtResult {
    write_description(&substrings.attribute, f)?;
    f.write_char('=')?;
    write_value(substrings.initial.as_deref().unwrap_or_default(), f)?;
    f.write_char('*')?;
    for piece in &substrings.any {
        write_value(piece, f)?;
        f.write_char('*')?;
    }
    write_value(substrings.final_.as_deref().unwrap_or_default(), f)
}

fn write_extensible(extensible: &Extensible, f: &mut Formatter<'_>) -> FmtResult {
    write_description(extensible.attribute.as_deref().unwrap_or_default(), f)?;
    if extensible.dn_attributes {
        f.write_str(":dn")?;
    }
    if let Some(rule) = &extensible.rule {
        f.write_char(':')?;
        write_description(rule, f)?;
    }
    f.write_str(":=")?;
    write_value(&extensible.value, f)
}

fn write_description(description: &str, f: &mut Formatter<'_>) -> FmtResult {
    description.bytes().try_for_each(|octet| if is_description(octet) { f.write_char(octet.into()) } else { write!(f, "\\{octet:02x}") })
}

fn write_value(value: &[u8], f: &mut Formatter<'_>) -> FmtResult {
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            if matches!(character, '*' | '(' | ')' | '\\') || character.is_control() {
                let mut octets = [0; 4];
                character.encode_utf8(&mut octets).bytes().try_for_each(|octet| write!(f, "\\{octet:02x}"))?;
            } else {
                f.write_char(character)?;
            }
        }
        chunk.invalid().iter().try_for_each(|octet| write!(f, "\\{octet:02x}"))?;
    }
    Ok(())
}

/// Letters, digits, `-`, the dots of an OID and the semicolon before an option; the underscore that some directories allow.
const fn is_description(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b';' | b'_')
}

fn hex_octet(digits: &[u8]) -> Option<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match *digits {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_back(text: &str) {
        assert_eq!(Filter::parse(text).unwrap().to_string(), text);
        let mut octets = Vec::new();
        Filter::parse(text).unwrap().encode(&mut octets);
        assert_eq!(Filter::decode(&octets).unwrap().to_string(), text);
    }

    #[test]
    fn every_kind_of_filter_reads_back() {
        for text in [
            "(|(cn=s*)(sn=s*))",
            "(&)",
            "(|)",
            "(&(cn=*))",
            "(!(userAccountControl:1.2.840.113556.1.4.803:=2))",
            "(&(objectClass=*)(givenName>=A)(givenName<=zz)(sn~=smith))",
            "(cn=a*b*c*d)",
            "(cn=*a*)",
            "(cn=)",
            "(cn:dn:=x)",
            "(:dn:2.5.13.5:=x)",
            "(:caseIgnoreMatch:=x)",
            "(cn:=x)",
            "(cn;lang-de=M\u{fc}ller \\28\\29\\2a\\5c\\00\\ff)",
        ] {
            reads_back(text);
        }
    }

    #[test]
    fn blanks_around_parentheses_are_let_pass_and_kept_in_values() {
        let filter = Filter::parse(" ( & (cn= a ) ( !(sn=b) ) ) ").unwrap();
        assert_eq!(filter.to_string(), "(&(cn= a )(!(sn=b)))");
    }

    #[test]
    fn what_is_no_filter_is_refused_where_it_stops_being_one() {
        for (text, at) in [
            ("", 0),
            ("cn=a", 0),
            ("(cn=a", 5),
            ("(cn=a))", 6),
            ("(cn)", 3),
            ("(=a)", 1),
            ("(cn=a**b)", 6),
            ("(cn=**)", 5),
            ("(cn=a(b)", 5),
            ("(cn=\\2)", 4),
            ("(cn>=a*)", 6),
            ("(!(a=b)(c=d))", 7),
            ("(!)", 2),
            ("(:dn:=a)", 6),
            ("(a:b:c:=d)", 6),
            ("(a=\0)", 3),
        ] {
            assert_eq!(Filter::parse(text).unwrap_err().at, at, "{text:?}");
        }
    }

    #[test]
    fn depth_and_nodes_of_a_text_are_bounded() {
        let nested = |depth: usize| format!("{}(a=b){}", "(!".repeat(depth), ")".repeat(depth));
        assert!(Filter::parse(&nested(MAX_DEPTH)).is_ok());
        assert!(Filter::parse(&nested(MAX_DEPTH + 1)).is_err());
        let broad = |leaves: usize| format!("(|{})", "(a=b)".repeat(leaves));
        assert!(Filter::parse(&broad(MAX_NODES - 1)).is_ok());
        assert!(Filter::parse(&broad(MAX_NODES)).is_err());
    }
}
