//! Every rule of every transaction type, from both sides: what must be accepted, and what is refused with which word.

#[path = "../../proof/tests/support/chain.rs"]
mod chain;
#[path = "support/ledger.rs"]
mod ledger;

use chain::{INSTITUTION, OTHER_INSTITUTION, amended, anchor, gateway_key, institution_key, key, public, statement};
use ledger::{Ledger, RecordAccessDefaults, consent, practitioner, revoke, signed, subject};
use ledger_contract::{access_cursor, case_head, consent_set, is_revoked, transaction_height};
use schemas::cbor;
use schemas::cose;
use schemas::id::{ConsentId, Digest, PractitionerId, SubjectId};
use schemas::limits;
use schemas::transaction::{
    Authored, Basis, Body, Guardian, Outcome, RecordAccess, Refusal, RegisterInstitution, RegisterPractitioner, Signer,
};

const PATIENT: SubjectId = SubjectId([7; 16]);
const ACCEPTED: Outcome = Outcome::Accepted;
const BY_INSTITUTION: Signer = Signer::Institution(INSTITUTION);

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

#[test]
fn a_case_is_anchored_once() {
    let mut ledger = Ledger::new();
    let tx = anchor(ledger.chain, 100, vec![statement(1), statement(2)]);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    let head = case_head(&ledger.state, &statement(2).case).expect("readable").expect("anchored");
    assert_eq!((head.version, head.header, head.height), (1, statement(2).header, 1));
    assert_eq!(transaction_height(&ledger.state, &tx.id()).expect("readable"), Some(1));
    assert_eq!(ledger.execute(&tx), refused(Refusal::Duplicate));
    assert_eq!(ledger.execute(&anchor(ledger.chain, 101, vec![statement(3), statement(1)])), refused(Refusal::IdUsed));
    assert_eq!(case_head(&ledger.state, &statement(3).case).expect("readable"), None, "all or nothing");
    assert_eq!(ledger.execute(&anchor(ledger.chain, 101, vec![statement(3)])), ACCEPTED);
}

#[test]
fn duplicates_within_one_block_are_seen() {
    let mut ledger = Ledger::new();
    let tx = anchor(ledger.chain, 100, vec![statement(1)]);
    let other = anchor(ledger.chain, 99, vec![statement(1)]);
    let expected = vec![ACCEPTED, refused(Refusal::Duplicate), refused(Refusal::IdUsed)];
    assert_eq!(ledger.block(&[tx.clone(), tx, other]), expected);
}

#[test]
fn validity_is_bounded_on_both_sides() {
    let mut ledger = Ledger::new();
    ledger.height = 9;
    assert_eq!(ledger.execute(&anchor(ledger.chain, 9, vec![statement(1)])), refused(Refusal::Expired));
    let far = ledger.height + 1 + limits::VALID_UNTIL_AHEAD_MAX;
    assert_eq!(ledger.execute(&anchor(ledger.chain, far + 2, vec![statement(2)])), refused(Refusal::ValidTooLong));
    assert_eq!(ledger.execute(&anchor(ledger.chain, u64::MAX, vec![statement(2)])), refused(Refusal::ValidTooLong));
    let next = ledger.height + 1;
    assert_eq!(ledger.execute(&anchor(ledger.chain, next, vec![statement(3)])), ACCEPTED);
    let next = ledger.height + 1 + limits::VALID_UNTIL_AHEAD_MAX;
    assert_eq!(ledger.execute(&anchor(ledger.chain, next, vec![statement(4)])), ACCEPTED);
}

