//! Who is who, what goes into which case, what is refused and where.

use connectors_hl7v2::Mapper;
use schemas::json::Value;

use super::{
    Canonical, Format, Identity, Meaning, Normaliser, PatientKey, Refusal, client_source, media_type, summarise,
};

fn normaliser() -> Normaliser {
    let authorities = [("HOSP".to_owned(), "urn:oid:1.2.3".to_owned())];
    Normaliser { authorities: authorities.into(), ..Normaliser::new(Mapper::embedded()) }
}

fn fhir(text: &str) -> Result<Canonical, Refusal> {
    let ids = |kind: &str, key: &[&str]| format!("{kind}.{}", key.join("."));
    normaliser().normalise_with(Format::Fhir, "ehr", text.as_bytes(), &ids)
}

fn types(canonical: &Canonical, case: usize) -> Vec<&str> {
    canonical.cases()[case].units.iter().map(|unit| unit.resource_type.as_str()).collect()
}

#[test]
fn one_case_per_patient_with_shared_resources_copied() {
    let bundle = r#"{"resourceType":"Bundle","type":"collection","entry":[
      {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"a","identifier":[{"system":"s","value":"1"}]}},
      {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Patient","id":"b"}},
      {"resource":{"resourceType":"Practitioner","id":"d"}},
      {"resource":{"resourceType":"Organization","id":"nobody"}},
      {"resource":{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"x"},
        "subject":{"reference":"urn:uuid:1"},"performer":[{"reference":"Practitioner/d"}]}},
      {"resource":{"resourceType":"Observation","id":"o2","status":"final","code":{"text":"x"},
        "subject":{"reference":"Patient/b"},"performer":[{"reference":"Practitioner/d"}]}}]}"#;
    let canonical = fhir(bundle).expect("good");
    assert_eq!(canonical.cases().len(), 3);
    assert_eq!(types(&canonical, 0), ["Organization"]);
    assert_eq!(canonical.cases()[0].patient, None);
    assert_eq!(types(&canonical, 1), ["Patient", "Practitioner", "Observation"]);
    assert_eq!(types(&canonical, 2), ["Patient", "Practitioner", "Observation"]);
    let observation = &canonical.cases()[1].units[2];
    assert!(observation.identity == Identity::Logical("Observation.ehr.o1".into()));
    assert!(observation.references.contains(&("urn:uuid:1".into(), Meaning::Patient(0))));
    let practitioner = Meaning::Resource("Practitioner".into(), "Practitioner.ehr.d".into());
    assert!(observation.references.contains(&("Practitioner/d".into(), practitioner)));
}

/// `patients` that each refer to the first of a chain of `shared` resources of `padding` bytes each.
fn chain_of_shared(patients: usize, shared: usize, padding: usize) -> String {
    let patient = |n| {
        format!(
            r#"{{"resource":{{"resourceType":"Patient","id":"p{n}","managingOrganization":{{"reference":"Organization/0"}}}}}}"#
        )
    };
    let name = "x".repeat(padding);
    let organization = |n: usize| {
        format!(
            r#"{{"resource":{{"resourceType":"Organization","id":"{n}","name":"{name}","partOf":{{"reference":"Organization/{}"}}}}}}"#,
            n + 1
        )
    };
    let entries: Vec<String> = (0..patients).map(patient).chain((0..shared).map(organization)).collect();
    format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{}]}}"#, entries.join(","))
}

#[test]
fn copies_are_bounded_in_number_and_bytes_before_they_are_made() {
    let taken = fhir(&chain_of_shared(20, 20, 1)).expect("good");
    assert_eq!(taken.cases().iter().map(|case| case.units.len()).sum::<usize>(), 20 * 21);
    for large in [chain_of_shared(600, 600, 1), chain_of_shared(400, 1, 1 << 20)] {
        let Err(refusal) = fhir(&large) else { panic!("must be refused") };
        assert_eq!((refusal.code, refusal.path.as_str()), ("too-many-units", "Bundle"));
    }
}

#[test]
fn a_single_patient_takes_what_is_nobodys() {
    let bundle = r#"{"resourceType":"Bundle","type":"message","entry":[
      {"resource":{"resourceType":"Organization","id":"x"}},
      {"resource":{"resourceType":"Patient","id":"a"}}]}"#;
    let canonical = fhir(bundle).expect("good");
    assert_eq!(canonical.cases().len(), 1);
    assert_eq!(types(&canonical, 0), ["Organization", "Patient"]);
}

