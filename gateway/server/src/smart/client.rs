//! Registered clients: who may ask for tokens, with which keys and scopes, and as whom their requests are judged by consents.
//! Read once from the configuration; nothing is fetched from a network, so no key set can be swapped on the way.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use gateway_consent::{Coding, Reference};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use schemas::ErrorClass;

use super::scope::{ScopeError, Scopes};
use crate::config::ClientConfig;

/// Most registered clients.
pub const CLIENTS_MAX: usize = 1024;
/// Most keys of one client.
const KEYS_MAX: usize = 16;
/// Largest key set file, in bytes.
const JWKS_BYTES_MAX: u64 = 64 << 10;

/// A registration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The id is empty, too long or has other characters.
    #[error("client {at}: found an id that is none, expected 1 to 128 letters, digits, `-`, `_`, `.`")]
    Id {
        /// Position in the file, from 0.
        at: usize,
    },
    /// Two clients share an id, or there are too many.
    #[error("client {at}: found an id twice or more than {CLIENTS_MAX} clients")]
    Many {
        /// Position in the file, from 0.
        at: usize,
    },
    /// Neither or both of `jwks` and `jwks_file`.
    #[error("client {id}: expected exactly one of `jwks` and `jwks_file`")]
    NoKeys {
        /// The client.
        id: String,
    },
    /// The file cannot be read or is no key set.
    #[error("client {id}: {path}: {what}")]
    File {
        /// The client.
        id: String,
        /// The file.
        path: String,
        /// Why.
        what: String,
    },
    /// A key that cannot verify ES384 or RS384, or a key id that is missing or doubled with another type.
    #[error("client {id}: key {at}: {what}")]
    Key {
        /// The client.
        id: String,
        /// Position in the set.
        at: usize,
        /// Why.
        what: &'static str,
    },
    /// A reference, role or purpose that is none.
    #[error("client {id}: {list}: found an entry that is none, expected {expected}")]
    Entry {
        /// The client.
        id: String,
        /// Which list.
        list: &'static str,
        /// How an entry looks.
        expected: &'static str,
    },
    /// A scope that is none.
    #[error("client {id}: scopes: {source}")]
    Scopes {
        /// The client.
        id: String,
        /// Why.
        source: ScopeError,
    },
}

impl ClientError {
    /// Always the configuration's fault.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

/// A registered client.
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Pre-authorised scopes.
    pub scopes: Scopes,
    /// Names by which consents may know it: organisations, practitioners, roles' holders.
    pub references: Vec<Reference>,
    /// Its roles.
    pub roles: Vec<Coding>,
    /// Its purposes of use; all of them are judged.
    pub purposes: Vec<Coding>,
    keys: Vec<(String, Algorithm, DecodingKey)>,
}

impl Client {
    /// The one key with this id for this algorithm: none or several are a failure alike.
    pub fn key(&self, kid: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut named = self.keys.iter().filter(|(id, _, _)| id == kid);
        match (named.next(), named.next()) {
            (Some((_, alg, key)), None) if *alg == algorithm => Some(key),
            _ => None,
        }
    }
}

/// All registered clients.
#[derive(Clone, Default)]
pub struct Clients(Arc<HashMap<String, Arc<Client>>>);

impl Clients {
    /// Checks the registrations. `own_base`: URLs of references under it are our own.
    ///
    /// # Errors
    /// `ClientError` of the first registration that cannot be used.
    pub fn load(configs: &[ClientConfig], own_base: &str) -> Result<Self, ClientError> {
        let mut out = HashMap::new();
        for (at, config) in configs.iter().enumerate() {
            let is_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if config.id.is_empty() || config.id.len() > 128 || !config.id.bytes().all(is_id) {
                return Err(ClientError::Id { at });
            }
            let client = Arc::new(client(config, own_base)?);
            if at >= CLIENTS_MAX || out.insert(config.id.clone(), client).is_some() {
                return Err(ClientError::Many { at });
            }
        }
        Ok(Self(Arc::new(out)))
    }

    /// The client with this id.
    pub fn get(&self, id: &str) -> Option<&Arc<Client>> {
        self.0.get(id)
    }
}

fn client(config: &ClientConfig, own_base: &str) -> Result<Client, ClientError> {
    let id = config.id.clone();
    let set = match (&config.jwks, &config.jwks_file) {
        (Some(text), None) => read_set(text.as_bytes()).map_err(|what| (String::from("jwks"), what)),
        (None, Some(file)) => read_file(file).map_err(|what| (file.display().to_string(), what)),
        _ => return Err(ClientError::NoKeys { id }),
    };
    let set = set.map_err(|(path, what)| ClientError::File { id: id.clone(), path, what })?;
    if set.keys.is_empty() || set.keys.len() > KEYS_MAX {
        return Err(ClientError::Key { id, at: 0, what: "expected 1 to 16 keys in the set" });
    }
    let keys = set
        .keys
        .iter()
        .enumerate()
        .map(|(at, jwk)| key(jwk).map_err(|what| ClientError::Key { id: id.clone(), at, what }))
        .collect::<Result<_, _>>()?;
    let scopes =
        Scopes::parse(&config.scopes.join(" ")).map_err(|source| ClientError::Scopes { id: id.clone(), source })?;
    let entry = |list, expected| ClientError::Entry { id: id.clone(), list, expected };
    let references = config.references.iter().map(|text| reference(text, own_base)).collect::<Option<_>>();
    let roles = config.roles.iter().map(|text| coding(text)).collect::<Option<_>>();
    let purposes = config.purposes.iter().map(|text| coding(text)).collect::<Option<_>>();
    Ok(Client {
        name: config.name.clone(),
        scopes,
        references: references.ok_or_else(|| entry("references", "such as Organization/b"))?,
        roles: roles.ok_or_else(|| entry("roles", "system|code"))?,
        purposes: purposes.ok_or_else(|| entry("purposes", "system|code"))?,
        keys,
        id,
    })
}

/// `Type/id`, a URL, a `urn:`, or an identifier as `system|value`.
fn reference(text: &str, own_base: &str) -> Option<Reference> {
    if let Some((system, value)) = text.split_once('|') {
        let named = !system.is_empty() && !value.is_empty();
        return named.then(|| Reference::Identifier { system: system.into(), value: value.into() });
    }
    Reference::parse_under(text, own_base)
}

fn coding(text: &str) -> Option<Coding> {
    let (system, code) = text.split_once('|')?;
    (!code.is_empty()).then(|| Coding::new(system, code))
}

fn read_file(path: &Path) -> Result<JwkSet, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > JWKS_BYTES_MAX {
        return Err(format!("found {size} bytes, expected at most {JWKS_BYTES_MAX}"));
    }
    read_set(&std::fs::read(path).map_err(|e| e.to_string())?)
}

fn read_set(bytes: &[u8]) -> Result<JwkSet, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("expected a JSON Web Key Set: {e}"))
}

fn key(jwk: &Jwk) -> Result<(String, Algorithm, DecodingKey), &'static str> {
    let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty()).ok_or("expected a `kid`")?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return Err("found another `use`, expected `sig`");
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => Algorithm::ES384,
        AlgorithmParameters::RSA(_) => Algorithm::RS384,
        _ => return Err("expected an RSA key or an EC key on P-384"),
    };
    if jwk.common.key_algorithm.is_some_and(|named| named != algorithm.into()) {
        return Err("found another `alg`, expected ES384 or RS384 as the key's type says");
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|_| "found a key that does not decode")?;
    Ok((kid, algorithm, key))
}
