//! Numbers and times as people say them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A length of time, rounded up.
pub(super) fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds > 2 * DAY => format!("{} days", seconds.div_ceil(DAY)),
        seconds if seconds > 2 * HOUR => format!("{} hours", seconds.div_ceil(HOUR)),
        seconds if seconds > MINUTE => format!("{} minutes", seconds.div_ceil(MINUTE)),
        _ => "1 minute".to_owned(),
    }
}

/// How long ago a time of the wall clock was.
pub(super) fn ago(at_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} ago", rough(now.saturating_sub(Duration::from_millis(at_ms))))
}

/// Bytes in the unit that suits them.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} bytes"),
    }
}

/// One thing or many.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// A text of others without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(16 << 20), "16.0 MiB");
        assert_eq!(rough(Duration::from_secs(3 * DAY)), "3 days");
        assert_eq!(rough(Duration::from_secs(5)), "1 minute");
        assert_eq!(count(1, "edge", "edges"), "1 edge");
    }
}
