//! `bench normalise`: made-up messages on one core. First the mapping alone, text to canonical bytes, then the same call as the way in,
//! which also names patients and splits cases into units; hl7apy beside it, where it is installed.

use std::path::Path;
use std::time::{Duration, Instant};

use connectors_hl7v2::{MapOptions, Mapper};
use gateway_server::ingest::normalise::{Format, Normaliser};
use gateway_vault::Vault;

use super::ledger::Target;
use super::{Figures, Latencies, message, python};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::usage::resident_kb;

/// Messages of each kind, in turn.
const MESSAGES: u64 = 2_000;
/// Patients that they are about.
const PATIENTS: u64 = 500;
const ORU_TARGET: f64 = 10_000.0;
const ADT_TARGET: f64 = 15_000.0;
/// So many times as fast as Python.
const PYTHON_TARGET: f64 = 20.0;

/// Runs for `seconds`: a third each, and as long again for hl7apy.
pub fn run(folder: &Path, seconds: Duration, output: Output) -> Result<Figures, Failure> {
    let vault = Vault::create(&folder.join("keys")).map_err(|e| Failure::new(Exit::Failed, e))?;
    // the vault's own, as on the way in: an HMAC each
    let ids = |resource_type: &str, key: &[&str]| vault.logical_id(resource_type, key);
    let of = |kind: fn(u64, u64) -> String| (0..MESSAGES).map(|n| kind(n, PATIENTS)).collect::<Vec<_>>();
    let (orus, adts) = (of(message::oru), of(message::adt));
    let oru_per_s = map(&orus, &ids, seconds / 3)?;
    let adt_per_s = map(&adts, &ids, seconds / 3)?;
    let mut figures = normalise(&orus, &ids, seconds / 3)?;
    figures.synced = false;
    figures.targets = vec![
        Target::at_least("ORU mapped, one core, per second", oru_per_s, ORU_TARGET),
        Target::at_least("ADT mapped, one core, per second", adt_per_s, ADT_TARGET),
    ];
    match python::per_second(&adts, seconds / 3)? {
        Some((version, per_s)) => {
            output.note(format_args!("hl7apy {version} parses {per_s:.1} ADT per second"));
            let what = "ADT mapped for one that hl7apy parses";
            figures.targets.push(Target::at_least(what, adt_per_s / per_s, PYTHON_TARGET));
        }
        None => output.note(
            "hl7apy is not compared: install it (pip install hl7apy), or name a Python that has it in CHARTSEAL_PYTHON",
        ),
    }
    Ok(figures)
}

/// Messages a second: tokens, tables, canonical bytes.
fn map(messages: &[String], ids: &impl Fn(&str, &[&str]) -> String, length: Duration) -> Result<f64, Failure> {
    let mapper = Mapper::embedded();
    let options = MapOptions { ids, default_zone: "+00:00", default_charset: None, explain: false };
    let (start, mut count, mut bytes) = (Instant::now(), 0_u32, 0);
    while start.elapsed() < length {
        for text in messages {
            let mapped = mapper.map(text.as_bytes(), &options);
            let [case] = &mapped.cases[..] else { return Err(unexpected()) };
            bytes += case.bundle.canonical().len();
            count += 1;
        }
    }
    if bytes == 0 {
        return Err(unexpected());
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// The step of the way in.
fn normalise(
    messages: &[String],
    ids: &impl Fn(&str, &[&str]) -> String,
    length: Duration,
) -> Result<Figures, Failure> {
    let normaliser = Normaliser::new(Mapper::embedded());
    let mut latencies = Latencies::new()?;
    let start = Instant::now();
    for text in messages.iter().cycle() {
        let before = Instant::now();
        let canonical = normaliser
            .normalise_with(Format::Hl7v2, "bench", text.as_bytes(), ids)
            .map_err(|e| Failure::new(Exit::Failed, e))?;
        if canonical.cases().len() != 1 {
            return Err(unexpected());
        }
        latencies.record(before.elapsed());
        if start.elapsed() >= length {
            break;
        }
    }
    Ok(Figures::of("normalise", &latencies, start.elapsed(), 0, resident_kb(std::process::id()) / 1024))
}

fn unexpected() -> Failure {
    Failure::new(Exit::Failed, "found another number of cases, expected 1 for each message")
}
