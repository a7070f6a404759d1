//! *normalise* and *seal*, batch by batch, then *store*: canonical cases become sealed ones with their plans; their objects
//! become durable. Parsing, mapping and sealing run on all cores; who is who is decided by one task in between.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_vault::{RAW, SealRequest, SubjectKey, UnitRef, Vault};
use schemas::cbor::{Parts, sha256};
use schemas::envelope::{Statement, Wrap};
use schemas::id::{Digest, SubjectId};
use schemas::json::Value;
use schemas::limits;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::fold::Folder;
use super::normalise::{Canonical, CanonicalCase, CanonicalUnit, Format, Identity, Meaning, Refusal};
use super::plan::{Meanings, Plan, PlannedUnit, seal_meanings, summary_of};
use super::receive::Received;
use super::resolve::{NewSubjects, Resolver, Subject};
use super::{Control, Foundation, Held, StepError, crash_point, now_ms, share, spread, within};
use crate::store::merges::Merge;
use crate::store::{inbox, summaries};
use crate::telemetry::{Moment, Step};

/// Type of the unit that stands for a raw message about several patients: its salted digest.
const RAW_DIGEST: &str = "raw-digest";

/// A sealed case. Built here only.
pub struct SealedCase {
    pub(super) inbox_id: i64,
    pub(super) subject: SubjectId,
    pub(super) key: SubjectKey,
    pub(super) object: Bytes,
    pub(super) statement: Statement,
    pub(super) wraps: Vec<Wrap>,
    pub(super) plan: Plan,
}

/// What became of a batch of messages.
#[derive(Default)]
pub struct Batch {
    pub(super) number: u64,
    pub(super) cases: Vec<SealedCase>,
    /// Messages whose cases are in `cases`.
    pub(super) sealed: Vec<i64>,
    /// Messages about several patients: their raw object.
    pub(super) several: Vec<(i64, Digest)>,
    /// Messages that held nothing.
    pub(super) empty: Vec<i64>,
    pub(super) refused: Vec<(i64, Refusal)>,
    pub(super) new: NewSubjects,
    /// Who is said to be one person.
    pub(super) merges: Vec<Merge>,
    /// Sealed raw objects of messages about several patients.
    raw_objects: Vec<(Digest, Bytes)>,
    /// Cancelled when all its cases are indexed.
    pub(super) indexed: CancellationToken,
    /// The objects take the place of the bodies until they are in intents.
    _room: Vec<Held>,
}

impl Batch {
    /// One of its messages.
    pub(super) fn any_message(&self) -> Option<i64> {
        let one = self.sealed.first().or_else(|| self.empty.first()).copied();
        one.or_else(|| self.several.first().map(|(id, _)| *id)).or_else(|| self.refused.first().map(|(id, _)| *id))
    }
}

/// A batch whose objects are durable. Built by `store` only.
pub struct Stored(pub(super) Batch);

/// A message between *normalise* and *seal*.
pub(super) struct Ready {
    pub(super) received: Received,
    pub(super) canonical: Canonical,
    /// Subject of each patient that the message names.
    pub(super) patients: Vec<Subject>,
    institution: Option<Subject>,
}

/// Normalises and seals batches until the inbox ends.
pub async fn run(on: Foundation, control: Control, mut received: mpsc::Receiver<Received>, to: mpsc::Sender<Batch>) {
    let mut resolver = Resolver::new(on.clone(), control.clone());
    let mut folder = Folder::default();
    // heads of an earlier run that are under way are not known here
    tokio::select! {
        () = control.stop.cancelled() => return,
        () = control.recovered.cancelled() => {}
    }
    let mut number = 0;
    let mut group = Vec::with_capacity(limits::STATEMENTS_MAX);
    while !group.is_empty() || received.recv_many(&mut group, limits::STATEMENTS_MAX).await > 0 {
        number += 1;
        let mut patience = control.patience("seal");
        let rest = group.split_off(within(group.iter().map(|one: &Received| one.message().body.len())));
        let messages: Arc<[Received]> = std::mem::replace(&mut group, rest).into();
        let batch = loop {
            let span = tracing::info_span!("seal", messages = messages.len());
            match seal(&on, (&mut resolver, &mut folder), Arc::clone(&messages), number).instrument(span).await {
                Ok(batch) => break batch,
                Err(error) if patience.wait(&error).await => {}
                Err(_) => return,
            }
        };
        patience.over();
        if to.send(batch).await.is_err() {
            return;
        }
    }
}

