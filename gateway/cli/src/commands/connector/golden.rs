//! `chartseal connector test DIR`: a site's messages and what they shall become, checked like our own tables. It prints where a
//! document differs, by path, and the values on both sides: the messages are the site's own test data.

use std::path::{Path, PathBuf};

use gateway_server::ingest::normalise::{Format, Normaliser};
use serde_json::{Value, json};

use super::attempt;
use crate::commands::run::load_with_connectors;
use crate::failure::{Exit, Failure, Outcome, read, read_text};
use crate::output::{Output, bad, good};

/// What a message's expectation is called.
const EXPECTED: &str = ".expected.json";
/// Differences that are shown of one message.
const SHOWN_MAX: usize = 20;

/// Arguments of `connector test`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder; those below it are looked at too.
    dir: PathBuf,
    /// Writes what comes out as what is expected: look at the difference before you commit it.
    #[arg(long)]
    update: bool,
    /// A gateway's configuration, for its tables, zone and authorities. Messages in a folder named like a connector are read as its own.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let config = args.config.as_deref().map(|path| load_with_connectors(path, output)).transpose()?;
    let normaliser = attempt::normaliser(config.as_ref())?;
    super::name_doubts(&normaliser.mapper, output);
    let mut files = Vec::new();
    collect(&args.dir, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(Failure::usage(format_args!(
            "{}: found no *.hl7 or *.json, expected messages",
            args.dir.display()
        )));
    }
    let (mut passed, mut failed) = (0, Vec::new());
    for file in &files {
        let differences = if args.update { update(file, &normaliser)? } else { differences(file, &normaliser)? };
        let name = file.strip_prefix(&args.dir).unwrap_or(file).display();
        if differences.is_empty() {
            passed += 1;
            output.line(format_args!("{} {name}", good("ok")));
        } else {
            output.line(format_args!("{} {name}", bad("differs")));
            differences.iter().take(SHOWN_MAX).for_each(|line| output.line(format_args!("  {line}")));
            failed.push(json!({ "file": file, "differences": differences }));
        }
    }
    output.line(format_args!("{passed} passed, {} failed", failed.len()));
    output.document(&json!({ "passed": passed, "failed": failed }))?;
    Ok(if failed.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Every message below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let at =
        |e: std::io::Error| Failure::usage(format_args!("{}: {e}; expected a folder of messages", folder.display()));
    for entry in folder.read_dir().map_err(at)? {
        let path = entry.map_err(at)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, files)?;
        } else if name.ends_with(".hl7") || (name.ends_with(".json") && !name.ends_with(EXPECTED)) {
            files.push(path);
        }
    }
    Ok(())
}

fn document(file: &Path, normaliser: &Normaliser) -> Result<Value, Failure> {
    let (format, kind) = match file.extension() {
        Some(e) if e == "hl7" => (Format::Hl7v2, "hl7v2"),
        _ => (Format::Fhir, "fhir"),
    };
    // messages in a connector's folder are read as that connector's
    let mut folders = file.ancestors().skip(1).filter_map(|folder| folder.file_name()?.to_str());
    let source = folders.find(|name| normaliser.sources.contains_key(*name)).unwrap_or(kind);
    let bytes = attempt::document(format, source, &read(file)?, normaliser);
    serde_json::from_slice(&bytes).map_err(|e| Failure::new(Exit::Failed, e))
}

fn update(file: &Path, normaliser: &Normaliser) -> Result<Vec<String>, Failure> {
    let text = serde_json::to_string_pretty(&document(file, normaliser)?).map_err(|e| Failure::new(Exit::Failed, e))?;
    let expected = file.with_extension("").with_extension(EXPECTED.trim_start_matches('.'));
    std::fs::write(&expected, text + "\n").map_err(|e| Failure::usage(format_args!("{}: {e}", expected.display())))?;
    Ok(Vec::new())
}

fn differences(file: &Path, normaliser: &Normaliser) -> Result<Vec<String>, Failure> {
    let expected = file.with_extension("").with_extension(EXPECTED.trim_start_matches('.'));
    if !expected.is_file() {
        return Ok(vec![format!("found no {}, expected one (--update writes it)", expected.display())]);
    }
    let wanted: Value = serde_json::from_str(&read_text(&expected)?).map_err(|e| {
        Failure::usage(format_args!("{}: {e}; expected a document of `connector try --json`", expected.display()))
    })?;
    let mut lines = Vec::new();
    compare("", &wanted, &document(file, normaliser)?, &mut lines);
    Ok(lines)
}

/// One line for each place where two documents differ.
fn compare(path: &str, wanted: &Value, found: &Value, lines: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (name, value) in wanted {
                compare(&format!("{path}.{name}"), value, found.get(name).unwrap_or(&Value::Null), lines);
            }
            for (name, value) in found.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                compare(&format!("{path}.{name}"), &Value::Null, value, lines);
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            for at in 0..wanted.len().max(found.len()) {
                let of = |all: &[Value]| all.get(at).cloned().unwrap_or(Value::Null);
                compare(&format!("{path}[{at}]"), &of(wanted), &of(found), lines);
            }
        }
        _ if wanted == found => {}
        _ => lines.push(format!("{}: found {found}, expected {wanted}", path.trim_start_matches('.'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_that_differs_has_a_line() {
        let wanted = json!({ "a": [1, { "b": "x" }], "gone": true, "same": 1 });
        let found = json!({ "a": [1, { "b": "y" }, 3], "same": 1, "new": null });
        let mut lines = Vec::new();
        compare("", &wanted, &found, &mut lines);
        assert_eq!(
            lines,
            ["a[1].b: found \"y\", expected \"x\"", "a[2]: found 3, expected null", "gone: found null, expected true"]
        );
    }
}
