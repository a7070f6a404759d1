//! The texts of configuration files, commented for the person who will change them. Stands beside the types that read them
//! (`gateway_server::config`, `ledger_node::NodeConfig`); whatever is written here must load there.

use super::{Hospital, ValidatorHome};

/// What of a gateway's configuration differs between init, demo and bench.
#[derive(Default)]
pub struct GatewayPlan<'a> {
    /// The genesis file, from the gateway's folder.
    pub genesis: &'a str,
    /// AMQP source; none leaves the section as a comment.
    pub amqp: Option<AmqpPlan<'a>>,
    /// HL7 assigning authorities and their FHIR systems.
    pub authorities: &'a [(&'a str, &'a str)],
    /// SMART clients.
    pub clients: &'a [ClientPlan<'a>],
}

/// An AMQP source.
pub struct AmqpPlan<'a> {
    /// File that holds the broker's URL, from the gateway's folder.
    pub url_file: &'a str,
    /// The connector's name.
    pub name: &'a str,
    /// Routing keys that are bound to its queue.
    pub bindings: Vec<&'a str>,
}

/// A SMART client.
#[derive(Clone, Copy)]
pub struct ClientPlan<'a> {
    /// `client_id`.
    pub id: &'a str,
    /// For people.
    pub name: &'a str,
    /// Key set file, from the gateway's folder.
    pub jwks_file: &'a str,
    /// Scopes.
    pub scopes: &'a [&'a str],
    /// References under which consents know it.
    pub references: &'a [&'a str],
    /// Purposes of use.
    pub purposes: &'a [&'a str],
}

/// The text of `gateway.toml`.
pub fn gateway(hospital: &Hospital, validators: &[ValidatorHome], plan: &GatewayPlan<'_>) -> String {
    let mut text = head(hospital, validators, plan);
    text.push_str(&match &plan.amqp {
        Some(amqp) => connector(amqp),
        None => commented(&connector(&AmqpPlan { url_file: "amqp.url", name: "ehr", bindings: vec!["#"] })),
    });
    if plan.clients.is_empty() {
        let example = ClientPlan {
            id: "portal",
            name: "Patient portal",
            jwks_file: "portal.jwks.json",
            scopes: &["system/*.rs"],
            references: &["Organization/portal"],
            purposes: &["http://terminology.hl7.org/CodeSystem/v3-ActReason|TREAT"],
        };
        text.push_str(&commented(&client(&example)));
    }
    plan.clients.iter().for_each(|c| text.push_str(&client(c)));
    text
}

fn head(hospital: &Hospital, validators: &[ValidatorHome], plan: &GatewayPlan<'_>) -> String {
    let validators: Vec<_> = validators
        .iter()
        .map(|v| format!("    {{ name = {}, url = {} }},\n", quoted(&v.name), quoted(&format!("https://{}", v.rpc))))
        .collect();
    let authorities: Vec<_> =
        plan.authorities.iter().map(|(name, system)| format!("{} = {}", quoted(name), quoted(system))).collect();
    format!(
        r#"# Gateway of {name}. Paths are taken from this file's folder. Check it with: chartseal connector validate --config gateway.toml

[gateway]
institution = {quoted_name}
institution_id = "{id}"           # as in the genesis; never changed
home = "."
listen = "{listen}"         # FHIR clients; another address than loopback needs tls_certificate and tls_key
operators = "{operators}"      # /livez, /readyz, /metrics: never open to the outside
zone = "+00:00"                   # of HL7 times that name none: an offset, or a name such as "Europe/Berlin"
message_bytes_max = 16777216      # larger messages go to quarantine
# mappings = "mappings"           # your own mapping tables override the embedded ones by file name
# HL7 assigning authorities and the FHIR systems of the same identifiers: both then name one patient. An authority that is not named
# here and has no universal id is taken as that of the sending facility (MSH-4) alone.
authorities = {{ {authorities} }}

[vault]
dir = "keys"                      # root.key, institution.key, gateway.key: mode 0600, back them up apart from the data

[database]
url = "sqlite:gateway.db"         # or url_file = a file that holds postgres://user:password@host/name

[objects]
url = "objects"                   # a folder, or s3://bucket/prefix

[ledger]
genesis = {genesis}
key = "transport.key"             # its public key is one of this institution's transports in the genesis
timeout_ms = 5000
validators = [
{validators}]

[telemetry]
# otlp = "http://127.0.0.1:4318"  # spans go there

"#,
        name = hospital.name,
        quoted_name = quoted(&hospital.name),
        id = hospital.registered.register.institution,
        listen = hospital.listen,
        operators = hospital.operators,
        authorities = authorities.join(", "),
        genesis = quoted(plan.genesis),
        validators = validators.concat(),
    )
}

