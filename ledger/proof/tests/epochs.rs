//! Validators that change: honest chains of epochs lead from the genesis to any of them; and the attackers. Those who left sign on,
//! those who come sign too early, epochs are swapped, repeated, left out, cut short, or vouch for themselves: none is accepted.

#[path = "support/chain.rs"]
mod chain;
#[path = "support/tree.rs"]
mod tree;

use chain::{Chain, anchor, bytes, key, public, sign, statement};
use ledger_proof::{
    Epochs, ValidatorSet, Validators as _, VerifiedFile, VerifyError, build_receipt, freshness, verify_attestations,
    verify_block, verify_commits, verify_consistency_proof, verify_cose_receipts, verify_entry_proof, verify_file,
    verify_finalised_block, verify_head, verify_receipt, verify_state_proof,
};
use schemas::block::{
    Batch, Block, CommitCertificate, Head, Header, Phase, SignedHead, ValidatorSignature, Vote, attestation_to_sign,
    quorum,
};
use schemas::cbor;
use schemas::cose_receipt::{self, CoseReceipt, CoseReceipts, ReceiptBytes};
use schemas::genesis::Validator;
use schemas::proof::{AttestedHeader, ConsistencyProof, EpochProof, Filed, Proof, StateProof};
use schemas::receipt::{EntryProof, Receipt};
use schemas::state::{EpochRecord, epoch_key};
use schemas::transaction::{Outcome, Transaction};
use tree::Tree;

/// Who sits where in each epoch. Epoch 3 has nobody of epoch 0 left.
const SEATS: [&[u16]; 4] = [&[0, 1, 2, 3], &[0, 1, 2, 3, 4, 5, 6], &[6, 5, 4, 3, 7], &[7, 8, 9, 10, 11, 12]];

/// What happened in one epoch.
struct Era {
    record: EpochRecord,
    seal: u64,
    block: Block,
    tx: Transaction,
    entry: EntryProof,
}

/// An honest chain of four epochs, each with one block; the last has no end yet.
struct World {
    chain: Chain,
    state: Tree,
    eras: Vec<Era>,
    proofs: Vec<EpochProof>,
}

fn members(seats: &[u16]) -> Vec<Validator> {
    seats.iter().map(|seed| Validator { name: format!("v{seed}"), key: public(&key(*seed)) }).collect()
}

impl World {
    fn new() -> Self {
        let mut chain = Chain::new(4);
        let (mut state, mut eras, mut proofs) = (Tree::default(), vec![], vec![]);
        let mut record = EpochRecord::genesis(members(SEATS[0]));
        state.rows.insert(epoch_key(0), cbor::encode(&record));
        for epoch in 0..SEATS.len() {
            (chain.epoch, chain.seats, chain.height) = (epoch as u64, SEATS[epoch].to_vec(), record.first + 9);
            let next = SEATS.get(epoch + 1).map(|seats| record.next(members(seats), chain.height + 1));
            if let Some(next) = &next {
                state.rows.insert(epoch_key(next.epoch), cbor::encode(next));
            }
            chain.state_root = state.root();
            let tx = anchor(chain.id, 10_000, vec![statement(epoch as u8 + 1), statement(epoch as u8 + 101)]);
            let entries = chain.entries(std::slice::from_ref(&tx), Outcome::Accepted);
            let (mut block, mut entry) = chain.block(vec![bytes(&tx)], &entries);
            let mut entry = entry.remove(0);
            let q = quorum(SEATS[epoch].len());
            [&mut block.attestations, &mut block.certificate.commits, &mut entry.attestations]
                .into_iter()
                .for_each(|by| by.truncate(q));
            if let Some(next) = &next {
                let attested =
                    AttestedHeader { header: block.header.clone(), attestations: block.attestations.clone() };
                let proof = EpochProof::of(state.prove(epoch_key(next.epoch), &attested));
                proofs.push(proof.expect("the record of an epoch"));
            }
            let seal = next.as_ref().map_or(u64::MAX, EpochRecord::previous_seal);
            eras.push(Era { record: record.clone(), seal, block, tx, entry });
            record = next.unwrap_or(record);
        }
        Self { chain, state, eras, proofs }
    }

    /// Known up to an epoch.
    fn epochs(&self, epoch: usize) -> Epochs {
        Epochs::of(&self.chain.genesis).extended(&self.proofs[..epoch]).expect("honest")
    }

