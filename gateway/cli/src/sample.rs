//! The demo's own messages of two made-up hospitals, embedded: HL7 v2 as text, FHIR as one resource or Bundle per line. Every
//! person in them is invented.

/// One message as a hospital system would publish it.
#[derive(Clone, Copy)]
pub struct Sample {
    /// AMQP content type.
    pub content_type: &'static str,
    /// What it is, for the table: `ADT^A01`, `Bundle transaction`.
    pub kind: &'static str,
    /// The message.
    pub text: &'static str,
}

/// HL7 v2 in ER7 encoding.
pub const HL7: &str = "application/hl7-v2+er7";
/// FHIR R4 JSON.
pub const FHIR: &str = "application/fhir+json";

const FILES: [(&str, &str, &str); 2] = [
    ("north", include_str!("../samples/north.hl7"), include_str!("../samples/north.ndjson")),
    ("south", include_str!("../samples/south.hl7"), include_str!("../samples/south.ndjson")),
];

/// The messages of a hospital, `north` or `south`, in the order in which it sends them.
pub fn of(hospital: &str) -> Vec<Sample> {
    let files = FILES.iter().filter(|(name, _, _)| *name == hospital);
    files.flat_map(|(_, hl7, fhir)| messages(hl7).chain(resources(fhir))).collect()
}

fn messages(text: &'static str) -> impl Iterator<Item = Sample> {
    let kind = |text: &'static str| {
        let field = text.split('|').nth(8).unwrap_or("");
        field.get(..7).unwrap_or(field)
    };
    text.split("\n\n").filter(|t| !t.is_empty()).map(move |t| Sample { content_type: HL7, kind: kind(t), text: t })
}

fn resources(text: &'static str) -> impl Iterator<Item = Sample> {
    let kind = |text: &'static str| text.split('"').nth(3).unwrap_or("");
    text.lines().map(move |t| Sample { content_type: FHIR, kind: kind(t), text: t })
}

#[cfg(test)]
mod tests {
    use super::{FHIR, HL7, of};

    #[test]
    fn two_hospitals_send_both_kinds_and_at_least_forty_four_messages() {
        let (north, south) = (of("north"), of("south"));
        assert!(north.len() + south.len() >= 44, "{} and {}", north.len(), south.len());
        for hospital in [&north, &south] {
            for content_type in [HL7, FHIR] {
                assert!(hospital.iter().any(|s| s.content_type == content_type), "expected some {content_type}");
            }
        }
        assert!(north.iter().filter(|s| s.content_type == HL7).all(|s| s.text.starts_with("MSH|^~\\&|")));
        assert_eq!(north[0].kind, "ADT^A01");
        assert_eq!(south[4].kind, "Bundle");
    }
}
