//! A message that is mapped again: each unit is compared with what is sealed of it, and a partial one is folded onto the version below its
//! own, not onto its earlier self, whose wrong elements would stay: by rows alone, so that it needs no memory of earlier replays. Used by
//! *fold* when such a message goes its way, and before that by whoever decides whether it does: both see the same rows, since no two
//! messages about one chain are under way again at once. It must never change a unit that neither the tables nor the version below it
//! change.

use std::collections::BTreeMap;

use gateway_vault::{Custody, CustodyPurpose, RAW, SubjectKey};
use schemas::id::{CaseId, SubjectId};
use schemas::json;
use zeroize::Zeroizing;

use super::{KEPT_BYTES_MAX, Version, Versions, chain_of, fold_unit, open};
use crate::ingest::normalise::CanonicalUnit;
use crate::ingest::seal::{Ready, status_rank};
use crate::ingest::{Foundation, StepError};
use crate::store::units::{self, Chain, HeadPlace, UnitRow};
use crate::store::{cases, subjects};

/// What is sealed of one message about one subject: its newest case.
pub struct Earlier {
    /// Whom it is about.
    pub subject: SubjectId,
    /// The raw message, where the case holds it.
    pub raw: Option<Zeroizing<Vec<u8>>>,
    units: Vec<Own>,
}

/// One of its units.
pub struct Own {
    /// FHIR type.
    pub resource_type: String,
    /// Canonical bytes.
    pub bytes: Zeroizing<Vec<u8>>,
    id: Option<String>,
    height: u64,
}

impl Earlier {
    /// The earlier self of a unit: that with its id, the same where several have it.
    pub fn take(&mut self, unit: &CanonicalUnit) -> Option<Own> {
        let id = unit.resource.text("id");
        let is_it = |own: &Own| own.resource_type == unit.resource_type && own.id.as_deref() == id;
        let same = self.units.iter().position(|own| is_it(own) && **own.bytes == *unit.bytes);
        let at = same.or_else(|| self.units.iter().position(is_it))?;
        Some(self.units.remove(at))
    }

    /// Types of what was not taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.units.iter().map(|own| own.resource_type.as_str())
    }
}

/// What is sealed of a message, about each subject.
pub async fn earlier(on: &Foundation, inbox_id: i64) -> Result<Vec<Earlier>, StepError> {
    let rows = cases::of_message(&on.store, inbox_id).await?;
    let newest: BTreeMap<SubjectId, cases::CaseRow> = rows.into_iter().map(|row| (row.subject, row)).collect();
    let mut all = Vec::with_capacity(newest.len());
    for (subject, row) in newest {
        let known = subjects::get(&on.store, &subject).await?.ok_or(StepError::Corrupt("a case's subject"))?;
        let key = on.vault.open_subject(&subject, &known.wrapped_key)?;
        let object = on.objects.get_from(&row.extent, &row.object).await?;
        let unfit = |_| StepError::Corrupt("a sealed case");
        let case = on.vault.open_case(&key, &row.wraps, &object, &row.object).map_err(unfit)?;
        let custody = Custody::claimed_by_custodian_for(CustodyPurpose::Provenance);
        let mut earlier = Earlier { subject, raw: None, units: Vec::new() };
        for at in 0..case.unit_count() {
            let unit = case.unit_for_custody(at, custody).map_err(unfit)?;
            let bytes = Zeroizing::new(unit.bytes);
            match json::parse(&bytes) {
                _ if unit.kind == RAW => earlier.raw = Some(bytes),
                Ok(resource) if resource.resource_type() == Some(&unit.kind) => {
                    let id = resource.text("id").map(str::to_owned);
                    earlier.units.push(Own { resource_type: unit.kind, bytes, id, height: row.height });
                }
                // the salted digest of a raw message about several patients
                _ => {}
            }
        }
        all.push(earlier);
    }
    Ok(all)
}

/// What a replay would make, were it not only looked at. Bounded: what it has no room for counts as it is.
#[derive(Default)]
pub struct Made(Versions, usize);

impl Made {
    /// Remembers a unit as it would be.
    pub fn insert(&mut self, chain: Chain, order: (i64, i64, i64), unit: &CanonicalUnit) {
        self.1 += unit.bytes.len();
        if self.1 <= KEPT_BYTES_MAX {
            self.0.insert(chain, Version { order, bytes: Zeroizing::new(unit.bytes.clone()).into() });
        }
    }
}

