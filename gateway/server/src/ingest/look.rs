//! A look at one indexed message: opened, mapped with the tables as they are now, compared with what is sealed of it. For replays, beside
//! the way in. It changes nothing, and what it tells is names of types and elements, never a value.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway_vault::Naming;
use schemas::id::Digest;
use schemas::json::{self, Value};
use zeroize::Zeroizing;

use super::fold::again::{self, Earlier, Made};
use super::fold::chain_of;
use super::normalise::{Canonical, CanonicalCase, Format};
use super::resolve::Subject;
use super::seal::status_rank;
use super::{Foundation, StepError};
use crate::store::inbox::RawPlace;
use crate::store::replays::Indexed;
use crate::store::subjects;
use crate::store::units::Chain;

/// A message as it is sealed and as it is mapped now.
pub struct Mapped {
    /// As it came.
    pub body: Arc<Zeroizing<Vec<u8>>>,
    canonical: Canonical,
    patients: Vec<Subject>,
    institution: Option<Subject>,
    earlier: Vec<Earlier>,
}

/// What is other than what is sealed.
#[derive(Default)]
pub struct Difference {
    /// Resources, with the elements that change; none where nothing of them was sealed.
    pub changed: Vec<(Chain, Option<BTreeSet<String>>)>,
    /// Types of resources that are not made any more.
    pub gone: Vec<String>,
}

/// Opens and maps one.
///
/// # Errors
/// `StepError`: it cannot be opened, or not now. The code of a message that is refused now.
pub async fn map(on: &Foundation, message: &Indexed) -> Result<Result<Mapped, &'static str>, StepError> {
    let earlier = again::earlier(on, message.id).await?;
    let body = Arc::new(open(on, message, &earlier).await?);
    let (normaliser, vault) = (Arc::clone(&on.normaliser.borrow()), Arc::clone(&on.vault));
    let (content_type, source, bytes) = (message.content_type.clone(), message.connector.clone(), Arc::clone(&body));
    let mapped = tokio::task::spawn_blocking(move || {
        normaliser.normalise(Format::of(&content_type, &bytes)?, &source, &bytes, &vault)
    });
    let canonical = match mapped.await {
        Ok(Ok(canonical)) => canonical,
        Ok(Err(refusal)) => return Ok(Err(refusal.code)),
        // as in *seal*: a mistake of ours
        Err(_) => return Ok(Err("normaliser-failed")),
    };
    let mut patients = Vec::with_capacity(canonical.patients().len());
    for keys in canonical.patients() {
        let aliases: Vec<_> = keys.0.iter().map(|key| key.alias(&on.vault)).collect();
        match subject(on, &aliases).await? {
            Some(subject) => patients.push(subject),
            None => return Ok(Err("identity-conflict")),
        }
    }
    let institution = subject(on, &[on.vault.alias_of(Naming::Institution, "", "")]).await?;
    Ok(Ok(Mapped { body, canonical, patients, institution, earlier }))
}

/// The raw bytes: an object of the custodian, or a unit of the case.
async fn open(on: &Foundation, message: &Indexed, earlier: &[Earlier]) -> Result<Zeroizing<Vec<u8>>, StepError> {
    let Some((place, key)) = &message.raw else {
        let raw = earlier.iter().find_map(|earlier| earlier.raw.clone());
        return raw.ok_or(StepError::Corrupt("the raw message of a case"));
    };
    let sealed = match place {
        RawPlace::Inline(bytes) => bytes.clone().into(),
        RawPlace::Object(object) => on.objects.get(object).await?,
    };
    Ok(Zeroizing::new(on.vault.open_raw(key, &message.source_key.0, &sealed)?))
}

/// Whose names these are; one who is not known yet is nobody's: nothing is sealed of them. None: they are several people's.
async fn subject(on: &Foundation, aliases: &[Digest]) -> Result<Option<Subject>, StepError> {
    let named: BTreeSet<_> = subjects::by_aliases(&on.store, aliases).await?.into_values().collect();
    let (id, wrapped) = match (named.len(), named.first()) {
        (1, Some(id)) => {
            let row = subjects::get(&on.store, id).await?.ok_or(StepError::Corrupt("a subject's row"))?;
            (*id, row.wrapped_key)
        }
        (0, _) => on.vault.new_subject().map(|(id, _, wrapped)| (id, wrapped))?,
        _ => return Ok(None),
    };
    Ok(Some(Subject { id, key: on.vault.open_subject(&id, &wrapped)?, public_key: None }))
}

impl Mapped {
    fn subject_of(&self, case: &CanonicalCase) -> Result<&Subject, StepError> {
        let subject = match case.patient {
            Some(at) => self.patients.get(at),
            None => self.institution.as_ref(),
        };
        subject.ok_or(StepError::Corrupt("the patients of a message"))
    }

    /// The resources that it says something about.
    pub fn chains(&self, on: &Foundation) -> Result<Vec<Chain>, StepError> {
        let mut chains = Vec::new();
        for case in self.canonical.cases() {
            let subject = self.subject_of(case)?;
            for unit in &case.units {
                chains.push(chain_of(on, &self.patients, subject, unit)?);
            }
        }
        Ok(chains)
    }

    /// What of it is other than what is sealed. `made`: what the messages before it would make of what is sealed, where they are only
    /// looked at; it grows by this one.
    pub async fn compare(
        mut self,
        on: &Foundation,
        message: &Indexed,
        made: Option<&mut Made>,
    ) -> Result<Difference, StepError> {
        let mut difference = Difference::default();
        let (mut none, is_look) = (Made::default(), made.is_some());
        let made = made.unwrap_or(&mut none);
        for mut case in self.canonical.take_cases() {
            let subject = self.subject_of(&case)?.clone();
            let event_time = case.event_time.unwrap_or(message.received);
            let mut earlier = self.earlier.iter_mut().find(|earlier| earlier.subject == subject.id);
            for unit in &mut case.units {
                let chain = chain_of(on, &self.patients, &subject, unit)?;
                let order = (status_rank(&unit.resource), event_time, message.id);
                let own = earlier.as_mut().and_then(|earlier| earlier.take(unit));
                if again::fold(on, (&subject.key, &chain, order), own.as_ref(), unit, made).await? {
                    let elements = own.map(|own| elements(&own.bytes, &unit.resource));
                    if is_look {
                        made.insert(chain.clone(), order, unit);
                    }
                    difference.changed.push((chain, elements));
                }
            }
        }
        difference.gone = self.earlier.iter().flat_map(Earlier::left).map(str::to_owned).collect();
        Ok(difference)
    }
}

/// Top-level elements that differ.
fn elements(sealed: &[u8], now: &Value) -> BTreeSet<String> {
    let sealed = json::parse(sealed).unwrap_or(Value::Null);
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flat_map(|object| object.iter().map(|(name, _)| name.to_owned())).collect()
    };
    let all = names(&sealed).into_iter().chain(names(now));
    all.filter(|name| sealed.get(name).map(Value::canonical) != now.get(name).map(Value::canonical)).collect()
}
