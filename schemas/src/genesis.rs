//! The genesis: the first validators and institutions. Its hash is the chain id, so every signature is bound to it. It is
//! the only thing that a verifier must get from somewhere it trusts.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ballot;
use crate::cbor::Parts;
use crate::cose;
use crate::id::{ChainId, PublicKey, Signature, TimeMs};
use crate::limits;
use crate::transaction::RegisterInstitution;

/// The genesis file (`genesis.json`).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct Genesis {
    /// When the chain was made.
    #[n(0)]
    pub created: TimeMs,
    /// Validators of epoch 0, in order of index.
    #[n(1)]
    pub validators: Vec<Validator>,
    /// The first institutions.
    #[n(2)]
    pub institutions: Vec<GenesisInstitution>,
}

/// A validator of an epoch; those of epoch 0 are the genesis'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct Validator {
    /// Its name for people: letters, digits, `-`.
    #[n(0)]
    pub name: String,
    /// Key that signs votes and whose certificate opens connections.
    #[n(1)]
    pub key: PublicKey,
}

/// An institution of the genesis with its proof of possession.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct GenesisInstitution {
    /// Its name for people.
    #[n(0)]
    pub name: String,
    /// What is registered.
    #[n(1)]
    pub register: RegisterInstitution,
    /// Signature of its key over `possession_to_sign`.
    #[n(2)]
    pub possession: Signature,
}

/// A genesis that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Not JSON of the expected shape.
    #[error("genesis file: line {line}, column {column}: {message}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What serde said; the file holds nothing secret.
        message: String,
    },
    /// Too many or too few of something, or one twice.
    #[error("genesis: {0}")]
    Contradiction(&'static str),
}

/// What is said of names that cannot be.
pub const NAMES: &str = "expected every validator's name once, of at most 32 letters, digits and -";

impl Genesis {
    /// Reads the file and checks its bounds. Signatures are checked by `ledger-proof`.
    ///
    /// # Errors
    /// `GenesisError` with line and column, or what contradicts.
    pub fn parse(text: &str) -> Result<Self, GenesisError> {
        let genesis: Self = serde_json::from_str(text).map_err(|e| GenesisError::Malformed {
            line: e.line(),
            column: e.column(),
            message: e.to_string(),
        })?;
        let n = genesis.validators.len();
        if n == 0 || n > limits::VALIDATORS_MAX {
            return Err(GenesisError::Contradiction("expected 1 to 64 validators"));
        }
        if genesis.institutions.len() > limits::INSTITUTIONS_MAX {
            return Err(GenesisError::Contradiction("expected at most 1024 institutions"));
        }
        if !genesis.has_proper_names() {
            return Err(GenesisError::Contradiction(NAMES));
        }
        let mut keys: Vec<_> = genesis.validators.iter().map(|v| v.key).collect();
        keys.extend(genesis.institutions.iter().map(|i| i.register.key));
        keys.extend(genesis.institutions.iter().flat_map(|i| i.register.gateways.iter().copied()));
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(GenesisError::Contradiction("expected every key once"));
        }
        Ok(genesis)
    }

    /// Whether every validator has its own name that can be one: people and configurations call them by it, and so do later epochs.
    pub fn has_proper_names(&self) -> bool {
        let mut names: Vec<_> = self.validators.iter().map(|validator| validator.name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).all(|pair| pair[0] != pair[1]) && names.iter().all(|name| ballot::is_name(name))
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// H("cs1/genesis" ‖ genesis): what every signature is bound to.
    pub fn chain_id(&self) -> ChainId {
        ChainId(Parts::new("cs1/genesis").part(self).hash().0)
    }

    /// Public keys of the validators in order of index.
    pub fn validator_keys(&self) -> Vec<PublicKey> {
        self.validators.iter().map(|v| v.key).collect()
    }
}

/// What an institution's key signs to prove that it is held.
pub fn possession_to_sign(register: &RegisterInstitution) -> Vec<u8> {
    let payload = Parts::new("cs1/possession").part(register).finish();
    cose::sig_structure(b"", &payload)
}
