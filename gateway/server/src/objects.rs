//! The object store: ciphertext, synced to disk before a put returns; local folder embedded, S3-compatible in production.
//! Sealed cases of one batch lie behind each other in one pack, since a file of its own for each costs more than all the
//! rest of storing it. Stands between *seal* and *anchor* on the way in, before *open* on the way out. It must never hold
//! plaintext and never return bytes that do not have the SHA-256 they were asked for by.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use minicbor::{Decode, Encode};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutPayload};
use schemas::ErrorClass;
use schemas::cbor::{Parts, sha256};
use schemas::id::Digest;

/// Puts at once.
const PUTS_MAX: usize = 16;

/// What the object store answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The address is of no kind that is known.
    #[error("objects: found another address, expected a folder, file:///folder or s3://bucket/prefix")]
    Url,
    /// The store is away or full.
    #[error("objects: {doing} failed: the object store is away or full")]
    Away {
        /// What was being done.
        doing: &'static str,
    },
    /// No object under this key.
    #[error("objects: found no object {0}")]
    Absent(Digest),
    /// The bytes are not those of their key.
    #[error("objects: found other bytes under {0}, expected bytes of that SHA-256")]
    Corrupt(Digest),
}

impl ObjectError {
    /// The class that decides about a retry.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Url => ErrorClass::Caller,
            Self::Away { .. } => ErrorClass::Transient,
            Self::Absent(_) | Self::Corrupt(_) => ErrorClass::Corrupt,
        }
    }
}

/// Where an object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Extent {
    /// Name of the pack: SHA-256 over the keys of its objects.
    #[n(0)]
    pub pack: Digest,
    /// Bytes before it.
    #[n(1)]
    pub offset: u64,
    /// Its bytes.
    #[n(2)]
    pub length: u64,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Objects(Arc<dyn ObjectStore>);

impl Objects {
    /// Opens a folder (made when absent), `file:///…` or `s3://bucket/prefix`; credentials of S3 come from the
    /// environment (`AWS_…`).
    ///
    /// # Errors
    /// `ObjectError::Url`, or `Away` when the folder cannot be made.
    pub fn open(url: &str) -> Result<Self, ObjectError> {
        if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(|_| ObjectError::Url)?;
            return Ok(Self(Arc::new(PrefixStore::new(store, prefix))));
        }
        let folder = url.strip_prefix("file://").unwrap_or(url);
        if folder.contains("://") {
            return Err(ObjectError::Url);
        }
        let away = |_| ObjectError::Away { doing: "opening the folder" };
        std::fs::create_dir_all(folder).map_err(away)?;
        if let Some(parent) = Path::new(folder).parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(away)?;
        }
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|_| ObjectError::Url)?.with_fsync(true);
        Ok(Self(Arc::new(store)))
    }

    /// Puts one object; durable when it returns. Again is harmless.
    ///
    /// # Errors
    /// `ObjectError::Away`.
    pub async fn put(&self, key: &Digest, bytes: Bytes) -> Result<(), ObjectError> {
        // in place of whatever is there: under this key it can only be the same bytes, or a copy that died half written
        let put = self.0.put(&path(key), bytes.into()).await;
        put.map(|_| ()).map_err(|_| ObjectError::Away { doing: "put" })
    }

    /// Puts many, up to 16 at once; all are durable when it returns.
    ///
    /// # Errors
    /// `ObjectError::Away`: some may be there, putting all again is harmless.
    pub async fn put_all(&self, objects: Vec<(Digest, Bytes)>) -> Result<(), ObjectError> {
        let puts = objects.into_iter().map(|(key, bytes)| async move { self.put(&key, bytes).await });
        futures_util::stream::iter(puts).buffer_unordered(PUTS_MAX).try_collect().await
    }

    /// Puts objects behind each other as one pack and says where each is; all are durable when it returns. Again is harmless:
    /// a pack's name follows from what is in it.
    ///
    /// # Errors
    /// `ObjectError::Away`.
    pub async fn pack(&self, objects: &[(Digest, Bytes)]) -> Result<Vec<Extent>, ObjectError> {
        let pack = objects.iter().fold(Parts::new("cs1/pack"), |name, (key, _)| name.part(key)).hash();
        let payload: PutPayload = objects.iter().map(|(_, bytes)| bytes.clone()).collect();
        if !objects.is_empty() {
            self.0.put(&pack_path(&pack), payload).await.map_err(|_| ObjectError::Away { doing: "pack" })?;
        }
        let mut offset = 0;
        let extents = objects.iter().map(|(_, bytes)| {
            let extent = Extent { pack, offset, length: bytes.len() as u64 };
            offset += extent.length;
            extent
        });
        Ok(extents.collect())
    }

    /// Gets an object and checks that it is what its key says.
    ///
    /// # Errors
    /// `ObjectError::Absent`, `Corrupt`, `Away`.
    pub async fn get(&self, key: &Digest) -> Result<Bytes, ObjectError> {
        let found = match self.0.get(&path(key)).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        checked(found, key)
    }

    /// Gets an object out of its pack and checks that it is what its key says.
    ///
    /// # Errors
    /// `ObjectError::Absent`, `Corrupt`, `Away`.
    pub async fn get_from(&self, extent: &Extent, key: &Digest) -> Result<Bytes, ObjectError> {
        let end = extent.offset.checked_add(extent.length).ok_or(ObjectError::Corrupt(*key))?;
        checked(self.0.get_range(&pack_path(&extent.pack), extent.offset..end).await, key)
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// `ObjectError::Away`.
    pub async fn ping(&self) -> Result<(), ObjectError> {
        match self.0.head(&path(&Digest::ZERO)).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(_) => Err(ObjectError::Away { doing: "ping" }),
        }
    }
}

fn checked(found: Result<Bytes, Error>, key: &Digest) -> Result<Bytes, ObjectError> {
    match found {
        Ok(bytes) if sha256(&bytes) == *key => Ok(bytes),
        Ok(_) => Err(ObjectError::Corrupt(*key)),
        Err(Error::NotFound { .. }) => Err(ObjectError::Absent(*key)),
        Err(_) => Err(ObjectError::Away { doing: "get" }),
    }
}

fn path(key: &Digest) -> Key {
    Key::from(key.to_string())
}

fn pack_path(pack: &Digest) -> Key {
    Key::from(format!("{pack}.pack"))
}

#[cfg(test)]
mod tests;
