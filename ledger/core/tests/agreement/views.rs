//! View changes: dead, silent, slow and lying primaries; what prepared survives; nobody is dragged
//! into a view; restarts stay in theirs.

use schemas::block::{Batch, Phase, ValidatorIndex, quorum};
use schemas::limits;
use schemas::pbft::Message;
use schemas::view::Checkpoint;

use crate::forgeries::{by_validator, change_for};
use crate::network::{CHAIN, Faults, Network};
use crate::{Seed, finish, finish_without, proposal, seeds, signed};

const QUIET: Faults = Faults { loss: 0, duplication: 0, delay_ms: 3 };

#[test]
fn a_silent_primary_loses_its_view_within_the_timeout_and_a_second() {
    for n in [4, 5, 6, 7] {
        let mut network = Network::new(n, 1, QUIET);
        network.crash(0);
        // one validator knows of it: the others must be told, or nobody joins
        network.submit(2, 1);
        network.run(limits::VIEW_TIMEOUT_MS + limits::FORWARD_AFTER_MS + limits::FORWARD_TO_ALL_MS + 1_000, 0, &[]);
        assert!(network.is_executed(1), "n = {n}: executed in the next view");
        assert!((1..n).all(|i| network.view(i) == 1 && !network.is_changing(i)), "n = {n}: everyone is there");
        network.start(0);
        network.run(3_000, 0, &[]);
        assert_eq!(
            (network.view(0), network.certified(0)),
            (1, network.certified(1)),
            "n = {n}: the old primary follows"
        );
        (2..30).for_each(|number| {
            network.submit(number as usize % n, number);
            network.run(20, 0, &[]);
        });
        network.run(600, 0, &[]);
        assert!((1..30).all(|number| network.is_executed(number)), "n = {n}: the new view works");
        assert!((0..n).all(|i| network.view(i) == 1), "n = {n}: and nobody leaves it");
    }
}

#[test]
fn a_transaction_that_the_primary_leaves_out_is_not_starved_by_others() {
    let mut network = Network::new(4, 1, QUIET);
    network.deaf = Some(0);
    (1..4).for_each(|index| network.submit(index, 1));
    network.deaf = None;
    let mut others = 100;
    // it orders everything else, without a pause
    while !network.is_executed(1) {
        network.deaf = Some(0);
        network.submit(0, others);
        others += 1;
        network.run(10, 0, &[]);
        assert!(network.now < 10_000, "starved");
    }
    assert!(network.executed(1) > 100, "the primary made progress with others all the time");
    assert!(network.view(1) >= 1);
}

#[test]
fn two_dead_primaries_in_a_row_are_passed_over() {
    let mut network = Network::new(7, 3, QUIET);
    network.crash(0);
    network.crash(1);
    network.submit(4, 1);
    network.run(limits::VIEW_TIMEOUT_MS * 2 + 2_500, 0, &[]);
    assert!(network.is_executed(1));
    assert!((2..7).all(|i| network.view(i) == 2 && !network.is_changing(i)));
    finish(&mut network, 10);
}

#[test]
fn a_new_primary_that_dies_while_its_view_begins_is_passed_over() {
    for seed in seeds(40) {
        let _seed = Seed(seed, "new primary dies");
        let mut network = Network::new(7, seed, Faults { delay_ms: 15, ..QUIET });
        for number in 0..6 {
            network.submit(number as usize, number);
        }
        network.run(seed % 30, 0, &[]);
        network.crash(0);
        let some: Vec<_> = (2..7).filter(|_| network.dice.percent(50)).map(|to| (1, to)).collect();
        network.cut = some;
        while network.view(1) == 0 || network.is_changing(1) {
            network.run(1, 0, &[]);
        }
        network.run(seed % 7, 0, &[]);
        network.crash(1);
        network.cut = vec![];
        finish_without(&mut network, 6, &[0, 1]);
    }
}

/// Height 1 prepared at one replica only, and the primary dies: the new view must assign the same batch.
#[test]
fn what_prepared_at_one_replica_survives() {
    for (n, witness) in [(4, 1), (4, 3), (6, 2), (7, 6)] {
        let mut network = Network::new(n, 1, Faults::default());
        let everyone = 0..n as ValidatorIndex;
        // prepares reach the witness alone
        for from in 1..n as ValidatorIndex {
            network.cut.extend(everyone.clone().filter(|&to| to != witness).map(|to| (from, to)));
        }
        network.cut.extend(everyone.clone().map(|to| (witness, to)));
        network.submit(0, 1);
        network.run(20, 0, &[]);
        assert_eq!(network.executed(usize::from(witness)), 0, "prepared, not committed");
        network.crash(0);
        while (1..n).any(|index| !network.is_changing(index)) {
            network.run(10, 0, &[]);
        }
        network.cut = vec![];
        network.submit(2, 7);
        network.run(6_000, 0, &[]);
        let new_view = network.new_views.values().next().expect("a view began").clone();
        let certificates = new_view.changes.iter().flat_map(|signed| &signed.change.prepared);
        assert!(certificates.clone().count() <= 1);
        if let Some(certificate) = certificates.clone().next() {
            assert_eq!(network.agreed(1).map(|header| header.batch), Some(certificate.digest), "n = {n}");
            assert_eq!(certificate.prepares.len() + 1, quorum(n));
        } else {
            let by: Vec<_> = new_view.changes.iter().map(|signed| signed.by.validator).collect();
            assert!(!by.contains(&witness), "its certificate was in its view change");
        }
        assert!(network.is_executed(1) && network.is_executed(7), "n = {n}: both are executed");
        finish_without(&mut network, 0, &[0]);
    }
}