#[test]
fn patients_are_named_by_reference_identifier_and_containment() {
    for (subject, key) in [
        (r#"{"reference":"Patient/7"}"#, PatientKey::of_source("ehr", "7")),
        (r#"{"reference":"https://h/fhir/Patient/7/_history/2"}"#, PatientKey::url("ehr", "https://h/fhir/Patient/7")),
        (r#"{"identifier":{"system":"s","value":" 1 "}}"#, PatientKey::identifier("s", "1", false)),
        (r#"{"reference":"Patient?identifier=s|1"}"#, PatientKey::identifier("s", "1", false)),
    ] {
        let text =
            format!(r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{subject}}}"#);
        let canonical = fhir(&text).expect("good");
        assert_eq!(canonical.cases()[0].patient, Some(0), "{subject}");
        assert!(canonical.patients()[0].0 == [key], "{subject}");
    }
}

#[test]
fn canonical_bytes_are_those_that_were_sent() {
    let text = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.500}}"#;
    let canonical = fhir(text).expect("good");
    let sent = schemas::json::parse(text.as_bytes()).expect("JSON").canonical();
    assert_eq!(canonical.cases()[0].units[0].bytes, sent);
}

#[test]
fn refusals_name_code_and_place_and_never_a_value() {
    let entry =
        |resource: &str| format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"resource":{resource}}}]}}"#);
    let cases = [
        ("{".to_owned(), "json-truncated", "byte 1"),
        (r#"{"resourceType":"Patient","resourceType":"CANARY"}"#.to_owned(), "json-duplicate-name", "resourceType"),
        ("{}".to_owned(), "no-resource-type", "resourceType"),
        (r#"{"resourceType":"Bundle","entry":"CANARY"}"#.to_owned(), "not-a-list", "Bundle.entry"),
        (entry(r#"{"resourceType":"CANARY"}"#), "unknown-resource-type", "Bundle.entry[0].resource.resourceType"),
        (
            entry(r#"{"resourceType":"Observation","code":{"text":"CANARY"}}"#),
            "missing-element",
            "Bundle.entry[0].resource.status",
        ),
        (entry(r#"{"resourceType":"Patient","id":"CANARY canary"}"#), "bad-id", "Bundle.entry[0].resource.id"),
    ];
    for (text, code, path) in cases {
        let Err(refusal) = fhir(&text) else { panic!("must be refused: {text}") };
        assert_eq!((refusal.code, refusal.path.as_str()), (code, path), "{text}");
        assert!(!format!("{refusal} {refusal:?}").contains("CANARY"), "a value in an error");
    }
}

#[test]
fn a_bundle_without_resources_is_no_error() {
    assert!(fhir(r#"{"resourceType":"Bundle","type":"collection"}"#).expect("good").cases().is_empty());
}

#[test]
fn hl7_and_fhir_name_the_same_patient() {
    let message = b"MSH|^~\\&|LAB|HOSP|X|Y|20240101120000||ADT^A01|1|P|2.5\rEVN|A01|20240101120000\r\
        PID|1||4711^^^HOSP^MR||Doe^Jane||19800101|F\rPV1|1|I|W^1^1\r";
    let ids = |kind: &str, key: &[&str]| {
        schemas::cbor::Parts::new("test").part(&kind).part(&key.join("|")).hash().to_string()
    };
    let hl7 = normaliser().normalise_with(Format::Hl7v2, "adt", message, &ids).expect("good");
    let fhir =
        fhir(r#"{"resourceType":"Patient","identifier":[{"system":"urn:oid:1.2.3","value":"4711"}]}"#).expect("good");
    let number = PatientKey::identifier("urn:oid:1.2.3", "4711", true);
    assert!(hl7.patients()[0].0.contains(&number) && fhir.patients()[0].0.contains(&number));
    let patient = hl7.cases()[0].units.iter().find(|unit| unit.resource_type == "Patient").expect("a Patient");
    assert!(patient.identity == Identity::Patient(0));
    let encounter = hl7.cases()[0].units.iter().find(|unit| unit.resource_type == "Encounter").expect("an Encounter");
    let reference = encounter.resource.path(&["subject", "reference"]).and_then(Value::as_str).expect("a subject");
    assert!(encounter.references.contains(&(reference.to_owned(), Meaning::Patient(0))));
}

#[test]
fn equal_numbers_of_two_hospitals_are_two_patients() {
    let of = |with: &Normaliser, connector: &str, facility: &str, authority: &str| {
        let message = format!(
            "MSH|^~\\&|ADT|{facility}|X|Y|20240101120000||ADT^A01|1|P|2.5\rEVN|A01|20240101120000\rPID|1||4712^^^{authority}^MR\r"
        );
        let ids = |kind: &str, key: &[&str]| {
            schemas::cbor::Parts::new("test").part(&kind).part(&key.join("|")).hash().to_string()
        };
        let canonical = with.normalise_with(Format::Hl7v2, connector, message.as_bytes(), &ids).expect("good");
        let id = canonical.cases()[0].units.iter().find_map(|unit| {
            (unit.resource_type == "Patient").then(|| unit.resource.text("id").unwrap_or_default().to_owned())
        });
        (canonical.patients()[0].0.clone(), id)
    };
    let mut with = normaliser();
    for authority in ["MRN", ""] {
        let north = of(&with, "adt", "NORTH", authority);
        // whichever way it comes, in its own hospital it is the same
        assert!(north == of(&with, "lab", "NORTH", authority));
        let south = of(&with, "adt", "SOUTH", authority);
        assert!(north.0 != south.0 && north.1 != south.1, "{authority:?}: two hospitals' numbers meet");
        // who sends says nothing of itself: the connector does
        assert!(of(&with, "a", "", authority).0 != of(&with, "b", "", authority).0);
    }
    let universal = "N&2.999.1&ISO";
    assert!(of(&with, "adt", "NORTH", universal) == of(&with, "lab", "SOUTH", universal));
    let own = [("MRN".to_owned(), "urn:oid:2.999.7".to_owned())];
    let defaults = connectors_source::Hl7Defaults { authorities: own.into(), ..Default::default() };
    with.sources.insert("south".into(), defaults);
    let known = [PatientKey::identifier("urn:oid:2.999.7", "4712", true)];
    assert_eq!(of(&with, "south", "SOUTH", "MRN").0, known, "a connector's own authority");
    assert_ne!(of(&with, "north", "SOUTH", "MRN").0, known, "another connector's");
}

#[test]
fn a_client_finds_patients_and_ties_no_number_to_them() {
    let ids = |kind: &str, key: &[&str]| format!("{kind}.{}", key.join("."));
    let patient =
        r#"{"resourceType":"Patient","id":"7","identifier":[{"system":"s","value":"1"},{"system":"t","value":"2"}]}"#;
    let mut with = normaliser();
    let of = |with: &Normaliser, source: &str, text: &str| {
        let canonical = with.normalise_with(Format::Fhir, source, text.as_bytes(), &ids).expect("good");
        canonical.patients()[0].0.clone()
    };
    let app = client_source("app");
    let key = |system: &str, value: &str, vouched| PatientKey::identifier(system, value, vouched);
    assert_eq!(
        of(&with, "ehr", patient),
        [key("s", "1", true), key("t", "2", true), PatientKey::of_source("ehr", "7")],
        "a connector is the hospital's own"
    );
    let own = PatientKey::of_source(&app, "7");
    assert_eq!(of(&with, &app, patient), [key("s", "1", false), key("t", "2", false), own.clone()]);
    with.assigns.insert(app.clone(), vec!["t".into()]);
    assert_eq!(of(&with, &app, patient), [key("s", "1", false), key("t", "2", true), own]);
    // said in passing: not even a connector's word
    let inside = format!(
        r##"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"#7"}},"contained":[{patient}]}}"##
    );
    assert_eq!(of(&with, "ehr", &inside), [key("s", "1", false), key("t", "2", false)]);
    // another kind of name cannot be written as an identifier
    let forged = r#"{"resourceType":"Patient","identifier":[{"system":"source:ehr","value":"7"}]}"#;
    let vault_free = of(&with, &app, forged);
    assert!(vault_free.iter().all(|key| *key != PatientKey::of_source("ehr", "7")));
}

#[test]
fn a_source_says_what_its_messages_leave_unsaid() {
    let defaults = connectors_source::Hl7Defaults {
        zone: Some("Europe/Berlin".into()),
        charset: Some("8859/1".into()),
        ..Default::default()
    };
    let mut with = normaliser();
    with.sources.insert("ward".into(), defaults);
    let message = b"MSH|^~\\&|ADT|NORTH|X|Y|202407011200||ADT^A01|1|P|2.5\rEVN|A01|202407011200\rPID|1||4711^^^HOSP^MR||M\xfcller^Eva\r\
        PV1|1|I||||||||||||||||||||||||||||||||||||||||||202407011130\r";
    let ids = |kind: &str, key: &[&str]| {
        schemas::cbor::Parts::new("test").part(&kind).part(&key.join("|")).hash().to_string()
    };
    let all = |connector: &str| -> Result<String, Refusal> {
        let canonical = with.normalise_with(Format::Hl7v2, connector, message, &ids)?;
        Ok(canonical.cases()[0].units.iter().map(|unit| String::from_utf8_lossy(&unit.bytes).into_owned()).collect())
    };
    let ward = all("ward").expect("good");
    assert!(ward.contains("M\u{fc}ller") && ward.contains("2024-07-01T11:30:00+02:00"), "{ward}");
    let other = all("other").expect_err("Latin-1 that nobody announced");
    assert_eq!(other.code, "bad-encoding");
}

#[test]
fn the_messages_provenance_says_what_reached_no_resource() {
    let message = b"MSH|^~\\&|ADT|HOSP|X|Y|20240101120000||ADT^A01^ADT_A01|1|P|2.5\rEVN|A01|20240101120000\r\
        PID|1||4711^^^HOSP^MR||Doe^Jane||19800101|F\rZPD|Canaryvalue\r";
    let ids = |kind: &str, key: &[&str]| {
        schemas::cbor::Parts::new("test").part(&kind).part(&key.join("|")).hash().to_string()
    };
    let canonical = normaliser().normalise_with(Format::Hl7v2, "adt", message, &ids).expect("good");
    assert_eq!(canonical.unmapped(), ["ZPD-1"]);
    let told = canonical.cases()[0].units.iter().flat_map(|unit| unit.resource.list("extension"));
    let told: Vec<_> = told.filter(|e| e.text("url") == Some("urn:chartseal:hl7v2-unmapped")).collect();
    assert_eq!(told.iter().map(|e| e.text("valueString")).collect::<Vec<_>>(), [Some("ZPD-1")]);
}

#[test]
fn content_types_decide_and_are_sniffed_where_they_say_nothing() {
    for text in ["application/hl7-v2+er7", "application/x-hl7-v2+er7; charset=utf-8", "X-Application/HL7-v2+er7"] {
        assert_eq!(Format::of(text, b"").ok(), Some(Format::Hl7v2), "{text}");
    }
    for text in ["application/fhir+json;fhirVersion=4.0", "application/json"] {
        assert_eq!(Format::of(text, b"").ok(), Some(Format::Fhir), "{text}");
    }
    assert_eq!(Format::of("", b"\xef\xbb\xbfMSH|").ok(), Some(Format::Hl7v2));
    assert_eq!(Format::of("application/octet-stream", b" {").ok(), Some(Format::Fhir));
    assert!(Format::of("image/png", b"MSH|").is_err());
    assert!(Format::of("", b"\x89PNG").is_err());
}

#[test]
fn of_a_content_type_the_bounded_media_type_alone_is_kept() {
    for (stated, kept) in [
        ("application/hl7-v2+er7", "application/hl7-v2+er7"),
        ("application/fhir+json; fhirversion=4.0", "application/fhir+json"),
        ("application/fhir+json;patient=Canary", "application/fhir+json"),
        (" text/plain ; charset=utf-8", "text/plain"),
        ("a/b; x=\0", "a/b"),
    ] {
        assert_eq!(media_type(stated), Some(kept));
    }
    let long = format!("a/{}", "b".repeat(254));
    for other in ["", "text", "a/", "/b", "a/b/c", "a/b\0", "a\0/b", "a/\u{e9}", "a b/c", &long] {
        assert_eq!(media_type(other), None, "{other:?}");
    }
}

#[test]
fn a_flood_of_references_costs_time_in_proportion() {
    let many = 50_000;
    let list = |of: &dyn Fn(usize) -> String| (0..many).map(of).collect::<Vec<_>>().join(",");
    let derived = format!(
        r#"{{"resourceType":"Observation","id":"o","status":"final","code":{{"text":"x"}},"derivedFrom":[{}]}}"#,
        list(&|n| format!(r#"{{"reference":"Observation/{n}"}}"#))
    );
    // as many references as resources inside
    let inside = format!(
        r#"{{"resourceType":"Provenance","recorded":"2026-01-01T00:00:00Z","agent":[{{"who":{{"display":"x"}}}}],"target":[{}],"contained":[{}]}}"#,
        (0..20_000).map(|n| format!(r##"{{"reference":"#c{}"}}"##, 19_999 - n)).collect::<Vec<_>>().join(","),
        (0..20_000)
            .map(|n| format!(r#"{{"resourceType":"Basic","id":"c{n}","code":{{"text":"x"}}}}"#))
            .collect::<Vec<_>>()
            .join(","),
    );
    let begun = std::time::Instant::now();
    for text in [derived, inside] {
        let canonical = fhir(&text).unwrap_or_else(|refusal| panic!("{refusal}"));
        let unit = &canonical.cases()[0].units[0];
        let references = unit.references.iter().map(|(sent, _)| (sent.clone(), format!("{sent}-here"))).collect();
        let summary = summarise(&unit.resource, ("Observation", "o"), references);
        assert!(summary.facts.canonical().len() < 1 << 20, "what is decided on is bounded");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}
