//! `chartseal ledger` on a real cluster: an auditor gets the proof of an entry, of a case that is there and was not, of the log's
//! growth, COSE receipts, checks them all offline, and follows every block from the genesis.

use schemas::json::Value;

use super::binary;
use super::wallet::Demo;

fn text(document: &Value, name: &str) -> String {
    match document.get(name) {
        Some(Value::String(text)) => text.as_str().to_owned(),
        other => panic!("{name}: {other:?}"),
    }
}

fn height(document: &Value) -> u64 {
    match document.get("height") {
        Some(Value::Number(number)) => number.as_str().parse().expect("a height"),
        other => panic!("height: {other:?}"),
    }
}

fn only_file(document: &Value) -> &Value {
    match document.get("files") {
        Some(Value::Array(files)) => &files[0],
        other => panic!("files: {other:?}"),
    }
}

#[test]
fn an_auditor_proves_and_follows() {
    let Some(binary) = binary() else { return };
    let demo = Demo::start(binary);
    let receipts =
        demo.home.join("receipts").read_dir().expect("receipts").map(|entry| entry.expect("an entry").path());
    // the receipt of a case that was not in the first block
    let receipt = receipts
        .map(|file| demo.done(&["verify", file.to_str().expect("text")]))
        .find(|document| height(only_file(document)) > 1)
        .expect("more than one block");
    let (id, anchored) = (text(only_file(&receipt), "transaction"), height(only_file(&receipt)));
    let case = format!("case/{}", text(only_file(&receipt), "case"));
    let config = demo.home.join("north/gateway.toml");
    let ledger = |arguments: &[&str]| {
        let config = ["--config", config.to_str().expect("text"), "--json"];
        demo.command(&[&["ledger"], arguments, &config].concat())
    };
    let succeeds = |arguments: &[&str]| {
        let output = ledger(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    succeeds(&["get", &id, "--prove", "entry.json", "--cose", "receipts.cose"]);
    succeeds(&["get", &case, "--prove", "present.json"]);
    let before = (anchored - 1).to_string();
    let absent = ledger(&["get", &case, "--height", &before, "--prove", "absent.json"]);
    assert_eq!(absent.status.code(), Some(1), "absent before it was anchored");
    succeeds(&["consistency", "1", &anchored.to_string(), "--prove", "grown.json"]);
    let files = ["entry.json", "receipts.cose", "present.json", "absent.json", "grown.json"];
    demo.done(&[&["verify", "--genesis", "genesis.json"][..], &files].concat());
    // every block, executed again; then from a later one
    let blocks = succeeds(&["follow", "--max", &anchored.to_string()]);
    assert_eq!(blocks.iter().filter(|byte| **byte == b'\n').count() as u64, anchored, "a line for each block");
    succeeds(&["follow", "--from", &anchored.to_string(), "--max", "1"]);
    assert_eq!(ledger(&["get", "case/00", "--height", "1"]).status.code(), Some(64), "no key");
    assert_eq!(ledger(&["consistency", &anchored.to_string(), "1"]).status.code(), Some(1), "backwards");
}
