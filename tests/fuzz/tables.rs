//! Mapping tables as a site writes them: whatever they say, they are refused with file and line, or they link and map. It must
//! never take a table for a message: what stands in a table may be told.

use connectors_hl7v2::Mapper;

use crate::bundle::bounded;
use crate::interop::{golden, mapped};
use crate::targets::{Target, target};

/// One table of each kind: its first word, its name, its text.
const TABLES: [(&str, &str, &str); 5] = [
    ("segment", "segments/PID.map", include_str!("../../schemas/mappings/segments/PID.map")),
    ("message", "messages/ORU_R01.map", include_str!("../../schemas/mappings/messages/ORU_R01.map")),
    ("datatype", "datatypes/XPN.map", include_str!("../../schemas/mappings/datatypes/XPN.map")),
    ("vocabulary", "vocabularies/NameType.map", include_str!("../../schemas/mappings/vocabularies/NameType.map")),
    ("resource", "resources/Observation.map", include_str!("../../schemas/mappings/resources/Observation.map")),
];
/// A table that is of no kind.
const OTHER: &str = "site.map";
/// An error repeats a word of the table, with what was expected and the nearest name.
const ERROR_BYTES_PER_BYTE: usize = 4;
/// The rest of it.
const ERROR_BYTES_BASE: usize = 2_000;

pub fn tables() -> Target {
    let samples = TABLES.iter().map(|(_, _, text)| text.as_bytes().to_vec()).collect();
    target("mapping-table", samples, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return false };
        let file = name_of(text);
        match Mapper::with_tables(&[(file.to_owned(), text.to_owned())]) {
            Ok(mapper) => {
                for message in golden() {
                    for case in &mapped(&mapper, message, false).cases {
                        bounded(&case.bundle, message.len());
                    }
                }
                true
            }
            Err(error) => {
                // where this table lacks something, one that names it may be at fault
                let lines = text.lines().count();
                assert!(error.file != file || error.line as usize <= lines, "{error}: {lines} lines");
                assert!(!error.found.is_empty() && !error.expected.is_empty(), "{error}");
                let most = ERROR_BYTES_PER_BYTE * text.len() + ERROR_BYTES_BASE;
                assert!(error.to_string().len() <= most, "an error of {} bytes", error.to_string().len());
                false
            }
        }
    })
}

/// The embedded table that a text replaces, by its first word.
fn name_of(text: &str) -> &'static str {
    let first = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with('#'));
    let kind = first.and_then(|line| line.split_whitespace().next());
    TABLES.iter().find(|(of, ..)| Some(*of) == kind).map_or(OTHER, |(_, name, _)| *name)
}
