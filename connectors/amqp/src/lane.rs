//! One queue on one channel: its deliveries go to the source in the order of the queue, with one in hand or with the whole prefetch.
//!
//! When a process dies the broker counts one delivery more of everything that it had in hand (`x-delivery-count`), and puts aside what comes
//! beyond its delivery limit: one message that kills a gateway would take the prefetch of others with it. So a queue is always begun with
//! a prefetch of one, which costs a death one message. The first delivery decides: with a small count the configured prefetch follows at
//! once; with `limits::DELIVERIES_SUSPECT` or more one message at a time is taken, until `CALM_RUN` in a row had a small count. A
//! prefetch counts for consumers that begin, so changing it means another consumer.
//!
//! Order: what is in hand while the consumer changes is handed over before what the next one gets. Nothing in hand may be given back for
//! it: RabbitMQ 3.10 puts what comes back behind what came back earlier. A lane has a single active consumer, and one that is
//! cancelled with something in hand lets another gateway overtake it (also seen with 3.10): so the one with the whole prefetch is
//! registered in advance, next in the broker's list; and a lane is left by closing the connection, which gives everything back in
//! one piece, never by cancelling. For that reason a lane does not change back to one in hand before its next connection. Two gateways that
//! register at the same moment may stand mixed in that list; then the first two messages of a lane may go to one each.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery as Message;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use schemas::limits;
use tokio::sync::Semaphore;

use crate::connection::{ConnectError, answered};
use crate::source::{Supervisor, WATCHDOG_MS};

/// So many deliveries in a row with a small count, and a queue is read as configured again.
const CALM_RUN: u32 = 16;

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Channel, queue or connection are gone.
    Lost,
    /// The source is closed.
    Closing,
}

/// A queue that is consumed.
pub struct Lane<'s> {
    on: &'s Supervisor,
    channel: Channel,
    queue: String,
    /// The one that is read.
    consumer: Consumer,
    /// The one that is read next, where it must be registered in advance.
    next: Option<Consumer>,
    /// A place for each delivery that is yielded and not settled.
    room: Arc<Semaphore>,
    /// Deliveries with a small count in a row; enough of them where nothing is known.
    calm: u32,
    careful: bool,
}

impl<'s> Lane<'s> {
    /// Begins to consume, with one in hand.
    pub async fn open(on: &'s Supervisor, connection: &Connection, queue: String) -> Result<Self, ConnectError> {
        let channel = answered("open a channel", connection.create_channel()).await?;
        let consumer = consume(&channel, &queue, 1).await?;
        let next = match on.config.prefetch {
            more @ 2.. if on.config.lanes > 1 => Some(consume(&channel, &queue, more).await?),
            _ => None,
        };
        let room = Arc::new(Semaphore::new(usize::from(on.config.prefetch)));
        Ok(Self { on, channel, queue, consumer, next, room, calm: CALM_RUN, careful: false })
    }

    /// Hands deliveries over until there are no more.
    pub async fn run(&mut self, epoch: u64) -> End {
        loop {
            if let Err(end) = self.one_by_one(epoch).await {
                return end;
            }
            if let Err(end) = self.as_configured(epoch).await {
                return end;
            }
        }
    }

    /// Waits until everything that was yielded is settled.
    pub async fn settled(&self) {
        drop(self.room.acquire_many(u32::from(self.on.config.prefetch)).await);
    }

    /// With one in hand, until the prefetch is the configured one.
    async fn one_by_one(&mut self, epoch: u64) -> Result<(), End> {
        loop {
            let message = self.message().await?;
            if is_suspect(&message) {
                self.calm = 0;
                self.set_careful(true);
            } else if self.calm >= CALM_RUN && self.on.config.prefetch > 1 {
                self.set_careful(false);
                self.cancel().await?;
                self.consumer = match self.next.take() {
                    Some(next) => next,
                    None => self.consume(self.on.config.prefetch).await?,
                };
                return self.hand_over(message, epoch).await;
            } else {
                // the one before was settled, or this one would not be here
                self.calm = self.calm.saturating_add(1);
            }
            self.hand_over(message, epoch).await?;
        }
    }

