//! `chartseal demo --exit --home DIR`: its closing line, its receipts, and the receipts after one flipped byte.

use std::path::Path;

use schemas::json::{self, Value};

use super::{binary, run};

#[test]
fn the_demo_proves_what_it_says() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let output = run(&binary, &["demo", "--exit", "--home", home.to_str().expect("text")]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
    let line = output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().expect("a last line");
    let tally = json::parse(line).expect("the last line is one JSON object");
    let number = |name: &str| match tally.get(name) {
        Some(Value::Number(number)) => number.as_str().parse::<f64>().expect("a number"),
        _ => panic!("{name} is missing in the last line"),
    };
    assert!(number("received") >= 40.0 && number("cases") >= 40.0);
    assert_eq!(number("anchored"), number("cases"));
    assert_eq!(number("verified"), number("cases"));
    assert!(number("disclosed") >= 1.0 && number("denied") >= 1.0);
    assert_eq!(number("validators"), 4.0);
    assert!(number("seconds") > 0.0);

    let receipts = home.join("receipts");
    let files: Vec<_> = receipts.read_dir().expect("receipts").map(|e| e.expect("an entry").path()).collect();
    assert_eq!(files.len() as f64, number("verified"));
    let mut arguments = vec!["verify"];
    arguments.extend(files.iter().map(|file| file.to_str().expect("text")));
    assert!(run(&binary, &arguments).status.success());
    for (index, file) in files.iter().enumerate() {
        flipped_byte_fails(&binary, file, index);
    }
    // A second demo may empty what a first one left, and nothing else.
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).expect("a folder");
    std::fs::write(foreign.join("precious"), "x").expect("a file");
    let refused = run(&binary, &["demo", "--exit", "--home", foreign.to_str().expect("text")]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(foreign.join("precious").is_file());
}

/// Another byte for each receipt, spread over the whole file.
fn flipped_byte_fails(binary: &Path, file: &Path, index: usize) {
    let good = std::fs::read(file).expect("a receipt");
    let at = (index * 7919 + 13) % good.len();
    let mut bad = good.clone();
    bad[at] ^= 1 << (index % 7);
    std::fs::write(file, &bad).expect("written");
    let output = run(binary, &["verify", file.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(2), "byte {at} of {} flipped", file.display());
    std::fs::write(file, &good).expect("written");
}