    /// A header of an era that its first q validators attest, moved and signed again by the validators of `by`.
    fn forged(&self, era: usize, by: usize, change: impl FnOnce(&mut Header)) -> AttestedHeader {
        let mut header = self.eras[era].block.header.clone();
        change(&mut header);
        let attestations = all_sign(by, &attestation_to_sign(&header));
        AttestedHeader { header, attestations }
    }
}

/// All validators of an epoch sign.
fn all_sign(epoch: usize, message: &[u8]) -> Vec<ValidatorSignature> {
    let by = |(validator, seed): (u16, &u16)| ValidatorSignature { validator, signature: sign(&key(*seed), message) };
    (0..).zip(SEATS[epoch]).map(by).collect()
}

fn expects(found: Result<(), VerifyError>, part: &str) {
    let found = found.expect_err(part).to_string();
    assert!(found.contains(part), "found {found}, expected {part}");
}

#[test]
fn proofs_lead_from_the_genesis_to_every_epoch() {
    let world = World::new();
    let all = world.epochs(3);
    for (epoch, era) in (0..).zip(&world.eras) {
        let set = all.of(epoch).expect("known");
        let keys: Vec<_> = era.record.members.iter().map(|member| member.key).collect();
        assert_eq!((set.epoch(), set.first(), set.keys()), (epoch, era.record.first, &keys[..]));
        assert_eq!(set.last(), (epoch < 3).then_some(era.seal));
        assert_eq!(set.quorum(), quorum(keys.len()));
        let own = ValidatorSet::of_epoch(world.chain.id, &era.record, &ledger_proof::AwsLc);
        for set in [set.clone(), own.clone(), own.until(era.seal)] {
            verify_finalised_block(&set, &era.block).expect("honest, by the epoch's own set");
        }
        verify_finalised_block(&all, &era.block).expect("honest");
        verify_entry_proof(&all, &era.entry).expect("honest");
        for height in [era.record.first, era.block.header.height, era.seal] {
            assert_eq!(all.at(height).epoch(), epoch, "height {height}");
        }
        let known = world.epochs(epoch as usize);
        assert_eq!(known.newest().epoch(), epoch);
        assert_eq!(known.proofs(epoch).expect("known"), &world.proofs[..epoch as usize]);
        assert_eq!(known.proofs(epoch + 1), None);
        assert_eq!(known.of(epoch + 1).map(ValidatorSet::epoch), None);
        // what is not known yet is said to be of another epoch: there may be a proof of it
        for later in &world.eras[epoch as usize + 1..] {
            let place = "header";
            let expected = Err(VerifyError::OtherEpoch { place, epoch: later.record.epoch });
            assert_eq!(verify_finalised_block(&known, &later.block), expected);
        }
    }
    assert_eq!((all.at(0).epoch(), all.genesis().epoch()), (0, 0));
}

#[test]
fn validators_attest_nothing_outside_of_their_epoch() {
    let world = World::new();
    let all = world.epochs(3);
    for (epoch, era) in world.eras.iter().enumerate() {
        let check = |height: u64| {
            let AttestedHeader { header, attestations } = world.forged(epoch, epoch, |header| header.height = height);
            verify_attestations(&all, &header, &attestations)
        };
        assert_eq!(check(era.record.first), Ok(()));
        expects(check(era.record.first - 1), "a height of its epoch");
        if epoch < 3 {
            assert_eq!(check(era.seal), Ok(()));
            for beyond in [era.seal + 1, era.seal + 256, u64::MAX] {
                expects(check(beyond), "a height of its epoch");
            }
        }
        // the batch too, and whole blocks
        for height in [era.record.first - 1, era.seal.saturating_add(1)].into_iter().filter(|h| *h < u64::MAX) {
            let batch = Batch { height, ..era.block.batch.clone() };
            let vote = Vote {
                chain: world.chain.id,
                epoch: epoch as u64,
                view: 0,
                height,
                phase: Phase::Commit,
                digest: batch.digest(),
            };
            let certificate = CommitCertificate { view: 0, commits: all_sign(epoch, &vote.to_sign()) };
            expects(verify_commits(&all, &batch, &certificate), "a height of its epoch");
            let AttestedHeader { header, attestations } = world.forged(epoch, epoch, |header| {
                (header.height, header.batch) = (height, batch.digest());
            });
            let transactions = era.block.transactions.clone();
            let block = Block { batch, transactions, certificate, header, attestations };
            expects(verify_block(&all, &block), "a height of its epoch");
            expects(verify_finalised_block(&all, &block), "a height of its epoch");
        }
    }
}

