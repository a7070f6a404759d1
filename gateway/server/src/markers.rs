//! The markers of polled sources over the gateway's database. They are written without a sync of their own, in order with every other
//! write: a power loss may undo one, never the inbox rows that it speaks of. It decides nothing about a message.

use std::sync::Arc;

use connectors_fhir::{Marker, MarkerError, MarkerFuture, Markers, Token};
use connectors_source::Rejection;
use gateway_vault::Vault;
use schemas::cbor::Parts;
use schemas::id::to_hex;

use crate::ingest::now_ms;
use crate::store::dead_letters::{OperatorDeed, note};
use crate::store::{self, Store, StoreError, markers};

/// Markers in the database.
pub struct StoredMarkers {
    /// The database.
    pub store: Store,
    /// For blind tokens.
    pub vault: Arc<Vault>,
}

fn away(error: &StoreError) -> MarkerError {
    tracing::warn!(class = error.class().name(), "{error}");
    MarkerError
}

/// A write that was begun is finished by a task that nobody cancels.
async fn finish(writing: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Result<(), MarkerError> {
    let written = tokio::spawn(writing).await.map_err(|_| MarkerError)?;
    written.map_err(|error| away(&error))
}

impl Markers for StoredMarkers {
    fn load<'m>(&'m self, connector: &'m str, kind: &'m str) -> MarkerFuture<'m, Option<Marker>> {
        Box::pin(async move {
            let row = markers::get(&self.store, connector, kind).await.map_err(|error| away(&error))?;
            Ok(row.map(|(at, seen)| Marker { at, seen }))
        })
    }

    fn save<'m>(&'m self, connector: &'m str, kind: &'m str, marker: Marker) -> MarkerFuture<'m, ()> {
        let (store, connector, kind) = (self.store.clone(), connector.to_owned(), kind.to_owned());
        Box::pin(finish(async move {
            let mut write = store.begin_replayable().await?;
            markers::set(&mut write, &connector, &kind, &(marker.at, marker.seen)).await?;
            store::commit(write).await
        }))
    }

    fn put_aside<'m>(&'m self, connector: &'m str, kind: &'m str, at: i64, reason: Rejection) -> MarkerFuture<'m, ()> {
        let about = format!("connector {connector}: {kind} updated at {at} ms, {}", reason.code());
        let deed =
            OperatorDeed { at: now_ms().cast_signed(), operator: "gateway".into(), deed: "put aside".into(), about };
        let store = self.store.clone();
        Box::pin(finish(async move {
            let mut write = store.begin().await?;
            note(&mut write, &deed).await?;
            store::commit(write).await
        }))
    }

    fn token(&self, version: &[&str]) -> Token {
        let message = version.iter().fold(Parts::new("cs1/source-version"), |all, part| all.part(part)).finish();
        let digest = self.vault.blind("source-version", &to_hex(&message));
        digest.0.first_chunk().copied().unwrap_or_default()
    }
}
