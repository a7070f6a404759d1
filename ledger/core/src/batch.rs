//! A batch while it fills: waiting transactions in the order in which the pool offers them, of one transaction one copy, since a
//! body that names an id twice is none. It must never grow past what a body may hold.

use std::collections::{BTreeMap, BTreeSet};

use schemas::id::Digest;

use crate::pool::Place;
use crate::proposal::Request;

/// Bytes that a transaction takes in a body beside its own.
const OVERHEAD_BYTES: usize = 5;

/// What was taken so far.
#[derive(Default)]
pub(crate) struct Filling<'p> {
    requests: BTreeMap<Place, &'p Request>,
    ids: BTreeSet<Digest>,
    bytes: usize,
}

impl<'p> Filling<'p> {
    /// Takes what fits in the given order, until there are so many of so many bytes in all.
    pub fn add(&mut self, waiting: impl Iterator<Item = (Place, &'p Request)>, number_max: usize, bytes_max: usize) {
        for (place, request) in waiting {
            if self.ids.contains(&request.id()) {
                continue;
            }
            let bytes = self.bytes + request.len() + OVERHEAD_BYTES;
            if self.requests.len() >= number_max || bytes > bytes_max {
                break;
            }
            self.bytes = bytes;
            self.ids.insert(request.id());
            self.requests.insert(place, request);
        }
    }

    /// In the order of their places: revocations first.
    pub fn into_requests(self) -> Vec<Request> {
        self.requests.into_values().cloned().collect()
    }
}
