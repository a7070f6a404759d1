//! What `HttpLedger` is configured with, and the checks before the first connection: the genesis verifies, the key is
//! readable by its owner only, and there are enough validators. Which of them have a seat, the epochs say.

use std::path::{Path, PathBuf};

use ledger_proof::Epochs;
use schemas::ballot::is_name;
use schemas::block::quorum;
use schemas::genesis::Genesis;
use schemas::limits;
use serde::Deserialize;
use tracing::info;
use zeroize::Zeroizing;

use super::epochs::keys_of;
use super::peer::Peer;
use crate::LedgerError;
use crate::tls::Identity;

/// The `ledger` table of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerConfig {
    /// The genesis file.
    pub genesis: PathBuf,
    /// Where validators are reached: those of the genesis, and those that came later.
    pub validators: Vec<ValidatorAddress>,
    /// Private key (PEM, PKCS#8) whose public key an institution's `transports` names.
    pub key: PathBuf,
    /// Longest time for one answer beside the time that the caller waits, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

/// A validator by its name in the genesis or a later epoch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorAddress {
    /// The name.
    pub name: String,
    /// `https://HOST:PORT` of its RPC.
    pub url: String,
}

const fn default_timeout_ms() -> u64 {
    5_000
}

impl LedgerConfig {
    pub(super) fn load(&self) -> Result<(Genesis, Identity), LedgerError> {
        let genesis = Genesis::parse(&read(&self.genesis)?)?;
        ledger_proof::verify_genesis(&genesis)?;
        check_mode(&self.key)?;
        let pem = Zeroizing::new(read(&self.key)?);
        let identity = Identity::from_pem(&pem)
            .ok_or_else(|| file(&self.key, "found no private key, expected a P-256 key in PEM (PKCS#8)"))?;
        Ok((genesis, identity))
    }

    pub(super) fn peers(&self, epochs: &Epochs, identity: &Identity) -> Result<Vec<Peer>, LedgerError> {
        // an epoch may have fewer validators than the genesis, but not fewer than a ballot can name
        let needed = quorum(epochs.newest().keys().len().min(limits::VALIDATORS_MIN));
        let mut peers: Vec<Peer> = Vec::with_capacity(self.validators.len());
        for address in &self.validators {
            let place = format!("validator \"{}\"", address.name);
            if !is_name(&address.name) {
                let expected = "expected a validator's name: at most 32 letters, digits and -";
                return Err(LedgerError::Config(format!("{place}: {expected}")));
            }
            if peers.iter().any(|peer| peer.name() == address.name) {
                return Err(LedgerError::Config(format!("{place}: found it twice, expected each validator once")));
            }
            if !address.url.starts_with("https://") {
                return Err(LedgerError::Config(format!("{place}: expected a url https://HOST:PORT")));
            }
            let peer = Peer::new(address, identity)?;
            let keys = keys_of(epochs, &address.name);
            if keys.is_empty() {
                info!(validator = address.name, "the genesis does not name it; it is asked once an epoch has it");
            }
            peer.pin(keys);
            peers.push(peer);
        }
        if peers.len() < needed {
            let found = peers.len();
            return Err(LedgerError::Config(format!("found {found} validators, expected at least {needed}")));
        }
        Ok(peers)
    }
}

fn file(path: &Path, message: impl Into<String>) -> LedgerError {
    LedgerError::File { path: path.display().to_string(), message: message.into() }
}

fn read(path: &Path) -> Result<String, LedgerError> {
    std::fs::read_to_string(path).map_err(|e| file(path, format!("cannot be read: {e}")))
}

/// A private key that others can read is refused.
#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), LedgerError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_err(|e| file(path, format!("cannot be read: {e}")))?.permissions().mode();
    if mode & 0o077 != 0 {
        let found = mode & 0o777;
        return Err(file(path, format!("found mode {found:04o}, expected 0600: run chmod 600 on it")));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<(), LedgerError> {
    Ok(())
}
