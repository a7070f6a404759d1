//! Settling one delivery on the channel over which it came. A delivery tag means something there only: over a lost
//! connection the settlement fails and the message comes again.

use std::time::Duration;

use connectors_source::{HealthReporter, Settle, SettleError, SettleFuture, Settlement};
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Longest wait for a settlement to be sent, in milliseconds.
const SETTLE_MS_MAX: u64 = 10_000;

/// The right to settle one delivery.
pub struct AmqpSettle {
    pub acker: Acker,
    pub health: HealthReporter,
    pub runtime: Handle,
    /// Its place in its lane, free when the broker was told.
    pub room: OwnedSemaphorePermit,
    pub closing: CancellationToken,
}

impl Settle for AmqpSettle {
    fn settle(self: Box<Self>, how: Settlement) -> SettleFuture {
        self.health.settled();
        let Self { acker, room, .. } = *self;
        Box::pin(async move {
            let _room = room;
            let limit = Duration::from_millis(SETTLE_MS_MAX);
            match tokio::time::timeout(limit, tell(&acker, how)).await {
                Ok(Ok(true)) => Ok(()),
                Ok(Ok(false) | Err(_)) => Err(SettleError::ConnectionLost),
                Err(_) => Err(SettleError::TimedOut { after_ms: SETTLE_MS_MAX }),
            }
        })
    }

    fn abandon(self: Box<Self>) {
        self.health.settled();
        let Self { acker, room, runtime, closing, .. } = *self;
        // while the source closes the connection gives it back, with everything behind it: alone it would come again, to here
        if acker.usable() && !closing.is_cancelled() {
            runtime.spawn(async move {
                let _room = room;
                let limit = Duration::from_millis(SETTLE_MS_MAX);
                // a release that is not sent happens by itself when the connection ends
                drop(tokio::time::timeout(limit, tell(&acker, Settlement::Released)).await);
            });
        }
    }
}

async fn tell(acker: &Acker, how: Settlement) -> Result<bool, lapin::Error> {
    match how {
        Settlement::Accepted => acker.ack(BasicAckOptions::default()).await,
        Settlement::Rejected(_) => acker.reject(BasicRejectOptions { requeue: false }).await,
        Settlement::Released => acker.nack(BasicNackOptions { requeue: true, ..Default::default() }).await,
    }
}
