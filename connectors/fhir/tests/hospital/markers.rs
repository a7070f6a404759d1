//! Markers in memory, which outlive a source as the database's do.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use connectors_fhir::{Marker, MarkerError, MarkerFuture, Markers, Token};
use connectors_source::Rejection;

#[derive(Default)]
pub struct Memory {
    kept: Mutex<HashMap<(String, String), Marker>>,
    pub aside: Mutex<Vec<(String, i64, Rejection)>>,
    pub away: Mutex<bool>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub fn marker(&self, connector: &str, kind: &str) -> Option<Marker> {
        lock(&self.kept).get(&(connector.to_owned(), kind.to_owned())).cloned()
    }

    fn answer<T>(&self, value: T) -> Result<T, MarkerError> {
        if *lock(&self.away) { Err(MarkerError) } else { Ok(value) }
    }
}

impl Markers for Memory {
    fn load<'m>(&'m self, connector: &'m str, kind: &'m str) -> MarkerFuture<'m, Option<Marker>> {
        Box::pin(async move { self.answer(self.marker(connector, kind)) })
    }

    fn save<'m>(&'m self, connector: &'m str, kind: &'m str, marker: Marker) -> MarkerFuture<'m, ()> {
        Box::pin(async move {
            self.answer(())?;
            lock(&self.kept).insert((connector.to_owned(), kind.to_owned()), marker);
            Ok(())
        })
    }

    fn put_aside<'m>(&'m self, _: &'m str, kind: &'m str, at: i64, reason: Rejection) -> MarkerFuture<'m, ()> {
        Box::pin(async move {
            lock(&self.aside).push((kind.to_owned(), at, reason));
            self.answer(())
        })
    }

    fn token(&self, version: &[&str]) -> Token {
        let digest = schemas::cbor::sha256(version.join("\0").as_bytes());
        *digest.0.first_chunk().expect("32 bytes")
    }
}
