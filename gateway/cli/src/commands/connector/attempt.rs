//! `chartseal connector try NAME FILE`: one file through the same normalising as the way in, with plain ids instead of the
//! vault's. Prints the document of commands.md; bytes of resources are never re-spelt.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use connectors_hl7v2::{Explained, MapError, Mapped, is_empty_batch, message_ranges, miscounted};
use gateway_server::config::{Config, ConnectorConfig};
use gateway_server::ingest::normalise::{Canonical, Format, Normaliser};
use schemas::cbor::Parts;
use schemas::json::Value;

use crate::commands::run::load_with_connectors;
use crate::failure::{Exit, Failure, Outcome, read};
use crate::output::{Output, bad, strong};

/// The dead letter of a batch that counts other messages than came.
const MISCOUNTED: &str = "batch-count";

/// Arguments of `connector try`.
#[derive(clap::Args)]
pub struct Args {
    /// `hl7v2`, `fhir`, or the name of a connector of the configuration.
    name: String,
    /// The file: one message, several, a batch; a FHIR resource or a Bundle. `-` reads standard input.
    file: PathBuf,
    /// Adds, per element, the rule and the field that made it.
    #[arg(long)]
    explain: bool,
    /// A gateway's configuration, for its tables, zone and connectors.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
    config: Option<PathBuf>,
}

/// What became of a file.
struct Tried {
    message_type: Option<String>,
    cases: Vec<(String, Value)>,
    unmapped: Vec<String>,
    errors: Vec<Refused>,
    explained: Vec<Explained>,
}

/// A refused message.
struct Refused {
    code: String,
    path: String,
    offset: Option<usize>,
    message: String,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let config = args.config.as_deref().map(|path| load_with_connectors(path, output)).transpose()?;
    let body = input(args)?;
    let format = format(&args.name, config.as_ref(), &body)?;
    let normaliser = normaliser(config.as_ref())?;
    super::name_doubts(&normaliser.mapper, output);
    let tried = attempt(format, &args.name, &body, &normaliser, args.explain);
    let accepted = !tried.cases.is_empty() || tried.errors.is_empty();
    if output.json {
        output.bytes(&to_document(tried, args.explain))?;
    } else {
        print_text(&tried, output);
    }
    Ok(if accepted { Exit::Done } else { Exit::Failed })
}

/// What the way in normalises with, without keys.
///
/// # Errors
/// Usage.
pub fn normaliser(config: Option<&Config>) -> Result<Normaliser, Failure> {
    Ok(Normaliser {
        mapper: super::mapper(config)?,
        zone: config.map_or_else(|| "+00:00".into(), |c| c.gateway.zone.clone()),
        authorities: config.map(|c| c.gateway.authorities.clone()).unwrap_or_default(),
        sources: config.map(Config::hl7_defaults).unwrap_or_default(),
        assigns: BTreeMap::new(),
    })
}

/// The document of `connector try NAME --json` for these bytes.
pub fn document(format: Format, name: &str, body: &[u8], normaliser: &Normaliser) -> Vec<u8> {
    to_document(attempt(format, name, body, normaliser, false), false)
}

fn attempt(format: Format, name: &str, body: &[u8], normaliser: &Normaliser, explain: bool) -> Tried {
    match format {
        Format::Hl7v2 => {
            let mapped = if is_empty_batch(body) {
                Mapped::default()
            } else {
                normaliser.mapper.map(body, &normaliser.options(name, &plain_id, explain))
            };
            let mut tried = of_hl7(mapped);
            if miscounted(body).is_some() && !message_ranges(body).is_empty() {
                tried.errors.push(Refused {
                    code: MISCOUNTED.into(),
                    path: "BTS-1".into(),
                    offset: None,
                    message:
                        "the batch counts other messages than it holds: the lines around them become a dead letter"
                            .to_owned(),
                });
            }
            tried
        }
        Format::Fhir => match normaliser.normalise_with(format, name, body, &plain_id) {
            Ok(canonical) => of_fhir(&canonical),
            Err(refusal) => Tried {
                message_type: None,
                cases: Vec::new(),
                unmapped: Vec::new(),
                errors: vec![Refused {
                    code: refusal.code.into(),
                    path: refusal.path.clone(),
                    offset: None,
                    message: refusal.to_string(),
                }],
                explained: Vec::new(),
            },
        },
    }
}

fn input(args: &Args) -> Result<Vec<u8>, Failure> {
    if args.file.as_os_str() != "-" {
        return read(&args.file);
    }
    let mut body = Vec::new();
    let most = schemas::limits::MESSAGE_BYTES_MAX as u64;
    std::io::stdin().take(most).read_to_end(&mut body).map_err(Failure::usage)?;
    Ok(body)
}

