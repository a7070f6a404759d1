//! Sealed cases at the patient's: fetched, checked with nothing but the genesis and her key, kept sealed in files, opened from
//! them. A case of which anything does not fit is abandoned: nothing of it is kept or shown.

use std::path::Path;

use gateway_vault::{PersonalKey, RAW, Unit};
use ledger_proof::Verified;
use schemas::cbor;
use schemas::genesis::Genesis;
use schemas::id::CaseId;
use schemas::json;
use schemas::wallet::{Ask, CASE_FORMAT, SealedCase, Status};

use super::{Own, key_failed};
use crate::commands::verify::{check, read_genesis, timestamp};
use crate::failure::{Exit, Failure, Outcome, read};
use crate::home;
use crate::output::{Output, bad, good};

/// A case that passed every check.
struct Accepted {
    verified: Verified,
    units: Vec<Unit>,
}

/// Algorithm 2 as the recipient runs it: the receipt proves institution, signature and anchor; then wraps, object, key and units.
/// Why it is abandoned names no content.
fn receive(case: &SealedCase, key: &PersonalKey, genesis: &Genesis) -> Result<Accepted, String> {
    if case.format != CASE_FORMAT {
        return Err(format!("found another format, expected {CASE_FORMAT}"));
    }
    let verified = check(case.receipt.as_bytes(), genesis).map_err(|e| format!("receipt: {e}"))?;
    let units = key.receive(&genesis.chain_id(), &verified.statement, &case.wraps, &case.object);
    Ok(Accepted { verified, units: units.map_err(|e| e.to_string())? })
}

/// Gets, checks and keeps cases.
pub async fn accept(asked: &[CaseId], to: &Path, own: &Own, output: Output) -> Outcome {
    let wallet = own.open()?;
    home::make_private_folder(to)?;
    let file = |case: &CaseId| to.join(format!("{case}.case"));
    let mut wanted = asked.to_vec();
    if wanted.is_empty() {
        let status: Status = wallet.ask(Ask::Status).await?;
        wanted.extend(status.cases.iter().map(|known| known.case).filter(|case| !file(case).exists()));
    }
    let (mut exit, mut rows) = (Exit::Done, Vec::new());
    for case in &wanted {
        let sealed: SealedCase = wallet.ask(Ask::Case(*case)).await?;
        let checked = receive(&sealed, &wallet.key, &wallet.genesis);
        let checked = checked.and_then(|accepted| match accepted.verified.case == *case {
            true => Ok(accepted),
            false => Err("found another case than the one that was asked for".to_owned()),
        });
        match checked {
            Ok(Accepted { verified, units }) => {
                home::write_secret(&file(case), &cbor::encode(&sealed))?;
                let (count, time) = (units.len(), timestamp(verified.time));
                output.line(format_args!("{}  {case}  {count} units, {time}", good("accepted ")));
                rows.push(serde_json::json!({ "case": case, "accepted": true, "units": count, "file": file(case) }));
            }
            Err(reason) => {
                exit = Exit::Failed;
                output.line(format_args!("{}  {case}  {reason}", bad("abandoned")));
                rows.push(serde_json::json!({ "case": case, "accepted": false, "reason": reason }));
            }
        }
    }
    output.document(&serde_json::json!({ "cases": rows }))?;
    Ok(exit)
}

/// Checks a kept case and prints it.
pub fn open(file: &Path, raw: bool, own: &Own, output: Output) -> Outcome {
    let genesis = read_genesis(&own.genesis)?;
    let key = PersonalKey::open(&own.key).map_err(key_failed)?;
    let abandoned =
        |reason: String| Failure::new(Exit::Failed, format_args!("{}: abandoned: {reason}", file.display()));
    let case: SealedCase = cbor::decode(&read(file)?).map_err(|e| abandoned(e.to_string()))?;
    let Accepted { verified, units } = receive(&case, &key, &genesis).map_err(abandoned)?;
    output.note(format_args!("case {}, anchored at height {}", verified.case, verified.height));
    if raw {
        let Some(unit) = units.iter().find(|unit| unit.kind == RAW) else {
            return Err(Failure::new(Exit::Failed, format_args!("{}: found no raw message in it", file.display())));
        };
        return output.bytes(&unit.bytes);
    }
    output.bytes(&bundle(&units))
}

/// A Bundle around the sealed bytes, which stay as they are.
fn bundle(units: &[Unit]) -> Vec<u8> {
    let mut out = br#"{"resourceType":"Bundle","type":"collection","entry":["#.to_vec();
    let resources =
        units.iter().filter(|unit| json::parse(&unit.bytes).is_ok_and(|json| json.resource_type().is_some()));
    for (at, unit) in resources.enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"resource\":" } else { b"{\"resource\":" });
        out.extend_from_slice(&unit.bytes);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}\n");
    out
}
