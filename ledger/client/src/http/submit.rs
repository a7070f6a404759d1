//! Submissions on their way to one validator. What comes while others are under way goes along with the next ones, so that a
//! busy client makes few requests and an idle one waits for nothing. Bounded: a validator that does not keep up loses some of
//! them, and has them from the other validators.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemas::block::TransactionBytes;
use schemas::cbor;
use schemas::limits;
use tokio::sync::mpsc;

use super::peer::{Peer, PeerError, Submitted, read};

/// Where a validator's answer to one submission goes, with its name; closed without one when there is none.
pub(super) type Answers = mpsc::Sender<(Peer, Submitted)>;

/// The transactions that one validator has not been sent.
#[derive(Debug, Default)]
pub(super) struct Submissions(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(TransactionBytes, Answers)>,
    bytes: usize,
    under_way: usize,
}

impl Submissions {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has to send it: else those who are under way take it along.
    fn push(&self, transaction: TransactionBytes, answers: Answers) -> bool {
        let mut queue = self.queue();
        let bytes = queue.bytes + transaction.as_ref().len();
        if queue.waiting.len() >= limits::SUBMISSIONS_WAITING_MAX || bytes > limits::SUBMISSIONS_WAITING_BYTES_MAX {
            return false;
        }
        queue.bytes = bytes;
        queue.waiting.push_back((transaction, answers));
        let starts = queue.under_way < limits::SUBMISSIONS_UNDER_WAY_MAX;
        queue.under_way += usize::from(starts);
        starts
    }

    /// As many as fit into one request. Empty: nothing waits, and whoever asked is no longer under way.
    fn take(&self) -> Vec<(TransactionBytes, Answers)> {
        let mut queue = self.queue();
        let (mut out, mut bytes) = (Vec::new(), 16);
        while let Some((next, _)) = queue.waiting.front() {
            bytes += next.as_ref().len() + 8;
            if out.len() == limits::SUBMISSION_TRANSACTIONS_MAX
                || (!out.is_empty() && bytes > limits::SUBMISSION_BYTES_MAX)
            {
                break;
            }
            queue.bytes -= next.as_ref().len();
            out.extend(queue.waiting.pop_front());
        }
        if out.is_empty() {
            queue.under_way -= 1;
        }
        out
    }
}

impl Peer {
    /// Sends it with those that wait, without waiting for the answer.
    pub(super) fn submit(&self, transaction: TransactionBytes, answers: Answers, timeout: Duration) {
        if self.submissions.push(transaction, answers) {
            let peer = self.clone();
            tokio::spawn(async move { peer.send_waiting(timeout).await });
        }
    }

    async fn send_waiting(&self, timeout: Duration) {
        loop {
            let (transactions, answers): (Vec<_>, Vec<_>) = self.submissions.take().into_iter().unzip();
            if transactions.is_empty() {
                return;
            }
            // without an answer the senders go, and whoever waits hears nothing
            let Ok(codes) = self.send_many(&transactions, timeout).await else { continue };
            for (answers, code) in answers.into_iter().zip(codes) {
                // nobody may wait for it any more
                submitted(code).and_then(|submitted| answers.try_send((self.clone(), submitted)).ok());
            }
        }
    }

    async fn send_many(&self, transactions: &Vec<TransactionBytes>, timeout: Duration) -> Result<Vec<u16>, PeerError> {
        let body = cbor::encode(transactions);
        let request = self.client.post(format!("{}/submissions", self.base)).header("content-type", "application/cbor");
        let response = request.timeout(timeout).body(body).send().await?;
        let codes: Vec<u16> =
            cbor::decode(&read(response, 16 + 3 * transactions.len()).await?).map_err(|_| PeerError::Answer)?;
        if codes.len() == transactions.len() { Ok(codes) } else { Err(PeerError::Answer) }
    }
}

/// What a status code says; none of any other.
const fn submitted(code: u16) -> Option<Submitted> {
    match code {
        200 | 202 => Some(Submitted::Taken),
        400 | 413 => Some(Submitted::Refused),
        429 => Some(Submitted::Busy),
        _ => None,
    }
}
