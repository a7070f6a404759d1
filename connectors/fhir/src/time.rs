//! Times as FHIR and HTTP write them. What is no time is none; nothing here looks at the gateway's clock but `now_ms`.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use schemas::id::TimeMs;

/// A FHIR instant → ms, rounded down: what is asked for from there on holds it.
pub(crate) fn instant_ms(text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    let exact = time.as_millisecond();
    // before 1970 milliseconds are cut towards 1970
    Some(if time.subsec_nanosecond() < 0 { exact - 1 } else { exact })
}

/// ms → a FHIR instant in UTC.
pub(crate) fn instant(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms.max(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// An HTTP date → ms.
pub(crate) fn http_date_ms(text: &str) -> Option<i64> {
    DateTimeParser::new().parse_timestamp(text).ok().map(Timestamp::as_millisecond)
}

pub(crate) fn now_ms() -> TimeMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_dates_are_read_and_written() {
        assert_eq!(instant_ms("2026-01-01T01:00:00.1239+01:00"), Some(1_767_225_600_123));
        assert_eq!(instant_ms("2026-01-01"), None);
        assert_eq!(instant(1_767_225_600_123), "2026-01-01T00:00:00.123Z");
        assert_eq!(instant(1_767_225_600_000), "2026-01-01T00:00:00.000Z");
        assert_eq!(http_date_ms("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(http_date_ms("soon"), None);
    }
}
