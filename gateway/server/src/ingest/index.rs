//! *index*: an anchored submission becomes visible: receipts, case rows, versions and heads in one commit, in the order of
//! sealing. Nothing is indexed that is not anchored; what is indexed has no intent and no raw copy any more.

use std::collections::HashMap;

use schemas::id::{Height, SubjectId, TimeMs};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::anchor::Flight;
use super::plan::Plan;
use super::settle::Anchored;
use super::{Control, Foundation, StepError, crash_point, now_ms};
use crate::store::cases::CaseRow;
use crate::store::intents::Intent;
use crate::store::units::{self, Head, UnitRow};
use crate::store::{self, cases, inbox, intents};
use crate::telemetry::{Moment, Step};

pub async fn run(on: Foundation, control: Control, mut flights: mpsc::Receiver<Flight>) {
    let mut next = None;
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
        for flight in group {
            match flight.anchored.await {
                Ok(Some(anchored)) => landed.push(anchored),
                // the gateway stops, and everything behind this one waits for the next start too
                Ok(None) => return,
                Err(_) => return control.fail("anchor"),
            }
            places.push(flight._place);
        }
        let timer = on.metrics.timer(Step::Index);
        let (mut patience, mut again) = (control.patience("index"), false);
        loop {
            let span = tracing::info_span!("index", submissions = landed.len());
            match index(&on, &landed, again).instrument(span).await {
                Ok(()) => break,
                Err(error) if patience.wait(&error).await => again = true,
                Err(_) => return,
            }
        }
        patience.over();
        drop((timer, places));
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
async fn index(on: &Foundation, landed: &[Anchored], again: bool) -> Result<(), StepError> {
    let (mut rows, mut new) = (Vec::new(), Vec::new());
    for anchored in landed {
        for ((plan, intent), receipt) in anchored.plans.iter().zip(&anchored.submission.intents).zip(&anchored.receipts)
        {
            rows.push(case_row(anchored.at, plan, intent, receipt));
            new.extend(plan.units.iter().map(|unit| unit.row(plan.statement.case, intent.subject, intent.inbox_id)));
        }
    }
    let mut write = on.store.begin().await?;
    if let Some(first) = landed.first()
        && again
        && !intents::is_pending(&mut write, &first.submission.id).await?
    {
        return Ok(());
    }
    let mut names: Vec<(&str, SubjectId)> = new.iter().map(|row| (row.logical_id.as_str(), row.subject)).collect();
    names.sort_unstable();
    names.dedup();
    let known = units::chains(&mut write, &names).await?;
    let (added, beheaded) = versions(known, new);
    cases::add(&mut write, &rows).await?;
    units::behead(&mut write, &beheaded).await?;
    units::add(&mut write, &added).await?;
    for anchored in landed {
        intents::remove(&mut write, &anchored.submission.id).await?;
    }
    let mut messages: Vec<i64> = rows.iter().map(|row| row.inbox_id).collect();
    messages.dedup();
    inbox::finish(&mut write, &messages).await?;
    crash_point!("ingest::before_index_commit");
    store::commit(write).await?;
    Ok(())
}

fn case_row((height, time): (Height, TimeMs), plan: &Plan, intent: &Intent, receipt: &str) -> CaseRow {
    CaseRow {
        case: plan.statement.case,
        version: plan.statement.version,
        subject: intent.subject,
        inbox_id: intent.inbox_id,
        connector: plan.connector.clone(),
        received: plan.received,
        sealed: plan.statement.time.cast_signed(),
        height,
        anchored_at: time.cast_signed(),
        receipt: receipt.to_owned(),
        wraps: plan.wraps.clone(),
        object: plan.statement.object,
        statement: plan.statement.clone(),
    }
}

/// Decides the heads. Content equal to the head's adds no version; the highest order is the head.
/// Gives the rows to add, in order, and the rows of the database that are heads no more.
fn versions(known: Vec<Head>, new: Vec<UnitRow>) -> (Vec<UnitRow>, Vec<i64>) {
    /// Where the head of a chain stands.
    enum Place {
        Stored(i64),
        Added(usize),
    }
    let known = known.into_iter().map(|head| (head.chain, (head.order, head.content, Place::Stored(head.id))));
    let mut heads: HashMap<(String, SubjectId), _> = known.collect();
    let mut added: Vec<UnitRow> = Vec::with_capacity(new.len());
    let mut beheaded = Vec::new();
    for mut row in new {
        let chain = (row.logical_id.clone(), row.subject);
        let head = heads.get(&chain);
        if head.is_some_and(|(_, content, _)| *content == row.content) {
            continue;
        }
        row.is_head = head.is_none_or(|(order, ..)| row.order() > *order);
        if row.is_head {
            match heads.insert(chain, (row.order(), row.content, Place::Added(added.len()))) {
                Some((.., Place::Added(at))) => added[at].is_head = false,
                Some((.., Place::Stored(id))) => beheaded.push(id),
                None => {}
            }
        }
        added.push(row);
    }
    (added, beheaded)
}

#[cfg(test)]
mod tests;
