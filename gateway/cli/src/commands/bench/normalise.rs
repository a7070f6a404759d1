//! `bench normalise`: ORU messages through the same call as the way in, on one core.

use std::time::{Duration, Instant};

use connectors_hl7v2::Mapper;
use gateway_server::ingest::normalise::{Format, Normaliser};
use schemas::cbor::sha256;

use super::{Figures, Latencies, message};
use crate::failure::{Exit, Failure};
use crate::usage::resident_kb;

/// Runs for `seconds`.
pub fn run(seconds: Duration) -> Result<Figures, Failure> {
    let normaliser = Normaliser {
        mapper: Mapper::embedded(),
        zone: "+00:00".into(),
        authorities: std::collections::BTreeMap::new(),
    };
    // As costly as the vault's HMAC: two compressions and hex.
    let ids = |resource_type: &str, key: &[&str]| {
        let mut id = sha256(format!("{resource_type}/{}", key.join("/")).as_bytes()).to_string();
        id.truncate(32);
        id
    };
    let messages: Vec<String> = (0..2_000).map(|n| message::oru(n, 500)).collect();
    let mut latencies = Latencies::new()?;
    let start = Instant::now();
    for text in messages.iter().cycle() {
        let before = Instant::now();
        let canonical = normaliser
            .normalise_with(Format::Hl7v2, "bench", text.as_bytes(), &ids)
            .map_err(|e| Failure::new(Exit::Failed, e))?;
        if canonical.cases().len() != 1 {
            return Err(Failure::new(Exit::Failed, "found another number of cases, expected 1 for each message"));
        }
        latencies.record(before.elapsed());
        if start.elapsed() >= seconds {
            break;
        }
    }
    Ok(Figures::of("normalise", &latencies, start.elapsed(), 0, resident_kb(std::process::id()) / 1024))
}
