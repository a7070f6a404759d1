//! A patient's own key: bound on the ledger, followed into the database in the same commit as the state, on each engine; every case
//! that is sealed from then on has a wrap that it opens, and those before have none.

use std::sync::atomic::Ordering;

use gateway_server::store::{anchors, cases, subjects};
use gateway_vault::PersonalKey;
use ledger_client::Ledger as _;
use ledger_proof::verify_receipt;
use schemas::cbor;
use schemas::envelope::WrapKind;
use schemas::transaction::{Body, Core, RegisterSubject, Signer};

use crate::journey::{HL7, admission, subject_of};
use crate::world::{INSTITUTION, worlds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_proved_otherwise_stops_the_follower() {
    for world in worlds().await {
        world.ledger.shows.store(1, Ordering::SeqCst);
        let running = world.start().await;
        running.send(HL7, &admission("1", "CANARY-4711")).await;
        running.until("a sample", || async { world.ledger.sampled.load(Ordering::SeqCst) > 2 }).await;
        assert_eq!(running.follower.height(), 0, "tried again and again, and never passed");
        world.ledger.shows.store(2, Ordering::SeqCst);
        running.indexed(1).await;
        assert!(running.follower.reach(1, std::time::Duration::from_secs(60)).await);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_new_case_has_a_wrap_for_the_bound_key() {
    for world in worlds().await {
        let running = world.start().await;
        running.send(HL7, &admission("1", "CANARY-4711")).await;
        running.indexed(1).await;
        let subject = subject_of(&world, &running, "CANARY-4711").await;
        let key = PersonalKey::create(&world.folder.path().join("patient.key")).expect("a key");
        let (chain, institution) = (world.ledger.genesis.chain_id(), INSTITUTION);
        let body = RegisterSubject { subject, institution, key: Some(key.public()), guardians: Vec::new() };
        let core = Core { chain, valid_until: running.follower.height() + 100, body: Body::RegisterSubject(body) };
        let mut transaction = world.vault.sign(core, Signer::Institution(INSTITUTION)).expect("signed");
        key.countersign(&mut transaction, Signer::NewKey);
        world.ledger.submit(cbor::encode(&transaction)).await.expect("taken");
        running
            .until("the bound key", || async {
                let row = subjects::get(&running.store, &subject).await.expect("read").expect("a row");
                row.public_key == Some(key.public()) && row.registered.is_some()
            })
            .await;
        assert_eq!(subjects::by_key(&running.store, &key.public()).await.expect("read"), Some(subject));

        running.send(HL7, &admission("2", "CANARY-4711")).await;
        running.send(HL7, &admission("3", "another patient")).await;
        running.indexed(3).await;
        let [new, old] =
            cases::of_subject(&running.store, &subject, 10).await.expect("read").try_into().ok().expect("two");
        let receive = async |case: &cases::CaseRow, object: &[u8]| {
            let receipt = anchors::receipt(&running.store, case).await.expect("a receipt");
            let verified = verify_receipt(receipt.as_bytes(), &world.ledger.genesis).expect("valid");
            key.receive(&chain, &verified.statement, &case.wraps, object)
        };
        let object = running.objects.get_from(&new.extent, &new.object).await.expect("an object");
        let units = receive(&new, &object).await.expect("her key alone opens it");
        assert!(units.iter().any(|unit| unit.kind == "Patient"));
        let kinds = |case: &cases::CaseRow| case.wraps.iter().map(|wrap| wrap.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&new), [WrapKind::Custodian, WrapKind::Patient]);
        assert_eq!(kinds(&old), [WrapKind::Custodian], "what was sealed before stays as it was");
        let object = running.objects.get_from(&old.extent, &old.object).await.expect("an object");
        assert!(receive(&old, &object).await.is_err());
        running.stop().await;
    }
}