/// Makes the objects of batches durable, in order.
pub async fn store(on: Foundation, control: Control, mut sealed: mpsc::Receiver<Batch>, to: mpsc::Sender<Stored>) {
    while let Some(mut batch) = sealed.recv().await {
        let timer = on.metrics.timer(Step::Store);
        let mut patience = control.patience("store");
        loop {
            let span = tracing::info_span!("store", cases = batch.cases.len());
            match put(&on, &mut batch).instrument(span).await {
                Ok(()) => break,
                Err(error) if patience.wait(&error).await => {}
                Err(_) => return,
            }
        }
        patience.over();
        drop(timer);
        crash_point!("ingest::after_object");
        on.metrics.count(Moment::Stored, batch.cases.len() as u64);
        if to.send(Stored(batch)).await.is_err() {
            return;
        }
    }
}

async fn put(on: &Foundation, batch: &mut Batch) -> Result<(), StepError> {
    on.objects.put_all(batch.raw_objects.clone()).await?;
    let objects: Vec<_> = batch.cases.iter().map(|case| (case.statement.object, case.object.clone())).collect();
    let extents = on.objects.pack(&objects).await?;
    batch.cases.iter_mut().zip(extents).for_each(|(case, extent)| case.plan.extent = Some(extent));
    Ok(())
}

async fn seal(
    on: &Foundation,
    (resolver, folder): (&mut Resolver, &mut Folder),
    messages: Arc<[Received]>,
    number: u64,
) -> Result<Batch, StepError> {
    let room = messages.iter().filter_map(Received::room).collect();
    let mut batch = Batch { number, _room: room, ..Batch::default() };
    let from = Instant::now();
    let (normaliser, vault, all) = (Arc::clone(&on.normaliser.borrow()), Arc::clone(&on.vault), Arc::clone(&messages));
    let canonical = spread((0..messages.len()).collect(), move |at: usize| {
        let message = all[at].message();
        let normalise = || {
            let format = Format::of(&message.content_type, &message.body)?;
            normaliser.normalise(format, &message.connector, &message.body, &vault)
        };
        // a message that finds a mistake of ours is set aside like a bad one; those behind it go on
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(normalise));
        let ours = || Refusal { code: "normaliser-failed", path: "message".into(), class: schemas::ErrorClass::Bug };
        caught.unwrap_or_else(|_| Err(ours()))
    });
    let canonical = canonical.await?;
    (0..messages.len()).for_each(|_| on.metrics.step(Step::Normalise, share(from, messages.len())));
    on.metrics.unmapped(canonical.iter().flatten().map(|c| c.unmapped().len()).sum());
    let ready = resolve(resolver, &messages, canonical, &mut batch).await?;
    let ready = folder.fold(on, ready).await?;
    on.metrics.count(Moment::Normalised, ready.len() as u64);

    let from = Instant::now();
    let (foundation, cases) = (on.clone(), ready.iter().map(|r| r.canonical.cases().len()).sum::<usize>());
    let sealed = spread(ready, move |ready| seal_message(&foundation, ready)).await?;
    (0..cases).for_each(|_| on.metrics.step(Step::Seal, share(from, cases)));
    for (received, sealed) in sealed {
        match sealed? {
            Ok(cases) if cases.is_empty() => batch.empty.push(received.inbox_id()),
            Ok(cases) => {
                if cases.len() > 1 {
                    let (key, bytes) = raw_object(on, &received).await?;
                    batch.several.push((received.inbox_id(), key));
                    batch.raw_objects.extend(bytes.map(|bytes| (key, bytes)));
                } else {
                    batch.sealed.push(received.inbox_id());
                }
                batch.cases.extend(cases);
            }
            Err(refusal) => batch.refused.push((received.inbox_id(), refusal)),
        }
    }
    on.metrics.count(Moment::Sealed, batch.cases.len() as u64);
    batch.new = resolver.finish(number);
    folder.finish(batch.indexed.clone(), &batch.refused);
    Ok(batch)
}

