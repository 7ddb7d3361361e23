//! Values of arguments, and times and spans as people read them.

use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use penpal_local_api::error::{ApiError, ErrorCode};

/// Longest text that is read from standard input, in bytes: one more than a message may have, so that the error can say so.
const MAX_STDIN_BYTES: u64 = 64 * 1024 + 1;

/// A span such as `72h`, `5m`, `90s` or `1h 30m`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 90s, 5m, 72h or 2d"))
}

/// A moment in Unix milliseconds: the start of a date such as `2026-11-01`, a time such as `2026-11-01T12:00`, or a span ago.
pub(crate) fn since(text: &str) -> Result<u64, String> {
    moment(text, 0)
}

/// The same, and a date means its end.
pub(crate) fn until(text: &str) -> Result<u64, String> {
    moment(text, 1)
}

fn moment(text: &str, days_later: i64) -> Result<u64, String> {
    let now = Timestamp::now().to_zoned(TimeZone::system());
    let moment = if let Ok(ago) = span(text) {
        now.checked_sub(ago)
    } else if let Ok(time) = text.parse::<Timestamp>() {
        Ok(time.to_zoned(TimeZone::UTC))
    } else if let (Ok(time), true) = (text.parse::<jiff::civil::DateTime>(), text.contains(':')) {
        time.to_zoned(TimeZone::system())
    } else if let Ok(date) = text.parse::<jiff::civil::Date>() {
        date.checked_add(jiff::Span::new().days(days_later))
            .and_then(|date| date.to_zoned(TimeZone::system()))
    } else {
        return Err("write a date like 2026-11-01, or how long ago: 12h, 3d".to_owned());
    };
    let moment = moment.map_err(|error| error.to_string())?;
    Ok(u64::try_from(moment.timestamp().as_millisecond()).unwrap_or_default())
}

/// Milliseconds of a span, the largest number when it is longer.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The text of a message: the argument, or standard input for `-` and for nothing.
pub(crate) fn text(argument: Option<&str>, terminal: bool) -> Result<String, ApiError> {
    match argument {
        Some("-") => read_stdin(),
        Some(text) => Ok(text.to_owned()),
        None if terminal => Err(ApiError::new(ErrorCode::Usage, "no text was given")
            .hint("give the text, or - to read it from standard input")),
        None => read_stdin(),
    }
}

/// All of standard input.
pub(crate) fn read_stdin() -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_STDIN_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| ApiError::new(ErrorCode::Usage, format!("standard input cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        ApiError::new(ErrorCode::Usage, "standard input is not UTF-8 text")
            .hint("what is no text goes as a file: penpal send NAME TEXT --file FILE")
    })?;
    Ok(text
        .strip_suffix('\n')
        .map_or_else(|| text.clone(), |stripped| stripped.trim_end_matches('\r').to_owned()))
}

fn local(ms: u64) -> Option<jiff::Zoned> {
    let timestamp = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    Some(timestamp.to_zoned(TimeZone::system()))
}

/// `23 Nov 23:58`, in this machine's time zone.
pub(crate) fn day_and_time(ms: u64) -> String {
    local(ms).map_or_else(|| ms.to_string(), |time| time.strftime("%-d %b %H:%M").to_string())
}

/// `23:58:49.112`, in this machine's time zone.
pub(crate) fn time_of_day(ms: u64) -> String {
    local(ms).map_or_else(|| ms.to_string(), |time| time.strftime("%H:%M:%S%.3f").to_string())
}

/// How long ago, in one unit: `12s`, `4m`, `3h`, `2d`.
pub(crate) fn ago(ms: u64) -> String {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let seconds = now.saturating_sub(ms) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(span("72h"), Ok(Duration::from_secs(72 * 3600)));
        assert_eq!(span("0s"), Ok(Duration::ZERO));
        assert!(span("soon").unwrap_err().contains("72h"));
    }
}
