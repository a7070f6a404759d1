//! Documents of consents: kept sealed under the patient's key beside their salt, loaded for deciding. A document counts only
//! when it opens the commitment that the ledger names; anything else is `Missing` and denies everything. Opened policies
//! are remembered by consent id, because a version of a consent never changes.

use std::future::Future;
use std::sync::{Arc, PoisonError};

use gateway_consent::{Document, LiveConsent, Policy};
use gateway_vault::SubjectKey;
use schemas::cbor::Parts;
use schemas::id::{ConsentId, Digest, Height, SubjectId, TimeMs};
use schemas::json::{self, Value};
use schemas::state::{self, ConsentSet};
use schemas::transaction::Refusal;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{ConsentError, Consents, commitment};
use crate::disclose::decide::view;
use crate::store::{self, Store, StoreError};

/// Opened policies kept in memory.
pub const REMEMBERED_MAX: usize = 10_000;

const GRANTED: i64 = 0;
const REVOKED: i64 = 1;

/// A stored version of a consent.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Names the row; for a granted version the id on the ledger.
    pub consent: ConsentId,
    /// The version on the ledger that this row is about.
    pub granted: ConsentId,
    /// Whose.
    pub subject: SubjectId,
    /// FHIR logical id.
    pub logical_id: String,
    /// Version, from 1.
    pub version: u64,
    /// Height of the ledger's word; none while it is under way.
    pub height: Option<Height>,
    /// Whether this version says that the consent has ended.
    pub revoked: bool,
}

/// A version that is about to be kept; its number is given then.
#[derive(Clone)]
pub(super) struct Draft {
    pub consent: ConsentId,
    pub granted: ConsentId,
    pub subject: SubjectId,
    pub logical_id: String,
    pub height: Option<Height>,
    pub revoked: bool,
}

/// What a sealed document is bound to.
pub fn context(consent: &ConsentId) -> Vec<u8> {
    Parts::new("cs1/consent-document").part(consent).finish()
}

impl Consents {
    /// The documents of a live set, as the consent engine wants them.
    ///
    /// # Errors
    /// `StoreError` when the database is away; a document that does not fit is `Missing`, not an error.
    pub async fn documents(
        &self,
        subject: &SubjectId,
        key: &SubjectKey,
        set: &ConsentSet,
    ) -> Result<Vec<LiveConsent>, StoreError> {
        let mut out = Vec::with_capacity(set.live.len());
        for live in &set.live {
            let document = self.document(subject, key, live).await?;
            if matches!(document, Document::Missing) {
                tracing::error!("a live consent's document is missing or does not open its commitment: all is denied");
            }
            let (id, height) = (live.consent, live.height);
            out.push(LiveConsent { id, document, height, from: live.from, until: live.until });
        }
        Ok(out)
    }

