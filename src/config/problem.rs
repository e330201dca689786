//! What is wrong with a configuration: where, why, and what to do about it. Never a secret.

use std::cell::RefCell;
use std::fmt::{Display, Formatter};

/// One thing that is wrong, or questionable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1, where one is to blame.
    pub line: Option<usize>,
    /// The key's path, and its value where that may be repeated: `directory.corp.idle = "20m"`. Empty: the file as a whole.
    pub key: String,
    /// What is wrong, and the remedy.
    pub why: String,
}

impl Problem {
    /// A problem of the file as a whole.
    pub fn of_file(why: impl Into<String>) -> Self {
        Self { line: None, key: String::new(), why: why.into() }
    }
}

impl Display for Problem {
    /// One line, whatever was written in the file.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", Line(&self.key))?;
        }
        write!(f, "{}", Line(&self.why))
    }
}

/// A text in which control characters are spelled out.
struct Line<'a>(&'a str);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.0.split_inclusive(char::is_control).try_for_each(|piece| match piece.strip_suffix(char::is_control) {
            Some(text) => {
                f.write_str(text)?;
                piece.chars().next_back().into_iter().try_for_each(|control| write!(f, "{}", control.escape_default()))
            }
            None => f.write_str(piece),
        })
    }
}

/// Where something was written, for problems that show only later.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// The line, from 1.
    pub(super) line: Option<usize>,
    /// The key's path.
    pub(super) path: String,
    /// The value as written; empty where it is long or may be secret.
    pub(super) shown: String,
}

impl Place {
    /// The problem of this place.
    pub(super) fn problem(&self, why: impl Into<String>) -> Problem {
        let key = if self.shown.is_empty() { self.path.clone() } else { format!("{} = {}", self.path, self.shown) };
        Problem { line: self.line, key, why: why.into() }
    }
}

/// Collects what is found on the way, so that everything is reported at once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Notes {
    /// Something must be changed.
    pub(super) fn problem(&self, place: &Place, why: impl Into<String>) {
        self.problems.borrow_mut().push(place.problem(why));
    }

    /// That must be changed.
    pub(super) fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Something works, but hardly as meant.
    pub(super) fn warn(&self, place: &Place, why: impl Into<String>) {
        self.warnings.borrow_mut().push(place.problem(why));
    }

    /// The file as a whole works, but hardly as meant.
    pub(super) fn warn_of_file(&self, warning: Problem) {
        self.warnings.borrow_mut().push(warning);
    }

    /// Problems, then warnings, each in the order of their lines.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |notes: RefCell<Vec<Problem>>| {
            let mut notes = notes.into_inner();
            notes.sort_by_key(|problem| problem.line);
            notes
        };
        (sorted(self.problems), sorted(self.warnings))
    }
}
