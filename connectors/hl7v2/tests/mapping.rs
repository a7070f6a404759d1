//! Whole messages: golden files, cases and identity, structure of bundles, robustness, and outside data.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use connectors_hl7v2::{MapOptions, Mapped, Mapper, patient_identifier, source_key};
use proptest::prelude::*;
use schemas::json::{Value, parse};

const ORU: &[u8] = include_bytes!("golden/oru_r01.hl7");
const ADT: &[u8] = include_bytes!("golden/adt_a01.hl7");

/// FNV-1a, twice: stands in for the vault's keyed ids.
fn id(resource: &'static str, key: &[&str]) -> String {
    let mut hashes = [0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15_u64];
    for part in [resource].iter().chain(key) {
        for byte in part.as_bytes().iter().chain(&[0x1f]) {
            hashes = hashes.map(|h| (h ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        }
    }
    format!("{:016x}{:016x}", hashes[0], hashes[1])
}

fn map_with(mapper: &Mapper, raw: &[u8]) -> Mapped {
    mapper.map(raw, &MapOptions { ids: &id, default_zone: "+00:00", default_charset: None, explain: false })
}

fn map(raw: &[u8]) -> Mapped {
    map_with(&Mapper::embedded(), raw)
}

fn resources<'b>(bundle: &'b Value, kind: &str) -> Vec<&'b Value> {
    bundle.list("entry").iter().filter_map(|e| e.get("resource")).filter(|r| r.resource_type() == Some(kind)).collect()
}

/// Every reference resolves, every `Type/id` is there once, ids and times are FHIR's.
fn check_bundle(bundle: &Value) -> Result<(), String> {
    let mut known = HashSet::new();
    for entry in bundle.list("entry") {
        let resource = entry.get("resource").ok_or("an entry without a resource")?;
        let id = resource.text("id").ok_or("a resource without an id")?;
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            return Err("an id that is none".into());
        }
        let name = format!("{}/{id}", resource.resource_type().ok_or("a resource without a type")?);
        if entry.text("fullUrl") != Some(&name) || !known.insert(name.clone()) {
            return Err(format!("{name} twice or under another url"));
        }
    }
    check_value(bundle, &known)
}

fn check_value(value: &Value, known: &HashSet<String>) -> Result<(), String> {
    match value {
        Value::Array(items) if items.is_empty() => Err("an empty list".into()),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, known)),
        Value::Object(object) if object.is_empty() => Err("an empty element".into()),
        Value::Object(object) => object.iter().try_for_each(|(name, member)| match (name, member.as_str()) {
            ("reference", Some(to)) if !known.contains(to) => Err(format!("{to} dangles")),
            (_, Some("")) => Err(format!("{name} is empty")),
            (_, Some(text)) if name.ends_with("DateTime") && text.contains('T') && !has_offset(text) => {
                Err(format!("{name} has no offset"))
            }
            _ => check_value(member, known),
        }),
        Value::Null => Err("a null".into()),
        _ => Ok(()),
    }
}

fn has_offset(time: &str) -> bool {
    time.ends_with('Z') || time.len() > 6 && matches!(time.as_bytes()[time.len() - 6], b'+' | b'-')
}

fn golden(name: &str, raw: &[u8]) {
    let mapped = map(raw);
    assert!(mapped.errors.is_empty(), "{:?}", mapped.errors);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    let golden = parse(&fs::read(&path).expect("the golden file")).expect("JSON");
    let cases = golden.list("cases");
    assert_eq!(mapped.cases.len(), cases.len());
    for (case, expected) in mapped.cases.iter().zip(cases) {
        let expected = expected.get("bundle").expect("a bundle");
        for (ours, theirs) in case.bundle.list("entry").iter().zip(expected.list("entry")) {
            let text = |v: &Value| String::from_utf8(v.canonical()).expect("UTF-8");
            assert_eq!(text(ours), text(theirs), "{name}");
        }
        assert_eq!(case.bundle.canonical(), expected.canonical(), "{name}");
        check_bundle(&case.bundle).expect(name);
    }
    let unmapped: Vec<&str> = golden.list("unmapped").iter().filter_map(Value::as_str).collect();
    assert_eq!(mapped.unmapped, unmapped, "{name}");
}

