//! Which message a message is: what its sender calls it. Two with one key are one message; *receive* compares what they say. It must never
//! look further into a message than that, nor take one source's word for another's.

use schemas::cbor::{Parts, sha256};
use schemas::id::Digest;
use schemas::{json, limits};

use super::Message;
use crate::ingest::normalise::Format;

/// The key of a message without one of its own: what one source sent says nothing about another's.
pub(super) fn content_key(connector: &str, content: &Digest) -> Vec<u8> {
    Parts::new("cs1/key/content").part(&connector).part(content).finish()
}

/// The source's own key of a message: MSH-3, 4, 7, 10, and the connector where the sender does not say who it is (MSH-3 and 4 empty);
/// or source, type, id and version of one FHIR resource. None: the content is the key. With it, the hash of what a resource says, however
/// it is spelt: a server spells the same version in another way when it is asked in another way.
pub(super) fn key_of(message: &Message) -> Option<(Vec<u8>, Option<Digest>)> {
    match Format::of(&message.content_type, &message.body).ok()? {
        Format::Hl7v2 => {
            let key = connectors_hl7v2::source_key(&message.body).ok()?;
            if key.control_id.is_empty() {
                return None;
            }
            let nobody = key.sending_application.is_empty() && key.sending_facility.is_empty();
            let parts = [key.sending_application, key.sending_facility, key.time, key.control_id];
            let key = parts.iter().fold(Parts::new("cs1/key/hl7v2"), Parts::part);
            Some((if nobody { key.part(&message.connector) } else { key }.finish(), None))
        }
        Format::Fhir => {
            let tree = json::parse(&message.body).ok()?;
            let version = tree.path(&["meta", "versionId"])?.as_str()?;
            let parts = [&*message.connector, tree.resource_type()?, tree.text("id")?, version];
            let key = parts.iter().fold(Parts::new("cs1/key/fhir"), |all, part| all.part(part)).finish();
            // a large one is not written out again
            let is_small = message.body.len() <= limits::INBOX_INLINE_BYTES_MAX;
            Some((key, is_small.then(|| sha256(&tree.canonical()))))
        }
    }
}