#[test]
fn statements_need_the_signature_of_their_institution() {
    let mut ledger = Ledger::new();
    let good = anchor(ledger.chain, 100, vec![statement(1)]);
    let by_other = chain::sign(&chain::other_institution_key(), &cose::transaction_to_sign(&ledger.chain, &good.id()));
    let mut forged = good.clone();
    forged.signatures[0].signature = by_other;
    assert_eq!(ledger.execute(&forged), refused(Refusal::Signature));
    let mut named_other = forged;
    named_other.signatures[0].signer = Signer::Institution(OTHER_INSTITUTION);
    assert_eq!(ledger.execute(&named_other), refused(Refusal::Signature));
    let mut superfluous = good.clone();
    let extra = signed(&good.core, &[(Signer::Gateway(public(&gateway_key())), gateway_key())]).signatures.remove(0);
    superfluous.signatures.push(extra);
    assert_eq!(ledger.execute(&superfluous), refused(Refusal::Signature));
    let mut relayed = good.clone();
    relayed.core.valid_until += 1;
    assert_eq!(ledger.execute(&relayed), refused(Refusal::Signature), "valid_until is signed");
    assert_eq!(ledger.execute(&good), ACCEPTED, "forgeries with the same id took nothing");
}

#[test]
fn an_unknown_institution_anchors_nothing() {
    let mut ledger = Ledger::new();
    ledger.state.0.clear();
    let tx = anchor(ledger.chain, 100, vec![statement(1)]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::UnknownInstitution));
}

#[test]
fn a_version_follows_its_head() {
    let mut ledger = Ledger::new();
    let first = statement(1);
    let second = amended(&first);
    assert_eq!(ledger.execute(&anchor(ledger.chain, 100, vec![second.clone()])), refused(Refusal::NotHead));
    assert_eq!(ledger.execute(&anchor(ledger.chain, 100, vec![first.clone()])), ACCEPTED);
    assert_eq!(ledger.execute(&anchor(ledger.chain, 100, vec![amended(&second)])), refused(Refusal::NotHead));
    let mut wrong = second.clone();
    wrong.previous = Some(Digest::ZERO);
    assert_eq!(ledger.execute(&anchor(ledger.chain, 100, vec![wrong])), refused(Refusal::NotHead));
    assert_eq!(ledger.execute(&anchor(ledger.chain, 100, vec![second.clone()])), ACCEPTED);
    assert_eq!(ledger.execute(&anchor(ledger.chain, 101, vec![second.clone()])), refused(Refusal::NotHead));
    assert_eq!(ledger.execute(&anchor(ledger.chain, 100, vec![amended(&second)])), ACCEPTED);
    let head = case_head(&ledger.state, &first.case).expect("readable").expect("anchored");
    assert_eq!((head.version, head.statement), (3, amended(&second).leaf()));
}

#[test]
fn only_the_custodian_supersedes() {
    let mut ledger = Ledger::new();
    assert_eq!(ledger.execute(&anchor(ledger.chain, 100, vec![statement(1)])), ACCEPTED);
    let mut theirs = amended(&statement(1));
    theirs.institution = OTHER_INSTITUTION;
    let tx = ledger::anchor_by(ledger.chain, OTHER_INSTITUTION, &chain::other_institution_key(), theirs);
    assert_eq!(ledger.execute(&tx), refused(Refusal::NotCustodian));
}

#[test]
fn authors_are_registered_affiliated_and_not_expired() {
    let mut ledger = Ledger::new();
    let (id, author) = (PractitionerId([5; 16]), key(300));
    let expires = ledger.time_at(6);
    let register = practitioner(id, INSTITUTION, &author, Some(expires));
    let authored = |ledger: &Ledger, case: u8, by: PractitionerId, with: &p256::ecdsa::SigningKey| {
        let mut tx = anchor(ledger.chain, 100, vec![statement(case), statement(case + 1)]);
        let message = cose::authored_to_sign(&ledger.chain, &cbor::encode(&tx.statements[1]));
        tx.authored.push(Authored { statement: 1, practitioner: by, signature: chain::sign(with, &message) });
        tx
    };
    let tx = authored(&ledger, 1, id, &author);
    assert_eq!(ledger.execute(&tx), refused(Refusal::UnknownPractitioner));
    let tx = ledger.sign(register, &[(BY_INSTITUTION, institution_key()), (Signer::NewKey, author.clone())]);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    let tx = authored(&ledger, 1, id, &key(301));
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature));
    let mut other_statement = authored(&ledger, 1, id, &author);
    other_statement.authored[0].statement = 0;
    assert_eq!(ledger.execute(&other_statement), refused(Refusal::Signature));
    assert_eq!(ledger.execute(&authored(&ledger, 1, id, &author)), ACCEPTED);
    assert_eq!(ledger.execute(&authored(&ledger, 3, id, &author)), refused(Refusal::UnknownPractitioner), "expired");
}

