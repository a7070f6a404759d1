//! What a batch says about itself: BTS-1 counts its messages, FTS-1 the batches of its file (HL7 2.10). A count that is not right is the
//! only sign of a message that was lost on the way. It must never stop the messages that are there.

use crate::token::{blank, line_end};

/// The lines around the messages of a batch (FHS, BHS, BTS, FTS), when one of them counts other messages or batches than there are. A
/// count that is empty or no number says nothing.
pub fn miscounted(raw: &[u8]) -> Option<Vec<u8>> {
    let (mut around, mut is_wrong) = (Vec::new(), false);
    let (mut messages, mut batches) = (0_u64, 0_u64);
    for line in lines(raw) {
        match name(line) {
            Some(b"MSH") => messages += 1,
            Some(b"BHS") => (messages, batches) = (0, batches + 1),
            // a batch may do without its header
            Some(b"BTS") => {
                is_wrong |= count(line).is_some_and(|count| count != messages);
                batches = batches.max(1);
            }
            Some(b"FTS") => is_wrong |= count(line).is_some_and(|count| count != batches),
            _ => {}
        }
        if matches!(name(line), Some(b"FHS" | b"BHS" | b"BTS" | b"FTS")) {
            around.extend_from_slice(line);
            around.push(b'\r');
        }
    }
    is_wrong.then_some(around)
}

/// Whether an input is a batch, or a file of batches, that counts no message: what a sender has to say on a quiet night. Whatever else
/// stands in it, another count or none at all makes it none: it may have been cut off.
pub fn is_empty_batch(raw: &[u8]) -> bool {
    let (mut counts_none, mut has_header, mut in_file, mut in_batch) = (false, false, false, false);
    for line in lines(raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw)) {
        let is_open = match name(line) {
            Some(b"FHS" | b"BHS") => true,
            Some(b"BTS" | b"FTS") => false,
            _ if blank(line) => continue,
            _ => return false,
        };
        // FTS counts batches: none of them is no message either
        counts_none |= !is_open && count(line) == Some(0);
        has_header |= is_open;
        *(if line.starts_with(b"F") { &mut in_file } else { &mut in_batch }) = is_open;
    }
    has_header && !in_file && !in_batch && counts_none && miscounted(raw).is_none()
}

/// The lines of an input, without what leads them in a frame.
fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let end = line_end(raw, at);
        let line = raw.get(at..end).filter(|_| at < raw.len())?;
        at = end + 1;
        let lead = line.iter().take_while(|byte| matches!(**byte, b' ' | 0x0b)).count();
        Some(&line[lead..])
    })
}

/// The segment that a line begins, as the tokenizer sees it.
fn name(line: &[u8]) -> Option<&[u8]> {
    line.get(..3).filter(|_| line.get(3).is_none_or(|byte| !byte.is_ascii_alphanumeric()))
}

/// The first field of a trailer.
fn count(line: &[u8]) -> Option<u64> {
    let separator = line.get(3)?;
    let field = line.get(4..)?.split(|byte| byte == separator).next()?;
    std::str::from_utf8(field.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{is_empty_batch, miscounted};

    #[test]
    fn a_count_that_is_right_or_absent_says_nothing() {
        for raw in [
            "MSH|^~\\&|A\rPID|1",
            "FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|A\rMSH|^~\\&|B\rBTS|2\rFTS|1",
            "FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|A\rBTS|1|x\rBHS|^~\\&\rBTS|0\rFTS|2\r",
            "BHS*^~\\&\nMSH|^~\\&|A\nBTS* 1 *\n",
            "BHS|^~\\&\rMSH|^~\\&|A\rBTS\rFTS|",
            "BHS|^~\\&\rMSH|^~\\&|A\rBTS||all of it\rFTS|one",
            "MSH|^~\\&|A\rBTS|1\rFTS|1",
            "\x0bMSH|^~\\&|A\rMSHX|1\rBTS|1\r\x1c\r",
            "",
        ] {
            assert_eq!(miscounted(raw.as_bytes()), None, "{raw:?}");
        }
    }

    #[test]
    fn a_batch_that_says_it_is_empty_is_and_nothing_else() {
        for raw in [
            "FHS|^~\\&|LAB\r\nBHS|^~\\&|LAB\r\nBTS|0\r\nFTS|1\r\n",
            "BHS|^~\\&|LAB\rBTS|0\r",
            "\x0bBHS|^~\\&|LAB\rBTS|0\r\x1c\r",
            "\u{feff}BHS|^~\\&|LAB\nBTS|0|quiet",
            "FHS|^~\\&\rFTS|0",
        ] {
            assert!(is_empty_batch(raw.as_bytes()), "{raw:?}");
        }
        for raw in [
            "",
            "\r",
            "BTS|0\r",
            "BHS|^~\\&|LAB\r",
            "FHS|^~\\&|LAB\rBHS|^~\\&|LAB\rBTS|0\rBHS|^~\\&|LAB\r",
            "FHS|^~\\&|LAB\rBHS|^~\\&|LAB\rBTS|0\r",
            "BHS|^~\\&|LAB\rBTS\r",
            "FHS|^~\\&|LAB\rBHS|^~\\&|LAB\rBTS||x\rFTS|1\r",
            "BHS|^~\\&\rBTS|1\r",
            "BHS|^~\\&\rMSH|^~\\&|A\rBTS|1\r",
            "BHS|^~\\&\rPID|1\rBTS|0\r",
            "BHS|^~\\&\rtext\rBTS|0\r",
            "FHS|^~\\&\rBHS|^~\\&\rBTS|0\rFTS|2",
        ] {
            assert!(!is_empty_batch(raw.as_bytes()), "{raw:?}");
        }
    }

    #[test]
    fn another_count_gives_the_lines_around_the_messages() {
        let raw = b"FHS|^~\\&|LAB\r\nBHS|^~\\&|LAB\r\nMSH|^~\\&|A\r\nPID|1\r\nBTS|2\r\nFTS|1\r\n";
        let around = miscounted(raw).expect("one is missing");
        assert_eq!(around, b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\rBTS|2\rFTS|1\r");
        for raw in [
            "BHS|^~\\&\rBTS|1",
            "BHS|^~\\&\rMSH|^~\\&|A\rMSH|^~\\&|B\rBTS|1",
            "FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|A\rBTS|1\rFTS|2",
            "MSH|^~\\&|A\rBTS|9",
        ] {
            assert!(miscounted(raw.as_bytes()).is_some(), "{raw:?}");
        }
    }
}
