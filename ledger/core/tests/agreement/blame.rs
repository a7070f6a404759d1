//! Whoever contradicts himself is blamed, also when no single replica hears both of his votes; nobody else ever is (asserted
//! inside of the network at each proof, in every test).

use ledger_core::{Input, Sign};
use schemas::block::{Batch, Phase, ValidatorIndex, ValidatorSignature, attestation_bytes};
use schemas::evidence::{Conflict, Kind, Word};
use schemas::id::{ChainId, Digest};
use schemas::pbft::{Attest, Message, SignedVote};
use schemas::view::{Checkpoint, SignedViewChange, ViewChange};

use crate::network::{CHAIN, Faults, Network};
use crate::{Mock, Seed, proposal, seeds, signed, vote};

const QUIET: Faults = Faults { loss: 0, duplication: 0, delay_ms: 3 };

fn blames(network: &Network, of: ValidatorIndex) -> usize {
    network.blamed.iter().filter(|(_, validator)| *validator == of).count()
}

#[test]
fn two_votes_of_one_place_are_proof() {
    for phase in [Phase::Prepare, Phase::Commit] {
        let mut network = Network::new(4, 1, QUIET);
        network.attacker = Some(0);
        network.crash(0);
        let sides = [proposal(&network, 1, 1), proposal(&network, 1, 2)];
        sides.iter().for_each(|side| network.send(0, 1, signed(side, phase)));
        network.run(50, 0, &[]);
        assert_eq!(network.blamed.iter().collect::<Vec<_>>(), [&(1, 0)], "{phase:?}");
    }
}

#[test]
fn a_primary_that_shows_each_half_another_proposal_is_blamed() {
    for seed in seeds(20) {
        let _seed = Seed(seed, "two halves");
        let n = [4, 5, 6, 7][seed as usize % 4];
        let mut network = Network::new(n, seed, QUIET);
        network.attacker = Some(0);
        network.crash(0);
        let sides = [proposal(&network, 1, 1), proposal(&network, 1, 2)];
        for to in 1..n as ValidatorIndex {
            // nobody hears both
            network.send(0, to, Message::PrePrepare(sides[usize::from(to) % 2].clone()));
        }
        network.run(100, 0, &[]);
        // whoever holds the proof first hands it in: one is enough
        assert!(blames(&network, 0) > 0, "n = {n}: nobody holds proof");
    }
}

#[test]
fn a_backup_that_tells_one_of_them_something_else_is_blamed() {
    for phase in [Phase::Prepare, Phase::Commit] {
        let mut network = Network::new(4, 1, QUIET);
        network.attacker = Some(3);
        network.crash(3);
        network.submit(0, 1);
        network.run(20, 0, &[]);
        let heard = network.heard.iter().find_map(|message| match message {
            Message::PrePrepare(pre_prepare) => Some(pre_prepare.batch.clone()),
            _ => None,
        });
        let batch = heard.expect("a proposal");
        let other = Batch { time: batch.time + 1, ..batch.clone() };
        let say = |batch: &Batch| {
            let vote = vote(batch, phase);
            Message::Vote(SignedVote {
                vote,
                by: ValidatorSignature { validator: 3, signature: Mock(3).sign(&vote.to_sign()) },
            })
        };
        network.send(3, 0, say(&batch));
        network.send(3, 1, say(&batch));
        network.send(3, 2, say(&other));
        network.run(200, 0, &[]);
        assert!(blames(&network, 3) > 0, "{phase:?}: {:?}", network.blamed);
    }
}

#[test]
fn a_validator_that_attests_two_headers_is_blamed() {
    let mut network = Network::new(4, 1, QUIET);
    network.attacker = Some(3);
    network.crash(3);
    let attest = |header: Digest| {
        let signature = Mock(3).sign(&attestation_bytes(&CHAIN, 0, 1, &header));
        Input::Attested(Attest { height: 1, header, by: ValidatorSignature { validator: 3, signature } })
    };
    // nobody hears both
    network.input(1, attest(Digest([0xee; 32])));
    network.submit(0, 1);
    network.run(200, 0, &[]);
    assert!(network.blamed.is_empty(), "one header, right or wrong, is no contradiction");
    let header = network.agreed(1).expect("executed").hash();
    network.input(0, attest(header));
    network.run(50, 0, &[]);
    assert_eq!(network.blamed.iter().collect::<Vec<_>>(), [&(0, 3)]);
}

