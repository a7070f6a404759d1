//! Messages that nobody here wrote, and what must hold of every bundle. Tests find the messages below `CHARTSEAL_DATA/hl7v2`;
//! it must never write there, nor stay silent where they are absent.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use connectors_hl7v2::{MapOptions, Mapped, Mapper};
use schemas::json::Value;

/// Fewest message files that the data folder holds.
const FILES_MIN: usize = 200;

/// One message file.
pub struct Outside {
    /// Its path below the folder of all.
    pub name: String,
    pub raw: Vec<u8>,
}

/// Every message file in the order of their names; none, and a line that says so, where there is no data.
pub fn messages() -> Option<Vec<Outside>> {
    let data = env::var_os("CHARTSEAL_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let root = data.join("hl7v2");
    if !root.is_dir() {
        println!("skipped: no CHARTSEAL_DATA");
        return None;
    }
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(files.len() >= FILES_MIN, "{} message files", files.len());
    let read = |file: &PathBuf| Outside {
        name: file.strip_prefix(&root).unwrap_or(file).display().to_string(),
        raw: fs::read(file).expect("a readable file"),
    };
    Some(files.iter().map(read).collect())
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "hl7") {
            into.push(path);
        }
    }
}

/// FNV-1a, twice: stands in for the vault's keyed ids.
pub fn id(resource: &'static str, key: &[&str]) -> String {
    let mut hashes = [0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15_u64];
    for part in [resource].iter().chain(key) {
        for byte in part.as_bytes().iter().chain(&[0x1f]) {
            hashes = hashes.map(|h| (h ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        }
    }
    format!("{:016x}{:016x}", hashes[0], hashes[1])
}

pub fn map(mapper: &Mapper, raw: &[u8]) -> Mapped {
    mapper.map(raw, &MapOptions { ids: &id, default_zone: "+00:00", default_charset: None, explain: false })
}

/// The lines of a message that hold something, without its byte-order mark.
pub fn lines(raw: &[u8]) -> Vec<&[u8]> {
    let text = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw);
    text.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty()).collect()
}

/// Sets a field of a segment that was cut at `|`; the first piece is its name.
pub fn put<'a>(fields: &mut Vec<&'a [u8]>, at: usize, value: &'a [u8]) {
    if fields.len() <= at {
        fields.resize(at + 1, b"");
    }
    fields[at] = value;
}

/// Every entry is named once and as its resource, every reference is to one of them, and nothing in them is empty.
pub fn whole(bundle: &Value) -> Result<(), String> {
    let mut known = HashSet::new();
    for entry in bundle.list("entry") {
        let resource = entry.get("resource").ok_or("an entry without a resource")?;
        let kind = resource.resource_type().ok_or("a resource without a type")?;
        let name = format!("{kind}/{}", resource.text("id").ok_or("a resource without an id")?);
        if entry.text("fullUrl") != Some(name.as_str()) {
            return Err(format!("a {kind} under another name than its own"));
        }
        if !known.insert(name) {
            return Err(format!("a {kind} under the name of another entry"));
        }
    }
    complete(bundle, &known)
}

fn complete(value: &Value, known: &HashSet<String>) -> Result<(), String> {
    match value {
        Value::Array(items) if items.is_empty() => Err("an empty list".into()),
        Value::Array(items) => items.iter().try_for_each(|item| complete(item, known)),
        Value::Object(object) if object.is_empty() => Err("an empty element".into()),
        Value::Object(object) => object.iter().try_for_each(|(name, member)| match (name, member.as_str()) {
            ("reference", Some(to)) if !known.contains(to) => Err(format!("a reference to {to}, which is no entry")),
            (_, Some("")) => Err(format!("{name}: an empty text")),
            _ => complete(member, known).map_err(|error| format!("{name}: {error}")),
        }),
        Value::Null => Err("a null".into()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
