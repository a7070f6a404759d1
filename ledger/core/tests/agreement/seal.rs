//! The end of an epoch: heights move there without transactions and not beyond, whoever the primary is; the next epoch begins there.

use ledger_core::{Replica, Sign, Start};
use schemas::block::{Batch, Phase, ValidatorIndex, Vote};
use schemas::limits;
use schemas::pbft::{Record, Recovery, Repeated};

use crate::network::{CHAIN, Faults, Mock, Network};

const QUIET: Faults = Faults { loss: 0, duplication: 0, delay_ms: 3 };
const SEAL: u64 = limits::EPOCH_INTERVAL;

#[test]
fn an_epoch_ends_at_its_seal_with_null_batches_and_nothing_stands_above() {
    for (n, seed) in [(4, 1), (5, 2), (7, 3)] {
        let mut network = Network::new(n, seed, QUIET);
        network.seal = Some((3, SEAL));
        for number in 0..10 {
            network.submit(number as usize % n, number);
            network.run(30, 0, &[]);
        }
        network.run(20_000, 0, &[]);
        assert_eq!(network.sealed.len(), n, "n = {n}: everyone comes to the end");
        assert!((0..n).all(|index| network.executed(index) == SEAL), "n = {n}: and no further");
        assert!((0..10).all(|number| network.is_executed(number)));
        assert!((0..n).all(|index| network.view(index) == 0), "n = {n}: nobody complains");
    }
}

#[test]
fn a_dead_primary_does_not_keep_an_epoch_from_ending() {
    let mut network = Network::new(4, 1, QUIET);
    network.seal = Some((3, SEAL));
    for number in 0..5 {
        network.submit(0, number);
        network.run(20, 0, &[]);
    }
    assert!((3..SEAL).contains(&network.executed(0)), "the end is known, and far");
    network.crash(0);
    network.run(40_000, 0, &[]);
    assert!((1..4).all(|index| network.sealed.contains(&index)), "another primary leads there");
    assert!((1..4).all(|index| network.view(index as usize) > 0));
}

#[test]
fn loss_crashes_and_view_changes_on_the_way_neither_fork_nor_stop() {
    for seed in 1..=8 {
        println!("seed {seed}");
        let mut network = Network::new(4, seed, Faults { loss: 5, duplication: 5, delay_ms: 10 });
        network.seal = Some((3, SEAL));
        network.down_max = 0;
        for number in 0..40 {
            network.submit(number as usize % 4, number);
            network.run(50, 4, &[0, 1, 2, 3]);
            let down: Vec<ValidatorIndex> = (0..4).filter(|&index| !network.is_up(usize::from(index))).collect();
            for index in down {
                if network.dice.percent(20) {
                    network.start(index);
                }
            }
        }
        network.faults = QUIET;
        for index in 0..4 {
            if !network.is_up(usize::from(index)) {
                network.start(index);
            }
        }
        network.run(120_000, 0, &[]);
        assert_eq!(network.sealed.len(), 4, "seed {seed}");
    }
}

/// A start in epoch 1 from these records.
fn start(records: Vec<Record>) -> Result<Replica, String> {
    let network = Network::new(4, 1, QUIET);
    let mut config = network.config(2);
    (config.epoch, config.base.height) = (1, SEAL);
    let start = Start {
        checkpoint: config.base.clone(),
        config,
        executed: SEAL,
        unattested: vec![],
        seal: None,
        records,
        now: 1_000,
        nonce: 0,
    };
    Replica::start(start, &Mock(2)).map(|(replica, _)| replica).map_err(|e| e.to_string())
}

fn repeated(epoch: u64, view: u64, height: u64) -> Record {
    let digest = Batch::null(CHAIN, epoch, height).digest();
    let vote = Vote { chain: CHAIN, epoch, view, height, phase: Phase::PrePrepare, digest };
    Record::Repeated(Repeated { vote, pre_prepare: Mock(0).sign(&vote.to_sign()), prepare: None })
}

#[test]
fn records_of_an_earlier_epoch_bind_nobody_and_those_of_a_later_one_do_not_belong_to_the_store() {
    let replica = start(vec![repeated(0, 9, SEAL)]).unwrap();
    assert_eq!((replica.view(), replica.certified_height()), (0, SEAL), "views count within an epoch");
    assert_eq!(start(vec![repeated(1, 4, SEAL + 1)]).unwrap().view(), 4);
    assert!(start(vec![repeated(2, 0, SEAL + 300)]).is_err());
    let free = Recovery { epoch: 0, until: 9, above: 1 };
    assert!(!start(vec![Record::Recovering(1, free)]).unwrap().is_silent());
    assert!(start(vec![Record::Recovering(1, Recovery { epoch: 1, ..free })]).unwrap().is_silent());
}
