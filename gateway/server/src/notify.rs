//! Tells the hospital's systems what became of their messages: `case.anchored.CONNECTOR`, `case.refused.CONNECTOR` and `consent.changed`, into
//! an exchange of the gateway's own. At least once: a notice is a row until a broker has confirmed that it is in a queue. It runs beside
//! both ways and holds neither up; it must never send anything that names a patient.

use std::time::Duration;

use connectors_amqp::{Outgoing, PublishError, Publisher, PublisherConfig};
use schemas::cbor::sha256;
use schemas::limits;
use tokio_util::sync::CancellationToken;

use crate::ingest::now_ms;
use crate::store::notices::{self, Notice};
use crate::store::{self, Store, StoreError, anchors, cases};

/// Notices that are sent together.
const GROUP_MAX: usize = 128;
/// Between two looks at what is due, in milliseconds.
const LOOK_MS: u64 = 500;
/// After this a notice that no queue took is sent again, in milliseconds.
const PUT_OFF_MS: i64 = 60_000;
/// Longest wait for the confirms of a group, in milliseconds.
const CONFIRM_MS_MAX: u64 = 10_000;
/// First delay after a failure, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX` / 2.
const RETRY_FIRST_MS: u64 = 250;

/// Why nothing is sent for now.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Sends until it is stopped.
pub async fn run(store: Store, config: PublisherConfig, stop: CancellationToken) {
    let mut publisher = None;
    let (mut delay_ms, mut attempt) = (RETRY_FIRST_MS, 0);
    loop {
        let sent = match stop.run_until_cancelled(send_group(&store, &config, attempt, &mut publisher)).await {
            None => return,
            Some(sent) => sent,
        };
        let wait_ms = match sent {
            Ok(taken) => {
                (delay_ms, attempt) = (RETRY_FIRST_MS, 0);
                // a group that no queue took is no reason to hurry
                if taken == 0 { LOOK_MS } else { 0 }
            }
            Err(error) => {
                publisher = None;
                attempt += 1;
                tracing::warn!(delay_ms, "notices wait: {error}");
                let wait_ms = delay_ms;
                delay_ms = (delay_ms * 2).min(limits::RETRY_DELAY_MS_MAX / 2);
                wait_ms
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(wait_ms))).await.is_none() {
            return;
        }
    }
}

/// Sends what is due, as much as goes together; gives how many were taken.
async fn send_group(
    store: &Store,
    config: &PublisherConfig,
    attempt: usize,
    publisher: &mut Option<Publisher>,
) -> Result<usize, NotifyError> {
    let due = notices::due(store, now_ms().cast_signed(), GROUP_MAX).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let mut group = Vec::with_capacity(due.len());
    for notice in &due {
        group.push(outgoing(store, notice).await?);
    }
    let publishing = async {
        let publisher = match publisher {
            Some(publisher) => publisher,
            None => {
                let opened = Publisher::open(config, attempt).await?;
                opened.declare().await?;
                publisher.insert(opened)
            }
        };
        publisher.publish_each(&group).await
    };
    let limit = Duration::from_millis(CONFIRM_MS_MAX);
    let late = Err(PublishError::Away { doing: "waiting for a confirm" });
    let outcomes = tokio::time::timeout(limit, publishing).await.unwrap_or(late)?;
    let of = |taken: bool| -> Vec<i64> {
        due.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok() == taken).map(|(notice, _)| notice.id).collect()
    };
    let (taken, left) = (of(true), of(false));
    if let Some(error) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
        tracing::warn!(notices = left.len(), "sent again in {} s: {error}", PUT_OFF_MS / 1_000);
    }
    // what a power loss undoes is sent once more
    let mut write = store.begin_replayable().await?;
    notices::remove(&mut write, &taken).await?;
    notices::put_off(&mut write, &left, now_ms().cast_signed() + PUT_OFF_MS).await?;
    store::commit(write).await?;
    Ok(taken.len())
}

/// With its number, which tells repetitions apart, and the digest of the receipt where there is one.
async fn outgoing(store: &Store, notice: &Notice) -> Result<Outgoing, StoreError> {
    let corrupt = |_| StoreError::Corrupt { what: "notice.document" };
    let mut document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&notice.document).map_err(corrupt)?;
    document.insert("notice".into(), notice.id.into());
    if let Some(case) = notice.case
        && let Some(row) = cases::get(store, &[case]).await?.first()
    {
        document.insert("receipt".into(), sha256(anchors::receipt(store, row).await?.as_bytes()).to_string().into());
    }
    let body = serde_json::to_vec(&document).map_err(corrupt)?;
    Ok(Outgoing { id: notice.id.to_string(), routing_key: notice.routing.clone(), body })
}
