//! One seed from plan to verdict: faults until everything is submitted, then healing, then everything must commit in time.

use schemas::limits;

use crate::caught;
use crate::count::Count;
use crate::dice::Dice;
use crate::plan::Plan;
use crate::world::World;

/// Faults go on after the last submission.
const STORM_AFTER_MS: u64 = 500;
/// A run may be stormy for this long at most.
const STORM_MS_MAX: u64 = 45_000;
/// After healing, everything admitted is final within this time, and as much again for each faulty primary.
const LIVE_WITHIN_MS: u64 = 2 * limits::VIEW_TIMEOUT_MS_MAX;

/// The load of a steady run lasts longer than a view's timeout.
const STEADY_TRANSACTIONS: u64 = 320;
const STEADY_SPACING_MS: u64 = limits::VIEW_TIMEOUT_MS * 3 / 2 / STEADY_TRANSACTIONS;

/// More heights than are open at once, one transaction each.
const RECOVERY_TRANSACTIONS: u64 = limits::OPEN_HEIGHTS_MAX * 2;
const RECOVERY_SPACING_MS: u64 = limits::BATCH_AGE_MS_MAX;
/// One of so many sound runs has such a loss.
const LONELY_EVERY: u64 = 3;
/// A primary dozes for longer than a timeout, each time for longer: somebody's patience may have grown in the storm.
const RECOVERY_DOZE_MS: u64 = limits::VIEW_TIMEOUT_MS * 3 / 2;

/// What a seed came to.
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// Figures up to the end or the violation.
    pub count: Count,
    /// Hash over all effects.
    pub trace: u64,
    /// What did not hold.
    pub violation: Option<String>,
}

/// Runs a seed.
pub fn run(seed: u64, validators: Option<usize>) -> Verdict {
    let plan = Plan::of(seed, validators);
    let dice = Dice::new(seed.wrapping_mul(31) ^ plan.n as u64);
    run_with(plan, dice)
}

/// Runs a plan with somebody's luck.
pub fn run_with(plan: Plan, dice: Dice) -> Verdict {
    let seed = plan.seed;
    let mut world = World::new(plan, dice);
    let violation = caught::violation(|| play(&mut world));
    Verdict { seed, count: world.count, trace: world.trace, violation }
}

fn play(world: &mut World) -> Result<(), String> {
    let mut storm = 0;
    while !world.is_submitted() && storm < STORM_MS_MAX {
        world.run(100);
        storm += 100;
    }
    world.run(STORM_AFTER_MS);
    world.heal();
    let healed = world.now;
    let within = LIVE_WITHIN_MS * (2 + world.plan.attackers.len() as u64);
    while !world.is_done() {
        if world.now - healed > within {
            return Err(format!("liveness: not all is final {within} ms after healing: {}", world.standing()));
        }
        world.run(50);
    }
    // whoever missed the new view is told of it: with nothing to do, all come to rest in one view
    let done = world.now;
    while !world.is_at_rest() {
        if world.now - done > within {
            return Err(format!("views: honest validators stay apart {within} ms after the end: {}", world.standing()));
        }
        world.run(200);
    }
    world.count.reach("live_runs");
    recover(world)?;
    if world.is_sound() && world.plan.seed.is_multiple_of(LONELY_EVERY) {
        forget_alone(world)?;
    }
    if world.is_sound() { stay(world) } else { Ok(()) }
}

/// The worst to forget is a view that nobody else wants: somebody hears nothing, leaves its view alone and loses its disk, while all
/// others stay where they are.
fn forget_alone(world: &mut World) -> Result<(), String> {
    let (seat, before) = (world.deafen_one(), world.now);
    while !world.is_leaving(seat) {
        if world.now - before > LIVE_WITHIN_MS {
            return Err(format!("patience: it hears nothing and stays: {}", world.standing()));
        }
        world.load(1, 1);
        world.run(500);
    }
    world.lose_deaf(seat);
    recover(world)
}

/// Who lost its votes is one of the quorum again, once heights and views have moved on: another one may fail then. They move under
/// load, and without any, since it asks.
fn recover(world: &mut World) -> Result<(), String> {
    if !world.has_silent() {
        return Ok(());
    }
    let is_loaded = world.plan.seed.is_multiple_of(2);
    let mut doze_ms = RECOVERY_DOZE_MS;
    let (before, within) = (world.now, LIVE_WITHIN_MS * (2 + world.plan.attackers.len() as u64));
    while world.has_silent() || !world.is_done() {
        if world.now - before > 2 * within + limits::RECOVERY_HELP_AGAIN_MS {
            return Err(format!("recovery: {within} ms and views later: {}", world.standing()));
        }
        if !is_loaded {
            world.run(500);
            continue;
        }
        // heights first: a primary that leaves transactions out puts them all into one
        world.load(RECOVERY_TRANSACTIONS, RECOVERY_SPACING_MS);
        world.run(RECOVERY_TRANSACTIONS * RECOVERY_SPACING_MS);
        if world.has_silent() {
            world.doze_primary(doze_ms);
        }
        world.load(1, 1);
        world.run(doze_ms * 2);
        doze_ms = (doze_ms * 2).min(limits::VIEW_TIMEOUT_MS_MAX + RECOVERY_DOZE_MS);
    }
    world.count.reach(if is_loaded { "recoveries" } else { "quiet_recoveries" });
    Ok(())
}

/// With nobody faulty, the view lasts under load for longer than any patience: progress stops the timers.
fn stay(world: &mut World) -> Result<(), String> {
    let before = world.standing();
    let view = world.view();
    world.load(STEADY_TRANSACTIONS, STEADY_SPACING_MS);
    world.run(STEADY_TRANSACTIONS * STEADY_SPACING_MS);
    let loaded = world.now;
    while !world.is_done() && world.now - loaded < limits::VIEW_TIMEOUT_MS {
        world.run(50);
    }
    if !world.is_done() || world.view() != view {
        return Err(format!("steadiness: nobody is faulty: {before}, and under load: {}", world.standing()));
    }
    world.count.reach("steady_runs");
    Ok(())
}
