//! The assembly: one configuration becomes one running gateway. Opens everything in the order in which it depends on each
//! other, stops it in the other order. Decides nothing about a record.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_vault::{Vault, VaultError};
use ledger_client::{HttpLedger, Ledger, LedgerConfig, LedgerError, ValidatorAddress};
use schemas::ErrorClass;
use schemas::genesis::{Genesis, GenesisError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::connectors::{Connectors, measures};
use crate::consents::{self, Consents};
use crate::dead_letters::DeadLetters;
use crate::disclose::log::AccessLog;
use crate::disclose::open::Opener;
use crate::disclose::record::Recorder;
use crate::disclose::{Disclose, system_clock};
use crate::follow::{FollowError, Follower};
use crate::http::hooks::{self, Hooks};
use crate::http::listen::{Door, ListenError};
use crate::http::{self, Front, HandedIn, Intake, TakenIn};
use crate::imports::Imports;
use crate::ingest::normalise::{Normaliser, client_source};
use crate::ingest::{self, Ingest, Message, Outcome};
use crate::markers::StoredMarkers;
use crate::notify;
use crate::objects::{ObjectError, Objects};
use crate::operators::hands::{self, Hands, TokenError};
use crate::operators::{self, Operators};
use crate::replays::Replays;
use crate::smart::{ClientError, Clients, Tokens};
use crate::store::claim::Claim;
use crate::store::{Store, StoreError};
use crate::telemetry::{Metrics, MetricsError};

mod probes;
mod tables;

/// Longest wait for each part at the end, in milliseconds.
const STOP_MS_MAX: u64 = 15_000;
/// Longest wait for a gateway that is ending on the same database, in milliseconds.
const CLAIM_MS_MAX: u64 = 10_000;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The ledger client.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger's state.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The genesis file.
    #[error("{path}: {error}")]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: GenesisError,
    },
    /// A file cannot be read.
    #[error("{path}: found no readable file, expected {expected}")]
    File {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A mapping table.
    #[error("mapping tables: {0}")]
    Table(String),
    /// The institution of the configuration, the vault and the genesis are not one.
    #[error("institution {id}: found {found}, expected the key in the vault's folder to be its key in the genesis")]
    Institution {
        /// The id of the configuration.
        id: String,
        /// What does not fit.
        found: &'static str,
    },
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operators' token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A client's registration.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The instruments.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl GatewayError {
    /// The class of the error: what the caller can change is a usage error, the rest says whether to try again.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Vault(e) => e.class(),
            Self::Store(e) => e.class(),
            Self::Objects(e) => e.class(),
            Self::Ledger(e) => e.class(),
            Self::Follow(e) => e.class(),
            Self::Metrics(e) => e.class(),
            Self::Config(_)
            | Self::Genesis { .. }
            | Self::File { .. }
            | Self::Table(_)
            | Self::Institution { .. }
            | Self::Listen(_)
            | Self::Token(_)
            | Self::Client(_) => ErrorClass::Caller,
        }
    }
}

/// A running gateway.
pub struct Gateway {
    ingest: Arc<Ingest>,
    follower: Follower,
    store: Store,
    metrics: Metrics,
    address: Option<SocketAddr>,
    operators: Option<SocketAddr>,
    stop: CancellationToken,
    recorder_stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    recorder: JoinHandle<()>,
    notifier: Option<JoinHandle<()>>,
    access_log: JoinHandle<()>,
    /// Held to the end.
    _claim: Claim,
}

/// What both ways stand on.
struct Ground {
    store: Store,
    claim: Claim,
    objects: Objects,
    vault: Arc<Vault>,
    ledger: Arc<dyn Ledger>,
    genesis: Arc<Genesis>,
    follower: Follower,
    metrics: Metrics,
}