/// Folds a unit of a message that is mapped again, where it is partial; whether it is another than what is sealed of it.
///
/// Another it is where the tables say something else; where it has an element that neither the message says now nor the version below has;
/// and where the version below was mapped again after it was sealed and leads to something else. A unit that only repeated what was known
/// has no version: it is another where it would not repeat it now.
pub async fn fold(
    on: &Foundation,
    (key, chain, order): (&SubjectKey, &Chain, (i64, i64, i64)),
    own: Option<&Own>,
    unit: &mut CanonicalUnit,
    made: &Made,
) -> Result<bool, StepError> {
    let mut as_before = own.and_then(|own| {
        let itself = Version { order, bytes: own.bytes.clone().into() };
        Some(folded(unit, Some(&itself))).filter(|folded| **own.bytes == *folded.bytes)
    });
    if as_before.is_none() && unit.partial.is_none() {
        return Ok(true);
    }
    let rows = units::versions(&on.store, chain).await?;
    let has_version = rows.iter().any(|row| row.arrived == order.2);
    let (row, stood_alone) = below(&rows, order);
    let more = as_before.as_ref().is_some_and(|as_before| has_version && !stood_alone && lacks(unit, as_before));
    let made =
        made.0.get(chain).filter(|made| made.order < order && row.is_none_or(|(row, _)| row.order() <= made.order));
    let below = match (made, row) {
        (Some(made), _) => Some((made.clone(), true)),
        (None, Some((row, was_again))) if was_again || more || as_before.is_none() => {
            let opened = open_version(on, row, chain, key).await?;
            let is_newer = |height| was_again && own.is_none_or(|own| height >= own.height);
            opened.map(|(version, height)| (version, is_newer(height)))
        }
        _ => None,
    };
    let now = folded(unit, below.as_ref().map(|(version, _)| version));
    if more && (row.is_none() || below.is_some()) {
        as_before = as_before.filter(|as_before| !lacks(&now, as_before));
    }
    let is_newer = below.as_ref().is_some_and(|(_, is_newer)| *is_newer && !stood_alone);
    if let Some(as_before) = as_before.take_if(|_| !is_newer) {
        *unit = as_before;
        return Ok(false);
    }
    *unit = now;
    let repeated = below.filter(|_| as_before.is_some() && !has_version).map(|(version, _)| version.bytes);
    let before = repeated.as_deref().or(own.map(|own| &own.bytes));
    Ok(before.is_none_or(|before| **before != *unit.bytes))
}

/// A unit as it is said, folded onto a version where it is partial.
fn folded(unit: &CanonicalUnit, onto: Option<&Version>) -> CanonicalUnit {
    let mut unit = unit.clone();
    if let Some(version) = onto {
        fold_unit(version, &mut unit);
    }
    unit
}

/// Whether a unit has not all elements of another.
fn lacks(unit: &CanonicalUnit, other: &CanonicalUnit) -> bool {
    let names = other.resource.as_object().into_iter().flat_map(|object| object.iter().map(|(name, _)| name));
    names.into_iter().any(|name| unit.resource.get(name).is_none())
}

/// The newest version below an order, and whether it was mapped again; and whether that of this order came late. Such a word stood alone:
/// it was not folded onto another, nor another onto it.
fn below(rows: &[UnitRow], order: (i64, i64, i64)) -> (Option<(&UnitRow, bool)>, bool) {
    let mut of_message: BTreeMap<i64, (&UnitRow, bool)> = BTreeMap::new();
    let mut late = Vec::new();
    let mut highest = None;
    for row in rows {
        let was_again = of_message.insert(row.arrived, (row, false)).is_some_and(|(before, _)| before.case != row.case);
        if was_again {
            of_message.insert(row.arrived, (row, true));
        } else if highest.is_some_and(|highest| highest > row.order()) {
            late.push(row.arrived);
        }
        highest = highest.max(Some(row.order()));
    }
    of_message.retain(|arrived, (row, _)| *arrived != order.2 && row.order() < order && !late.contains(arrived));
    (of_message.into_values().max_by_key(|(row, _)| row.order()), late.contains(&order.2))
}

/// Opens a version; with the height of its case.
async fn open_version(
    on: &Foundation,
    row: &UnitRow,
    chain: &Chain,
    key: &SubjectKey,
) -> Result<Option<(Version, u64)>, StepError> {
    let ids: [CaseId; 1] = [row.case];
    let Some(case) = cases::get(&on.store, &ids).await?.pop() else { return Ok(None) };
    let (chain, order, unit, height) = (chain.clone(), row.order(), row.unit, case.height);
    let place = HeadPlace { chain, order, unit, wraps: case.wraps, object: case.object, extent: case.extent };
    Ok(open(on, &place, key).await?.map(|version| (version, height)))
}

/// Folds the partial units of a message on its way.
pub(super) async fn fold_message(on: &Foundation, ready: &mut Ready) -> Result<(), StepError> {
    let arrived = ready.received.inbox_id();
    let received = ready.received.message().received.cast_signed();
    let mut earlier = match earlier(on, arrived).await {
        Err(error) if !error.class().is_retried() => {
            tracing::error!("what is sealed of a message is not known: {error}");
            Vec::new()
        }
        earlier => earlier?,
    };
    let none = Made::default();
    let (patients, cases) = (&ready.patients, ready.canonical.cases_mut());
    for case in cases {
        let Some(subject) = case.patient.and_then(|at| patients.get(at)) else { continue };
        let event_time = case.event_time.unwrap_or(received);
        for unit in case.units.iter_mut().filter(|unit| unit.partial.is_some()) {
            let chain = chain_of(on, patients, subject, unit)?;
            let order = (status_rank(&unit.resource), event_time, arrived);
            let own = earlier.iter_mut().find(|earlier| earlier.subject == subject.id);
            let own = own.and_then(|earlier| earlier.take(unit));
            fold(on, (&subject.key, &chain, order), own.as_ref(), unit, &none).await?;
        }
    }
    Ok(())
}
