//! One validator: its requests, with a bound on time and on the bytes of an answer. What it answers is still unverified.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use rustls::ClientConfig;
use schemas::block::{Epoch, SignedHead};
use schemas::cbor::{self, Record};
use schemas::id::{Digest, Height, PublicKey};
use schemas::limits;
use schemas::receipt::EntryProof;
use tokio::sync::Semaphore;

use super::ValidatorAddress;
use super::epochs::{Answered, EPOCHS_BYTES_MAX};
use super::submit::Submissions;
use crate::LedgerError;
use crate::tls::{Identity, Pins, client_config};

/// Largest answer that is not a list of blocks, in bytes.
const ANSWER_BYTES_MAX: usize = limits::TRANSACTION_BYTES_MAX;
/// Largest list of blocks, with room for certificates, in bytes.
const BLOCKS_BYTES_MAX: usize = limits::CATCH_UP_BYTES_MAX + limits::PEER_FRAME_BYTES_MAX;

/// Look-ups under way at one validator, most of which wait for a block.
const LOOK_UPS_MAX: usize = 192;
const _: () = assert!(limits::SUBMISSIONS_UNDER_WAY_MAX + LOOK_UPS_MAX < limits::RPC_CONNECTIONS_PER_CLIENT_MAX);

/// Why a validator's answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerError {
    /// No connection, or it broke, or it took too long.
    Connection,
    /// An answer that the RPC does not know, or too long a one.
    Answer,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Submitted {
    /// Accepted for ordering, or known already.
    Taken,
    /// The bytes are invalid.
    Refused,
    /// The mempool is full.
    Busy,
}

/// A validator's RPC.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    name: String,
    pub(super) base: String,
    pub(super) client: Client,
    /// For the epochs only: takes any key.
    stranger: Client,
    pins: Pins,
    pub(super) submissions: Arc<Submissions>,
    /// Each request under way has a connection of its own; heads and status are few and never wait.
    look_ups: Arc<Semaphore>,
}

impl Peer {
    /// Reached under no key until one is pinned.
    pub(super) fn new(address: &ValidatorAddress, identity: &Identity) -> Result<Self, LedgerError> {
        let pins = Pins::default();
        let failed = |e: &dyn std::fmt::Display| LedgerError::Config(format!("validator \"{}\": {e}", address.name));
        let client = |pins| {
            let tls = client_config(identity, pins).map_err(|e| failed(&e))?;
            self::client(tls).map_err(|e| failed(&e))
        };
        let (client, stranger) = (client(Some(pins.clone()))?, client(None)?);
        let base = format!("{}/ledger/v1", address.url.trim_end_matches('/'));
        let (submissions, look_ups) = (Arc::default(), Arc::new(Semaphore::new(LOOK_UPS_MAX)));
        Ok(Self { name: address.name.clone(), base, client, stranger, pins, submissions, look_ups })
    }

    /// It is reached under these keys from now on.
    pub(super) fn pin(&self, keys: BTreeSet<PublicKey>) {
        self.pins.set(keys);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn proof(
        &self,
        id: &Digest,
        signed: Option<&Digest>,
        wait: Duration,
        timeout: Duration,
    ) -> Result<Option<EntryProof>, PeerError> {
        let signed = signed.map(|signed| format!("&signed={signed}")).unwrap_or_default();
        self.record(&format!("transactions/{id}?wait_ms={}{signed}", wait.as_millis()), timeout + wait).await
    }

    /// The bytes of a list of blocks: large, so decoded off the event loop.
    pub(super) async fn blocks(
        &self,
        from: Height,
        max: usize,
        wait: Duration,
        timeout: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        let _place = self.look_ups.acquire().await;
        let path = format!("blocks?from={from}&max={max}&wait_ms={}", wait.as_millis());
        read(self.get(&path, timeout + wait).await?, BLOCKS_BYTES_MAX).await
    }

    /// A record at a path; `None` when the validator says that it cannot be had there.
    pub(super) async fn record<T: Record>(&self, path: &str, timeout: Duration) -> Result<Option<T>, PeerError> {
        let _place = self.look_ups.acquire().await;
        let response = self.get(path, timeout).await?;
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(None);
        }
        cbor::decode(&read(response, ANSWER_BYTES_MAX).await?).map(Some).map_err(|_| PeerError::Answer)
    }

    pub(super) async fn head(&self, timeout: Duration) -> Result<SignedHead, PeerError> {
        let bytes = read(self.get("head", timeout).await?, ANSWER_BYTES_MAX).await?;
        cbor::decode(&bytes).map_err(|_| PeerError::Answer)
    }

    pub(super) async fn status(&self, timeout: Duration) -> Result<serde_json::Value, PeerError> {
        let bytes = read(self.get("status", timeout).await?, ANSWER_BYTES_MAX).await?;
        serde_json::from_slice(&bytes).map_err(|_| PeerError::Answer)
    }

    /// Proofs of epochs from this one on, of whoever answers at the address.
    pub(super) async fn epochs(&self, from: Epoch, timeout: Duration) -> Result<Answered, PeerError> {
        let request = self.stranger.get(format!("{}/epochs?from={from}", self.base)).timeout(timeout);
        let bytes = read(request.send().await?, EPOCHS_BYTES_MAX).await?;
        cbor::decode(&bytes).map_err(|_| PeerError::Answer)
    }

    async fn get(&self, path: &str, timeout: Duration) -> Result<Response, PeerError> {
        Ok(self.client.get(format!("{}/{path}", self.base)).timeout(timeout).send().await?)
    }
}

fn client(tls: ClientConfig) -> Result<Client, reqwest::Error> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(2))
        .pool_idle_timeout(Duration::from_secs(30))
        .build()
}

/// The body of a 200 answer, refused as soon as it grows past `max` bytes.
pub(super) async fn read(mut response: Response, max: usize) -> Result<Vec<u8>, PeerError> {
    if response.status() != StatusCode::OK || response.content_length().is_some_and(|n| n > max as u64) {
        return Err(PeerError::Answer);
    }
    let mut out = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if out.len() + chunk.len() > max {
            return Err(PeerError::Answer);
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}
