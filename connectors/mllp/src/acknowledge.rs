//! Acknowledgements (HL7 v2.8.2 §2.9). Original mode, where MSH-15 and MSH-16 are empty: AA, AE, AR. Enhanced mode
//! otherwise: the accept acknowledgement CA, CE, CR, as MSH-15 wants it. A positive one says that the message is in safe
//! storage, nothing more: what became of it is said by the application acknowledgement, a message of its own, where MSH-16 wants one.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::header::Header;

/// Longest header that is kept for an acknowledgement, in bytes.
pub const HEAD_BYTES: usize = 4 << 10;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is durable.
    Kept,
    /// It can never be taken.
    Refused {
        /// Code of HL7 table 0357 with its text.
        condition: (&'static str, &'static str),
        /// For people.
        reason: &'static str,
    },
}

/// When a message wants its application acknowledgement (MSH-16, HL7 table 0155).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `AL`.
    Always,
    /// `ER`.
    OnError,
    /// `SU`.
    OnSuccess,
}

impl Wanted {
    /// Of a message, with its MSH, all that the acknowledgement needs of it; `None` where it wants none, and in original mode, whose one
    /// answer said all.
    pub fn of(message: &[u8]) -> Option<(Self, &[u8])> {
        let header = Header::read(message)?;
        let wanted = match header.field(16) {
            b"AL" => Self::Always,
            b"ER" => Self::OnError,
            b"SU" => Self::OnSuccess,
            _ => return None,
        };
        Some((wanted, header.line()))
    }

    /// Whether this outcome is told.
    pub const fn covers(self, is_error: bool) -> bool {
        matches!((self, is_error), (Self::Always, _) | (Self::OnError, true) | (Self::OnSuccess, false))
    }
}

/// The application acknowledgement of a message that was taken: `AA`, or `AE` with code and place of what is wrong with it. It is a message of
/// its own, with this control id and time, the same at every attempt, and wants to be accepted (MSH-15 `AL`); nothing answers it further.
pub fn application(message: &[u8], error: Option<(&str, &str)>, control_id: &str, time: Timestamp) -> Vec<u8> {
    let header = Header::read(message);
    let mut writer = Writer::of(header.as_ref());
    writer.header((control_id, time), (b"AL", b"NE"));
    writer.answer(if error.is_some() { "AE" } else { "AA" });
    if let Some((code, place)) = error {
        writer.error(("207", "Application error"), code, place);
    }
    writer.out
}

/// What a refusal says to a sender that wants no accept acknowledgement but its application acknowledgement, where there will be none: nothing of
/// the message is kept.
pub fn last_word(message: &[u8], what: Answer) -> Option<Vec<u8>> {
    let (wanted, _) = Wanted::of(message)?;
    let header = Header::read(message);
    wanted.covers(true).then(|| acknowledgement(header.as_ref(), "CR", what))
}

/// The acknowledgement that a message wants; `None`: it wants none (enhanced mode, MSH-15 NE, ER or SU).
pub fn answer(message: &[u8], what: Answer) -> Option<Vec<u8>> {
    let header = Header::read(message);
    let code = match &header {
        // no header: nobody said what is wanted, and a sender that hears nothing would wait
        None => "C",
        Some(header) => {
            let (accept, application) = (header.field(15), header.field(16));
            if matches!((accept, what), (b"NE", _) | (b"ER", Answer::Kept) | (b"SU", Answer::Refused { .. })) {
                return None;
            }
            if accept.is_empty() && application.is_empty() { "A" } else { "C" }
        }
    };
    let code = match what {
        Answer::Kept => [code, "A"].concat(),
        Answer::Refused { .. } => [code, "R"].concat(),
    };
    Some(acknowledgement(header.as_ref(), &code, what))
}

/// `MSH`, `MSA` and for a refusal `ERR`, with the delimiters of the message that is answered.
pub fn acknowledgement(header: Option<&Header<'_>>, code: &str, what: Answer) -> Vec<u8> {
    let mut writer = Writer::of(header);
    writer.header((&control_id(), Timestamp::now()), (b"", b""));
    writer.answer(code);
    if let Answer::Refused { condition, reason } = what {
        writer.error(condition, "", reason);
    }
    writer.out
}

/// Delimiters where the sender's are none that others could read: MSH-1, then MSH-2.
const DELIMITERS: (u8, &[u8]) = (b'|', b"^~\\&");

/// Writes the segments of an acknowledgement.
struct Writer<'m, 'h> {
    header: Option<&'h Header<'m>>,
    separator: u8,
    encoding: &'m [u8],
    /// Whether the delimiters are the sender's, so that what is said again needs no change.
    is_theirs: bool,
    out: Vec<u8>,
}

