//! How far a poll is, and who keeps it: the gateway's database, behind a trait. A marker may be lost (what it says comes again and the
//! inbox knows it), but it must never be ahead of what was accepted.

use std::future::Future;
use std::pin::Pin;

use connectors_source::Rejection;

use crate::error::FhirError;

/// A version of a resource under a keyed hash: ids may be patients' numbers.
pub type Token = [u8; 16];

/// How far a poll of one type is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marker {
    /// Everything that was updated before this time, ms, was accepted; none before the first look ended.
    pub at: Option<i64>,
    /// The newest accepted versions at and behind it: time and token. At most `limits::FHIR_SEEN_KEPT_MAX`.
    pub seen: Vec<(i64, Token)>,
}

/// The store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of markers is away")]
pub struct MarkerError;

impl From<MarkerError> for FhirError {
    fn from(_: MarkerError) -> Self {
        Self::Markers
    }
}

/// The end of a read or write.
pub type MarkerFuture<'m, T> = Pin<Box<dyn Future<Output = Result<T, MarkerError>> + Send + 'm>>;

/// Keeps markers by connector and resource type.
pub trait Markers: Send + Sync {
    /// The marker; none before the first one was saved.
    fn load<'m>(&'m self, connector: &'m str, kind: &'m str) -> MarkerFuture<'m, Option<Marker>>;

    /// Replaces it. Never durable before what it says was accepted.
    fn save<'m>(&'m self, connector: &'m str, kind: &'m str, marker: Marker) -> MarkerFuture<'m, ()>;

    /// Notes for operators that a resource of this type, updated at this time, can never be taken.
    fn put_aside<'m>(&'m self, connector: &'m str, kind: &'m str, at: i64, reason: Rejection) -> MarkerFuture<'m, ()>;

    /// The keyed hash of a version.
    fn token(&self, version: &[&str]) -> Token;
}
