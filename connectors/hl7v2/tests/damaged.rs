//! Outside messages that something happened to: cut off, other delimiters, segments gone, doubled or elsewhere, other character
//! sets and line ends. Always a case, or an error with code, place and byte. It must never pass a panic or silence.

#[path = "support/outside.rs"]
mod outside;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use connectors_hl7v2::{Mapped, Mapper};
use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, KOI8_R, SHIFT_JIS, UTF_8, WINDOWS_1250, WINDOWS_1252, WINDOWS_1254,
};
use outside::{Outside, lines, map, messages, put, whole};

/// Places at which each message is cut off.
const CUTS: usize = 50;
/// Separators of fields, components and repetitions, the escape character, the separator of subcomponents: in every file these.
const DELIMITERS: [u8; 5] = *b"|^~\\&";
/// Fewest messages that name a patient.
const NAMED_MIN: usize = 150;

/// Maps a damaged message: a whole case, or an error that says what and where; never nothing.
fn answered(mapper: &Mapper, raw: &[u8], how: impl Display) -> Mapped {
    let mapped = catch_unwind(AssertUnwindSafe(|| map(mapper, raw))).unwrap_or_else(|_| panic!("{how}: a panic"));
    assert!(!mapped.cases.is_empty() || !mapped.errors.is_empty(), "{how}: neither a case nor an error");
    for error in &mapped.errors {
        let told = !error.code.is_empty() && !error.path.is_empty() && !error.message.is_empty();
        assert!(told && error.offset <= raw.len(), "{how}: {error:?} in {} bytes", raw.len());
    }
    for case in &mapped.cases {
        whole(&case.bundle).unwrap_or_else(|error| panic!("{how}: {error}"));
    }
    mapped
}

#[test]
fn a_message_that_is_cut_off() {
    let Some(messages) = messages() else { return };
    let mapper = Mapper::embedded();
    for Outside { name, raw } in &messages {
        for cut in 1..=CUTS {
            let end = raw.len() * cut / (CUTS + 1);
            answered(&mapper, &raw[..end], format_args!("{name} cut off at {end}"));
        }
    }
}

/// Each byte as the function says.
fn changed(bytes: &[u8], to: impl Fn(u8) -> u8) -> Vec<u8> {
    bytes.iter().map(|byte| to(*byte)).collect()
}

/// What was made and what was not, values aside.
fn shape(mapped: &Mapped) -> (Vec<Vec<String>>, Vec<String>) {
    let kinds = mapped.cases.iter().map(|case| {
        let resources = case.bundle.list("entry").iter().filter_map(|entry| entry.get("resource")?.resource_type());
        resources.map(str::to_owned).collect::<Vec<String>>()
    });
    (kinds.collect(), mapped.unmapped.clone())
}

#[test]
fn delimiters_that_change_places() {
    let Some(messages) = messages() else { return };
    let mapper = Mapper::embedded();
    for Outside { name, raw } in &messages {
        let raw = lines(raw).join(&b'\r');
        let (header, body) = raw.split_at(b"MSH".len() + DELIMITERS.len());
        assert_eq!(&header[3..], DELIMITERS, "{name}");
        let shape_before = shape(&answered(&mapper, &raw, name));
        for one in DELIMITERS {
            for other in DELIMITERS.into_iter().filter(|other| *other != one) {
                let how = |what: &str| format!("{name}, {} for {} {what}", char::from(other), char::from(one));
                let exchange = |byte: u8| {
                    if byte == one {
                        other
                    } else if byte == other {
                        one
                    } else {
                        byte
                    }
                };
                // everywhere: another spelling of the same message
                let mapped = answered(&mapper, &changed(&raw, exchange), how("everywhere"));
                assert_eq!(shape(&mapped), shape_before, "{}", how("everywhere"));
                // where they are declared alone, and where they are used alone: another message, or none
                answered(&mapper, &[&changed(header, exchange)[..], body].concat(), how("in the header"));
                let replace = |byte: u8| if byte == one { other } else { byte };
                answered(&mapper, &[header, &changed(body, replace)].concat(), how("in the fields"));
            }
        }
    }
}

#[test]
fn segments_that_are_gone_doubled_or_at_the_end() {
    let Some(messages) = messages() else { return };
    let mapper = Mapper::embedded();
    for Outside { name, raw } in &messages {
        let lines = lines(raw);
        for at in 0..lines.len() {
            let without = [&lines[..at], &lines[at + 1..]].concat();
            answered(&mapper, &without.join(&b'\r'), format_args!("{name} without line {at}"));
            let doubled = [&lines[..=at], &lines[at..]].concat();
            answered(&mapper, &doubled.join(&b'\r'), format_args!("{name} with line {at} twice"));
            let moved = [&without[..], &lines[at..=at]].concat();
            answered(&mapper, &moved.join(&b'\r'), format_args!("{name} with line {at} at the end"));
        }
    }
}

