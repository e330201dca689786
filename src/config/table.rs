//! A TOML table that is read key by key, with every mistake noted instead of the first.
//!
//! serde stops at the first mistake, and quotes values in its messages. Here each key asked for is remembered; [`Table::finish`] reports those
//! that nobody asked for, with the closest known one. A value is repeated in a message only where the caller could know that it is no
//! secret: never for unknown keys.

use super::lines::Lines;
use super::problem::{Notes, Place, Problem};
use super::words::{A_DURATION, A_SIZE, duration, size};
use std::ops::{Range, RangeBounds};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What all tables of one file share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'d> {
    /// The whole file.
    pub(super) text: &'d str,
    /// Its lines.
    pub(super) lines: &'d Lines,
    /// Where mistakes are noted.
    pub(super) notes: &'d Notes,
}

/// One table, being read.
#[derive(Debug)]
pub(super) struct Table<'d> {
    source: Source<'d>,
    entries: &'d DeTable<'d>,
    /// Where it begins.
    pub(super) place: Place,
    asked: Vec<&'static str>,
    refused: Vec<&'static str>,
    /// What may only follow from a key that is misspelt.
    doubtful: Vec<Problem>,
}

/// One value, not yet read.
#[derive(Debug)]
pub(super) struct Value<'d> {
    source: Source<'d>,
    value: &'d DeValue<'d>,
    /// Where it stands.
    pub(super) place: Place,
}

impl<'d> Source<'d> {
    /// The file as a table.
    pub(super) fn root(self, entries: &'d DeTable<'d>) -> Table<'d> {
        Table::new(self, entries, Place::default())
    }

    /// The line of an octet, from 1.
    pub(super) fn line(self, at: usize) -> usize {
        self.lines.line(at)
    }

    /// The text of a value, where it is short enough to be repeated and no URL with a password in it.
    fn shown(self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default();
        let is_short = text.len() <= LONGEST_SHOWN && !text.contains('\n');
        let is_nested = text.starts_with(['{', '[']);
        let has_credentials = text.contains("://") && text.contains('@');
        if is_short && !is_nested && !has_credentials { text.to_owned() } else { String::new() }
    }
}

impl<'d> Table<'d> {
    const fn new(source: Source<'d>, entries: &'d DeTable<'d>, place: Place) -> Self {
        Self { source, entries, place, asked: Vec::new(), refused: Vec::new(), doubtful: Vec::new() }
    }