#[test]
fn practitioners_prove_their_key_and_are_registered_once() {
    let mut ledger = Ledger::new();
    let (id, author) = (PractitionerId([5; 16]), key(300));
    let body = || practitioner(id, INSTITUTION, &author, None);
    let by_both = [(BY_INSTITUTION, institution_key()), (Signer::NewKey, author.clone())];
    let tx = ledger.sign(body(), &[(BY_INSTITUTION, institution_key())]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature));
    let tx = ledger.sign(body(), &[(BY_INSTITUTION, institution_key()), (Signer::NewKey, key(1))]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature));
    let expired = practitioner(id, INSTITUTION, &author, Some(chain::CREATED));
    let tx = ledger.sign(expired, &by_both);
    assert_eq!(ledger.execute(&tx), refused(Refusal::UnknownPractitioner));
    let tx = ledger.sign(body(), &by_both);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    ledger.valid_until = 101;
    let tx = ledger.sign(body(), &by_both);
    assert_eq!(ledger.execute(&tx), refused(Refusal::IdUsed));
    let Body::RegisterPractitioner(unknown) = body() else { panic!("a practitioner") };
    let unknown = RegisterPractitioner { institution: schemas::id::InstitutionId([0; 16]), ..unknown };
    let tx = ledger.sign(Body::RegisterPractitioner(unknown), &by_both);
    assert_eq!(ledger.execute(&tx), refused(Refusal::UnknownInstitution));
}

/// A state transfer does not hand on what was accepted longer ago than a transaction can be valid: it decides nothing any more.
#[test]
fn whether_a_transaction_was_accepted_is_asked_only_while_it_is_valid() {
    let mut ledger = Ledger::new();
    ledger.valid_until = limits::VALID_UNTIL_AHEAD_MAX;
    let last = ledger.valid_until;
    let tx = ledger.sign(subject(PATIENT, INSTITUTION, None, vec![]), &[(BY_INSTITUTION, institution_key())]);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    ledger.height = last - 1;
    assert_eq!(ledger.execute(&tx), refused(Refusal::Duplicate), "at its last height");
    for is_known in [true, false] {
        ledger.height = last;
        assert_eq!(ledger.execute(&tx), refused(Refusal::Expired), "known: {is_known}");
        ledger.state.0.remove(&schemas::state::transaction_key(&tx.id()));
    }
}

#[test]
fn a_subject_gets_a_key_once_and_proves_it() {
    let mut ledger = Ledger::new();
    let own = key(400);
    let both = [(BY_INSTITUTION, institution_key()), (Signer::NewKey, own.clone())];
    let tx = ledger.sign(subject(PATIENT, INSTITUTION, None, vec![]), &both[..1]);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    ledger.valid_until = 99;
    let tx = ledger.sign(subject(PATIENT, INSTITUTION, None, vec![]), &both[..1]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::IdUsed), "again without a key");
    let other = [(Signer::Institution(OTHER_INSTITUTION), chain::other_institution_key()), both[1].clone()];
    let tx = ledger.sign(subject(PATIENT, OTHER_INSTITUTION, Some(&own), vec![]), &other);
    assert_eq!(ledger.execute(&tx), refused(Refusal::NotCustodian));
    let tx = ledger.sign(subject(PATIENT, INSTITUTION, Some(&own), vec![]), &both[..1]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature), "no proof of possession");
    let tx = ledger.sign(subject(PATIENT, INSTITUTION, Some(&own), vec![]), &both);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    let replaced = key(401);
    let tx = ledger.sign(
        subject(PATIENT, INSTITUTION, Some(&replaced), vec![]),
        &[both[0].clone(), (Signer::NewKey, replaced.clone())],
    );
    assert_eq!(ledger.execute(&tx), refused(Refusal::IdUsed), "a key is never replaced by registering again");
}

