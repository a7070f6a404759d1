//! The tokenizer alone: delimiters, lines, sets, escapes, spans.

use super::{Message, Piece, split_messages};
use crate::charset::Charset;
use crate::error::MapError;

fn first(raw: &[u8]) -> Result<Message<'_>, MapError> {
    let messages = split_messages(raw)?;
    Message::tokenize(&messages[0], Charset::UTF8)
}

fn names(message: &Message<'_>) -> Vec<String> {
    message.segments.iter().map(|s| s.name().to_owned()).collect()
}

fn piece(message: &Message<'_>, segment: usize, field: u16) -> Piece {
    let span = message.field(segment, field).expect("field");
    message.repetitions(span).next().expect("repetition")
}

fn text(message: &Message<'_>, segment: usize, field: u16) -> String {
    message.value(message.leaf(piece(message, segment, field))).unwrap_or_default().into_owned()
}

fn whole(message: &Message<'_>, segment: usize, field: u16) -> String {
    message.whole(piece(message, segment, field)).unwrap_or_default().into_owned()
}

#[test]
fn msh_counts_its_separator_as_the_first_field() {
    let message = first(b"MSH|^~\\&#|APP||||20260101||ADT^A01|7|P|2.7").expect("message");
    assert_eq!(message.field(0, 1).map(|s| s.of(&message.text)), Some("|"));
    assert_eq!(message.field(0, 2).map(|s| s.of(&message.text)), Some("^~\\&#"));
    assert_eq!(text(&message, 0, 3), "APP");
    assert_eq!(text(&message, 0, 10), "7");
    assert_eq!(message.delimiters.truncation, Some(b'#'));
}

#[test]
fn delimiters_are_those_of_the_message() {
    let message = first(b"MSH*!%?$*A!B\rPID*1**x!y$z%w").expect("message");
    assert_eq!(text(&message, 0, 3), "A");
    let repetitions: Vec<_> = message.repetitions(message.field(1, 3).expect("field")).collect();
    assert_eq!(repetitions.len(), 2);
    let second = message.part(repetitions[0], 2).expect("component");
    assert_eq!(message.part(second, 2).expect("subcomponent").span.of(&message.text), "z");
}

#[test]
fn every_line_end_and_the_mark_are_understood() {
    for end in ["\r", "\n", "\r\n", "\r\r", "\n\n"] {
        let raw = format!("\u{feff}MSH|^~\\&|A{end}PID|1{end}OBX|1{end}");
        let message = first(raw.as_bytes()).expect("message");
        assert_eq!(names(&message), ["MSH", "PID", "OBX"], "{end:?}");
    }
}

#[test]
fn a_line_feed_in_a_field_loses_nothing() {
    let message = first(b"MSH|^~\\&|A\rOBX|1|TX|c||one\ntwo, three|u\rOBX|2").expect("message");
    assert_eq!(names(&message), ["MSH", "OBX", "OBX"]);
    assert_eq!(whole(&message, 1, 5), "one\ntwo, three");
    assert_eq!(text(&message, 1, 6), "u");
}

#[test]
fn junk_lines_are_counted_and_the_rest_is_kept() {
    let message = first(b"MSH|^~\\&|A\rPI|1\r\rPID|1\rzzzz|x\rZZ9|y").expect("message");
    assert_eq!(names(&message), ["MSH", "PID", "ZZ9"]);
    assert_eq!(message.junk_lines, [2, 5]);
}

