//! Vote logs and stores that no honest run can have written: refused at the start, before a word is said.

use ledger_core::{CoreError, Effect, Input, Proposal, Replica, Request, Sign as _, Start};
use schemas::block::{Phase, ValidatorSignature, attestation_bytes, quorum};
use schemas::limits;
use schemas::pbft::{Message, PrePrepare, Record, SignedVote};
use schemas::view::Checkpoint;

use crate::forgeries::{by_validator, change_for};
use crate::network::{CHAIN, Faults, Mock, Network, transaction};
use crate::{finish, proposal, vote};

fn start(network: &Network, records: Vec<Record>, checkpoint: Checkpoint) -> Result<(Replica, Vec<Effect>), CoreError> {
    let config = network.config(2);
    let start =
        Start { config, executed: 0, unattested: vec![], checkpoint, seal: None, records, now: network.now, nonce: 0 };
    Replica::start(start, &Mock(2))
}

#[test]
fn votes_of_a_view_that_was_left_contradict_the_log() {
    let network = Network::new(4, 1, Faults::default());
    let genesis = || Checkpoint::genesis(&CHAIN);
    let accepted = || Record::Accepted(proposal(&network, 1, 1), None);
    let left = |view| Record::ViewChange(1, by_validator(2, change_for(view, genesis(), vec![])));
    let refused = |records| matches!(start(&network, records, genesis()), Err(CoreError::Contradiction { .. }));
    assert!(!refused(vec![accepted(), left(1)]), "a vote, then the view is left");
    assert!(refused(vec![left(1), accepted()]), "a vote of view 0 after it was left");
    assert!(refused(vec![left(2), left(1)]), "a view change back");
    assert!(!refused(vec![left(1), left(1)]), "the same again, as before a stable checkpoint");
    let other = Record::Accepted(proposal(&network, 1, 2), None);
    assert!(refused(vec![accepted(), other]), "two proposals at one height");
    let (replica, _) = start(&network, vec![accepted(), left(3)], genesis()).map_err(|e| e.to_string()).unwrap();
    assert!(replica.is_changing() && replica.view() == 3, "it waits for the view that it wanted last");
    let high = Checkpoint { height: 5, ..genesis() };
    assert!(matches!(start(&network, vec![], high), Err(CoreError::CheckpointGap { found: 5, certified: 0 })));
}

#[test]
fn a_replica_that_waits_for_a_view_says_so_again_after_a_restart() {
    let network = Network::new(4, 1, Faults::default());
    let own = by_validator(2, change_for(1, Checkpoint::genesis(&CHAIN), vec![]));
    let records = vec![Record::ViewChange(1, own.clone())];
    let (mut replica, _) = start(&network, records, Checkpoint::genesis(&CHAIN)).map_err(|e| e.to_string()).unwrap();
    let said = replica.step(ledger_core::Input::Tick(network.now + 1), &Mock(2));
    assert!(said.contains(&Effect::Broadcast(Message::ViewChange(own))), "the same view change, byte for byte");
}

#[test]
fn votes_before_their_proposal_make_no_larger_certificate() {
    let network = Network::new(4, 1, Faults::default());
    let (mut replica, _) = start(&network, vec![], Checkpoint::genesis(&CHAIN)).map_err(|e| e.to_string()).unwrap();
    let PrePrepare { view, batch, transactions, signature } = proposal(&network, 1, 1);
    for validator in [1, 3] {
        let vote = vote(&batch, Phase::Prepare);
        let by = ValidatorSignature { validator, signature: Mock(validator).sign(&vote.to_sign()) };
        replica.step(Input::Voted(SignedVote { vote, by }), &Mock(2));
    }
    replica.step(Input::Tick(network.now), &Mock(2));
    let requests = transactions.into_iter().map(|bytes| Request::read(bytes).unwrap()).collect();
    let effects = replica.step(Input::Proposed(Proposal::check(view, batch, requests, signature).unwrap()), &Mock(2));
    let prepared = effects.iter().find_map(|effect| match effect {
        Effect::Append(Record::Prepared(prepared)) => Some(prepared.prepares.len()),
        _ => None,
    });
    assert_eq!(prepared, Some(quorum(4) - 1), "two others' and the own one are there: {effects:?}");
}

#[test]
fn whoever_copied_a_checkpoint_with_more_attestations_leaves_its_view_with_a_quorum_of_them() {
    let mut network = Network::new(4, 1, Faults::default());
    network.submit(0, 1);
    finish(&mut network, 2);
    let Checkpoint { height, header, .. } = network.checkpoint(0);
    let bytes = attestation_bytes(&CHAIN, 0, height, &header);
    let all = |validator| ValidatorSignature { validator, signature: Mock(validator).sign(&bytes) };
    let checkpoint = Checkpoint { height, header, attestations: (0..4).map(all).collect() };
    let (config, now) = (network.config(2), network.now);
    let start =
        Start { config, executed: height, unattested: vec![], checkpoint, seal: None, records: vec![], now, nonce: 0 };
    let (mut replica, _) = Replica::start(start, &Mock(2)).map_err(|e| e.to_string()).unwrap();
    replica.step(Input::Request(None, Request::read(transaction(7)).unwrap()), &Mock(2));
    let ticks = (0..100).map(|tick| now + tick * limits::TICK_GAP_MS_MAX / 2);
    let said = ticks.flat_map(|at| replica.step(Input::Tick(at), &Mock(2))).find_map(|effect| match effect {
        Effect::Broadcast(Message::ViewChange(signed)) => Some(signed),
        _ => None,
    });
    assert_eq!(said.map(|signed| signed.change.checkpoint.attestations.len()), Some(quorum(4)));
}
