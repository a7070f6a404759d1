//! Where messages come from: sections of the gateway's file, and `connectors.d` beside it, one connector a file. What may differ
//! between sites or be secret stands outside: `${NAME}` is a variable of the environment, `${file:PATH}` the one line of a file, both
//! inside quoted text only. It must never repeat such a value in an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use connectors_amqp::{AmqpConfig, PublisherConfig};
use connectors_fhir::{FhirConfig, HookConfig};
use connectors_mllp::MllpConfig;
use connectors_source::Hl7Defaults;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ConfigError, place};

/// The folder beside the gateway's file.
pub const FOLDER: &str = "connectors.d";
/// Most files in it.
const FILES_MAX: usize = 1_000;

/// One connector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ConnectorConfig {
    /// AMQP 0-9-1.
    Amqp(AmqpConfig),
    /// MLLP listener.
    Mllp(MllpConfig),
    /// From an MLLP listener into an exchange of a broker.
    Bridge(BridgeConfig),
    /// A FHIR server that is polled.
    Fhir(FhirConfig),
    /// Notifications of a FHIR server's subscriptions.
    #[serde(rename = "fhir-hook")]
    FhirHook(HookConfig),
}

/// `kind = "bridge"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BridgeConfig {
    /// Name in metrics: letters, digits, `-`.
    pub name: String,
    /// Where it listens. Its `name` is the bridge's.
    pub mllp: MllpConfig,
    /// Where it publishes. The header `chartseal-lane` says in which of 1,024 buckets the patient is, for connectors with lanes.
    pub amqp: PublisherConfig,
}

/// The kinds, as they are spelt.
pub const KINDS: &[&str] = &["amqp", "mllp", "bridge", "fhir", "fhir-hook"];

impl ConnectorConfig {
    /// The connector's name: part of what identifies a source's resources, so it is never changed.
    pub fn name(&self) -> &str {
        match self {
            Self::Amqp(amqp) => &amqp.name,
            Self::Mllp(mllp) => &mllp.name,
            Self::Bridge(bridge) => &bridge.name,
            Self::Fhir(fhir) => &fhir.name,
            Self::FhirHook(hook) => &hook.name,
        }
    }

    /// Its kind, one of `KINDS`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Amqp(_) => "amqp",
            Self::Mllp(_) => "mllp",
            Self::Bridge(_) => "bridge",
            Self::Fhir(_) => "fhir",
            Self::FhirHook(_) => "fhir-hook",
        }
    }

    /// What its HL7 v2 messages leave unsaid; none where it brings none into the gateway.
    pub const fn hl7_defaults(&self) -> Option<&Hl7Defaults> {
        match self {
            Self::Amqp(amqp) => Some(&amqp.hl7v2),
            Self::Mllp(mllp) => Some(&mllp.hl7v2),
            Self::Bridge(_) | Self::Fhir(_) | Self::FhirHook(_) => None,
        }
    }

    /// Where it listens itself.
    pub const fn listens(&self) -> Option<SocketAddr> {
        match self {
            Self::Mllp(mllp) => Some(mllp.listen),
            Self::Bridge(bridge) => Some(bridge.mllp.listen),
            Self::Amqp(_) | Self::Fhir(_) | Self::FhirHook(_) => None,
        }
    }

    /// Whether the values make sense together.
    ///
    /// # Errors
    /// What was found and expected, without secrets.
    pub fn check(&self) -> Result<(), String> {
        self.hl7_defaults().map_or(Ok(()), check_hl7)?;
        match self {
            Self::Amqp(amqp) => amqp.check(),
            Self::Mllp(mllp) => mllp.check(),
            Self::Bridge(bridge) => {
                if bridge.mllp.hl7v2 != Hl7Defaults::default() {
                    let expected = "expected it in the connector that takes the messages from the broker";
                    return Err(format!("hl7v2: found it in a bridge, which maps nothing; {expected}"));
                }
                if bridge.mllp.application_ack.is_some() {
                    let expected =
                        "expected it in a connector of kind mllp: a bridge does not know what becomes of a message";
                    return Err(format!("application_ack: found it in a bridge, {expected}"));
                }
                MllpConfig { name: bridge.name.clone(), ..bridge.mllp.clone() }.check()?;
                bridge.amqp.check()
            }
            Self::Fhir(fhir) => fhir.check(),
            Self::FhirHook(hook) => hook.check(),
        }
    }

    /// What is allowed and yet seldom meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        match self {
            Self::Amqp(amqp) => amqp.warnings(),
            Self::Mllp(mllp) => mllp.warnings(),
            Self::Bridge(bridge) => bridge.mllp.warnings().into_iter().chain(bridge.amqp.warnings()).collect(),
            Self::Fhir(fhir) => fhir.warnings(),
            Self::FhirHook(hook) => hook.warnings(),
        }
    }

    /// Every file that it names.
    pub fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Amqp(amqp) => amqp.files_mut().collect(),
            Self::Mllp(mllp) => mllp.files_mut().collect(),
            Self::Bridge(bridge) => bridge.mllp.files_mut().chain(bridge.amqp.files_mut()).collect(),
            Self::Fhir(fhir) => fhir.files_mut().collect(),
            Self::FhirHook(hook) => hook.files_mut().collect(),
        }
    }

    /// Relative paths are taken from `folder`.
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.files_mut().into_iter().for_each(|file| *file = folder.join(&*file));
    }
}