impl Gateway {
    /// Opens everything and starts both ways.
    ///
    /// # Errors
    /// `GatewayError`: what could not be opened.
    pub async fn start(config: Config) -> Result<Self, GatewayError> {
        #[cfg(feature = "failpoints")]
        std::mem::forget(fail::FailScenario::setup());
        let stop = CancellationToken::new();
        let ground = ground(&config, &stop).await?;
        let (normalisers, normaliser) = watch::channel(tables::normaliser(&config)?);
        let foundation = way_in(&ground, &config, normaliser)?;
        let tls = config.gateway.tls_certificate.as_deref().zip(config.gateway.tls_key.as_deref());
        let door = Door::open(&config.gateway.listen, tls).await?;
        let operators_door = Door::open(&config.gateway.operators, None).await?;
        let (address, operators_address) = (door.address().ok(), operators_door.address().ok());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listening = address.map_or_else(|| config.gateway.listen.clone(), |a| a.to_string());
        let origin = config.gateway.base_url.clone().unwrap_or_else(|| format!("{scheme}://{listening}"));

        let clients = Clients::load(&config.clients, &format!("{origin}/fhir"))?;
        let ingest = Arc::new(Ingest::start(foundation.clone()));
        let most = config.gateway.message_bytes_max;
        let connectors = connect(&ground, &config, &ingest).await?;
        let imports = Imports::new(Arc::clone(&ingest), connectors.clone());
        let hooks = Hooks { connectors: connectors.clone(), metrics: ground.metrics.clone(), body_bytes_max: most };
        let (disclose, access_log) = way_out(&ground, &config, &origin);
        let front = Front {
            disclose,
            tokens: Tokens::new(ground.store.clone(), clients.clone()),
            clients,
            intake: Arc::new(IntakeOf(Arc::clone(&ingest))),
            origin: origin.as_str().into(),
            institution: config.gateway.institution.as_str().into(),
            body_bytes_max: most,
            body_wait: http::BODY_WAIT,
        };
        let operators = operators(&ground, &ingest, connectors.clone());
        let hands = Hands {
            token: hands::token(&config.gateway.home)?,
            connectors,
            imports,
            replays: Replays::new(Arc::clone(&ingest), foundation),
            dead_letters: dead_letters(&ground, &ingest),
            reload: tables::reload(config.clone(), normalisers),
            metrics: ground.metrics.clone(),
        };
        let servers = vec![
            serve(door, http::router(front).merge(hooks::router(hooks)), stop.clone()),
            serve(operators_door, operators::router(operators).merge(hands::router(hands)), stop.clone()),
        ];
        let recorder_stop = CancellationToken::new();
        let recorder = tokio::spawn(recorder(&ground, &config).run(recorder_stop.clone()));
        let notifier = notifier(&ground, &config, &recorder_stop);
        tracing::info!(listen = %listening, operators = %config.gateway.operators, "gateway runs");
        tokio::spawn(yield_to_another(ground.claim.lost(), stop.clone(), recorder_stop.clone(), Arc::clone(&ingest)));
        let Ground { store, claim, follower, metrics, .. } = ground;
        Ok(Self {
            ingest,
            follower,
            store,
            metrics,
            address,
            operators: operators_address,
            stop,
            recorder_stop,
            servers,
            recorder,
            notifier,
            access_log,
            _claim: claim,
        })
    }

    /// Where clients reach it.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where operators reach it.
    pub const fn operators_address(&self) -> Option<SocketAddr> {
        self.operators
    }

    /// The way in.
    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// How far the ledger's state is.
    pub const fn follower(&self) -> &Follower {
        &self.follower
    }

    /// The database.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Its measures.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Stops: first what takes, then what anchors, then what is followed. What is not done is durable.
    pub async fn stop(self) {
        let patience = Duration::from_millis(STOP_MS_MAX);
        self.ingest.stop(patience).await;
        self.recorder_stop.cancel();
        if tokio::time::timeout(patience, self.recorder).await.is_err() {
            tracing::warn!("the access log's last batch is not anchored yet; it goes on at the next start");
        }
        if let Some(notifier) = self.notifier {
            drop(tokio::time::timeout(patience, notifier).await);
        }
        self.stop.cancel();
        for server in self.servers {
            drop(tokio::time::timeout(patience, server).await);
        }
        // the log's task ends with the last handle of the way out
        drop(tokio::time::timeout(patience, self.access_log).await);
        self.store.close().await;
    }
}

