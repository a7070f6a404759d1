//! The patient's own key: invited, bound once, with proofs of possession that are replayed, stolen or wrong; sealed cases that it
//! alone opens; consents that only it signs. The requests are those of a wallet, byte for byte.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_vault::PersonalKey;
use ledger_proof::verify_receipt;
use schemas::cbor::{self, Record};
use schemas::envelope::WrapKind;
use schemas::id::{CaseId, ConsentId, Height, SubjectId};
use schemas::json;
use schemas::limits;
use schemas::state::ConsentSet;
use schemas::transaction::{Basis, Body as Does, Core, GrantConsent, RegisterSubject, RevokeConsent, Signer};
use schemas::wallet::{
    Ask, Bind, Bound, Grant, Invitation, Question, Revoke, SealedCase, SignedQuestion, Standing, Status, Written,
    consent_commitment,
};
use serde_json::json;
use std::sync::atomic::Ordering;

use crate::world::{INSTITUTION, Patient, World, permit, worlds};

fn key(world: &World, name: &str) -> PersonalKey {
    PersonalKey::create(&world.folder.path().join(name)).expect("a key")
}

async fn post<T: Record>(world: &World, path: &str, body: &impl Record) -> Result<T, StatusCode> {
    let request = Request::post(format!("/wallet/v1/{path}")).header(header::CONTENT_TYPE, "application/cbor");
    let (status, _, answer) = world.send(request.body(Body::from(cbor::encode(body))).expect("a request")).await;
    if status == StatusCode::OK { Ok(cbor::decode(&answer).expect("one spelling")) } else { Err(status) }
}

async fn invite(world: &World, patient: &Patient, client: &str, scope: &str) -> Result<Invitation, StatusCode> {
    let token = world.token(client, scope).await;
    let path = format!("Patient/{}/$invite", patient.id);
    let (status, _, body) = world.put(Method::POST, &token, &path, &json!({})).await;
    if status != StatusCode::OK {
        return Err(status);
    }
    let text = body["parameter"][0]["valueString"].as_str().expect("an invitation");
    Ok(cbor::decode(&URL_SAFE_NO_PAD.decode(text).expect("base64url")).expect("an invitation"))
}

async fn height(world: &World) -> Height {
    let request = Request::get("/wallet/v1").body(Body::empty()).expect("a request");
    let (status, _, answer) = world.send(request).await;
    assert_eq!(status, StatusCode::OK);
    let standing: Standing = cbor::decode(&answer).expect("a standing");
    assert_eq!((standing.chain, standing.institution), (world.ledger.genesis().chain_id(), INSTITUTION));
    standing.height
}

fn signed(world: &World, key: &PersonalKey, body: Does, valid_until: Height, signer: Signer) -> Vec<u8> {
    let core = Core { chain: world.ledger.genesis().chain_id(), valid_until, body };
    cbor::encode(&key.sign(core, signer))
}

async fn registration(world: &World, key: &PersonalKey, subject: SubjectId) -> Vec<u8> {
    let body = RegisterSubject { subject, institution: INSTITUTION, key: Some(key.public()), guardians: Vec::new() };
    signed(world, key, Does::RegisterSubject(body), height(world).await + 100, Signer::NewKey)
}

/// A patient with a bound key.
async fn bound(world: &World, mrn: &str) -> (Patient, PersonalKey) {
    let patient = world.patient(mrn).await;
    let key = key(world, mrn);
    let invitation = invite(world, &patient, "reception", "system/PatientKey.c").await.expect("invited");
    assert_eq!((invitation.subject, invitation.institution), (patient.subject, INSTITUTION));
    let transaction = registration(world, &key, patient.subject).await;
    let done: Bound = post(world, "bind", &Bind { seal: invitation.seal, transaction }).await.expect("bound");
    assert_eq!(done.subject, patient.subject);
    (patient, key)
}

fn question(world: &World, key: &PersonalKey, ask: Ask) -> SignedQuestion {
    key.ask(Question {
        chain: world.ledger.genesis().chain_id(),
        institution: INSTITUTION,
        key: key.public(),
        ask,
        time: world.now(),
        nonce: gateway_vault::random().expect("random"),
    })
}

