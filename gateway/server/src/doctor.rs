//! `chartseal doctor`: whether what a gateway stands on is as it must be: keys, certificates, clock, database, ledger, brokers. It looks
//! and changes nothing; what it could not look at it says so. No finding holds a secret or anything of a record.

mod files;
mod local;

use std::path::Path;
use std::time::Duration;

use connectors_amqp::inspect::{inspect, inspect_publisher};
use connectors_fhir::{FhirError, Server, ServerConfig};
use connectors_mllp::{ApplicationAckConfig, MllpSender, SendError};
use connectors_source::Finding;
use ledger_client::{HttpLedger, Ledger as _, LedgerConfig, ValidatorAddress};
use schemas::block::SignedHead;
use schemas::id::TimeMs;
use schemas::limits;

use crate::config::{Config, ConfigError, ConnectorConfig};
use crate::connectors::rehearse;
use crate::ingest::now_ms;
use crate::store::migrations::{self, Schema};
use crate::store::{Engine, StoreError};

/// Longest wait for the ledger, in milliseconds.
const LEDGER_MS_MAX: u64 = 10_000;
/// Longest wait for a FHIR server, in milliseconds.
const FHIR_MS_MAX: u64 = 10_000;
/// Synced writes per second below which a disk is pointed at.
const SYNCS_PER_S_MIN: f64 = 100.0;
/// How far a clock may be from the validators' before somebody should look, in milliseconds: their heads are signed in this interval.
const CLOCK_MS_MAX: u64 = 2 * limits::HEAD_INTERVAL_MS;

/// Everything that can be said about a configuration and its surroundings.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = local::keys(config);
    findings.extend(files::findings(&files::named(config), now_ms()));
    findings.extend(local::token(config));
    findings.push(local::objects(config));
    findings.extend(local::listeners(config).await);
    findings.push(database(config).await);
    findings.extend(ledger(config).await);
    let unread =
        |fault: &ConfigError| Finding::bad("connector", fault.to_string(), "a file that can be read as a connector");
    findings.extend(config.faults.iter().map(unread));
    for connector in &config.connectors {
        if let Err(fault) = rehearse(connector) {
            findings.push(Finding::bad(connector.name(), fault, "files that its connections can be made with"));
            continue;
        }
        match connector {
            ConnectorConfig::Amqp(amqp) => findings.extend(inspect(amqp).await),
            ConnectorConfig::Bridge(bridge) => {
                let missing = "one: messages are published into it, and a bridge makes none";
                findings.extend(inspect_publisher(&bridge.name, &bridge.amqp, missing).await);
            }
            ConnectorConfig::Mllp(mllp) => {
                if let Some(ack) = &mllp.application_ack {
                    findings.push(application_acks(&mllp.name, ack).await);
                }
            }
            ConnectorConfig::Fhir(fhir) => findings.push(fhir_server(&fhir.name, &fhir.server, &fhir.types).await),
            ConnectorConfig::FhirHook(hook) => {
                if let Some(server) = &hook.server {
                    findings.push(fhir_server(&hook.name, server, &[]).await);
                }
            }
        }
    }
    if let Some(notify) = &config.notify {
        let missing = "one: the gateway makes it when it first tells something; queues are bound to it then";
        findings.extend(inspect_publisher("notify", &notify.publisher(), missing).await);
    }
    findings
}

/// What synced writes cost where a gateway writes: every message waits for one, together with others.
pub fn disk(folder: &Path, per_s: f64, p99_ms: f64) -> Finding {
    let found = format!("{}: {per_s:.0} synced writes per second, p99 {p99_ms:.1} ms", folder.display());
    if per_s >= SYNCS_PER_S_MIN {
        Finding::good("disk", found)
    } else {
        Finding::warning("disk", found, format!("{SYNCS_PER_S_MIN} at least: acknowledgements wait for the disk"))
    }
}

async fn database(config: &Config) -> Finding {
    let url = match config.database_url() {
        Ok(url) => url,
        Err(error) => return Finding::bad("database", error.to_string(), "the address of a database"),
    };
    let start = "`chartseal run` makes and updates it when it starts";
    match migrations::look(&url).await {
        Ok(Schema { engine, missing, unknown }) => {
            let engine = match engine {
                Engine::Sqlite => "SQLite",
                Engine::Postgres => "PostgreSQL",
            };
            if !unknown.is_empty() {
                let found = format!("{engine} with the schema of a newer program: {unknown:?}");
                return Finding::bad("database", found, "this program to be as new as the one that wrote it");
            }
            match missing.len() {
                0 => Finding::good("database", format!("{engine}, its schema up to date")),
                n => Finding::warning("database", format!("{engine} without {n} versions of the schema"), start),
            }
        }
        Err(StoreError::Refused { .. }) => Finding::warning("database", "a database without a schema", start),
        // who may not make it finds out from `objects` and `disk` beside it
        Err(StoreError::Opening { .. }) if url.starts_with("sqlite:") => {
            Finding::warning("database", "no SQLite file that can be read", start)
        }
        Err(error) => Finding::bad("database", error.to_string(), "a database that answers"),
    }
}

