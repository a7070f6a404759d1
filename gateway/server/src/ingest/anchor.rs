//! *anchor*: stored cases are signed by the institution, up to 100 as one; the gateway opens and checks each as its
//! recipient will and abandons on any mismatch; intents become durable; then the transaction is submitted. Up to four
//! submissions are in flight; what is stored meanwhile goes with the next one. It must never submit what is not durable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_vault::{Trusted, VerifiedAnchor};
use schemas::transaction::Transaction;
use schemas::{ErrorClass, cbor, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::normalise::Refusal;
use super::plan::{self, Plan};
use super::seal::{SealedCase, Stored};
use super::settle::{Anchored, settle};
use super::{Control, Foundation, StepError, crash_point};
use crate::store::inbox::{self, State};
use crate::store::intents::{self, Intent, Submission};
use crate::store::merges::{self, Merge};
use crate::store::{self, StoreError, Write, subjects};

/// Submissions in flight.
pub const IN_FLIGHT_MAX: usize = 4;
/// How long a batch waits for more while others are in flight, in milliseconds.
const LINGER_MS: u64 = 25;
/// How far ahead of the height a submission stays valid, in blocks.
pub const VALID_BLOCKS: u64 = 2_000;

const _: () = assert!(VALID_BLOCKS < limits::VALID_UNTIL_AHEAD_MAX);

/// A durable submission with its plans. Built here only, from what is durable.
pub struct Intended {
    pub(super) submission: Submission,
    pub(super) plans: Vec<Plan>,
}

/// A submission on its way; it holds its place until its cases are indexed.
pub struct Flight {
    pub(super) anchored: JoinHandle<Option<Anchored>>,
    /// To be cancelled when it is indexed: those of the batches of which it is the last.
    pub(super) indexed: Vec<CancellationToken>,
    pub(super) _place: OwnedSemaphorePermit,
}

/// A checked transaction with its cases.
struct Signed {
    transaction: Transaction,
    cases: Vec<SealedCase>,
}

pub async fn run(on: Foundation, control: Control, mut stored: mpsc::Receiver<Stored>, to: mpsc::Sender<Flight>) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let Some(mut sequence) = recover(&on, &control, &places, &to).await else { return };
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some(group) = collect(&mut stored, &places).await else { return };
        let mut patience = control.patience("anchor");
        let mut group = group;
        let intended = loop {
            match sign(&on, &mut group, sequence).await {
                Ok(intended) => break intended,
                // the cases went down with their task; they are sealed anew at the next start
                Err(StepError::Ended) => return control.fail("anchor"),
                Err(error) if patience.wait(&error).await => {}
                Err(_) => return,
            }
        };
        // the same bytes in every attempt: a commit whose answer was lost may have made them durable
        let mut again = false;
        while let Err(error) = commit(&on, &group, &intended, again).await {
            if !patience.wait(&error).await {
                return;
            }
            again = true;
        }
        patience.over();
        crash_point!("ingest::after_intent_commit");
        control.committed.store(group.last().map_or(0, |batch| batch.0.number), Ordering::Release);
        sequence += i64::try_from(intended.len()).unwrap_or(0);
        let mut place = Some(place);
        let mut indexed: Vec<CancellationToken> = group.iter().map(|batch| batch.0.indexed.clone()).collect();
        let last = intended.len().saturating_sub(1);
        if intended.is_empty() {
            indexed.iter().for_each(CancellationToken::cancel);
        }
        for (at, intended) in intended.into_iter().enumerate() {
            let indexed = if at == last { std::mem::take(&mut indexed) } else { Vec::new() };
            let place = match place.take() {
                Some(place) => place,
                None => match Arc::clone(&places).acquire_owned().await {
                    Ok(place) => place,
                    Err(_) => return,
                },
            };
            if to.send(launch(&on, &control, intended, indexed, place)).await.is_err() {
                return;
            }
        }
    }
}

fn launch(
    on: &Foundation,
    control: &Control,
    intended: Intended,
    indexed: Vec<CancellationToken>,
    place: OwnedSemaphorePermit,
) -> Flight {
    let span = tracing::info_span!("anchor", cases = intended.plans.len());
    let anchored = tokio::spawn(settle(on.clone(), control.clone(), intended).instrument(span));
    Flight { anchored, indexed, _place: place }
}

