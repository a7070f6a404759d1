//! Replays: an operator mended a mapping table, and what a connector received in some time is mapped again. A message that says what it
//! said adds nothing; one that says something else goes its way again and becomes new evidence: its cases of before stay as they are.
//! Messages go in waves, in their order of arrival: none is looked at before what goes again ahead of it, about one of its resources, is
//! indexed. One replay at a time; how far it is, is in memory. Begun again it finds done what is done: nothing is lost or doubled when the
//! gateway ends in between. It must open nothing before the operator's deed is durable, and never take a dead letter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use schemas::cbor::sha256;
use schemas::{ErrorClass, limits};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::dead_letters::{deed, when};
use crate::ingest::look::{self, Difference};
use crate::ingest::{Foundation, Ingest, Made, StepError};
use crate::store::inbox::{self, RawPlace};
use crate::store::replays::{self, Indexed, Range, Restored};
use crate::store::units::Chain;
use crate::store::{self, dead_letters};

/// Messages of one page, and of one wave at most.
const PAGE_MAX: usize = 256;
/// Between two looks at a wave, in milliseconds.
const LOOK_MS: u64 = 20;
/// Attempts of one step without any progress.
const ATTEMPTS_MAX: u32 = 12;
/// First delay after a failure, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX`.
const RETRY_FIRST_MS: u64 = 50;
/// Names that are told apart in a count.
const NAMES_MAX: usize = 512;
/// Longest name that is told, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Received from this time on, ms.
    pub from: i64,
    /// Received before this time, ms.
    pub to: i64,
    /// Only looks.
    #[serde(default)]
    pub dry_run: bool,
}

/// Counts by name.
pub type Counts = BTreeMap<String, u64>;

/// How far a replay is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayState {
    /// `waiting` for what was on its way before, `running`, `done`, `failed` or `stopped`.
    pub phase: &'static str,
    /// Whether it only looks.
    pub dry_run: bool,
    /// Messages that are meant.
    pub messages: u64,
    /// Those that were looked at.
    pub looked: u64,
    /// Those that say something else now.
    pub changed: u64,
    /// Those that went their way again and are indexed.
    pub replayed: u64,
    /// Those that the tables refuse now, by code: they stay as they are.
    pub refused: Counts,
    /// Those that cannot be opened.
    pub unopened: u64,
    /// Resources that change, by type and element.
    pub elements: BTreeMap<String, Counts>,
    /// Resources of which nothing was sealed, by type.
    pub new: Counts,
    /// Resources that are not made any more, by type: they stay as they are.
    pub gone: Counts,
    /// Why it failed.
    pub fault: Option<String>,
}

impl ReplayState {
    fn count(&mut self, difference: &Difference) {
        self.changed += u64::from(!difference.changed.is_empty());
        for ((resource_type, ..), elements) in &difference.changed {
            match elements {
                Some(elements) => {
                    let of_type = entry(&mut self.elements, resource_type);
                    elements.iter().for_each(|name| *entry(of_type, name) += 1);
                }
                None => *entry(&mut self.new, resource_type) += 1,
            }
        }
        difference.gone.iter().for_each(|resource_type| *entry(&mut self.gone, resource_type) += 1);
    }
}

/// Why no replay begins.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Another one runs.
    #[error("found a replay that runs, expected its end")]
    Running,
    /// The database.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl ReplayError {
    /// The class of the error.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Running => ErrorClass::Conflict,
            Self::Store(error) => error.class(),
        }
    }
}

struct Job {
    asked: Asked,
    state: Arc<Mutex<ReplayState>>,
    stop: CancellationToken,
}

impl Job {
    fn runs(&self) -> bool {
        matches!(lock(&self.state).phase, "waiting" | "running")
    }
}

