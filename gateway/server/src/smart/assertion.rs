//! `private_key_jwt` (RFC 7523, SMART backend services): proves which registered client asks. Pure: the clock's reading is
//! handed in, replay is the caller's to record. It must never say which rule failed: the answer is `invalid_client` for all.

use jsonwebtoken::{Algorithm, Validation};
use schemas::ErrorClass;
use schemas::cbor::Parts;
use schemas::id::{Digest, TimeMs};
use serde::Deserialize;
use std::sync::Arc;

use super::client::{Client, Clients};

/// Largest assertion, in bytes.
pub const ASSERTION_BYTES_MAX: usize = 8 << 10;
/// Furthest `exp` ahead, in seconds.
const LIFETIME_SECONDS_MAX: u64 = 300;
/// Clocks may differ by this much, in seconds.
const LEEWAY_SECONDS: u64 = 5;
/// Longest `jti`, in bytes.
const JTI_BYTES_MAX: usize = 256;

/// Why an assertion was refused. For the log; the client hears `invalid_client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Too long, or not three parts of base64url JSON.
    #[error("assertion: found something that is no JWT")]
    Shape,
    /// `typ`, `alg`, `kid`, `crit`, `jku`, `jwk`, `x5u`: not as registered.
    #[error("assertion: found a header that is not accepted, expected typ JWT, ES384 or RS384, a kid and no crit")]
    Header,
    /// No such client, or no one key of it with this id and type.
    #[error("assertion: found a client or key that is not registered")]
    Unknown,
    /// The signature does not verify.
    #[error("assertion: found a signature that does not verify")]
    Signature,
    /// `iss`, `sub`, `aud`, `exp`, `nbf`, `iat` or `jti` is missing or wrong.
    #[error("assertion: found claims that are not accepted: {0}")]
    Claims(&'static str),
}

impl AssertionError {
    /// Always the client's.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

/// A client that has proved itself, and what to remember against replay.
pub struct Asserted {
    /// Who.
    pub client: Arc<Client>,
    /// H("cs1/assertion" ‖ iss ‖ jti).
    pub replay: Digest,
    /// Until when the same `jti` must be refused.
    pub remember_until: TimeMs,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: u64,
    jti: String,
    nbf: Option<u64>,
    iat: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self, url: &str) -> bool {
        match self {
            Self::One(one) => one == url,
            Self::Many(many) => many.iter().any(|one| one == url),
        }
    }
}

/// Verifies an assertion for the token endpoint at `audience`.
///
/// # Errors
/// `AssertionError`: which rule failed, for the log only.
pub fn verify(clients: &Clients, jwt: &str, audience: &str, now: TimeMs) -> Result<Asserted, AssertionError> {
    if jwt.len() > ASSERTION_BYTES_MAX || jwt.bytes().filter(|b| *b == b'.').count() != 2 {
        return Err(AssertionError::Shape);
    }
    let header = jsonwebtoken::decode_header(jwt).map_err(|_| AssertionError::Shape)?;
    let kid = header.kid.as_deref().ok_or(AssertionError::Header)?;
    // keys come from the registration alone; no key set has a registered URL, so no `jku` can equal it
    let foreign_key = header.jwk.is_some() || header.jku.is_some() || header.x5u.is_some() || header.x5c.is_some();
    let typed = header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT"));
    let known = matches!(header.alg, Algorithm::ES384 | Algorithm::RS384);
    if !typed || !known || foreign_key || header.crit.is_some() || header.extras.inner().contains_key("b64") {
        return Err(AssertionError::Header);
    }
    // who it claims to be decides which keys are tried; nothing else of it is believed before the signature holds
    let claimed: Claims =
        jsonwebtoken::dangerous::insecure_decode_claims(jwt).map_err(|_| AssertionError::Claims("shape"))?;
    let client = clients.get(&claimed.iss).ok_or(AssertionError::Unknown)?;
    let key = client.key(kid, header.alg).ok_or(AssertionError::Unknown)?;
    let mut validation = Validation::new(header.alg);
    // times are judged below by the clock that was handed in; names here too, strictly
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_audience(&[audience]);
    validation.set_issuer(&[&client.id]);
    validation.sub = Some(client.id.clone());
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let verified = jsonwebtoken::decode::<Claims>(jwt, key, &validation).map_err(|e| match e.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidSignature => AssertionError::Signature,
        _ => AssertionError::Claims("iss, sub or aud"),
    })?;
    let claims = verified.claims;
    check_claims(&claims, &client.id, audience, now / 1000)?;
    Ok(Asserted {
        client: client.clone(),
        replay: Parts::new("cs1/assertion").bytes(claims.iss.as_bytes()).bytes(claims.jti.as_bytes()).hash(),
        remember_until: claims.exp.saturating_add(LEEWAY_SECONDS + 1).saturating_mul(1000),
    })
}

fn check_claims(claims: &Claims, client: &str, audience: &str, now: u64) -> Result<(), AssertionError> {
    let refuse = |what| Err(AssertionError::Claims(what));
    if claims.iss != client || claims.sub != client {
        return refuse("iss or sub");
    }
    if !claims.aud.names(audience) {
        return refuse("aud");
    }
    if claims.exp.saturating_add(LEEWAY_SECONDS) < now {
        return refuse("exp passed");
    }
    if claims.exp > now + LIFETIME_SECONDS_MAX + LEEWAY_SECONDS {
        return refuse("exp too far ahead");
    }
    if claims.nbf.is_some_and(|nbf| nbf > now + LEEWAY_SECONDS) {
        return refuse("nbf");
    }
    if claims.iat.is_some_and(|iat| iat > now + LEEWAY_SECONDS) {
        return refuse("iat");
    }
    if claims.jti.is_empty() || claims.jti.len() > JTI_BYTES_MAX {
        return refuse("jti");
    }
    Ok(())
}
