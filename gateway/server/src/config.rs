//! The gateway's configuration: one TOML file, checked whole before anything starts. Secrets are paths of files, never
//! values. It must never be read again while the gateway runs.

pub mod connector;
mod notify;
mod place;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connectors_source::Hl7Defaults;
use schemas::id::InstitutionId;
use schemas::{ErrorClass, limits};
use serde::Deserialize;

pub use connector::ConnectorConfig;
pub use notify::NotifyConfig;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The gateway itself.
    pub gateway: GatewayConfig,
    /// Where the keys are.
    pub vault: VaultConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// The object store.
    pub objects: ObjectsConfig,
    /// The ledger.
    pub ledger: LedgerSection,
    /// Where messages come from: sections of the file, then those of the folder `connectors.d` beside it.
    #[serde(default, rename = "connector")]
    pub connectors: Vec<ConnectorConfig>,
    /// Registered SMART clients.
    #[serde(default, rename = "client")]
    pub clients: Vec<ClientConfig>,
    /// Where the hospital's systems are told what became of their messages.
    pub notify: Option<NotifyConfig>,
    /// Telemetry.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// What stands in that folder and cannot be read as a connector: it is left out, and touches no other.
    #[serde(skip)]
    pub faults: Vec<ConfigError>,
    /// The file that it was read from.
    #[serde(skip)]
    pub file: PathBuf,
}

/// `[gateway]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Name of the institution, for people.
    pub institution: String,
    /// Its id in the genesis, 32 hex digits.
    pub institution_id: InstitutionId,
    /// Folder for what has no other place.
    pub home: PathBuf,
    /// Listener for FHIR clients, `host:port`.
    pub listen: String,
    /// Listener for operators, `host:port`.
    pub operators: String,
    /// Address under which clients know this gateway, without a slash at the end; default `http(s)://{listen}`.
    pub base_url: Option<String>,
    /// PEM certificate chain of the client listener; required unless `listen` is a loopback address.
    pub tls_certificate: Option<PathBuf>,
    /// PEM key of the client listener.
    pub tls_key: Option<PathBuf>,
    /// Zone of HL7 times that name none: `+01:00`, or an IANA name such as `Europe/Berlin`. A connector may have its own.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// Folder of mapping tables that override the embedded ones by file name.
    pub mappings: Option<PathBuf>,
    /// Largest message, in bytes.
    #[serde(default = "default_message_bytes")]
    pub message_bytes_max: usize,
    /// HL7 assigning authority → FHIR system, so that both name one patient.
    #[serde(default)]
    pub authorities: BTreeMap<String, String>,
}

/// `[vault]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// Folder of the key files, mode 0700.
    pub dir: PathBuf,
}

/// `[database]`: exactly one of the two.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://host/name`.
    pub url: Option<String>,
    /// A file that holds the URL, when it holds a password.
    pub url_file: Option<PathBuf>,
}

/// `[objects]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsConfig {
    /// A folder, `file:///…` or `s3://bucket/prefix` (credentials from the AWS environment).
    pub url: String,
}

/// `[ledger]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSection {
    /// The genesis file.
    pub genesis: PathBuf,
    /// PEM key of this gateway's TLS client; its public key is one of the institution's `transports`.
    pub key: PathBuf,
    /// Longest wait for one answer, in milliseconds.
    #[serde(default = "default_ledger_timeout_ms")]
    pub timeout_ms: u64,
    /// The validators' RPC addresses.
    pub validators: Vec<ValidatorAddress>,
}

/// One validator's RPC address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorAddress {
    /// Its name in the genesis.
    pub name: String,
    /// `https://host:port`.
    pub url: String,
}

/// `[[client]]`: a SMART backend service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// `client_id`.
    pub id: String,
    /// For people.
    pub name: String,
    /// JSON Web Key Set, inline.
    pub jwks: Option<String>,
    /// JSON Web Key Set, a file.
    pub jwks_file: Option<PathBuf>,
    /// Most that it may ask for, SMART v2 scopes.
    pub scopes: Vec<String>,
    /// Identifier systems of which it is an authority: what it says of a Patient's numbers there holds. Those of others it may find patients
    /// by, and a new patient by the first of them.
    #[serde(default)]
    pub assigns: Vec<String>,
    /// References under which consents know it: `Organization/…`, `PractitionerRole/…`.
    #[serde(default)]
    pub references: Vec<String>,
    /// Role codes, `system|code`.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Purposes of use, `system|code`.
    #[serde(default)]
    pub purposes: Vec<String>,
}

/// `[telemetry]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Address of an OTLP/HTTP collector, `http://host:4318`; spans go to `/v1/traces` there.
    pub otlp: Option<String>,
}

fn default_zone() -> String {
    "+00:00".into()
}
const fn default_message_bytes() -> usize {
    limits::MESSAGE_BYTES_DEFAULT
}
const fn default_ledger_timeout_ms() -> u64 {
    5_000
}

/// One fault of a configuration file. `Display` is `file:line:column: found, expected`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}{}", file.display(), place.map(|(l, c)| format!(":{l}:{c}")).unwrap_or_default(),
    suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line and column from 1, where known.
    pub place: Option<(usize, usize)>,
    /// What was found and expected.
    pub message: String,
    /// The known name next to an unknown one.
    pub suggestion: Option<String>,
}

