//! HL7 DTM (`YYYY[MM[DD[HH[MM[SS[.S]]]]]][±ZZZZ]`) → FHIR date, dateTime, instant, time. Precision is kept; what is no
//! time gives nothing, so that the field is listed as unmapped.

use jiff::civil;
use jiff::tz::TimeZone;

/// Where a stamp without an offset lies: MSH-7's offset, else the site's zone.
pub enum Zone {
    /// `+02:00` as text.
    Fixed(String),
    /// A named zone; its offset depends on the moment.
    Named(TimeZone),
}

impl Zone {
    /// A fixed offset (`+02:00`, `+0200`, `Z`) or an IANA name; `None` when it is neither.
    pub fn named(text: &str) -> Option<Self> {
        if text == "Z" {
            return Some(Self::Fixed("+00:00".into()));
        }
        if let Some(offset) = offset(text) {
            return Some(Self::Fixed(offset));
        }
        TimeZone::get(text).ok().map(Self::Named)
    }
}

/// A checked HL7 stamp, its parts still as text.
pub struct Stamp<'t> {
    digits: &'t str,
    fraction: &'t str,
    offset: Option<String>,
    civil: civil::DateTime,
}

impl<'t> Stamp<'t> {
    /// Reads a stamp; `None` when it is none (letters, a 13th month, an odd number of digits).
    pub fn read(text: &'t str) -> Option<Self> {
        let text = text.trim();
        let whole = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, behind) = text.split_at_checked(whole)?;
        let (fraction, zone) = match behind.strip_prefix('.') {
            Some(rest) => rest.split_at_checked(rest.bytes().take_while(u8::is_ascii_digit).count())?,
            None => ("", behind),
        };
        if !matches!(digits.len(), 4 | 6 | 8 | 10 | 12 | 14) {
            return None;
        }
        if fraction.len() > 9 || (!fraction.is_empty() && digits.len() != 14) {
            return None;
        }
        let offset = if zone.is_empty() { None } else { Some(offset(zone)?) };
        // digits all: two of them fit
        let two = |d: &[u8]| d.iter().fold(0, |n, b| n * 10 + (b - b'0') as i8);
        let part = |from: usize, default| digits.as_bytes().get(from..from + 2).map_or(default, two);
        let year = i16::from(part(0, 0)) * 100 + i16::from(part(2, 0));
        let civil = civil::DateTime::new(year, part(4, 1), part(6, 1), part(8, 0), part(10, 0), part(12, 0), 0).ok()?;
        if year == 0 {
            return None;
        }
        Some(Self { digits, fraction, offset, civil })
    }

    /// The offset written in the stamp, as `+02:00`.
    pub fn offset(&self) -> Option<&str> {
        self.offset.as_deref()
    }

    /// FHIR date: year, month or day.
    pub fn date(&self) -> String {
        let d = self.digits;
        match d.len() {
            4 => d.into(),
            6 => format!("{}-{}", &d[..4], &d[4..6]),
            _ => format!("{}-{}-{}", &d[..4], &d[4..6], &d[6..8]),
        }
    }

    /// FHIR dateTime: a date alone stays one; a time gets seconds and an offset.
    pub fn date_time(&self, zone: &Zone) -> String {
        if self.digits.len() < 10 { self.date() } else { self.full(zone) }
    }

    /// FHIR instant; `None` when the stamp does not go down to the minute.
    pub fn instant(&self, zone: &Zone) -> Option<String> {
        (self.digits.len() >= 12).then(|| self.full(zone))
    }

    /// An instant whatever the precision, missing parts taken as the first moment: for ordering only.
    pub fn earliest_instant(&self, zone: &Zone) -> String {
        self.full(zone)
    }

    fn full(&self, zone: &Zone) -> String {
        let c = &self.civil;
        let mut out = String::with_capacity(35);
        let two = |out: &mut String, n: i8| {
            out.push(char::from(b'0' + (n / 10) as u8));
            out.push(char::from(b'0' + (n % 10) as u8));
        };
        out.push_str(&self.digits[..4]);
        for (mark, n) in [('-', c.month()), ('-', c.day()), ('T', c.hour()), (':', c.minute()), (':', c.second())] {
            out.push(mark);
            two(&mut out, n);
        }
        if !self.fraction.is_empty() {
            out.push('.');
            out.push_str(self.fraction);
        }
        match (&self.offset, zone) {
            (Some(offset), _) | (None, Zone::Fixed(offset)) => out.push_str(offset),
            (None, Zone::Named(zone)) => {
                let seconds =
                    zone.to_ambiguous_timestamp(self.civil).compatible().map_or(0, |t| zone.to_offset(t).seconds());
                let minutes = seconds.abs() / 60;
                out.push_str(&format!(
                    "{}{:02}:{:02}",
                    if seconds < 0 { '-' } else { '+' },
                    minutes / 60,
                    minutes % 60
                ));
            }
        }
        out
    }
}

/// FHIR time from an HL7 TM (`HH[MM[SS[.S]]]`, offset ignored by FHIR).
pub fn time_of_day(text: &str) -> Option<String> {
    let text = text.split(['+', '-']).next()?;
    let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(digits.len(), 2 | 4 | 6) || !digits.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize| digits.get(from..from + 2).unwrap_or("00");
    let in_range = |t: &str, max: u8| t.parse::<u8>().is_ok_and(|n| n <= max);
    if !in_range(part(0), 23) || !in_range(part(2), 59) || !in_range(part(4), 59) {
        return None;
    }
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{}:{}:{}{dot}{fraction}", part(0), part(2), part(4)))
}

/// `+0200`, `+02:00` → `+02:00`, within ±14:00.
fn offset(text: &str) -> Option<String> {
    let sign = text.chars().next().filter(|c| matches!(c, '+' | '-'))?;
    let (hours, minutes) = match text.len() {
        5 => (text.get(1..3)?, text.get(3..5)?),
        6 if text.as_bytes()[3] == b':' => (text.get(1..3)?, text.get(4..6)?),
        _ => return None,
    };
    if !hours.bytes().chain(minutes.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (h, m): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    if h > 14 || m > 59 || (h == 14 && m > 0) {
        return None;
    }
    let sign = if h == 0 && m == 0 { "+" } else { &text[..sign.len_utf8()] };
    Some([sign, hours, ":", minutes].concat())
}
