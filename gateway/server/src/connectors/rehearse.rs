//! What of a connector can be tried without touching the network: its certificates and keys fit, its login can be signed. Before a reload
//! ends what runs, and for `connector validate`. It must never listen, connect or take a message.

use connectors_fhir::{HookSource, Server};

use crate::config::ConnectorConfig;

/// Opens what a connector's files hold.
///
/// # Errors
/// What was found and expected, with the connector's name and the file; never what is in it.
pub fn rehearse(config: &ConnectorConfig) -> Result<(), String> {
    let fault = match config {
        ConnectorConfig::Amqp(amqp) => amqp.rehearse().err().map(|e| e.to_string()),
        ConnectorConfig::Mllp(mllp) => mllp.rehearse().err().map(|e| e.to_string()),
        ConnectorConfig::Bridge(bridge) => {
            let listener = bridge.mllp.rehearse().err().map(|e| e.to_string());
            listener.or_else(|| bridge.amqp.rehearse().err().map(|e| e.to_string()))
        }
        ConnectorConfig::Fhir(fhir) => Server::new(&fhir.server).err().map(|e| e.to_string()),
        ConnectorConfig::FhirHook(hook) => HookSource::start(hook).err().map(|e| e.to_string()),
    };
    fault.map_or(Ok(()), |fault| Err(format!("connector `{}`: {fault}", config.name())))
}
