//! Bulk imports: what a FHIR server exports goes line by line through the way in, under the connector's name, so that the inbox knows what
//! polling brought or will bring. One import of a connector at a time; how far it is, is in memory. Begun again it takes everything once
//! more, and the inbox drops what it has: nothing is lost or doubled when a gateway, a server or a connection ends in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connectors_fhir::{Export, ExportFile, FhirConfig, FhirError, Level, Server, Standing};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use schemas::{ErrorClass, limits};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::ConnectorConfig;
use crate::connectors::Connectors;
use crate::ingest::{Ingest, Message, Outcome, now_ms};

/// Lines on their way into the inbox at once.
const IN_HAND_MAX: usize = limits::INBOX_GROUP_MAX;
/// Attempts of one step without any progress.
const ATTEMPTS_MAX: u32 = 12;
/// First delay after a failure, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX`.
const RETRY_FIRST_MS: u64 = 250;

/// What an operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// `system`, `patient` or `group/ID`; the first unless said otherwise.
    pub level: Option<String>,
    /// Types, with commas between them; the connector's unless said otherwise.
    pub types: Option<String>,
    /// Only what was updated since, a FHIR instant.
    pub since: Option<String>,
}

/// How far an import is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportState {
    /// `asking`, `waiting`, `reading`, `done`, `failed` or `stopped`.
    pub phase: &'static str,
    /// How far the server's export is, where it says so.
    pub percent: Option<u8>,
    /// Files of the export.
    pub files: usize,
    /// Those that are taken.
    pub files_done: usize,
    /// Files of errors that the server added.
    pub error_files: usize,
    /// Resources that are done: new ones, those that were known, those that are refused.
    pub resources: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are new.
    pub received: u64,
    /// Those that were here already.
    pub duplicates: u64,
    /// Those that are dead letters, or longer than anybody keeps.
    pub refused: u64,
    /// Everything up to this instant is in the export.
    pub transaction_time: Option<String>,
    /// Why it failed.
    pub fault: Option<String>,
}

/// Why no import begins.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no such connector, or it polls no FHIR server.
    #[error("found no connector of kind fhir with this name, expected one")]
    Unknown,
    /// Another one runs.
    #[error("found an import of this connector that runs and asks for something else, expected its end")]
    Running,
    /// The server or what is asked of it.
    #[error(transparent)]
    Fhir(#[from] FhirError),
    /// The gateway stops.
    #[error("the gateway stops")]
    Ended,
}

impl ImportError {
    /// The class of the error.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unknown => ErrorClass::Caller,
            Self::Running => ErrorClass::Conflict,
            Self::Fhir(error) => error.class(),
            Self::Ended => ErrorClass::Transient,
        }
    }
}

struct Job {
    asked: Asked,
    state: Arc<Mutex<ImportState>>,
    stop: CancellationToken,
}

/// The imports of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Imports {
    jobs: Arc<Mutex<BTreeMap<String, Job>>>,
    ingest: Arc<Ingest>,
    connectors: Connectors,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Imports {
    /// None runs yet.
    pub fn new(ingest: Arc<Ingest>, connectors: Connectors) -> Self {
        Self { jobs: Arc::default(), ingest, connectors }
    }

    /// Begins one; the same that runs already is shown.
    ///
    /// # Errors
    /// `ImportError`.
    pub fn begin(&self, name: &str, asked: Asked) -> Result<ImportState, ImportError> {
        let Some(ConnectorConfig::Fhir(config)) = self.connectors.config(name) else {
            return Err(ImportError::Unknown);
        };
        let mut jobs = lock(&self.jobs);
        if let Some(job) = jobs.get(name) {
            let state = lock(&job.state).clone();
            let runs = matches!(state.phase, "asking" | "waiting" | "reading");
            match runs {
                true if job.asked == asked => return Ok(state),
                true => return Err(ImportError::Running),
                false => {}
            }
        }
        let level: Level = asked.level.as_deref().unwrap_or("system").parse()?;
        let types: Vec<String> = match asked.types.as_deref() {
            Some(types) => types.split(',').map(|kind| kind.trim().to_owned()).collect(),
            None => config.types.clone(),
        };
        let server = Arc::new(Server::new(&config.server)?);
        let state = Arc::new(Mutex::new(ImportState { phase: "asking", ..ImportState::default() }));
        let stop = self.ingest.stop_token();
        let (since, shown) = (asked.since.clone(), lock(&state).clone());
        let run = Run { ingest: Arc::clone(&self.ingest), config, server, state: Arc::clone(&state) };
        jobs.insert(name.to_owned(), Job { asked, state, stop: stop.clone() });
        tokio::spawn(async move { run.run(&level, &types, since.as_deref(), stop).await });
        Ok(shown)
    }

    /// How far the last one of a connector is.
    pub fn state(&self, name: &str) -> Option<ImportState> {
        lock(&self.jobs).get(name).map(|job| lock(&job.state).clone())
    }

    /// Stops one; what was taken stays.
    pub fn stop(&self, name: &str) -> Option<ImportState> {
        let jobs = lock(&self.jobs);
        let job = jobs.get(name)?;
        job.stop.cancel();
        Some(lock(&job.state).clone())
    }
}

/// One import.
struct Run {
    ingest: Arc<Ingest>,
    config: FhirConfig,
    server: Arc<Server>,
    state: Arc<Mutex<ImportState>>,
}

