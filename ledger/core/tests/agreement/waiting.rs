//! What waits gets its turn: no copy under other signatures takes a transaction's place, no revocations hold up everything else, no
//! peer fills the places of others or of clients. And what was decided does not wait on.

use ledger_core::{Input, Request, Sign as _};
use schemas::block::{Batch, Phase, TransactionBytes, ValidatorIndex, Vote, transactions_root};
use schemas::limits;
use schemas::pbft::{Message, PrePrepare};

use crate::mock::{copy, ordinary};
use crate::network::{CHAIN, Faults, Mock, Network, transaction};

const QUIET: Faults = Faults { loss: 0, duplication: 0, delay_ms: 3 };

/// What the primary of view 0 proposes.
fn proposed(network: &Network, height: u64, transactions: Vec<TransactionBytes>) -> Message {
    let transactions_root = transactions_root(&transactions);
    let batch = Batch { chain: CHAIN, epoch: 0, height, transactions_root, time: network.now };
    let vote = Vote { chain: CHAIN, epoch: 0, view: 0, height, phase: Phase::PrePrepare, digest: batch.digest() };
    Message::PrePrepare(PrePrepare { view: 0, signature: Mock(0).sign(&vote.to_sign()), batch, transactions })
}

fn request(bytes: &TransactionBytes, from: Option<ValidatorIndex>) -> Input {
    Input::Request(from, Request::read(bytes.clone()).unwrap())
}

/// A client hands its transaction in everywhere. The primary proposes the same one under a signature that is none, again and again:
/// everyone votes for it, and execution refuses it.
#[test]
fn a_primary_that_proposes_refused_copies_loses_its_view() {
    let mut network = Network::new(4, 1, QUIET);
    network.attacker = Some(0);
    network.crash(0);
    let wanted = transaction(1);
    while !network.outcomes.is_accepted(&wanted) {
        assert!(network.now < 10_000, "censored: views {:?}", (1..4).map(|i| network.view(i)).collect::<Vec<_>>());
        (1..4).for_each(|index| network.hand_in(index, &wanted));
        let height = network.executed(1) + 1;
        let message = proposed(&network, height, vec![copy(&wanted, height)]);
        (1..4).for_each(|to| network.send(0, to, message.clone()));
        network.run(100, 0, &[]);
    }
    assert!(network.executed(1) > 5, "copies were executed: {}", network.executed(1));
    assert!((1..4).all(|index| network.view(index) == 1));
}

/// Of one transaction a batch holds one copy: whoever makes many delays it by no more than a few batches.
#[test]
fn a_peer_with_many_copies_takes_nobodys_turn() {
    let mut network = Network::new(4, 1, QUIET);
    network.attacker = Some(3);
    network.crash(3);
    let wanted = ordinary(1);
    for salt in 0..500 {
        (0..3).for_each(|to| network.input(to, request(&copy(&wanted, salt), Some(3))));
    }
    network.hand_in(1, &wanted);
    network.run(1_000, 0, &[]);
    assert!(network.outcomes.is_accepted(&wanted));
    assert!(network.executed(0) < 5, "one copy, and the one that was wanted: {}", network.executed(0));
    assert!((0..3).all(|index| network.view(index) == 0 && network.waiting(index) == 0));
}

/// Two copies that a client signed: once one is accepted nobody waits for the other, whose primary does not take it any more.
#[test]
fn copies_of_what_was_accepted_leave_with_it() {
    let mut network = Network::new(4, 1, QUIET);
    let (wanted, other) = (ordinary(1), copy(&ordinary(1), 7));
    network.cut = vec![(1, 0), (2, 0)];
    network.hand_in(1, &other);
    network.hand_in(2, &other);
    network.hand_in(0, &wanted);
    network.run(50, 0, &[]);
    network.cut = vec![];
    network.run(2 * limits::VIEW_TIMEOUT_MS, 0, &[]);
    assert!(network.outcomes.is_accepted(&wanted));
    assert!(
        (0..4).all(|index| network.waiting(index) == 0 && network.view(index) == 0 && network.executed(index) == 1)
    );
}

