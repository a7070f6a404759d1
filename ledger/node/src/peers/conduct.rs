//! How other validators behave on their connections. Whoever says what does not verify again and again is let go, and may come
//! back after a pause that grows to a bound: he takes no more of this machine's time than that. A single slip costs
//! nothing, and nobody is kept out for good: he may have been mended.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemas::block::ValidatorIndex;
use schemas::limits;

const PAUSE_MIN: Duration = Duration::from_millis(limits::PEER_PAUSE_MS_MIN);
const PAUSE_MAX: Duration = Duration::from_millis(limits::PEER_PAUSE_MS_MAX);
const FORGOTTEN: Duration = Duration::from_millis(limits::PEER_PAUSE_FORGOTTEN_MS);
/// One invalid message is forgiven after this.
const FORGIVEN: Duration = Duration::from_secs(1);

/// Everybody's, as long as an epoch lasts.
#[derive(Default)]
pub(crate) struct Conduct {
    all: Mutex<BTreeMap<ValidatorIndex, Record>>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    /// What is not forgiven yet, as the time that forgiving it takes, and as of when.
    invalid: (Duration, Instant),
    /// The next pause.
    pause: Duration,
    /// When the last one ends.
    until: Option<Instant>,
}

impl Record {
    fn new(now: Instant) -> Self {
        Self { invalid: (Duration::ZERO, now), pause: PAUSE_MIN, until: None }
    }

    /// Begins a pause.
    fn pause(&mut self, now: Instant) -> Duration {
        if self.until.is_some_and(|until| now.saturating_duration_since(until) >= FORGOTTEN) {
            self.pause = PAUSE_MIN;
        }
        let pause = self.pause;
        self.until = Some(now + pause);
        self.pause = (pause * 2).min(PAUSE_MAX);
        self.invalid = (Duration::ZERO, now);
        pause
    }
}

impl Conduct {
    /// How long a validator must stay away still; `None` when it may come.
    pub fn pauses(&self, peer: ValidatorIndex, now: Instant) -> Option<Duration> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let until = all.get(&peer)?.until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// It said something that does not verify. `Some` when it must go, for so long.
    pub fn is_invalid(&self, peer: ValidatorIndex, now: Instant) -> Option<Duration> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let record = all.entry(peer).or_insert(Record::new(now));
        let (owed, at) = record.invalid;
        let owed = owed.saturating_sub(now.saturating_duration_since(at)) + FORGIVEN;
        record.invalid = (owed, now.max(at));
        (owed > FORGIVEN * limits::PEER_INVALID_MAX).then(|| record.pause(now))
    }

    /// It sent what is no message at all: it must go, for so long.
    pub fn is_broken(&self, peer: ValidatorIndex, now: Instant) -> Duration {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(peer).or_insert(Record::new(now)).pause(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_what_does_not_verify_again_and_again_must_go() {
        let (conduct, start) = (Conduct::default(), Instant::now());
        for _ in 0..limits::PEER_INVALID_MAX {
            assert_eq!(conduct.is_invalid(1, start), None);
        }
        assert_eq!(conduct.pauses(1, start), None, "not yet");
        assert_eq!(conduct.is_invalid(1, start), Some(PAUSE_MIN));
        assert_eq!(conduct.pauses(1, start), Some(PAUSE_MIN));
        assert_eq!(conduct.pauses(2, start), None, "he alone");
        assert_eq!(conduct.pauses(1, start + PAUSE_MIN), None, "he may come back");
    }

    #[test]
    fn slips_are_forgiven() {
        let (conduct, start) = (Conduct::default(), Instant::now());
        for second in 0..10 * limits::PEER_INVALID_MAX {
            assert_eq!(conduct.is_invalid(1, start + FORGIVEN * second), None, "one a second");
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_are_forgotten() {
        let (conduct, mut now) = (Conduct::default(), Instant::now());
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let pause = conduct.is_broken(1, now);
            assert!(pause == PAUSE_MIN || pause == (last * 2).min(PAUSE_MAX));
            (last, now) = (pause, now + pause);
        }
        assert_eq!(last, PAUSE_MAX);
        assert_eq!(conduct.is_broken(1, now + FORGOTTEN + PAUSE_MAX), PAUSE_MIN, "a long time without a fault");
    }
}