    /// With the whole prefetch, until a message comes that was in hand too often.
    async fn as_configured(&mut self, epoch: u64) -> Result<(), End> {
        loop {
            let message = self.message().await?;
            if !is_suspect(&message) || self.on.config.lanes > 1 {
                self.hand_over(message, epoch).await?;
                continue;
            }
            self.calm = 0;
            self.set_careful(true);
            self.cancel().await?;
            // what is in hand already, each when the one before is settled
            let mut rest = Some(message);
            while let Some(message) = rest {
                self.all_settled().await?;
                self.hand_over(message, epoch).await?;
                rest = match self.consumer.next().await {
                    Some(Ok(message)) => Some(message),
                    None => None,
                    Some(Err(_)) => return Err(End::Lost),
                };
            }
            self.all_settled().await?;
            self.consumer = self.consume(1).await?;
            return Ok(());
        }
    }

    /// The next one that can be kept.
    async fn message(&mut self) -> Result<Message, End> {
        let watchdog = Duration::from_millis(WATCHDOG_MS);
        loop {
            let next = tokio::select! {
                biased;
                () = self.on.closing.cancelled() => return Err(End::Closing),
                next = tokio::time::timeout(watchdog, self.consumer.next()) => next,
            };
            match next {
                Ok(Some(Ok(message))) if message.data.len() > limits::MESSAGE_BYTES_MAX => {
                    let room = self.free().await?;
                    self.on.refuse(message, room);
                }
                Ok(Some(Ok(message))) => return Ok(message),
                // the queue was deleted, the channel refused something, or the connection ended
                Ok(Some(Err(_)) | None) => return Err(End::Lost),
                Err(_) if !self.channel.status().connected() => return Err(End::Lost),
                Err(_) => {}
            }
        }
    }

    /// Waits for the reader where it has the whole prefetch in hand: one more than that is here while the consumer changes.
    async fn hand_over(&self, message: Message, epoch: u64) -> Result<(), End> {
        let room = self.free().await?;
        let delivery = self.on.delivery(message, room);
        tokio::select! {
            biased;
            () = self.on.closing.cancelled() => Err(End::Closing),
            sent = self.on.to.send((epoch, delivery)) => sent.map_err(|_| End::Closing),
        }
    }

    async fn free(&self) -> Result<tokio::sync::OwnedSemaphorePermit, End> {
        tokio::select! {
            biased;
            () = self.on.closing.cancelled() => Err(End::Closing),
            room = Arc::clone(&self.room).acquire_owned() => room.map_err(|_| End::Closing),
        }
    }

    async fn all_settled(&self) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.on.closing.cancelled() => Err(End::Closing),
            () = self.settled() => Ok(()),
        }
    }

    async fn consume(&self, prefetch: u16) -> Result<Consumer, End> {
        consume(&self.channel, &self.queue, prefetch).await.map_err(|_| End::Lost)
    }

    async fn cancel(&self) -> Result<(), End> {
        let cancel = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        answered("cancel a consumer", cancel).await.map_err(|_| End::Lost)
    }

    fn set_careful(&mut self, careful: bool) {
        if self.careful == careful {
            return;
        }
        self.careful = careful;
        self.on.reporter.careful(careful);
        let (connector, queue) = (&self.on.config.name, &self.queue);
        if careful {
            tracing::warn!(%connector, %queue, "found a message that was in hand of processes that died: one at a time");
        } else {
            tracing::info!(%connector, %queue, "takes messages with the configured prefetch again");
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        if self.careful {
            self.on.reporter.careful(false);
        }
    }
}

fn is_suspect(message: &Message) -> bool {
    crate::source::count(message).is_some_and(|count| count >= limits::DELIVERIES_SUSPECT)
}

async fn consume(channel: &Channel, queue: &str, prefetch: u16) -> Result<Consumer, ConnectError> {
    answered("set the prefetch", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let tag = format!("chartseal.{prefetch}");
    answered("consume", channel.basic_consume(queue.into(), tag.into(), options, none)).await
}
