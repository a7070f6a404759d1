//! What hospitals send: messages through the mapper alone, messages and resources through the normaliser, content types. What is
//! made is whole and bounded by what came; what is refused is told by code and place. It must never expect more of a mutated
//! input than of any other.

use connectors_hl7v2::{MapOptions, Mapped, Mapper, source_key};
use gateway_server::ingest::normalise::{Canonical, Format, Normaliser, media_type};
use schemas::{cbor, json, limits};

use crate::bundle::{bounded, bytes_max, whole};
use crate::canary::{planted, untold};
use crate::targets::{Target, target};

/// Patients of the samples.
const NAMES: [&str; 8] = ["Abelmann", "Lindqvist", "Okonjo", "Tanaka", "Haddad", "Whitcombe", "Novák", "Johanna"];
/// Most cases of one message (`connectors/hl7v2/src/bounds.rs`).
const CASES_MAX: usize = 256;
/// Most paths of one list of unmapped fields (there too).
const UNMAPPED_MAX: usize = 2_000;
/// Longest of them, in bytes: segment, field, component, subcomponent.
const PATH_BYTES_MAX: usize = 32;
/// Most cases of one delivery (`gateway/server/src/ingest/normalise.rs`).
const DELIVERY_CASES_MAX: usize = 1_000;

pub fn interop() -> Vec<Target> {
    vec![
        normaliser("hl7v2", Format::Hl7v2, messages()),
        normaliser("fhir", Format::Fhir, resources()),
        mapper(),
        content_types(),
    ]
}

/// A hospital's messages.
pub fn messages() -> Vec<Vec<u8>> {
    include_str!("../../gateway/cli/samples/north.hl7")
        .split("\n\n")
        .filter(|text| text.starts_with("MSH"))
        .map(|text| text.replace('\n', "\r").into_bytes())
        .collect()
}

/// Another one's resources.
pub fn resources() -> Vec<Vec<u8>> {
    include_str!("../../gateway/cli/samples/south.ndjson").lines().map(|line| line.as_bytes().to_vec()).collect()
}

/// Two messages with something of everything: escapes, names of many parts, every type of value.
pub fn golden() -> [&'static [u8]; 2] {
    [
        include_bytes!("../../connectors/hl7v2/tests/golden/oru_r01.hl7"),
        include_bytes!("../../connectors/hl7v2/tests/golden/adt_a01.hl7"),
    ]
}

fn id(kind: &str, key: &[&str]) -> String {
    cbor::sha256(format!("{kind}{key:?}").as_bytes()).to_string()
}

pub fn mapped(mapper: &Mapper, input: &[u8], explain: bool) -> Mapped {
    mapper.map(input, &MapOptions { ids: &id, default_zone: "+00:00", default_charset: None, explain })
}

/// How many messages there may be in an input.
fn messages_max(input: &[u8]) -> usize {
    input.windows(3).filter(|three| *three == b"MSH").count().max(1)
}

/// Tokenizer and mapper.
fn mapper() -> Target {
    let mapper = Mapper::embedded();
    let samples = messages().into_iter().chain(golden().map(<[u8]>::to_vec)).collect();
    target("mapper", samples, move |input| {
        let made = mapped(&mapper, input, false);
        assert!(!made.cases.is_empty() || !made.errors.is_empty(), "neither a case nor an error");
        for error in &made.errors {
            let placed = !error.code.is_empty() && !error.path.is_empty() && error.offset <= input.len();
            assert!(placed, "{error:?} in {} bytes", input.len());
        }
        assert!(made.cases.len() <= CASES_MAX * messages_max(input), "{} cases", made.cases.len());
        for case in &made.cases {
            whole(&case.bundle);
            bounded(&case.bundle, input.len());
        }
        listed(&made.unmapped);
        nothing_new(&made, &mapped(&mapper, input, true));
        nothing_told(&mapper, &planted(input));
        made.errors.is_empty()
    })
}

/// What is remembered of inputs before changes nothing: who explains remembers nothing.
fn nothing_new(made: &Mapped, afresh: &Mapped) {
    assert_eq!(made.unmapped, afresh.unmapped, "other fields are unmapped");
    let bundles = |of: &Mapped| of.cases.iter().map(|case| case.bundle.canonical()).collect::<Vec<_>>();
    assert!(bundles(made) == bundles(afresh), "another bundle than from a mapper that remembers nothing");
}