#[test]
fn no_epoch_signs_for_another() {
    let world = World::new();
    let all = world.epochs(3);
    for era in 0..4 {
        for by in (0..4).filter(|by| *by != era) {
            let AttestedHeader { header, attestations } = world.forged(era, by, |_| {});
            assert!(verify_attestations(&all, &header, &attestations).is_err(), "{by} signs in {era}");
            // and says so
            let AttestedHeader { header, attestations } = world.forged(era, by, |header| header.epoch = by as u64);
            assert!(verify_attestations(&all, &header, &attestations).is_err(), "{by} signs heights of {era}");
        }
        // header and batch of two epochs
        let mut block = world.eras[era].block.clone();
        block.batch.epoch = (era as u64 + 1) % 4;
        assert!(verify_block(&all, &block).is_err());
    }
}

#[test]
fn epochs_are_learned_in_order_once_and_from_the_one_before() {
    let world = World::new();
    let order = "the epoch behind the newest one";
    for known in 0..4 {
        for (at, proof) in world.proofs.iter().enumerate() {
            let mut epochs = world.epochs(known);
            let found = epochs.extend(proof);
            if at == known {
                assert_eq!((found, epochs.newest().epoch()), (Ok(()), at as u64 + 1));
            } else {
                expects(found, order);
                assert_eq!(epochs.newest().epoch(), known as u64, "a refused proof changes nothing");
            }
        }
    }
    // left out, repeated, swapped, of another chain
    let lists: [&[usize]; 6] = [&[1], &[0, 2], &[0, 0], &[0, 1, 1], &[1, 0], &[0, 2, 1]];
    for list in lists {
        let proofs: Vec<_> = list.iter().map(|at| world.proofs[*at].clone()).collect();
        assert!(Epochs::of(&world.chain.genesis).extended(&proofs).is_err(), "{list:?}");
    }
    let mut other = chain::genesis(4);
    other.created += 1;
    let found = Epochs::of(&other).extended(&world.proofs).expect_err("another chain");
    assert!(matches!(found, VerifyError::OtherChain { .. }));
}

/// The proof of epoch 2, changed by those who can sign for it, or by others.
#[test]
fn an_epoch_proof_says_what_the_epoch_before_decided() {
    let world = World::new();
    let honest = &world.proofs[1];
    // signed by the epoch itself, and by all others
    for by in [0, 2, 3] {
        let AttestedHeader { attestations, .. } = world.forged(1, by, |_| {});
        assert!(world.epochs(1).extend(&EpochProof { attestations, ..honest.clone() }).is_err(), "by {by}");
        let AttestedHeader { header, attestations } = world.forged(1, by, |header| header.epoch = by as u64);
        expects(
            world.epochs(1).extend(&EpochProof { header, attestations, ..honest.clone() }),
            "a header of the epoch that decided it",
        );
    }
    // a quorum of epoch 1 under headers of the state, too early and behind the seal: neither is its own to decide
    let (decided_at, seal) = (honest.record.decided_at, honest.record.previous_seal());
    for (height, fits) in [(decided_at - 1, false), (decided_at, true), (seal, true), (seal + 1, false)] {
        let AttestedHeader { header, attestations } = world.forged(1, 1, |header| header.height = height);
        let found = world.epochs(1).extend(&EpochProof { header, attestations, ..honest.clone() });
        if fits {
            assert_eq!(found, Ok(()), "height {height}");
        } else {
            expects(found, "a header from the decision to the seal");
        }
    }
    // one of the state without the record
    let mut without = world.state.clone();
    without.rows.remove(&epoch_key(2));
    let attested = world.forged(1, 1, |header| header.state_root = without.root());
    let absent = without.prove(epoch_key(2), &attested);
    assert_eq!(EpochProof::of(absent.clone()), None);
    let (siblings, header, attestations) = (absent.siblings, absent.header, absent.attestations);
    let claimed = EpochProof { record: honest.record.clone(), siblings, header, attestations };
    assert_eq!(world.epochs(1).extend(&claimed), Err(VerifyError::Path { place: "epoch" }));
    // the record of one epoch under the key of another
    let moved = StateProof { key: epoch_key(3), ..world.state.prove(epoch_key(2), &attested) };
    assert_eq!(EpochProof::of(moved), None);
}

