//! Freezes the bytes of messages, signed votes and records: `schemas/wire/pbft.hex`. A change there is a change of protocol.

use schemas::block::{
    Batch, Block, CommitCertificate, Header, Phase, TransactionBytes, ValidatorSignature, Vote, attestation_to_sign,
    transactions_root,
};
use schemas::cbor::{decode, encode};
use schemas::id::{ChainId, Digest, RawSignature, Signature, to_hex};
use schemas::merkle::Frontier;
use schemas::pbft::{
    Answer, Attest, Committed, Decision, HandOver, Message, PrePrepare, Prepared, Record, Recovery, Repeated,
    SignedVote, Status,
};
use schemas::proof::Value;
use schemas::transaction::{LogEntry, Outcome, Refusal};
use schemas::transfer::{Asked, Content, LogManifest, Manifest, Offer, Piece, Row, Told};
use schemas::tree::Subtree;
use schemas::view::{Checkpoint, NewView, PreparedCertificate, SignedViewChange, ViewChange};

const CHAIN: ChainId = ChainId([0xc5; 32]);

fn signature(by: u8) -> Signature {
    Signature(RawSignature([by; 64]))
}

fn signatures() -> Vec<ValidatorSignature> {
    (0..3).map(|validator| ValidatorSignature { validator, signature: signature(validator as u8 + 1) }).collect()
}

fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let transactions: Vec<_> = [b"first".as_slice(), b"second"].map(|b| TransactionBytes(b.into())).into();
    let root = transactions_root(&transactions);
    let batch = Batch { chain: CHAIN, epoch: 0, height: 300, transactions_root: root, time: 1_700_000_000_000 };
    let vote = |phase| Vote { chain: CHAIN, epoch: 0, view: 0, height: 300, phase, digest: batch.digest() };
    let header = Header {
        chain: CHAIN,
        epoch: 0,
        height: 300,
        batch: batch.digest(),
        previous: Digest([1; 32]),
        log_size: 1_000,
        log_root: Digest([2; 32]),
        time: 1_700_000_000_000,
        state_root: Digest([3; 32]),
    };
    let pre_prepare =
        PrePrepare { view: 0, batch: batch.clone(), transactions: transactions.clone(), signature: signature(1) };
    let by = ValidatorSignature { validator: 2, signature: signature(3) };
    let certificate = CommitCertificate { view: 0, commits: signatures() };
    let block = Block {
        batch: batch.clone(),
        transactions: transactions.clone(),
        certificate: certificate.clone(),
        header: header.clone(),
        attestations: signatures(),
    };
    let prepared = Prepared { vote: vote(Phase::Commit), prepares: signatures(), commit: signature(3) };
    let committed = Committed { height: 300, digest: batch.digest(), certificate: certificate.clone() };
    let status =
        Status { view: 0, executed: 300, certified: 299, proposed: 301, stuck: true, changing: false, epoch: 0 };
    let decision =
        Decision { batch: batch.clone(), transactions: transactions.clone(), certificate: certificate.clone() };
    let prepares = signatures().split_off(1);
    let prepared_certificate =
        PreparedCertificate { view: 0, height: 300, digest: batch.digest(), pre_prepare: signature(1), prepares };
    let checkpoint = Checkpoint { height: 299, header: Digest([4; 32]), attestations: signatures() };
    let change = ViewChange {
        chain: CHAIN,
        epoch: 0,
        view: 1,
        checkpoint: checkpoint.clone(),
        prepared: vec![prepared_certificate],
    };
    let signed = SignedViewChange { change: change.clone(), by };
    let new_view = NewView {
        chain: CHAIN,
        epoch: 0,
        view: 1,
        changes: vec![signed.clone()],
        pre_prepares: vec![signature(2)],
        signature: signature(2),
    };
    let asked = |piece| Asked { height: 300, piece };
    let told = |piece, content| encode(&Message::Piece(Told { asked: asked(piece), content }));
    let state = Piece::State { depth: 2, index: 3 };
    let offered = checkpoint.clone();
    let subtrees = vec![Subtree::Empty, Subtree::Leaf(Digest([5; 32])), Subtree::Node(Digest([6; 32])), Subtree::Empty];
    let mut before = Frontier::default();
    before.append(Digest([7; 32]), |_, _, _| {});
    let log = LogManifest { before, pieces: vec![Digest([8; 32])] };
    let manifest = Manifest { header: header.clone(), attestations: signatures(), state: subtrees, log };
    let row = Row { key: Value(b"case/0123456789abcdef".to_vec()), value: Value(vec![9; 3]) };
    let outcome = Outcome::Refused(Refusal::Expired);
    let entry = LogEntry { height: 300, index: 1, transaction: Digest([10; 32]), signed: Digest([11; 32]), outcome };
    let again = Vote { view: 1, ..vote(Phase::PrePrepare) };
    let repeated = Repeated { vote: again, pre_prepare: signature(2), prepare: Some(signature(3)) };
    vec![
        ("sign-pre-prepare", vote(Phase::PrePrepare).to_sign()),
        ("sign-prepare", vote(Phase::Prepare).to_sign()),
        ("sign-commit", vote(Phase::Commit).to_sign()),
        ("sign-view-change", change.to_sign()),
        ("sign-new-view", new_view.to_sign()),
        ("null-batch-digest", encode(&Batch::null(CHAIN, 0, 300).digest())),
        ("sign-attestation", attestation_to_sign(&header)),
        ("request", encode(&Message::Request(transactions[0].clone()))),
        ("pre-prepare", encode(&Message::PrePrepare(pre_prepare.clone()))),
        ("prepare", encode(&Message::Vote(SignedVote { vote: vote(Phase::Prepare), by }))),
        ("commit", encode(&Message::Vote(SignedVote { vote: vote(Phase::Commit), by }))),
        ("attest", encode(&Message::Attest(Attest { height: 300, header: header.hash(), by }))),
        ("status", encode(&Message::Status(status))),
        ("fetch", encode(&Message::Fetch(300))),
        ("blocks", encode(&Message::Blocks(vec![block]))),
        ("view-change", encode(&Message::ViewChange(signed.clone()))),
        ("new-view", encode(&Message::NewView(new_view.clone()))),
        ("decided", encode(&Message::Decided(decision.clone()))),
        ("shown", encode(&Message::Shown(SignedVote { vote: vote(Phase::PrePrepare), by }))),
        ("ask", encode(&Message::Ask(7, Recovery { epoch: 1, until: 99, above: 4 }))),
        ("answer", encode(&Message::Answer(Answer { nonce: 7, epoch: 0, executed: 300, view: 1 }))),
        ("hand-over", encode(&Message::HandOver(HandOver { asker: 3, epoch: 0, view: 1 }))),
        ("ask-offer", encode(&Message::AskOffer(7))),
        ("offered", encode(&Message::Offered(Offer { nonce: 7, epoch: 0, checkpoint: offered }))),
        ("ask-manifest", encode(&Message::AskPiece(asked(Piece::Manifest)))),
        ("ask-state", encode(&Message::AskPiece(asked(state)))),
        ("ask-log", encode(&Message::AskPiece(asked(Piece::Log(3))))),
        ("gone", told(Piece::Manifest, Content::Gone)),
        ("manifest", told(Piece::Manifest, Content::Manifest(Box::new(manifest)))),
        ("state-piece", told(state, Content::State(vec![row]))),
        ("log-piece", told(Piece::Log(3), Content::Log(vec![entry]))),
        ("blocks-from", encode(&Message::BlocksFrom(300))),
        ("record-accepted", encode(&Record::Accepted(pre_prepare, Some(signature(3))))),
        ("record-prepared", encode(&Record::Prepared(prepared))),
        ("record-committed", encode(&Record::Committed(committed))),
        ("record-repeated", encode(&Record::Repeated(repeated))),
        ("record-view-change", encode(&Record::ViewChange(300, signed))),
        ("record-new-view", encode(&Record::NewView(300, new_view))),
        ("record-decided", encode(&Record::Decided(decision))),
        ("record-recovering", encode(&Record::Recovering(301, Recovery { epoch: 0, until: 556, above: 3 }))),
    ]
}

#[test]
fn bytes_are_frozen() {
    let made: String = vectors().iter().map(|(name, bytes)| format!("{name} {}\n", to_hex(bytes))).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/wire/pbft.hex");
    let frozen = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(frozen, made, "{path} is not what this version writes");
}

#[test]
fn every_message_and_record_has_one_spelling() {
    for (name, bytes) in vectors() {
        if name.starts_with("sign-") || name.ends_with("-digest") {
            continue;
        }
        let is_record = name.starts_with("record-");
        let reads = |bytes: &[u8]| {
            if is_record { decode::<Record>(bytes).is_ok() } else { decode::<Message>(bytes).is_ok() }
        };
        assert!(reads(&bytes), "{name}");
        assert!(!reads(&[&bytes[..], &[0]].concat()), "{name} with a byte behind it");
        assert!((0..bytes.len()).all(|end| !reads(&bytes[..end])), "{name} cut short");
    }
}
