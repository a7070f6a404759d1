//! The mapping tables of a gateway: its own and the site's, read when it starts and again when an operator says so. A table that does not
//! link leaves those of before in place.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use connectors_hl7v2::Mapper;
use connectors_source::Hl7Defaults;
use schemas::cbor::sha256;
use schemas::id::Digest;
use tokio::sync::watch;

use super::GatewayError;
use crate::config::{Config, connector};
use crate::connectors::rehearse;
use crate::ingest::normalise::{Normaliser, client_source};
use crate::operators::hands::{Reload, Reread};

/// The site's own tables, by their path from its folder of them.
fn own_tables(config: &Config) -> Result<Vec<(String, String)>, GatewayError> {
    let Some(folder) = &config.gateway.mappings else { return Ok(Vec::new()) };
    let unreadable = |path: &Path| GatewayError::File { path: path.to_owned(), expected: "mapping tables" };
    let mut tables = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(inside) = folders.pop() {
        for entry in std::fs::read_dir(&inside).map_err(|_| unreadable(&inside))? {
            let path = entry.map_err(|_| unreadable(&inside))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|e| e != "map") {
                continue;
            }
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            tables.push((name, std::fs::read_to_string(&path).map_err(|_| unreadable(&path))?));
        }
    }
    tables.sort();
    Ok(tables)
}

fn made(config: &Config, tables: &[(String, String)]) -> Result<Arc<Normaliser>, GatewayError> {
    let mapper = match &config.gateway.mappings {
        Some(_) => Mapper::with_tables(tables).map_err(|e| GatewayError::Table(e.to_string()))?,
        None => Mapper::embedded(),
    };
    mapper.doubts().iter().for_each(|doubt| tracing::warn!("a mapping table: {doubt}"));
    Ok(Arc::new(Normaliser {
        mapper,
        zone: config.gateway.zone.clone(),
        authorities: config.gateway.authorities.clone(),
        sources: config.hl7_defaults(),
        assigns: config.clients.iter().map(|client| (client_source(&client.id), client.assigns.clone())).collect(),
    }))
}

/// What messages are normalised with.
pub(super) fn normaliser(config: &Config) -> Result<Arc<Normaliser>, GatewayError> {
    made(config, &own_tables(config)?)
}

/// All that a normaliser is made of, told apart by its hash.
fn basis(config: &Config, tables: &[(String, String)]) -> Digest {
    let (zone, authorities) = (&config.gateway.zone, &config.gateway.authorities);
    // a connector that says nothing of its own changes nothing
    let own: Vec<_> = config.hl7_defaults().into_iter().filter(|(_, own)| *own != Hl7Defaults::default()).collect();
    sha256(format!("{tables:?}{zone:?}{authorities:?}{own:?}").as_bytes())
}

/// Reads the configuration again: connectors and mapping tables are taken over, whole or not at all. Everything else needs a restart: what
/// differs there from what this process began with is named.
pub(super) fn reload(begun: Config, normalisers: watch::Sender<Arc<Normaliser>>) -> Reload {
    let before = Mutex::new(own_tables(&begun).ok().map(|tables| basis(&begun, &tables)));
    let folder = connector::folder_of(&begun.file);
    let was_there = AtomicBool::new(folder.is_dir());
    Arc::new(move || {
        let is_there = folder.is_dir();
        if was_there.fetch_or(is_there, Ordering::Relaxed) && !is_there {
            let expected = "expected the connectors that run; empty it to stop them";
            return Err(format!("{}: found no folder any more, {expected}", folder.display()));
        }
        let config = Config::load(&begun.file).map_err(|e| e.to_string())?;
        let mut faults: Vec<String> = config.faults.iter().map(ToString::to_string).collect();
        // what could not be started must not end what runs
        faults.extend(config.connectors.iter().filter_map(|connector| rehearse(connector).err()));
        if !faults.is_empty() {
            return Err(faults.join("\n"));
        }
        let tables = own_tables(&config).map_err(|e| e.to_string())?;
        normalisers.send_replace(made(&config, &tables).map_err(|e| e.to_string())?);
        let now = Some(basis(&config, &tables));
        let is_other = std::mem::replace(&mut *before.lock().unwrap_or_else(PoisonError::into_inner), now) != now;
        Ok(Reread { restart: waiting(&begun, &config), tables: is_other, connectors: config.connectors })
    })
}

/// What of a file a running gateway does not take over, where it changed.
fn waiting(begun: &Config, now: &Config) -> Vec<&'static str> {
    // as text: sections of paths, names and numbers
    type Part = fn(&Config) -> String;
    let parts: [(&'static str, Part); 14] = [
        ("gateway.institution", |c| format!("{:?}{:?}", c.gateway.institution, c.gateway.institution_id)),
        ("gateway.home", |c| format!("{:?}", c.gateway.home)),
        ("gateway.listen", |c| c.gateway.listen.clone()),
        ("gateway.operators", |c| c.gateway.operators.clone()),
        ("gateway.base_url", |c| format!("{:?}", c.gateway.base_url)),
        ("gateway.tls_certificate", |c| format!("{:?}{:?}", c.gateway.tls_certificate, c.gateway.tls_key)),
        ("gateway.message_bytes_max", |c| c.gateway.message_bytes_max.to_string()),
        ("vault", |c| format!("{:?}", c.vault)),
        ("database", |c| format!("{:?}", c.database)),
        ("objects", |c| format!("{:?}", c.objects)),
        ("ledger", |c| format!("{:?}", c.ledger)),
        ("client", |c| format!("{:?}", c.clients)),
        ("notify", |c| format!("{:?}", c.notify)),
        ("telemetry", |c| format!("{:?}", c.telemetry)),
    ];
    parts.iter().filter(|(_, part)| part(begun) != part(now)).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests;
