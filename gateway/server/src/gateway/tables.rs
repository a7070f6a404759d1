//! The mapping tables of a gateway: its own and the site's, read when it starts and again when an operator says so. A table that does not
//! link leaves those of before in place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use connectors_hl7v2::Mapper;
use tokio::sync::watch;

use super::GatewayError;
use crate::config::{Config, connector};
use crate::connectors::rehearse;
use crate::ingest::normalise::{Normaliser, client_source};
use crate::operators::hands::Reload;

fn mapper(config: &Config) -> Result<Mapper, GatewayError> {
    let Some(folder) = &config.gateway.mappings else { return Ok(Mapper::embedded()) };
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
    let mapper = Mapper::with_tables(&tables).map_err(|e| GatewayError::Table(e.to_string()))?;
    mapper.doubts().iter().for_each(|doubt| tracing::warn!("a mapping table: {doubt}"));
    Ok(mapper)
}

/// What messages are normalised with.
pub(super) fn normaliser(config: &Config) -> Result<Arc<Normaliser>, GatewayError> {
    Ok(Arc::new(Normaliser {
        mapper: mapper(config)?,
        zone: config.gateway.zone.clone(),
        authorities: config.gateway.authorities.clone(),
        sources: config.hl7_defaults(),
        assigns: config.clients.iter().map(|client| (client_source(&client.id), client.assigns.clone())).collect(),
    }))
}

/// Reads the configuration again: connectors and mapping tables are taken over, whole or not at all. Everything else needs a restart.
pub(super) fn reload(file: PathBuf, tables: watch::Sender<Arc<Normaliser>>) -> Reload {
    let folder = connector::folder_of(&file);
    let was_there = AtomicBool::new(folder.is_dir());
    Arc::new(move || {
        let is_there = folder.is_dir();
        if was_there.fetch_or(is_there, Ordering::Relaxed) && !is_there {
            return Err(format!(
                "{}: found no folder any more, expected the connectors that run; empty it to stop them",
                folder.display()
            ));
        }
        let config = Config::load(&file).map_err(|e| e.to_string())?;
        let mut faults: Vec<String> = config.faults.iter().map(ToString::to_string).collect();
        // what could not be started must not end what runs
        faults.extend(config.connectors.iter().filter_map(|connector| rehearse(connector).err()));
        if !faults.is_empty() {
            return Err(faults.join("\n"));
        }
        tables.send_replace(normaliser(&config).map_err(|e| e.to_string())?);
        Ok(config.connectors)
    })
}