#[test]
fn golden_files() {
    golden("oru_r01", ORU);
    golden("adt_a01", ADT);
}

#[test]
fn whom_a_message_is_about_is_found_without_reading_more_of_it() {
    assert_eq!(patient_identifier(ORU).as_deref(), Some("7700012"));
    for (rest, wanted) in [
        ("PID|1||4711^^^NORTH^MR~99^^^X", Some("4711")),
        ("EVN|A01\rPID|1|12^^^OLD|\rPV1|1", Some("12")),
        ("PID|1|12|\"\"^^^NORTH||M\u{fc}ller", Some("12")),
        ("PID|1||4711||M\u{fc}ller^\u{c4}", Some("4711")),
        ("PID|1||^^^NORTH", None),
        ("PID", None),
        ("PV1|1||4711", None),
    ] {
        // in Latin 1, whatever MSH-18 says
        let text = format!("MSH|^~\\&|A\u{dc}|B\rEVN|\u{e4}\r{rest}\r");
        let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin 1")).collect();
        assert_eq!(patient_identifier(&bytes).as_deref(), wanted, "{rest}");
    }
    assert_eq!(patient_identifier(b"MSH#*!?+#A\rPID#1##47?F?11*x").as_deref(), Some("47#11"));
    assert_eq!(patient_identifier(b"no message"), None);
}

#[test]
fn a_case_says_whose_it_is_when_and_from_where() {
    let mapped = map(ORU);
    assert_eq!(mapped.message_type.as_deref(), Some("ORU_R01"));
    let case = &mapped.cases[0];
    assert_eq!(case.message_type, "ORU_R01");
    assert_eq!(case.event_time.as_deref(), Some("2026-03-14T10:15:00+01:00"));
    let first = &case.patients[0];
    let parts = (first.authority.as_str(), first.value.as_str(), first.type_code.as_str());
    assert_eq!(parts, ("urn:oid:1.2.840.99999.1", "7700012", "MR"));
    assert_eq!(case.source_key, source_key(ORU).expect("a key"));
    assert_eq!(case.source_key.control_id, "NK-000417");
    let patient = resources(&case.bundle, "Patient")[0];
    assert_eq!(patient.text("id"), Some(id("Patient", &["urn:oid:1.2.840.99999.1", "7700012", "MR"]).as_str()));
}

#[test]
fn the_same_message_gives_the_same_ids_and_equal_keys_are_told_apart() {
    assert_eq!(map(ORU).cases[0].bundle.canonical(), map(ORU).cases[0].bundle.canonical());
    let twice =
        b"MSH|^~\\&|A|B|||20260101||ORU^R01|1\rPID|1||5\rOBR|1||F1|C1\rOBX|1|ST|X||a||||||F\rOBX|2|ST|X||b||||||F";
    let mapped = map(twice);
    let bundle = &mapped.cases[0].bundle;
    check_bundle(bundle).expect("a whole bundle");
    let observations = resources(bundle, "Observation");
    assert_eq!(observations.len(), 2);
    assert_eq!(observations[0].text("id"), Some(id("Observation", &["F1", "C1", "X"]).as_str()));
}

#[test]
fn one_case_per_patient_and_message() {
    let raw = b"MSH|^~\\&|A|B|||20260101||ORU^R01|1\rPID|1||5^^^H^MR\rOBR|1||F1|C1\rOBX|1|ST|X||a\rPID|2||6^^^H^MR\r\
        OBR|1||F2|C1\rOBX|1|ST|X||b\rPID|3||5^^^H^MR\rOBR|1||F3|C1\rOBX|1|ST|X||c";
    let mapped = map(raw);
    let patients: Vec<&str> = mapped.cases.iter().map(|c| c.patients[0].value.as_str()).collect();
    assert_eq!(patients, ["5", "6"]);
    assert_eq!(resources(&mapped.cases[0].bundle, "DiagnosticReport").len(), 2);
    for case in &mapped.cases {
        check_bundle(&case.bundle).expect("a whole bundle");
        assert_eq!(resources(&case.bundle, "MessageHeader").len(), 1);
        assert_eq!(resources(&case.bundle, "Patient").len(), 1);
    }
}