/// The primary proposes heights 1 and 2; 1 reaches nobody, 2 prepares: a null batch fills the gap, and the body of 2 comes
/// from those who hold it, also to a new primary that never saw it.
#[test]
fn a_gap_becomes_a_null_batch_and_missing_bodies_are_passed_on() {
    let mut network = Network::new(4, 1, Faults::default());
    network.attacker = Some(0);
    network.crash(0);
    let second = proposal(&network, 2, 5);
    // 2 and 3 prepare it: with the primary's pre-prepare q = 3 signers
    [2, 3].into_iter().for_each(|to| network.send(0, to, Message::PrePrepare(second.clone())));
    network.run(20, 0, &[]);
    (1..4).for_each(|index| network.submit(index, 9));
    network.run(4_000, 0, &[]);
    let new_view = network.new_views.get(&1).expect("view 1 began");
    assert_eq!(new_view.pre_prepares.len(), 2, "heights 1 and 2 are assigned");
    let null = Batch::null(CHAIN, 0, 1).digest();
    assert_eq!(network.agreed(1).map(|h| h.batch), Some(null), "the gap");
    assert_eq!(network.agreed(2).map(|h| h.batch), Some(second.batch.digest()), "what prepared");
    assert!((1..4).all(|i| network.certified(i) >= 2) && network.is_executed(5) && network.is_executed(9));
}

#[test]
fn an_equivocating_primary_is_replaced() {
    for seed in seeds(40) {
        let _seed = Seed(seed, "equivocating primary");
        let n = [4, 5, 6, 7][seed as usize % 4];
        let mut network = Network::new(n, seed, Faults { loss: 0, duplication: 5, delay_ms: 20 });
        network.attacker = Some(0);
        network.crash(0);
        for height in 1..5 {
            let sides = [proposal(&network, height, 2 * height), proposal(&network, height, 2 * height + 1)];
            for to in 1..n as ValidatorIndex {
                let side = &sides[network.dice.below(2) as usize];
                network.send(0, to, Message::PrePrepare(side.clone()));
                for side in &sides {
                    network.send(0, to, signed(side, Phase::Commit));
                }
            }
        }
        network.run(100, 0, &[]);
        for number in 2..10 {
            network.submit(1 + number as usize % (n - 1), number);
        }
        network.run(15_000, 0, &[]);
        let missing: Vec<_> = (2..10).filter(|&number| !network.is_executed(number)).collect();
        let states: Vec<_> = (1..n)
            .map(|i| {
                (network.executed(i), network.certified(i), network.slots(i), network.view(i), network.is_changing(i))
            })
            .collect();
        assert!(missing.is_empty(), "executed by the honest: all but {missing:?}, {states:?}");
        assert!((1..n).all(|i| network.view(i) > 0));
    }
}

#[test]
fn crashes_partitions_and_loss_across_view_changes_neither_fork_nor_stop() {
    let mut views = 0;
    for seed in seeds(120) {
        let _seed = Seed(seed, "chaos");
        let n = [4, 5, 6, 7, 10][seed as usize % 5];
        let everyone: Vec<ValidatorIndex> = (0..n as ValidatorIndex).collect();
        let mut network = Network::new(n, seed, Faults { loss: seed % 15, duplication: 5, delay_ms: 30 });
        network.down_max = n;
        for number in 0..60 {
            network.submit(number as usize % n, number);
            network.run(150, 1, &everyone);
            if network.dice.percent(8) {
                let index = network.dice.below(n as u64) as ValidatorIndex;
                network.crash(index);
            }
            if network.dice.percent(15) {
                let one = network.dice.below(n as u64) as ValidatorIndex;
                let one_way = network.dice.percent(50);
                network.cut = everyone.iter().map(|&to| (one, to)).collect();
                if !one_way {
                    network.cut.extend(everyone.iter().map(|&from| (from, one)));
                }
            } else if network.dice.percent(12) {
                network.cut = vec![];
            }
            for index in 0..n {
                if !network.is_up(index) && network.dice.percent(6) {
                    network.start(index as ValidatorIndex);
                }
            }
        }
        network.cut = vec![];
        finish(&mut network, 60);
        views += network.new_views.len();
        assert!(network.refused.is_empty(), "the honest say nothing that does not verify: {:?}", network.refused);
    }
    println!("{views} views began");
    assert!(views > 100 || std::env::var("SEED").is_ok(), "view changes were reached: {views}");
}