/// Sends what an earlier run intended on its way again, the same bytes in the same order.
async fn recover(
    on: &Foundation,
    control: &Control,
    places: &Arc<Semaphore>,
    to: &mpsc::Sender<Flight>,
) -> Option<i64> {
    let mut patience = control.patience("anchor");
    let pending = loop {
        match read_pending(on).await {
            Ok(pending) => break pending,
            Err(error) if patience.wait(&error).await => {}
            Err(_) => return None,
        }
    };
    patience.over();
    let next = pending.last().map_or(0, |intended| intended.submission.sequence) + 1;
    let last = pending.len().checked_sub(1);
    if last.is_none() {
        control.recovered.cancel();
    }
    for (at, intended) in pending.into_iter().enumerate() {
        let indexed = if Some(at) == last { vec![control.recovered.clone()] } else { Vec::new() };
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        to.send(launch(on, control, intended, indexed, place)).await.ok()?;
    }
    Some(next)
}

async fn read_pending(on: &Foundation) -> Result<Vec<Intended>, StepError> {
    let mut pending = Vec::new();
    for submission in intents::pending(&on.store).await? {
        let mut plans = Vec::with_capacity(submission.intents.len());
        for intent in &submission.intents {
            plans.push(plan::restore(on, intent).await?);
        }
        pending.push(Intended { submission, plans });
    }
    Ok(pending)
}

/// What is stored; while other submissions are in flight a little more is awaited, since a fuller one costs the same.
async fn collect(stored: &mut mpsc::Receiver<Stored>, places: &Semaphore) -> Option<Vec<Stored>> {
    let mut group = vec![stored.recv().await?];
    let cases = |group: &[Stored]| group.iter().map(|stored| stored.0.cases.len()).sum::<usize>();
    let until = tokio::time::Instant::now() + Duration::from_millis(LINGER_MS);
    while cases(&group) < limits::STATEMENTS_MAX {
        let next = if places.available_permits() + 1 >= IN_FLIGHT_MAX {
            stored.try_recv().ok()
        } else {
            tokio::time::timeout_at(until, stored.recv()).await.ok().flatten()
        };
        match next {
            Some(next) => group.push(next),
            None => break,
        }
    }
    Some(group)
}

/// Signs and checks a group. Nothing of it is durable yet.
async fn sign(on: &Foundation, group: &mut [Stored], sequence: i64) -> Result<Vec<Intended>, StepError> {
    let mut cases = Vec::new();
    for stored in group.iter_mut() {
        cases.append(&mut stored.0.cases);
    }
    let (foundation, valid_until) = (on.clone(), on.follower.height() + VALID_BLOCKS);
    let signed = tokio::task::spawn_blocking(move || sign_all(&foundation, valid_until, cases));
    let (signed, abandoned) = signed.await.map_err(|_| StepError::Ended)?;
    let signed = match signed {
        Ok(signed) => signed,
        Err((error, cases)) => {
            give_back(group, cases);
            return Err(error);
        }
    };
    for id in abandoned {
        let refusal = Refusal { code: "abandoned", path: "case".into(), class: ErrorClass::Bug };
        for stored in group.iter_mut() {
            let before = stored.0.sealed.len() + stored.0.several.len();
            stored.0.sealed.retain(|sealed| *sealed != id);
            stored.0.several.retain(|(several, _)| *several != id);
            if stored.0.sealed.len() + stored.0.several.len() < before {
                stored.0.refused.push((id, refusal.clone()));
            }
        }
    }
    Ok((0..).zip(&signed).map(|(at, signed)| intended(signed, sequence + at)).collect())
}

/// The cases go back to the group for the next attempt, in their order.
fn give_back(group: &mut [Stored], cases: Vec<SealedCase>) {
    if let Some(first) = group.first_mut() {
        first.0.cases = cases;
    }
}

fn intended(signed: &Signed, sequence: i64) -> Intended {
    let intents = signed.cases.iter().map(|case| Intent {
        case: case.statement.case,
        inbox_id: case.inbox_id,
        subject: case.subject,
        plan: cbor::encode(&case.plan),
    });
    let submission = Submission {
        id: signed.transaction.id(),
        sequence,
        bytes: cbor::encode(&signed.transaction),
        valid_until: signed.transaction.core.valid_until,
        intents: intents.collect(),
    };
    Intended { submission, plans: signed.cases.iter().map(|case| case.plan.clone()).collect() }
}

