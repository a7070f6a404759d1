//! Every message from outside and every event that has a table: all map, whole, and a second time to the same bytes. It must
//! never be content with a part of them.

#[path = "support/outside.rs"]
mod outside;

use connectors_hl7v2::{Mapped, Mapper};
use outside::{Outside, lines, map, messages, put, whole};

/// Fewest events that have a table.
const EVENTS_MIN: usize = 100;

/// Code and trigger of every event that has a table.
fn events(mapper: &Mapper) -> Vec<(String, String)> {
    let types = mapper.message_types();
    assert!(types.len() >= EVENTS_MIN, "{} events", types.len());
    let parts = |name: &String| name.split_once('_').map(|(code, trigger)| (code.to_owned(), trigger.to_owned()));
    types.iter().map(|name| parts(name).expect("code and trigger")).collect()
}

/// Everything that a message became.
fn bytes(mapped: &Mapped) -> Vec<u8> {
    let mut all = Vec::new();
    for case in &mapped.cases {
        all.extend(case.bundle.to_bytes());
        all.extend(format!("{:?} {:?} {:?}", case.patients, case.event_time, case.source_key).into_bytes());
    }
    all.extend(mapped.unmapped.join(" ").into_bytes());
    all
}

#[test]
fn every_outside_message_maps_whole() {
    let Some(messages) = messages() else { return };
    let mapper = Mapper::embedded();
    let mut broken = Vec::new();
    for Outside { name, raw } in &messages {
        let mapped = map(&mapper, raw);
        broken.extend(mapped.errors.iter().map(|error| format!("{name}: {error}")));
        if mapped.cases.is_empty() {
            broken.push(format!("{name}: no case"));
        }
        for case in &mapped.cases {
            broken.extend(whole(&case.bundle).err().map(|error| format!("{name}: {error}")));
        }
    }
    assert!(broken.is_empty(), "{} of {} messages:\n  {}", broken.len(), messages.len(), broken.join("\n  "));
}

#[test]
fn a_message_becomes_the_same_bytes_each_time() {
    let Some(messages) = messages() else { return };
    let (mapper, other) = (Mapper::embedded(), Mapper::embedded());
    for Outside { name, raw } in &messages {
        let first = bytes(&map(&mapper, raw));
        assert!(!first.is_empty(), "{name}: nothing");
        assert!(first == bytes(&map(&mapper, raw)), "{name}: other bytes the second time");
        assert!(first == bytes(&map(&other, raw)), "{name}: other bytes from the same tables, read anew");
    }
}

#[test]
fn every_event_maps_with_a_patient_alone() {
    let mapper = Mapper::embedded();
    for (code, trigger) in events(&mapper) {
        let raw = format!("MSH|^~\\&|A|B|||20260101||{code}^{trigger}|1\rPID|1||5^^^H^MR||Doe^Jane");
        let mapped = map(&mapper, raw.as_bytes());
        assert!(mapped.errors.is_empty(), "{code}^{trigger}: {:?}", mapped.errors);
        assert_eq!(mapped.message_type, Some(format!("{code}_{trigger}")));
        assert_eq!(mapped.cases.len(), 1, "{code}^{trigger}");
        assert_eq!(whole(&mapped.cases[0].bundle), Ok(()), "{code}^{trigger}");
    }
}

/// Senders put segments where a structure has none, and events upon structures that are not theirs.
#[test]
fn every_outside_message_is_whole_under_every_event() {
    let Some(messages) = messages() else { return };
    let mapper = Mapper::embedded();
    let events: Vec<String> = events(&mapper).iter().map(|(code, trigger)| format!("{code}^{trigger}")).collect();
    for Outside { name, raw } in &messages {
        let lines = lines(raw);
        let behind = lines[1..].join(&b'\r');
        for event in &events {
            let mut header: Vec<&[u8]> = lines[0].split(|byte| *byte == b'|').collect();
            // MSH-1 is the separator itself: MSH-9 is the ninth piece
            put(&mut header, 8, event.as_bytes());
            let mapped = map(&mapper, &[header.join(&b'|'), behind.clone()].join(&b'\r'));
            assert!(mapped.errors.is_empty(), "{name} as {event}: {:?}", mapped.errors);
            assert!(!mapped.cases.is_empty(), "{name} as {event}: no case");
            for case in &mapped.cases {
                assert_eq!(whole(&case.bundle), Ok(()), "{name} as {event}");
            }
        }
    }
}
