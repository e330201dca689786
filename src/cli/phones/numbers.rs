//! Numbers as people read them.

/// Nanoseconds, in three digits or so.
pub(super) fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

/// A thousand is `1,000`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate; its fraction only counts while it is small.
pub(super) fn decimal(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative, and far below 2^64")]
    grouped(number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([17_000.0, 1.5e6, 2.25e9].map(time), ["17.0 µs", "1.50 ms", "2.25 s"]);
        assert_eq!([1.25, 12_345.6].map(decimal), ["1.2", "12,346"]);
    }
}