    /// The value of a key, if it is there.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'d>> {
        let mut value = self.secret(key)?;
        value.place.shown = self.entries.get(key).map(|value| self.source.shown(value.span())).unwrap_or_default();
        Some(value)
    }

    /// The same for a value that must not be repeated.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.asked.push(key);
        let value = self.entries.get(key)?;
        let place = Place { line: Some(self.source.line(value.span().start)), path: self.path_of(key), shown: String::new() };
        Some(Value { source: self.source, value: value.get_ref(), place })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, key: &'static str, what: &str) -> Option<Value<'d>> {
        let value = self.value(key);
        if value.is_none() {
            self.lacks(key, what);
        }
        value
    }

    /// A table.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Self> {
        self.value(key)?.table()
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        if !value.is_list() {
            value.problem(format!("must be written as [[{}]]", value.place.path));
            return Vec::new();
        }
        let items = value.list().unwrap_or_default();
        if items.is_empty() {
            value.problem(format!("must not be empty; write [[{}]], or leave it out", value.place.path));
        }
        items.into_iter().filter_map(Value::table).collect()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.value(key)?;
        let chosen = value.value.as_str().and_then(|text| choices.iter().find(|(word, _)| *word == text));
        if chosen.is_none() {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            value.problem(format!("must be {}", words.join(" or ")));
        }
        chosen.map(|(_, choice)| *choice)
    }

    /// A duration within `allowed`; `why` says what is allowed, and for what reason.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration, allowed: impl RangeBounds<Duration>, why: &str) -> Duration {
        let Some(value) = self.value(key) else { return default };
        let Some(read) = value.value.as_str().and_then(duration) else {
            value.problem(A_DURATION);
            return default;
        };
        value.within(read, default, allowed, why)
    }

    /// A size within `allowed`.
    pub(super) fn size<T>(&mut self, key: &'static str, default: T, allowed: impl RangeBounds<T>, why: &str) -> T
    where
        T: TryFrom<u64> + PartialOrd,
    {
        let Some(value) = self.value(key) else { return default };
        let Some(read) = value.value.as_str().and_then(size).or_else(|| value.number()) else {
            value.problem(A_SIZE);
            return default;
        };
        value.fitting(read, default, allowed, why)
    }

    /// A whole number within `allowed`.
    pub(super) fn integer<T>(&mut self, key: &'static str, default: T, allowed: impl RangeBounds<T>, why: &str) -> T
    where
        T: TryFrom<u64> + PartialOrd,
    {
        let Some(value) = self.value(key) else { return default };
        let Some(read) = value.number() else {
            value.problem(why);
            return default;
        };
        value.fitting(read, default, allowed, why)
    }

    /// A number with a fraction, within `allowed`.
    pub(super) fn fraction(&mut self, key: &'static str, default: f64, allowed: impl RangeBounds<f64>, why: &str) -> f64 {
        let Some(value) = self.value(key) else { return default };
        let text = match value.value {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) => number.as_str(),
            _ => "",
        };
        let Ok(read) = text.parse() else {
            value.problem(why);
            return default;
        };
        value.within(read, default, allowed, why)
    }

    /// Every entry of a table whose keys are names: `[directory.NAME]`, in the order of the file.
    pub(super) fn named(self) -> Vec<(&'d str, Value<'d>)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let path = |name: &str| self.path_of(name);
        let place = |name: &str, value: &Spanned<DeValue<'_>>| Place {
            line: Some(self.source.line(value.span().start)),
            path: path(name),
            shown: String::new(),
        };
        entries
            .into_iter()
            .map(|(key, value)| {
                let name = key.get_ref().as_ref();
                (name, Value { source: self.source, value: value.get_ref(), place: place(name, value) })
            })
            .collect()
    }

    /// Notes a problem of a key that is known, but has no place here; it is not offered where another key is misspelt.
    pub(super) fn refuse(&mut self, key: &'static str, why: &str) {
        if let Some(value) = self.secret(key) {
            value.problem(why);
        }
        self.asked.pop();
        self.refused.push(key);
    }

    /// The key is there, whatever it holds.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Notes that a key is not there, in [doubt](Self::doubt).
    pub(super) fn lacks(&mut self, key: &str, what: &str) {
        let place = Place { line: self.place.line, path: self.path_of(key), shown: String::new() };
        self.doubt(place.problem(format!("missing: {what}")));
    }

    /// Notes a problem that is none if a key of this table is misspelt: it is told where all of them are known.
    pub(super) fn doubt(&mut self, problem: Problem) {
        self.doubtful.push(problem);
    }

    /// Reports every key that nobody asked for, or else what follows from there being none.
    pub(super) fn finish(self) {
        let is_unknown = |name: &str| !self.asked.contains(&name) && !self.refused.contains(&name);
        let unknown_keys: Vec<_> = self.entries.iter().map(|(key, _)| key).filter(|key| is_unknown(key.get_ref())).collect();
        if unknown_keys.is_empty() {
            self.doubtful.into_iter().for_each(|problem| self.source.notes.note(problem));
            return;
        }
        for key in unknown_keys {
            let name = key.get_ref().as_ref();
            let place = Place { line: Some(self.source.line(key.span().start)), path: self.path_of(name), shown: String::new() };
            self.source.notes.problem(&place, unknown(name, &self.asked));
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.place.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.path) }
    }
}

impl<'d> Value<'d> {
    /// Notes a problem of this value.
    pub(super) fn problem(&self, why: impl Into<String>) {
        self.source.notes.problem(&self.place, why);
    }