/// The replays of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Replays {
    jobs: Arc<Mutex<BTreeMap<String, Job>>>,
    ingest: Arc<Ingest>,
    on: Foundation,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replays {
    /// None runs yet.
    pub fn new(ingest: Arc<Ingest>, on: Foundation) -> Self {
        Self { jobs: Arc::default(), ingest, on }
    }

    /// How many messages are meant; nothing is opened.
    ///
    /// # Errors
    /// `ReplayError::Store`.
    pub async fn count(&self, name: &str, asked: Asked) -> Result<u64, ReplayError> {
        Ok(replays::count(&self.on.store, &range(name, asked)).await?)
    }

    /// Begins one, once it is written down; the same that runs already is shown.
    ///
    /// # Errors
    /// `ReplayError`.
    pub async fn begin(&self, name: &str, asked: Asked, operator: &str) -> Result<ReplayState, ReplayError> {
        let messages = self.count(name, asked).await?;
        let how = if asked.dry_run { ", dry run" } else { "" };
        let (from, to) = (when(asked.from), when(asked.to));
        let about = format!("connector {name}, from {from} to {to}, {messages} messages{how}");
        let mut write = self.on.store.begin().await?;
        dead_letters::note(&mut write, &deed(operator, "replay", about)).await?;
        store::commit(write).await?;
        let mut jobs = lock(&self.jobs);
        if let Some((of, job)) = jobs.iter().find(|(_, job)| job.runs()) {
            let same = of == name && job.asked == asked;
            return if same { Ok(lock(&job.state).clone()) } else { Err(ReplayError::Running) };
        }
        let state = ReplayState { phase: "waiting", dry_run: asked.dry_run, messages, ..ReplayState::default() };
        let shown = state.clone();
        let (state, stop) = (Arc::new(Mutex::new(state)), self.ingest.stop_token());
        jobs.insert(name.to_owned(), Job { asked, state: Arc::clone(&state), stop: stop.clone() });
        let (ingest, on) = (Arc::clone(&self.ingest), self.on.clone());
        let made = asked.dry_run.then(Made::default);
        let run = Run { ingest, on, range: range(name, asked), state, wave: Wave::default(), made };
        tokio::spawn(run.run(stop));
        Ok(shown)
    }

    /// How far the last one of a connector is.
    pub fn state(&self, name: &str) -> Option<ReplayState> {
        lock(&self.jobs).get(name).map(|job| lock(&job.state).clone())
    }

    /// Stops one; what went its way again goes on.
    pub fn stop(&self, name: &str) -> Option<ReplayState> {
        let jobs = lock(&self.jobs);
        let job = jobs.get(name)?;
        job.stop.cancel();
        Some(lock(&job.state).clone())
    }
}

fn range(name: &str, asked: Asked) -> Range {
    Range { connector: name.to_owned(), from: asked.from, to: asked.to }
}

/// Messages that go their way together: no two of them change one resource.
#[derive(Default)]
struct Wave {
    rows: Vec<Restored>,
    chains: BTreeSet<Chain>,
}

/// One replay.
struct Run {
    ingest: Arc<Ingest>,
    on: Foundation,
    range: Range,
    state: Arc<Mutex<ReplayState>>,
    wave: Wave,
    /// Only looked at.
    made: Option<Made>,
}

/// Failures in a row.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Waits after a failure that may pass; gives back one that stays, or that came too often.
    async fn wait(&mut self, error: StepError) -> Result<(), StepError> {
        self.0 += 1;
        if !error.class().is_retried() || self.0 > ATTEMPTS_MAX {
            return Err(error);
        }
        let delay_ms = (RETRY_FIRST_MS << self.0).min(limits::RETRY_DELAY_MS_MAX);
        tracing::info!(delay_ms, "{error}");
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        Ok(())
    }
}

/// Tries a step of a run until it is done or stays undone.
macro_rules! again {
    ($step:expr) => {{
        let mut attempts = Attempts::default();
        loop {
            match $step.await {
                Ok(done) => break done,
                Err(error) => attempts.wait(error.into()).await?,
            }
        }
    }};
}

impl Run {
    fn note(&self, change: impl FnOnce(&mut ReplayState)) {
        change(&mut lock(&self.state));
    }

    async fn run(mut self, stop: CancellationToken) {
        let (name, state) = (self.range.connector.clone(), Arc::clone(&self.state));
        tracing::info!(connector = name, "replay begins");
        let ended = stop.run_until_cancelled(self.take()).await;
        if let Some(Err(error)) = &ended {
            tracing::warn!(connector = name, class = error.class().name(), "replay failed: {error}");
        } else {
            tracing::info!(connector = name, "replay ended");
        }
        let mut state = lock(&state);
        match ended {
            None => state.phase = "stopped",
            Some(Ok(())) => state.phase = "done",
            Some(Err(error)) => (state.phase, state.fault) = ("failed", Some(error.to_string())),
        }
    }