/// What MSH-18 may say, the encoding it means, and a name in letters of it; in several a letter's second byte is a delimiter.
fn character_sets() -> [(&'static str, &'static Encoding, &'static str); 21] {
    [
        ("UNICODE UTF-8", UTF_8, "Zoë Nuñez"),
        ("8859/1", WINDOWS_1252, "Müller"),
        ("8859/2", ISO_8859_2, "Dvořák"),
        ("8859/3", ISO_8859_3, "Ĝorĝo Ŝajno"),
        ("8859/4", ISO_8859_4, "Bērziņš"),
        ("8859/5", ISO_8859_5, "Иванова"),
        ("8859/6", ISO_8859_6, "محمد"),
        ("8859/7", ISO_8859_7, "Παπαδόπουλος"),
        ("8859/8", ISO_8859_8, "כהן"),
        ("8859/9", WINDOWS_1254, "Güneş Yıldız"),
        ("8859/15", ISO_8859_15, "Œuvrard"),
        ("ISO IR14", SHIFT_JIS, "表ソポタ"),
        ("ISO IR87", ISO_2022_JP, "山田花子"),
        ("GB 18030-2000", GB18030, "王小明𠮷"),
        ("GB 18030", GB18030, "王小明"),
        ("KS X 1001", EUC_KR, "김철수"),
        ("BIG-5", BIG5, "許功蓋"),
        // labels of the WHATWG are taken too
        ("KOI8-R", KOI8_R, "Иванова"),
        ("EUC-JP", EUC_JP, "山田花子"),
        ("windows-1250", WINDOWS_1250, "Dvořák"),
        ("8859/1~8859/5", WINDOWS_1252, "Größe"),
    ]
}

/// The message with a set in MSH-18, a family name in the first PID-5, and these line ends.
fn rewritten(raw: &[u8], set: &str, name: &[u8], end: &str) -> Vec<u8> {
    let (mut out, mut named) = (Vec::new(), false);
    for line in lines(raw) {
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b'|').collect();
        let segment = fields[0];
        if segment == b"MSH" {
            // MSH-1 is the separator itself: MSH-18 is the eighteenth piece
            put(&mut fields, 17, set.as_bytes());
        } else if segment == b"PID" && !named {
            put(&mut fields, 5, name);
            named = true;
        }
        out.extend(fields.join(&b'|'));
        out.extend_from_slice(end.as_bytes());
    }
    out
}

/// Whether a name reached a bundle.
fn tells(mapped: &Mapped, name: &str) -> bool {
    let text = |bytes| String::from_utf8(bytes).expect("canonical bytes are UTF-8");
    mapped.cases.iter().any(|case| text(case.bundle.canonical()).contains(name))
}

/// Everything that a message became, places in it aside.
fn outcome(mapped: &Mapped) -> (Vec<Vec<u8>>, Vec<String>, Vec<String>) {
    let bundles = mapped.cases.iter().map(|case| case.bundle.canonical()).collect();
    let errors = mapped.errors.iter().map(|error| format!("{} at {}", error.code, error.path)).collect();
    (bundles, mapped.unmapped.clone(), errors)
}

#[test]
fn names_in_every_character_set_with_every_line_end() {
    let Some(messages) = messages() else { return };
    let mapper = Mapper::embedded();
    let mut named = 0;
    for Outside { name, raw } in &messages {
        let plain = answered(&mapper, &rewritten(raw, "", b"Plantedname", "\r"), name);
        let names_someone = plain.errors.is_empty() && tells(&plain, "Plantedname");
        named += usize::from(names_someone);
        for (set, encoding, text) in character_sets() {
            let (bytes, _, lost) = encoding.encode(text);
            assert!(!lost, "{text} cannot be written in {set}");
            let [first, others @ ..] = ["\r", "\n", "\r\n"].map(|end| {
                let raw = rewritten(raw, set, &bytes, end);
                answered(&mapper, &raw, format_args!("{name} in {set}, lines that end in {end:?}"))
            });
            for other in &others {
                assert!(outcome(&first) == outcome(other), "{name} in {set}: another outcome with another line end");
            }
            assert!(!names_someone || first.errors.is_empty(), "{name} in {set}: {:?}", first.errors);
            assert!(!names_someone || tells(&first, text), "{name} in {set}: {text} is lost");
        }
    }
    assert!(named >= NAMED_MIN, "{named} messages name a patient");
}

#[test]
fn bytes_and_sets_that_nobody_can_read_are_placed() {
    let Some(messages) = messages() else { return };
    let mapper = Mapper::embedded();
    let mut damaged = 0;
    for Outside { name, raw } in
        messages.iter().filter(|message| lines(&message.raw).iter().any(|l| l.starts_with(b"PID|")))
    {
        for (set, bytes) in [("ASCII", &b"M\xc3\xbcller"[..]), ("UNICODE UTF-8", &b"M\xfcller"[..])] {
            let raw = rewritten(raw, set, bytes, "\r");
            let mapped = answered(&mapper, &raw, format_args!("{name} in {set}"));
            let at = raw.iter().position(|byte| !byte.is_ascii());
            let found: Vec<_> = mapped.errors.iter().map(|e| (e.code, e.path.as_str(), Some(e.offset))).collect();
            assert_eq!(found, [("bad-encoding", "PID-5", at)], "{name} in {set}");
            damaged += 1;
        }
        let raw = rewritten(raw, "KLINGON", b"Worf", "\r");
        let mapped = answered(&mapper, &raw, format_args!("{name} in a set that is none"));
        let found: Vec<_> = mapped.errors.iter().map(|e| (e.code, e.path.as_str())).collect();
        assert_eq!(found, [("unsupported-charset", "MSH-18")], "{name}");
        assert!(raw[mapped.errors[0].offset..].starts_with(b"KLINGON"), "{name}");
    }
    assert!(damaged >= 2 * NAMED_MIN, "{damaged} damaged messages");
}