impl<'m, 'h> Writer<'m, 'h> {
    fn of(header: Option<&'h Header<'m>>) -> Self {
        let theirs = header.map(|header| (header.separator(), header.field(2)));
        // signs that stand in times and ids would take them apart
        let is_sign = |b: &u8| b.is_ascii_punctuation() && !matches!(b, b'-' | b'+' | b'.' | b'_');
        let usable = |(separator, encoding): &(u8, &[u8])| {
            is_sign(separator) && !encoding.is_empty() && encoding.iter().all(is_sign)
        };
        let theirs = theirs.filter(usable);
        let (separator, encoding) = theirs.unwrap_or(DELIMITERS);
        Self { header, separator, encoding, is_theirs: theirs.is_some(), out: Vec::with_capacity(256) }
    }

    /// A field of the message, for saying it again.
    fn field(&self, n: usize) -> Vec<u8> {
        let field = self.header.map(|header| header.field(n)).unwrap_or_default();
        self.plain(field, self.is_theirs)
    }

    /// Without control characters, which could end a frame, and, unless they mean what they say, without delimiters.
    fn plain(&self, text: &[u8], with_delimiters: bool) -> Vec<u8> {
        let is_delimiter = |b: u8| !with_delimiters && (b == self.separator || self.encoding.contains(&b));
        text.iter().filter(|b| **b >= b' ').map(|b| if is_delimiter(*b) { b' ' } else { *b }).collect()
    }

    fn segment(&mut self, name: &[u8], fields: &[&[u8]]) {
        self.out.extend_from_slice(name);
        for value in fields {
            self.out.push(self.separator);
            self.out.extend_from_slice(value);
        }
        self.out.push(b'\r');
    }

    /// Sender and receiver change places; `wanted`: MSH-15 and MSH-16.
    fn header(&mut self, (control_id, time): (&str, Timestamp), (accept, application): (&[u8], &[u8])) {
        let trigger = self.header.map(|header| header.component(9, 2)).unwrap_or_default();
        let kind = match self.plain(trigger, false) {
            trigger if trigger.is_empty() => b"ACK".to_vec(),
            trigger => [b"ACK", &*trigger, b"ACK"].join(&self.encoding[0]),
        };
        let or = |found: Vec<u8>, otherwise: &[u8]| if found.is_empty() { otherwise.to_vec() } else { found };
        let (processing, version) = (or(self.field(11), b"P"), or(self.field(12), b"2.5.1"));
        let time = time.strftime("%Y%m%d%H%M%S+0000").to_string();
        let [to, to_place, from, from_place, charset] = [3, 4, 5, 6, 18].map(|n| self.field(n));
        let fields: [&[u8]; 17] = [
            self.encoding,
            &from,
            &from_place,
            &to,
            &to_place,
            time.as_bytes(),
            b"",
            &kind,
            control_id.as_bytes(),
            &processing,
            &version,
            b"",
            b"",
            accept,
            application,
            b"",
            &charset,
        ];
        let used = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        self.segment(b"MSH", &fields[..used]);
    }

    fn answer(&mut self, code: &str) {
        let about = self.field(10);
        self.segment(b"MSA", &[code.as_bytes(), &about]);
    }

    /// `code` is the receiver's own, where it has one; `text` for people.
    fn error(&mut self, (number, meaning): (&str, &str), code: &str, text: &str) {
        let plain = |text: &str| self.plain(text.as_bytes(), false);
        let condition = [&*plain(number), &plain(meaning), b"HL70357"].join(&self.encoding[0]);
        let (code, text) = (plain(code), plain(text));
        self.segment(b"ERR", &[b"", b"", &condition, b"E", &code, b"", b"", &text]);
    }
}