#[test]
fn a_restarted_replica_stays_in_its_view_after_garbage_collection() {
    let mut network = Network::new(4, 2, QUIET);
    network.crash(0);
    network.submit(1, 0);
    network.run(4_000, 0, &[]);
    assert_eq!(network.view(1), 1);
    network.start(0);
    for number in 1..200 {
        network.submit(number as usize % 4, number);
        network.run(15, 0, &[]);
    }
    assert!(network.executed(1) > 2 * limits::CHECKPOINT_INTERVAL, "records of the view change were dropped since");
    for index in 0..4 {
        network.crash(index);
        network.start(index);
        assert_eq!((network.view(usize::from(index)), network.is_changing(usize::from(index))), (1, false));
    }
    finish(&mut network, 210);
    assert!((0..4).all(|i| network.view(i) == 1));
}

#[test]
fn a_restart_in_the_middle_of_a_view_change_goes_on_with_it() {
    let mut network = Network::new(4, 2, QUIET);
    network.crash(0);
    (1..4).for_each(|index| network.submit(index, 1));
    // nobody hears the new primary, nor it them
    network.cut = (0..4).flat_map(|other| [(1, other), (other, 1)]).collect();
    network.run(limits::VIEW_TIMEOUT_MS + 100, 0, &[]);
    for index in 1..4 {
        assert!(network.is_changing(usize::from(index)));
        network.crash(index);
        network.start(index);
        assert_eq!((network.view(usize::from(index)), network.is_changing(usize::from(index))), (1, true));
    }
    network.cut = vec![];
    network.run(2_000, 0, &[]);
    assert!((1..4).all(|i| network.view(i) == 1 && !network.is_changing(i)));
    finish_without(&mut network, 3, &[0]);
}

#[test]
fn who_missed_a_view_change_is_given_the_new_view() {
    let mut network = Network::new(7, 4, QUIET);
    network.cut = (0..7).flat_map(|other| [(6, other), (other, 6)]).collect();
    network.crash(0);
    (1..6).for_each(|index| network.submit(index, 1));
    network.run(4_000, 0, &[]);
    assert_eq!((network.view(1), network.view(6)), (1, 0));
    network.cut = vec![];
    network.run(3_000, 0, &[]);
    assert_eq!((network.view(6), network.is_changing(6)), (1, false));
    assert_eq!(network.certified(6), network.certified(1));
}

/// A process that was stopped sees its timer long over when it goes on; what it missed is still on its way to it.
#[test]
fn who_was_asleep_blames_nobody() {
    let mut network = Network::new(4, 1, QUIET);
    network.deaf = Some(0);
    network.submit(3, 1);
    network.run(20, 0, &[]);
    network.now += 10 * limits::VIEW_TIMEOUT_MS_MAX;
    network.deaf = None;
    network.run(1_000, 0, &[]);
    assert!(network.is_executed(1));
    assert!((0..4).all(|i| network.view(i) == 0 && !network.is_changing(i)));
}

#[test]
fn f_validators_drag_nobody_into_a_view() {
    let mut network = Network::new(7, 4, QUIET);
    network.attacker = Some(6);
    network.crash(6);
    network.run(10, 0, &[]);
    for view in [1, 2, u64::MAX - 1, u64::MAX] {
        for by in [5, 6] {
            // the attacker holds another validator's key too: f = 2
            let change = change_for(view, Checkpoint::genesis(&CHAIN), vec![]);
            (0..6).for_each(|to| network.send(6, to, Message::ViewChange(by_validator(by, change.clone()))));
        }
        network.run(700, 0, &[]);
    }
    // nobody but the one whose key was used is looked at: it must not be led astray by its own name either
    assert!((0..5).all(|i| network.view(i) == 0 && !network.is_changing(i)), "nobody moved");
    network.submit(1, 1);
    network.run(500, 0, &[]);
    assert!(network.is_executed(1));
}

#[test]
fn an_older_new_view_is_stale() {
    let mut network = Network::new(7, 3, QUIET);
    network.crash(0);
    (1..7).for_each(|index| network.submit(index, 1));
    network.run(4_000, 0, &[]);
    let first = network.new_views.get(&1).expect("view 1 began").clone();
    network.crash(1);
    (2..7).for_each(|index| network.submit(index, 2));
    network.run(6_000, 0, &[]);
    assert!((2..7).all(|i| network.view(i) == 2));
    let certified: Vec<_> = (2..7).map(|i| network.certified(i)).collect();
    (2..7).for_each(|to| network.send(3, to, Message::NewView(first.clone())));
    network.run(500, 0, &[]);
    assert!((2..7).all(|i| network.view(i) == 2 && !network.is_changing(i)), "nobody goes back");
    assert_eq!(certified, (2..7).map(|i| network.certified(i)).collect::<Vec<_>>());
}
