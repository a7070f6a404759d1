//! What the patient's own wallet gets: what there is, and her cases as they were sealed. Stands beside *read* and *search*: no
//! consent is asked, because nothing is opened here; what leaves opens with her key alone. A question is signed by the bound
//! key, is for this gateway, is fresh and is answered once; every answer has its entry in the access log before it leaves.

use schemas::cbor;
use schemas::envelope::{self, Wrap, WrapKind};
use schemas::id::{CaseId, ConsentId, Height, PublicKey, SubjectId, TimeMs};
use schemas::limits;
use schemas::wallet::{Ask, CASE_FORMAT, KnownCase, Question, SealedCase, SignedQuestion, Status};

use super::decide::view;
use super::log::{Deed, DisclosedUnit, Entry};
use super::{Disclose, failed, store_failed};
use crate::http::outcome::Refused;
use crate::store::cases::{self, CaseRow};
use crate::store::{self, Store, StoreError, anchors, subjects, units};
use crate::telemetry::Moment;

/// The client of entries that a wallet caused; no registered client can be called so.
pub const WALLET: &str = "(wallet)";
/// What the access log says of a case that the patient's own wrap opens.
const OWN_WRAP: &str = "the patient's own wrap";

/// A question whose signature, address, time and novelty were checked. Made by `Disclose::asked` only.
pub struct Asked {
    subject: SubjectId,
    key: PublicKey,
    ask: Ask,
    height: Height,
}

impl Asked {
    /// What is asked for.
    pub const fn ask(&self) -> Ask {
        self.ask
    }
}

impl Disclose {
    /// Who asks: the patient to whom the key that signed is bound.
    ///
    /// # Errors
    /// `Refused`: one answer for a wrong signature, another gateway's question, an old or repeated one and an unknown key.
    pub async fn asked(&self, signed: &SignedQuestion) -> Result<Asked, Refused> {
        let SignedQuestion { question, signature } = signed;
        let (here, now) = (self.consents.standing(), (self.clock)());
        let fits = question.chain == here.chain
            && question.institution == here.institution
            && question.time.abs_diff(now) <= limits::WALLET_SKEW_MS_MAX
            && gateway_vault::verify(&question.key, &question.to_sign(), signature);
        if !fits {
            return Err(Refused::unsigned());
        }
        let height = self.require_fresh().await?;
        let found = subjects::by_key(&self.store, &question.key).await.map_err(|e| store_failed(&e))?;
        let subject = found.ok_or_else(Refused::unsigned)?;
        if !once(&self.store, question, now).await.map_err(|e| store_failed(&e))? {
            return Err(Refused::unsigned());
        }
        Ok(Asked { subject, key: question.key, ask: question.ask, height })
    }

    /// Cases and consents of the patient who asks.
    ///
    /// # Errors
    /// `Refused`.
    pub async fn inbox(&self, asked: &Asked) -> Result<Status, Refused> {
        let subject = asked.subject;
        let store = &self.store;
        let stored = |e: StoreError| store_failed(&e);
        let heads = units::heads(store, &subject, Some("Patient")).await.map_err(stored)?;
        let found = cases::of_subject(store, &subject, limits::WALLET_CASES_MAX).await.map_err(stored)?;
        let consents = self.consents.known(&subject).await.map_err(stored)?;
        let view = view(store, &subject).await.map_err(stored)?;
        let cases = found.iter().filter(|row| opens(&row.wraps, &asked.key)).map(|row| KnownCase {
            case: row.case,
            version: row.version,
            height: row.height,
            time: row.anchored_at.unsigned_abs(),
        });
        let status = Status {
            subject,
            patient: heads.into_iter().next().map(|unit| unit.logical_id),
            height: view.height,
            set: view.set,
            consents,
            cases: cases.collect(),
        };
        self.append(self.entry(asked, Deed::Inbox, Vec::new())).await?;
        Ok(status)
    }

    /// One sealed case of the patient who asks, with its receipt and wraps.
    ///
    /// # Errors
    /// `Refused`: absent for unknown cases, those of others, and those without a wrap for her key.
    pub async fn collect(&self, asked: &Asked, case: CaseId) -> Result<SealedCase, Refused> {
        let found = cases::get(&self.store, &[case]).await.map_err(|e| store_failed(&e))?;
        let own = |row: &CaseRow| row.subject == asked.subject && opens(&row.wraps, &asked.key);
        let Some(row) = found.into_iter().find(own) else {
            self.append(self.entry(asked, Deed::Collect, Vec::new())).await?;
            return Err(Refused::absent());
        };
        let object = self.opener.ciphertext(&row.object, &row.extent).await.map_err(|e| failed(&e))?;
        let units = 0..u32::try_from(units_of(&object)).unwrap_or(u32::MAX);
        let disclosed = units.map(|unit| DisclosedUnit {
            case,
            version: row.version,
            unit,
            consent: ConsentId([0; 16]),
            provision: OWN_WRAP.to_owned(),
        });
        self.append(self.entry(asked, Deed::Collect, disclosed.collect())).await?;
        self.metrics.count(Moment::Disclosed, 1);
        let receipt = anchors::receipt(&self.store, &row).await.map_err(|e| store_failed(&e))?;
        Ok(SealedCase { format: CASE_FORMAT.to_owned(), receipt, wraps: row.wraps, object: object.to_vec() })
    }

    fn entry(&self, asked: &Asked, deed: Deed, disclosed: Vec<DisclosedUnit>) -> Entry {
        Entry {
            time: (self.clock)(),
            height: asked.height,
            client: WALLET.to_owned(),
            deed,
            resource_type: "*".to_owned(),
            subject: Some(asked.subject),
            disclosed,
            withheld: 0,
            purposes: Vec::new(),
        }
    }
}

fn opens(wraps: &[Wrap], key: &PublicKey) -> bool {
    wraps.iter().any(|wrap| wrap.kind == WrapKind::Patient && wrap.recipient == key.as_bytes())
}

fn units_of(object: &[u8]) -> usize {
    envelope::take_apart(object).map_or(0, |parts| parts.units.len())
}

/// Remembers a question until it is too old to count; false when it was answered before.
async fn once(store: &Store, question: &Question, now: TimeMs) -> Result<bool, StoreError> {
    let id = cbor::sha256(&question.to_sign());
    let until = now + 2 * limits::WALLET_SKEW_MS_MAX;
    let mut write = store.begin().await?;
    sqlx::query("DELETE FROM smart_assertion WHERE until < $1")
        .bind(now.cast_signed())
        .execute(&mut *write)
        .await
        .map_err(store::failed("forget questions"))?;
    let added = sqlx::query("INSERT INTO smart_assertion (id, until) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .bind(id.0.to_vec())
        .bind(until.cast_signed())
        .execute(&mut *write)
        .await
        .map_err(store::failed("record question"))?;
    store::commit(write).await?;
    Ok(added.rows_affected() == 1)
}
