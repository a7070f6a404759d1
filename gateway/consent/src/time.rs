//! FHIR dates and times as spans of milliseconds. A partial date is the whole day, month or year; a time without an
//! offset counts in UTC. Strict: what FHIR's grammar does not allow is no date.

use schemas::json::Value;

/// A closed span: both ends belong to it. Milliseconds since 1970-01-01T00:00:00Z, negative before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First millisecond; `i64::MIN` when open.
    pub first_ms: i64,
    /// Last millisecond; `i64::MAX` when open.
    pub last_ms: i64,
}

const DAY_MS: i64 = 86_400_000;

impl Span {
    /// The span of a FHIR date, dateTime or instant.
    pub fn of_date(text: &str) -> Option<Self> {
        if !text.is_ascii() {
            return None;
        }
        let (date, clock) = text.split_once('T').map_or((text, None), |(date, clock)| (date, Some(clock)));
        let (first_day, days) = days_of(date)?;
        let first_ms = first_day * DAY_MS;
        match clock {
            None => Some(Self { first_ms, last_ms: first_ms + days * DAY_MS - 1 }),
            Some(clock) if days == 1 && date.len() == 10 => {
                let (offset_ms, precision_ms) = clock_of(clock)?;
                Some(Self { first_ms: first_ms + offset_ms, last_ms: first_ms + offset_ms + precision_ms - 1 })
            }
            Some(_) => None,
        }
    }

    /// The span of a FHIR Period: from its start's earliest to its end's latest instant. `None` when malformed, empty or
    /// turned round.
    pub fn of_period(period: &Value) -> Option<Self> {
        let end = |name| period.get(name).map(|v| v.as_str().and_then(Self::of_date));
        let (start, stop) = (end("start"), end("end"));
        if start.is_none() && stop.is_none() {
            return None;
        }
        let first_ms = start.map_or(Some(i64::MIN), |s| s.map(|s| s.first_ms))?;
        let last_ms = stop.map_or(Some(i64::MAX), |s| s.map(|s| s.last_ms))?;
        (first_ms <= last_ms).then_some(Self { first_ms, last_ms })
    }

    /// Whether the instant lies in the span.
    pub fn contains_ms(self, ms: u64) -> bool {
        i64::try_from(ms).is_ok_and(|ms| (self.first_ms..=self.last_ms).contains(&ms))
    }

    /// Whether all of `other` lies in the span.
    pub fn contains(self, other: Self) -> bool {
        self.first_ms <= other.first_ms && other.last_ms <= self.last_ms
    }

    /// Whether the spans share an instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.first_ms <= other.last_ms && other.first_ms <= self.last_ms
    }

    /// The smallest span over both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self { first_ms: self.first_ms.min(other.first_ms), last_ms: self.last_ms.max(other.last_ms) }
    }
}

/// Digits of exactly `len` characters at the start of `text`, and the rest.
fn digits(text: &str, len: usize) -> Option<(i64, &str)> {
    let (head, rest) = text.split_at_checked(len)?;
    (!head.is_empty() && head.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    Some((head.parse().ok()?, rest))
}

/// First day since 1970 and number of days of `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
fn days_of(date: &str) -> Option<(i64, i64)> {
    let (year, rest) = digits(date, 4)?;
    if year == 0 {
        return None;
    }
    if rest.is_empty() {
        let first = days_from_civil(year, 1, 1);
        return Some((first, days_from_civil(year + 1, 1, 1) - first));
    }
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    if !(1..=12).contains(&month) {
        return None;
    }
    let first = days_from_civil(year, month, 1);
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let length = days_from_civil(next_year, next_month, 1) - first;
    if rest.is_empty() {
        return Some((first, length));
    }
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    (rest.is_empty() && (1..=length).contains(&day)).then_some((first + day - 1, 1))
}

/// Milliseconds from the start of the UTC day and precision in milliseconds, of `hh:mm:ss[.f…](Z|±hh:mm)`.
fn clock_of(clock: &str) -> Option<(i64, i64)> {
    let (hour, rest) = digits(clock, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = digits(rest.strip_prefix(':')?, 2)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_ms, precision_ms, rest) = match rest.strip_prefix('.') {
        None => (0, 1000, rest),
        Some(rest) => {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, rest) = rest.split_at_checked(length)?;
            let (ms, precision) = match length {
                0 => return None,
                1 => (fraction.parse::<i64>().ok()? * 100, 100),
                2 => (fraction.parse::<i64>().ok()? * 10, 10),
                _ => (fraction.get(..3)?.parse::<i64>().ok()?, 1),
            };
            (ms, precision, rest)
        }
    };
    let offset_minutes = match rest {
        "Z" => 0,
        _ => {
            let sign = match rest.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, rest) = digits(rest.get(1..)?, 2)?;
            let (minutes, rest) = digits(rest.strip_prefix(':')?, 2)?;
            if !rest.is_empty() || hours > 14 || minutes > 59 {
                return None;
            }
            sign * (hours * 60 + minutes)
        }
    };
    // A leap second counts as the second before it: there is no other instant for it in milliseconds since 1970.
    let ms = ((hour * 60 + minute - offset_minutes) * 60 + second.min(59)) * 1000 + fraction_ms;
    Some((ms, precision_ms))
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, counted in years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month_from_march + 2) / 5 + day - 1 - 719_468
}
