//! Clients that anchor cases, two for each case with other content, and the history that they see. The history is linearizable
//! when the order of the log fits it: whoever had a verdict before another began stands before it, and of two anchors of one
//! case the first in the log, and only that, was accepted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway_vault::Vault;
use ledger_client::{EntryProof, HttpLedger, Ledger as _};
use schemas::cbor::{self, Parts};
use schemas::envelope::Statement;
use schemas::id::{CaseId, ChainId, InstitutionId, SubjectTag};
use schemas::transaction::{Outcome, Transaction, signed_hash};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::WAIT_MAX;
use crate::validators::Validators;

/// Clients at once.
const CLIENTS: u64 = 8;
/// How long an anchor may wait, in blocks: longer than any fault lasts.
const VALID_BLOCKS: u64 = 5_000;

/// What one client asked and was told.
pub struct Operation {
    pub transaction: Transaction,
    pub proof: EntryProof,
    began: Instant,
    ended: Instant,
}

impl Operation {
    pub fn is_accepted(&self) -> bool {
        self.proof.entry.outcome == Outcome::Accepted
    }

    pub fn case(&self) -> CaseId {
        self.transaction.statements[0].case
    }
}

/// Clients that run until they are stopped.
pub struct Load {
    clients: JoinSet<Vec<Operation>>,
    verdicts: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
}

impl Load {
    pub fn start(validators: &Validators) -> Self {
        let genesis = validators.genesis();
        let institution = genesis.institutions[0].register.institution;
        let client = Client {
            ledger: validators.ledger(),
            vault: Arc::new(validators.vault()),
            chain: genesis.chain_id(),
            institution,
            next: Arc::default(),
            height: Arc::default(),
        };
        let (stop, stopped) = watch::channel(false);
        let (count, verdicts) = watch::channel(0);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(client.clone().run(stopped.clone(), count.clone()));
        }
        Self { clients, verdicts, stop }
    }

    /// Waits until the clients have had so many more verdicts. Validators that end by themselves are a failure.
    pub async fn progress(&self, more: usize, validators: &mut Validators) {
        let mut verdicts = self.verdicts.clone();
        let target = *verdicts.borrow_and_update() + more;
        // what `wait_for` gives holds the channel: whoever waits to write and the next look at it would wait for each other
        let reached = async { verdicts.wait_for(|count| *count >= target).await.map(|_| ()) };
        let reached = tokio::time::timeout(WAIT_MAX, reached).await;
        let (found, ended) = (*self.verdicts.borrow(), validators.ended());
        assert!(reached.is_ok(), "found {found} verdicts, expected {target}; ended: {ended:?}");
        assert!(ended.is_empty(), "validators {ended:?} ended by themselves");
    }

    pub async fn stop(self) -> Vec<Operation> {
        self.stop.send_replace(true);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

#[derive(Clone)]
struct Client {
    ledger: HttpLedger,
    vault: Arc<Vault>,
    chain: ChainId,
    institution: InstitutionId,
    next: Arc<AtomicU64>,
    /// Highest that a proof named.
    height: Arc<AtomicU64>,
}

impl Client {
    async fn run(self, stop: watch::Receiver<bool>, verdicts: watch::Sender<usize>) -> Vec<Operation> {
        let mut history = Vec::new();
        while !*stop.borrow() {
            let transaction = self.anchor(self.next.fetch_add(1, Ordering::Relaxed));
            let (began, bytes) = (Instant::now(), cbor::encode(&transaction));
            let proof = self.verdict(&transaction, &bytes).await;
            self.height.fetch_max(proof.header.height, Ordering::Relaxed);
            history.push(Operation { transaction, proof, began, ended: Instant::now() });
            verdicts.send_modify(|count| *count += 1);
        }
        history
    }

    async fn verdict(&self, transaction: &Transaction, bytes: &[u8]) -> EntryProof {
        let (id, signed) = (transaction.id(), signed_hash(bytes));
        loop {
            // whoever takes it may be killed before anybody else hears of it: it is handed over until there is a verdict
            drop(self.ledger.submit(bytes.to_vec()).await);
            if let Ok(Some(proof)) = self.ledger.verdict(&id, &signed, Duration::from_secs(2)).await {
                return proof;
            }
        }
    }

    /// The anchor of a case that two clients want, each with its own content.
    fn anchor(&self, number: u64) -> Transaction {
        let name = |label: &'static str, number: u64| Parts::new(label).part(&number).hash();
        let mut case = [0; 16];
        case.copy_from_slice(&name("case", number / 2).0[..16]);
        let statement = Statement {
            case: CaseId(case),
            version: 1,
            previous: None,
            institution: self.institution,
            header: name("header", number),
            root: name("root", number),
            object: name("object", number),
            subject_tag: SubjectTag(name("tag", number).0),
            wraps: name("wraps", number),
            time: number,
        };
        let until = self.height.load(Ordering::Relaxed) + VALID_BLOCKS;
        let signed = self.vault.sign_anchor(self.chain, self.institution, until, vec![statement], Vec::new());
        signed.expect("signed")
    }
}

/// Checks a history against the log's order.
pub fn check(history: &[Operation]) {
    let places: BTreeSet<u64> = history.iter().map(|op| op.proof.log_index).collect();
    assert_eq!(places.len(), history.len(), "each transaction stands in the log once");
    // in real time: nobody who began after another had its verdict stands before it
    let mut begun: Vec<&Operation> = history.iter().collect();
    begun.sort_by_key(|op| op.began);
    let mut ended: Vec<&Operation> = history.iter().collect();
    ended.sort_by_key(|op| op.ended);
    let (mut before, mut highest) = (ended.iter().peekable(), None);
    for op in begun {
        while let Some(earlier) = before.next_if(|earlier| earlier.ended < op.began) {
            highest = highest.max(Some(earlier.proof.log_index));
        }
        assert!(Some(op.proof.log_index) > highest, "{} began after {highest:?} was known", op.proof.log_index);
    }
    // in the log: the first of each case is accepted, later ones are not
    let mut log: Vec<&Operation> = history.iter().collect();
    log.sort_by_key(|op| op.proof.log_index);
    let mut cases = BTreeSet::new();
    for op in log {
        assert_eq!(op.is_accepted(), cases.insert(op.case()), "the first anchor of a case, and only it, is accepted");
    }
}