/// What is expected of a zone.
pub(super) const ZONE: &str =
    "found an unknown zone, expected an offset such as `+01:00` or an IANA name such as `Europe/Berlin`";

fn check_hl7(defaults: &Hl7Defaults) -> Result<(), String> {
    if defaults.zone.as_deref().is_some_and(|zone| !connectors_hl7v2::is_zone(zone)) {
        return Err(format!("zone: {ZONE}"));
    }
    if defaults.charset.as_deref().is_some_and(|name| !connectors_hl7v2::is_charset(name)) {
        return Err("charset: found an unknown character set, expected one of HL7 table 0211 such as `8859/1`, or a name of the \
                    web such as `windows-1252`"
            .into());
    }
    Ok(())
}

/// The JSON Schema of a connector's file, for editors: `schemas/config/connector.schema.json` is this text.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(ConnectorConfig).to_value();
    for kind in schema.get_mut("oneOf").and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
        // that of the file, where it is left out
        if let Some(required) = kind.get_mut("required").and_then(serde_json::Value::as_array_mut) {
            required.retain(|name| name != "name");
        }
    }
    format!("{schema:#}\n")
}

/// The folder beside a gateway's file.
pub fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).join(FOLDER)
}

/// The files of a folder in the order of their names, each read and checked; none where there is no folder. One that cannot be looked
/// through is a fault: an empty set would stop every feed.
pub fn read_folder(folder: &Path) -> Vec<(PathBuf, Result<ConnectorConfig, ConfigError>)> {
    let fault = |message: String| {
        let error = ConfigError { file: folder.to_owned(), place: None, message, suggestion: None };
        vec![(folder.to_owned(), Err(error))]
    };
    let unreadable = |e: &std::io::Error| format!("found no readable folder ({}), expected connectors", e.kind());
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => return fault(unreadable(&e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => files.extend(Some(entry.path()).filter(|path| is_connector(path))),
            Err(e) => return fault(unreadable(&e)),
        }
    }
    if files.len() > FILES_MAX {
        return fault(format!("found {} connectors, expected at most {FILES_MAX}", files.len()));
    }
    files.sort();
    files.into_iter().map(|file| (file.clone(), read(&file))).collect()
}

/// A connector that is not in the way of others: of another name, on another port.
///
/// # Errors
/// `ConfigError` in its file.
pub fn apart(
    connector: ConnectorConfig,
    file: &Path,
    others: &[ConnectorConfig],
) -> Result<ConnectorConfig, ConfigError> {
    let fault = |key: &str, message: String| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        Err(place::of_key(file, &text, key, message))
    };
    if others.iter().any(|other| other.name() == connector.name()) {
        return fault(
            "name",
            format!("name: found `{}`, which another connector has, expected one of its own", connector.name()),
        );
    }
    let taken = |other: &&ConnectorConfig| match (other.listens(), connector.listens()) {
        (Some(other), Some(own)) => {
            let same = other.ip() == own.ip() || other.ip().is_unspecified() || own.ip().is_unspecified();
            other.port() == own.port() && own.port() != 0 && same
        }
        _ => false,
    };
    match others.iter().find(taken) {
        Some(other) => {
            fault("listen", format!("listen: found the address of `{}`, expected one of its own", other.name()))
        }
        None => Ok(connector),
    }
}

fn is_connector(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "toml") && path.is_file()
}

/// Reads one file. Its `name`, where it has none, is that of the file.
///
/// # Errors
/// `ConfigError` with line and column.
pub fn read(file: &Path) -> Result<ConnectorConfig, ConfigError> {
    let unreadable = |e: std::io::Error| ConfigError {
        file: file.to_owned(),
        place: None,
        message: format!("found no readable file ({}), expected a connector", e.kind()),
        suggestion: None,
    };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    parse(text, file, &|name| std::env::var(name).ok())
}

/// Checks a text; `file` is for messages, its name and relative paths, `variable` the environment.
///
/// # Errors
/// As `read`.
pub fn parse(
    text: &str,
    file: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<ConnectorConfig, ConfigError> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let (text, secrets) = expand(text, file, folder, variable)?;
    let mut connector = typed(&text, file).map_err(|error| without(error, &secrets))?;
    connector.check().map_err(|message| {
        let key = message.split(':').next().unwrap_or_default().to_owned();
        without(place::of_key(file, &text, &key, message), &secrets)
    })?;
    connector.resolve(folder);
    Ok(connector)
}

