//! The top level of the repository: exactly what the README's picture shows.

use std::path::Path;

const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "compose",
    "connectors",
    "gateway",
    "ledger",
    "schemas",
    "tests",
];

/// What is missing and what is too much. Dotfiles are free; `target` is cargo's and ignored by git.
pub fn check(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).expect("the workspace can be listed");
    let names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    let missing =
        TOP.iter().filter(|t| !names.iter().any(|n| n == *t)).map(|t| format!("{t}: missing at the top level"));
    let more = names.iter().filter(|n| !TOP.contains(&n.as_str()) && !n.starts_with('.') && *n != "target");
    missing.chain(more.map(|n| format!("{n}: not one of the fixed names of the top level"))).collect()
}