    async fn document(
        &self,
        subject: &SubjectId,
        key: &SubjectKey,
        live: &state::LiveConsent,
    ) -> Result<Document, StoreError> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&live.consent);
        if let Some((of, committed, document)) = remembered {
            let same = of == *subject && committed == live.commitment;
            return Ok(if same { document } else { Document::Missing });
        }
        let sql = "SELECT document, salt FROM consent_document WHERE consent = $1 AND subject = $2";
        let row = sqlx::query(sql)
            .bind(live.consent.0.to_vec())
            .bind(subject.0.to_vec())
            .fetch_optional(self.parts.store.reader())
            .await
            .map_err(store::failed("consent_document"))?;
        let Some(row) = row else { return Ok(Document::Missing) };
        let sealed: Vec<u8> = row.try_get(0).map_err(store::failed("consent_document"))?;
        let salt: Vec<u8> = row.try_get(1).map_err(store::failed("consent_document"))?;
        let Ok(plain) = key.open_row(&context(&live.consent), &sealed) else { return Ok(Document::Missing) };
        let Ok(consent) = json::parse(&plain) else { return Ok(Document::Missing) };
        if commitment(&salt, &consent) != live.commitment {
            return Ok(Document::Missing);
        }
        let document = Document::from(Policy::parse_under(&consent, &self.parts.base));
        let remember = (*subject, live.commitment, document.clone());
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).put(live.consent, remember, 1);
        Ok(document)
    }

    /// Seals and stores a version under the next number of its logical id; returns its commitment.
    pub(super) async fn keep(&self, row: &Draft, document: &Value, time: TimeMs) -> Result<Digest, ConsentError> {
        let salt = gateway_vault::random().map_err(|_| ConsentError::Vault)?;
        self.keep_salted(row, document, salt, time).await
    }

    /// The same with a salt that is given.
    pub(super) async fn keep_salted(
        &self,
        row: &Draft,
        document: &Value,
        salt: [u8; 32],
        time: TimeMs,
    ) -> Result<Digest, ConsentError> {
        let key = self.parts.opener.key(&row.subject).await?.ok_or(ConsentError::UnknownPatient)?;
        let sealed = key.seal_row(&context(&row.consent), &document.canonical()).map_err(|_| ConsentError::Vault)?;
        let (store, row, turn) = (self.parts.store.clone(), row.clone(), Arc::clone(&self.turn));
        let committed = commitment(&salt, document);
        in_task(async move {
            let _turn = turn.lock_owned().await;
            let mut write = store.begin().await?;
            sqlx::query(
                "INSERT INTO consent_document (consent, subject, logical_id, version, height, document, salt, state, \
                 anchored, granted) VALUES ($1, $2, $3, (SELECT COALESCE(MAX(version), 0) + 1 FROM consent_document \
                 WHERE logical_id = $3), $4, $5, $6, $7, $8, $9)",
            )
            .bind(row.consent.0.to_vec())
            .bind(row.subject.0.to_vec())
            .bind(row.logical_id)
            .bind(row.height.map(u64::cast_signed))
            .bind(sealed)
            .bind(salt.to_vec())
            .bind(if row.revoked { REVOKED } else { GRANTED })
            .bind(time.cast_signed())
            .bind(row.granted.0.to_vec())
            .execute(&mut *write)
            .await
            .map_err(store::failed("consent_document"))?;
            store::commit(write).await
        })
        .await?;
        Ok(committed)
    }

    /// Notes that the ledger executed a grant.
    pub(super) async fn mark_in_force(
        &self,
        consent: &ConsentId,
        height: Height,
        time: TimeMs,
    ) -> Result<(), StoreError> {
        let (store, consent) = (self.parts.store.clone(), *consent);
        in_task(async move {
            let mut write = store.begin().await?;
            sqlx::query("UPDATE consent_document SET height = $1, anchored = $2 WHERE consent = $3")
                .bind(height.cast_signed())
                .bind(time.cast_signed())
                .bind(consent.0.to_vec())
                .execute(&mut *write)
                .await
                .map_err(store::failed("consent_document"))?;
            store::commit(write).await
        })
        .await
    }

    /// Drops the document of a grant that the ledger refused.
    pub(super) async fn forget(&self, consent: &ConsentId) -> Result<(), StoreError> {
        let (store, consent) = (self.parts.store.clone(), *consent);
        in_task(async move {
            let mut write = store.begin().await?;
            sqlx::query("DELETE FROM consent_document WHERE consent = $1 AND height IS NULL")
                .bind(consent.0.to_vec())
                .execute(&mut *write)
                .await
                .map_err(store::failed("consent_document"))?;
            store::commit(write).await
        })
        .await
    }

    /// The newest version of a consent that the ledger executed.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn head(&self, logical_id: &str) -> Result<Option<Stored>, StoreError> {
        self.settle(logical_id, None).await?;
        let sql = "SELECT consent, subject, logical_id, version, height, state, granted FROM consent_document WHERE \
                   logical_id = $1 AND height IS NOT NULL ORDER BY version DESC LIMIT 1";
        let row = sqlx::query(sql)
            .bind(logical_id.to_owned())
            .fetch_optional(self.parts.store.reader())
            .await
            .map_err(store::failed("consent_document"))?;
        row.as_ref().map(stored).transpose()
    }

    /// All versions of one consent, those whose outcome is not known too.
    pub(super) async fn versions(&self, logical_id: &str) -> Result<Vec<Stored>, StoreError> {
        self.settle(logical_id, None).await?;
        let sql = "SELECT consent, subject, logical_id, version, height, state, granted FROM consent_document WHERE \
                   logical_id = $1 ORDER BY version";
        let rows = sqlx::query(sql).bind(logical_id.to_owned()).fetch_all(self.parts.store.reader()).await;
        rows.map_err(store::failed("consent_document"))?.iter().map(stored).collect()
    }

    /// A stored version's document.
    ///
    /// # Errors
    /// `ConsentError`: the database, or a row that does not open.
    pub async fn document_of(&self, of: &Stored) -> Result<Value, ConsentError> {
        let key = self.parts.opener.key(&of.subject).await?.ok_or(ConsentError::UnknownPatient)?;
        let row = sqlx::query("SELECT document FROM consent_document WHERE consent = $1")
            .bind(of.consent.0.to_vec())
            .fetch_one(self.parts.store.reader())
            .await
            .map_err(store::failed("consent_document"))?;
        let sealed: Vec<u8> = row.try_get(0).map_err(store::failed("consent_document"))?;
        let corrupt = || StoreError::Corrupt { what: "consent_document.document" };
        let plain = key.open_row(&context(&of.consent), &sealed).map_err(|_| corrupt())?;
        Ok(json::parse(&plain).map_err(|_| corrupt())?)
    }

    /// All versions of one patient's consents that the ledger executed: for the operator's list.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn list(&self, subject: &SubjectId) -> Result<Vec<Stored>, StoreError> {
        self.settle("", Some(subject)).await?;
        let sql = "SELECT consent, subject, logical_id, version, height, state, granted FROM consent_document WHERE \
                   subject = $1 AND height IS NOT NULL ORDER BY logical_id, version";
        let rows = sqlx::query(sql)
            .bind(subject.0.to_vec())
            .fetch_all(self.parts.store.reader())
            .await
            .map_err(store::failed("consent_document"))?;
        rows.iter().map(stored).collect()
    }

    /// All versions of one patient's consents, oldest first, those whose outcome is not known too.
    pub(super) async fn list_all(&self, subject: &SubjectId) -> Result<Vec<Stored>, StoreError> {
        self.settle("", Some(subject)).await?;
        let sql = "SELECT consent, subject, logical_id, version, height, state, granted FROM consent_document WHERE \
                   subject = $1 ORDER BY logical_id, version";
        let rows = sqlx::query(sql).bind(subject.0.to_vec()).fetch_all(self.parts.store.reader()).await;
        rows.map_err(store::failed("consent_document"))?.iter().map(stored).collect()
    }

    /// The logical id under which this very grant was kept by an earlier attempt; none when its id is new.
    pub(super) async fn kept_before(
        &self,
        consent: &ConsentId,
        subject: &SubjectId,
        salt: &[u8],
    ) -> Result<Option<String>, ConsentError> {
        let sql = "SELECT subject, salt, logical_id FROM consent_document WHERE consent = $1";
        let row = sqlx::query(sql).bind(consent.0.to_vec()).fetch_optional(self.parts.store.reader()).await;
        let Some(row) = row.map_err(store::failed("consent_document"))? else { return Ok(None) };
        let bytes = |at: usize| row.try_get::<Vec<u8>, _>(at).map_err(store::failed("consent_document"));
        if bytes(0)? != subject.0 || bytes(1)? != salt {
            return Err(ConsentError::Refused(Refusal::IdUsed));
        }
        Ok(Some(row.try_get(2).map_err(store::failed("consent_document"))?))
    }

    /// The salt of a document, for its proof.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn salt(store: &Store, consent: &ConsentId) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT salt FROM consent_document WHERE consent = $1")
            .bind(consent.0.to_vec())
            .fetch_optional(store.reader())
            .await
            .map_err(store::failed("consent_document"))?;
        row.map(|row| row.try_get(0).map_err(store::failed("consent_document"))).transpose()
    }

    /// The id under which FHIR clients know a version of a consent; none where its document is not here.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn logical_id(store: &Store, consent: &ConsentId) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT logical_id FROM consent_document WHERE consent = $1")
            .bind(consent.0.to_vec())
            .fetch_optional(store.reader())
            .await
            .map_err(store::failed("consent_document"))?;
        row.map(|row| row.try_get(0).map_err(store::failed("consent_document"))).transpose()
    }

    /// Settles grants of one consent or patient whose outcome was unknown: the live set says whether they are in force.
    async fn settle(&self, logical_id: &str, subject: Option<&SubjectId>) -> Result<(), StoreError> {
        let sql = "SELECT consent, subject, logical_id, version, height, state, granted FROM consent_document WHERE \
                   height IS NULL AND (logical_id = $1 OR subject = $2) ORDER BY version DESC LIMIT 256";
        let query = sqlx::query(sql).bind(logical_id.to_owned()).bind(subject.map_or(Vec::new(), |s| s.0.to_vec()));
        let rows = query.fetch_all(self.parts.store.reader()).await;
        for row in rows.map_err(store::failed("consent_document"))? {
            let row = stored(&row)?;
            let view = view(&self.parts.store, &row.subject).await?;
            if let Some(live) = view.set.live.iter().find(|live| live.consent == row.consent) {
                self.mark_in_force(&row.consent, live.height, self.parts.follower.time()).await?;
            }
        }
        Ok(())
    }
}

/// Runs a write to its end, even when the request that asked for it is gone.
pub(super) async fn in_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(work).await.unwrap_or(Err(StoreError::Away { doing: "consent_document" }))
}

fn stored(row: &AnyRow) -> Result<Stored, StoreError> {
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(store::failed("consent_document"));
    let bytes = |at: usize| row.try_get::<Vec<u8>, _>(at).map_err(store::failed("consent_document"));
    let corrupt = StoreError::Corrupt { what: "consent_document" };
    let (Some(consent), Some(subject)) = (ConsentId::from_slice(&bytes(0)?), SubjectId::from_slice(&bytes(1)?)) else {
        return Err(corrupt);
    };
    let height: Option<i64> = row.try_get(4).map_err(store::failed("consent_document"))?;
    Ok(Stored {
        consent,
        granted: ConsentId::from_slice(&bytes(6)?).ok_or(corrupt)?,
        subject,
        logical_id: row.try_get(2).map_err(store::failed("consent_document"))?,
        version: number(3)?.unsigned_abs(),
        height: height.map(i64::unsigned_abs),
        revoked: number(5)? == REVOKED,
    })
}
