//! Partial updates: what an HL7 v2 message says about a patient or a visit is folded onto what is known, so that the new version of the
//! resource holds both. Part of *seal*, between who is who and sealing, in the order of arrival: heads that are not indexed yet are
//! remembered here. It must never fold onto a version that came later, nor onto one that is gone.

pub(super) mod again;
mod merge;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use gateway_vault::{Custody, CustodyPurpose, SubjectKey};
use schemas::ErrorClass;
use schemas::json;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::normalise::{CanonicalUnit, Refusal};
use super::resolve::Subject;
use super::seal::Ready;
use super::{Foundation, StepError};
use crate::store::units::{self, Chain, HeadPlace};

/// Largest resource that is folded, in bytes: a patient with a picture is taken as it is said.
const FOLDED_BYTES_MAX: usize = 256 << 10;
/// Most that is remembered of what is indexed, in bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A version: what decides between versions, and its content in plain.
#[derive(Clone)]
struct Version {
    order: (i64, i64, i64),
    bytes: Arc<Zeroizing<Vec<u8>>>,
}

type Versions = HashMap<Chain, Version>;

/// The newest versions on the way in.
#[derive(Default)]
pub struct Folder {
    /// By batch: those that are indexed when its token is cancelled.
    under_way: VecDeque<(CancellationToken, Versions)>,
    /// Indexed ones: of use as long as they are the heads.
    kept: Versions,
    kept_bytes: usize,
    new: Versions,
}

impl Folder {
    /// Folds what the messages of a batch say, in their order. Again after a failure, with the messages as they were.
    pub async fn fold(&mut self, on: &Foundation, mut ready: Vec<Ready>) -> Result<Vec<Ready>, StepError> {
        self.settle();
        self.new.clear();
        let mut wanted: BTreeMap<Chain, SubjectKey> = BTreeMap::new();
        for ready in &mut ready {
            for (subject, unit) in folding(ready) {
                let chain = chain_of(on, &ready.patients, subject, unit)?;
                if ready.received.is_again() {
                    // what is mapped again has the order of its earlier self
                    self.forget(&chain);
                }
                wanted.insert(chain, subject.key.clone());
            }
            if ready.received.is_again() {
                again::fold_message(on, ready).await?;
            }
        }
        if wanted.is_empty() {
            return Ok(ready);
        }
        let mut known = self.known(on, &wanted).await?;
        let foundation = on.clone();
        let folded = tokio::task::spawn_blocking(move || {
            let new = ready.iter_mut().try_fold(Versions::new(), |mut new, ready| {
                fold_message(&foundation, ready, &mut known, &mut new).map(|()| new)
            });
            new.map(|new| (ready, new))
        });
        let (ready, new) = folded.await.map_err(|_| StepError::Ended)??;
        self.new = new;
        Ok(ready)
    }

    /// The batch is on its way without those of its messages that were refused; `indexed` is cancelled when it is indexed.
    pub fn finish(&mut self, indexed: CancellationToken, refused: &[(i64, Refusal)]) {
        let mut new = std::mem::take(&mut self.new);
        new.retain(|_, version| refused.iter().all(|(id, _)| *id != version.order.2));
        if !new.is_empty() {
            self.under_way.push_back((indexed, new));
        }
    }

    /// Batches that are indexed: the database knows their heads now.
    fn settle(&mut self) {
        while self.under_way.front().is_some_and(|(indexed, _)| indexed.is_cancelled()) {
            let Some((_, versions)) = self.under_way.pop_front() else { return };
            for (chain, version) in versions {
                self.forget(&chain);
                if self.kept_bytes + version.bytes.len() > KEPT_BYTES_MAX {
                    self.kept.clear();
                    self.kept_bytes = 0;
                }
                self.kept_bytes += version.bytes.len();
                self.kept.insert(chain, version);
            }
        }
    }

    fn forget(&mut self, chain: &Chain) {
        self.kept_bytes -= self.kept.remove(chain).map_or(0, |version| version.bytes.len());
    }

    /// The newest version of each chain that has one.
    async fn known(&self, on: &Foundation, wanted: &BTreeMap<Chain, SubjectKey>) -> Result<Versions, StepError> {
        let mut known = Versions::new();
        for chain in wanted.keys() {
            let version = self.under_way.iter().rev().find_map(|(_, versions)| versions.get(chain));
            known.extend(version.map(|version| (chain.clone(), version.clone())));
        }
        let asked: Vec<&Chain> = wanted.keys().filter(|chain| !known.contains_key(*chain)).collect();
        for place in units::head_places(&on.store, &asked).await? {
            // the same order is the same version
            let kept = self.kept.get(&place.chain).filter(|version| version.order == place.order);
            let version = match (kept, wanted.get(&place.chain)) {
                (Some(version), _) => Some(version.clone()),
                (None, Some(key)) => open(on, &place, key).await?,
                (None, None) => None,
            };
            known.extend(version.map(|version| (place.chain, version)));
        }
        Ok(known)
    }
}