#[test]
fn a_message_about_too_many_patients_is_refused() {
    let mut raw = b"MSH|^~\\&|A|B|||20260101||ORU^R01|1".to_vec();
    for n in 0..300 {
        raw.extend_from_slice(format!("\rPID|1||{n}\rOBR|1||F{n}|C").as_bytes());
    }
    let mapped = map(&raw);
    assert!(mapped.cases.is_empty());
    assert_eq!((mapped.errors[0].code, mapped.errors[0].path.as_str()), ("too-many-patients", "PID"));
}

#[test]
fn a_batch_maps_what_can_be_mapped_and_refuses_the_rest() {
    let mut raw = b"FHS|^~\\&\r".to_vec();
    raw.extend_from_slice(ORU);
    raw.extend_from_slice(b"\rMSH|^~\\&|A||||||QBP^Q11|9\rQPD|x\r");
    raw.extend_from_slice(ADT);
    let mapped = map(&raw);
    let types: Vec<&str> = mapped.cases.iter().map(|c| c.message_type.as_str()).collect();
    assert_eq!(types, ["ORU_R01", "ADT_A01"]);
    assert_eq!(mapped.errors.len(), 1);
    assert_eq!((mapped.errors[0].code, mapped.errors[0].path.as_str()), ("unsupported-message", "MSH-9"));
    assert_eq!(&raw[mapped.errors[0].offset..mapped.errors[0].offset + 3], b"QBP");
}

#[test]
fn nothing_populated_is_lost_in_silence() {
    let raw = b"MSH|^~\\&|A|B|||20260101||ORU^R01|1\rPID|1||5|||||||\"\"|||||||||||||||||X\rZDS|a^b\rQQ|junk\rOBX|1|DT|X||no date";
    let mapped = map(raw);
    assert!(mapped.unmapped.iter().all(|p| p != "PID-10"), "a null takes the race away");
    for path in ["PID-27", "ZDS-1", "line 4", "OBX-5"] {
        assert!(mapped.unmapped.iter().any(|p| p == path), "{path} in {:?}", mapped.unmapped);
    }
}

/// A constant of a segment that brings nothing is in the case all the same, once another one brings something.
#[test]
fn constants_are_explained_when_their_resource_comes_to_be() {
    let add = [
        (
            "messages/ZZZ_Z01.map",
            "message ZZZ_Z01\non ZZZ^Z01\nMSH makes Bundle\nZAA makes Patient\nZBB fills Patient\n",
        ),
        ("segments/ZAA.map", "segment ZAA\ninto Patient\nlanguage <- \"de\"\n"),
        ("segments/ZBB.map", "segment ZBB\ninto Patient\ngender <- ZBB-1\n"),
    ];
    let mapper = Mapper::with_tables(&add.map(|(name, text)| (name.to_owned(), text.to_owned()))).expect("tables");
    let options = MapOptions { ids: &id, default_zone: "Z", default_charset: None, explain: true };
    for (raw, is_there) in [("ZAA|\rZBB|other", true), ("ZAA|\rZBB|", false)] {
        let mapped = mapper.map(format!("MSH|^~\\&|||||20260101||ZZZ^Z01|1\r{raw}").as_bytes(), &options);
        let whole = String::from_utf8(mapped.cases[0].bundle.canonical()).expect("text");
        let explained = mapped.explained.iter().any(|e| e.element == "Patient.language" && e.field == "\"de\"");
        assert_eq!((whole.contains("\"language\":\"de\""), explained), (is_there, is_there), "{raw:?}: {whole}");
    }
}

#[test]
fn a_site_replaces_and_adds_tables() {
    let add = [
        (
            "messages/ZZZ_Z01.map".to_owned(),
            "message ZZZ_Z01\non ZZZ^Z01\nMSH makes Bundle\nZPD makes Patient\n".to_owned(),
        ),
        (
            "segments/ZPD.map".to_owned(),
            "segment ZPD\ninto Patient\ngender <- ZPD-1 via AdministrativeSex\n".to_owned(),
        ),
        ("AdministrativeSex.map".to_owned(), "vocabulary AdministrativeSex\n1 female\n2 male\n".to_owned()),
    ];
    let mapper = Mapper::with_tables(&add).expect("tables");
    assert!(mapper.supports("ZZZ_Z01") && mapper.supports("ADT_A04") && !mapper.supports("ADT_A99"));
    let mapped = map_with(&mapper, b"MSH|^~\\&|A||||||ZZZ^Z01|1\rZPD|1");
    assert_eq!(resources(&mapped.cases[0].bundle, "Patient")[0].text("gender"), Some("female"));
    let broken = Mapper::with_tables(&[("segments/ZPD.map".to_owned(), "segment ZPD\nx".to_owned())]);
    assert_eq!(broken.err().map(|e| (e.file, e.line)), Some(("segments/ZPD.map".to_owned(), 2)));
}

