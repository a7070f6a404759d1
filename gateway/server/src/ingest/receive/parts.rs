//! Several messages that came as one delivery. Part of *receive*: they are told apart before anything else, so that each has a key, a
//! case and a dead letter of its own. It must never change a byte of a message.

use std::ops::Range;

use schemas::cbor::sha256;
use schemas::id::Digest;

use super::{Message, Outcome};
use crate::ingest::normalise::Format;

/// One message of a delivery.
#[derive(Clone)]
pub(super) struct Part {
    pub message: Message,
    /// Hash of the whole delivery, for what says something about that: the same word about another one is not a duplicate.
    pub about: Option<Digest>,
}

/// Most lines of one NDJSON delivery; more are refused as one.
const PARTS_MAX: usize = 10_000;

/// What to say about several messages that came as one: the worst. None is a batch that says it is empty.
pub(super) fn of_all(outcomes: &[Outcome]) -> Outcome {
    if outcomes.is_empty() {
        return Outcome::Received;
    }
    let first = |wanted: Outcome| outcomes.contains(&wanted).then_some(wanted);
    let worst = [Outcome::TooLarge, Outcome::Conflict, Outcome::Received].into_iter().find_map(first);
    worst.unwrap_or(Outcome::Duplicate)
}

/// The messages of one delivery: those of an HL7 v2 batch, lines of NDJSON. Each has a key, a case and, if need be, a dead letter of its
/// own, so that a bad one holds up no neighbour. What stands around the messages of a batch that counts others goes its way too, to become
/// a dead letter: it is all that tells of a lost message. A batch that says it is empty is no message at all.
pub(super) fn split(message: Message) -> Vec<Part> {
    let part = |from: usize, to: usize, content_type: &str| {
        let (body, content_type) = (message.body.slice(from..to), content_type.into());
        Part { message: Message { body, content_type, ..message.clone() }, about: None }
    };
    if is_ndjson(&message.content_type) {
        let mut at = 0;
        let lines = message.body.split_inclusive(|b| *b == b'\n').take(PARTS_MAX + 1).map(|line| {
            at += line.len();
            (at - line.len(), at)
        });
        let lines: Vec<_> = lines.filter(|(from, to)| !message.body[*from..*to].trim_ascii().is_empty()).collect();
        if (1..=PARTS_MAX).contains(&lines.len()) {
            return lines.into_iter().map(|(from, to)| part(from, to, "application/fhir+json")).collect();
        }
    } else if Format::of(&message.content_type, &message.body).is_ok_and(|format| format == Format::Hl7v2) {
        let all = connectors_hl7v2::message_ranges(&message.body);
        if all.is_empty() && connectors_hl7v2::is_empty_batch(&message.body) {
            return Vec::new();
        }
        let miscounted = has_more(&message.body, &all).then(|| connectors_hl7v2::miscounted(&message.body)).flatten();
        if all.len() > 1 || miscounted.is_some() {
            let mut parts: Vec<_> =
                all.into_iter().map(|range| part(range.start, range.end, &message.content_type)).collect();
            parts.extend(miscounted.map(|around| Part {
                message: Message { body: around.into(), ..message.clone() },
                about: Some(sha256(&message.body)),
            }));
            return parts;
        }
    }
    vec![Part { message, about: None }]
}

/// Whether there is anything around the messages.
fn has_more(body: &[u8], all: &[Range<usize>]) -> bool {
    all.first().is_some_and(|first| first.start > 0) || all.last().is_some_and(|last| last.end < body.len())
}

/// One FHIR resource a line.
fn is_ndjson(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let names = ["application/fhir+ndjson", "application/ndjson", "application/x-ndjson"];
    names.iter().any(|name| essence.eq_ignore_ascii_case(name))
}
