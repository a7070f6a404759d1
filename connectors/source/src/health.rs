//! What is known of a source's connection, as a watched value: readiness means that messages can arrive now, not that a
//! process runs.

use std::sync::Arc;

use schemas::id::TimeMs;
use tokio::sync::watch;

/// A source's condition. Times are those of the gateway's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Whether the peer is connected and consuming; of a listener, whether it listens.
    pub connected: bool,
    /// What stops it from being connected, as the last attempt said: no address with credentials, no content.
    pub why: Option<Arc<str>>,
    /// Since when `connected` has its value; 0 before the first attempt ended.
    pub since: TimeMs,
    /// When the last delivery was yielded.
    pub last_delivery: Option<TimeMs>,
    /// Connections made again after a loss; of a listener, connections after the first.
    pub reconnects: u64,
    /// Deliveries yielded and not yet settled.
    pub unsettled: u64,
    /// Queues of which one message at a time is taken, because their messages were in hand of processes that died.
    pub careful: u64,
}

/// The source's side of its health.
#[derive(Clone, Debug)]
pub struct HealthReporter(watch::Sender<SourceHealth>);

impl Default for HealthReporter {
    fn default() -> Self {
        Self(watch::Sender::new(SourceHealth::default()))
    }
}

impl HealthReporter {
    /// A receiver for readiness and metrics.
    pub fn subscribe(&self) -> watch::Receiver<SourceHealth> {
        self.0.subscribe()
    }

    /// The peer is connected. Counts a reconnect when it had been before.
    pub fn connected(&self, now: TimeMs) {
        self.0.send_if_modified(|health| {
            if health.connected {
                return false;
            }
            health.reconnects += u64::from(health.since != 0);
            (health.connected, health.since, health.why) = (true, now, None);
            true
        });
    }

    /// A peer of a listener came back after one had been there.
    pub fn connected_again(&self) {
        self.0.send_modify(|health| health.reconnects += 1);
    }

    /// The peer is lost, or could not be reached, and why.
    pub fn failed(&self, now: TimeMs, why: &str) {
        self.disconnected(now);
        self.0.send_if_modified(|health| {
            let changed = health.why.as_deref() != Some(why);
            if changed {
                health.why = Some(why.into());
            }
            changed
        });
    }

    /// The peer is lost, or nobody wants it any more.
    pub fn disconnected(&self, now: TimeMs) {
        self.0.send_if_modified(|health| {
            let changed = health.connected;
            if changed {
                (health.connected, health.since) = (false, now);
            }
            changed
        });
    }

    /// A delivery was yielded.
    pub fn delivered(&self, now: TimeMs) {
        self.0.send_modify(|health| {
            health.last_delivery = Some(now);
            health.unsettled += 1;
        });
    }

    /// A queue is read carefully from now on, or no longer.
    pub fn careful(&self, is: bool) {
        self.0.send_modify(|health| {
            health.careful = if is { health.careful + 1 } else { health.careful.saturating_sub(1) };
        });
    }

    /// A delivery was settled, or lost its connection.
    pub fn settled(&self) {
        self.0.send_modify(|health| health.unsettled = health.unsettled.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::HealthReporter;

    #[test]
    fn what_stops_a_source_is_told_until_it_is_connected() {
        let reporter = HealthReporter::default();
        let health = reporter.subscribe();
        reporter.failed(1, "refused");
        reporter.failed(2, "away");
        assert_eq!((health.borrow().connected, health.borrow().why.as_deref()), (false, Some("away")));
        reporter.connected(3);
        assert_eq!((health.borrow().connected, health.borrow().why.as_deref()), (true, None));
        reporter.failed(4, "lost");
        let now = health.borrow().clone();
        assert_eq!((now.connected, now.since, now.why.as_deref()), (false, 4, Some("lost")));
    }
}
