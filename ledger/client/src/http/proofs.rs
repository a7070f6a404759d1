//! Proofs of `HttpLedger`: every validator is asked at once, and the first answer that verifies wins. COSE receipts are gathered
//! until a quorum's are there.

use std::collections::{BTreeMap, BTreeSet};

use ledger_proof::{
    Epochs, Validators as _, VerifyError, verify_consistency_proof, verify_cose_receipt, verify_cose_receipts,
    verify_state_proof,
};
use schemas::cbor::{self, Record};
use schemas::cose_receipt::{CoseReceipt, CoseReceipts, ReceiptBytes};
use schemas::id::{self, Digest, Height, PublicKey};
use schemas::proof::{ConsistencyProof, StateProof};
use schemas::transaction::LogEntry;
use tracing::warn;

use super::epochs::is_of_another_epoch;
use super::{Found, HttpLedger};
use crate::LedgerError;

impl HttpLedger {
    pub(super) async fn prove_state(&self, key: &[u8], height: Height) -> Result<Option<StateProof>, LedgerError> {
        let path = format!("state/{}?height={height}", id::to_hex(key));
        self.first_valid(path, |epochs, proof: &StateProof| {
            if proof.key == key && proof.header.height == height { verify_state_proof(epochs, proof) } else { ANOTHER }
        })
        .await
    }

    /// What a key of the state held after the newest block that anybody who answers can prove, for people whose ledger stands still:
    /// the proof's header says of when that is. Nothing says that there is no later block. `None`: nobody proves any.
    ///
    /// # Errors
    /// Transient when no validator answers.
    pub async fn newest_state(&self, key: &[u8]) -> Result<Option<StateProof>, LedgerError> {
        let all = self.all_status().await;
        let claimed = all.iter().filter_map(|one| one.status.as_ref()?["height"].as_u64());
        // each says what it likes, so each is tried: as many as there are validators, and what verifies is proved
        let heights: BTreeSet<Height> = claimed.filter(|&height| height > 0).collect();
        for &height in heights.iter().rev() {
            if let Some(proof) = self.prove_state(key, height).await? {
                return Ok(Some(proof));
            }
        }
        if all.iter().any(|one| one.status.is_some()) { Ok(None) } else { Err(self.unreachable()) }
    }

    pub(super) async fn prove_consistency(
        &self,
        from: Height,
        to: Height,
    ) -> Result<Option<ConsistencyProof>, LedgerError> {
        self.first_valid(format!("consistency?from={from}&to={to}"), |epochs, proof: &ConsistencyProof| {
            let heights = (proof.first.header.height, proof.second.header.height);
            if heights == (from, to) { verify_consistency_proof(epochs, proof) } else { ANOTHER }
        })
        .await
    }

    /// The log entry of a transaction with COSE receipts (RFC 9942) of a quorum of one epoch, the earliest that will do, and the
    /// proofs of the epochs up to it. `None`: too few of those who answered have it.
    ///
    /// # Errors
    /// Transient when no validator answers.
    pub async fn cose_receipts(&self, id: &Digest) -> Result<Option<CoseReceipts>, LedgerError> {
        loop {
            let epochs = self.known.epochs();
            let found = self.cose_receipts_by(&epochs, id).await;
            if !found.is_open() || !self.learn(&epochs).await {
                return found.answer;
            }
        }
    }

