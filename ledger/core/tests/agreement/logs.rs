//! Vote logs and stores that no honest run can have written: refused at the start, before a word is said.

use ledger_core::{CoreError, Effect, Replica, Start};
use schemas::pbft::{Message, Record};
use schemas::view::Checkpoint;

use crate::forgeries::{by_validator, change_for};
use crate::network::{CHAIN, Faults, Mock, Network};
use crate::proposal;

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