/// Makes the intents of a group durable in one commit, with everything else its batches decided. `again`: an earlier
/// attempt may have succeeded without a word of it; its messages do not wait any more then.
async fn commit(on: &Foundation, group: &[Stored], intended: &[Intended], again: bool) -> Result<(), StepError> {
    let mut write = on.store.begin().await?;
    let message = group.iter().find_map(|Stored(batch)| batch.any_message());
    let done = match message {
        Some(id) if again => !inbox::is_waiting(&mut write, id).await?,
        _ => false,
    };
    if !done {
        put(&mut write, group, intended).await?;
        crash_point!("ingest::before_intent_commit");
        store::commit(write).await?;
    }
    for refusal in group.iter().flat_map(|Stored(batch)| &batch.refused) {
        on.metrics.quarantined(refusal.1.code);
    }
    Ok(())
}

async fn put(write: &mut Write, group: &[Stored], intended: &[Intended]) -> Result<(), StoreError> {
    for Stored(batch) in group {
        subjects::add(write, &batch.new.subjects).await?;
        subjects::add_aliases(write, &batch.new.aliases).await?;
        // a message that is refused says nothing
        let refused = |merge: &Merge| batch.refused.iter().any(|(id, _)| *id == merge.inbox_id);
        let said: Vec<Merge> = batch.merges.iter().filter(|merge| !refused(merge)).copied().collect();
        merges::add(write, &said).await?;
        inbox::mark(write, &batch.sealed, State::Sealed).await?;
        inbox::keep_raw(write, &batch.several).await?;
        inbox::mark(write, &batch.empty, State::Empty).await?;
        for (id, refusal) in &batch.refused {
            inbox::set_aside(write, *id, (refusal.code, &refusal.path, refusal.class.name())).await?;
        }
    }
    for intended in intended {
        intents::add(write, &intended.submission).await?;
    }
    Ok(())
}

type SignedAll = (Result<Vec<Signed>, (StepError, Vec<SealedCase>)>, BTreeSet<i64>);

/// Signs in pieces of 100 and checks every case; messages with a case that does not check are abandoned.
fn sign_all(on: &Foundation, valid_until: u64, mut cases: Vec<SealedCase>) -> SignedAll {
    let mut abandoned = BTreeSet::new();
    loop {
        match try_sign(on, valid_until, cases) {
            Ok(signed) => return (Ok(signed), abandoned),
            Err(Stop::Error(error, cases)) => return (Err((error, cases)), abandoned),
            Err(Stop::Abandon(inbox_id, rest)) => {
                abandoned.insert(inbox_id);
                cases = rest.into_iter().filter(|case| case.inbox_id != inbox_id).collect();
            }
        }
    }
}

enum Stop {
    Error(StepError, Vec<SealedCase>),
    Abandon(i64, Vec<SealedCase>),
}

fn try_sign(on: &Foundation, valid_until: u64, cases: Vec<SealedCase>) -> Result<Vec<Signed>, Stop> {
    let mut signed: Vec<Signed> = Vec::new();
    let mut rest = cases.into_iter();
    loop {
        let piece: Vec<SealedCase> = rest.by_ref().take(limits::STATEMENTS_MAX).collect();
        if piece.is_empty() {
            return Ok(signed);
        }
        let statements = piece.iter().map(|case| case.statement.clone()).collect();
        let anchor = on.vault.sign_anchor(on.chain, on.institution, valid_until, statements, Vec::new());
        let stop = match anchor {
            Ok(transaction) => match check(on, &transaction, &piece) {
                None => {
                    signed.push(Signed { transaction, cases: piece });
                    continue;
                }
                Some(inbox_id) => Ok(inbox_id),
            },
            Err(error) => Err(error),
        };
        let all = signed.into_iter().flat_map(|s| s.cases).chain(piece).chain(rest).collect();
        return Err(match stop {
            Ok(inbox_id) => Stop::Abandon(inbox_id, all),
            Err(error) => Stop::Error(error.into(), all),
        });
    }
}

/// Algorithm 2 on every case; the message of the first that does not check.
fn check(on: &Foundation, transaction: &Transaction, cases: &[SealedCase]) -> Option<i64> {
    let key = on.vault.institution_key();
    let trusted = Trusted { chain: on.chain, institution: on.institution, key, practitioners: &[] };
    let anchor = match VerifiedAnchor::verify(transaction, &trusted) {
        Ok(anchor) => anchor,
        Err(error) => {
            tracing::error!("abandoned a transaction: {error}");
            return cases.first().map(|case| case.inbox_id);
        }
    };
    let failed = |(index, case): &(usize, &SealedCase)| {
        let checked = on.vault.check(&anchor, *index, &case.object, &case.wraps, &case.key);
        checked.inspect_err(|error| tracing::error!("abandoned a case: {error}")).is_err()
    };
    cases.iter().enumerate().find(failed).map(|(_, case)| case.inbox_id)
}