async fn status(world: &World, key: &PersonalKey) -> Status {
    post(world, "ask", &question(world, key, Ask::Status)).await.expect("a status")
}

async fn collect(world: &World, key: &PersonalKey, case: CaseId) -> Result<SealedCase, StatusCode> {
    post(world, "ask", &question(world, key, Ask::Case(case))).await
}

/// What a wallet signs and sends to grant a document.
fn grant(
    world: &World,
    key: &PersonalKey,
    subject: SubjectId,
    set: &ConsentSet,
    document: &serde_json::Value,
    change: impl FnOnce(&mut GrantConsent),
) -> Grant {
    let document = json::parse(document.to_string().as_bytes()).expect("json").canonical();
    let salt = gateway_vault::random().expect("random");
    let mut body = GrantConsent {
        consent: ConsentId(gateway_vault::random().expect("random")),
        subject,
        set_version: set.version + 1,
        commitment: consent_commitment(&salt, &document),
        basis: Basis::Signed,
        custodian: INSTITUTION,
        from: None,
        until: None,
        supersedes: None,
    };
    change(&mut body);
    let transaction = signed(world, key, Does::GrantConsent(body), 500, Signer::Subject(subject));
    Grant { transaction, document, salt, replaces: None }
}

fn revocation(world: &World, key: &PersonalKey, subject: SubjectId, consent: ConsentId) -> Vec<u8> {
    let body = Does::RevokeConsent(RevokeConsent { consent, subject });
    signed(world, key, body, 500, Signer::Subject(subject))
}

#[tokio::test]
async fn a_bound_key_opens_each_new_case_alone() {
    let world = World::new().await;
    let (patient, key) = bound(&world, "1").await;
    assert!(status(&world, &key).await.cases.is_empty(), "what was sealed before has no wrap for her");
    world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    let found = status(&world, &key).await;
    assert_eq!((found.subject, found.patient.as_deref()), (patient.subject, Some(patient.id.as_str())));
    let [known] = found.cases.as_slice() else { panic!("one case") };
    let case = collect(&world, &key, known.case).await.expect("collected");
    let verified = verify_receipt(case.receipt.as_bytes(), world.ledger.genesis()).expect("valid");
    assert_eq!(verified.case, known.case);
    let chain = world.ledger.genesis().chain_id();
    let units = key.receive(&chain, &verified.statement, &case.wraps, &case.object).expect("opened");
    assert!(String::from_utf8_lossy(&units[0].bytes).contains("718-7"));

    let mut object = case.object.clone();
    let last = object.len() - 1;
    object[last] ^= 1;
    assert!(key.receive(&chain, &verified.statement, &case.wraps, &object).is_err());
    let mut wraps = case.wraps.clone();
    let own = wraps.iter_mut().find(|wrap| wrap.kind == WrapKind::Patient).expect("her wrap");
    own.ciphertext[0] ^= 1;
    assert!(key.receive(&chain, &verified.statement, &wraps, &case.object).is_err());
    let stranger = self::key(&world, "stranger");
    assert!(stranger.receive(&chain, &verified.statement, &case.wraps, &case.object).is_err());
}

#[tokio::test]
async fn nobody_elses_case_is_handed_out() {
    let world = World::new().await;
    let (one, key) = bound(&world, "1").await;
    let (other, others_key) = bound(&world, "2").await;
    world.observation(&one, "718-7", "laboratory", "2026-01-01").await;
    world.observation(&other, "718-7", "laboratory", "2026-01-01").await;
    let own = status(&world, &key).await.cases[0].case;
    let others = status(&world, &others_key).await.cases[0].case;
    assert_ne!(own, others);
    assert_eq!(collect(&world, &key, others).await.err(), Some(StatusCode::NOT_FOUND));
    assert_eq!(collect(&world, &key, CaseId([9; 16])).await.err(), Some(StatusCode::NOT_FOUND));
    assert!(collect(&world, &key, own).await.is_ok());
}

