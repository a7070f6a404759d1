//! The records of the ledger's state as people read them: a line of fields, and a line for each thing that a record lists. Digests and ids
//! are spelled as everywhere else, so that they can be searched for.

use std::fmt::Display;

use schemas::block::Epoch;
use schemas::cbor::{self, Record};
use schemas::genesis::Validator;
use schemas::id::{Height, PublicKey, TimeMs, to_hex};
use schemas::state::{
    AccessCursor, CaseHead, CastBallot, ConsentSet, EpochRecord, Evidence, Institution, Practitioner, SeatConfirmation,
    Subject,
};
use schemas::transaction::Basis;

use crate::commands::verify::timestamp;

/// A value of the state; hex where it is none of the contract's records.
pub(super) fn record(key: &[u8], value: &[u8]) -> String {
    let shown = match key.get(..5) {
        Some(b"case/") => shown(value, case),
        Some(b"subj/") => shown(value, subject),
        Some(b"cons/") => shown(value, consents),
        Some(b"dead/") => shown(value, |height: Height| format!("revoked at height {height}")),
        Some(b"inst/") => shown(value, institution),
        Some(b"prac/") => shown(value, practitioner),
        Some(b"gate/") => shown(value, access),
        Some(b"vali/") => shown(value, |key: PublicKey| format!("key {key}")),
        Some(b"evid/") => shown(value, evidence),
        Some(b"epoc/") if key.len() == 5 => shown(value, |epoch: Epoch| format!("epoch {epoch}")),
        Some(b"epoc/") => shown(value, epoch),
        Some(b"ball/") => shown(value, ballot),
        Some(b"conf/") => shown(value, confirmation),
        Some(b"seat/") => shown(value, |epoch: Epoch| format!("a validator since epoch {epoch}")),
        _ => None,
    };
    shown.unwrap_or_else(|| to_hex(value))
}

fn shown<T: Record>(value: &[u8], text: impl FnOnce(T) -> String) -> Option<String> {
    cbor::decode::<T>(value).ok().map(text)
}

/// A line of its own for each.
fn listed<T>(head: String, all: &[T], line: impl Fn(&T) -> String) -> String {
    all.iter().fold(head, |text, one| format!("{text}\n    {}", line(one)))
}

fn until(time: Option<TimeMs>) -> String {
    time.map_or_else(|| "without end".to_owned(), |time| format!("until {}", timestamp(time)))
}

fn or_none<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn case(head: CaseHead) -> String {
    let CaseHead { version, header, statement, institution, height } = head;
    format!("version {version}, height {height}, institution {institution}, header {header}, statement {statement}")
}

fn subject(subject: Subject) -> String {
    let Subject { institution, key, guardians, height } = subject;
    let head = format!("institution {institution}, height {height}, own key {}", or_none(key));
    listed(head, &guardians, |guardian| format!("guardian {}, until {}", guardian.key, timestamp(guardian.expires)))
}

fn consents(set: ConsentSet) -> String {
    let head = format!("set version {}, {} in force", set.version, set.live.len());
    listed(head, &set.live, |live| {
        let from = live.from.map_or_else(String::new, |from| format!("from {} ", timestamp(from)));
        let basis = match live.basis {
            Basis::Signed => "signed by the patient",
            Basis::Attested => "attested by the institution",
        };
        let (consent, height, commitment, custodian) = (live.consent, live.height, live.commitment, live.custodian);
        format!(
            "consent {consent}, height {height}, {from}{}, {basis}, custodian {custodian}, commitment {commitment}",
            until(live.until)
        )
    })
}

fn institution(of: Institution) -> String {
    let Institution { institution, key, gateways, transports } = of;
    let keys = gateways.iter().map(|key| ("gateway", key)).chain(transports.iter().map(|key| ("transport", key)));
    let keys: Vec<(&str, &PublicKey)> = keys.collect();
    listed(format!("institution {institution}, key {key}"), &keys, |(what, key)| format!("{what} {key}"))
}

fn practitioner(of: Practitioner) -> String {
    let Practitioner { practitioner, institution, key, expires } = of;
    format!("practitioner {practitioner}, institution {institution}, key {key}, {}", until(expires))
}

fn access(cursor: AccessCursor) -> String {
    let AccessCursor { next, root, height } = cursor;
    format!("{next} entries of the access log, newest batch at height {height}, root {root}")
}

fn evidence(evidence: Evidence) -> String {
    let Evidence { conflict, height } = evidence;
    format!(
        "validator {} of epoch {} signed two that contradict each other at view {}, height {}; handed in at height {height}",
        conflict.validator, conflict.epoch, conflict.view, conflict.height
    )
}

fn validator(validator: &Validator) -> String {
    format!("{} {}", validator.name, validator.key)
}

fn epoch(record: EpochRecord) -> String {
    let EpochRecord { epoch, first, members, decided_at } = record;
    let head =
        format!("epoch {epoch} from height {first}, decided at height {decided_at}, {} validators", members.len());
    listed(head, &members, validator)
}

fn ballot(cast: CastBallot) -> String {
    let CastBallot { members, height } = cast;
    listed(format!("cast at height {height}, for {} validators", members.len()), &members, validator)
}

fn confirmation(said: SeatConfirmation) -> String {
    format!("there since height {}, in the list {}", said.height, said.members)
}

#[cfg(test)]
mod tests {
    use schemas::id::{Digest, InstitutionId};

    use super::*;

    #[test]
    fn records_are_read_without_knowing_rust() {
        let head = CaseHead {
            version: 2,
            header: Digest([1; 32]),
            statement: Digest([2; 32]),
            institution: InstitutionId([3; 16]),
            height: 7,
        };
        let text = record(b"case/x", &cbor::encode(&head));
        assert!(text.starts_with("version 2, height 7, institution 0303"), "{text}");
        let set = ConsentSet::default();
        assert_eq!(record(b"cons/x", &cbor::encode(&set)), "set version 0, 0 in force");
        let cursor = record(b"gate/x", &cbor::encode(&AccessCursor::START));
        assert!(cursor.starts_with("0 entries of the access log"), "{cursor}");
        assert_eq!(record(b"dead/x", &cbor::encode(&7_u64)), "revoked at height 7");
        for text in [text, cursor] {
            assert!(!text.contains(['{', '(']), "{text}");
        }
        assert_eq!(record(b"case/x", b"\xff"), "ff", "what is no record is shown as it is");
    }
}