    async fn take(&mut self) -> Result<(), StepError> {
        let on = self.on.clone();
        let upto = again!(inbox::last_id(&on.store));
        // what is on its way was mapped by whichever tables there were, or goes again after a replay that ended early
        let mut first = 0;
        while let Some(id) = again!(replays::first_on_its_way(&on.store, (first, upto))) {
            first = id;
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        let messages = again!(replays::count(&on.store, &self.range));
        self.note(|state| (state.phase, state.messages) = ("running", messages));
        let mut after = 0;
        loop {
            let page = again!(replays::page(&on.store, &self.range, (after, upto), PAGE_MAX));
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for message in &page {
                self.look(message).await?;
                self.note(|state| state.looked += 1);
            }
            self.send().await?;
        }
    }

    /// One message: looked at, and added to the wave where it says something else.
    async fn look(&mut self, message: &Indexed) -> Result<(), StepError> {
        let (on, mut attempts) = (self.on.clone(), Attempts::default());
        let (body, difference) = loop {
            let failed = match look::map(&on, message).await {
                Ok(Ok(mapped)) => {
                    if mapped.chains(&on)?.iter().any(|chain| self.wave.chains.contains(chain)) {
                        self.send().await?;
                    }
                    let body = Arc::clone(&mapped.body);
                    match mapped.compare(&on, message, self.made.as_mut()).await {
                        Ok(difference) => break (body, difference),
                        Err(error) => error,
                    }
                }
                Ok(Err(code)) => {
                    self.note(|state| *entry(&mut state.refused, code) += 1);
                    return Ok(());
                }
                Err(error) => error,
            };
            if !failed.class().is_retried() {
                tracing::error!(inbox = message.id, "a message cannot be mapped again: {failed}");
                self.note(|state| state.unopened += 1);
                return Ok(());
            }
            attempts.wait(failed).await?;
        };
        self.note(|state| state.count(&difference));
        if difference.changed.is_empty() || self.made.is_some() {
            return Ok(());
        }
        let raw = match message.raw {
            Some(_) => None,
            None => Some(again!(self.seal(message, &body))),
        };
        self.wave.rows.push(Restored { id: message.id, attempts: message.attempts, raw });
        self.wave.chains.extend(difference.changed.into_iter().map(|(chain, _)| chain));
        Ok(())
    }

    /// The raw bytes under a fresh key, as *receive* seals them.
    async fn seal(&self, message: &Indexed, body: &[u8]) -> Result<(RawPlace, Vec<u8>), StepError> {
        let (key, wrapped) = self.on.vault.new_raw_key(&message.source_key.0)?;
        let sealed = self.on.vault.seal_raw(&key, &message.source_key.0, body)?;
        if body.len() <= limits::INBOX_INLINE_BYTES_MAX {
            return Ok((RawPlace::Inline(sealed), wrapped));
        }
        let object = sha256(&sealed);
        self.on.objects.put_all(vec![(object, Bytes::from(sealed))]).await?;
        Ok((RawPlace::Object(object), wrapped))
    }

    /// Sends the wave its way, in one commit, and waits until it is indexed.
    async fn send(&mut self) -> Result<(), StepError> {
        let wave = std::mem::take(&mut self.wave);
        if wave.rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = wave.rows.iter().map(|row| row.id).collect();
        let rows: Arc<[Restored]> = wave.rows.into();
        again!(self.ingest.restore(Arc::clone(&rows)));
        while again!(replays::are_on_their_way(&self.on.store, &ids)) {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        self.note(|state| state.replayed += ids.len() as u64);
        Ok(())
    }
}

/// A count by name, of not too many: what a source calls things is not ours.
fn entry<'c, T: Default>(counts: &'c mut BTreeMap<String, T>, name: &str) -> &'c mut T {
    let is_plain =
        name.len() <= NAME_BYTES_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let is_told = is_plain && (counts.len() < NAMES_MAX || counts.contains_key(name));
    counts.entry(if is_told { name } else { "other" }.to_owned()).or_default()
}