#[test]
fn an_attested_consent_stands_only_while_no_key_is_bound() {
    let mut ledger = Ledger::new();
    let by = [(BY_INSTITUTION, institution_key())];
    assert_eq!(
        ledger.execute(&ledger.sign(consent(PATIENT, 1, 1, Basis::Attested), &by)),
        refused(Refusal::UnknownSubject)
    );
    ledger.register(PATIENT, None, vec![]);
    let stranger = [(Signer::Institution(OTHER_INSTITUTION), chain::other_institution_key())];
    let tx = ledger.sign(consent(PATIENT, 1, 1, Basis::Attested), &stranger);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature));
    let tx = ledger.sign(consent(PATIENT, 1, 1, Basis::Signed), &by);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature), "the basis must be the signer's");
    let tx = ledger.sign(consent(PATIENT, 1, 1, Basis::Attested), &by);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    ledger.register(PATIENT, Some(&key(400)), vec![]);
    let tx = ledger.sign(consent(PATIENT, 2, 2, Basis::Attested), &by);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature));
    assert_eq!(ledger.execute(&ledger.sign(revoke(PATIENT, 1), &by)), refused(Refusal::Signature));
    let own = [(Signer::Subject(PATIENT), key(400))];
    assert_eq!(ledger.execute(&ledger.sign(consent(PATIENT, 2, 2, Basis::Signed), &own)), ACCEPTED);
    assert_eq!(ledger.execute(&ledger.sign(revoke(PATIENT, 1), &own)), ACCEPTED);
    let set = consent_set(&ledger.state, &PATIENT).expect("readable");
    assert_eq!((set.version, set.live.len(), set.live[0].basis), (3, 1, Basis::Signed));
}

#[test]
fn the_set_version_orders_grants() {
    let mut ledger = Ledger::new();
    ledger.register(PATIENT, Some(&key(400)), vec![]);
    let own = [(Signer::Subject(PATIENT), key(400))];
    for wrong in [0, 2, u64::MAX] {
        let tx = ledger.sign(consent(PATIENT, 1, wrong, Basis::Signed), &own);
        assert_eq!(ledger.execute(&tx), refused(Refusal::SetVersion));
    }
    let (first, second) = (consent(PATIENT, 1, 1, Basis::Signed), consent(PATIENT, 2, 1, Basis::Signed));
    let block = [ledger.sign(first, &own), ledger.sign(second, &own)];
    assert_eq!(ledger.block(&block), vec![ACCEPTED, refused(Refusal::SetVersion)]);
    let tx = ledger.sign(consent(PATIENT, 1, 2, Basis::Signed), &own);
    assert_eq!(ledger.execute(&tx), refused(Refusal::IdUsed));
}

#[test]
fn revocation_is_final_idempotent_and_overtakes_its_grant() {
    let mut ledger = Ledger::new();
    ledger.register(PATIENT, Some(&key(400)), vec![]);
    let own = [(Signer::Subject(PATIENT), key(400))];
    let run = |ledger: &mut Ledger, body: Body| {
        ledger.valid_until += 1;
        let tx = ledger.sign(body, &own);
        ledger.execute(&tx)
    };
    assert_eq!(run(&mut ledger, revoke(PATIENT, 1)), ACCEPTED, "a tombstone for an id that is not granted yet");
    assert_eq!(run(&mut ledger, consent(PATIENT, 1, 1, Basis::Signed)), refused(Refusal::Revoked));
    assert_eq!(consent_set(&ledger.state, &PATIENT).expect("readable").version, 0);
    assert_eq!(run(&mut ledger, consent(PATIENT, 2, 1, Basis::Signed)), ACCEPTED);
    assert_eq!(run(&mut ledger, revoke(PATIENT, 2)), ACCEPTED);
    assert_eq!(run(&mut ledger, revoke(PATIENT, 2)), ACCEPTED);
    let set = consent_set(&ledger.state, &PATIENT).expect("readable");
    assert_eq!((set.version, set.live.len()), (2, 0));
    assert_eq!(run(&mut ledger, consent(PATIENT, 2, 3, Basis::Signed)), refused(Refusal::Revoked));
    assert_eq!(run(&mut ledger, consent(PATIENT, 3, 3, Basis::Signed)), ACCEPTED);
}