/// Failures in a row.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Waits after a failure that may pass; gives back one that stays, or that came too often.
    async fn wait(&mut self, error: FhirError) -> Result<(), FhirError> {
        self.0 += 1;
        if error.class() != ErrorClass::Transient || self.0 > ATTEMPTS_MAX {
            return Err(error);
        }
        let delay_ms = match error {
            FhirError::Busy { after_ms } => after_ms,
            _ => (RETRY_FIRST_MS << self.0.min(10)).min(limits::RETRY_DELAY_MS_MAX),
        };
        tracing::info!(delay_ms, "{error}");
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        Ok(())
    }
}

impl Run {
    fn note(&self, change: impl FnOnce(&mut ImportState)) {
        change(&mut lock(&self.state));
    }

    async fn run(self, level: &Level, types: &[String], since: Option<&str>, stop: CancellationToken) {
        let name = self.config.name.as_str();
        tracing::info!(connector = name, "import begins");
        let asking = async {
            let mut attempts = Attempts::default();
            loop {
                match Export::start(Arc::clone(&self.server), level, types, since).await {
                    Ok(export) => return Ok(export),
                    Err(error) => attempts.wait(error).await?,
                }
            }
        };
        let ended = match stop.run_until_cancelled(asking).await {
            None => None,
            Some(Err(error)) => Some(Err(ImportError::Fhir(error))),
            Some(Ok(export)) => {
                let ended = stop.run_until_cancelled(self.take(&export)).await;
                // not for ever: a server forgets jobs by itself
                if let Err(error) = export.delete().await {
                    tracing::info!(connector = name, "the export was not taken away: {error}");
                }
                ended
            }
        };
        self.note(|state| match &ended {
            None => state.phase = "stopped",
            Some(Ok(())) => state.phase = "done",
            Some(Err(error)) => (state.phase, state.fault) = ("failed", Some(error.to_string())),
        });
        match ended {
            Some(Err(error)) => {
                tracing::warn!(connector = name, class = error.class().name(), "import failed: {error}")
            }
            _ => tracing::info!(connector = name, "import ended"),
        }
    }

    /// Waits for the export, then takes its files one after the other.
    async fn take(&self, export: &Export) -> Result<(), ImportError> {
        let mut attempts = Attempts::default();
        let manifest = loop {
            match export.standing().await {
                Ok(Standing::Done(manifest)) => break manifest,
                Ok(Standing::Running { after_ms, percent }) => {
                    attempts = Attempts::default();
                    self.note(|state| (state.phase, state.percent) = ("waiting", percent));
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                }
                Err(error) => attempts.wait(error).await?,
            }
        };
        self.note(|state| {
            (state.phase, state.percent, state.files) = ("reading", None, manifest.files.len());
            state.error_files = manifest.error_files;
            state.transaction_time = Some(manifest.transaction_time.clone());
        });
        for file in &manifest.files {
            let (mut done, mut attempts) = (0, Attempts::default());
            loop {
                let before = done;
                match self.file(export, file, &mut done).await {
                    Ok(()) => break,
                    Err(ImportError::Fhir(error)) => {
                        if done > before {
                            attempts = Attempts::default();
                        }
                        attempts.wait(error).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.note(|state| state.files_done += 1);
        }
        Ok(())
    }

    /// The lines of one file behind those that are `done`; a connection that is lost costs none of them.
    async fn file(&self, export: &Export, file: &ExportFile, done: &mut u64) -> Result<(), ImportError> {
        let mut lines = export.lines(file).await?;
        for _ in 0..*done {
            match lines.next().await {
                Ok(Some(_)) | Err(FhirError::TooLarge { .. }) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        let mut taking = FuturesOrdered::new();
        let ended = loop {
            let body = match lines.next().await {
                Ok(Some(body)) => body,
                Ok(None) => break Ok(()),
                // nobody can keep it: it is told, and those behind it go on
                Err(error @ FhirError::TooLarge { .. }) => {
                    tracing::warn!(
                        connector = self.config.name,
                        kind = file.kind,
                        line = *done + 1,
                        "passed over: {error}"
                    );
                    self.count((Outcome::TooLarge, 0), done);
                    continue;
                }
                Err(error) => break Err(ImportError::Fhir(error)),
            };
            let bytes = body.len() as u64;
            let message = Message {
                connector: self.config.name.as_str().into(),
                content_type: "application/fhir+json".into(),
                body,
                trace: None,
                received: now_ms(),
                tells_outcome: false,
            };
            let ingest = Arc::clone(&self.ingest);
            taking.push_back(async move { ingest.take(message).await.map(|outcome| (outcome, bytes)) });
            if taking.len() >= IN_HAND_MAX
                && let Some(taken) = taking.next().await
            {
                self.count(taken.map_err(|_| ImportError::Ended)?, done);
            }
        };
        while let Some(taken) = taking.next().await {
            self.count(taken.map_err(|_| ImportError::Ended)?, done);
        }
        ended
    }

    fn count(&self, (outcome, bytes): (Outcome, u64), done: &mut u64) {
        *done += 1;
        self.note(|state| {
            state.resources += 1;
            state.bytes += bytes;
            match outcome {
                Outcome::Received => state.received += 1,
                Outcome::Duplicate => state.duplicates += 1,
                Outcome::Conflict | Outcome::TooLarge => state.refused += 1,
            }
        });
    }
}
