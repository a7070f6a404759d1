//! The protocol under faults: agreement, total order, each transaction once, liveness, restart, equivocation,
//! determinism. Every run prints its seed when it fails; `SEED` runs one seed, `SEEDS` that many of each test.

mod blame;
mod bodies;
mod disk;
mod divergence;
mod forgeries;
mod logs;
mod mock;
mod network;
mod outcomes;
mod recover;
mod seal;
mod views;
mod waiting;

use ledger_core::{Input, Proposal, ProposalError, Request, Sign};
use network::{CHAIN, Faults, Mock, Network, transaction};
use schemas::block::{
    Batch, Phase, TransactionBytes, ValidatorIndex, ValidatorSignature, Vote, quorum, transactions_root,
};
use schemas::pbft::{Message, PrePrepare, SignedVote};

/// Says which seed failed.
struct Seed(u64, &'static str);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: failed with SEED={}", self.1, self.0);
        }
    }
}

fn seeds(count: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse().ok());
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SEEDS").unwrap_or(count)).collect(),
    }
}

/// Submits until everything is executed everywhere; panics when it takes too long.
fn finish(network: &mut Network, numbers: u64) {
    finish_without(network, numbers, &[]);
}

/// The same while some stay dead.
fn finish_without(network: &mut Network, numbers: u64, dead: &[usize]) {
    network.faults = Faults { loss: 0, duplication: 0, delay_ms: 5 };
    for index in 0..network.n {
        if !network.is_up(index) && !dead.contains(&index) {
            network.start(index as ValidatorIndex);
        }
    }
    for _ in 0..3_000 {
        let missing: Vec<u64> = (0..numbers).filter(|&k| !network.is_executed(k)).collect();
        let top = (0..network.n).map(|i| network.executed(i)).max().unwrap_or(0);
        let honest = (0..network.n).filter(|&i| network.attacker != Some(i as ValidatorIndex) && !dead.contains(&i));
        if missing.is_empty() && honest.clone().all(|i| network.certified(i) == top) {
            return;
        }
        for number in missing {
            // to one that is alive: the next one after its own
            let first = number as usize % network.n;
            let alive = (0..network.n).map(|turn| (first + turn) % network.n).find(|&index| network.is_up(index));
            network.submit(alive.unwrap_or(first), number);
        }
        network.run(100, 0, &[]);
    }
    let state =
        |i| (network.executed(i), network.certified(i), network.slots(i), network.view(i), network.is_changing(i));
    let states: Vec<_> = (0..network.n).map(state).collect();
    panic!("not live after healing: (executed, certified, slots, view, changing) {states:?}");
}

#[test]
fn every_transaction_is_executed_once_without_faults() {
    for n in [1, 4, 5, 6, 7] {
        let mut network = Network::new(n, 1, Faults { delay_ms: 3, ..Faults::default() });
        for number in 0..200 {
            network.submit(number as usize % n, number);
            network.run(3, 0, &[]);
        }
        network.run(400, 0, &[]);
        assert!((0..200).all(|number| network.is_executed(number)), "n = {n}: all executed in time");
        assert!((0..n).all(|i| network.certified(i) == network.executed(0)), "n = {n}: all final, nobody behind");
        assert!((0..n).all(|i| network.slots(i) == 0), "n = {n}: memory is given back");
    }
}

#[test]
fn loss_duplication_and_delay_neither_fork_nor_stop() {
    for seed in seeds(60) {
        let _seed = Seed(seed, "loss");
        let n = [4, 5, 6, 7][seed as usize % 4];
        let mut network = Network::new(n, seed, Faults { loss: seed % 25, duplication: 10, delay_ms: 40 });
        for number in 0..60 {
            network.submit(number as usize % n, number);
            network.run(8, 0, &[]);
        }
        finish(&mut network, 60);
    }
}

#[test]
fn crashes_and_restarts_neither_fork_nor_stop() {
    for seed in seeds(60) {
        let _seed = Seed(seed, "crash");
        let n = [4, 5, 6, 7][seed as usize % 4];
        let everyone: Vec<ValidatorIndex> = (0..n as ValidatorIndex).collect();
        let mut network = Network::new(n, seed, Faults { loss: seed % 10, duplication: 5, delay_ms: 20 });
        for number in 0..120 {
            network.submit(number as usize % n, number);
            network.run(8, 4, &everyone);
            if network.dice.percent(8) {
                let index = network.dice.below(n as u64) as ValidatorIndex;
                network.crash(index);
            }
            for index in 0..n {
                if !network.is_up(index) && network.dice.percent(15) {
                    network.start(index as ValidatorIndex);
                }
            }
        }
        finish(&mut network, 120);
    }
}

