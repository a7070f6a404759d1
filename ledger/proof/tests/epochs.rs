//! Validators that change: honest chains of epochs lead from the genesis to any of them; and the attackers. Those who left sign on,
//! those who come sign too early, epochs are swapped, repeated, left out, cut short, or vouch for themselves: none is accepted.

#[path = "support/chain.rs"]
mod chain;
#[path = "support/eras.rs"]
mod eras;
#[path = "support/tree.rs"]
mod tree;

use chain::{key, sign};
use eras::{SEATS, World, all_sign, members};
use ledger_proof::{
    Epochs, ValidatorSet, Validators as _, VerifyError, freshness, verify_attestations, verify_block, verify_commits,
    verify_entry_proof, verify_finalised_block, verify_head,
};
use schemas::block::{Batch, Block, CommitCertificate, Head, Phase, SignedHead, ValidatorSignature, Vote, quorum};
use schemas::cbor;
use schemas::proof::{AttestedHeader, EpochProof, StateProof};
use schemas::state::{EpochRecord, epoch_key};

fn expects(found: Result<(), VerifyError>, part: &str) {
    let found = found.expect_err(part).to_string();
    assert!(found.contains(part), "found {found}, expected {part}");
}

#[test]
fn proofs_lead_from_the_genesis_to_every_epoch() {
    let world = World::new();
    let all = world.epochs(3);
    for (epoch, era) in (0..).zip(&world.eras) {
        let set = all.in_epoch(epoch).expect("known");
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
        assert_eq!(known.in_epoch(epoch + 1).map(ValidatorSet::epoch), None);
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
        assert_eq!(freshness(all.in_epoch((epoch as u64 + 1) % 4).expect("known"), &heads, now), None);
    }
    // heads of two epochs do not add up; the later epoch goes first where both are enough
    let few = [&of(1, seal - 1)[..4], &of(2, seal)[..3]].concat();
    assert_eq!(all.proved_fresh(0, &few, now), None);
    let both = [of(1, seal - 1), of(2, seal + 4)].concat();
    assert_eq!(all.proved_fresh(0, &both, now).map(|fresh| fresh.height), Some(seal + 4));
}