async fn ground(config: &Config, stop: &CancellationToken) -> Result<Ground, GatewayError> {
    let vault = Arc::new(Vault::open(&config.vault.dir)?);
    let genesis = Arc::new(genesis(config)?);
    belongs(config, &vault, &genesis)?;
    let metrics = Metrics::new()?;
    let home = &config.gateway.home;
    std::fs::create_dir_all(home).map_err(|_| GatewayError::File { path: home.clone(), expected: "a folder" })?;
    let objects = Objects::open(&config.objects.url)?;
    let mut store = Store::open(&config.database_url()?).await?;
    if config.notify.is_some() {
        store = store.with_notices();
    }
    let claim = store.claim(Duration::from_millis(CLAIM_MS_MAX)).await?;
    let validators = config.ledger.validators.iter();
    let ledger: Arc<dyn Ledger> = Arc::new(HttpLedger::new(&LedgerConfig {
        genesis: config.ledger.genesis.clone(),
        validators: validators.map(|v| ValidatorAddress { name: v.name.clone(), url: v.url.clone() }).collect(),
        key: config.ledger.key.clone(),
        timeout_ms: config.ledger.timeout_ms,
    })?);
    let following =
        Follower::start(store.clone(), Arc::clone(&ledger), Arc::clone(&genesis), metrics.clone(), stop.clone());
    let follower = following.await?;
    Ok(Ground { store, claim, objects, vault, ledger, genesis, follower, metrics })
}

/// Another gateway has the database: what would write there stops.
async fn yield_to_another(
    lost: CancellationToken,
    stop: CancellationToken,
    recorder: CancellationToken,
    ingest: Arc<Ingest>,
) {
    if stop.run_until_cancelled(lost.cancelled()).await.is_some() {
        ingest.halt("claim");
        recorder.cancel();
    }
}

fn genesis(config: &Config) -> Result<Genesis, GatewayError> {
    let path = &config.ledger.genesis;
    let text = std::fs::read_to_string(path)
        .map_err(|_| GatewayError::File { path: path.clone(), expected: "the genesis file" })?;
    Genesis::parse(&text).map_err(|error| GatewayError::Genesis { path: path.clone(), error })
}

/// A key that is not the registered one would sign what every validator refuses: said at once.
fn belongs(config: &Config, vault: &Vault, genesis: &Genesis) -> Result<(), GatewayError> {
    let id = config.gateway.institution_id;
    let own = genesis.institutions.iter().find(|i| i.register.institution == id);
    let found = match own {
        None => "no such institution in the genesis",
        Some(own) if own.register.key != vault.institution_key() => "another signing key in the genesis",
        Some(own) if !own.register.gateways.contains(&vault.gateway_key()) => "no such gateway key in the genesis",
        Some(_) => return Ok(()),
    };
    Err(GatewayError::Institution { id: id.to_string(), found })
}

/// Whether the keys of a vault are those of the configured institution in the genesis.
///
/// # Errors
/// `GatewayError`: the genesis, or what does not fit.
pub(crate) fn institution(config: &Config, vault: &Vault) -> Result<(), GatewayError> {
    belongs(config, vault, &genesis(config)?)
}

fn way_in(
    ground: &Ground,
    config: &Config,
    normaliser: watch::Receiver<Arc<Normaliser>>,
) -> Result<ingest::Foundation, GatewayError> {
    Ok(ingest::Foundation {
        store: ground.store.clone(),
        objects: ground.objects.clone(),
        vault: Arc::clone(&ground.vault),
        ledger: Arc::clone(&ground.ledger),
        follower: ground.follower.clone(),
        chain: ground.genesis.chain_id(),
        institution: config.gateway.institution_id,
        normaliser,
        metrics: ground.metrics.clone(),
        message_bytes_max: config.gateway.message_bytes_max,
    })
}

/// Starts the connectors that are configured.
async fn connect(ground: &Ground, config: &Config, ingest: &Arc<Ingest>) -> Result<Connectors, StoreError> {
    let markers = Arc::new(StoredMarkers { store: ground.store.clone(), vault: Arc::clone(&ground.vault) });
    let (on, kept) = (Arc::clone(ingest), (ground.store.clone(), Arc::clone(&ground.vault)));
    Connectors::start((&config.connectors, &config.faults), on, kept, markers, config.gateway.message_bytes_max).await
}