#[tokio::test]
async fn a_question_is_fresh_for_this_gateway_and_answered_once() {
    for world in worlds().await {
        let (_, key) = bound(&world, "1").await;
        let ask = async |signed: &SignedQuestion| post::<Status>(&world, "ask", signed).await.err();
        let good = question(&world, &key, Ask::Status);
        assert_eq!(ask(&good).await, None);
        let refused = Some(StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&good).await, refused, "answered before");
        let unbound = self::key(&world, "unbound");
        assert_eq!(ask(&question(&world, &unbound, Ask::Status)).await, refused);
        let mut stolen = question(&world, &unbound, Ask::Status);
        stolen.question.key = key.public();
        assert_eq!(ask(&stolen).await, refused, "another's signature");
        let with = |change: fn(&mut Question)| {
            let mut question = question(&world, &key, Ask::Status).question;
            change(&mut question);
            key.ask(question)
        };
        assert_eq!(ask(&with(|q| q.institution.0[0] ^= 1)).await, refused, "for another hospital");
        assert_eq!(ask(&with(|q| q.chain.0[0] ^= 1)).await, refused, "for another chain");
        assert_eq!(ask(&with(|q| q.time -= limits::WALLET_SKEW_MS_MAX + 1)).await, refused, "old");
        assert_eq!(ask(&with(|q| q.time += limits::WALLET_SKEW_MS_MAX + 1)).await, refused, "to come");
        let mut changed = question(&world, &key, Ask::Status);
        changed.question.ask = Ask::Case(CaseId([1; 16]));
        assert_eq!(
            post::<SealedCase>(&world, "ask", &changed).await.err(),
            refused,
            "another question than was signed"
        );
        world.ledger.stale.store(true, Ordering::SeqCst);
        assert_eq!(ask(&question(&world, &key, Ask::Status)).await, Some(StatusCode::SERVICE_UNAVAILABLE));
    }
}

#[tokio::test]
async fn a_key_is_bound_once_by_who_holds_it_and_was_invited() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let forbidden = Some(StatusCode::FORBIDDEN);
        assert_eq!(invite(&world, &patient, "clinic", "system/*.rs").await.err(), forbidden);
        assert_eq!(invite(&world, &patient, "office", "system/Consent.cruds system/*.c").await.err(), forbidden);
        let nobody = Patient { id: "unknown".to_owned(), subject: patient.subject, key: patient.key.clone() };
        let absent = Some(StatusCode::NOT_FOUND);
        assert_eq!(invite(&world, &nobody, "reception", "system/PatientKey.c").await.err(), absent);

        let invitation = invite(&world, &patient, "reception", "system/PatientKey.c").await.expect("invited");
        let key = key(&world, "own");
        let good = registration(&world, &key, patient.subject).await;
        let bind = async |seal: &[u8], transaction: &[u8]| {
            let (seal, transaction) = (seal.to_vec(), transaction.to_vec());
            post::<Bound>(&world, "bind", &Bind { seal, transaction }).await.err()
        };
        let unprocessable = Some(StatusCode::UNPROCESSABLE_ENTITY);
        let mut forged = invitation.seal.clone();
        forged[30] ^= 1;
        assert_eq!(bind(&forged, &good).await, unprocessable, "an invitation of nobody");
        let mut stolen: schemas::transaction::Transaction = cbor::decode(&good).expect("ours");
        let Does::RegisterSubject(body) = &mut stolen.core.body else { panic!("ours") };
        body.key = Some(self::key(&world, "thief").public());
        let refused = Some(StatusCode::UNAUTHORIZED);
        assert_eq!(bind(&invitation.seal, &cbor::encode(&stolen)).await, refused, "a proof for another key");
        let other = world.patient("2").await;
        let for_other = invite(&world, &other, "reception", "system/PatientKey.c").await.expect("invited");
        assert_eq!(bind(&for_other.seal, &good).await, unprocessable, "a proof for another patient");
        let mut moved: schemas::transaction::Transaction = cbor::decode(&good).expect("ours");
        let Does::RegisterSubject(body) = &mut moved.core.body else { panic!("ours") };
        body.subject = other.subject;
        assert_eq!(bind(&for_other.seal, &cbor::encode(&moved)).await, refused, "a proof replayed for another patient");

        assert_eq!(bind(&invitation.seal, &good).await, None);
        assert_eq!(bind(&invitation.seal, &good).await, None, "the same key again is bound already");
        let second = self::key(&world, "second");
        let conflict = Some(StatusCode::CONFLICT);
        let another = registration(&world, &second, patient.subject).await;
        assert_eq!(bind(&invitation.seal, &another).await, conflict, "a second key");
        assert_eq!(invite(&world, &patient, "reception", "system/PatientKey.c").await.err(), conflict);
        let shared = registration(&world, &key, other.subject).await;
        assert_eq!(bind(&for_other.seal, &shared).await, conflict, "one key for two patients");
        world.now.fetch_add(limits::INVITATION_MS_MAX, Ordering::SeqCst);
        let late = registration(&world, &second, other.subject).await;
        assert_eq!(bind(&for_other.seal, &late).await, unprocessable, "an invitation that is over");
    }
}