/// Decides who is who, in the order of arrival.
async fn resolve(
    resolver: &mut Resolver,
    messages: &[Received],
    canonical: Vec<Result<Canonical, Refusal>>,
    batch: &mut Batch,
) -> Result<Vec<Ready>, StepError> {
    let institution = resolver.institution();
    let mut named = vec![institution];
    let mut aliases: Vec<Vec<Vec<(Digest, bool)>>> = Vec::with_capacity(canonical.len());
    for message in &canonical {
        let patients = message.as_ref().map_or(&[][..], Canonical::patients);
        let of: Vec<Vec<_>> = patients.iter().map(|keys| resolver.aliases_of(keys)).collect();
        named.extend(of.iter().flatten().map(|(alias, _)| *alias));
        aliases.push(of);
    }
    named.sort_unstable();
    named.dedup();
    resolver.load(&named).await?;
    let mut ready = Vec::with_capacity(canonical.len());
    for ((received, canonical), aliases) in messages.iter().zip(canonical).zip(aliases) {
        let canonical = match canonical {
            Ok(canonical) => canonical,
            Err(refusal) => {
                batch.refused.push((received.inbox_id(), refusal));
                continue;
            }
        };
        let mut patients = Vec::with_capacity(aliases.len());
        let mut refused = None;
        for of in &aliases {
            match resolver.subject(of)? {
                Ok(subject) => patients.push(subject),
                Err(refusal) => {
                    refused = Some(refusal);
                    break;
                }
            }
        }
        if let Some(refusal) = refused {
            batch.refused.push((received.inbox_id(), refusal));
            continue;
        }
        let who = |at: usize| patients.get(at).map(|subject: &Subject| subject.id);
        for merged in canonical.merges() {
            let (Some(prior), Some(surviving)) = (who(merged.prior), who(merged.surviving)) else { continue };
            // one subject under two numbers, or a patient merged into itself
            if prior != surviving {
                let (inbox_id, undone) = (received.inbox_id(), merged.undone);
                batch.merges.push(Merge { prior, surviving, inbox_id, undone });
            }
        }
        let about_none = canonical.cases().iter().any(|case| case.patient.is_none());
        let institution = if about_none { resolver.subject(&[(institution, true)])?.ok() } else { None };
        ready.push(Ready { received: received.clone(), canonical, patients, institution });
    }
    Ok(ready)
}

/// The sealed raw bytes of a message about several patients, as an object of the custodian alone. None: it is one already.
async fn raw_object(on: &Foundation, received: &Received) -> Result<(Digest, Option<Bytes>), StepError> {
    match inbox::raw_place(&on.store, received.inbox_id()).await? {
        Some(inbox::RawPlace::Inline(bytes)) => Ok((sha256(&bytes), Some(bytes.into()))),
        Some(inbox::RawPlace::Object(key)) => Ok((key, None)),
        None => Err(StepError::Corrupt("the raw bytes of an inbox row")),
    }
}

type SealedMessage = (Received, Result<Result<Vec<SealedCase>, Refusal>, StepError>);

fn seal_message(on: &Foundation, mut ready: Ready) -> SealedMessage {
    let canonical = ready.canonical.take_cases();
    let several = canonical.len() > 1;
    let mut cases = Vec::with_capacity(canonical.len());
    for case in canonical {
        let subject = match case.patient {
            Some(at) => ready.patients.get(at),
            None => ready.institution.as_ref(),
        };
        let Some(subject) = subject else {
            return (ready.received, Err(StepError::Corrupt("the patients of a message")));
        };
        let salted;
        let body = &ready.received.message().body;
        let raw = if several {
            salted = match salted_digest(body) {
                Ok(digest) => digest,
                Err(error) => return (ready.received, Err(error)),
            };
            UnitRef { kind: RAW_DIGEST, bytes: salted.as_slice().into() }
        } else {
            UnitRef { kind: RAW, bytes: body.as_ref().into() }
        };
        match seal_case(on, &ready, case, subject, raw) {
            Ok(Ok(sealed)) => cases.push(sealed),
            Ok(Err(refusal)) => return (ready.received, Ok(Err(refusal))),
            Err(error) => return (ready.received, Err(error)),
        }
    }
    (ready.received, Ok(Ok(cases)))
}

/// What each of several cases holds of the raw message: a salt and the salted digest.
fn salted_digest(body: &[u8]) -> Result<Vec<u8>, StepError> {
    let salt: [u8; 32] = gateway_vault::random()?;
    let digest = Parts::new("cs1/raw-digest").bytes(&salt).bytes(body).hash();
    Ok([salt, digest.0].concat())
}

