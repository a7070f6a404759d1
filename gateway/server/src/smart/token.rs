//! Access tokens: 32 random bytes, known to the database by their hash only, valid for at most `limits::TOKEN_SECONDS_MAX`.
//! What a token grants is decided at issue (scopes) and at each use (the client must still be registered); consents are
//! never part of it. The `jti` of the assertion is recorded in the same commit, so neither exists without the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::ErrorClass;
use schemas::cbor::Parts;
use schemas::id::{Digest, TimeMs};
use schemas::limits;
use sqlx::Row as _;

use super::assertion::Asserted;
use super::client::{Client, Clients};
use super::scope::Scopes;
use crate::store::{self, Store, StoreError};

/// Tokens kept in memory; older ones are found in the database.
const CACHED_MAX: usize = 10_000;

/// What a valid token stands for.
#[derive(Clone)]
pub struct Grant {
    /// Who.
    pub client: Arc<Client>,
    /// What it may touch.
    pub scopes: Scopes,
    /// Until when.
    pub expires: TimeMs,
}

/// A token that was just made. Shown once, to its client.
pub struct Issued {
    /// The bearer token.
    pub token: String,
    /// Seconds until it expires.
    pub seconds: u64,
    /// What was granted.
    pub scopes: Scopes,
}

/// A token was not issued or not found.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The assertion was used before.
    #[error("token: found an assertion that was used before")]
    Replayed,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gave no randomness.
    #[error("token: the system gave no randomness")]
    Randomness,
}

impl TokenError {
    /// The class that decides about the status.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Replayed => ErrorClass::Caller,
            Self::Store(e) => e.class(),
            Self::Randomness => ErrorClass::Transient,
        }
    }
}

/// All tokens.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    clients: Clients,
    cached: Arc<Mutex<HashMap<Digest, Arc<Grant>>>>,
}

impl Tokens {
    /// Tokens of these clients in this database.
    pub fn new(store: Store, clients: Clients) -> Self {
        Self { store, clients, cached: Arc::default() }
    }

    /// Records the assertion against replay and issues a token, in one commit.
    ///
    /// # Errors
    /// `TokenError::Replayed` when the assertion was used, `Store` when nothing could be recorded.
    pub async fn issue(&self, asserted: Asserted, scopes: Scopes, now: TimeMs) -> Result<Issued, TokenError> {
        let secret: [u8; 32] = gateway_vault::random().map_err(|_| TokenError::Randomness)?;
        let token = URL_SAFE_NO_PAD.encode(secret);
        let expires = now + limits::TOKEN_SECONDS_MAX * 1000;
        let grant = Arc::new(Grant { client: asserted.client.clone(), scopes: scopes.clone(), expires });
        let (store, hash) = (self.store.clone(), hash_of(&token));
        let row = (grant.client.id.clone(), scopes.to_string());
        // in a task of its own: a write that was begun is finished even when the client hangs up
        let written = tokio::spawn(async move { record(&store, &asserted, hash, row, expires, now).await });
        written.await.map_err(|_| StoreError::Away { doing: "token" })??;
        self.remember(hash, grant, now);
        Ok(Issued { token, seconds: limits::TOKEN_SECONDS_MAX, scopes })
    }

    /// The grant of a token, while it is valid and its client registered.
    ///
    /// # Errors
    /// `TokenError::Store` when the database is away.
    pub async fn find(&self, token: &str, now: TimeMs) -> Result<Option<Arc<Grant>>, TokenError> {
        if token.len() > 128 {
            return Ok(None);
        }
        let hash = hash_of(token);
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        let grant = match cached {
            Some(grant) => grant,
            None => match self.load(hash).await? {
                Some(grant) => grant,
                None => return Ok(None),
            },
        };
        if grant.expires <= now {
            return Ok(None);
        }
        self.remember(hash, grant.clone(), now);
        Ok(Some(grant))
    }

    async fn load(&self, hash: Digest) -> Result<Option<Arc<Grant>>, TokenError> {
        let row = sqlx::query("SELECT client, scopes, expires FROM smart_token WHERE hash = $1")
            .bind(hash.0.to_vec())
            .fetch_optional(self.store.reader())
            .await
            .map_err(store::failed("find token"))?;
        let Some(row) = row else { return Ok(None) };
        let column = |what| move |_| StoreError::Corrupt { what };
        let client: String = row.try_get(0).map_err(column("token"))?;
        let scopes: String = row.try_get(1).map_err(column("token"))?;
        let expires: i64 = row.try_get(2).map_err(column("token"))?;
        let Some(client) = self.clients.get(&client) else { return Ok(None) };
        let scopes = Scopes::parse(&scopes).map_err(|_| StoreError::Corrupt { what: "token scopes" })?;
        // a registration that was narrowed since narrows its tokens
        let scopes = scopes.granted_by(&client.scopes);
        Ok(Some(Arc::new(Grant { client: client.clone(), scopes, expires: expires.unsigned_abs() })))
    }

    fn remember(&self, hash: Digest, grant: Arc<Grant>, now: TimeMs) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= CACHED_MAX && !cached.contains_key(&hash) {
            cached.retain(|_, grant| grant.expires > now);
            if cached.len() >= CACHED_MAX {
                cached.clear();
            }
        }
        cached.entry(hash).or_insert(grant);
    }
}

fn hash_of(token: &str) -> Digest {
    Parts::new("cs1/token").bytes(token.as_bytes()).hash()
}

async fn record(
    store: &Store,
    asserted: &Asserted,
    hash: Digest,
    (client, scopes): (String, String),
    expires: TimeMs,
    now: TimeMs,
) -> Result<(), TokenError> {
    let mut write = store.begin().await?;
    for sql in ["DELETE FROM smart_assertion WHERE until < $1", "DELETE FROM smart_token WHERE expires < $1"] {
        sqlx::query(sql).bind(now.cast_signed()).execute(&mut *write).await.map_err(store::failed("forget tokens"))?;
    }
    let recorded = sqlx::query("INSERT INTO smart_assertion (id, until) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .bind(asserted.replay.0.to_vec())
        .bind(asserted.remember_until.cast_signed())
        .execute(&mut *write)
        .await
        .map_err(store::failed("record assertion"))?;
    if recorded.rows_affected() != 1 {
        return Err(TokenError::Replayed);
    }
    sqlx::query("INSERT INTO smart_token (hash, client, scopes, expires) VALUES ($1, $2, $3, $4)")
        .bind(hash.0.to_vec())
        .bind(client)
        .bind(scopes)
        .bind(expires.cast_signed())
        .execute(&mut *write)
        .await
        .map_err(store::failed("record token"))?;
    store::commit(write).await?;
    Ok(())
}
