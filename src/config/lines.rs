//! Where the lines of a text begin. Pure.

use memchr::memchr_iter;

/// The lines of a configuration. Every key is placed by them, so they are counted once and not for each.
#[derive(Debug)]
pub(super) struct Lines {
    /// The octets that end one.
    ends: Vec<usize>,
}

impl Lines {
    /// Those of `text`.
    pub(super) fn of(text: &str) -> Self {
        Self { ends: memchr_iter(b'\n', text.as_bytes()).collect() }
    }

    /// The line of an octet, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn a_line_ends_with_its_newline() {
        let lines = Lines::of("ab\n\nc");
        assert_eq!([0, 2, 3, 4, 5].map(|at| lines.line(at)), [1, 1, 2, 3, 3]);
        assert_eq!(Lines::of("").line(0), 1);
    }
}