fn seal_case(
    on: &Foundation,
    ready: &Ready,
    mut case: CanonicalCase,
    subject: &Subject,
    raw: UnitRef<'_>,
) -> Result<Result<SealedCase, Refusal>, StepError> {
    let received = ready.received.message().received.cast_signed();
    let meanings = meanings(&on.vault, &ready.patients, &case.units);
    let event_time = case.event_time.unwrap_or(received);
    let planned = (0..).zip(&case.units).map(|(number, unit)| {
        Ok::<_, StepError>(PlannedUnit {
            unit: number,
            resource_type: unit.resource_type.clone(),
            logical_id: logical_id(&on.vault, &ready.patients, unit)?,
            status_rank: status_rank(&unit.resource),
            event_time,
            content: content(&on.vault, unit),
        })
    });
    let planned = planned.collect::<Result<Vec<_>, _>>()?;
    let of_units = case.units.iter().zip(&planned);
    let of_units = of_units.map(|(unit, p)| summary_of(&unit.resource, (&p.resource_type, &p.logical_id), &meanings));
    let of_units: Vec<_> = of_units.collect();
    // from here on the bytes alone are needed: a document of many megabytes is not kept twice
    case.units.iter_mut().for_each(|unit| unit.resource = Value::Null);
    let resources = case.units.iter_mut().map(|unit| {
        let bytes = std::mem::take(&mut unit.bytes).into();
        UnitRef { kind: &unit.resource_type, bytes }
    });
    let request = SealRequest {
        chain: on.chain,
        institution: on.institution,
        subject: &subject.key,
        patient: subject.public_key,
        practitioner: None,
        units: resources.chain([raw]).collect(),
        time: now_ms(),
        previous: None,
    };
    let sealed = match on.vault.seal(request) {
        Ok(sealed) => sealed,
        Err(error) if error.class() == schemas::ErrorClass::Caller => {
            return Ok(Err(Refusal::caller("cannot-be-sealed", ready.canonical.message_type())));
        }
        Err(_) => return Err(StepError::Corrupt("what the vault seals with")),
    };
    let id = sealed.statement.case;
    let summaries = summaries::seal(&subject.key, &id, of_units.into_iter())?;
    let plan = Plan {
        connector: ready.received.message().connector.to_string(),
        received,
        statement: sealed.statement.clone(),
        wraps: sealed.wraps.clone(),
        units: planned,
        meanings: seal_meanings(&subject.key, &id, &meanings)?,
        extent: None,
        summaries,
    };
    Ok(Ok(SealedCase {
        inbox_id: ready.received.inbox_id(),
        subject: subject.id,
        key: subject.key.clone(),
        object: sealed.object.into(),
        statement: sealed.statement,
        wraps: sealed.wraps,
        plan,
    }))
}

pub(super) fn logical_id(vault: &Vault, patients: &[Subject], unit: &CanonicalUnit) -> Result<String, StepError> {
    match &unit.identity {
        Identity::Patient(at) => {
            let subject = patients.get(*at).ok_or(StepError::Corrupt("the patients of a message"))?;
            Ok(patient_logical_id(vault, &subject.id))
        }
        Identity::Logical(id) => Ok(id.clone()),
    }
}

/// What the references of a case mean here, where that is not what they say.
fn meanings(vault: &Vault, patients: &[Subject], units: &[CanonicalUnit]) -> Meanings {
    let meant = units.iter().flat_map(|unit| &unit.references).filter_map(|(sent, meaning)| {
        let here = match meaning {
            Meaning::Patient(at) => format!("Patient/{}", patient_logical_id(vault, &patients.get(*at)?.id)),
            Meaning::Resource(resource_type, id) => format!("{resource_type}/{id}"),
        };
        (here != *sent).then(|| (sent.clone(), here))
    });
    meant.collect()
}

/// The logical id of a subject's Patient.
pub fn patient_logical_id(vault: &Vault, subject: &SubjectId) -> String {
    vault.logical_id("Patient", &[&subject.to_string()])
}

/// HMAC of the content without what a source's server stamps on it: equal content adds no version.
fn content(vault: &Vault, unit: &CanonicalUnit) -> Digest {
    let stamped = |meta: &Value| meta.get("versionId").is_some() || meta.get("lastUpdated").is_some();
    let bytes = if unit.resource.get("meta").is_some_and(stamped) {
        let mut resource = unit.resource.clone();
        if let Some(meta) = resource.as_object_mut().and_then(|r| r.get_mut("meta")).and_then(Value::as_object_mut) {
            meta.remove("versionId");
            meta.remove("lastUpdated");
        }
        sha256(&resource.canonical())
    } else {
        sha256(&unit.bytes)
    };
    vault.blind("content", &bytes.to_string())
}

/// A late preliminary does not replace a final. What was final may be corrected, cancelled and given anew: there the time decides, and so it
/// does for types whose status goes back and forth. (formats.md §1 orders by status first: a result that was entered in error
/// would hide the one that follows it for good.)
pub(super) fn status_rank(resource: &Value) -> i64 {
    if !matches!(resource.resource_type(), Some("Observation" | "DiagnosticReport")) {
        return 0;
    }
    match resource.text("status") {
        Some("registered") => 1,
        Some("partial" | "preliminary") => 2,
        Some("final" | "amended" | "corrected" | "appended" | "cancelled" | "entered-in-error") => 3,
        _ => 0,
    }
}