/// Errors, paths and explanations of an input with the word in it are without it.
fn nothing_told(mapper: &Mapper, input: &[u8]) {
    let Mapped { errors, unmapped, explained, .. } = mapped(mapper, input, true);
    errors.iter().for_each(|error| untold(&format!("{error} {error:?}")));
    unmapped.iter().for_each(|path| untold(path));
    explained.iter().for_each(|why| untold(&format!("{why:?}")));
    if let Err(error) = source_key(input) {
        untold(&format!("{error} {error:?}"));
    }
}

/// Paths are few, short, and each stands there once.
fn listed(unmapped: &[String]) {
    assert!(unmapped.len() <= UNMAPPED_MAX, "{} paths", unmapped.len());
    let mut paths: Vec<&String> = unmapped.iter().collect();
    paths.sort_unstable();
    for pair in paths.windows(2) {
        assert_ne!(pair[0], pair[1], "a path stands there twice");
    }
    for path in paths {
        assert!(!path.is_empty() && path.len() <= PATH_BYTES_MAX, "a path of {} bytes: {path}", path.len());
    }
}

/// The step *normalise* of the way in.
fn normaliser(name: &'static str, format: Format, samples: Vec<Vec<u8>>) -> Target {
    let normaliser = Normaliser::new(Mapper::embedded());
    target(name, samples, move |input| {
        match normaliser.normalise_with(format, "fuzz", &planted(input), &id) {
            Ok(canonical) => canonical.unmapped().iter().for_each(|path| untold(path)),
            Err(refusal) => untold(&format!("{refusal} {refusal:?}")),
        }
        match normaliser.normalise_with(format, "fuzz", input, &id) {
            Ok(canonical) => {
                sealable(format, input, &canonical);
                true
            }
            Err(refusal) => {
                let said = refusal.to_string();
                assert!(!NAMES.iter().any(|name| said.contains(name)), "a place, never a value: {said}");
                assert!(!refusal.code.is_empty() && !refusal.path.is_empty(), "a refusal without a place: {said}");
                false
            }
        }
    })
}

/// What was normalised can be sealed as it is, and is no more than came in.
fn sealable(format: Format, input: &[u8], canonical: &Canonical) {
    let most = match format {
        // each resource once in a case, and canonical bytes are never longer than those that were sent
        Format::Fhir => input.len(),
        Format::Hl7v2 => messages_max(input) * bytes_max(input.len()),
    };
    assert!(canonical.cases().len() <= DELIVERY_CASES_MAX, "{} cases", canonical.cases().len());
    for case in canonical.cases() {
        assert!(case.units.len() < limits::CASE_UNITS_MAX, "{} units", case.units.len());
        let bytes: usize = case.units.iter().map(|unit| unit.bytes.len()).sum();
        assert!(bytes <= most, "{bytes} bytes of {} that came", input.len());
        for unit in &case.units {
            let parsed = json::parse(&unit.bytes).expect("canonical bytes parse");
            assert_eq!(parsed.canonical(), unit.bytes, "what is sealed is canonical");
        }
    }
    listed(canonical.unmapped());
}

/// A stated type in the first line, the body behind it.
fn content_types() -> Target {
    let samples: [&[u8]; 6] = [
        b"application/hl7-v2+er7; charset=utf-8\nMSH|^~\\&|LAB",
        b"X-Application/HL7-v2+er7\n{}",
        b"application/fhir+json; fhirversion=4.0\n{\"resourceType\":\"Patient\"}",
        b"text/plain\n\xef\xbb\xbf \r\nMSH|^~\\&|LAB",
        b"application/octet-stream\n\x0bMSH|^~\\&|LAB",
        b"\n {\"resourceType\":\"Bundle\"}",
    ];
    target("content-type", samples.map(<[u8]>::to_vec).into(), |input| {
        let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let Ok(stated) = std::str::from_utf8(&input[..end]) else { return false };
        let body = input.get(end + 1..).unwrap_or_default();
        let found = Format::of(stated, body);
        let essence = stated.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if !matches!(essence.as_str(), "" | "text/plain" | "application/octet-stream") {
            assert_eq!(found, Format::of(stated, b""), "a type that says something decides alone");
        }
        if let Err(refusal) = Format::of(&String::from_utf8_lossy(&planted(stated.as_bytes())), &planted(body)) {
            untold(&format!("{refusal} {refusal:?}"));
        }
        if let Some(kept) = media_type(stated) {
            assert_eq!(kept.to_ascii_lowercase(), essence, "a type is kept, and no word of its sender beside it");
            assert!(kept.len() <= 255 && kept.bytes().all(|b| (0x20..0x7f).contains(&b)), "a type that cannot be kept");
        }
        found.is_ok()
    })
}
