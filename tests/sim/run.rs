//! One seed from plan to verdict: faults until everything is submitted, then healing, then everything must commit in time.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use schemas::limits;

use crate::count::Count;
use crate::plan::Plan;
use crate::world::World;

/// Faults go on after the last submission.
const STORM_AFTER_MS: u64 = 500;
/// A run may be stormy for this long at most.
const STORM_MS_MAX: u64 = 30_000;
/// After healing, everything admitted is final within this time, and as much again for each faulty primary.
const LIVE_WITHIN_MS: u64 = 2 * limits::VIEW_TIMEOUT_MS_MAX;

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

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of checkers and of the core are verdicts here: kept, not printed.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or(String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default();
        LAST_PANIC.with(|last| *last.borrow_mut() = Some(text + &place));
    }));
}

/// Runs a seed.
pub fn run(seed: u64, validators: Option<usize>) -> Verdict {
    let plan = Plan::of(seed, validators);
    let mut world = World::new(plan);
    let outcome = catch_unwind(AssertUnwindSafe(|| play(&mut world)));
    let violation = match outcome {
        Ok(verdict) => verdict.err(),
        Err(_) => Some(LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_else(|| "panic".to_owned())),
    };
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
    world.count.reach("live_runs");
    Ok(())
}
