//! Freezes what wallets and gateways say to each other: `schemas/wire/wallet.hex`. A change here is a new format.

#[path = "support/samples.rs"]
mod samples;

use std::fmt::Write as _;

use schemas::cbor;
use schemas::id::{CaseId, ConsentId, to_hex};
use schemas::state::ConsentSet;
use schemas::wallet::{
    Ask, Bind, Bound, CASE_FORMAT, Grant, Invitation, KnownCase, KnownConsent, Question, Revoke, SealedCase,
    SignedQuestion, Standing, Status, Written, consent_commitment,
};

fn question(ask: Ask) -> Question {
    let (chain, institution, key, time) = (samples::CHAIN, samples::INSTITUTION, samples::key(6), samples::TIME);
    Question { chain, institution, key, ask, time, nonce: [0x77; 16] }
}

fn status() -> Status {
    let consent = ConsentId([0x44; 16]);
    Status {
        subject: samples::SUBJECT,
        patient: Some("p1".to_owned()),
        height: 9,
        set: ConsentSet { version: 3, live: Vec::new() },
        consents: vec![KnownConsent {
            logical_id: "c1".to_owned(),
            head: consent,
            open: vec![consent],
            revoked: false,
        }],
        cases: vec![KnownCase { case: CaseId([0xca; 16]), version: 1, height: 8, time: samples::TIME }],
    }
}

fn vectors() -> String {
    let mut out = String::new();
    let mut line = |name: &str, bytes: &[u8]| writeln!(out, "{name} = {}", to_hex(bytes)).expect("a string");
    let invitation = Invitation {
        gateway: "https://hospital.example".to_owned(),
        chain: samples::CHAIN,
        institution: samples::INSTITUTION,
        subject: samples::SUBJECT,
        expires: samples::TIME,
        seal: vec![1, 2, 3],
    };
    let standing = Standing { chain: samples::CHAIN, institution: samples::INSTITUTION, height: 9 };
    line("Invitation", &cbor::encode(&invitation));
    line("Standing", &cbor::encode(&standing));
    line("Bind", &cbor::encode(&Bind { seal: vec![1, 2, 3], transaction: vec![4, 5] }));
    line("Bound", &cbor::encode(&Bound { subject: samples::SUBJECT, height: 9 }));
    for (name, ask) in [("Status", Ask::Status), ("Case", Ask::Case(CaseId([0xca; 16])))] {
        let question = question(ask);
        line(&format!("Question {name} to sign"), &question.to_sign());
        let signed = SignedQuestion { question, signature: samples::signature(7) };
        line(&format!("SignedQuestion {name}"), &cbor::encode(&signed));
    }
    line("Status", &cbor::encode(&status()));
    let (receipt, wraps) = ("{}".to_owned(), vec![samples::wrap()]);
    let case = SealedCase { format: CASE_FORMAT.to_owned(), receipt, wraps, object: vec![6, 7] };
    line("SealedCase", &cbor::encode(&case));
    let grant = Grant { transaction: vec![4, 5], document: b"{}".to_vec(), salt: [8; 32], replaces: Some("c1".into()) };
    line("Grant", &cbor::encode(&grant));
    let revoke = Revoke { logical_id: "c1".to_owned(), transactions: vec![vec![4, 5].into(), vec![6].into()] };
    line("Revoke", &cbor::encode(&revoke));
    let written = Written { logical_id: "c1".to_owned(), consent: ConsentId([0x44; 16]), height: 9 };
    line("Written", &cbor::encode(&written));
    line("consent commitment", consent_commitment(&[8; 32], b"{}").as_bytes());
    out
}

#[test]
fn the_wire_is_frozen() {
    let now = vectors();
    assert_eq!(include_str!("../wire/wallet.hex"), now, "now:\n{now}");
}

#[test]
fn what_is_sent_is_what_is_read() {
    let bytes = cbor::encode(&status());
    assert_eq!(cbor::decode::<Status>(&bytes).expect("ours"), status());
    let question = question(Ask::Status);
    let bytes = cbor::encode(&question);
    assert_eq!(cbor::decode::<Question>(&bytes).expect("ours"), question);
    let mut other = question.clone();
    other.nonce[0] ^= 1;
    assert_ne!(other.to_sign(), question.to_sign());
}
