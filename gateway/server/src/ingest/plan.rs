//! The plan of a case: what *index* will write once the case is anchored. Made at *seal*, durable with the intent, so that
//! a restart indexes what was sealed and not what newer tables would make of it. Holds ciphertext, pseudonyms and hashes.
//! Summaries, nine tenths of it, are not written twice: a restart makes them anew from the sealed units.

use std::collections::BTreeMap;

use gateway_vault::{Custody, CustodyPurpose, SubjectKey, VaultError};
use minicbor::{Decode, Encode};
use schemas::cbor::{self, Parts};
use schemas::envelope::{Statement, Wrap};
use schemas::id::{CaseId, Digest, SubjectId};
use schemas::json::{self, Value};

use super::normalise::{references_of, summarise};
use super::{Foundation, StepError};
use crate::objects::Extent;
use crate::store::intents::Intent;
use crate::store::subjects;
use crate::store::summaries::{self, Summary};
use crate::store::units::UnitRow;

/// What the references of a message mean here: as sent → `Type/logical-id`.
pub type Meanings = BTreeMap<String, String>;

/// One case.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Plan {
    /// Who brought the message.
    #[n(0)]
    pub connector: String,
    /// When it was received, ms.
    #[n(1)]
    pub received: i64,
    /// What is anchored.
    #[n(2)]
    pub statement: Statement,
    /// Wrapped case keys.
    #[n(3)]
    pub wraps: Vec<Wrap>,
    /// Its resources.
    #[n(4)]
    pub units: Vec<PlannedUnit>,
    /// `Meanings`, sealed under the subject's key.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub meanings: Vec<u8>,
    /// Where its object is; none before it is stored.
    #[n(6)]
    pub extent: Option<Extent>,
    /// Sealed summaries of its resources; in memory only.
    #[cbor(skip)]
    pub summaries: Vec<u8>,
}

/// One resource of a case.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct PlannedUnit {
    /// Index in the case.
    #[n(0)]
    pub unit: u32,
    /// FHIR type.
    #[n(1)]
    pub resource_type: String,
    /// Logical id.
    #[n(2)]
    pub logical_id: String,
    /// Rank of its status.
    #[n(3)]
    pub status_rank: i64,
    /// Time of the event, ms.
    #[n(4)]
    pub event_time: i64,
    /// HMAC of its content without `meta`.
    #[n(5)]
    pub content: Digest,
}

impl PlannedUnit {
    /// The row, before its head is decided.
    pub fn row(&self, case: CaseId, subject: SubjectId, arrived: i64) -> UnitRow {
        UnitRow {
            case,
            unit: self.unit,
            subject,
            resource_type: self.resource_type.clone(),
            logical_id: self.logical_id.clone(),
            is_head: false,
            status_rank: self.status_rank,
            event_time: self.event_time,
            arrived,
            content: self.content,
        }
    }
}

/// Seals what the references mean.
///
/// # Errors
/// `VaultError::Randomness`.
pub fn seal_meanings(key: &SubjectKey, case: &CaseId, meanings: &Meanings) -> Result<Vec<u8>, VaultError> {
    key.seal_row(&meanings_context(case), &cbor::encode(meanings))
}

fn meanings_context(case: &CaseId) -> Vec<u8> {
    Parts::new("cs1/meanings").part(case).finish()
}

/// The summary of one unit. `served`: its type and logical id here.
pub fn summary_of(resource: &Value, served: (&str, &str), meanings: &Meanings) -> Summary {
    let references =
        references_of(resource).into_iter().filter_map(|sent| Some((sent.clone(), meanings.get(&sent)?.clone())));
    summarise(resource, served, references.collect())
}

/// The plan of an intent that an earlier run left: its summaries are made from what was sealed.
///
/// # Errors
/// `StepError`; `Corrupt` when intent and object do not fit.
pub async fn restore(on: &Foundation, intent: &Intent) -> Result<Plan, StepError> {
    let corrupt = |_| StepError::Corrupt("an intent's plan");
    let mut plan: Plan = cbor::decode(&intent.plan).map_err(corrupt)?;
    let row = subjects::get(&on.store, &intent.subject).await?.ok_or(StepError::Corrupt("an intent's subject"))?;
    let key = on.vault.open_subject(&intent.subject, &row.wrapped_key)?;
    let meanings = key.open_row(&meanings_context(&intent.case), &plan.meanings)?;
    let meanings: Meanings = cbor::decode(&meanings).map_err(corrupt)?;
    let extent = plan.extent.ok_or(StepError::Corrupt("an intent's plan"))?;
    let object = on.objects.get_from(&extent, &plan.statement.object).await?;
    let unfit = |_| StepError::Corrupt("an intent's object");
    let case = on.vault.open_case(&key, &plan.wraps, &object, &plan.statement.object).map_err(unfit)?;
    let custody = Custody::claimed_by_custodian_for(CustodyPurpose::Index);
    let mut of_units = Vec::with_capacity(plan.units.len());
    for unit in &plan.units {
        let opened = case.unit_for_custody(unit.unit as usize, custody).map_err(unfit)?;
        let resource = json::parse(&opened.bytes).map_err(|_| StepError::Corrupt("a sealed unit"))?;
        of_units.push(summary_of(&resource, (&unit.resource_type, &unit.logical_id), &meanings));
    }
    plan.summaries = summaries::seal(&key, &intent.case, of_units.into_iter())?;
    Ok(plan)
}