/// Opens a head. One that cannot be opened holds nothing up: what is said then stands alone.
async fn open(on: &Foundation, place: &HeadPlace, key: &SubjectKey) -> Result<Option<Version>, StepError> {
    let object = match on.objects.get_from(&place.extent, &place.object).await {
        Ok(object) => object,
        Err(error) if error.class() == ErrorClass::Transient => return Err(error.into()),
        Err(error) => {
            tracing::error!("a head is not folded: {error}");
            return Ok(None);
        }
    };
    let custody = Custody::claimed_by_custodian_for(CustodyPurpose::Provenance);
    let case = on.vault.open_case(key, &place.wraps, &object, &place.object);
    match case.and_then(|case| case.unit_for_custody(place.unit as usize, custody)) {
        Ok(unit) => Ok(Some(Version { order: place.order, bytes: Arc::new(Zeroizing::new(unit.bytes)) })),
        Err(error) => {
            tracing::error!("a head is not folded: {error}");
            Ok(None)
        }
    }
}

/// The units of a message that are partial, with the subject of their case.
fn folding(ready: &Ready) -> impl Iterator<Item = (&Subject, &CanonicalUnit)> {
    let of_case = |case: &'_ super::normalise::CanonicalCase| case.patient.and_then(|at| ready.patients.get(at));
    let cases = ready.canonical.cases().iter().filter_map(move |case| Some((of_case(case)?, case)));
    cases.flat_map(|(subject, case)| {
        case.units.iter().filter(|unit| unit.partial.is_some()).map(move |unit| (subject, unit))
    })
}

pub(super) fn chain_of(
    on: &Foundation,
    patients: &[Subject],
    subject: &Subject,
    unit: &CanonicalUnit,
) -> Result<Chain, StepError> {
    let logical_id = super::seal::logical_id(&on.vault, patients, unit)?;
    Ok((unit.resource_type.clone(), logical_id, subject.id))
}

fn fold_message(on: &Foundation, ready: &mut Ready, known: &mut Versions, new: &mut Versions) -> Result<(), StepError> {
    let arrived = ready.received.inbox_id();
    let received = ready.received.message().received.cast_signed();
    let (patients, cases) = (&ready.patients, ready.canonical.cases_mut());
    for case in cases {
        let Some(subject) = case.patient.and_then(|at| patients.get(at)) else { continue };
        let event_time = case.event_time.unwrap_or(received);
        for unit in case.units.iter_mut().filter(|unit| unit.partial.is_some()) {
            let chain = chain_of(on, patients, subject, unit)?;
            let order = (super::seal::status_rank(&unit.resource), event_time, arrived);
            match known.get(&chain) {
                Some(head) if ready.received.is_again() && head.order.2 == arrived => {}
                // a late word about what was before
                Some(head) if head.order > order => continue,
                // it is folded already
                Some(_) if ready.received.is_again() => {}
                Some(head) => {
                    fold_unit(head, unit);
                    if unit.bytes == **head.bytes {
                        // said again: what was said before that is late, as *index* has it
                        let order = (head.order.0, event_time.max(head.order.1), head.order.2);
                        let raised = Version { order, bytes: Arc::clone(&head.bytes) };
                        known.insert(chain.clone(), raised.clone());
                        new.insert(chain, raised);
                        continue;
                    }
                }
                None => {}
            }
            if unit.bytes.len() <= FOLDED_BYTES_MAX {
                let version = Version { order, bytes: Arc::new(Zeroizing::new(unit.bytes.clone())) };
                known.insert(chain.clone(), version.clone());
                new.insert(chain, version);
            } else {
                known.remove(&chain);
                new.remove(&chain);
            }
        }
    }
    Ok(())
}

fn fold_unit(head: &Version, unit: &mut CanonicalUnit) {
    let Some(partial) = &unit.partial else { return };
    if head.bytes.len() > FOLDED_BYTES_MAX {
        return;
    }
    let Ok(known) = json::parse(head.bytes.as_slice()) else { return };
    let said = std::mem::replace(&mut unit.resource, json::Value::Null);
    unit.resource = merge::fold(&known, said, &partial.cleared, partial.moves);
    unit.bytes = unit.resource.canonical();
}
