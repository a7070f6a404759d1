//! Words about what comes to a port and is refused there: who, and why, at the level that everybody sees. So many in a minute, so
//! many of them about one remote side, then one line that says how many were left out: whoever sends rubbish must never fill
//! the log, and never goes unseen. What was sent is never in a line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemas::block::ValidatorIndex;
use schemas::limits;
use tracing::warn;

use crate::handshake::neighbourhood;

const MINUTE: Duration = Duration::from_millis(limits::REFUSALS_SAID_MS);

/// The refusals of one port.
pub(crate) struct Refusals {
    port: &'static str,
    minute: Mutex<Minute>,
}

/// Whose lines count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// Nobody knows who it is.
    Network(IpAddr),
    Validator(ValidatorIndex),
}

#[derive(Default)]
struct Minute {
    began: Option<Instant>,
    /// Said about each; as many entries as lines at most.
    said: BTreeMap<Side, usize>,
    left_out: u64,
}

impl Refusals {
    /// Of the port with this name.
    pub fn new(port: &'static str) -> Self {
        Self { port, minute: Mutex::default() }
    }

    /// A connection whose other side is known by its address alone.
    pub fn of_address(&self, address: SocketAddr, reason: &dyn Display) {
        if self.may_say(Side::Network(neighbourhood(address.ip()))) {
            warn!(port = self.port, remote = %address, %reason, "a connection is refused");
        }
    }

    /// What a validator said, or its connection.
    pub fn of_validator(&self, validator: ValidatorIndex, name: &str, address: SocketAddr, reason: &dyn Display) {
        if self.may_say(Side::Validator(validator)) {
            warn!(port = self.port, validator = name, remote = %address, %reason, "a validator's message is refused");
        }
    }

    /// A validator's connection was closed for what it said: always said, since its pauses bound how often.
    pub fn closes(&self, name: &str, address: SocketAddr, reason: &dyn Display, pause: Duration) {
        let closed_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        warn!(port = self.port, validator = name, remote = %address, %reason, closed_ms, "a validator is let go for a while");
    }

    /// Says how many were left out, once the minute is over. To be called now and then: nobody else may come.
    pub fn sum_up(&self) {
        let left_out = self.minute.lock().unwrap_or_else(PoisonError::into_inner).end(Instant::now());
        self.say_left_out(left_out);
    }

    fn may_say(&self, side: Side) -> bool {
        let now = Instant::now();
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let (left_out, is_said) = (minute.end(now), minute.take(side, now));
        drop(minute);
        self.say_left_out(left_out);
        is_said
    }

    fn say_left_out(&self, left_out: u64) {
        if left_out > 0 {
            warn!(port = self.port, left_out, "more was refused in the minute before than was said");
        }
    }
}

impl Minute {
    /// How many were left out in a minute that is over; a new one begins with the next line.
    fn end(&mut self, now: Instant) -> u64 {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) < MINUTE) {
            return 0;
        }
        std::mem::take(self).left_out
    }

    /// Whether there is room for another line.
    fn take(&mut self, side: Side, now: Instant) -> bool {
        self.began.get_or_insert(now);
        let (all, own) = (self.said.values().sum::<usize>(), self.said.get(&side).copied().unwrap_or(0));
        if all >= limits::REFUSALS_SAID_MAX || own >= limits::REFUSALS_SAID_OF_ONE_MAX {
            self.left_out += 1;
            return false;
        }
        self.said.insert(side, own + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: usize) -> Side {
        Side::Network(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]))
    }

    #[test]
    fn so_many_lines_in_a_minute_and_the_rest_is_counted() {
        let (mut minute, now) = (Minute::default(), Instant::now());
        let said = (0..100).filter(|_| minute.take(network(1), now)).count();
        assert_eq!(said, limits::REFUSALS_SAID_OF_ONE_MAX, "of one");
        assert!(minute.take(Side::Validator(1), now), "another one is heard");
        let said = 1 + said + (2..1_000).filter(|&n| minute.take(network(n), now)).count();
        assert_eq!(said, limits::REFUSALS_SAID_MAX, "of all");
        assert!(minute.said.len() <= limits::REFUSALS_SAID_MAX, "a flood of addresses takes no room");
        assert_eq!(minute.end(now + MINUTE / 2), 0, "the minute is not over");
        let all = 100 + 1 + 998;
        assert_eq!(minute.end(now + MINUTE), all - said as u64);
        assert_eq!(minute.end(now + MINUTE * 2), 0, "it was said");
        assert!(minute.take(network(1), now + MINUTE * 2), "a new minute");
    }
}