#[test]
fn what_was_lost_at_first_is_healed_without_new_traffic() {
    for seed in seeds(100) {
        let _seed = Seed(seed, "lost at first");
        let n = [4, 5, 6, 7][seed as usize % 4];
        let mut network = Network::new(n, seed, Faults { loss: 30 + seed % 70, duplication: 0, delay_ms: 3 });
        network.submit(0, 1);
        network.run(5 * (seed % 13), 0, &[]);
        network.faults.loss = 0;
        network.run(3_000, 0, &[]);
        assert!((0..n).all(|index| network.certified(index) == 1), "final everywhere");
    }
}

#[test]
fn a_store_ahead_of_its_log_still_gives_the_needed_attestation() {
    for seed in seeds(25) {
        let _seed = Seed(seed, "store ahead");
        let mut network = Network::new(4, seed, Faults { delay_ms: 10, ..Faults::default() });
        network.crash(3);
        network.down_max = 1;
        for number in 0..30 {
            network.submit(0, number);
            // crashes often, each time before the turn's records are synced
            network.run(15, 60, &[1, 2]);
            for index in [1, 2] {
                if !network.is_up(index) {
                    network.start(index as ValidatorIndex);
                }
            }
        }
        finish_without(&mut network, 30, &[3]);
    }
}

#[test]
fn a_dead_backup_stops_nobody_and_catches_up() {
    for n in [4, 7] {
        let mut network = Network::new(n, 5, Faults { delay_ms: 3, ..Faults::default() });
        network.crash(3);
        for number in 0..300 {
            network.submit(0, number);
            network.run(12, 0, &[]);
        }
        network.run(100, 0, &[]);
        assert!((0..300).all(|number| network.is_executed(number)), "nobody waits for a dead backup");
        assert!(network.executed(0) > 200, "many heights, past checkpoints and window");
        network.start(3);
        network.run(5_000, 0, &[]);
        assert_eq!(network.certified(3), network.executed(0), "caught up by certified blocks");
    }
}

#[test]
fn a_restart_of_all_after_a_long_outage_goes_on() {
    let mut network = Network::new(4, 9, Faults { delay_ms: 3, loss: 30, duplication: 0 });
    for number in 0..20 {
        network.submit(0, number);
        network.run(5, 0, &[]);
    }
    (0..4).for_each(|index| network.crash(index));
    network.now += 3_600_000;
    finish(&mut network, 20);
}

#[test]
fn an_equivocating_primary_forks_nobody() {
    for seed in seeds(40) {
        let _seed = Seed(seed, "equivocation");
        let n = [4, 5, 6, 7][seed as usize % 4];
        let mut network = Network::new(n, seed, Faults { loss: 0, duplication: 5, delay_ms: 20 });
        network.attacker = Some(0);
        network.crash(0);
        for height in 1..20 {
            let sides = [proposal(&network, height, 2 * height), proposal(&network, height, 2 * height + 1)];
            for to in 1..n as ValidatorIndex {
                let side = &sides[network.dice.below(2) as usize];
                network.send(0, to, Message::PrePrepare(side.clone()));
                // commits for both sides to everyone: the attacker helps each of them
                for side in &sides {
                    network.send(0, to, signed(side, Phase::Commit));
                    network.send(0, to, signed(side, Phase::Prepare));
                }
            }
            network.run(60, 0, &[]);
        }
        // agreement is asserted inside of the network at each execution
        assert!((1..n).all(|i| network.executed(i) < 20));
    }
}

#[test]
fn the_primary_counts_once_in_a_prepared_certificate() {
    let mut network = Network::new(4, 1, Faults::default());
    network.attacker = Some(0);
    (0..4).filter(|&index| index != 1).for_each(|index| network.crash(index));
    let side = proposal(&network, 1, 1);
    network.send(0, 1, Message::PrePrepare(side.clone()));
    network.send(0, 1, signed(&side, Phase::Prepare));
    network.send(0, 1, signed(&side, Phase::Commit));
    network.run(50, 0, &[]);
    let votes = |phase| network.heard.iter().any(|m| matches!(m, Message::Vote(v) if v.vote.phase == phase));
    assert!(votes(Phase::Prepare), "it accepted the proposal");
    assert!(!votes(Phase::Commit), "two signers are no quorum of four");
}

