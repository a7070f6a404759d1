//! From an MLLP listener into an exchange of the broker, for hospitals whose systems speak HL7 over TCP and whose messages go through one
//! broker. A message is acknowledged to its sender when the broker has confirmed that it is in a queue; where it cannot be, the
//! sender hears nothing and sends it again. It says of each message in which of 1,024 buckets its patient is, so that consumers with lanes
//! keep a patient's messages in order; more than that identifier it must not look at, and it must never acknowledge what is not confirmed.

use std::time::Duration;

use connectors_amqp::{PublishError, Publisher, PublisherConfig, bucket};
use connectors_hl7v2::patient_identifier;
use connectors_source::{Delivery, Source};
use schemas::limits;
use tokio_util::sync::CancellationToken;

/// Messages that are confirmed together.
const GROUP_MAX: usize = 64;
/// Longest wait for the confirms of a group, in milliseconds.
const CONFIRM_MS_MAX: u64 = 10_000;
/// First delay between connections, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX` / 2.
const RETRY_FIRST_MS: u64 = 250;

/// Carries messages until it is stopped.
pub async fn run(mut source: Box<dyn Source>, config: PublisherConfig, stop: CancellationToken) {
    let mut publisher: Option<Publisher> = None;
    let (mut delay_ms, mut attempt) = (RETRY_FIRST_MS, 0);
    while let Some(Some(group)) = stop.run_until_cancelled(group(&mut *source)).await {
        match carry(&mut publisher, &config, attempt, &group).await {
            Ok(()) => {
                (delay_ms, attempt) = (RETRY_FIRST_MS, 0);
                // one that its sender did not hear of comes again; one that does not listen keeps no other waiting
                tokio::spawn(futures_util::future::join_all(group.into_iter().map(Delivery::accept)));
            }
            Err(error) => {
                // dropped, the deliveries go back to their senders
                drop(group);
                publisher = None;
                attempt += 1;
                tracing::warn!(connector = source.name(), class = error.class().name(), delay_ms, "{error}");
                stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(delay_ms))).await;
                delay_ms = (delay_ms * 2).min(limits::RETRY_DELAY_MS_MAX / 2);
            }
        }
    }
    source.close();
}

/// What is there, one at least; `None` when the source has ended.
async fn group(source: &mut dyn Source) -> Option<Vec<Delivery>> {
    let mut group = vec![next(source).await?];
    while group.len() < GROUP_MAX {
        match tokio::time::timeout(Duration::ZERO, next(source)).await {
            Ok(Some(delivery)) => group.push(delivery),
            _ => break,
        }
    }
    Some(group)
}

async fn next(source: &mut dyn Source) -> Option<Delivery> {
    source.next().await.unwrap_or_else(|error| {
        tracing::error!(class = error.class().name(), "{error}");
        None
    })
}

async fn carry(
    publisher: &mut Option<Publisher>,
    config: &PublisherConfig,
    attempt: usize,
    group: &[Delivery],
) -> Result<(), PublishError> {
    let publishing = async {
        let publisher = match publisher {
            Some(publisher) => publisher,
            None => publisher.insert(Publisher::open(config, attempt).await?),
        };
        for delivery in group {
            let trace = delivery.trace.parent.as_deref();
            let bucket = patient_identifier(&delivery.body).map(|patient| bucket(&patient));
            let (key, content_type) = (&config.routing_key, &delivery.content_type);
            publisher.publish_to_lane(key, content_type, &delivery.body, trace, bucket).await?;
        }
        publisher.settle().await
    };
    let limit = Duration::from_millis(CONFIRM_MS_MAX);
    tokio::time::timeout(limit, publishing).await.unwrap_or(Err(PublishError::Away { doing: "waiting for a confirm" }))
}
