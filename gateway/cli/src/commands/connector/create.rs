//! `chartseal connector new|schema`: the file of a connector as its owner will edit it, and the schema beside it. What is written
//! must be valid as it stands.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use gateway_server::config::connector;
use serde_json::json;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, good};

/// The schema's name beside the connectors.
const SCHEMA_FILE: &str = "connector.schema.json";

/// Of every kind that brings HL7 v2 messages.
const HL7V2: &str = r#"# What its messages leave unsaid. An assigning authority that is no URI is that of the sending facility alone, unless it is named here
# or in the gateway's file.
# [hl7v2]
# zone = "Europe/Berlin"               # of times that name none; otherwise the gateway's
# charset = "8859/1"                   # where MSH-18 is empty; otherwise UTF-8
# authorities = { MRN = "urn:oid:2.999.1" }
"#;

/// Arguments of `connector new`.
#[derive(clap::Args)]
pub struct Args {
    /// `amqp`, `mllp`, `bridge`, `fhir` or `fhir-hook`.
    #[arg(value_parser = ["amqp", "mllp", "bridge", "fhir", "fhir-hook"])]
    kind: String,
    /// Its name: part of what identifies a source's resources, so it is never changed. Letters, digits, `-`, `.`, `_`.
    name: String,
    /// The folder of connectors, beside the gateway's configuration.
    #[arg(long, default_value = connector::FOLDER)]
    dir: PathBuf,
}

/// Runs `connector new`.
pub fn run(args: &Args, output: Output) -> Outcome {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if args.name.is_empty() || args.name.len() > 64 || !args.name.chars().all(plain) || args.name.starts_with('.') {
        return Err(Failure::usage("found another name, expected 1 to 64 letters, digits, `-`, `.` or `_`"));
    }
    let failed = |path: &Path, e: std::io::Error| Failure::usage(format_args!("{}: {e}", path.display()));
    std::fs::create_dir_all(&args.dir).map_err(|e| failed(&args.dir, e))?;
    let file = args.dir.join(format!("{}.toml", args.name));
    let text = match args.kind.as_str() {
        "amqp" => amqp(&args.name),
        "mllp" => mllp(&args.name),
        "bridge" => bridge(&args.name),
        "fhir" => fhir(&args.name),
        _ => fhir_hook(&args.name),
    };
    let created = std::fs::File::create_new(&file).and_then(|mut new| new.write_all(text.as_bytes()));
    created.map_err(|e| failed(&file, e))?;
    let schema = args.dir.join(SCHEMA_FILE);
    std::fs::write(&schema, connector::schema()).map_err(|e| failed(&schema, e))?;
    output.line(format_args!("{} {}", good("written"), file.display()));
    output.line(format_args!("edit it, then: chartseal connector validate {}", file.display()));
    output.document(&json!({ "file": file, "schema": schema }))?;
    Ok(Exit::Done)
}

/// Runs `connector schema`.
pub fn schema(output: Output) -> Outcome {
    output.bytes(connector::schema().as_bytes())
}

fn mllp(name: &str) -> String {
    format!(
        r#"#:schema ./{SCHEMA_FILE}
# {name}: an MLLP listener. The file's name is the connector's, unless `name` says otherwise; it is never changed.
kind = "mllp"
listen = "127.0.0.1:2575"
# Another address than loopback needs TLS, or a network that is said to be trusted.
# tls_certificate = "{name}.pem"       # paths are taken from this file's folder
# tls_key = "{name}.key"
# tls_clients = "senders.pem"          # certificates that vouch for the senders': every sender needs one then
# trusted_network = true
# connections_max = 64
# unsettled_max = 512                  # messages that are taken and not yet acknowledged
# message_bytes_max = 16777216
# idle_ms = 43200000                   # a connection on which nothing moves is closed
{HL7V2}# What became of a message is told where its MSH-16 asks for it: AA once it is anchored, AE with code and place where it was refused.
# [application_ack]
# address = "127.0.0.1:2576"           # the listener of the sender's system
# tls_roots = "hospital-ca.pem"        # certificates that vouch for it; needed unless it is near or the network trusted
# tls_certificate = "{name}.pem"       # shown to it
# tls_key = "{name}.key"
"#
    )
}