/// Records that no contract writes are refused even where a quorum signs them.
#[test]
fn a_record_follows_from_its_decision() {
    let world = World::new();
    let check = |change: &dyn Fn(&mut EpochRecord)| {
        let mut record = world.proofs[1].record.clone();
        change(&mut record);
        let mut state = world.state.clone();
        state.rows.insert(epoch_key(record.epoch), cbor::encode(&record));
        let attested = world.forged(1, 1, |header| header.state_root = state.root());
        let proof = EpochProof::of(state.prove(epoch_key(record.epoch), &attested)).expect("a record");
        world.epochs(1).extend(&proof)
    };
    assert_eq!(check(&|_| {}), Ok(()));
    let order = "the epoch behind the newest one";
    for epoch in [0, 1, 3, u64::MAX] {
        expects(check(&|record| record.epoch = epoch), order);
    }
    let seal = "a seal that follows";
    for first in [0, 1, 257, 512, 514, 769, u64::MAX] {
        expects(check(&|record| record.first = first), seal);
    }
    expects(check(&|record| record.decided_at = 0), seal);
    expects(check(&|record| record.decided_at = world.eras[1].record.first - 1), seal);
    expects(check(&|record| record.decided_at += 1), "from the decision to the seal");
    expects(check(&|record| record.decided_at = u64::MAX), seal);
    let wrong = "members that an epoch can have";
    expects(check(&|record| record.members.truncate(3)), wrong);
    expects(check(&|record| record.members[0] = record.members[1].clone()), wrong);
    expects(check(&|record| record.members[0].key = record.members[1].key), wrong);
    expects(check(&|record| record.members[0].name = "a b".into()), wrong);
    expects(check(&|record| record.members = members(&(100..165).collect::<Vec<_>>())), wrong);
}

#[test]
fn epoch_proofs_are_tight() {
    let world = World::new();
    let honest = &world.proofs[1];
    let epochs = world.epochs(1);
    let encoded = cbor::encode(honest);
    for at in 0..encoded.len() {
        assert!(cbor::decode::<EpochProof>(&encoded[..at]).is_err());
        let mut flipped = encoded.clone();
        for bit in 0..8 {
            flipped[at] = encoded[at] ^ 1 << bit;
            let caught = cbor::decode::<EpochProof>(&flipped).map_or(true, |p| epochs.clone().extend(&p).is_err());
            assert!(caught, "byte {at}, bit {bit}");
        }
    }
    let with =
        |attestations: Vec<ValidatorSignature>| epochs.clone().extend(&EpochProof { attestations, ..honest.clone() });
    let short = with(honest.attestations[..honest.attestations.len() - 1].to_vec()).expect_err("too few");
    assert!(short.is_incomplete());
    assert!(with(vec![honest.attestations[0]; 5]).is_err_and(|e| !e.is_incomplete()), "one signer repeated");
    let mut swapped = honest.attestations.clone();
    swapped.swap(0, 1);
    assert!(with(swapped).is_err_and(|e| !e.is_incomplete()));
}

fn head(world: &World, epoch: usize, index: u16, height: u64) -> SignedHead {
    let now = chain::CREATED;
    let header = schemas::id::Digest::ZERO;
    let head = Head { chain: world.chain.id, epoch: epoch as u64, height, header, time: now };
    let signature = sign(&key(SEATS[epoch][usize::from(index)]), &head.to_sign());
    SignedHead { head, by: ValidatorSignature { validator: index, signature } }
}

/// At the seal those who left fall silent: a quorum of them proves no freshness, whatever they sign.
#[test]
fn those_who_left_prove_no_freshness() {
    let world = World::new();
    let (all, now) = (world.epochs(3), chain::CREATED);
    let seal = world.eras[1].seal;
    let of = |epoch: usize, height: u64| -> Vec<SignedHead> {
        (0..SEATS[epoch].len()).map(|index| head(&world, epoch, index as u16, height)).collect()
    };
    for (epoch, height, fits) in [
        (0, 0, true),
        (1, world.eras[0].seal - 1, false),
        (1, world.eras[0].seal, true),
        (1, seal - 1, true),
        (1, seal, false),
        (1, seal + 1, false),
        (2, seal - 1, false),
        (2, seal, true),
        (3, u64::MAX, true),
    ] {
        let heads = of(epoch, height);
        assert_eq!(verify_head(&all, &heads[0]).is_ok(), fits, "epoch {epoch}, height {height}");
        let fresh = all.proved_fresh(0, &heads, now).map(|fresh| fresh.height);
        assert_eq!(fresh, fits.then_some(height), "epoch {epoch}, height {height}");
        // whoever has executed the seal does not listen to them any more
        assert_eq!(all.proved_fresh(epoch as u64 + 1, &heads, now), None);
        assert_eq!(freshness(all.of((epoch as u64 + 1) % 4).expect("known"), &heads, now), None);
    }
    // heads of two epochs do not add up; the later epoch goes first where both are enough
    let few = [&of(1, seal - 1)[..4], &of(2, seal)[..3]].concat();
    assert_eq!(all.proved_fresh(0, &few, now), None);
    let both = [of(1, seal - 1), of(2, seal + 4)].concat();
    assert_eq!(all.proved_fresh(0, &both, now).map(|fresh| fresh.height), Some(seal + 4));
}