/// All are honest; more revocations come than anyone can order.
#[test]
fn a_flood_of_revocations_keeps_nothing_else_out() {
    let mut network = Network::new(4, 1, Faults { delay_ms: 150, ..QUIET });
    let wanted = ordinary(1);
    let (mut next, begun) = (1_000, network.now);
    // the flood is there first
    while network.now < begun + 3 * limits::VIEW_TIMEOUT_MS / 2 {
        while (0..4).any(|index| network.waiting(index) < 4_600) {
            (0..4).for_each(|index| network.hand_in(index, &transaction(next)));
            next += 1;
        }
        if network.now == begun + 500 {
            network.hand_in(2, &wanted);
        }
        network.run(10, 0, &[]);
        if network.now > begun + 500 + limits::VIEW_TIMEOUT_MS {
            assert!(network.outcomes.is_accepted(&wanted), "it waits behind revocations");
        }
    }
    assert!((0..4).all(|index| network.view(index) == 0), "nobody is blamed");
}

/// Whoever floods has his own places only.
#[test]
fn a_peer_fills_its_own_share_and_no_more() {
    let mut network = Network::new(4, 1, QUIET);
    let share = limits::MEMPOOL_PEERS_MAX / 3;
    for number in 0..5_000 {
        network.input(1, request(&ordinary(number), Some(3)));
        network.input(1, request(&transaction(number), Some(3)));
    }
    assert_eq!(network.waiting(1), 2 * share, "of each lane");
    network.input(1, request(&ordinary(9_000), Some(2)));
    network.input(1, request(&ordinary(9_001), Some(9)));
    assert_eq!(network.waiting(1), 2 * share + 1, "another peer finds a place, a stranger none");
    for number in 10_000..10_000 + limits::MEMPOOL_TRANSACTIONS_MAX as u64 {
        network.hand_in(1, &ordinary(number));
    }
    let all = limits::MEMPOOL_TRANSACTIONS_MAX + 2 * share + 1;
    assert_eq!(network.waiting(1), all, "and the clients have all of theirs");
    // what a client hands in too takes no peer's place
    network.run(30, 0, &[]);
    assert!(network.waiting(1) <= all);
}

/// Every backup has more than the primary has places for it.
#[test]
fn whatever_waits_at_a_backup_finds_its_way() {
    let mut network = Network::new(4, 1, QUIET);
    let count = 5 * limits::MEMPOOL_PEERS_MAX as u64;
    (0..count).for_each(|number| network.hand_in(1 + number as usize % 3, &ordinary(number)));
    network.run(limits::VIEW_TIMEOUT_MS, 0, &[]);
    let missing = (0..count).filter(|&number| !network.outcomes.is_accepted(&ordinary(number))).count();
    assert_eq!(missing, 0, "of {count}");
    assert!((0..4).all(|index| network.view(index) == 0 && network.waiting(index) == 0));
}

/// Nobody hands on more than the others have places for: what is oldest would be among what they cannot take.
#[test]
fn a_backup_hands_on_no_more_than_its_share() {
    let mut network = Network::new(4, 1, QUIET);
    network.attacker = Some(0);
    network.crash(0);
    let share = limits::MEMPOOL_PEERS_MAX / 3;
    (0..3 * share as u64).for_each(|number| network.hand_in(1, &ordinary(number)));
    network.run(limits::VIEW_TIMEOUT_MS - 100, 0, &[]);
    let heard = network.heard.iter().filter_map(|message| match message {
        Message::Request(bytes) => Some(Request::read(bytes.clone()).unwrap().signed()),
        _ => None,
    });
    assert_eq!(heard.collect::<std::collections::BTreeSet<_>>().len(), share, "the oldest, again and again");
}

/// What a primary proposed before it died waits at those who heard of it: no client has to ask again.
#[test]
fn what_was_proposed_outlives_its_primary() {
    let mut network = Network::new(4, 1, QUIET);
    network.unprepared = true;
    let count = limits::MEMPOOL_PEERS_MAX as u64 / 2;
    (0..count).for_each(|number| network.hand_in(0, &ordinary(number)));
    network.run(80, 0, &[]);
    network.crash(0);
    network.unprepared = false;
    network.run(3 * limits::VIEW_TIMEOUT_MS, 0, &[]);
    let missing = (0..count).filter(|&number| !network.outcomes.is_accepted(&ordinary(number))).count();
    assert_eq!(missing, 0, "of {count}, in view {}", network.view(1));
}