    async fn cose_receipts_by(&self, epochs: &Epochs, id: &Digest) -> Found<CoseReceipts> {
        let (path, timeout) = (format!("transactions/{id}/cose"), self.timeout);
        let mut asked = self.ask_all(|peer| {
            let path = path.clone();
            async move { peer.record::<CoseReceipts>(&path, timeout).await.map(|found| (peer, found)) }
        });
        // by entry: a refused copy has another one, and the acceptance has the most receipts once it is everywhere
        let (mut answers, mut gathered) = (0, BTreeMap::<Subject, Receipts>::new());
        let mut is_strange = false;
        while let Some(joined) = asked.join_next().await {
            let Ok(Ok((peer, found))) = joined else { continue };
            answers += 1;
            let Some(found) = found else { continue };
            let Some((entry, receipt)) = only_receipt(id, &found) else {
                warn!(validator = peer.name(), "a validator gave other than one COSE receipt");
                continue;
            };
            let root = match verify_cose_receipt(epochs, &found.entry, &receipt) {
                Ok(root) => root,
                // a validator of no epoch that is known
                Err(VerifyError::Validators { .. }) => {
                    is_strange = true;
                    continue;
                }
                Err(_) => {
                    warn!(validator = peer.name(), "a validator gave a COSE receipt that does not verify");
                    continue;
                }
            };
            let about = (found.entry, receipt.size, root);
            let all = gathered.entry(about.clone()).or_default();
            all.insert(receipt.key, ReceiptBytes(cbor::encode(&receipt)));
            if let Some(receipts) = of_a_quorum(epochs, (entry.height, &about.0), all) {
                return Found { answer: Ok(Some(receipts)), is_strange: false };
            }
        }
        Found { answer: if answers > 0 { Ok(None) } else { Err(self.unreachable()) }, is_strange }
    }

    async fn first_valid<T: Record + Send + 'static>(
        &self,
        path: String,
        check: impl Fn(&Epochs, &T) -> Result<(), VerifyError>,
    ) -> Result<Option<T>, LedgerError> {
        loop {
            let epochs = self.known.epochs();
            let found = self.first_valid_by(&epochs, &path, &check).await;
            if !found.is_open() || !self.learn(&epochs).await {
                return found.answer;
            }
        }
    }

    async fn first_valid_by<T: Record + Send + 'static>(
        &self,
        epochs: &Epochs,
        path: &str,
        check: impl Fn(&Epochs, &T) -> Result<(), VerifyError>,
    ) -> Found<T> {
        let timeout = self.timeout;
        let mut asked = self.ask_all(|peer| {
            let path = path.to_owned();
            async move { peer.record::<T>(&path, timeout).await.map(|found| (peer, found)) }
        });
        let (mut answers, mut is_strange) = (0, false);
        while let Some(joined) = asked.join_next().await {
            let Ok(Ok((peer, found))) = joined else { continue };
            let Some(proof) = found else {
                answers += 1;
                continue;
            };
            match check(epochs, &proof) {
                Ok(()) => return Found { answer: Ok(Some(proof)), is_strange: false },
                Err(e) if is_of_another_epoch(&e) => is_strange = true,
                Err(_) => warn!(validator = peer.name(), "a validator gave a proof that does not verify"),
            }
        }
        Found { answer: if answers > 0 { Ok(None) } else { Err(self.unreachable()) }, is_strange }
    }
}

/// A proof of something that was not asked for.
const ANOTHER: Result<(), VerifyError> =
    Err(VerifyError::Contradiction { place: "answer", expected: "a proof of what was asked" });

/// What receipts are about: the bytes of an entry, and size and root of the log that it is in.
type Subject = (Vec<u8>, u64, Digest);
/// One of each validator.
type Receipts = BTreeMap<PublicKey, ReceiptBytes>;

/// Those by validators of one epoch, the earliest of which a quorum is there and that was not over before the entry.
fn of_a_quorum(epochs: &Epochs, (height, entry): (Height, &[u8]), all: &Receipts) -> Option<CoseReceipts> {
    let sets = (0..=epochs.newest().epoch()).filter_map(|epoch| epochs.in_epoch(epoch));
    sets.filter(|set| set.last().is_none_or(|last| height <= last)).find_map(|set| {
        let mut receipts: Vec<_> = set.keys().iter().filter_map(|key| all.get(key).cloned()).collect();
        if receipts.len() < set.quorum() {
            return None;
        }
        receipts.sort();
        let found = CoseReceipts { entry: entry.to_vec(), receipts, epochs: epochs.proofs(set.epoch())?.to_vec() };
        verify_cose_receipts(epochs.genesis(), &found).ok().map(|_| found)
    })
}

/// The entry and the only receipt of an answer about the transaction that was asked for.
fn only_receipt(id: &Digest, found: &CoseReceipts) -> Option<(LogEntry, CoseReceipt)> {
    let entry = cbor::decode(&found.entry).ok().filter(|entry: &LogEntry| entry.transaction == *id)?;
    let [bytes] = &found.receipts[..] else { return None };
    Some((entry, cbor::decode(&bytes.0).ok()?))
}