/// By the kind that the name says; a configured connector takes both, so the bytes decide.
fn format(name: &str, config: Option<&Config>, body: &[u8]) -> Result<Format, Failure> {
    match name {
        "hl7v2" => Ok(Format::Hl7v2),
        "fhir" => Ok(Format::Fhir),
        _ if config.is_some_and(|c| c.connectors.iter().map(ConnectorConfig::name).any(|n| n == name)) => {
            Format::of("", body).map_err(|e| Failure::new(Exit::Failed, e))
        }
        _ => Err(Failure::usage(format_args!(
            "found the connector `{name}`, expected hl7v2, fhir or a name of the configuration (--config)"
        ))),
    }
}

/// A logical id without keys: the same key gives the same id, as in the vault.
fn plain_id(resource_type: &str, key: &[&str]) -> String {
    let parts = key.iter().fold(Parts::new("chartseal/try").part(&resource_type), |parts, part| parts.part(part));
    let mut id = parts.hash().to_string();
    id.truncate(32);
    id
}

fn of_hl7(mapped: Mapped) -> Tried {
    let refused =
        |e: MapError| Refused { code: e.code.into(), path: e.path, offset: Some(e.offset), message: e.message };
    let mut errors: Vec<Refused> = mapped.errors.into_iter().map(refused).collect();
    let mut cases = Vec::new();
    for case in mapped.cases {
        // as the way in does where tables are a site's own
        match case.bundle.list("entry").iter().filter_map(|entry| entry.get("resource")).find_map(not_fhir) {
            Some(error) => errors.push(error),
            None => cases.push((case.message_type, case.bundle)),
        }
    }
    let (message_type, unmapped, explained) = (mapped.message_type, mapped.unmapped, mapped.explained);
    Tried { message_type, cases, unmapped, errors, explained }
}

fn not_fhir(resource: &Value) -> Option<Refused> {
    let kind = resource.resource_type()?;
    let problem = schemas_fhir::check(kind, &resource.canonical()).err()?;
    let message = "the tables make an element that R4 does not have so (`--explain` names the row)".to_owned();
    let path = format!("{kind}.{}", problem.path);
    Some(Refused { code: "bad-mapping".into(), path: path.trim_end_matches('.').to_owned(), offset: None, message })
}

fn of_fhir(canonical: &Canonical) -> Tried {
    let message_type = canonical.message_type().to_owned();
    let bundle = |units: Vec<Value>| {
        let entries = units.into_iter().map(|resource| Value::object([("resource", resource)])).collect();
        Value::object([
            ("resourceType", Value::string("Bundle")),
            ("type", Value::string("collection")),
            ("entry", Value::Array(entries)),
        ])
    };
    Tried {
        cases: canonical
            .cases()
            .iter()
            .map(|case| (message_type.clone(), bundle(case.units.iter().map(|u| u.resource.clone()).collect())))
            .collect(),
        message_type: Some(message_type),
        unmapped: canonical.unmapped().to_vec(),
        errors: Vec::new(),
        explained: Vec::new(),
    }
}

fn to_document(tried: Tried, explain: bool) -> Vec<u8> {
    let text = |text: String| Value::string(text);
    let message_type = tried.message_type.map_or(Value::Null, text);
    let cases = tried.cases.into_iter();
    let cases = cases.map(|(kind, bundle)| Value::object([("messageType", text(kind)), ("bundle", bundle)])).collect();
    let errors = tried.errors.into_iter().map(|e| {
        let mut members = vec![("code", text(e.code)), ("path", text(e.path)), ("message", text(e.message))];
        let offset = e.offset.and_then(|at| schemas::json::Number::from_token(&at.to_string()));
        members.extend(offset.map(|at| ("offset", Value::Number(at))));
        Value::object(members)
    });
    let mut members = vec![
        ("messageType", message_type),
        ("cases", Value::Array(cases)),
        ("unmapped", Value::Array(tried.unmapped.into_iter().map(text).collect())),
        ("errors", Value::Array(errors.collect())),
    ];
    if explain {
        let explained = tried.explained.into_iter();
        let explained = explained
            .map(|e| Value::object([("element", text(e.element)), ("rule", text(e.rule)), ("field", text(e.field))]));
        members.push(("explained", Value::Array(explained.collect())));
    }
    let mut bytes = Value::object(members).to_bytes();
    bytes.push(b'\n');
    bytes
}

fn print_text(tried: &Tried, output: Output) {
    for (kind, bundle) in &tried.cases {
        output.line(strong(kind));
        for entry in bundle.list("entry") {
            if let Some(resource) = entry.get("resource") {
                output.line(String::from_utf8_lossy(&resource.to_bytes()));
            }
        }
    }
    for explained in &tried.explained {
        output.line(format_args!("  {:50} {:36} {}", explained.element, explained.rule, explained.field));
    }
    if !tried.unmapped.is_empty() {
        output.line(format_args!("{} {}", strong("unmapped"), tried.unmapped.join(" ")));
    }
    for error in &tried.errors {
        let at = error.offset.map(|at| format!(" (byte {at})")).unwrap_or_default();
        output.line(format_args!("{} {} {}{at}: {}", bad("error"), error.code, error.path, error.message));
    }
}
