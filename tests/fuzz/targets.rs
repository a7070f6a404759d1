//! The decoders and what must hold of each. A target says whether it took the input.

use std::path::{Path, PathBuf};

use gateway_consent::{Policy, UnitFacts};
use gateway_server::disclose::search::Search;
use gateway_server::http::form;
use ledger_contract::admit;
use ledger_proof::{VerifiedFile, verify_file, verify_receipt};
use schemas::block::{Block, SignedHead};
use schemas::cbor;
use schemas::cose_receipt::CoseReceipt;
use schemas::envelope::{Statement, Wrap, take_apart};
use schemas::genesis::Genesis;
use schemas::json::{self, Value};
use schemas::pbft::{Message, Record};
use schemas::proof::{ConsistencyProof, StateProof};
use schemas::receipt::{EntryProof, Receipt};
use schemas::transaction::Transaction;
use schemas::wallet::SignedQuestion;

use crate::connector::connector;
use crate::core::core;
use crate::frames::frames;
use crate::interop::{interop, resources};
use crate::notices::notices;
use crate::samples;
use crate::tables::tables;

/// Whether an input is taken.
type Taken = dyn Fn(&[u8]) -> bool;

pub struct Target {
    pub name: &'static str,
    pub samples: Vec<Vec<u8>>,
    pub run: Box<Taken>,
}

pub fn target(name: &'static str, samples: Vec<Vec<u8>>, run: impl Fn(&[u8]) -> bool + 'static) -> Target {
    Target { name, samples, run: Box::new(run) }
}

/// A CBOR format: what is accepted is the one spelling of what it means.
fn wire<T>(name: &'static str, samples: Vec<Vec<u8>>) -> Target
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> + 'static,
{
    target(name, samples, |input| match cbor::decode::<T>(input) {
        Ok(value) => {
            assert_eq!(cbor::encode(&value), input, "another spelling was accepted");
            true
        }
        Err(_) => false,
    })
}

pub fn targets() -> Vec<Target> {
    let transactions: Vec<Vec<u8>> = samples::transactions().iter().map(cbor::encode).collect();
    let block = samples::block();
    let mut all = vec![
        wire::<Block>("block", vec![cbor::encode(&block)]),
        wire::<SignedHead>("head", vec![cbor::encode(&samples::head())]),
        wire::<Statement>(
            "statement",
            vec![cbor::encode(&samples::statement(1)), cbor::encode(&samples::statement(2))],
        ),
        wire::<EntryProof>("entry-proof", vec![cbor::encode(&samples::entry_proof())]),
        wire::<StateProof>(
            "state-proof",
            vec![cbor::encode(&samples::state_proof(true)), cbor::encode(&samples::state_proof(false))],
        ),
        wire::<ConsistencyProof>("consistency-proof", vec![cbor::encode(&samples::consistency_proof())]),
        wire::<CoseReceipt>("cose-receipt", vec![cbor::encode(&samples::cose_receipt())]),
        wire::<Message>(
            "message",
            lines(include_str!("../../schemas/wire/pbft.hex"), |b| cbor::decode::<Message>(b).is_ok()),
        ),
        wire::<Record>(
            "record",
            lines(include_str!("../../schemas/wire/pbft.hex"), |b| cbor::decode::<Record>(b).is_ok()),
        ),
        wire::<Vec<Wrap>>("wraps", vec![cbor::encode(&Vec::<Wrap>::new())]),
        wire::<SignedQuestion>(
            "wallet-question",
            lines(include_str!("../../schemas/wire/wallet.hex"), |b| cbor::decode::<SignedQuestion>(b).is_ok()),
        ),
        wire::<Transaction>("transaction", transactions.clone()),
        target("admit", transactions, |input| match admit(input, &samples::CHAIN) {
            Ok(transaction) => {
                assert_eq!(cbor::encode(&transaction), input, "another spelling was admitted");
                true
            }
            // the samples' signatures are only of the right shape
            Err(_) => cbor::decode::<Transaction>(input).is_ok(),
        }),
    ];
    all.extend(files());
    all.extend(interop());
    all.extend([frames(), tables(), connector(), notices(), core()]);
    all.extend(clients());
    all
}

/// Inputs that are kept for a target, one a line: those that once broke it, and those that reach what no other does.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let texts = ["broke.hex", "hex"].map(|kind| {
        let file = corpora().join(format!("{target}.{kind}"));
        if file.exists() { std::fs::read_to_string(file).expect("a file of the corpus") } else { String::new() }
    });
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.map(|line| schemas::id::from_hex(line).expect("lines of lower-case hex")).collect()
}

