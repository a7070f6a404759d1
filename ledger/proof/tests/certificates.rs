//! Blocks, commit certificates, heads and the genesis: what a validator or gateway takes from others.

#[path = "support/chain.rs"]
mod chain;

use chain::{CREATED, Chain, anchor, bytes, genesis, key, sign, statement};
use ledger_proof::{
    ValidatorSet, VerifyError, freshness, proved_fresh, verify_block, verify_commits, verify_finalised_block,
    verify_genesis, verify_head,
};
use schemas::block::{
    Batch, Block, CommitCertificate, Head, Phase, SignedHead, ValidatorSignature, Vote, attestation_to_sign,
};
use schemas::cbor;
use schemas::id::Digest;
use schemas::transaction::Outcome;

fn block() -> (ValidatorSet, Chain, Block) {
    let mut chain = Chain::new(4);
    let txs = [anchor(chain.id, 9, vec![statement(1)]), anchor(chain.id, 9, vec![statement(2)])];
    let entries = chain.entries(&txs, Outcome::Accepted);
    let (block, _) = chain.block(txs.iter().map(bytes).collect(), &entries);
    (ValidatorSet::of(&chain.genesis), chain, block)
}

#[test]
fn every_flipped_bit_of_a_final_block_is_caught() {
    let (set, _, mut block) = block();
    block.attestations.truncate(3);
    block.certificate.commits.truncate(3);
    verify_finalised_block(&set, &block).expect("honest");
    let honest = cbor::encode(&block);
    for at in 0..honest.len() {
        for bit in 0..8 {
            let mut flipped = honest.clone();
            flipped[at] ^= 1 << bit;
            let caught = cbor::decode::<Block>(&flipped).map_or(true, |b| verify_finalised_block(&set, &b).is_err());
            assert!(caught, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_block_without_quorum_is_incomplete() {
    let (set, _, block) = block();
    let mut unattested = block.clone();
    unattested.attestations.truncate(2);
    verify_block(&set, &unattested).expect("committed is enough among validators");
    assert!(verify_finalised_block(&set, &unattested).is_err_and(|e| e.is_incomplete()));
    let mut uncommitted = block;
    uncommitted.certificate.commits.truncate(2);
    assert!(verify_commits(&set, &uncommitted.batch, &uncommitted.certificate).is_err_and(|e| e.is_incomplete()));
    assert!(verify_block(&set, &uncommitted).is_err());
}

#[test]
fn commits_of_another_view_phase_or_list_do_not_count() {
    let (set, chain, block) = block();
    let mut other_view = block.clone();
    other_view.certificate.view = 1;
    assert!(matches!(verify_block(&set, &other_view), Err(VerifyError::Signature { place: "commits" })));
    let mut swapped = block.clone();
    swapped.certificate.commits = block.attestations.clone();
    assert!(verify_block(&set, &swapped).is_err());
    let mut reordered = block.clone();
    reordered.transactions.swap(0, 1);
    assert!(verify_block(&set, &reordered).is_err());
    let mut earlier = block.clone();
    earlier.header.time -= 1;
    assert!(verify_block(&set, &earlier).is_err());
    let other = ValidatorSet::of(&genesis(7));
    assert_ne!(other.chain(), &chain.id);
    assert!(matches!(verify_block(&other, &block), Err(VerifyError::OtherChain { .. })));
}

/// What a later view agreed on is proven like everything else, and so is a gap that a new view filled.
#[test]
fn certificates_of_later_views_and_null_batches_verify() {
    let (set, chain, mut block) = block();
    let commit = |chain: &Chain, block: &mut Block, view| {
        let Block { batch, .. } = &*block;
        let (height, digest) = (batch.height, batch.digest());
        let vote = Vote { chain: chain.id, epoch: 0, view, height, phase: Phase::Commit, digest };
        block.certificate = CommitCertificate { view, commits: chain.all_sign(&vote.to_sign()) };
        block.header.batch = digest;
        block.attestations = chain.all_sign(&attestation_to_sign(&block.header));
    };
    commit(&chain, &mut block, 7);
    verify_finalised_block(&set, &block).expect("committed in view 7");
    block.batch = Batch::null(chain.id, 0, block.batch.height);
    block.transactions.clear();
    commit(&chain, &mut block, u64::MAX);
    verify_finalised_block(&set, &block).expect("a null batch, committed in the last view");
}

fn head(chain: &Chain, validator: u16, height: u64, time: u64) -> SignedHead {
    let head = Head { chain: chain.id, epoch: 0, height, header: Digest::ZERO, time };
    let signature = sign(&key(validator), &head.to_sign());
    SignedHead { head, by: ValidatorSignature { validator, signature } }
}

#[test]
fn freshness_needs_young_heads_of_a_quorum() {
    let (set, chain, _) = block();
    let now = CREATED + 60_000;
    let young = |validator, height| head(&chain, validator, height, now - 4_000);
    assert_eq!(freshness(&set, &[young(0, 5), young(1, 7), young(3, 6)], now), Some(7));
    assert_eq!(freshness(&set, &[young(0, 5), young(1, 7)], now), None);
    assert_eq!(freshness(&set, &[young(0, 5), young(0, 6), young(0, 7), young(1, 5)], now), None);
    let old = head(&chain, 2, 9, now - 5_000);
    assert_eq!(freshness(&set, &[young(0, 5), young(1, 7), old.clone()], now), None);
    assert_eq!(freshness(&set, &[young(0, 5), young(1, 7), young(3, 6), old], now), Some(7));
    let future = head(&chain, 2, 9, now + 5_000);
    assert_eq!(freshness(&set, &[young(0, 5), young(1, 7), future], now), None);
    let mut forged = young(2, 9);
    forged.by.validator = 3;
    assert!(matches!(verify_head(&set, &forged), Err(VerifyError::Signature { .. })));
    assert_eq!(freshness(&set, &[young(0, 5), young(1, 7), forged], now), None);
}

#[test]
fn freshness_lasts_as_long_as_the_heads_that_prove_it() {
    let (set, chain, _) = block();
    let now = CREATED + 60_000;
    let aged = |validator, height, age| head(&chain, validator, height, now - age);
    let until = |heads: &[SignedHead]| proved_fresh(&set, heads, now).map(|fresh| (fresh.height, fresh.until));
    let life = schemas::limits::HEAD_AGE_MS_MAX;
    let three = [aged(0, 5, 3_000), aged(1, 7, 10), aged(3, 6, 2_000)];
    assert_eq!(until(&three), Some((7, now - 3_000 + life)));
    // a fourth head, many of one validator, and old ones make it neither longer nor shorter
    let ahead = [three.as_slice(), &[aged(2, 9, 0), aged(2, 8, 4_000), aged(1, 6, 0)]].concat();
    assert_eq!(until(&ahead), Some((7, now - 3_000 + life)));
    let level = [aged(0, 5, 3_000), aged(1, 5, 10), aged(2, 5, 500), aged(3, 5, 4_000)];
    assert_eq!(until(&level), Some((5, now - 3_000 + life)), "of equal heights the youngest prove it");
    let mut forged = aged(2, 5, 0);
    forged.by.validator = 1;
    assert_eq!(until(&[aged(0, 5, 3_000), aged(3, 6, 2_000), forged]), None);
}

/// One of four claims a height that does not exist: with everybody's head it changes nothing.
#[test]
fn liars_about_the_height_are_left_out() {
    let (set, chain, _) = block();
    let now = CREATED + 60_000;
    let young = |validator, height| head(&chain, validator, height, now);
    let all = [young(0, 5), young(1, 7), young(2, 1 << 63), young(3, 6)];
    assert_eq!(freshness(&set, &all, now), Some(7));
    assert_eq!(freshness(&set, &all[..3], now), Some(1 << 63), "cannot be told from one who is ahead");
    let twice = [young(0, 5), young(1, 4), young(1, 7), young(3, 6)];
    assert_eq!(freshness(&set, &twice, now), Some(7), "an older head of the same validator does not count");
}

/// Whoever attested a final height, whatever the faulty ones claim, whichever heads arrive: never below that height.
#[test]
fn freshness_is_never_below_a_final_height() {
    let now = CREATED;
    let chain = Chain::new(4);
    let set = ValidatorSet::of(&chain.genesis);
    let (claims, last) = ([0_u64, 9, 10, 11, u64::MAX], 10_u64);
    for liar in 0..4_u16 {
        for behind in 0..4_u16 {
            for missing in 0..5_u16 {
                for claim in claims {
                    // all but one attested the last height; the liar, who may be one of them, claims anything
                    let height = |v| {
                        if v == liar {
                            claim
                        } else if v == behind {
                            9
                        } else {
                            last
                        }
                    };
                    let heads: Vec<_> =
                        (0..4).filter(|v| *v != missing).map(|v| head(&chain, v, height(v), now)).collect();
                    let found = freshness(&set, &heads, now).expect("three heads");
                    assert!(found >= last, "liar {liar}: {claim}, behind {behind}, missing {missing}: found {found}");
                }
            }
        }
    }
}

#[test]
fn a_head_of_an_unknown_validator_does_not_count() {
    let (set, chain, _) = block();
    assert!(matches!(verify_head(&set, &head(&chain, 4, 1, CREATED)), Err(VerifyError::Validators { .. })));
}

#[test]
fn a_genesis_must_prove_possession_and_name_everything_once() {
    let good = genesis(4);
    verify_genesis(&good).expect("honest");
    let mut stolen = good.clone();
    stolen.institutions[0].possession = stolen.institutions[1].possession;
    assert!(matches!(verify_genesis(&stolen), Err(VerifyError::Signature { .. })));
    let mut changed = good.clone();
    changed.institutions[0].register.transports.clear();
    assert!(matches!(verify_genesis(&changed), Err(VerifyError::Signature { .. })));
    let mut twice = good.clone();
    twice.institutions.push(twice.institutions[0].clone());
    assert!(matches!(verify_genesis(&twice), Err(VerifyError::Genesis(_))));
    let mut validator_twice = good.clone();
    validator_twice.validators[1].key = validator_twice.validators[0].key;
    assert!(matches!(verify_genesis(&validator_twice), Err(VerifyError::Genesis(_))));
    for name in ["v0", "", "v 1", "../v1"] {
        let mut named = good.clone();
        named.validators[1].name = name.into();
        assert!(matches!(verify_genesis(&named), Err(VerifyError::Genesis(_))), "{name}");
        assert!(schemas::genesis::Genesis::parse(&named.to_json()).is_err(), "{name}");
    }
    let mut nobody = good;
    nobody.validators.clear();
    assert!(matches!(verify_genesis(&nobody), Err(VerifyError::Genesis(_))));
}