    /// Notes a problem of a part of this value.
    pub(super) fn problem_at(&self, place: &Place, why: impl Into<String>) {
        self.source.notes.problem(place, why);
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&'d str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.problem("must be a text in quotes");
        }
        text
    }

    /// Yes or no.
    pub(super) fn boolean(&self) -> Option<bool> {
        let boolean = self.value.as_bool();
        if boolean.is_none() {
            self.problem("must be true or false, without quotes");
        }
        boolean
    }

    /// A list.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            self.problem("must be a list in [brackets]");
            return None;
        };
        let item = |(index, value): (usize, &'d Spanned<DeValue<'d>>)| Self {
            source: self.source,
            value: value.get_ref(),
            place: Place {
                line: Some(self.source.line(value.span().start)),
                path: format!("{}[{index}]", self.place.path),
                shown: self.source.shown(value.span()),
            },
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// It is a list; nothing is noted.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// It is a table; nothing is noted.
    pub(super) const fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// A list of texts, each with where it stands.
    pub(super) fn texts(&self) -> Option<Vec<(&'d str, Place)>> {
        Some(self.list()?.into_iter().filter_map(|value| Some((value.text()?, value.place))).collect())
    }

    /// A text, where it is one; nothing is noted.
    pub(super) fn as_text(&self) -> Option<&'d str> {
        self.value.as_str()
    }

    /// A table.
    pub(super) fn table(self) -> Option<Table<'d>> {
        let Some(entries) = self.value.as_table() else {
            self.problem("must be a table");
            return None;
        };
        Some(Table::new(self.source, entries, Place { shown: String::new(), ..self.place }))
    }

    fn number(&self) -> Option<u64> {
        let number = self.value.as_integer()?;
        u64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    fn fitting<T: TryFrom<u64> + PartialOrd>(&self, read: u64, default: T, allowed: impl RangeBounds<T>, why: &str) -> T {
        let Ok(read) = T::try_from(read) else {
            self.problem(why);
            return default;
        };
        self.within(read, default, allowed, why)
    }

    fn within<T: PartialOrd>(&self, read: T, default: T, allowed: impl RangeBounds<T>, why: &str) -> T {
        if allowed.contains(&read) {
            return read;
        }
        self.problem(why);
        default
    }
}

/// Values longer than this are not repeated in a message.
const LONGEST_SHOWN: usize = 80;

/// The message for a key that nobody asked for.
fn unknown(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|key| (distance(name, key), *key)).filter(|(distance, key)| is_near(name, key, *distance));
    match near.min() {
        Some((_, key)) => format!("unknown key; did you mean {key:?}?"),
        None => {
            let mut known = known.to_vec();
            known.sort_unstable();
            known.dedup();
            format!("unknown key; known here: {}", known.join(", "))
        }
    }
}

/// May a slip of the keyboard have made the one of the other? Of a short word two letters are half, and then the first must be right.
fn is_near(name: &str, key: &str, distance: usize) -> bool {
    distance <= 2 && distance < key.len() && (3 * distance <= key.len() || key.get(..1) == name.get(..1))
}

/// How many letters must be added, taken away or replaced to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, left) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        if let Some(first) = row.first_mut() {
            *first = last;
        }
        for (cell, right) in row.iter_mut().skip(1).zip(to.chars()) {
            let replaced = diagonal + usize::from(left != right);
            diagonal = *cell;
            *cell = replaced.min(*cell + 1).min(last + 1);
            last = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_changed_letters() {
        assert_eq!(distance("idel", "idle"), 2);
        assert_eq!(distance("base", "bases"), 1);
        assert_eq!(distance("", "ttl"), 3);
        assert_eq!(distance("ttl", "ttl"), 0);
    }

    #[test]
    fn a_misspelt_key_is_answered_with_the_closest_one() {
        assert_eq!(unknown("adress", &["address", "tls"]), r#"unknown key; did you mean "address"?"#);
        assert_eq!(unknown("idel", &["ldif", "idle"]), r#"unknown key; did you mean "idle"?"#);
        assert_eq!(unknown("colour", &["tls", "address"]), "unknown key; known here: address, tls");
        assert_eq!(unknown("file", &["idle", "ldif"]), "unknown key; known here: idle, ldif");
    }
}
