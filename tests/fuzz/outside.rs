//! What outside messages become is FHIR: every resource that the tables make of them passes the check that resources of FHIR
//! clients pass. It must never count an absent data folder as a pass.

use std::path::{Path, PathBuf};
use std::{env, fs};

use connectors_hl7v2::Mapper;
use schemas::json::Value;

use crate::bundle::whole;
use crate::interop::mapped;

/// Fewest message files that the data folder holds.
const FILES_MIN: usize = 200;

#[test]
fn what_outside_messages_become_is_fhir() {
    let data = env::var_os("CHARTSEAL_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let root = data.join("hl7v2");
    if !root.is_dir() {
        println!("skipped: no CHARTSEAL_DATA");
        return;
    }
    let mapper = Mapper::embedded();
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() >= FILES_MIN, "{} message files", files.len());
    let (mut problems, mut checked) = (Vec::new(), 0);
    for file in &files {
        let name = file.strip_prefix(&root).unwrap_or(file).display();
        let made = mapped(&mapper, &fs::read(file).expect("a readable file"), false);
        problems.extend(made.errors.iter().map(|error| format!("{name}: {error}")));
        for case in made.cases {
            whole(&case.bundle);
            for resource in parts(case.bundle) {
                let kind = resource.resource_type().unwrap_or_default();
                checked += 1;
                if let Err(problem) = schemas_fhir::check(kind, &resource.canonical()) {
                    problems.push(format!("{name}: {kind}: {problem}"));
                }
            }
        }
    }
    println!("{checked} resources of {} outside messages", files.len());
    assert!(problems.is_empty(), "{} problems:\n  {}", problems.len(), problems.join("\n  "));
    assert!(checked > files.len(), "{checked} resources");
}

/// The resources of a bundle, and the bundle without them.
fn parts(mut bundle: Value) -> Vec<Value> {
    let mut parts: Vec<Value> =
        bundle.list("entry").iter().filter_map(|entry| entry.get("resource").cloned()).collect();
    if let Some(object) = bundle.as_object_mut() {
        object.remove("entry");
    }
    parts.push(bundle);
    parts
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
