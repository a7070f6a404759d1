//! Maps one file and prints the document of `chartseal connector try hl7v2 FILE --json`: for scoring and for a look.
//! `--bench N` maps it N times instead and prints messages per second.

use std::time::Instant;
use std::{env, fs, process};

use connectors_hl7v2::{MapOptions, Mapped, Mapper};
use schemas::json::Value;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some(file) = args.first() else {
        eprintln!("found no file, expected: map FILE [--bench N]");
        process::exit(64);
    };
    let raw = match fs::read(file) {
        Ok(raw) => raw,
        Err(error) => {
            eprintln!("{file}: {error}");
            process::exit(69);
        }
    };
    let mapper = Mapper::embedded();
    let options = MapOptions { ids: &id, default_zone: "+00:00", default_charset: None, explain: false };
    if let Some(rounds) = args.iter().position(|a| a == "--bench").and_then(|at| args.get(at + 1)?.parse::<u32>().ok())
    {
        let start = Instant::now();
        let mut bytes = 0;
        for _ in 0..rounds {
            bytes += mapper.map(&raw, &options).cases.iter().map(|case| case.bundle.canonical().len()).sum::<usize>();
        }
        let rate = f64::from(rounds) / start.elapsed().as_secs_f64();
        println!("{rate:.0} messages/s of {} bytes, {} bytes of FHIR each", raw.len(), bytes / rounds as usize);
        return;
    }
    let mapped = mapper.map(&raw, &options);
    println!("{}", String::from_utf8_lossy(&document(&mapped).to_bytes()));
    process::exit(i32::from(mapped.cases.is_empty() && !mapped.errors.is_empty()));
}

/// A stand-in for the vault's keyed ids: FNV-1a, twice, in hex.
fn id(resource: &'static str, key: &[&str]) -> String {
    let mut hashes = [0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15_u64];
    for part in [resource].iter().chain(key) {
        for byte in part.as_bytes().iter().chain(&[0x1f]) {
            hashes = hashes.map(|h| (h ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        }
    }
    format!("{:016x}{:016x}", hashes[0], hashes[1])
}

fn document(mapped: &Mapped) -> Value {
    let text = |text: &str| Value::from(text.to_owned());
    let cases = mapped
        .cases
        .iter()
        .map(|case| Value::object([("messageType", text(&case.message_type)), ("bundle", case.bundle.clone())]));
    let errors = mapped.errors.iter().map(|error| {
        Value::object([
            ("code", text(error.code)),
            ("path", text(&error.path)),
            ("offset", Value::from(error.offset as u64)),
            ("message", text(&error.message)),
        ])
    });
    Value::object([
        ("messageType", mapped.message_type.as_deref().map_or(Value::Null, text)),
        ("cases", Value::Array(cases.collect())),
        ("unmapped", Value::Array(mapped.unmapped.iter().map(|path| text(path)).collect())),
        ("errors", Value::Array(errors.collect())),
    ])
}
