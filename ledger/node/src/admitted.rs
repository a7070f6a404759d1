//! Transactions that were admitted a short while ago, with their signatures verified: clients send to every validator, so what
//! a proposal holds was mostly seen before, and need not be read, judged and copied again. Admission asks the bytes alone, so what
//! is remembered never goes stale. It must never remember bytes that `admit` has not taken, and stays within its bytes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger_core::Request;
use schemas::id::Digest;
use schemas::limits::ADMITTED_BYTES_MAX;

/// By the hash of the signed bytes.
#[derive(Default)]
struct Generation {
    requests: HashMap<Digest, Request>,
    bytes: usize,
}

/// Two generations: when the newer one is full, the older one is forgotten.
#[derive(Default)]
pub(crate) struct Admitted(Mutex<[Generation; 2]>);

impl Admitted {
    /// The request of exactly these signed bytes, if it is remembered.
    pub fn find(&self, signed: &Digest) -> Option<Request> {
        self.lock().iter().find_map(|generation| generation.requests.get(signed).cloned())
    }

    /// Remembers what `admit` took.
    pub fn keep(&self, request: &Request) {
        let mut generations = self.lock();
        if generations[0].bytes + request.len() > ADMITTED_BYTES_MAX {
            generations.swap(0, 1);
            generations[0] = Generation::default();
        }
        let newest = &mut generations[0];
        if newest.requests.insert(request.signed(), request.clone()).is_none() {
            newest.bytes += request.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Generation; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use schemas::block::TransactionBytes;
    use schemas::cbor;
    use schemas::id::{ChainId, ConsentId, SubjectId};
    use schemas::transaction::{Body, Core, RevokeConsent, Transaction};

    use super::*;

    fn request(number: u64) -> Request {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let body = Body::RevokeConsent(RevokeConsent { consent: ConsentId(id), subject: SubjectId([1; 16]) });
        let core = Core { chain: ChainId([7; 32]), valid_until: 1000, body };
        let transaction = Transaction { core, statements: vec![], signatures: vec![], authored: vec![] };
        let bytes = TransactionBytes(cbor::encode(&transaction).into());
        Request::of(&transaction, bytes)
    }

    #[test]
    fn the_newest_are_remembered_and_no_more_bytes_than_allowed() {
        let admitted = Admitted::default();
        let bytes = request(0).len();
        let (last, held) = (3 * ADMITTED_BYTES_MAX / bytes, ADMITTED_BYTES_MAX / bytes);
        for number in 0..=last as u64 {
            let request = request(number);
            assert_eq!(admitted.find(&request.signed()), None, "number {number}");
            admitted.keep(&request);
            admitted.keep(&request);
            assert_eq!(admitted.find(&request.signed()), Some(request), "number {number}");
        }
        for generation in &*admitted.lock() {
            assert!(generation.bytes <= ADMITTED_BYTES_MAX);
            assert_eq!(generation.bytes, generation.requests.values().map(Request::len).sum::<usize>());
        }
        for number in last + 1 - held..=last {
            assert!(admitted.find(&request(number as u64).signed()).is_some(), "number {number} of {last}");
        }
        assert_eq!(admitted.find(&request(0).signed()), None, "the oldest are forgotten");
    }
}