#[test]
fn a_validator_that_leaves_with_two_stories_is_blamed() {
    let mut network = Network::new(4, 1, QUIET);
    network.attacker = Some(3);
    network.submit(0, 1);
    network.run(200, 0, &[]);
    let leave = |checkpoint: Checkpoint| {
        let change = ViewChange { chain: CHAIN, epoch: 0, view: 1, checkpoint, prepared: vec![] };
        let signature = Mock(3).sign(&change.to_sign());
        Message::ViewChange(SignedViewChange { change, by: ValidatorSignature { validator: 3, signature } })
    };
    // the primary fails; the next one hears one story, the third validator the other
    network.crash(0);
    network.crash(3);
    network.send(3, 1, leave(Checkpoint::genesis(&CHAIN)));
    network.send(3, 2, leave(network.checkpoint(1)));
    network.submit(1, 2);
    network.run(8_000, 0, &[]);
    assert_eq!(network.blamed.iter().collect::<Vec<_>>(), [&(2, 3)], "the new view holds the other story");
}

#[test]
fn what_agrees_or_stands_elsewhere_is_no_conflict() {
    let network = Network::new(4, 1, QUIET);
    let (side, other) = (proposal(&network, 1, 1), proposal(&network, 1, 2));
    let vote_of = |message: Message| match message {
        Message::Vote(signed) => signed,
        _ => unreachable!("a vote"),
    };
    let one = vote_of(signed(&side, Phase::Commit));
    let mut resigned = one;
    resigned.by.signature = Mock(2).sign(b"another signature over the same");
    assert_eq!(Conflict::of(&one, &resigned), None, "the same digest");
    assert_eq!(Conflict::of(&one, &vote_of(signed(&other, Phase::Prepare))), None, "another phase");
    let against = vote_of(signed(&other, Phase::Commit));
    let mut elsewhere = [against; 4];
    elsewhere[0].vote.view = 1;
    elsewhere[1].vote.height = 2;
    elsewhere[2].vote.epoch = 1;
    elsewhere[3].by.validator = 1;
    assert!(elsewhere.iter().all(|other| Conflict::of(&one, other).is_none()));
    assert_words_do_not_conflict();
    let conflict = Conflict::of(&one, &against).expect("a contradiction");
    assert_eq!(Conflict::of(&against, &one), Some(conflict), "one spelling");
    assert!(conflict.is_canonical());
}

/// The same header or story twice, or said of another height, view, epoch or chain, or by another one.
fn assert_words_do_not_conflict() {
    let attested = |header: u8| {
        let by = ValidatorSignature { validator: 2, signature: Mock(2).sign(&[header]) };
        Word::attested(CHAIN, 0, &Attest { height: 5, header: Digest([header; 32]), by })
    };
    let (one, other) = (attested(1), attested(2));
    let left = Word { kind: Kind::ViewChange, view: 3, height: 0, ..other };
    assert_eq!(Conflict::of(one, attested(1)), None);
    let elsewhere = [
        Word { height: 6, ..other },
        Word { epoch: 1, ..other },
        Word { chain: ChainId([1; 32]), ..other },
        Word { by: ValidatorSignature { validator: 1, ..other.by }, ..other },
        left,
    ];
    assert!(elsewhere.iter().all(|other| Conflict::of(one, *other).is_none()));
    assert_eq!(Conflict::of(left, Word { view: 4, digest: one.digest, ..left }), None, "another view");
    assert_eq!(Conflict::of(left, Word { epoch: 1, digest: one.digest, ..left }), None, "another epoch");
    let conflicts = [Conflict::of(one, other), Conflict::of(Word { digest: one.digest, ..left }, left)];
    for (conflict, of) in conflicts.into_iter().zip([one, left]) {
        let conflict = conflict.expect("a contradiction");
        assert!(conflict.is_canonical());
        assert_eq!(
            conflict.words(CHAIN).map(|word| (word.view, word.height, word.kind)),
            [(of.view, of.height, of.kind); 2]
        );
        // every part of the place is under the signature
        let [word, _] = conflict.words(CHAIN);
        let moved = [
            Word { epoch: 1, ..word },
            Word { chain: ChainId([1; 32]), ..word },
            Word { digest: Digest([9; 32]), ..word },
            if of.height == 0 { Word { view: 9, ..word } } else { Word { height: 9, ..word } },
        ];
        assert!(moved.iter().all(|moved| moved.to_sign() != word.to_sign()));
    }
}