/// A control id that no other acknowledgement of this process has.
fn control_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("CS{:x}{n:x}", Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Answer = Answer::Refused { condition: ("207", "Application error"), reason: "too large" };

    fn message(accept: &str, application: &str) -> Vec<u8> {
        format!("MSH|^~\\&|LAB|NORTH|GW|HUB|20260101||ORU^R01^ORU_R01|77|P|2.5|||{accept}|{application}\rPID|1").into()
    }

    fn code(accept: &str, application: &str, what: Answer) -> Option<String> {
        let answer = String::from_utf8(answer(&message(accept, application), what)?).expect("text");
        let line = answer.split('\r').find(|line| line.starts_with("MSA|")).expect("an MSA");
        Some(line.split('|').nth(1).expect("a code").to_owned())
    }

    #[test]
    fn the_mode_is_that_of_msh_15_and_16() {
        let table = [
            ("", "", Some("AA"), Some("AR")),
            ("AL", "", Some("CA"), Some("CR")),
            ("AL", "NE", Some("CA"), Some("CR")),
            ("", "AL", Some("CA"), Some("CR")),
            ("NE", "NE", None, None),
            ("NE", "AL", None, None),
            ("ER", "NE", None, Some("CR")),
            ("SU", "NE", Some("CA"), None),
        ];
        for (accept, application, kept, refused) in table {
            assert_eq!(code(accept, application, Answer::Kept).as_deref(), kept, "{accept} {application}");
            assert_eq!(code(accept, application, REFUSED).as_deref(), refused, "{accept} {application}");
        }
    }

    #[test]
    fn sender_and_receiver_change_places_and_the_delimiters_stay() {
        let message = b"MSH#*~\\&#LAB#NORTH#GW#HUB#20260101##ADT*A01#77#T#2.3\rEVN#";
        let text = String::from_utf8(answer(message, REFUSED).expect("an answer")).expect("text");
        let lines: Vec<&str> = text.split_terminator('\r').collect();
        let header: Vec<&str> = lines[0].split('#').collect();
        assert_eq!(header[..6], ["MSH", "*~\\&", "GW", "HUB", "LAB", "NORTH"]);
        assert_eq!((header[8], header[10], header[11]), ("ACK*A01*ACK", "T", "2.3"));
        assert_eq!(lines[1], "MSA#AR#77");
        assert_eq!(lines[2], "ERR###207*Application error*HL70357#E####too large");
    }

    #[test]
    fn what_became_of_a_message_is_a_message_of_its_own() {
        let wanted = [("", None), ("NE", None), ("AL", Some(Wanted::Always)), ("ER", Some(Wanted::OnError))];
        for (application, expected) in wanted.into_iter().chain([("SU", Some(Wanted::OnSuccess)), ("al", None)]) {
            assert_eq!(Wanted::of(&message("AL", application)).map(|(wanted, _)| wanted), expected, "{application}");
        }
        let at = Timestamp::UNIX_EPOCH;
        let text = |error| String::from_utf8(application(&message("AL", "AL"), error, "CS1", at)).expect("text");
        let good = text(None);
        let header: Vec<&str> = good.split(['|', '\r']).take(16).collect();
        assert_eq!((header[2], header[4], header[8], header[9]), ("GW", "LAB", "ACK^R01^ACK", "CS1"));
        assert_eq!((header[14], header[15]), ("AL", "NE"));
        assert!(good.ends_with("\rMSA|AA|77\r"), "{good:?}");
        let bad = text(Some(("unsupported-message", "MSH-9")));
        assert!(
            bad.ends_with("MSA|AE|77\rERR|||207^Application error^HL70357|E|unsupported-message|||MSH-9\r"),
            "{bad:?}"
        );
    }

    #[test]
    fn what_others_cannot_read_is_not_said_again() {
        let at = Timestamp::UNIX_EPOCH;
        let error = Some(("no-id", "PID-3"));
        // letters of ours as delimiters, a character that ends a frame, a character set
        let odd = application(b"MSH-^~\\&-A|B--GW--20260101--ORU^R01-7\x1c7-P-2.5----AL--8859/1", error, "CS1", at);
        let text = "MSH|^~\\&|GW||A B||19700101000000+0000||ACK^R01^ACK|CS1|P|2.5|||AL|NE||8859/1\rMSA|AE|77\r\
                    ERR|||207^Application error^HL70357|E|no-id|||PID-3\r";
        assert_eq!(String::from_utf8(odd).expect("text"), text);
        let odd = application(b"MSH#-*\\&#A^B##GW##20260101##ORU-R01#77#P#2.5####AL", None, "CS1", at);
        assert!(odd.starts_with(b"MSH|^~\\&|GW||A B||"), "{odd:?}");
    }

    #[test]
    fn what_is_not_kept_is_told_whoever_wants_to_hear_of_it() {
        for (accept, application, said) in
            [("NE", "AL", true), ("NE", "ER", true), ("NE", "SU", false), ("NE", "NE", false)]
        {
            assert_eq!(last_word(&message(accept, application), REFUSED).is_some(), said, "{accept} {application}");
        }
    }

    #[test]
    fn what_has_no_header_is_answered_all_the_same() {
        for message in [&b""[..], b"hello", b"MSH", b"MSHx", b"\xff\xfe"] {
            let text = String::from_utf8(answer(message, Answer::Kept).expect("an answer")).expect("text");
            assert!(text.starts_with("MSH|^~\\&|") && text.ends_with("\rMSA|CA|\r"), "{text:?}");
        }
    }

    #[test]
    fn a_batch_is_answered_by_its_first_message() {
        let text =
            answer(b"FHS|^~\\&|A\rBHS|^~\\&|B\rMSH|^~\\&|LAB||||||ORU^R01|9|P|2.5\r", Answer::Kept).expect("one");
        assert!(String::from_utf8(text).expect("text").contains("\rMSA|AA|9\r"));
    }
}