/// Where they stand.
pub fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// What auditors and wallets are handed.
fn files() -> Vec<Target> {
    let genesis = include_str!("../../schemas/wire/genesis.json");
    let parsed = Genesis::parse(genesis).expect("the sample genesis parses");
    let receipt = include_bytes!("../../schemas/wire/receipt.json").to_vec();
    let good = receipt.clone();
    let proofs = vec![
        include_bytes!("../../schemas/wire/proofs/entry.json").to_vec(),
        include_bytes!("../../schemas/wire/proofs/present.json").to_vec(),
        include_bytes!("../../schemas/wire/proofs/absent.json").to_vec(),
        include_bytes!("../../schemas/wire/proofs/consistency.json").to_vec(),
        include_bytes!("../../schemas/wire/proofs/receipts.cose").to_vec(),
        include_bytes!("../../schemas/wire/proofs/entry-epoch-1.json").to_vec(),
        include_bytes!("../../schemas/wire/proofs/receipt-epoch-2.json").to_vec(),
        include_bytes!("../../schemas/wire/proofs/receipts-epoch-2.cose").to_vec(),
    ];
    let (good_proofs, of_proofs) = (proofs.clone(), parsed.clone());
    let object = lines(include_str!("../../schemas/wire/envelope-first.hex"), |b| take_apart(b).is_ok());
    vec![
        target("receipt", vec![receipt], move |input| {
            let parsed_receipt = Receipt::parse(input);
            // nothing but the very bytes may ever verify
            if verify_receipt(input, &parsed).is_ok() {
                assert_eq!(input, good, "a forged receipt verifies");
            }
            if let Ok(receipt) = &parsed_receipt {
                assert_eq!(receipt.to_json().as_bytes(), input, "another spelling was accepted");
            }
            parsed_receipt.is_ok()
        }),
        target("proof", proofs, move |input| match verify_file(input, &of_proofs) {
            // the path that proves a key absent does so for every key in the same empty place: as true
            Ok(VerifiedFile::State(proof)) if proof.value.is_none() => true,
            Ok(_) => {
                assert!(good_proofs.iter().any(|good| good == input), "a forged proof verifies");
                true
            }
            Err(_) => false,
        }),
        target("genesis", vec![genesis.as_bytes().to_vec()], |input| {
            std::str::from_utf8(input).is_ok_and(|text| Genesis::parse(text).is_ok())
        }),
        target("object", object, |input| take_apart(input).is_ok()),
    ]
}

/// What FHIR clients send and ask.
fn clients() -> Vec<Target> {
    let consent = br#"{"resourceType":"Consent","status":"active","scope":{"coding":[{"code":"patient-privacy"}]},"category":[{"coding":[{"code":"INFA"}]}],"patient":{"reference":"Patient/1"},"provision":{"type":"permit","period":{"start":"2024","end":"2026-01-01T00:00:00Z"},"actor":[{"role":{"coding":[{"code":"IRCP"}]},"reference":{"reference":"Organization/a"}}],"provision":[{"type":"deny","code":[{"coding":[{"system":"http://loinc.org","code":"1-8"}]}]}]}}"#;
    let searches = [
        "patient=1&code=http://loinc.org|1-8,2&date=ge2024-01&_count=5",
        "patient=Patient/1&category=lab&_summary=count",
    ];
    vec![
        target("json", resources(), |input| match json::parse(input) {
            Ok(value) => {
                let canonical = value.canonical();
                let again = json::parse(&canonical).expect("canonical bytes parse");
                assert_eq!(again.canonical(), canonical, "canonical bytes are a fixed point");
                let facts = UnitFacts::of(&value);
                assert_eq!(UnitFacts::from_json(&facts.to_json()), Some(facts), "facts come back");
                true
            }
            Err(_) => false,
        }),
        target("consent", vec![consent.to_vec()], |input| {
            json::parse(input).is_ok_and(|value: Value| Policy::parse_under(&value, "https://a.example/fhir").is_ok())
        }),
        target("search", searches.iter().map(|text| text.as_bytes().to_vec()).collect(), |input| {
            let Some(form) = std::str::from_utf8(input).ok().and_then(form::decode) else { return false };
            Search::parse("Observation", "https://a.example/fhir", &form).is_ok()
        }),
    ]
}

/// The hex values of `name value` lines that a decoder takes.
fn lines(text: &str, taken: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let words = text.lines().filter_map(|line| line.split_whitespace().last());
    words.filter_map(schemas::id::from_hex).filter(|bytes| taken(bytes)).collect()
}
