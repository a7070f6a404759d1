//! What is remembered of maps changes nothing: a mapper that has seen it all gives what one gives that remembers nothing. It must never
//! compare a message with less than everything it became. (That it forgets patients: `src/map.rs`.)

#[path = "support/outside.rs"]
mod outside;

use connectors_hl7v2::{MapOptions, Mapped, Mapper};
use outside::{Outside, id, map, messages};

/// Everything that a message became.
fn bytes(mapped: &Mapped) -> String {
    let mut all = format!("{:?}{:?}\n", mapped.errors, mapped.unmapped);
    for case in &mapped.cases {
        all.push_str(&String::from_utf8(case.bundle.to_bytes()).expect("JSON is text"));
        all.push_str(&String::from_utf8(case.bundle.canonical()).expect("JSON is text"));
        all.push_str(&format!("{:?}{:?}{:?}{:?}", case.patients, case.replaced, case.cleared, case.event_time));
    }
    all
}

/// Explaining remembers nothing.
fn afresh(mapper: &Mapper, raw: &[u8], zone: &str) -> String {
    bytes(&mapper.map(raw, &MapOptions { ids: &id, default_zone: zone, default_charset: None, explain: true }))
}

fn again(mapper: &Mapper, raw: &[u8], zone: &str) -> String {
    bytes(&mapper.map(raw, &MapOptions { ids: &id, default_zone: zone, default_charset: None, explain: false }))
}

#[test]
fn a_mapper_that_has_seen_it_all_maps_as_one_that_remembers_nothing() {
    let Some(messages) = messages() else { return };
    let mapper = Mapper::embedded();
    // seen, then kept, then taken as it is; in another order, so that slots change hands
    for round in 0..4 {
        for nth in 0..messages.len() {
            let Outside { name, raw } = &messages[nth * [1, 7, 11, 13][round] % messages.len()];
            assert!(
                bytes(&map(&mapper, raw)) == afresh(&mapper, raw, "+00:00"),
                "{name}, round {round}: something else"
            );
        }
    }
}

const CODED: &str = "PID|1||7^^^NORTH^MR||Quell^Ina||19700101|F\rPV1|1|O|||||4711^Marchetti^Giulia^^^Dr.^^^NORTH\r\
                     OBR|1||F1|718-7^Hemoglobin^LN\rOBX|1|CWE|718-7^Hemoglobin^LN||260385009^Negative~T\\T\\x^Other^LN||N|||F|||202601020304\r";

fn oru(separators: &str, charset: &str) -> String {
    let fields = format!("|LAB|NORTH|GW|HUB|20260102030405||ORU{0}R01|1|P|2.5.1||||||{charset}", &separators[..1]);
    format!("MSH|{separators}{fields}\r{CODED}")
}

#[test]
fn the_same_text_with_other_delimiters_or_in_another_set_is_another() {
    let mapper = Mapper::embedded();
    let ways = [oru("^~\\&", ""), oru("#~\\&", ""), oru("^~!&", ""), oru("^~\\&", "8859/1"), oru("^\\~&", "")];
    for round in 0..3 {
        for (nth, raw) in ways.iter().enumerate() {
            let mapped = again(&mapper, raw.as_bytes(), "+00:00");
            assert!(mapped.contains("Bundle"), "way {nth}: nothing was mapped: {mapped}");
            assert!(mapped == afresh(&mapper, raw.as_bytes(), "+00:00"), "way {nth}, round {round}");
        }
    }
    assert_ne!(again(&mapper, ways[0].as_bytes(), "+00:00"), again(&mapper, ways[1].as_bytes(), "+00:00"));
}

#[test]
fn a_time_is_read_by_the_zone_of_its_own_message() {
    let mapper = Mapper::embedded();
    // a doctor whose name was valid for a while: a map that is kept for long, with one inside that is not
    let doctor = |id: &str| format!("{id}^{}20200101120000&20210101120000", "^".repeat(15));
    let (ann, bee) = (doctor("1^Ann"), doctor("2^Bee"));
    let address = "1 Road^^Town^^1^X^H^^^^^^20200101120000^20210101120000";
    let raw = format!(
        "MSH|^~\\&|A|NORTH|GW|HUB|20260102||ADT^A01|1|P|2.5.1\rEVN|A01\rPID|1||7^^^NORTH^MR||Quell^Ina||1970|F|||{address}\r\
         NK1|1|Quell^Otto||{address}\rNK1|2|Quell^Ute||{address}\rPV1|1|I|||||{ann}|{bee}\r"
    );
    for zone in ["+01:00", "+01:00", "+01:00", "-05:00", "Europe/Vienna", "+01:00"] {
        let mapped = again(&mapper, raw.as_bytes(), zone);
        assert!(mapped.contains("2020-01-01T12:00:00"), "the period of an address is mapped: {mapped}");
        assert!(mapped == afresh(&mapper, raw.as_bytes(), zone), "{zone}");
    }
}