/// Tells the hospital's systems what became of messages, where that is configured.
fn notifier(ground: &Ground, config: &Config, stop: &CancellationToken) -> Option<JoinHandle<()>> {
    let publisher = config.notify.as_ref()?.publisher();
    Some(tokio::spawn(notify::run(ground.store.clone(), publisher, stop.clone())))
}

fn recorder(ground: &Ground, config: &Config) -> Recorder {
    Recorder {
        store: ground.store.clone(),
        vault: Arc::clone(&ground.vault),
        ledger: Arc::clone(&ground.ledger),
        follower: Arc::new(ground.follower.clone()),
        chain: ground.genesis.chain_id(),
        institution: config.gateway.institution_id,
        metrics: ground.metrics.clone(),
    }
}

fn way_out(ground: &Ground, config: &Config, origin: &str) -> (Disclose, JoinHandle<()>) {
    let Ground { store, objects, vault, .. } = ground;
    let (log, task) = AccessLog::start(store.clone(), Arc::clone(vault), ground.metrics.clone());
    let opener = Opener::new(store.clone(), objects.clone(), Arc::clone(vault));
    let base: Arc<str> = format!("{origin}/fhir").into();
    let consents = Consents::new(consents::Foundation {
        store: store.clone(),
        vault: Arc::clone(vault),
        ledger: Arc::clone(&ground.ledger),
        follower: Arc::new(ground.follower.clone()),
        opener: opener.clone(),
        chain: ground.genesis.chain_id(),
        institution: config.gateway.institution_id,
        base: Arc::clone(&base),
    });
    let disclose = Disclose {
        store: store.clone(),
        vault: Arc::clone(vault),
        follower: Arc::new(ground.follower.clone()),
        log,
        consents,
        opener,
        metrics: ground.metrics.clone(),
        clock: system_clock(),
        base,
    };
    (disclose, task)
}

/// What operators' systems ask for.
fn operators(ground: &Ground, ingest: &Arc<Ingest>, connectors: Connectors) -> Operators {
    Operators {
        metrics: ground.metrics.clone(),
        probes: Arc::new(probes::probes(ground, ingest)),
        ledger: Arc::clone(&ground.ledger),
        store: ground.store.clone(),
        measures: {
            let connectors = connectors.clone();
            Arc::new(move || measures(&connectors.list(), ingest::now_ms()))
        },
        connectors: Arc::new(move || hands::parts(&connectors)),
        body_wait: http::BODY_WAIT,
    }
}

fn dead_letters(ground: &Ground, ingest: &Arc<Ingest>) -> DeadLetters {
    let (store, objects) = (ground.store.clone(), ground.objects.clone());
    DeadLetters { store, objects, vault: Arc::clone(&ground.vault), ingest: Arc::clone(ingest) }
}

fn serve(door: Door, router: axum::Router, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = door.serve(router, stop).await {
            tracing::error!("listener: {}", error.kind());
        }
    })
}

/// What clients hand in takes the same way as what connectors bring.
struct IntakeOf(Arc<Ingest>);

impl Intake for IntakeOf {
    fn take(
        &self,
        handed: HandedIn,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<TakenIn, ErrorClass>> + Send + '_>> {
        Box::pin(async move {
            let message = Message {
                connector: client_source(&handed.client).into(),
                content_type: "application/fhir+json".into(),
                body: handed.body,
                trace: None,
                received: ingest::now_ms(),
                tells_outcome: false,
            };
            match self.0.take(message).await {
                Ok(Outcome::Received) => Ok(TakenIn::Received),
                Ok(Outcome::Duplicate) => Ok(TakenIn::Duplicate),
                Ok(Outcome::Conflict | Outcome::TooLarge) => Ok(TakenIn::Conflict),
                // the gateway stops
                Err(_) => Err(ErrorClass::Transient),
            }
        })
    }
}