impl ConfigError {
    /// Always the caller's: exit code 64.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

impl Config {
    /// Reads and checks a file, and the connectors beside it; relative paths are taken from its folder. What is wrong with a connector's
    /// file is in `faults`.
    ///
    /// # Errors
    /// `ConfigError` with file, line, column, found and expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
            file: path.to_owned(),
            place: None,
            message: format!("found no readable file ({}), expected a TOML configuration", e.kind()),
            suggestion: None,
        })?;
        let mut config = Self::parse(&text, path)?;
        for (file, read) in connector::read_folder(&connector::folder_of(path)) {
            match read.and_then(|connector| connector::apart(connector, &file, &config.connectors)) {
                Ok(connector) => config.connectors.push(connector),
                Err(fault) => config.faults.push(fault),
            }
        }
        Ok(config)
    }

    /// Checks a text; `path` is for messages and relative paths.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut config: Self = toml::from_str(text).map_err(|e| place::of_toml(path, text, &e))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        config.check(path, text)?;
        config.resolve(folder);
        config.file = path.to_owned();
        Ok(config)
    }

    /// The database's URL, from the file when it is in one.
    ///
    /// # Errors
    /// `ConfigError` when the file cannot be read.
    pub fn database_url(&self) -> Result<String, ConfigError> {
        match (&self.database.url, &self.database.url_file) {
            (Some(url), _) => Ok(url.clone()),
            (None, file) => secret(file.as_deref().unwrap_or(Path::new("")), "a database URL"),
        }
    }

    /// What the messages of each connector leave unsaid, by its name.
    pub fn hl7_defaults(&self) -> BTreeMap<String, Hl7Defaults> {
        let own = |c: &ConnectorConfig| c.hl7_defaults().map(|defaults| (c.name().to_owned(), defaults.clone()));
        self.connectors.iter().filter_map(own).collect()
    }

    fn check(&self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let fault = |at: &str, message: String| Err(place::of_key(path, text, at, message));
        if self.database.url.is_some() == self.database.url_file.is_some() {
            return fault("[database]", "database: expected exactly one of `url` and `url_file`".into());
        }
        if self.gateway.message_bytes_max == 0 || self.gateway.message_bytes_max > limits::MESSAGE_BYTES_MAX {
            let most = limits::MESSAGE_BYTES_MAX;
            return fault("message_bytes_max", format!("gateway.message_bytes_max: expected 1 to {most}"));
        }
        if !connectors_hl7v2::is_zone(&self.gateway.zone) {
            return fault("zone", format!("gateway.zone: {}", connector::ZONE));
        }
        for (key, address) in [("listen", &self.gateway.listen), ("operators", &self.gateway.operators)] {
            if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
                return fault(key, format!("gateway.{key}: expected `host:port`"));
            }
        }
        if self.gateway.tls_certificate.is_some() != self.gateway.tls_key.is_some() {
            return fault("tls_", "gateway: expected `tls_certificate` and `tls_key` together".into());
        }
        if self.ledger.validators.is_empty() {
            return fault("[ledger]", "ledger.validators: expected at least one".into());
        }
        self.check_names(path, text)?;
        for connector in &self.connectors {
            if let Err(message) = connector.check() {
                return fault(connector.name(), format!("connector `{}`: {message}", connector.name()));
            }
        }
        if let Some(Err(message)) = self.notify.as_ref().map(|notify| notify.publisher().check()) {
            return fault("[notify]", message.replacen("amqp", "notify", 1));
        }
        for client in &self.clients {
            if client.jwks.is_some() == client.jwks_file.is_some() {
                let message = format!("client `{}`: expected exactly one of `jwks` and `jwks_file`", client.id);
                return fault(&client.id, message);
            }
        }
        Ok(())
    }

    fn check_names(&self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let mut names: Vec<_> = self.connectors.iter().map(ConnectorConfig::name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => {
                let message = format!("connector.name: found `{}` twice, expected each once", twice[0]);
                Err(place::of_key(path, text, twice[0], message))
            }
            None => Ok(()),
        }
    }

    fn resolve(&mut self, folder: &Path) {
        let absolute = |path: &mut PathBuf| *path = folder.join(&*path);
        absolute(&mut self.gateway.home);
        absolute(&mut self.vault.dir);
        absolute(&mut self.ledger.genesis);
        absolute(&mut self.ledger.key);
        let gateway = &mut self.gateway;
        [&mut gateway.tls_certificate, &mut gateway.tls_key, &mut gateway.mappings, &mut self.database.url_file]
            .into_iter()
            .flatten()
            .for_each(absolute);
        self.clients.iter_mut().filter_map(|c| c.jwks_file.as_mut()).for_each(absolute);
        self.notify.iter_mut().flat_map(NotifyConfig::files_mut).for_each(absolute);
        self.connectors.iter_mut().for_each(|connector| connector.resolve(folder));
        if let Some(file) = self.database.url.as_deref().and_then(|url| url.strip_prefix("sqlite:")) {
            self.database.url = Some(format!("sqlite:{}", folder.join(file.trim_start_matches("//")).display()));
        }
        if !self.objects.url.contains("://") {
            self.objects.url = folder.join(&self.objects.url).display().to_string();
        }
    }
}

/// Reads a secret file's one line.
///
/// # Errors
/// `ConfigError` that names the file and what it should hold.
pub fn secret(file: &Path, expected: &str) -> Result<String, ConfigError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) => Err(ConfigError {
            file: file.to_owned(),
            place: None,
            message: format!("found no readable file ({}), expected {expected}", e.kind()),
            suggestion: None,
        }),
    }
}

#[cfg(test)]
mod tests;
