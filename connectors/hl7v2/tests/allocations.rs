//! How often mapping one message asks for memory, and how much of it is held at once: the golden messages, and a document of 15 MB in
//! OBX-5. The bounds are what was measured and a little more: who makes it worse sees it here.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use allocation_counter::{AllocationInfo, measure};
use connectors_hl7v2::{MapOptions, Mapper};

const ORU: &[u8] = include_bytes!("golden/oru_r01.hl7");
const ADT: &[u8] = include_bytes!("golden/adt_a01.hl7");
/// Bytes of base64 in the large message.
const DOCUMENT_BYTES: usize = 15 << 20;

/// Stands in for the vault's keyed ids.
fn id(resource: &'static str, key: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    (resource, key).hash(&mut hasher);
    format!("{:032x}", hasher.finish())
}

/// Tokens, tables, canonical bytes; the tables were linked before.
fn mapping(mapper: &Mapper, raw: &[u8]) -> (AllocationInfo, usize) {
    let options = MapOptions { ids: &id, default_zone: "+00:00", default_charset: None, explain: false };
    let mut bytes = 0;
    let info = measure(|| {
        let mapped = mapper.map(raw, &options);
        bytes = mapped.cases.iter().map(|case| case.bundle.canonical().len()).sum();
    });
    assert!(bytes > raw.len(), "found {bytes} bytes, expected a bundle");
    (info, bytes)
}

#[test]
fn a_message_asks_for_memory_a_bounded_number_of_times() {
    let mapper = Mapper::embedded();
    for (name, raw, first_most, later_most) in [("ORU_R01", ORU, 1_100, 1_000), ("ADT_A01", ADT, 650, 600)] {
        let (first, bytes) = mapping(&mapper, raw);
        mapping(&mapper, raw);
        // codes have been met twice and are remembered
        let (later, _) = mapping(&mapper, raw);
        let (times, then, held) = (first.count_total, later.count_total, first.bytes_max);
        println!(
            "{name}: {} bytes to {bytes}, {times} allocations, later {then}, {held} bytes held at most",
            raw.len()
        );
        assert!(times <= first_most, "{name}: found {times} allocations, expected at most {first_most}");
        assert!(then <= later_most, "{name}: found {then} allocations, expected at most {later_most}");
    }
}

#[test]
fn a_document_is_held_a_few_times_at_once() {
    let head = "MSH|^~\\&|LAB|NORTH|GW|HUB|20261127090000||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||4711^^^NORTH^MR\rOBR|1||1|1^scan\r";
    let mut raw = format!("{head}OBX|1|ED|1^scan||^application^pdf^Base64^").into_bytes();
    raw.resize(raw.len() + DOCUMENT_BYTES, b'A');
    raw.extend_from_slice(b"||||||F\r");
    let (info, _) = mapping(&Mapper::embedded(), &raw);
    let times = info.bytes_max as f64 / raw.len() as f64;
    println!("15 MB: {} bytes held at most beside the message, {times:.1} times its size", info.bytes_max);
    assert!(times < 2.5, "found {times:.1} times the message's size, expected fewer than 2.5");
}
