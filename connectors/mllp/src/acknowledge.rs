//! Acknowledgements (HL7 v2.8.2 §2.9). Original mode, where MSH-15 and MSH-16 are empty: AA, AE, AR. Enhanced mode
//! otherwise: the accept acknowledgement CA, CE, CR, as MSH-15 wants it. A positive one says that the message is in safe
//! storage, nothing more: what became of it is told elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::header::Header;

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
    let separator = header.map_or(b'|', Header::separator);
    let encoding = header.map(|h| h.field(2)).filter(|f| !f.is_empty()).unwrap_or(b"^~\\&");
    let component = encoding[0];
    let field = |n: usize| header.map(|h| h.field(n)).unwrap_or_default();
    let trigger = header.map(|h| h.component(9, 2)).unwrap_or_default();
    let mut kind = b"ACK".to_vec();
    if !trigger.is_empty() {
        kind.push(component);
        kind.extend_from_slice(trigger);
        kind.push(component);
        kind.extend_from_slice(b"ACK");
    }
    let or = |found: &[u8], otherwise: &[u8]| if found.is_empty() { otherwise.to_vec() } else { found.to_vec() };
    let now = Timestamp::now().strftime("%Y%m%d%H%M%S+0000").to_string();
    let mut out = Vec::with_capacity(256);
    let mut segment = |name: &[u8], fields: &[&[u8]]| {
        out.extend_from_slice(name);
        for value in fields {
            out.push(separator);
            out.extend_from_slice(value);
        }
        out.push(b'\r');
    };
    let (processing, version) = (or(field(11), b"P"), or(field(12), b"2.5.1"));
    let id = control_id();
    segment(
        b"MSH",
        &[
            encoding,
            field(5),
            field(6),
            field(3),
            field(4),
            now.as_bytes(),
            b"",
            &kind,
            id.as_bytes(),
            &processing,
            &version,
        ],
    );
    segment(b"MSA", &[code.as_bytes(), field(10)]);
    if let Answer::Refused { condition: (number, text), reason } = what {
        let condition = [number.as_bytes(), text.as_bytes(), b"HL70357"].join(&component);
        segment(b"ERR", &[b"", b"", &condition, b"E", b"", b"", b"", reason.as_bytes()]);
    }
    out
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