/// Whether a FHIR server gives what is polled: one resource of each type is asked for, and thrown away.
async fn fhir_server(name: &str, server: &ServerConfig, types: &[String]) -> Finding {
    let about = format!("{name}: server");
    let asked = async { Server::new(server)?.reach(types).await };
    let limit = Duration::from_millis(FHIR_MS_MAX);
    let late = Err(FhirError::Away { doing: "being looked for" });
    match tokio::time::timeout(limit, asked).await.unwrap_or(late) {
        Ok(()) if types.is_empty() => Finding::good(about, "it answers"),
        Ok(()) => Finding::good(about, format!("it gives {}", types.join(", "))),
        Err(error) => Finding::bad(about, error.to_string(), "a server that gives the types that are polled"),
    }
}

/// Whether somebody takes application acknowledgements: nothing is sent.
async fn application_acks(name: &str, config: &ApplicationAckConfig) -> Finding {
    let about = format!("{name}: application_ack");
    let reached: Result<(), SendError> = async { MllpSender::new(config.sender())?.reach().await }.await;
    match reached {
        Ok(()) => Finding::good(about, format!("{} listens", config.address)),
        Err(error) => Finding::bad(about, error.to_string(), "a listener of the senders' system"),
    }
}

/// How many validators answer, and what their clocks say about ours.
async fn ledger(config: &Config) -> Vec<Finding> {
    let section = &config.ledger;
    let validators = section.validators.iter();
    let opened = HttpLedger::new(&LedgerConfig {
        genesis: section.genesis.clone(),
        validators: validators.map(|v| ValidatorAddress { name: v.name.clone(), url: v.url.clone() }).collect(),
        key: section.key.clone(),
        timeout_ms: section.timeout_ms,
    });
    let no_clock =
        || Finding::not_checked("clock", "no validator answers", "the clocks of the validators to compare with");
    let ledger = match opened {
        Ok(ledger) => ledger,
        Err(error) => {
            return vec![
                Finding::bad("ledger", error.to_string(), "genesis, key and addresses of a ledger"),
                no_clock(),
            ];
        }
    };
    let limit = Duration::from_millis(LEDGER_MS_MAX);
    let status = tokio::time::timeout(limit, ledger.status()).await.unwrap_or_default();
    let heads = tokio::time::timeout(limit, ledger.heads()).await.unwrap_or_default();
    let away: Vec<&str> = status.iter().filter(|v| v.status.is_none()).map(|v| v.name.as_str()).collect();
    let all = section.validators.len();
    vec![answering(all, all.min(status.len()) - away.len(), &away), clock(&heads, now_ms()).unwrap_or_else(no_clock)]
}

/// A client needs answers of more than two thirds.
fn answering(all: usize, answer: usize, away: &[&str]) -> Finding {
    let found = match away {
        [] => format!("{answer} of {all} validators answer"),
        _ => format!("{answer} of {all} validators answer, not {}", away.join(", ")),
    };
    let quorum = all - all.saturating_sub(1) / 3;
    match answer {
        _ if answer == all => Finding::good("ledger", found),
        _ if answer >= quorum => {
            Finding::warning("ledger", found, "all of them: one more that fails may stop the ledger")
        }
        _ => Finding::bad("ledger", found, format!("{quorum} at least, or nothing is anchored and nothing disclosed")),
    }
}

/// Against the median of the validators: one that lies moves nothing.
fn clock(heads: &[SignedHead], now: TimeMs) -> Option<Finding> {
    let mut times: Vec<TimeMs> = heads.iter().map(|signed| signed.head.time).collect();
    times.sort_unstable();
    let median = *times.get(times.len() / 2)?;
    let apart = median.abs_diff(now);
    let found = format!("{apart} ms from the validators'");
    let expected = "less: set the clock by NTP; reads are refused when the validators' heads look older than 5 s";
    Some(match apart {
        _ if apart <= CLOCK_MS_MAX => Finding::good("clock", found),
        _ if apart < limits::HEAD_AGE_MS_MAX => Finding::warning("clock", found, expected),
        _ => Finding::bad("clock", found, expected),
    })
}

#[cfg(test)]
mod tests;