fn proposal(network: &Network, height: u64, number: u64) -> PrePrepare {
    let transactions: Vec<TransactionBytes> = vec![transaction(number)];
    let batch = Batch {
        chain: CHAIN,
        epoch: 0,
        height,
        transactions_root: transactions_root(&transactions),
        time: network.now,
    };
    let vote = vote(&batch, Phase::PrePrepare);
    PrePrepare { view: 0, signature: Mock(0).sign(&vote.to_sign()), batch, transactions }
}

fn vote(batch: &Batch, phase: Phase) -> Vote {
    Vote { chain: CHAIN, epoch: 0, view: 0, height: batch.height, phase, digest: batch.digest() }
}

fn signed(pre_prepare: &PrePrepare, phase: Phase) -> Message {
    let vote = vote(&pre_prepare.batch, phase);
    let by = ValidatorSignature { validator: 0, signature: Mock(0).sign(&vote.to_sign()) };
    Message::Vote(SignedVote { vote, by })
}

#[test]
fn the_same_seed_gives_the_same_effects() {
    let run = |seed| {
        let mut network = Network::new(4, seed, Faults { loss: 10, duplication: 10, delay_ms: 30 });
        for number in 0..40 {
            network.submit(number as usize % 4, number);
            network.run(10, 3, &[1, 2, 3]);
            (0..4).filter(|&i| !network.is_up(i)).collect::<Vec<_>>().into_iter().for_each(|i| network.start(i as u16));
        }
        network.trace
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4), "the trace covers the run");
}

#[test]
fn a_late_copy_of_an_executed_transaction_is_not_proposed_again() {
    let mut network = Network::new(4, 1, Faults { delay_ms: 3, ..Faults::default() });
    network.submit(0, 1);
    network.run(100, 0, &[]);
    let executed = network.executed(0);
    assert_eq!(executed, 1);
    network.input(0, Input::Request(None, Request::read(transaction(1)).unwrap()));
    network.run(100, 0, &[]);
    assert_eq!(network.executed(0), executed);
}

#[test]
fn quorums_share_an_honest_validator() {
    let table = [(4, 3), (5, 4), (6, 4), (7, 5), (8, 6), (9, 6), (10, 7)];
    for (n, q) in table {
        let f = schemas::block::faults_tolerated(n);
        assert_eq!(quorum(n), q, "n = {n}");
        assert!(2 * q - n > f, "two quorums of {n} share more than the faulty");
        assert!(q <= n - f, "a quorum of {n} is there without the faulty");
    }
}

#[test]
fn waiting_transactions_are_bounded_and_each_waits_once() {
    let mut network = Network::new(4, 1, Faults::default());
    for number in 0..schemas::limits::MEMPOOL_TRANSACTIONS_MAX as u64 + 500 {
        network.submit(1, number);
        network.submit(1, number);
    }
    let request = Request::read(transaction(0)).unwrap();
    network.input(1, Input::Request(None, request));
    assert_eq!(network.waiting(1), schemas::limits::MEMPOOL_TRANSACTIONS_MAX);
}

/// A copy with other signatures has the same id: two of one id in a block would leave two entries for one transaction.
#[test]
fn a_proposal_names_every_transaction_once() {
    let altered = mock::copy(&transaction(1), 1);
    let check = |bodies: &[TransactionBytes]| {
        let transactions_root = transactions_root(bodies);
        let batch = Batch { chain: CHAIN, epoch: 0, height: 1, transactions_root, time: 1 };
        let requests = bodies.iter().map(|bytes| Request::read(bytes.clone()).unwrap()).collect();
        Proposal::check(0, batch, requests, Mock(0).sign(b"")).map(|_| ())
    };
    assert_eq!(check(&[transaction(1), transaction(2)]), Ok(()));
    assert_eq!(check(&[altered.clone(), transaction(2)]), Ok(()));
    assert_eq!(check(&[transaction(1), transaction(2), altered]), Err(ProposalError::Twice));
    assert_eq!(check(&[transaction(1), transaction(1)]), Err(ProposalError::Twice));
}
