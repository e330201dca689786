//! Durations and sizes as words: "5m", "256MiB".

use std::time::Duration;

/// What a duration looks like, for messages.
pub(super) const A_DURATION: &str = r#"must be a duration in quotes, such as "30s", "5m", "24h" or "7d""#;
/// What a size looks like, for messages.
pub(super) const A_SIZE: &str = r#"must be a size such as "64KiB" or "256MiB", or a number of bytes"#;

/// Reads a duration: numbers, each with its unit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// Reads a size: a number with a unit, or a number of bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    text.trim().parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("1h 30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        for bad in ["", "5", "m", "-5s", "5 parsecs", "99999999999999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_know_both_kinds_of_units() {
        assert_eq!(size("256MiB"), Some(256 << 20));
        assert_eq!(size("64 KiB"), Some(65_536));
        assert_eq!(size("1MB"), Some(1_000_000));
        assert_eq!(size("4096"), Some(4096));
        for bad in ["", "MiB", "-1KiB", "1 furlong"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
