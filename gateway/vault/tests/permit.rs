//! A unit is opened under a decision about that very unit, or for a named purpose of the custodian; with nothing else.

use gateway_consent::{
    AccessRequest, Action, Actor, Decision, DefaultRule, LiveConsent, Permit, Policy, Session, UnitFacts, UnitId,
};
use gateway_vault::{Custody, CustodyPurpose, OpenError, SealRequest, Unit, UnitError, Vault};
use hmac::{Hmac, KeyInit, Mac};
use schemas::ErrorClass;
use schemas::cbor::Parts;
use schemas::id::{CaseId, ChainId, ConsentId, Digest, InstitutionId};
use schemas::json::parse;
use schemas::merkle::verify_inclusion;
use sha2::Sha256;

const NOW: u64 = 1_700_000_000_000;

/// A real decision of the consent engine: a consent that permits everything.
fn permit(case: CaseId, version: u32, index: u32) -> Permit {
    let consent = br#"{"resourceType":"Consent","status":"active",
        "scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},
        "category":[{"coding":[{"system":"http://loinc.org","code":"59284-0"}]}],
        "patient":{"reference":"Patient/p"},"policyRule":{"text":"permit"},"provision":{"type":"permit"}}"#;
    let policy = Policy::parse(&parse(consent).unwrap());
    let live = LiveConsent { id: ConsentId([7; 16]), document: policy.into(), height: 3, from: None, until: None };
    let actor = Actor { client_id: "client".to_owned(), organizations: vec![], practitioners: vec![], roles: vec![] };
    let request = AccessRequest { actor, purpose: vec![], action: Action::Access };
    let session = Session::new(&request, vec![live], DefaultRule::Deny, 5, NOW);
    let facts = UnitFacts::of(&parse(br#"{"resourceType":"Patient","id":"p"}"#).unwrap());
    match session.decide(UnitId { case, version, index }, &facts) {
        Decision::Permit(permit) => permit,
        Decision::Deny(denial) => panic!("{denial:?}"),
    }
}

#[test]
fn opens_the_permitted_unit_and_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let vault = Vault::create(&temp.path().join("keys")).unwrap();
    let (_, subject, _) = vault.new_subject().unwrap();
    let units = [1, 2].map(|n| Unit { kind: "Patient".to_owned(), bytes: vec![n; 10] });
    let sealed = vault
        .seal(SealRequest {
            chain: ChainId([1; 32]),
            institution: InstitutionId([2; 16]),
            subject: &subject,
            patient: None,
            practitioner: None,
            units: units.iter().map(Into::into).collect(),
            time: NOW,
            previous: None,
        })
        .unwrap();
    let case = vault.open_case(&subject, &sealed.wraps, &sealed.object, &sealed.statement.object).unwrap();
    let id = sealed.header.case;
    assert_eq!(case.unit(1, &permit(id, 1, 1)).unwrap(), units[1]);
    for (case_id, version, index) in [(CaseId([0; 16]), 1, 1), (id, 2, 1), (id, 1, 0)] {
        let error = case.unit(1, &permit(case_id, version, index)).unwrap_err();
        assert_eq!(error, OpenError::Permit { unit: 1 });
        assert_eq!(error.class(), ErrorClass::Bug);
        let proof = case.unit_proof(1, &permit(case_id, version, index));
        assert_eq!(
            proof.err(),
            Some(OpenError::Permit { unit: 1 }),
            "a salt must not leave under another unit's permit"
        );
    }
    let absent = Err(OpenError::Unit { unit: 2, error: UnitError::Absent });
    assert_eq!(case.unit(2, &permit(id, 1, 2)), absent);

    assert_eq!(case.unit_proof(2, &permit(id, 1, 2)).err(), absent.clone().err());

    let proof = case.unit_proof(1, &permit(id, 1, 1)).unwrap();
    let bytes = units[1].bytes.as_slice();
    let message = Parts::new("cs1/leaf").part(&"Patient").part(&10u64).bytes(bytes).finish();
    let mut leaf = Hmac::<Sha256>::new_from_slice(&proof.salt).unwrap();
    leaf.update(&message);
    assert_eq!(Digest(leaf.finalize().into_bytes().into()), proof.leaf);
    let (index, count) = (u64::from(proof.index), u64::from(proof.count));
    assert!(verify_inclusion(&proof.leaf, index, count, &proof.path, &sealed.statement.root));

    let custody = Custody::claimed_by_custodian_for(CustodyPurpose::Index);
    assert_eq!(case.unit_for_custody(0, custody).unwrap(), units[0]);
    assert_eq!(case.unit_for_custody(2, custody), absent);
}
