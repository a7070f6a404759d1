//! The set of connectors that run: started, paused, resumed, drained and exchanged while everything else goes on. One that cannot be
//! started is named and touches no other. It decides nothing about messages.

mod measures;
mod rehearse;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use connectors_amqp::AmqpSource;
use connectors_fhir::{FhirError, FhirSource, Hook, HookSource, Markers};
use connectors_mllp::{MllpConfig, MllpSource, TlsError};
use connectors_source::{Source, SourceHealth};
use gateway_vault::Vault;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::acknowledge::Acknowledger;
use crate::bridge;
use crate::config::{ConfigError, ConnectorConfig};
use crate::ingest::{Ingest, now_ms};
use crate::store::{self, Store, StoreError, application_acks, dead_letters};

pub use measures::measures;
pub use rehearse::rehearse;

/// Longest wait for messages in hand when a connector is drained, in milliseconds.
const DRAIN_MS_MAX: u64 = 30_000;

/// A connector as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectorState {
    /// Its name.
    pub name: String,
    /// Its kind: `amqp`, `mllp`, …
    pub kind: &'static str,
    /// Whether it was stopped by an operator.
    pub paused: bool,
    /// Whether messages can arrive.
    pub connected: bool,
    /// Messages that are taken and not yet settled.
    pub unsettled: u64,
    /// Connections made again.
    pub reconnects: u64,
    /// Queues of which one message at a time is taken, because their messages were in hand of processes that died.
    pub careful: u64,
    /// When the last message came, ms.
    pub last_delivery: Option<u64>,
    /// Why it does not run, where it cannot.
    pub fault: Option<String>,
    /// Why messages cannot arrive, as the last attempt to connect said; it is tried again.
    pub why: Option<String>,
}

impl ConnectorState {
    /// One whose file could not be read.
    fn of_unread(fault: &ConfigError) -> Self {
        Self {
            name: fault.file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            kind: "unread",
            paused: false,
            connected: false,
            unsettled: 0,
            reconnects: 0,
            careful: 0,
            last_delivery: None,
            fault: Some(fault.to_string()),
            why: None,
        }
    }
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Connectors that are new.
    pub started: Vec<String>,
    /// Connectors that are no more.
    pub stopped: Vec<String>,
    /// Connectors whose configuration changed.
    pub restarted: Vec<String>,
    /// Connectors that were not touched.
    pub unchanged: Vec<String>,
}

struct Running {
    config: ConnectorConfig,
    /// When the files that it names were written: one that was exchanged is a change too.
    files: Vec<Option<SystemTime>>,
    paused: bool,
    live: Option<(CancellationToken, watch::Receiver<SourceHealth>)>,
    /// Of the one that was told to end and may have messages in hand.
    ending: Option<watch::Receiver<SourceHealth>>,
    fault: Option<String>,
    /// Where notifications for it are handed in.
    hook: Option<Hook>,
    /// Tells its senders what became of their messages, also while it is paused.
    _acknowledger: Option<DropGuard>,
}

/// Why a connector cannot be started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Fhir(#[from] FhirError),
}

/// The set. Cheap to clone.
#[derive(Clone)]
pub struct Connectors {
    set: Arc<Mutex<BTreeMap<String, Running>>>,
    /// Files of connectors that could not be read at the start, until a reload takes all.
    unread: Arc<Mutex<Vec<ConfigError>>>,
    /// One change at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    ingest: Arc<Ingest>,
    store: Store,
    vault: Arc<Vault>,
    markers: Arc<dyn Markers>,
    message_bytes_max: usize,
}