#[test]
fn escapes_are_resolved_and_what_is_none_is_kept() {
    let cases = [
        (r"a\F\b\S\c\R\d\T\e\E\f", r"a|b^c~d&e\f"),
        (r"Müller\T\Co", "Müller&Co"),
        (r"\X41\\XC3BC\", "Aü"),
        (r"\XC3\\XBC\", "ü"),
        (r"\P\", "#"),
        (r"one\.br\two\.sp2\three\.in+3\", "one\ntwo\n\nthree"),
        (r"\H\bold\N\", "bold"),
        (r"open \T and no more", r"open \T and no more"),
        (r"\Zlocal\ \X4\ \X00\", r"\Zlocal\ \X4\ \X00\"),
        (r"üüü\F\x", "üüü|x"),
        (r"\", r"\"),
        (r"\M2442\4A\C2842\x", "漢x"),
    ];
    for (given, expected) in cases {
        let raw = format!("MSH|^~\\&#|{given}");
        let message = first(raw.as_bytes()).expect("message");
        assert_eq!(whole(&message, 0, 3), expected, "{given}");
    }
}

#[test]
fn character_sets_are_decoded_by_msh_18() {
    let mut raw = b"MSH|^~\\&|A|||||||||||||||8859/1\rPID|1||||M\xfcller".to_vec();
    let message = first(&raw).expect("message");
    assert_eq!(text(&message, 1, 5), "Müller");
    // the second byte of these two characters is `|` and `^` in ASCII
    raw = b"MSH|^~\\&|A|||||||||||||||ISO IR14\rPID|1||||\x83\x7c\x83\x5e".to_vec();
    let message = first(&raw).expect("message");
    assert_eq!(text(&message, 1, 5), "ポタ");
    let at = message.field(1, 5).expect("field").start as usize;
    assert_eq!(message.input_offset(at), raw.len() - 4);
}

#[test]
fn refusals_name_code_place_and_byte() {
    let cases: [(&[u8], &str, &str, usize); 10] = [
        (b"", "no-msh", "MSH", 0),
        (b"PID|1\rMSH|^~\\&|", "no-msh", "MSH", 0),
        (b"MSH", "bad-delimiters", "MSH-1", 3),
        (b"MSH|", "bad-delimiters", "MSH-2", 4),
        (b"MSH|^^\\&|A", "bad-delimiters", "MSH-2", 5),
        (b"MSH|^~\\&|A|||||||||||||||KLINGON", "unsupported-charset", "MSH-18", 25),
        (b"MSH|^~\\&|A|||||||||||||||UTF-8~KLINGON", "unsupported-charset", "MSH-18[2]", 25),
        (b"MSH|^~\\&|A|||||||||||||||ASCII\rPID|1|\xc3\xa4", "bad-encoding", "PID-2", 37),
        (b"MSH|^~\\&|A\rPID|1||\xff", "bad-encoding", "PID-3", 18),
        (b"\xff\xfeM\0S\0H\0", "unsupported-charset", "MSH-18", 0),
    ];
    for (raw, code, path, offset) in cases {
        let error = first(raw).err().expect("a refusal");
        assert_eq!((error.code, error.path.as_str(), error.offset), (code, path, offset), "{raw:?}");
    }
}

#[test]
fn batches_hold_several_messages() {
    let raw = b"FHS|^~\\&|x\rBHS|^~\\&|x\rMSH|^~\\&|A\rPID|1\rMSH|^~\\&|B\rBTS|2\rFTS|1\r";
    let messages = split_messages(raw).expect("messages");
    assert_eq!(messages.len(), 2);
    assert_eq!(&raw[messages[1].offset..messages[1].offset + 3], b"MSH");
    let framed = b"\x0bMSH|^~\\&|A\rPID|1\r\x1c\r";
    assert_eq!(split_messages(framed).expect("messages")[0].bytes, b"MSH|^~\\&|A\rPID|1");
}

#[test]
fn fields_and_separators_are_the_segment_again() {
    let raw = b"MSH|^~\\&|A||^^|\rPID|||a~b^c&d|\rZXX\rOBX||";
    let message = first(raw).expect("message");
    for (index, segment) in message.segments.iter().enumerate() {
        let fields: Vec<&str> = (1..=message.field_count(index))
            .filter_map(|n| message.field(index, n))
            .map(|s| s.of(&message.text))
            .collect();
        let joined = match segment.name() {
            "MSH" => format!("MSH|{}", fields[1..].join("|")),
            name if fields.is_empty() => name.to_owned(),
            name => format!("{name}|{}", fields.join("|")),
        };
        assert_eq!(joined, segment.span.of(&message.text));
    }
}
