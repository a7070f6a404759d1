//! Lost votes: silence until heights and views have moved on, estimated from answers of whom some may lie; then a voice again.

use ledger_core::{Effect, Input, Replica, Start};
use schemas::block::{ValidatorIndex, View};
use schemas::limits;
use schemas::pbft::{Answer, HandOver, Message, Record, Recovery};
use schemas::view::Checkpoint;

use crate::network::{CHAIN, Faults, Mock, Network};

const QUIET: Faults = Faults { loss: 0, duplication: 0, delay_ms: 3 };
const NONCE: u64 = 7;

/// Submits some, one after the other.
fn load(network: &mut Network, numbers: std::ops::Range<u64>, at: usize) {
    for number in numbers {
        network.submit(at, number);
        network.run(30, 0, &[]);
    }
}

#[test]
fn who_lost_its_votes_is_silent_until_heights_and_views_have_moved_on_and_is_needed_again_then() {
    let mut network = Network::new(4, 1, QUIET);
    load(&mut network, 0..20, 1);
    network.lose(3);
    let (spoken, executed, lost_at) = (network.spoken[&3], network.executed(1), network.now);
    // nobody sends anything: the others make heights and views for it
    while network.is_silent(3) {
        assert_eq!(network.spoken[&3], spoken, "not a word");
        assert!(
            network.now < lost_at + 20_000,
            "silent for ever at {} of view {}",
            network.executed(3),
            network.view(3)
        );
        network.run(50, 0, &[]);
    }
    assert!(network.certified(3) >= executed + limits::OPEN_HEIGHTS_MAX && network.view(3) >= 2);
    network.run(5_000, 0, &[]);
    let (heights, view) = (network.executed(1), network.view(1));
    assert!((0..4).all(|index| network.executed(index) == heights && network.view(index) == view), "all are at rest");
    network.run(20_000, 0, &[]);
    assert_eq!((network.executed(1), network.view(1)), (heights, view), "and stay so: nobody needs help");
    // it is one of the quorum again
    network.crash(0);
    network.submit(2, 200);
    network.run(10_000, 0, &[]);
    assert!(network.is_executed(200) && network.spoken[&3] > spoken);
}

#[test]
fn two_in_a_row_come_back_where_nobody_sends_anything() {
    let mut network = Network::new(4, 2, QUIET);
    load(&mut network, 0..3, 1);
    for lost in [3, 1] {
        network.lose(lost);
        network.run(30_000, 0, &[]);
        assert!(!network.is_silent(usize::from(lost)), "{lost} speaks");
    }
    network.submit(0, 9);
    network.run(5_000, 0, &[]);
    assert!(network.is_executed(9));
}

#[test]
fn whoever_asks_for_ever_gets_a_few_heights_and_views() {
    let mut network = Network::new(4, 3, QUIET);
    load(&mut network, 0..3, 1);
    let (heights, minutes) = (network.executed(0), 11);
    for second in 0..minutes * 60 {
        for to in 0..3 {
            let greed = Recovery { epoch: 0, until: 1 << 40, above: 1 << 40 };
            let view = Recovery { epoch: 0, until: 0, above: 1 << 40 };
            network.send(3, to, Message::Ask(second, if second % 2 == 0 { greed } else { view }));
        }
        network.run(1_000, 0, &[]);
    }
    let rounds = minutes * 60_000 / limits::RECOVERY_HELP_AGAIN_MS + 1;
    let most = rounds * (limits::RECOVERY_HELP_HEIGHTS + 1);
    assert!(network.executed(0) > heights && network.executed(0) <= heights + most, "{}", network.executed(0));
    assert!((2..=3 * rounds).contains(&network.view(0)), "view {}", network.view(0));
}

/// Whoever left its view cannot come back: where one alone is asked, each quorum would need the one who asked.
#[test]
fn whoever_asks_one_alone_moves_nobody() {
    for victims in [1..2, 0..1, 1..3] {
        let mut network = Network::new(4, 4, QUIET);
        network.attacker = Some(3);
        network.crash(3);
        load(&mut network, 0..3, 1);
        for second in 0..20 {
            for to in victims.clone() {
                network.send(3, to, Message::Ask(second, Recovery { epoch: 0, until: 0, above: View::MAX }));
                // it says that it would leave, too, to the same
                for view in 0..4 {
                    network.send(3, to, Message::HandOver(HandOver { asker: 3, epoch: 0, view }));
                }
            }
            network.run(1_000, 0, &[]);
            let views: Vec<_> = (0..3).map(|index| (network.view(index), network.is_changing(index))).collect();
            assert!(views.iter().all(|at| *at == views[0]), "{victims:?} were asked: {views:?}");
            assert!(victims.len() > 1 || views[0] == (0, false), "one alone is no reason");
        }
        // nor is one that waits for heights, which nobody else was asked for
        if victims.len() == 1 {
            for second in 20..40 {
                let heights = Recovery { epoch: 0, until: 1 << 40, above: 0 };
                network.send(3, victims.start, Message::Ask(second, heights));
                network.run(1_000, 0, &[]);
            }
            let view = |index| (network.view(index), network.is_changing(index));
            assert!((0..3).all(|index| view(index) == (0, false)), "{victims:?} were asked for heights");
        }
        // the one who asked is needed for nothing
        network.submit(1, 100);
        network.run(3 * limits::VIEW_TIMEOUT_MS, 0, &[]);
        assert!(network.is_executed(100), "{victims:?} were asked");
    }
}