#[test]
fn a_stranger_cannot_end_a_consent_of_another_subject() {
    let mut ledger = Ledger::new();
    let stranger = SubjectId([8; 16]);
    ledger.register(PATIENT, Some(&key(400)), vec![]);
    ledger.register(stranger, Some(&key(401)), vec![]);
    let theirs = [(Signer::Subject(stranger), key(401))];
    assert_eq!(ledger.execute(&ledger.sign(revoke(PATIENT, 1), &theirs)), refused(Refusal::Signature));
    assert_eq!(ledger.execute(&ledger.sign(revoke(stranger, 1), &theirs)), ACCEPTED);
    let own = [(Signer::Subject(PATIENT), key(400))];
    assert_eq!(ledger.execute(&ledger.sign(consent(PATIENT, 1, 1, Basis::Signed), &own)), ACCEPTED);
    assert!(!is_revoked(&ledger.state, &PATIENT, &ConsentId([1; 16])).expect("readable"));
}

#[test]
fn superseding_replaces_a_live_consent_for_good() {
    let mut ledger = Ledger::new();
    ledger.register(PATIENT, Some(&key(400)), vec![]);
    let own = [(Signer::Subject(PATIENT), key(400))];
    let mut run = |body: Body| {
        let tx = ledger.sign(body, &own);
        (ledger.execute(&tx), consent_set(&ledger.state, &PATIENT).expect("readable"))
    };
    let replacing = |id, version, old| {
        let Body::GrantConsent(mut grant) = consent(PATIENT, id, version, Basis::Signed) else { panic!("a grant") };
        grant.supersedes = Some(ConsentId([old; 16]));
        Body::GrantConsent(grant)
    };
    assert_eq!(run(replacing(2, 1, 1)).0, refused(Refusal::NotHead), "nothing to replace");
    assert_eq!(run(consent(PATIENT, 1, 1, Basis::Signed)).0, ACCEPTED);
    let (outcome, set) = run(replacing(2, 2, 1));
    assert_eq!((outcome, set.live.len(), set.live[0].consent), (ACCEPTED, 1, ConsentId([2; 16])));
    assert_eq!(run(consent(PATIENT, 1, 3, Basis::Signed)).0, refused(Refusal::Revoked), "the old id is over");
    assert_eq!(run(replacing(3, 3, 1)).0, refused(Refusal::Revoked));
    assert_eq!(run(replacing(3, 3, 3)).0, refused(Refusal::Malformed), "itself");
}

#[test]
fn live_consents_are_bounded() {
    let mut ledger = Ledger::new();
    ledger.register(PATIENT, Some(&key(400)), vec![]);
    let own = [(Signer::Subject(PATIENT), key(400))];
    let most = u8::try_from(limits::CONSENTS_LIVE_MAX).expect("small");
    for id in 1..=most {
        let tx = ledger.sign(consent(PATIENT, id, u64::from(id), Basis::Signed), &own);
        assert_eq!(ledger.execute(&tx), ACCEPTED);
    }
    let next = u64::from(most) + 1;
    let Body::GrantConsent(mut grant) = consent(PATIENT, 200, next, Basis::Signed) else { panic!("a grant") };
    let tx = ledger.sign(Body::GrantConsent(grant.clone()), &own);
    assert_eq!(ledger.execute(&tx), refused(Refusal::TooMany));
    grant.supersedes = Some(ConsentId([1; 16]));
    let tx = ledger.sign(Body::GrantConsent(grant), &own);
    assert_eq!(ledger.execute(&tx), ACCEPTED, "replacing needs no room");
}

#[test]
fn guardians_speak_until_they_expire() {
    let mut ledger = Ledger::new();
    let guardian = Guardian { key: public(&key(500)), expires: ledger.time_at(4) };
    ledger.register(PATIENT, Some(&key(400)), vec![guardian]);
    let by = [(Signer::Guardian(public(&key(500))), key(500))];
    let stranger = [(Signer::Guardian(public(&key(501))), key(501))];
    let tx = ledger.sign(consent(PATIENT, 1, 1, Basis::Signed), &stranger);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature));
    assert_eq!(ledger.execute(&ledger.sign(consent(PATIENT, 1, 1, Basis::Signed), &by)), ACCEPTED);
    assert_eq!(ledger.execute(&ledger.sign(revoke(PATIENT, 1), &by)), refused(Refusal::Signature), "expired");
}