#[test]
fn explanations_name_element_rule_and_field() {
    let mapper = Mapper::embedded();
    let options = MapOptions { ids: &id, default_zone: "Z", default_charset: None, explain: true };
    let mapped = mapper.map(ORU, &options);
    let found = mapped.explained.iter().find(|e| e.field == "PID-5.1.1").expect("the family name");
    assert_eq!(found.element, "Patient.name[].family");
    assert!(found.rule.starts_with("datatypes/FN.map:"), "{}", found.rule);
    // what no field makes has a rule too: texts of a table, references, what FHIR requires; and each of several segments its number
    let has = |element: &str, rule: &str, field: &str| {
        let found =
            mapped.explained.iter().any(|e| e.element == element && e.rule.starts_with(rule) && e.field == field);
        assert!(found, "{element} {rule} {field}");
    };
    has("Observation.subject", "messages/ORU_R01.map:", "@Patient");
    has("Observation.code.coding[].code", "", "OBX[2]-3.1");
    assert!(mapped.explained.iter().any(|e| e.field.starts_with('"')), "a text of a table");
    // and nothing is explained that is not there
    let whole = String::from_utf8(mapped.cases[0].bundle.canonical()).expect("UTF-8");
    for explained in &mapped.explained {
        let last = explained.element.rsplit(['.', '→']).next().unwrap_or_default().trim_end_matches("[]");
        assert!(last == "$" || whole.contains(&format!("\"{last}\"")), "{explained:?}");
    }
}

#[test]
fn an_event_that_stands_in_evn_alone_is_found() {
    let mapped = map(b"MSH|^~\\&|A|B|C|D|20240101||ADT|1|P|2.1\rEVN|A04|20240101\rPID|1||1^^^H^MR\rPV1|1|O\r");
    assert!(mapped.errors.is_empty(), "{:?}", mapped.errors);
    assert_eq!(mapped.message_type.as_deref(), Some("ADT_A04"));
}

#[test]
fn times_get_the_zone_of_the_message_or_the_site() {
    let raw = |msh7: &str| {
        format!("MSH|^~\\&|A|B|||{msh7}||ORU^R01|1\rPID|1||5\rOBR|1||F|C|||202607011230\rOBX|1|NM|X||0012.50")
    };
    let effective = |raw: String, zone: &str| {
        let options = MapOptions { ids: &id, default_zone: zone, default_charset: None, explain: false };
        let mapped = Mapper::embedded().map(raw.as_bytes(), &options);
        let report = resources(&mapped.cases[0].bundle, "DiagnosticReport")[0].clone();
        let observation = resources(&mapped.cases[0].bundle, "Observation")[0];
        let number = observation.path(&["valueQuantity", "value"]).expect("a number").canonical();
        assert_eq!(number, b"12.50");
        report.text("effectiveDateTime").map(str::to_owned)
    };
    assert_eq!(effective(raw("20260101-0500"), "Z").as_deref(), Some("2026-07-01T12:30:00-05:00"));
    assert_eq!(effective(raw("20260101"), "+02:00").as_deref(), Some("2026-07-01T12:30:00+02:00"));
    let mapped = Mapper::embedded().map(
        raw("20260101").as_bytes(),
        &MapOptions { ids: &id, default_zone: "nowhere", default_charset: None, explain: false },
    );
    assert_eq!(mapped.errors[0].code, "bad-zone");
}