/// A replica of n that lost its votes, in the genesis.
fn silent(n: usize, records: Vec<Record>) -> Replica {
    let network = Network::new(n, 1, QUIET);
    let start = Start {
        config: network.config(3),
        executed: 0,
        unattested: vec![],
        checkpoint: Checkpoint::genesis(&CHAIN),
        seal: None,
        records,
        now: 1_000,
        nonce: NONCE,
    };
    Replica::start(start, &Mock(3)).expect("an honest log").0
}

fn lost() -> Vec<Record> {
    vec![Record::Recovering(1, Recovery::unknown())]
}

fn answer(nonce: u64, epoch: u64, executed: u64, view: u64) -> Answer {
    Answer { nonce, epoch, executed, view }
}

/// What it has written down of the answers.
fn told(replica: &mut Replica, from: ValidatorIndex, answer: Answer) -> Option<Recovery> {
    let effects = replica.step(Input::Answered(from, answer), &Mock(3));
    effects.iter().find_map(|effect| match effect {
        Effect::Append(Record::Recovering(_, recovery)) => Some(*recovery),
        _ => None,
    })
}

#[test]
fn the_lowest_of_a_quorum_count_so_that_liars_do_not_silence_it_for_ever() {
    let mut replica = silent(7, lost());
    let asked = replica.step(Input::Tick(2_000), &Mock(3));
    assert!(asked.contains(&Effect::Broadcast(Message::Ask(NONCE, Recovery::unknown()))), "it asks everyone");
    // f - 1 lie besides it
    assert_eq!(told(&mut replica, 0, answer(NONCE, 9, 1 << 40, 1 << 40)), None);
    for from in [1, 2, 4] {
        assert_eq!(told(&mut replica, from, answer(NONCE, 0, 10, 1)), None, "fewer than a quorum");
    }
    assert_eq!(told(&mut replica, 5, answer(NONCE, 0, 10, 1)), None, "the liar's word is among the quorum's");
    let until = 12 + limits::OPEN_HEIGHTS_MAX;
    let recovery = told(&mut replica, 6, answer(NONCE, 0, 12, 2));
    assert_eq!(recovery, Some(Recovery { epoch: 0, until, above: 3 }), "without the liar");
    assert_eq!(told(&mut replica, 6, answer(NONCE, 0, 10, 1)), Some(Recovery { epoch: 0, until: until - 2, above: 2 }));
    assert_eq!(told(&mut replica, 6, answer(NONCE, 0, 90, 9)), None, "what it said first was late enough");
}

#[test]
fn old_answers_its_own_and_those_of_strangers_do_not_count() {
    let mut replica = silent(4, lost());
    for from in [0, 1, 2, 3, 99] {
        let of_old = answer(NONCE + 1, 0, 10, 1);
        assert_eq!(told(&mut replica, from, of_old), None);
    }
    assert_eq!(told(&mut replica, 0, answer(NONCE, 0, 10, 1)), None);
    assert_eq!(told(&mut replica, 1, answer(NONCE, 0, 10, 1)), None);
    assert_eq!(told(&mut replica, 3, answer(NONCE, 0, 10, 1)), None, "itself");
    assert_eq!(told(&mut replica, 99, answer(NONCE, 0, 10, 1)), None, "a stranger");
    assert!(told(&mut replica, 2, answer(NONCE, 0, 10, 1)).is_some());
}

#[test]
fn who_lost_its_votes_answers_nobody_and_who_knows_them_does() {
    let mut replica = silent(4, lost());
    assert!(replica.step(Input::Asked(1, 5, Recovery::unknown()), &Mock(3)).is_empty());
    let mut replica = silent(4, vec![]);
    let effects = replica.step(Input::Asked(1, 5, Recovery::unknown()), &Mock(3));
    assert_eq!(effects, [Effect::Send(1, Message::Answer(answer(5, 0, 0, 0)))]);
}

#[test]
fn answers_of_a_later_epoch_are_for_that_one_to_judge_and_those_of_an_earlier_one_set_it_free() {
    let mut replica = silent(4, lost());
    for from in [0, 1, 2] {
        assert_eq!(told(&mut replica, from, answer(NONCE, 1, 300, 0)), None, "this epoch's validators cannot know");
    }
    assert!(replica.is_silent());
    // written in an epoch before this one
    let earlier = Record::Recovering(1, Recovery { epoch: 0, until: 40, above: 3 });
    assert!(!of_second_epoch(earlier).is_silent());
    // learned in this one: the others have not left the one before
    let mut replica = of_second_epoch(Record::Recovering(1, Recovery::unknown()));
    for from in [0, 1, 2] {
        assert!(replica.is_silent(), "before validator {from} answers");
        told(&mut replica, from, answer(NONCE, 0, 200, 5));
    }
    replica.step(Input::Tick(2_000), &Mock(3));
    assert!(!replica.is_silent() && !replica.is_changing() && replica.view() == 0, "it votes in the first view");
}

/// A replica at the beginning of the second epoch.
fn of_second_epoch(record: Record) -> Replica {
    let network = Network::new(4, 1, QUIET);
    let mut config = network.config(3);
    (config.epoch, config.base.height) = (1, 256);
    let start = Start {
        checkpoint: config.base.clone(),
        config,
        executed: 256,
        unattested: vec![],
        seal: None,
        records: vec![record],
        now: 1_000,
        nonce: NONCE,
    };
    Replica::start(start, &Mock(3)).expect("an honest log").0
}