#[test]
fn a_grant_names_the_custodian_and_one_signer() {
    let mut ledger = Ledger::new();
    ledger.register(PATIENT, Some(&key(400)), vec![]);
    let own = (Signer::Subject(PATIENT), key(400));
    let Body::GrantConsent(mut grant) = consent(PATIENT, 1, 1, Basis::Signed) else { panic!("a grant") };
    let tx = ledger.sign(Body::GrantConsent(grant.clone()), &[(BY_INSTITUTION, institution_key()), own.clone()]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature), "superfluous");
    let tx = ledger.sign(Body::GrantConsent(grant.clone()), &[(Signer::Subject(PATIENT), key(401))]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature));
    grant.custodian = OTHER_INSTITUTION;
    let tx = ledger.sign(Body::GrantConsent(grant), &[own]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::NotCustodian));
}

#[test]
fn access_batches_are_contiguous_and_chained() {
    let mut ledger = Ledger::new();
    ledger.height = 10;
    let by = [(Signer::Gateway(public(&gateway_key())), gateway_key())];
    let run = |ledger: &mut Ledger, body: RecordAccess| {
        let tx = ledger.sign(Body::RecordAccess(body), &by);
        ledger.execute(&tx)
    };
    let first = RecordAccess { count: 3, root: Digest([1; 32]), ..RecordAccess::defaults() };
    assert_eq!(run(&mut ledger, RecordAccess { first: 1, ..first.clone() }), refused(Refusal::NotContiguous));
    let ahead = RecordAccess { height_max: ledger.height + 1, ..first.clone() };
    assert_eq!(run(&mut ledger, ahead), refused(Refusal::Malformed), "decided later than it is recorded");
    assert_eq!(run(&mut ledger, first.clone()), ACCEPTED);
    let next = RecordAccess { first: 3, previous: Digest([1; 32]), root: Digest([2; 32]), ..first.clone() };
    assert_eq!(run(&mut ledger, RecordAccess { root: Digest([3; 32]), ..first }), refused(Refusal::NotContiguous));
    let unchained = RecordAccess { previous: Digest::ZERO, ..next.clone() };
    assert_eq!(run(&mut ledger, unchained), refused(Refusal::NotContiguous));
    let overlapping = RecordAccess { first: 2, ..next.clone() };
    assert_eq!(run(&mut ledger, overlapping), refused(Refusal::NotContiguous));
    assert_eq!(run(&mut ledger, next), ACCEPTED);
    let cursor = access_cursor(&ledger.state, &public(&gateway_key())).expect("readable");
    assert_eq!((cursor.next, cursor.root), (6, Digest([2; 32])));
}

#[test]
fn only_a_registered_gateway_records_access() {
    let mut ledger = Ledger::new();
    let stranger = key(600);
    let body = RecordAccess { gateway: public(&stranger), ..RecordAccess::defaults() };
    let tx = ledger.sign(Body::RecordAccess(body), &[(Signer::Gateway(public(&stranger)), stranger)]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::NotCustodian));
    let other = RecordAccess { institution: OTHER_INSTITUTION, ..RecordAccess::defaults() };
    let tx = ledger.sign(Body::RecordAccess(other), &[(Signer::Gateway(public(&gateway_key())), gateway_key())]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::NotCustodian));
    let tx = ledger.sign(Body::RecordAccess(RecordAccess::defaults()), &[(BY_INSTITUTION, institution_key())]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Signature));
}

#[test]
fn institutions_join_at_genesis_only() {
    let mut ledger = Ledger::new();
    let body = RegisterInstitution {
        institution: schemas::id::InstitutionId([9; 16]),
        key: public(&key(9)),
        gateways: vec![],
        transports: vec![],
    };
    let tx = ledger.sign(Body::RegisterInstitution(body), &[(Signer::NewKey, key(9))]);
    assert_eq!(ledger.execute(&tx), refused(Refusal::GenesisOnly));
}