impl Connectors {
    /// Starts those that no operator has paused.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn start(
        (configs, unread): (&[ConnectorConfig], &[ConfigError]),
        ingest: Arc<Ingest>,
        (store, vault): (Store, Arc<Vault>),
        markers: Arc<dyn Markers>,
        message_bytes_max: usize,
    ) -> Result<Self, StoreError> {
        let paused = dead_letters::paused(&store).await?;
        // what one of the unread owes is owed on
        if unread.is_empty() {
            application_acks::keep_only(&store, &telling(configs)).await?;
        }
        unread.iter().for_each(|fault| tracing::error!("a connector is left out: {fault}"));
        let (set, turn, unread) = (Arc::default(), Arc::default(), Arc::new(Mutex::new(unread.to_vec())));
        let connectors = Self { set, unread, turn, ingest, store, vault, markers, message_bytes_max };
        {
            let mut set = connectors.lock();
            for config in configs {
                let paused = paused.iter().any(|name| name == config.name());
                set.insert(config.name().to_owned(), connectors.begin(config.clone(), paused));
            }
        }
        Ok(connectors)
    }

    /// Every connector in the order of names.
    pub fn list(&self) -> Vec<ConnectorState> {
        let state = |(name, running): (&String, &Running)| {
            let health = running.live.as_ref().map(|(_, health)| health.borrow().clone()).unwrap_or_default();
            ConnectorState {
                name: name.clone(),
                kind: running.config.kind(),
                paused: running.paused,
                connected: health.connected,
                unsettled: health.unsettled,
                reconnects: health.reconnects,
                careful: health.careful,
                last_delivery: health.last_delivery,
                fault: running.fault.clone(),
                why: health.why.as_deref().map(str::to_owned),
            }
        };
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().iter().map(state).chain(unread.iter().map(ConnectorState::of_unread)).collect()
    }

    /// The configuration of one.
    pub fn config(&self, name: &str) -> Option<ConnectorConfig> {
        self.lock().get(name).map(|running| running.config.clone())
    }

    /// Where notifications for one are handed in; none inside while it does not run.
    pub fn hook(&self, name: &str) -> Option<Option<Hook>> {
        let set = self.lock();
        let running = set.get(name).filter(|running| matches!(running.config, ConnectorConfig::FhirHook(_)))?;
        Some(running.hook.clone())
    }

    /// Stops one from taking messages until it is resumed, over restarts too. False where there is none of this name.
    ///
    /// # Errors
    /// `StoreError`: then it runs on.
    pub async fn pause(&self, name: &str) -> Result<bool, StoreError> {
        let _turn = self.turn.lock().await;
        if !self.lock().contains_key(name) {
            return Ok(false);
        }
        self.note(name, Some(now_ms().cast_signed())).await?;
        if let Some(running) = self.lock().get_mut(name) {
            running.paused = true;
            running.end();
        }
        Ok(true)
    }

    /// Lets a paused one take messages again. False where there is none of this name.
    ///
    /// # Errors
    /// `StoreError`: then it stays paused.
    pub async fn resume(&self, name: &str) -> Result<bool, StoreError> {
        let _turn = self.turn.lock().await;
        let Some(ending) = self.lock().get_mut(name).map(|running| running.ending.take()) else { return Ok(false) };
        self.note(name, None).await?;
        ended(ending).await;
        let mut set = self.lock();
        if let Some(running) = set.get_mut(name).filter(|running| running.paused) {
            *running = self.begin(running.config.clone(), false);
        }
        Ok(true)
    }

    /// Pauses one and waits until everything that it took is settled. `None` where there is none of this name, else whether it is.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn drain(&self, name: &str) -> Result<Option<bool>, StoreError> {
        let health = self.lock().get(name).and_then(|running| running.live.as_ref().map(|(_, health)| health.clone()));
        if !self.pause(name).await? {
            return Ok(None);
        }
        let Some(mut health) = health else { return Ok(Some(true)) };
        let limit = Duration::from_millis(DRAIN_MS_MAX);
        let settled = tokio::time::timeout(limit, health.wait_for(|health| health.unsettled == 0)).await;
        // a source that is gone has nothing in hand
        Ok(Some(settled.is_ok()))
    }

    /// Takes over another set: what is equal goes on untouched. One that changed begins when the one before has given back what it
    /// had, so that nothing overtakes it.
    ///
    /// # Errors
    /// `StoreError`: then nothing changed.
    pub async fn reload(&self, configs: Vec<ConnectorConfig>) -> Result<Reloaded, StoreError> {
        let _turn = self.turn.lock().await;
        let paused = dead_letters::paused(&self.store).await?;
        application_acks::keep_only(&self.store, &telling(&configs)).await?;
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut done = Reloaded::default();
        let (mut begin, mut ending) = (Vec::new(), Vec::new());
        {
            let mut set = self.lock();
            let mut before = std::mem::take(&mut *set);
            for config in configs {
                let name = config.name().to_owned();
                match before.remove(&name) {
                    Some(running) if running.is(&config) => {
                        done.unchanged.push(name.clone());
                        set.insert(name, running);
                    }
                    Some(mut running) => {
                        running.end();
                        ending.push(running.ending.take());
                        done.restarted.push(name);
                        begin.push(config);
                    }
                    None => {
                        done.started.push(name);
                        begin.push(config);
                    }
                }
            }
            for (name, mut running) in before {
                running.end();
                done.stopped.push(name);
            }
        }
        for ending in ending {
            ended(ending).await;
        }
        let mut set = self.lock();
        for config in begin {
            let paused = paused.iter().any(|name| name == config.name());
            set.insert(config.name().to_owned(), self.begin(config, paused));
        }
        Ok(done)
    }

    fn begin(&self, config: ConnectorConfig, paused: bool) -> Running {
        let (mut live, mut fault, mut hook) = (None, None, None);
        let acknowledger = self.acknowledger(&config);
        if !paused {
            // one that could not keep its word takes nothing
            let begun = acknowledger.as_ref().map_err(|error| StartError::Tls(error.clone()));
            match begun.and_then(|_| self.source(&config)) {
                Ok((source, its_hook)) => {
                    hook = its_hook;
                    let health = source.health();
                    let stop = match &config {
                        ConnectorConfig::Bridge(bridge) => {
                            let (stop, amqp) = (self.ingest.stop_token(), bridge.amqp.clone());
                            tokio::spawn(bridge::run(source, amqp, stop.clone()));
                            stop
                        }
                        _ => self.ingest.attach(source),
                    };
                    live = Some((stop, health));
                }
                Err(error) => {
                    tracing::error!(connector = config.name(), "cannot be started: {error}");
                    fault = Some(error.to_string());
                }
            }
        }
        Running {
            files: written(&config),
            config,
            paused,
            live,
            ending: None,
            fault,
            hook,
            _acknowledger: acknowledger.ok().flatten(),
        }
    }

    fn acknowledger(&self, config: &ConnectorConfig) -> Result<Option<DropGuard>, TlsError> {
        let ConnectorConfig::Mllp(MllpConfig { name, application_ack: Some(ack), .. }) = config else {
            return Ok(None);
        };
        let acknowledger = Acknowledger::new((self.store.clone(), Arc::clone(&self.vault)), name, ack)?;
        let stop = self.ingest.stop_token();
        tokio::spawn(acknowledger.run(stop.clone()));
        Ok(Some(stop.drop_guard()))
    }

    fn source(&self, config: &ConnectorConfig) -> Result<(Box<dyn Source>, Option<Hook>), StartError> {
        let source: Box<dyn Source> = match config {
            ConnectorConfig::Amqp(amqp) => Box::new(AmqpSource::start(amqp.clone())),
            ConnectorConfig::Mllp(mllp) => {
                let message_bytes_max = mllp.message_bytes_max.min(self.message_bytes_max);
                Box::new(MllpSource::start(MllpConfig { message_bytes_max, ..mllp.clone() })?)
            }
            ConnectorConfig::Bridge(bridge) => {
                Box::new(MllpSource::start(MllpConfig { name: bridge.name.clone(), ..bridge.mllp.clone() })?)
            }
            ConnectorConfig::Fhir(fhir) => Box::new(FhirSource::start(fhir.clone(), Arc::clone(&self.markers))?),
            ConnectorConfig::FhirHook(hook) => {
                let (source, hook) = HookSource::start(hook)?;
                return Ok((Box::new(source), Some(hook)));
            }
        };
        Ok((source, None))
    }

    async fn note(&self, name: &str, since: Option<i64>) -> Result<(), StoreError> {
        let mut write = self.store.begin().await?;
        dead_letters::set_paused(&mut write, name, since).await?;
        store::commit(write).await
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn end(&mut self) {
        self.hook = None;
        if let Some((stop, health)) = self.live.take() {
            stop.cancel();
            self.ending = Some(health);
        }
    }

    fn is(&self, config: &ConnectorConfig) -> bool {
        self.config == *config && self.files == written(config) && self.fault.is_none()
    }
}

/// Those whose senders are told what became of their messages.
fn telling(configs: &[ConnectorConfig]) -> Vec<&str> {
    let telling = |config: &&ConnectorConfig| {
        matches!(config, ConnectorConfig::Mllp(MllpConfig { application_ack: Some(_), .. }))
    };
    configs.iter().filter(telling).map(ConnectorConfig::name).collect()
}

/// When the files that a connector names were written.
fn written(config: &ConnectorConfig) -> Vec<Option<SystemTime>> {
    let mut config = config.clone();
    let files = config.files_mut().into_iter();
    files.map(|file| std::fs::metadata(&*file).and_then(|of| of.modified()).ok()).collect()
}

/// Waits until a source that was told to end has ended, but not for ever.
async fn ended(health: Option<watch::Receiver<SourceHealth>>) {
    let Some(mut health) = health else { return };
    let ending = async { while health.changed().await.is_ok() {} };
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), ending).await.is_err() {
        tracing::warn!(
            "a connector did not end in time; its messages may come behind those of the one that follows it"
        );
    }
}
