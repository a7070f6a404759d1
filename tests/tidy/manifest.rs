//! The dependency table of architecture.md §2, read from the members' Cargo manifests. Dev-dependencies and the package
//! `tests` are free.

use std::path::Path;

use toml::{Table, Value};

/// A row: package, which of ours it may use, which foreign crates it may use when it is pure.
struct Row {
    package: &'static str,
    ours: &'static [&'static str],
    pure_foreign: Option<&'static [&'static str]>,
}

const fn row(
    package: &'static str,
    ours: &'static [&'static str],
    pure_foreign: Option<&'static [&'static str]>,
) -> Row {
    Row { package, ours, pure_foreign }
}

/// Verifier, COSE, Merkle and state-tree crates.
const PROOF_FOREIGN: &[&str] = &["thiserror", "p256", "aws-lc-rs", "coset", "ct-merkle", "jmt"];
/// Everything of ours but the node and the binary.
const BELOW_SERVER: &[&str] = &[
    "schemas",
    "schemas-fhir",
    "ledger-core",
    "ledger-contract",
    "ledger-proof",
    "ledger-client",
    "connectors-source",
    "connectors-hl7v2",
    "connectors-amqp",
    "connectors-mllp",
    "connectors-fhir",
    "gateway-consent",
    "gateway-vault",
];

const TABLE: &[Row] = &[
    row("schemas", &[], Some(&["serde", "serde_json", "sha2", "hmac", "minicbor", "thiserror"])),
    row("schemas-fhir", &["schemas"], None),
    row("ledger-core", &["schemas"], Some(&["thiserror"])),
    row("ledger-contract", &["schemas"], Some(PROOF_FOREIGN)),
    row("ledger-proof", &["schemas"], Some(PROOF_FOREIGN)),
    row("ledger-node", &["schemas", "ledger-core", "ledger-contract", "ledger-proof"], None),
    row("ledger-client", &["schemas", "ledger-proof"], None),
    row("connectors-source", &["schemas"], None),
    row("connectors-hl7v2", &["schemas", "connectors-source"], Some(&["encoding_rs", "jiff", "thiserror"])),
    row("connectors-amqp", &["schemas", "connectors-source"], None),
    row("connectors-mllp", &["schemas", "connectors-source"], None),
    row("connectors-fhir", &["schemas", "connectors-source", "schemas-fhir"], None),
    row("gateway-consent", &["schemas"], Some(&["thiserror"])),
    row("gateway-vault", &["schemas", "gateway-consent"], None),
    row("gateway-server", BELOW_SERVER, None),
];

/// Packages that may use everything of ours.
const FREE_OF_OURS: &[&str] = &["gateway-cli", "tests"];

/// Crates that name a protocol, and the one package that may name them.
const PROTOCOLS: &[(&str, &str)] = &[
    ("lapin", "connectors-amqp"),
    ("rocksdb", "ledger-node"),
    ("sqlx", "gateway-server"),
    ("object_store", "gateway-server"),
    ("fhir-sdk", "schemas-fhir"),
    ("hpke", "gateway-vault"),
    ("aes-gcm", "gateway-vault"),
];

/// All findings over the workspace at `root`.
pub fn check(root: &Path) -> Vec<String> {
    let workspace = read(&root.join("Cargo.toml"));
    let members = workspace.get("workspace").and_then(|w| w.get("members")).and_then(Value::as_array);
    let members: Vec<&str> = members.into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(!members.is_empty(), "found no workspace members in {}", root.display());
    let ours: Vec<String> = members.iter().map(|m| m.replace('/', "-")).collect();
    let mut findings = Vec::new();
    for member in &members {
        let manifest = read(&root.join(member).join("Cargo.toml"));
        check_member(member, &manifest, &ours, &mut findings);
    }
    findings
}

fn read(path: &Path) -> Table {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn check_member(member: &str, manifest: &Table, ours: &[String], findings: &mut Vec<String>) {
    let name = manifest.get("package").and_then(|p| p.get("name")).and_then(Value::as_str).unwrap_or_default();
    let mut say = |what: String| {
        let finding = format!("{member}/Cargo.toml: {what}");
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    if name != member.replace('/', "-") {
        say(format!("package name {name} is not its path with / as -"));
    }
    if manifest.get("profile").is_some() {
        say("has a profile; there is one, in the workspace".into());
    }
    let inherits = |of: &Value| of.get("workspace").and_then(Value::as_bool) == Some(true);
    if !manifest.get("lints").is_some_and(inherits) {
        say("does not take the workspace's lints".into());
    }
    for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for (dependency, value) in tables(manifest, kind) {
            // A crate may name itself to test with its own features.
            let itself = dependency == name && kind == "dev-dependencies";
            if !inherits(value) && !itself {
                say(format!("{dependency} is not taken from the workspace"));
            }
            if kind == "dev-dependencies" || name == "tests" {
                continue;
            }
            if let Some(fault) = fault(name, dependency, ours.iter().any(|o| o == dependency)) {
                say(fault);
            }
        }
    }
}

/// The entries of one kind, those of `[target.…]` included.
fn tables<'m>(manifest: &'m Table, kind: &str) -> Vec<(&'m str, &'m Value)> {
    let own = manifest.get(kind).and_then(Value::as_table);
    let targets = manifest.get("target").and_then(Value::as_table);
    let of_targets = targets.into_iter().flat_map(|t| t.values()).filter_map(|t| t.get(kind)?.as_table());
    own.into_iter().chain(of_targets).flatten().map(|(name, value)| (name.as_str(), value)).collect()
}

fn fault(package: &str, dependency: &str, is_ours: bool) -> Option<String> {
    if let Some((_, only)) = PROTOCOLS.iter().find(|(c, _)| *c == dependency)
        && *only != package
    {
        return Some(format!("{dependency} belongs to {only} alone"));
    }
    if FREE_OF_OURS.contains(&package) {
        return None;
    }
    let Some(row) = TABLE.iter().find(|r| r.package == package) else {
        return Some("has no row in the dependency table".into());
    };
    if is_ours {
        return (!row.ours.contains(&dependency)).then(|| format!("must not depend on {dependency}"));
    }
    let foreign = row.pure_foreign?;
    (!foreign.contains(&dependency)).then(|| format!("is pure and must not use {dependency}"))
}
