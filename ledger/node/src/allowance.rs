//! So much in a second, and never more than a second's worth at once: what one client or one validator may use of this
//! machine. It never waits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fills up over a second.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_second: u32,
    /// What is left, as the time that it took to fill, and as of when.
    left: Mutex<(Duration, Option<Instant>)>,
}

impl Allowance {
    /// So much in a second.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, left: Mutex::new((Duration::from_secs(1), None)) }
    }

    /// Takes so much, if it is there: all or none.
    pub fn take(&self, n: u32, now: Instant) -> bool {
        let mut guard = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = &mut *guard;
        let since = at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        *at = Some(at.map_or(now, |at| at.max(now)));
        *left = left.saturating_add(since).min(Duration::from_secs(1));
        let price = Duration::from_secs(1) * n / self.per_second;
        let rest = left.checked_sub(price);
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }
}