/// Reads the keys of its kind, so that faults have places: serde forgets them where a tag chooses the type.
fn typed(text: &str, file: &Path) -> Result<ConnectorConfig, ConfigError> {
    let fault = |error: &toml::de::Error| place::of_toml(file, text, error);
    let mut table: toml::Table = toml::from_str(text).map_err(|e| fault(&e))?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let named = table.contains_key("name");
    let kind = match table.remove("kind") {
        Some(toml::Value::String(kind)) if KINDS.contains(&kind.as_str()) => kind,
        Some(toml::Value::String(kind)) => {
            let mut error =
                place::of_key(file, text, "kind", format!("found the kind `{kind}`, expected {}", KINDS.join(" or ")));
            error.suggestion = place::nearest(&kind, KINDS.iter().map(|k| (*k).to_owned()));
            return Err(error);
        }
        _ => {
            let message = format!("found no `kind`, expected kind = \"{}\"", KINDS.join("\" or \""));
            return Err(ConfigError { file: file.to_owned(), place: Some((1, 1)), message, suggestion: None });
        }
    };
    // a name takes the place of the kind, so that every other line stays where it is
    let name = if named { String::new() } else { format!("name = {}", toml::Value::String(stem)) };
    let without_kind = |line: &str| match line.strip_suffix('\n') {
        _ if !is_kind(line) => line.to_owned(),
        Some(_) => format!("{name}\n"),
        None => name.clone(),
    };
    let text: String = text.split_inclusive('\n').map(without_kind).collect();
    let fault = |error: &toml::de::Error| place::of_toml(file, &text, error);
    match kind.as_str() {
        "amqp" => toml::from_str(&text).map(ConnectorConfig::Amqp),
        "mllp" => toml::from_str(&text).map(ConnectorConfig::Mllp),
        "bridge" => toml::from_str(&text).map(ConnectorConfig::Bridge),
        "fhir" => toml::from_str(&text).map(ConnectorConfig::Fhir),
        _ => toml::from_str(&text).map(ConnectorConfig::FhirHook),
    }
    .map_err(|e| fault(&e))
}

fn is_kind(line: &str) -> bool {
    let line = line.trim_start();
    let bare = ["\"kind\"", "'kind'", "kind"].into_iter().find_map(|key| line.strip_prefix(key));
    bare.is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// Puts values in the place of `${…}` inside quoted text; gives them back too, so that errors can be kept free of them.
fn expand(
    text: &str,
    file: &Path,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Vec<String>), ConfigError> {
    let (mut out, mut secrets) = (String::with_capacity(text.len()), Vec::new());
    let (mut quote, mut rest) = (None, text);
    while let Some(c) = rest.chars().next() {
        if let (Some(quote), Some(inside)) = (quote, rest.strip_prefix("${")) {
            let at = text.len() - rest.len();
            let fault = |found: String, expected: &str| {
                let mut error = place::of_key(file, text, rest, format!("found {found}, expected {expected}"));
                error.place = Some(place::line_column(text, at));
                error
            };
            let Some((name, behind)) = inside.split_once('}') else {
                return Err(fault("`${` without `}`".into(), "${NAME} or ${file:PATH}"));
            };
            let value = match name.strip_prefix("file:") {
                Some(path) => super::secret(&folder.join(path), "one line")
                    .map_err(|_| fault(format!("`${{{name}}}`, a file that cannot be read"), "its one line"))?,
                None => variable(name).ok_or_else(|| {
                    fault(format!("`${{{name}}}`, which is not set"), "a variable of the environment")
                })?,
            };
            if value.contains(char::is_control) || (quote == '\'' && value.contains('\'')) {
                return Err(fault(format!("a value of `${{{name}}}` with a line break or quote"), "one line"));
            }
            out.push_str(&if quote == '"' { value.replace('\\', "\\\\").replace('"', "\\\"") } else { value.clone() });
            secrets.push(value);
            rest = behind;
            continue;
        }
        let escaped = quote == Some('"') && c == '\\';
        let length = c.len_utf8() + if escaped { rest[1..].chars().next().map_or(0, char::len_utf8) } else { 0 };
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => {
                let comment = rest.find('\n').unwrap_or(rest.len());
                out.push_str(&rest[..comment]);
                rest = &rest[comment..];
                continue;
            }
            (Some(open), _) if c == open || c == '\n' => quote = None,
            _ => {}
        }
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Ok((out, secrets))
}

/// An error without values that came from outside.
fn without(mut error: ConfigError, secrets: &[String]) -> ConfigError {
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        // as it is, and as an error quotes it
        error.message = error.message.replace(secret.as_str(), "…").replace(&*secret.escape_debug().to_string(), "…");
        error.suggestion = error.suggestion.filter(|suggestion| !suggestion.contains(secret.as_str()));
    }
    error
}

#[cfg(test)]
mod tests;
