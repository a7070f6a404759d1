//! Maps files and prints for each the document of `chartseal connector try hl7v2 FILE --json`, with ids of its own in it: for scoring and for
//! a look. Of several files each line names its file beside the document. `--list FILE` names further files, one a line; `--tables DIR` reads
//! tables from the folders in a folder, so that none need be compiled to be tried; `--bench N` maps each file N times instead and prints
//! messages per second.

use std::path::Path;
use std::time::Instant;
use std::{env, fs, process};

use connectors_hl7v2::{MapOptions, Mapped, Mapper};
use schemas::json::Value;

fn main() {
    let mut args: Vec<String> = env::args().skip(1).collect();
    let tables = option(&mut args, "--tables").map(|folder| read_tables(Path::new(&folder)));
    let rounds =
        option(&mut args, "--bench").map(|n| n.parse().unwrap_or_else(|_| fail(64, "--bench: found no number")));
    let list =
        option(&mut args, "--list").map(|file| fs::read_to_string(&file).unwrap_or_else(|e| fail(69, &e.to_string())));
    args.extend(list.iter().flat_map(|list| list.lines()).map(str::to_owned));
    if args.is_empty() {
        fail(64, "found no file, expected: map FILE… [--list FILE] [--tables DIR] [--bench N]");
    }
    let mapper = Mapper::with_tables(&tables.unwrap_or_default()).unwrap_or_else(|error| fail(64, &error.to_string()));
    let options = MapOptions { ids: &id, default_zone: "+00:00", default_charset: None, explain: false };
    let several = list.is_some() || args.len() > 1;
    let mut refused = false;
    for file in args {
        let raw = fs::read(&file).unwrap_or_else(|error| fail(69, &format!("{file}: {error}")));
        if let Some(rounds) = rounds {
            bench(&mapper, &options, &raw, rounds);
            continue;
        }
        let mapped = mapper.map(&raw, &options);
        refused |= mapped.cases.is_empty() && !mapped.errors.is_empty();
        let mut document = document(&mapped);
        if several {
            document = Value::object([("file", Value::from(file)), ("output", document)]);
        }
        println!("{}", String::from_utf8_lossy(&document.to_bytes()));
    }
    process::exit(i32::from(refused && !several));
}

fn fail(code: i32, text: &str) -> ! {
    eprintln!("{text}");
    process::exit(code)
}

/// Takes `name VALUE` out of the arguments.
fn option(args: &mut Vec<String>, name: &str) -> Option<String> {
    let at = args.iter().position(|a| a == name).filter(|at| at + 1 < args.len())?;
    args.drain(at..at + 2).nth(1)
}

/// All tables below a folder, named by their place in it.
fn read_tables(folder: &Path) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    for inner in entries(folder).filter(|path| path.is_dir()) {
        for path in entries(&inner).filter(|path| path.extension().is_some_and(|e| e == "map")) {
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            let text = fs::read_to_string(&path).unwrap_or_else(|error| fail(69, &format!("{name}: {error}")));
            tables.push((name, text));
        }
    }
    tables
}

fn bench(mapper: &Mapper, options: &MapOptions<'_>, raw: &[u8], rounds: u32) {
    let start = Instant::now();
    let mut bytes = 0;
    for _ in 0..rounds {
        bytes += mapper.map(raw, options).cases.iter().map(|case| case.bundle.canonical().len()).sum::<usize>();
    }
    let rate = f64::from(rounds) / start.elapsed().as_secs_f64();
    println!("{rate:.0} messages/s of {} bytes, {} bytes of FHIR each", raw.len(), bytes / rounds.max(1) as usize);
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
