//! Proofs of `HttpLedger`: every validator is asked at once, and the first answer that verifies wins. COSE receipts are gathered
//! until a quorum's are there.

use ledger_proof::{verify_consistency_proof, verify_cose_receipts, verify_state_proof};
use schemas::cbor::Record;
use schemas::cose_receipt::{CoseReceipts, ReceiptBytes};
use schemas::id::{self, Digest, Height};
use schemas::proof::{ConsistencyProof, StateProof};
use tracing::warn;

use super::HttpLedger;
use crate::LedgerError;

impl HttpLedger {
    pub(super) async fn prove_state(&self, key: &[u8], height: Height) -> Result<Option<StateProof>, LedgerError> {
        let path = format!("state/{}?height={height}", id::to_hex(key));
        self.first_valid(path, |proof: &StateProof| {
            proof.key == key && proof.header.height == height && verify_state_proof(&self.set, proof).is_ok()
        })
        .await
    }

    pub(super) async fn prove_consistency(
        &self,
        from: Height,
        to: Height,
    ) -> Result<Option<ConsistencyProof>, LedgerError> {
        self.first_valid(format!("consistency?from={from}&to={to}"), |proof: &ConsistencyProof| {
            let heights = (proof.first.header.height, proof.second.header.height);
            heights == (from, to) && verify_consistency_proof(&self.set, proof).is_ok()
        })
        .await
    }

    /// The log entry of a transaction with COSE receipts (RFC 9942) of a quorum. `None`: too few of those who answered have it.
    ///
    /// # Errors
    /// Transient when no validator answers.
    pub async fn cose_receipts(&self, id: &Digest) -> Result<Option<CoseReceipts>, LedgerError> {
        let (path, timeout) = (format!("transactions/{id}/cose"), self.timeout);
        let mut asked = self.ask_all(|peer| {
            let path = path.clone();
            async move { peer.record::<CoseReceipts>(&path, timeout).await.map(|found| (peer, found)) }
        });
        // by entry: a refused copy has another one, and the acceptance has the most receipts once it is everywhere
        let (mut answers, mut gathered): (usize, Vec<CoseReceipts>) = (0, vec![]);
        while let Some(joined) = asked.join_next().await {
            let Ok(Ok((peer, found))) = joined else { continue };
            answers += 1;
            let Some(CoseReceipts { entry, receipts }) = found else { continue };
            let [receipt]: [ReceiptBytes; 1] = match receipts.try_into() {
                Ok(one) => one,
                Err(_) => {
                    warn!(validator = peer.name(), "a validator gave other than one COSE receipt");
                    continue;
                }
            };
            let at = gathered.iter().position(|of| of.entry == entry).unwrap_or(gathered.len());
            if at == gathered.len() {
                gathered.push(CoseReceipts { entry, receipts: vec![] });
            }
            let Some(all) = gathered.get_mut(at) else { continue };
            let mut more = all.clone();
            more.receipts.push(receipt);
            more.receipts.sort();
            match verify_cose_receipts(&self.set, &more) {
                Ok(entry) if entry.transaction == *id => return Ok(Some(more)),
                Err(e) if e.is_incomplete() => *all = more,
                _ => warn!(validator = peer.name(), "a validator gave a COSE receipt that does not verify"),
            }
        }
        if answers > 0 { Ok(None) } else { Err(self.unreachable()) }
    }

    async fn first_valid<T: Record + Send + 'static>(
        &self,
        path: String,
        is_valid: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, LedgerError> {
        let timeout = self.timeout;
        let mut asked = self.ask_all(|peer| {
            let path = path.clone();
            async move { peer.record::<T>(&path, timeout).await.map(|found| (peer, found)) }
        });
        let mut answers = 0;
        while let Some(joined) = asked.join_next().await {
            let Ok(Ok((peer, found))) = joined else { continue };
            match found {
                Some(proof) if is_valid(&proof) => return Ok(Some(proof)),
                Some(_) => warn!(validator = peer.name(), "a validator gave a proof that does not verify"),
                None => answers += 1,
            }
        }
        if answers > 0 { Ok(None) } else { Err(self.unreachable()) }
    }
}
