//! Real validators under load while they are killed, stopped, cut off, left without room and on disks that fail, round after
//! round: everything that was acknowledged is there, each case once, in an order that fits what the clients saw, and all validators agree. Needs
//! the binary that `tests/run` names; `CHARTSEAL_ROUNDS` is the number of rounds, `CHARTSEAL_SEED` repeats a run.

#[path = "../path/chain.rs"]
mod chain;
mod load;
mod proxy;
mod validators;

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use ledger_client::{HttpLedger, Ledger as _};
use ledger_proof::{build_receipt, verify_receipt};
use schemas::block::Head;
use schemas::id::Digest;
use tests::dice::Dice;

use crate::chain::Chain;
use crate::load::Load;
use crate::validators::{Fault, Validators};

/// Rounds when nobody says how many.
const ROUNDS: usize = 6;
/// Verdicts that the clients must get while a fault lasts.
const VERDICTS: usize = 40;
/// Longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest time that a validator may take to have what the others have, when the machine has nothing else to do.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_lose_nothing_in_any_round() {
    rounds(4, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_validators_lose_nothing_while_two_fail_at_once() {
    rounds(7, 2).await;
}

/// `at_once`: how many fail together.
async fn rounds(n: usize, at_once: usize) {
    let Some(binary) = validators::binary() else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CHARTSEAL_SEED").unwrap_or_else(|| RandomState::new().hash_one(n) >> 32);
    let rounds = number("CHARTSEAL_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    println!("CHARTSEAL_SEED={seed}, {n} validators, {rounds} rounds");
    let mut dice = Dice::new(seed);
    let mut validators = Validators::start(binary, n).await;
    let ledger = validators.ledger();
    let load = Load::start(&validators);
    load.progress(VERDICTS, &mut validators).await;
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let faults = draw(&mut dice, n, at_once, round);
        for (victim, fault) in &faults {
            validators.inflict(*victim, *fault).await;
        }
        let since = Instant::now();
        load.progress(VERDICTS, &mut validators).await;
        let stalled = since.elapsed();
        for (victim, fault) in &faults {
            validators.heal(*victim, *fault).await;
        }
        let healed = Instant::now();
        caught_up(&ledger, &faults, if rounds > ROUNDS { CATCH_UP_MAX } else { WAIT_MAX }).await;
        slowest = slowest.max(healed.elapsed());
        println!("round {round}: {faults:?}, {VERDICTS} verdicts in {stalled:?}, caught up in {:?}", healed.elapsed());
    }
    load.progress(VERDICTS, &mut validators).await;
    let history = load.stop().await;
    println!("{} verdicts, slowest to catch up {slowest:?}", history.len());
    load::check(&history);
    agree(&validators, n).await;
    let genesis = validators.genesis();
    let mut chain = Chain::new(&genesis);
    let accepted = history.iter().filter(|op| op.is_accepted()).count();
    let (mut since, mut found) = (Instant::now(), 0);
    while found < accepted {
        let now = chain.follow(&ledger).await;
        assert!(now > found || since.elapsed() < WAIT_MAX, "found {now} anchors on the chain, expected {accepted}");
        if now > found {
            (since, found) = (Instant::now(), now);
        }
    }
    assert!(chain.anchors.values().all(|&times| times == 1), "no case is anchored twice");
    for op in history.iter().filter(|op| op.is_accepted()) {
        let receipt = build_receipt(&op.transaction, 0, &op.proof, &[]).expect("a receipt");
        let verified = verify_receipt(receipt.to_json().as_bytes(), &genesis).expect("the receipt is valid");
        assert_eq!(verified.case, op.case());
    }
}

/// Who fails how. The first rounds show every kind, each once.
fn draw(dice: &mut Dice, n: usize, at_once: usize, round: usize) -> Vec<(usize, Fault)> {
    let mut faults: Vec<(usize, Fault)> = Vec::new();
    while faults.len() < at_once {
        let victim = dice.index(n);
        let fault = Fault::ALL[if round < Fault::ALL.len() { round } else { dice.index(Fault::ALL.len()) }];
        if faults.iter().all(|(other, _)| *other != victim) {
            faults.push((victim, fault));
        }
    }
    faults
}

/// Until those that failed hold what the others held when they came back.
async fn caught_up(ledger: &HttpLedger, faults: &[(usize, Fault)], within: Duration) {
    let since = Instant::now();
    let heights = |all: &[ledger_client::ValidatorStatus]| -> Vec<Option<u64>> {
        all.iter().map(|one| one.status.as_ref().and_then(|status| status["height"].as_u64())).collect()
    };
    let target = heights(&ledger.status().await).into_iter().flatten().max().unwrap_or(0);
    loop {
        let now = heights(&ledger.status().await);
        if faults.iter().all(|(victim, _)| now[*victim].is_some_and(|height| height >= target)) {
            return;
        }
        assert!(since.elapsed() < within, "{faults:?}: found heights {now:?}, expected {target}");
        drop(ledger.proof(&Digest([0xee; 32]), Duration::from_millis(50)).await);
    }
}

/// All validators have signed one and the same head: their whole chains are equal, for headers name those before.
async fn agree(validators: &Validators, n: usize) {
    let q = validators.ledger().validators().newest().quorum();
    let since = Instant::now();
    for first in 0..n {
        // asked for as many as there are addresses, the client waits for each
        let ledger = validators.ledger_of((first..first + q).map(|index| index % n));
        loop {
            let heads: Vec<Head> = ledger.heads().await.into_iter().map(|signed| signed.head).collect();
            let differ = |two: &[Head]| two[0].height == two[1].height && two[0].header != two[1].header;
            assert!(!heads.windows(2).any(differ), "two validators differ: {heads:?}");
            if heads.len() == q && heads.windows(2).all(|two| two[0].height == two[1].height) {
                break;
            }
            assert!(since.elapsed() < WAIT_MAX, "found heads {heads:?}, expected {q} of one height");
            drop(ledger.proof(&Digest([0xee; 32]), Duration::from_millis(100)).await);
        }
    }
}
