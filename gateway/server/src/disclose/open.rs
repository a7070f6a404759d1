//! *open*: decrypts exactly the permitted units. Objects are proved against their anchored digest each time, whether they
//! come from the store or from memory; keys of subjects are kept a while, zeroised when they leave. It must never open
//! a unit whose permit names another.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gateway_vault::{OpenError, SubjectKey, UnitProof, Vault, VaultError};
use schemas::ErrorClass;
use schemas::id::{Digest, SubjectId};
use schemas::json::{self, Value};

use super::decide::{Leave, Permitted, unit_of};
use super::query::Place;
use crate::objects::{Extent, ObjectError, Objects};
use crate::store::{Store, StoreError, subjects};

/// Subject keys kept in memory.
const KEYS_MAX: usize = 4096;
/// Ciphertext kept in memory, in bytes; larger objects than a sixteenth of it are not kept.
const OBJECT_BYTES_MAX: usize = 64 << 20;
/// What is larger is hashed, opened, decided about and overlaid off the async threads, in bytes.
pub(super) const INLINE_BYTES_MAX: usize = 256 << 10;

/// A permitted unit that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DiscloseError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The case.
    #[error("case: {0}")]
    Open(#[from] OpenError),
    /// A key or row.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The unit is no FHIR JSON although it was sealed as such.
    #[error("unit: found bytes that are no JSON")]
    Json,
    /// A permit for another unit: our own mistake, stopped here.
    #[error("found a permit for another unit than the one to be opened")]
    Permit,
    /// The task that opens ended early.
    #[error("the task that opens ended early")]
    Ended,
}

impl DiscloseError {
    /// The class that decides about the status.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Store(e) => e.class(),
            Self::Objects(e) => e.class(),
            Self::Open(e) => e.class(),
            Self::Vault(e) => e.class(),
            Self::Json => ErrorClass::Corrupt,
            Self::Permit | Self::Ended => ErrorClass::Bug,
        }
    }
}

/// An opened unit with what its proof needs.
pub struct Opened {
    /// The sealed bytes, as the institution signed them.
    pub bytes: Vec<u8>,
    /// The same as a tree.
    pub resource: Value,
    /// Binds the bytes to the anchored root; none for a Consent, whose document opens a commitment.
    pub proof: Option<UnitProof>,
}

/// Opens cases. Cheap to clone.
#[derive(Clone)]
pub struct Opener {
    store: Store,
    objects: Objects,
    vault: Arc<Vault>,
    keys: Arc<Mutex<Kept<SubjectId, SubjectKey>>>,
    ciphertext: Arc<Mutex<Kept<Digest, Bytes>>>,
}

impl Opener {
    /// Over these stores.
    pub fn new(store: Store, objects: Objects, vault: Arc<Vault>) -> Self {
        Self { store, objects, vault, keys: Kept::shared(KEYS_MAX), ciphertext: Kept::shared(OBJECT_BYTES_MAX) }
    }

    /// A subject's key, unwrapped; `None` when there is no such subject or it was shredded.
    ///
    /// # Errors
    /// `DiscloseError` when the database is away or the key does not unwrap.
    pub async fn key(&self, subject: &SubjectId) -> Result<Option<SubjectKey>, DiscloseError> {
        if let Some(key) = lock(&self.keys).get(subject) {
            return Ok(Some(key));
        }
        let Some(row) = subjects::get(&self.store, subject).await? else { return Ok(None) };
        let key = self.vault.open_subject(subject, &row.wrapped_key)?;
        lock(&self.keys).put(*subject, key.clone(), 1);
        Ok(Some(key))
    }

    /// Opens one permitted row; `prove`: with the proof of its unit.
    ///
    /// # Errors
    /// `DiscloseError`.
    pub async fn open(&self, permitted: &Permitted, key: &SubjectKey, prove: bool) -> Result<Opened, DiscloseError> {
        let Place::Unit { unit, object, extent, wraps, .. } = &permitted.row.place else {
            // a Consent's document was opened to decide about it
            return Ok(Opened {
                bytes: permitted.known.matched.canonical(),
                resource: permitted.known.matched.clone(),
                proof: None,
            });
        };
        let Leave::Consent(permit) = &permitted.leave else { return Err(DiscloseError::Permit) };
        if permit.unit() != unit_of(&permitted.row) {
            return Err(DiscloseError::Permit);
        }
        let bytes = self.ciphertext(object, extent).await?;
        let (vault, key, permit) = (self.vault.clone(), key.clone(), permit.clone());
        let (unit, object, wraps) = (*unit as usize, *object, wraps.clone());
        let large = bytes.len() > INLINE_BYTES_MAX;
        let work = move || -> Result<Opened, DiscloseError> {
            let case = vault.open_case(&key, &wraps, &bytes, &object)?;
            let (header, of) = (case.header(), permit.unit());
            if (header.case, header.case_version, unit) != (of.case, of.version, of.index as usize) {
                return Err(DiscloseError::Permit);
            }
            let proof = prove.then(|| case.unit_proof(unit, &permit)).transpose()?;
            let unit = case.unit(unit, &permit)?;
            let resource = json::parse(&unit.bytes).map_err(|_| DiscloseError::Json)?;
            Ok(Opened { bytes: unit.bytes, resource, proof })
        };
        if large {
            return tokio::task::spawn_blocking(work).await.map_err(|_| DiscloseError::Ended)?;
        }
        work()
    }

    /// A sealed object, as it is.
    ///
    /// # Errors
    /// `DiscloseError` when the object store is away or has not what was put there.
    pub async fn ciphertext(&self, object: &Digest, extent: &Extent) -> Result<Bytes, DiscloseError> {
        if let Some(bytes) = lock(&self.ciphertext).get(object) {
            return Ok(bytes);
        }
        let bytes = self.objects.get_from(extent, object).await?;
        if bytes.len() <= OBJECT_BYTES_MAX / 16 {
            lock(&self.ciphertext).put(*object, bytes.clone(), bytes.len());
        }
        Ok(bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bounded memory of two generations: what was not asked for during a whole generation is dropped.
pub struct Kept<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    weight: usize,
    most: usize,
}

impl<K: Eq + Hash + Copy, V: Clone> Kept<K, V> {
    /// Keeps values up to a total weight.
    pub fn shared(most: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { young: HashMap::new(), old: HashMap::new(), weight: 0, most }))
    }

    /// The value of a key; asking keeps it.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, weight) = self.old.remove(key)?;
        self.put(*key, value.clone(), weight);
        Some(value)
    }

    /// Keeps a value.
    pub fn put(&mut self, key: K, value: V, weight: usize) {
        if self.weight + weight > self.most / 2 {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += weight;
        self.young.insert(key, (value, weight));
    }
}