fn amqp(name: &str) -> String {
    format!(
        r##"#:schema ./{SCHEMA_FILE}
# {name}: a queue of a RabbitMQ broker. The file's name is the connector's, unless `name` says otherwise; it is never changed.
kind = "amqp"
url = "amqp://127.0.0.1:5672/%2f"      # with a password: "amqp://user:${{file:/run/secrets/{name}}}@host:5672/%2f"
exchange = "hospital.events"           # a durable topic exchange
queue = "chartseal.{name}"             # a quorum queue; limits and dead letters come from the broker's policy for ^chartseal\.
bindings = ["#"]                       # routing keys
# A broker on another machine is reached over TLS: url = "amqps://host:5671/%2f"
# tls_roots = "broker-ca.pem"          # certificates that vouch for the broker's; without it the system's
# tls_certificate = "{name}.pem"       # a client certificate, where the broker asks for one
# tls_key = "{name}.key"               # which only its owner can read
# auth = "external"                    # logs in by that certificate, without a password
# management_url = "https://host:15671"   # for `chartseal doctor`: policies and bindings are read there
# prefetch = 512                       # deliveries that are taken and not yet acknowledged
# lanes = 1                            # queues that are read side by side, each in order; see connectors/README.md
# content_type = "x-application/hl7-v2+er7"   # of messages that state none
{HL7V2}"##
    )
}

fn bridge(name: &str) -> String {
    format!(
        r##"#:schema ./{SCHEMA_FILE}
# {name}: from an MLLP listener into an exchange of a RabbitMQ broker. Senders hear from it when the broker has confirmed their message.
kind = "bridge"

[mllp]
listen = "127.0.0.1:2575"              # as for a connector of kind mllp
# tls_certificate = "{name}.pem"
# tls_key = "{name}.key"
# tls_clients = "senders.pem"

[amqp]
url = "amqp://127.0.0.1:5672/%2f"      # with a password: "amqp://user:${{file:/run/secrets/{name}}}@host:5672/%2f"
exchange = "hospital.events"           # a durable topic exchange
routing_key = "{name}.hl7"             # about the sender, never about a patient
# tls_roots, tls_certificate, tls_key, auth as for a connector of kind amqp, with an address amqps://
"##
    )
}

fn fhir(name: &str) -> String {
    format!(
        r##"#:schema ./{SCHEMA_FILE}
# {name}: a FHIR R4 server that is polled. The file's name is the connector's, unless `name` says otherwise; it is never changed.
kind = "fhir"
types = ["Patient", "Observation"]     # patients first, so that their identifiers are known when others refer to them
# mode = "history"                     # every version; otherwise the newest of each resource
# since = "2026-01-01T00:00:00Z"       # where it begins: the transaction time of `connector import`, if that came first
# interval_ms = 10000
# count = 200                          # resources of one page
# overlap_ms = 60000                   # how far each look reaches back, for clocks and indexes that lag

[server]
base = "http://127.0.0.1:8080/fhir"    # another address than loopback needs https, or a network that is said to be trusted
# trusted_network = true
# tls_roots = "authority.pem"          # paths are taken from this file's folder
# tls_certificate = "{name}.pem"       # shown to the server
# tls_key = "{name}.key"
# token_file = "{name}.token"          # a bearer token, or a login:

# [server.login]                       # SMART backend services
# client_id = "chartseal"
# key_file = "{name}.login.key"        # PKCS #8: P-384, P-256 or RSA
# key_id = "key-1"
# scopes = ["system/*.rs"]
# token_url = "https://…/token"        # otherwise the server's smart-configuration is asked
"##
    )
}

fn fhir_hook(name: &str) -> String {
    format!(
        r##"#:schema ./{SCHEMA_FILE}
# {name}: notifications of a FHIR server's subscriptions, taken at /hooks/{name} of the gateway's listener. The file's name is the
# connector's, unless `name` says otherwise; it is never changed.
kind = "fhir-hook"
secret_file = "{name}.secret"          # at least 32 bytes in one line; the server sends it as `Authorization: Bearer …`
# make it: (umask 077; head -c 32 /dev/urandom | base64 > {name}.secret)

# [server]                             # where resources are fetched that a notification only names
# base = "https://ehr.example/fhir"    # and the rest as for a connector of kind fhir
"##
    )
}
