//! *index*: an anchored submission becomes visible: its proof, case rows, versions and heads in one commit, in the order of
//! sealing. Nothing is indexed that is not anchored; what is indexed has no intent and no raw copy any more.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::anchor::Flight;
use super::heads::{Heads, Placed};
use super::plan::Plan;
use super::settle::Anchored;
use super::{Control, Foundation, StepError, crash_point, now_ms};
use crate::store::anchors::{self, Anchor};
use crate::store::cases::CaseRow;
use crate::store::intents::Intent;
use crate::store::{self, cases, inbox, intents, notices, units};
use crate::telemetry::{Moment, Step};

pub async fn run(on: Foundation, control: Control, mut flights: mpsc::Receiver<Flight>) {
    let mut next = None;
    let mut heads = Heads::default();
    loop {
        let first = match next.take() {
            Some(flight) => flight,
            None => match flights.recv().await {
                Some(flight) => flight,
                None => return,
            },
        };
        let mut group = vec![first];
        // what has landed behind it shares its commit, in order
        while let Ok(flight) = flights.try_recv() {
            if !flight.anchored.is_finished() {
                next = Some(flight);
                break;
            }
            group.push(flight);
        }
        let mut landed = Vec::with_capacity(group.len());
        let mut places = Vec::with_capacity(group.len());
        let mut indexed = Vec::new();
        for flight in group {
            match flight.anchored.await {
                Ok(Some(anchored)) => landed.push(anchored),
                // the gateway stops, and everything behind this one waits for the next start too
                Ok(None) => return,
                Err(_) => return control.fail("anchor"),
            }
            places.push(flight._place);
            indexed.extend(flight.indexed);
        }
        let timer = on.metrics.timer(Step::Index);
        let (mut patience, mut again) = (control.patience("index"), false);
        loop {
            let span = tracing::info_span!("index", submissions = landed.len());
            match index(&on, &mut heads, &landed, again).instrument(span).await {
                Ok(()) => break,
                Err(error) if patience.wait(&error).await => again = true,
                Err(_) => return,
            }
        }
        patience.over();
        drop((timer, places));
        indexed.iter().for_each(CancellationToken::cancel);
        crash_point!("ingest::after_index_commit");
        let plans = || landed.iter().flat_map(|anchored| &anchored.plans);
        on.metrics.count(Moment::Indexed, plans().count() as u64);
        let received = plans().map(|plan| plan.received).min().unwrap_or_default();
        let age = now_ms().saturating_sub(received.unsigned_abs());
        on.metrics.lag("ingest", std::time::Duration::from_millis(age));
    }
}

/// Writes a group of submissions in one commit. `again`: an earlier attempt may have succeeded without a word of it; its
/// submissions are gone then.
async fn index(on: &Foundation, heads: &mut Heads, landed: &[Anchored], again: bool) -> Result<(), StepError> {
    let (mut rows, mut new) = (Vec::new(), Vec::new());
    for anchored in landed {
        for (at, (plan, intent)) in (0..).zip(anchored.plans.iter().zip(&anchored.submission.intents)) {
            rows.push((case_row(anchored, at, plan, intent)?, plan.summaries.as_slice()));
            new.extend(plan.units.iter().map(|unit| unit.row(plan.statement.case, intent.subject, intent.inbox_id)));
        }
    }
    let proofs = landed.iter().map(|anchored| Anchor {
        transaction: anchored.submission.id,
        bytes: anchored.submission.bytes.clone(),
        proof: anchored.proof.clone(),
    });
    let proofs: Vec<Anchor> = proofs.collect();
    let mut write = on.store.begin().await?;
    if let Some(first) = landed.first()
        && again
        && !intents::is_pending(&mut write, &first.submission.id).await?
    {
        return Ok(());
    }
    let mut known = std::mem::take(heads);
    known.learn(&mut write, &new).await?;
    let Placed { mut added, late, beheaded, raised, lowered } = known.place(new);
    for at in late.into_iter().rev() {
        // a message that is mapped again says much as it did
        let row = &added[at];
        if units::said(&mut write, &row.chain(), row.arrived).await? == Some(row.content) {
            added.remove(at);
        }
    }
    anchors::keep_epochs(&mut write, &proofs, &on.ledger.validators()).await?;
    anchors::add(&mut write, &proofs).await?;
    cases::add(&mut write, &rows).await?;
    notices::anchored(&mut write, &rows).await?;
    units::raise(&mut write, &raised.into_iter().collect::<Vec<_>>()).await?;
    units::behead(&mut write, &beheaded).await?;
    units::add(&mut write, &added).await?;
    for chain in &lowered {
        units::crown(&mut write, chain).await?;
        known.forget(chain);
    }
    for anchored in landed {
        intents::remove(&mut write, &anchored.submission.id).await?;
    }
    let mut messages: Vec<i64> = rows.iter().map(|(row, _)| row.inbox_id).collect();
    messages.dedup();
    inbox::finish(&mut write, &messages).await?;
    crash_point!("ingest::before_index_commit");
    store::commit(write).await?;
    // kept only when nothing failed on the way
    *heads = known;
    Ok(())
}

fn case_row(anchored: &Anchored, statement: u32, plan: &Plan, intent: &Intent) -> Result<CaseRow, StepError> {
    let header = &anchored.proof.header;
    Ok(CaseRow {
        case: plan.statement.case,
        version: plan.statement.version,
        subject: intent.subject,
        inbox_id: intent.inbox_id,
        connector: plan.connector.clone(),
        received: plan.received,
        sealed: plan.statement.time.cast_signed(),
        height: header.height,
        anchored_at: header.time.cast_signed(),
        transaction: anchored.submission.id,
        statement,
        wraps: plan.wraps.clone(),
        object: plan.statement.object,
        extent: plan.extent.ok_or(StepError::Corrupt("the plan of a stored case"))?,
    })
}
