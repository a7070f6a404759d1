//! Finds a patient of one hospital by an identifier that people use: the vault turns it into an alias, the database knows whose it is.
//! Stands where an operator of the hospital asks; an identifier is never stored or printed.

use gateway_server::config::Config;
use gateway_server::store::{Store, subjects, units};
use gateway_vault::Vault;
use schemas::id::SubjectId;

use crate::failure::{Exit, Failure};

/// The parts of a gateway that the operator's commands stand on.
pub struct Custody {
    /// The keys.
    pub vault: Vault,
    /// The database.
    pub store: Store,
}

/// A patient of this hospital.
pub struct Patient {
    /// The pseudonym on the ledger.
    pub subject: SubjectId,
    /// The id of the Patient resource, when there is one.
    pub logical_id: Option<String>,
}

impl Custody {
    /// Opens a gateway's vault and database; the gateway may run beside.
    ///
    /// # Errors
    /// Usage when a file is wrong, unavailable when the database is.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let vault = Vault::open(&config.vault.dir).map_err(Failure::usage)?;
        let url = config.database_url().map_err(Failure::usage)?;
        let store = Store::open(&url).await.map_err(|e| Failure::starting(e.class(), e))?;
        Ok(Self { vault, store })
    }

    /// The patient with an identifier `system|value`.
    ///
    /// # Errors
    /// Usage when the text is no identifier, failed when nobody has it.
    pub async fn patient(&self, identifier: &str) -> Result<Patient, Failure> {
        let Some((system, value)) = identifier.split_once('|') else {
            return Err(Failure::usage("--patient: found no `|`, expected an identifier as `system|value`"));
        };
        let alias = self.vault.alias(system, value);
        let failed = |e: gateway_server::store::StoreError| Failure::classed(e.class(), e);
        let found = subjects::by_aliases(&self.store, &[alias]).await.map_err(failed)?;
        let Some(subject) = found.get(&alias).copied() else {
            return Err(Failure::new(Exit::Failed, "--patient: found nobody with this identifier at this hospital"));
        };
        let heads = units::heads(&self.store, &subject, Some("Patient")).await.map_err(failed)?;
        Ok(Patient { subject, logical_id: heads.into_iter().next().map(|unit| unit.logical_id) })
    }
}