fn receipt(world: &World, epoch: usize) -> Receipt {
    let era = &world.eras[epoch];
    build_receipt(&era.tx, 1, &era.entry, &world.proofs[..epoch]).expect("belongs together")
}

#[test]
fn a_file_carries_the_epochs_it_needs_and_no_others() {
    let world = World::new();
    let genesis = &world.chain.genesis;
    for epoch in 0..4 {
        let era = &world.eras[epoch];
        let json = receipt(&world, epoch).to_json();
        let verified = verify_receipt(json.as_bytes(), genesis).expect("honest");
        assert_eq!((verified.height, verified.case), (era.block.header.height, era.tx.statements[1].case));
        assert_eq!(json.contains("epochs"), epoch > 0, "left out in epoch 0");
        let entry = |epochs: &[EpochProof]| {
            let file = Filed::new(world.chain.id, era.entry.clone(), epochs.to_vec()).to_json();
            verify_file(file.as_bytes(), genesis)
        };
        for count in 0..=3 {
            let proofs = &world.proofs[..count];
            assert_eq!(build_receipt(&era.tx, 1, &era.entry, proofs).is_ok(), count == epoch);
            let mut receipt = receipt(&world, epoch);
            receipt.epochs = proofs.to_vec();
            assert_eq!(verify_receipt(receipt.to_json().as_bytes(), genesis).is_ok(), count == epoch);
            assert_eq!(entry(proofs).is_ok(), count == epoch);
        }
        // as many, but others
        if epoch > 1 {
            let mut proofs = world.proofs[..epoch].to_vec();
            proofs.swap(0, 1);
            assert!(entry(&proofs).is_err());
            proofs.fill(world.proofs[0].clone());
            assert!(entry(&proofs).is_err());
        }
    }
    // an empty list is another spelling
    let json = receipt(&world, 0).to_json();
    let spelt = json.strip_suffix('}').map(|json| format!("{json},\"epochs\":[]}}")).expect("an object");
    assert!(matches!(verify_receipt(spelt.as_bytes(), genesis), Err(VerifyError::Receipt(_))));
}

#[test]
fn files_of_later_epochs_are_tight() {
    let world = World::new();
    let genesis = &world.chain.genesis;
    let era = &world.eras[2];
    let attested = AttestedHeader { header: era.block.header.clone(), attestations: era.block.attestations.clone() };
    // the state of epoch 2's header holds the record of epoch 3, and not that of epoch 4
    let present = world.state.prove(epoch_key(3), &attested);
    let first = &world.eras[0].block;
    let first = AttestedHeader { header: first.header.clone(), attestations: first.attestations.clone() };
    let path = world.chain.consistency(first.header.log_size, attested.header.log_size);
    let grown = ConsistencyProof { first, second: attested, path };
    assert_eq!(verify_state_proof(&world.epochs(3), &present), Ok(()));
    assert_eq!(verify_consistency_proof(&world.epochs(2), &grown), Ok(()));
    let files = [
        receipt(&world, 2).to_json(),
        file(&world, era.entry.clone()),
        file(&world, present),
        file(&world, grown.clone()),
    ];
    for file in files {
        verify_file(file.as_bytes(), genesis).expect("honest");
        for at in 0..file.len() {
            assert!(verify_file(&file.as_bytes()[..at], genesis).is_err());
            let mut flipped = file.clone().into_bytes();
            flipped[at] ^= 1 << (at % 8);
            assert!(verify_file(&flipped, genesis).is_err(), "byte {at}");
        }
    }
    // the earlier header is of the later epoch: its height says no
    let ConsistencyProof { first, second, path } = grown;
    let moved = world.forged(0, 2, |header| header.epoch = 2);
    let lie = ConsistencyProof { first: moved, second: second.clone(), path: path.clone() };
    assert!(verify_consistency_proof(&world.epochs(2), &lie).is_err());
    assert!(verify_consistency_proof(&world.epochs(1), &ConsistencyProof { first, second, path }).is_err());
}