#[tokio::test]
async fn only_the_bound_key_grants_and_revokes() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
        let document = permit(&patient.id, "Organization/clinic", &json!({}));
        let attested = world.grant(&document).await;
        let key = key(&world, "own");
        let invitation = invite(&world, &patient, "reception", "system/PatientKey.c").await.expect("invited");
        let transaction = registration(&world, &key, patient.subject).await;
        post::<Bound>(&world, "bind", &Bind { seal: invitation.seal, transaction }).await.expect("bound");
        let office = world.token("office", "system/Consent.cruds").await;
        let clinic = world.token("clinic", "system/*.rs").await;
        let read = format!("Observation/{lab}");
        assert_eq!(world.get(&clinic, &read).await.0, StatusCode::OK, "what was attested before stays in force");
        let (refused, _, _) = world.put(Method::POST, &office, "Consent", &document).await;
        assert_eq!(refused, StatusCode::CONFLICT, "the institution alone attests no more");
        let mut ended = document.clone();
        (ended["id"], ended["status"]) = (json!(attested), json!("inactive"));
        let (refused, _, _) = world.put(Method::PUT, &office, &format!("Consent/{attested}"), &ended).await;
        assert_eq!(refused, StatusCode::CONFLICT);

        let known = status(&world, &key).await;
        let [consent] = known.consents.as_slice() else { panic!("one consent") };
        assert_eq!((consent.logical_id.as_str(), consent.open.len(), consent.revoked), (attested.as_str(), 1, false));
        let thief = self::key(&world, "thief");
        let revoke = async |by: &PersonalKey, consents: &[ConsentId]| {
            let transactions = consents.iter().map(|id| revocation(&world, by, patient.subject, *id).into()).collect();
            post::<Written>(&world, "revoke", &Revoke { logical_id: attested.clone(), transactions }).await
        };
        assert_eq!(revoke(&thief, &[consent.head]).await.err(), Some(StatusCode::UNAUTHORIZED));
        let other = ConsentId([3; 16]);
        assert_eq!(revoke(&key, &[other]).await.err(), Some(StatusCode::UNPROCESSABLE_ENTITY), "another consent's id");
        assert_eq!(revoke(&key, &[]).await.err(), Some(StatusCode::CONFLICT), "nothing is signed");
        let first = revoke(&key, &[consent.head]).await.expect("revoked");
        assert_eq!(world.get(&clinic, &read).await.0, StatusCode::NOT_FOUND);
        let again = revoke(&key, &[consent.head]).await.expect("ending it again changes nothing");
        assert_eq!((first.consent, first.logical_id), (again.consent, again.logical_id));
        let (_, history) = world.get(&office, &format!("Consent/{attested}/_history")).await;
        assert_eq!(history["total"], json!(2));
        assert_eq!(world.get(&office, &format!("Consent/{attested}")).await.1["status"], json!("inactive"));

        let set = status(&world, &key).await.set;
        let granted = grant(&world, &key, patient.subject, &set, &document, |_| {});
        let written: Written = post(&world, "grant", &granted).await.expect("granted");
        assert_eq!(world.get(&clinic, &read).await.0, StatusCode::OK);
        let once_more: Written = post(&world, "grant", &granted).await.expect("its answer was lost");
        assert_eq!(written, once_more);
        assert_eq!(status(&world, &key).await.set.live.len(), 1);

        let code = json!({ "code": [{ "coding": [{ "system": "http://loinc.org", "code": "8867-4" }] }] });
        let narrow = permit(&patient.id, "Organization/clinic", &code);
        let set = status(&world, &key).await.set;
        let mut replacing =
            grant(&world, &key, patient.subject, &set, &narrow, |body| body.supersedes = Some(written.consent));
        replacing.replaces = Some(written.logical_id.clone());
        let narrowed: Written = post(&world, "grant", &replacing).await.expect("narrowed");
        assert_eq!(narrowed.logical_id, written.logical_id);
        assert_eq!(world.get(&clinic, &read).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_grant_says_exactly_what_its_document_says() {
    let world = World::new().await;
    let (patient, key) = bound(&world, "1").await;
    let (other, others_key) = bound(&world, "2").await;
    let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    let clinic = world.token("clinic", "system/*.rs").await;
    let document = permit(&patient.id, "Organization/clinic", &json!({}));
    let set = status(&world, &key).await.set;
    let send = async |grant: Grant| post::<Written>(&world, "grant", &grant).await.err();
    let unprocessable = Some(StatusCode::UNPROCESSABLE_ENTITY);
    let by = |change: fn(&mut GrantConsent)| grant(&world, &key, patient.subject, &set, &document, change);
    assert_eq!(send(by(|body| body.commitment.0[0] ^= 1)).await, unprocessable, "another commitment");
    assert_eq!(send(by(|body| body.until = Some(1))).await, unprocessable, "another window");
    assert_eq!(send(by(|body| body.basis = Basis::Attested)).await, unprocessable, "another basis");
    assert_eq!(send(by(|body| body.custodian.0[0] ^= 1)).await, unprocessable, "another custodian");
    assert_eq!(send(by(|body| body.supersedes = Some(ConsentId([1; 16])))).await, unprocessable);
    assert_eq!(send(by(|body| body.set_version += 1)).await, Some(StatusCode::CONFLICT), "out of turn");
    let mut salted = by(|_| {});
    salted.salt[0] ^= 1;
    assert_eq!(send(salted).await, unprocessable, "another salt");
    let mut swapped = by(|_| {});
    let wider = permit(&patient.id, "Organization/stranger", &json!({}));
    swapped.document = json::parse(wider.to_string().as_bytes()).expect("json").canonical();
    assert_eq!(send(swapped).await, unprocessable, "another document than was signed");
    let for_other = grant(&world, &key, other.subject, &set, &document, |_| {});
    assert_eq!(send(for_other).await, Some(StatusCode::UNAUTHORIZED), "for a patient whose key it is not");
    let about_other = grant(&world, &others_key, other.subject, &set, &document, |_| {});
    assert_eq!(send(about_other).await, unprocessable, "a document about another patient");
    let mut flipped = by(|_| {});
    let mut forged: schemas::transaction::Transaction = cbor::decode(&flipped.transaction).expect("ours");
    forged.signatures[0].signature.0.0[63] ^= 1;
    flipped.transaction = cbor::encode(&forged);
    assert_eq!(send(flipped).await, Some(StatusCode::UNAUTHORIZED), "a flipped bit in the signature");
    assert_eq!(status(&world, &key).await.set.version, 0, "nothing of it reached the ledger");
    let read = format!("Observation/{lab}");
    assert_eq!(world.get(&clinic, &read).await.0, StatusCode::NOT_FOUND);

    let good = by(|_| {});
    let taken: schemas::transaction::Transaction = cbor::decode(&good.transaction).expect("ours");
    let Does::GrantConsent(taken) = taken.core.body else { panic!("ours") };
    assert_eq!(send(good).await, None);
    let others = permit(&other.id, "Organization/clinic", &json!({}));
    let same_id = grant(&world, &others_key, other.subject, &set, &others, |body| body.consent = taken.consent);
    assert_eq!(send(same_id).await, Some(StatusCode::CONFLICT), "the id of another patient's consent");
    assert_eq!(world.get(&clinic, &read).await.0, StatusCode::OK);
}
