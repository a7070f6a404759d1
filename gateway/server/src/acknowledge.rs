//! Tells the senders of HL7 v2 messages what became of them, where their MSH-16 asks for it and their connector says where to: `AA` once all
//! that was in a message is anchored and indexed, `AE` with code and place once it is in quarantine. At least once: a row waits until the
//! hospital's listener has answered, and says the same at every attempt; one that the listener does not take is in no other's way. It runs beside
//! the way in and holds nothing up; it must never send more of a message than its MSH said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors_mllp::{ApplicationAckConfig, MllpSender, SendError, TlsError, application};
use gateway_vault::Vault;
use jiff::Timestamp;
use schemas::cbor::Parts;
use schemas::id::Digest;
use schemas::limits;
use tokio_util::sync::CancellationToken;

use crate::ingest::now_ms;
use crate::store::application_acks::{self as acks, Due};
use crate::store::{self, Store, StoreError};

/// Those that are removed together.
const GROUP_MAX: usize = 64;
/// Between two looks at what is due, in milliseconds.
const LOOK_MS: u64 = 250;
/// First delay after a failure, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX` / 2.
const RETRY_FIRST_MS: u64 = 250;
/// After this one that was not taken is sent again, in milliseconds; later the longer it waits already, by a part of that time.
const PUT_OFF_MS: i64 = 60_000;
const PUT_OFF_PART: i64 = 4;
/// As many that are not taken end a group: what was told so far is noted.
const REFUSED_MAX: usize = 3;
/// Between two looks at what nobody took in time, in milliseconds.
const EXPIRE_MS: u64 = 3_600_000;
/// A connection on which nothing was sent for so long is given up, in milliseconds.
const REST_MS: u64 = 5_000;

/// Why none is sent for now.
#[derive(Debug, thiserror::Error)]
enum AcknowledgeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What became of one.
enum Told {
    /// Nothing more is to be said.
    Over,
    /// It was not taken.
    PutOff,
}

/// What a header is sealed for: the message that it begins.
pub(crate) fn context(source_key: &Digest) -> Vec<u8> {
    Parts::new("cs1/application-ack").part(source_key).finish()
}

/// Who tells the senders of one connector.
pub struct Acknowledger {
    store: Store,
    vault: Arc<Vault>,
    connector: Box<str>,
    sender: MllpSender,
    sent: Instant,
    expired: Option<Instant>,
}

impl Acknowledger {
    /// Of a connector.
    ///
    /// # Errors
    /// `TlsError`.
    pub fn new(
        (store, vault): (Store, Arc<Vault>),
        connector: &str,
        config: &ApplicationAckConfig,
    ) -> Result<Self, TlsError> {
        let sender = MllpSender::new(config.sender())?;
        Ok(Self { store, vault, connector: connector.into(), sender, sent: Instant::now(), expired: None })
    }

    /// Sends until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut delay_ms = RETRY_FIRST_MS;
        loop {
            let sent = match stop.run_until_cancelled(self.send_group()).await {
                None => return,
                Some(sent) => sent,
            };
            let wait_ms = match sent {
                Ok(sent) => {
                    delay_ms = RETRY_FIRST_MS;
                    if sent == GROUP_MAX { 0 } else { LOOK_MS }
                }
                Err(error) => {
                    tracing::warn!(connector = %self.connector, delay_ms, "application acknowledgements wait: {error}");
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

    /// Sends what is due, as much as is removed together; gives how many are over.
    async fn send_group(&mut self) -> Result<usize, AcknowledgeError> {
        let now = now_ms().cast_signed();
        if self.expired.is_none_or(|at| at.elapsed() > Duration::from_millis(EXPIRE_MS)) {
            let mut write = self.store.begin_replayable().await?;
            let late = acks::expire(&mut write, &self.connector, now - limits::APPLICATION_ACK_MS_MAX).await?;
            store::commit(write).await?;
            self.expired = Some(Instant::now());
            if late > 0 {
                tracing::warn!(connector = %self.connector, late, "application acknowledgements are given up: nobody took them in time");
            }
        }
        let due = acks::due(&self.store, &self.connector, now, GROUP_MAX).await?;
        if due.is_empty() {
            if self.sent.elapsed() > Duration::from_millis(REST_MS) {
                self.sender.rest();
            }
            return Ok(0);
        }
        // nobody listens: that says nothing about any of them
        self.sender.reach().await?;
        let (mut over, mut put_off) = (Vec::with_capacity(due.len()), Vec::new());
        for one in &due {
            match self.tell(one).await {
                Told::Over => over.push(one),
                Told::PutOff => put_off.push(one),
            }
            if put_off.len() == REFUSED_MAX {
                break;
            }
        }
        self.sent = Instant::now();
        // what a power loss undoes is sent once more
        let mut write = self.store.begin_replayable().await?;
        acks::remove(&mut write, &over).await?;
        let now = now_ms().cast_signed();
        for one in put_off {
            let wait_ms = PUT_OFF_MS.max((now - one.decided) / PUT_OFF_PART);
            acks::put_off(&mut write, one, now + wait_ms).await?;
        }
        store::commit(write).await?;
        Ok(over.len())
    }

    /// Sends one, where it is wanted, and hears that it was taken.
    async fn tell(&mut self, due: &Due) -> Told {
        let connector = &*self.connector;
        let Ok(head) = self.vault.open_row(&context(&due.source_key), &due.head) else {
            tracing::error!(connector, "an application acknowledgement is given up: its header is not what was stored");
            return Told::Over;
        };
        let error = due.error.as_ref().map(|(code, path)| (code.as_str(), path.as_str()));
        // within the twenty characters of MSH-10
        let control_id = format!("CS{:08x}{:x}", due.decided / 1_000, due.id);
        let time = Timestamp::from_millisecond(due.decided).unwrap_or_default();
        match self.sender.send(&application(&head, error, &control_id, time)).await {
            Ok(Some(answer)) if matches!(answer.code.as_str(), "CR" | "AR") => {
                // it has seen it, and never wants it: that is the hospital's to look into
                tracing::warn!(connector, "an application acknowledgement was rejected");
                Told::Over
            }
            Ok(Some(answer)) if !answer.is_positive() => {
                tracing::warn!(connector, code = answer.code, "an application acknowledgement was not taken");
                Told::PutOff
            }
            Ok(_) => Told::Over,
            Err(error) => {
                tracing::warn!(connector, "an application acknowledgement was not taken: {error}");
                Told::PutOff
            }
        }
    }
}