#[test]
fn errors_hold_no_value() {
    const CANARY: &str = "Canaryname";
    let mut inputs: Vec<Vec<u8>> = vec![
        format!("MSH|^~\\&|{CANARY}|||||{CANARY}|ORU^R01\rPID|1||||{CANARY}").into_bytes(),
        format!("{CANARY}|^~\\&").into_bytes(),
        format!("MSH{CANARY}").into_bytes(),
        format!("MSH|^~\\&|A||||||{CANARY}^{CANARY}|1").into_bytes(),
        format!("MSH|^~\\&|A|||||||||||||||{CANARY}").into_bytes(),
    ];
    let mut bad = format!("MSH|^~\\&|A||||||ORU^R01|1\rPID|1||||{CANARY}").into_bytes();
    bad.push(0xff);
    inputs.push(bad);
    for raw in inputs {
        let mapped = map(&raw);
        for error in &mapped.errors {
            assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
        }
        assert!(!mapped.unmapped.join(" ").contains(CANARY));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mapper = Mapper::embedded();
        map_with(&mapper, &bytes);
        let mut behind = b"MSH|^~\\&|A|B|||20260101||ORU^R01|1\rPID|1||".to_vec();
        behind.extend_from_slice(&bytes);
        map_with(&mapper, &behind);
        let _ = (source_key(&behind), patient_identifier(&behind));
    }

    #[test]
    fn mutated_messages_give_whole_bundles(
        adt in any::<bool>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..12u8, prop::sample::select(b"|^~\\&#\r\n\"A1<-\xff ".to_vec())), 1..12),
    ) {
        let mut raw = if adt { ADT.to_vec() } else { ORU.to_vec() };
        for (index, kind, byte) in edits {
            let at = index.index(raw.len() + 1);
            match kind {
                0..5 if at < raw.len() => raw[at] = byte,
                5..8 => raw.insert(at, byte),
                8..11 if at < raw.len() => {
                    raw.remove(at);
                }
                _ => raw.truncate(at),
            }
        }
        let mapped = map_with(&Mapper::embedded(), &raw);
        for error in &mapped.errors {
            prop_assert!(error.offset <= raw.len());
        }
        for case in &mapped.cases {
            prop_assert_eq!(check_bundle(&case.bundle), Ok(()));
        }
    }
}

#[test]
fn outside_messages_map_whole() {
    let root = env::var_os("CHARTSEAL_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let root = root.join("hl7v2");
    if !root.is_dir() {
        println!("skipped: no CHARTSEAL_DATA");
        return;
    }
    let mapper = Mapper::embedded();
    let mut files = Vec::new();
    collect(&root, &mut files);
    let mut mapped_files = 0;
    for file in &files {
        let raw = fs::read(file).expect("a readable file");
        let mapped = map_with(&mapper, &raw);
        let kind = mapped.message_type.clone().unwrap_or_default();
        if mapper.supports(&kind) {
            assert!(mapped.errors.is_empty(), "{}: {:?}", file.display(), mapped.errors);
            mapped_files += 1;
        }
        for case in &mapped.cases {
            check_bundle(&case.bundle).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
    println!("{mapped_files} of {} outside messages mapped", files.len());
    assert!(mapped_files >= 137, "{mapped_files} mapped");
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "hl7") {
            into.push(path);
        }
    }
}

#[test]
fn a_null_takes_away_what_its_field_gave() {
    let raw = b"MSH|^~\\&|A|N|G|H|20260101||ADT^A08^ADT_A01|1|P|2.5.1\rEVN|A08|20260101\r\
        PID|1||4711^^^N^MR||Doe^Jo||\"\"|F|||\"\"||\"\"|^WPN^PH^^1^207^5550000|||||\"\"\rPV1|1|I|\"\"\r";
    let mapped = map(raw);
    let cleared = &mapped.cases[0].cleared;
    let patient = resources(&mapped.cases[0].bundle, "Patient")[0].text("id").expect("an id");
    let of = |element: &str| cleared.iter().filter(|c| c.element == element).collect::<Vec<_>>();
    assert!(of("birthDate").iter().all(|c| c.resource == format!("Patient/{patient}")) && of("birthDate").len() == 1);
    assert!(of("address")[0].only.is_empty() && of("gender").is_empty());
    assert_eq!(of("telecom").len(), 1, "the work phone is there");
    assert_eq!(of("telecom")[0].only, [(vec!["use"], "home")]);
    assert!(of("identifier")[0].only.iter().any(|(_, value)| *value == "SS"), "{:?}", of("identifier"));
    assert!(of("location")[0].resource.starts_with("Encounter/"));
    assert_eq!(mapped.unmapped, ["MSH-7", "EVN-2"], "what takes away is mapped");
}
