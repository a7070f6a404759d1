//! `$verify`, checked as a stranger would: the receipt against the genesis, the leaf from salt and bytes by another
//! implementation of the formula, the path to the root that the receipt's statement names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ledger_proof::verify_receipt;
use schemas::id::{Digest, from_hex};
use schemas::merkle;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{World, observation, permit, worlds};

fn named<'a>(parameters: &'a Value, name: &str) -> &'a str {
    let all = parameters["parameter"].as_array().expect("parameters");
    let one = all.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    one.as_object()
        .expect("object")
        .iter()
        .find(|(k, _)| k.starts_with("value"))
        .and_then(|(_, v)| v.as_str())
        .expect("text")
}

/// leaf = HMAC(salt, CBOR["cs1/leaf", type, length, bytes]), written out by hand.
fn leaf(salt: &[u8], kind: &str, bytes: &[u8]) -> Digest {
    let mut message = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut message);
    encoder.array(4).expect("cbor").str("cs1/leaf").expect("cbor").str(kind).expect("cbor");
    encoder.u64(bytes.len() as u64).expect("cbor").bytes(bytes).expect("cbor");
    let mut hmac = Hmac::<Sha256>::new_from_slice(salt).expect("a key");
    hmac.update(&message);
    Digest(hmac.finalize().into_bytes().into())
}

#[tokio::test]
async fn a_stranger_can_check_what_was_disclosed() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let units: Vec<_> = (0..3)
            .map(|n| {
                let id = world.vault.logical_id("Observation", &[&n.to_string()]);
                ("Observation", id, observation(&format!("code-{n}"), "laboratory", "2026-01-01"))
            })
            .collect();
        let case = world.case(&patient, &units).await;
        world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
        let clinic = world.token("clinic", "system/*.rs").await;
        for (_, id, resource) in &units {
            let (_, proof) = world.get(&clinic, &format!("Observation/{id}/$verify")).await;
            let receipt = named(&proof, "receipt");
            let verified = verify_receipt(receipt.as_bytes(), world.ledger.genesis()).expect("valid");
            assert_eq!(verified.case, case);
            let sealed = STANDARD.decode(named(&proof, "sealed")).expect("base64");
            let sent = schemas::json::parse(resource.to_string().as_bytes()).expect("json");
            assert_eq!(sealed, sent.canonical(), "the very bytes that were sealed");
            let salt = from_hex(named(&proof, "salt")).expect("hex");
            let found = leaf(&salt, named(&proof, "type"), &sealed);
            assert_eq!(found.to_string(), named(&proof, "leaf"));
            let path: Vec<Digest> = named(&proof, "path").split(',').map(|d| d.parse().expect("a digest")).collect();
            let (index, count) =
                (named(&proof, "index").parse().expect("n"), named(&proof, "count").parse().expect("n"));
            let root = verified.statement.root;
            assert!(merkle::verify_inclusion(&found, index, count, &path, &root));
            let mut forged = sealed.clone();
            forged[20] ^= 1;
            assert!(!merkle::verify_inclusion(&leaf(&salt, "Observation", &forged), index, count, &path, &root));
        }
    }
}

#[tokio::test]
async fn a_consent_opens_the_commitment_on_the_ledger() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let id = world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
        let office = world.token("office", "system/Consent.cruds").await;
        let (_, proof) = world.get(&office, &format!("Consent/{id}/$verify")).await;
        let view = gateway_server::disclose::decide::view(&world.store, &patient.subject).await.expect("view");
        let live = view.set.live.first().expect("a live consent");
        assert_eq!(named(&proof, "commitment"), live.commitment.to_string());
        assert_eq!(named(&proof, "consent"), live.consent.to_string());
    }
}

#[tokio::test]
async fn changed_ciphertext_is_never_served() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let clinic = world.token("clinic", "system/*.rs").await;
    for object in walk(&world.folder.path().join("objects")) {
        let mut bytes = std::fs::read(&object).expect("an object");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&object, bytes).expect("written");
    }
    let (status, body) = world.get(&clinic, &format!("Observation/{lab}")).await;
    assert_eq!((status.as_u16(), &body["resourceType"]), (500, &json!("OperationOutcome")));
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { out.extend(walk(&path)) } else { out.push(path) }
    }
    out
}