fn file<T: Proof>(world: &World, proof: T) -> String {
    let epochs = world.proofs[..proof.epoch() as usize].to_vec();
    Filed::new(world.chain.id, proof, epochs).to_json()
}

/// Receipts of the entry of an era by validators of an epoch, with the proofs up to `proved`.
fn cose(world: &World, era: usize, by: &[u16], proved: usize) -> CoseReceipts {
    let proof = &world.eras[era].entry;
    let mut receipts: Vec<_> = by
        .iter()
        .map(|seed| {
            let own = public(&key(*seed));
            let message = cose_receipt::to_sign(&own, &world.chain.id, &proof.header.log_root);
            let (size, index, path) = (proof.header.log_size, proof.log_index, proof.path.clone());
            let signature = sign(&key(*seed), &message);
            let receipt = CoseReceipt { key: own, chain: world.chain.id, size, index, path, signature };
            ReceiptBytes(cbor::encode(&receipt))
        })
        .collect();
    receipts.sort();
    CoseReceipts { entry: cbor::encode(&proof.entry), receipts, epochs: world.proofs[..proved].to_vec() }
}

/// Validators sign old entries as well as new ones, each under the key of now; the file proves the earliest epoch that will do.
#[test]
fn cose_receipts_are_by_one_epoch_that_is_proved() {
    let world = World::new();
    let set = ValidatorSet::of(&world.chain.genesis);
    for era in 0..4 {
        for by in 0..4 {
            let honest = cose(&world, era, SEATS[by], by);
            let found = verify_cose_receipts(&set, &honest);
            if by >= era {
                assert_eq!(found.as_ref(), Ok(&world.eras[era].entry.entry), "{by} of {era}");
                let bytes = cbor::encode(&honest);
                let file = verify_file(&bytes, &world.chain.genesis);
                assert!(matches!(file, Ok(VerifiedFile::Cose(entry)) if entry == world.eras[era].entry.entry));
            }
            for proved in (0..4).filter(|proved| *proved != by) {
                assert!(verify_cose_receipts(&set, &cose(&world, era, SEATS[by], proved)).is_err());
            }
        }
    }
    // whoever sat in both epochs: the earlier one is enough for an early entry, and not for a later one
    let stayed = &[0, 1, 2, 3];
    assert!(verify_cose_receipts(&set, &cose(&world, 0, stayed, 0)).is_ok());
    assert!(verify_cose_receipts(&set, &cose(&world, 0, stayed, 1)).is_err(), "four of seven, and one proof too many");
    assert!(verify_cose_receipts(&set, &cose(&world, 1, stayed, 1)).is_err_and(|e| e.is_incomplete()));
    assert!(verify_cose_receipts(&set, &cose(&world, 2, &[3, 4, 5, 6], 2)).is_ok());
    assert!(verify_cose_receipts(&set, &cose(&world, 0, &[2, 3, 4, 5, 6], 1)).is_ok(), "five of seven");
    // two epochs' receipts in one file
    assert!(verify_cose_receipts(&set, &cose(&world, 0, &[0, 1, 4, 5], 0)).is_err());
    assert!(verify_cose_receipts(&set, &cose(&world, 1, &[0, 5, 6, 7], 2)).is_err());
    // the validators of a later epoch are no place to begin
    let later = ValidatorSet::of_epoch(world.chain.id, &world.eras[1].record, &ledger_proof::AwsLc);
    assert!(verify_cose_receipts(&later, &cose(&world, 1, SEATS[1], 0)).is_err());
    let honest = cose(&world, 2, &SEATS[2][..4], 2);
    let bytes = cbor::encode(&honest);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(verify_file(&flipped, &world.chain.genesis).is_err(), "byte {at}");
    }
}

/// One file of a later epoch of each kind, under `schemas/wire/genesis.json`: a change is a new format.
#[test]
fn the_files_are_frozen() {
    let world = World::new();
    let files = [
        ("receipt-epoch-2.json", receipt(&world, 2).to_json().into_bytes()),
        ("entry-epoch-1.json", file(&world, world.eras[1].entry.clone()).into_bytes()),
        ("receipts-epoch-2.cose", cbor::encode(&cose(&world, 2, &SEATS[2][..4], 2))),
    ];
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/wire/proofs"));
    for (name, bytes) in files {
        let path = folder.join(name);
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(found == bytes, "{name} is not what this version writes");
        verify_file(&bytes, &world.chain.genesis).expect("honest");
    }
}