fn connector(amqp: &AmqpPlan<'_>) -> String {
    format!(
        r#"[[connector]]
kind = "amqp"
name = {name}                     # part of what identifies a source: never changed
url_file = {url}                  # a file that holds amqp://user:password@host:port/vhost, mode 0600
exchange = "hospital.events"
queue = {queue}                   # limits and dead letters come from the broker's policy for ^chartseal\.
bindings = {keys}
prefetch = 512

"#,
        name = quoted(amqp.name),
        url = quoted(amqp.url_file),
        queue = quoted(&format!("chartseal.{}", amqp.name)),
        keys = list(&amqp.bindings),
    )
}

fn client(client: &ClientPlan<'_>) -> String {
    format!(
        "[[client]]                        # SMART backend service\nid = {}\nname = {}\njwks_file = {}\nscopes = {}          # a desk that invites patients to bind keys of their own: \"system/PatientKey.c\", never by *\nreferences = {}      # consents know it by these\npurposes = {}\n# assigns = [\"urn:oid:2.999.1\"]   # identifier systems of which it is an authority: its word ties these numbers to patients\n\n",
        quoted(client.id),
        quoted(client.name),
        quoted(client.jwks_file),
        list(client.scopes),
        list(client.references),
        list(client.purposes),
    )
}

/// The text of a validator's `node.toml`.
pub fn node(own: &ValidatorHome, all: &[ValidatorHome], genesis: &str) -> String {
    let peers: Vec<_> = all
        .iter()
        .filter(|v| v.name != own.name)
        .map(|v| format!("    {{ name = {}, address = {} }},\n", quoted(&v.name), quoted(&v.peer)))
        .collect();
    format!(
        r#"# {name}. Paths are taken from this file's folder.
genesis = {genesis}
name = {quoted_name}              # as in the genesis
data = "data"                     # vote log and RocksDB: `chartseal backup` and `restore`, never a copy of the folder
key = "validator.key"
listen = "{peer}"         # other validators, mutual TLS
rpc = "{rpc}"            # gateways, mutual TLS
{operators}    # /livez, /readyz, /metrics: never open to the outside
# block_history_blocks = 1000000  # transactions of older blocks are dropped; headers and all proofs stay
peers = [
{peers}]
{development}"#,
        name = own.name,
        quoted_name = quoted(&own.name),
        genesis = quoted(genesis),
        peer = own.peer,
        rpc = own.rpc,
        operators = match &own.operators {
            Some(address) => format!("operators = \"{address}\""),
            None => "# operators = \"127.0.0.1:9464\"".to_owned(),
        },
        peers = peers.concat(),
        development = if all.len() < 4 {
            "development = true             # fewer than four validators tolerate no fault\n"
        } else {
            ""
        },
    )
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: &[&str]) -> String {
    format!("[{}]", items.iter().map(|t| quoted(t)).collect::<Vec<_>>().join(", "))
}

/// An example that is switched off.
fn commented(text: &str) -> String {
    text.lines().map(|l| if l.is_empty() { "\n".into() } else { format!("# {l}\n") }).collect()
}

#[cfg(test)]
mod tests;
