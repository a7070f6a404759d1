//! When an answer that shows nothing leaves: at a multiple of a step after its question, so that its time does not say what was looked at
//! for it. Unknown and hidden take other ways through keys, consents and rows; what they cost stays below one step. Answers that show
//! something are not held up: they say more than their time could.

use std::time::Duration;

use schemas::limits;
use tokio::time::{Instant, sleep_until};

/// Waits for the next multiple of the step since the question came.
pub async fn nothing_since(asked: Instant) {
    sleep_until(asked + next(asked.elapsed())).await;
}

/// The first multiple that is not over.
fn next(taken: Duration) -> Duration {
    let steps = taken.as_millis() as u64 / limits::NOTHING_STEP_MS + 1;
    Duration::from_millis(steps * limits::NOTHING_STEP_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multiple_of_the_step_is_waited_for_whatever_was_done() {
        let step = limits::NOTHING_STEP_MS;
        for (taken, leaves) in [(0, step), (1, step), (step - 1, step), (step, 2 * step), (3 * step + 1, 4 * step)] {
            assert_eq!(next(Duration::from_millis(taken)), Duration::from_millis(leaves), "after {taken} ms");
        }
    }
}
