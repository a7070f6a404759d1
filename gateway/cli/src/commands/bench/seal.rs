//! `bench seal`: Algorithm 1 for each case, one signature for a hundred, Algorithm 2's checks on each, on one core.

use std::path::Path;
use std::time::{Duration, Instant};

use connectors_hl7v2::Mapper;
use gateway_server::ingest::normalise::{Format, Normaliser};
use gateway_vault::{SealRequest, Trusted, Unit, Vault, VerifiedAnchor};
use schemas::id::{ChainId, InstitutionId};
use schemas::limits::STATEMENTS_MAX;

use super::{Figures, Latencies, message, shares};
use crate::failure::{Exit, Failure};
use crate::home;
use crate::usage::resident_kb;

/// Runs for `seconds`.
pub fn run(folder: &Path, seconds: Duration) -> Result<Figures, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::new(Exit::Failed, e);
    let vault = Vault::create(&folder.join("keys")).map_err(|e| failed(&e))?;
    let (chain, institution) = (ChainId(home::random()?), InstitutionId(home::random()?));
    let (_, subject, _) = vault.new_subject().map_err(|e| failed(&e))?;
    let cases = units(&vault)?;
    let trusted = Trusted { chain, institution, key: vault.institution_key(), practitioners: &[] };
    let mut latencies = Latencies::new()?;
    let (mut sealing, mut signing, mut checking) = (0.0, 0.0, 0.0);
    let start = Instant::now();
    while start.elapsed() < seconds {
        let before = Instant::now();
        let mut sealed = Vec::with_capacity(STATEMENTS_MAX);
        for units in cases.iter().cycle().take(STATEMENTS_MAX) {
            let request = SealRequest {
                chain,
                institution,
                subject: &subject,
                patient: None,
                practitioner: None,
                units: units.iter().map(Into::into).collect(),
                time: 1,
                previous: None,
            };
            sealed.push(vault.seal(request).map_err(|e| failed(&e))?);
        }
        let after_seal = Instant::now();
        let statements = sealed.iter().map(|s| s.statement.clone()).collect();
        let transaction = vault.sign_anchor(chain, institution, 1, statements, Vec::new()).map_err(|e| failed(&e))?;
        let after_sign = Instant::now();
        let anchor = VerifiedAnchor::verify(&transaction, &trusted).map_err(|e| failed(&e))?;
        for (index, case) in sealed.iter().enumerate() {
            vault.check(&anchor, index, &case.object, &case.wraps, &subject).map_err(|e| failed(&e))?;
        }
        let end = Instant::now();
        sealing += (after_seal - before).as_secs_f64();
        signing += (after_sign - after_seal).as_secs_f64();
        checking += (end - after_sign).as_secs_f64();
        for _ in 0..STATEMENTS_MAX {
            latencies.record((end - before) / STATEMENTS_MAX as u32);
        }
    }
    let mut figures = Figures::of("seal", &latencies, start.elapsed(), 0, resident_kb(std::process::id()) / 1024);
    figures.synced = false;
    figures.steps = shares([("seal".into(), sealing), ("sign".into(), signing), ("check".into(), checking)]);
    Ok(figures)
}

/// Units as the way in makes them: resources and the raw message.
fn units(vault: &Vault) -> Result<Vec<Vec<Unit>>, Failure> {
    let normaliser = Normaliser::new(Mapper::embedded());
    let mut cases = Vec::new();
    for n in 0..100 {
        let text = message::oru(n, 50);
        let canonical = normaliser
            .normalise(Format::Hl7v2, "bench", text.as_bytes(), vault)
            .map_err(|e| Failure::new(Exit::Failed, e))?;
        for case in canonical.cases() {
            let mut units: Vec<Unit> = case
                .units
                .iter()
                .map(|unit| Unit { kind: unit.resource_type.clone(), bytes: unit.bytes.clone() })
                .collect();
            units.push(Unit { kind: gateway_vault::RAW.into(), bytes: text.clone().into_bytes() });
            cases.push(units);
        }
    }
    Ok(cases)
}
