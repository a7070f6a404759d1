//! A document of 15 MB in OBX-5 on its whole way, from a socket to the index: what it adds to the gateway's memory at most. It must never take
//! the gateway's own memory for the document's: messages went the same way before.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::binary;
use crate::connectors::{Background, shell, start};

/// Bytes of the document's base64 text.
const DOCUMENT_BYTES: usize = 15_000_000;
/// Most that it adds to the gateway's memory, in its own sizes.
const TIMES_MAX: f64 = 4.0;
/// Longest wait for one message.
const PATIENCE: Duration = Duration::from_secs(60);

/// A document of so many bytes, none like the next.
fn message(control: usize, bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(letters[(state >> 58) as usize])
    });
    let text: String = text.take(bytes / 4 * 4).collect();
    format!(
        "MSH|^~\\&|LAB|NORTH|GW|HUB|20261127090000||MDM^T02^MDM_T02|D{control}|P|2.5.1|||AL|NE\rEVN|T02|20261127090000\r\
         PID|1||4711^^^NORTH^MR||Example^Ada||19700101|F\rPV1|1|I|3^12^1\r\
         TXA|1|CN^Note|AP^^PDF||20261127090000|||||||DOC{control}||||||AV\rOBX|1|ED|PDF^Report||^AP^PDF^Base64^{text}||||||F\r"
    )
}

/// Most memory that a process ever had, in bytes.
fn peak(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().expect("a number") * 1024
}

fn done(folder: &Path, binary: &Path, command: &str) -> String {
    let output = shell(folder, binary, command).output().expect("bash");
    assert!(output.status.success(), "$ {command}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_document_of_15_mb_takes_less_than_four_times_its_size() {
    let Some(binary) = binary() else { return };
    // below the ports of the walk-through
    let first = 18_000 + u16::try_from(std::process::id() % 1_000).expect("fits") / 20 * 20;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    done(folder, &binary, &format!("chartseal init home --validators 1 --port {first}"));
    done(folder, &binary, "chartseal connector new mllp ward --dir home/connectors.d");
    let file = folder.join("home/connectors.d/ward.toml");
    let text = std::fs::read_to_string(&file).expect("a connector");
    std::fs::write(&file, text.replace("127.0.0.1:2575", &format!("127.0.0.1:{}", first + 10))).expect("written");
    let node = "chartseal node --config home/validators/validator-1/node.toml";
    let mut background = Background(vec![start(folder, &binary, node, first + 3)]);
    let gateway = start(folder, &binary, "chartseal run --config home/gateway.toml", first + 1);
    let process = gateway.id();
    background.0.push(gateway);

    let send = |control: usize, bytes: usize| {
        std::fs::write(folder.join("message.hl7"), message(control, bytes)).expect("written");
        done(folder, &binary, &format!("chartseal connector send 127.0.0.1:{} message.hl7", first + 10));
        let from = Instant::now();
        let anchored = || {
            let tap = done(folder, &binary, "chartseal connector tap ward --config home/gateway.toml");
            tap.lines().filter(|line| line.contains("anchored")).count() == control
        };
        while !anchored() {
            assert!(from.elapsed() < PATIENCE, "message {control} was not anchored in time");
        }
    };
    for control in 1..=4 {
        send(control, 4_000);
    }
    let before = peak(process);
    send(5, DOCUMENT_BYTES);
    let times = (peak(process) - before) as f64 / DOCUMENT_BYTES as f64;
    println!("a document of 15 MB added {times:.2} times its size");
    assert!(times < TIMES_MAX, "found {times:.2} times the document's size, expected less than {TIMES_MAX}");
}
