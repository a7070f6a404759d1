//! What a poll has fetched and not yet accepted, and how far its markers may go: never past what is open here, nor past what was looked
//! through. Settling a delivery changes this and the marker's store, nothing else. Bounded by pages, by unsettled deliveries and by the
//! versions that are remembered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use connectors_source::{Delivery, HealthReporter, Redelivery, Settle, SettleError, SettleFuture, Settlement};
use schemas::limits;
use tokio::sync::Notify;

use crate::error::FhirError;
use crate::marker::{Marker, MarkerError, Markers, Token};
use crate::page::Entry;
use crate::server::FHIR_JSON;
use crate::time::now_ms;

/// An idle poll's marker is written when it is this far behind, in milliseconds.
const IDLE_SAVE_MS: i64 = 60_000;

/// One source's window.
pub(crate) struct Window {
    pub name: Box<str>,
    pub kinds: Vec<String>,
    pub markers: Arc<dyn Markers>,
    pub reporter: HealthReporter,
    unsettled_max: usize,
    overlap_ms: i64,
    state: Mutex<State>,
    /// One write of each marker at a time: those that wait share the next one.
    saving: Vec<tokio::sync::Mutex<()>>,
    /// Something may be yielded.
    pub ready: Notify,
    /// Something was yielded.
    pub room: Notify,
}

#[derive(Default)]
struct State {
    /// Counts lost connections: what was yielded before one comes again.
    epoch: u64,
    next: u64,
    pending: BTreeMap<u64, Item>,
    unsettled: HashMap<u64, Item>,
    polls: Vec<Poll>,
}

/// One type.
#[derive(Default)]
struct Poll {
    marker: Option<i64>,
    /// Everything before this was looked through.
    cap: Option<i64>,
    /// What is pending or unsettled, by time.
    open: BTreeSet<(i64, u64)>,
    /// What was accepted, by time; without a time it is kept longest.
    seen: BTreeSet<(i64, Token)>,
    /// Tokens of both.
    known: HashSet<Token>,
    /// Of the state above, and of what was saved of it.
    version: u64,
    saved: u64,
    saved_marker: Option<i64>,
}

struct Item {
    poll: usize,
    /// Where the marker must stay while it is open.
    at: i64,
    updated: Option<i64>,
    token: Token,
    kind: Box<str>,
    body: Bytes,
    yielded: u32,
}

impl Poll {
    /// Moves the marker as far as it may go.
    fn advance(&mut self) {
        let floor = self.open.first().map_or(i64::MAX, |(at, _)| *at);
        let may = self.cap.map(|cap| cap.min(floor));
        self.marker = self.marker.max(may);
    }

    fn accepted(&mut self, number: u64, item: &Item) {
        self.open.remove(&(item.at, number));
        self.seen.insert((item.updated.unwrap_or(i64::MAX), item.token));
        if self.seen.len() > limits::FHIR_SEEN_MAX
            && let Some((_, oldest)) = self.seen.pop_first()
        {
            self.known.remove(&oldest);
        }
        self.version += 1;
        self.advance();
    }

    fn to_marker(&self) -> Marker {
        Marker { at: self.marker, seen: self.seen.iter().rev().take(limits::FHIR_SEEN_KEPT_MAX).copied().collect() }
    }
}

impl Window {
    pub fn new(name: &str, kinds: &[String], markers: Arc<dyn Markers>, unsettled_max: u16, overlap_ms: u64) -> Self {
        let state = State { polls: kinds.iter().map(|_| Poll::default()).collect(), ..State::default() };
        Self {
            name: name.into(),
            kinds: kinds.to_vec(),
            markers,
            reporter: HealthReporter::default(),
            unsettled_max: unsettled_max.into(),
            overlap_ms: i64::try_from(overlap_ms).unwrap_or(i64::MAX),
            state: Mutex::new(state),
            saving: kinds.iter().map(|_| tokio::sync::Mutex::default()).collect(),
            ready: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what an earlier run left; `since` where there was none.
    pub async fn load(&self, since: Option<i64>) -> Result<(), FhirError> {
        for (at, kind) in self.kinds.iter().enumerate() {
            let marker = self.markers.load(&self.name, kind).await?;
            let marker = marker.unwrap_or(Marker { at: since, seen: Vec::new() });
            let mut state = self.lock();
            let poll = &mut state.polls[at];
            (poll.marker, poll.saved_marker) = (marker.at, marker.at);
            poll.known = marker.seen.iter().map(|(_, token)| *token).collect();
            poll.seen = marker.seen.into_iter().collect();
        }
        Ok(())
    }

    /// From where a look begins. What was accepted before is not shown again and need not be remembered.
    pub fn begin(&self, poll: usize) -> Option<i64> {
        let mut state = self.lock();
        let poll = &mut state.polls[poll];
        let from = poll.marker.map(|at| at.saturating_sub(self.overlap_ms));
        while let (Some(from), Some((at, token))) = (from, poll.seen.first().copied())
            && at < from
        {
            poll.seen.pop_first();
            poll.known.remove(&token);
        }
        from
    }

    /// What is not known of these.
    pub fn unknown(&self, poll: usize, mut entries: Vec<Entry>) -> Vec<Entry> {
        let state = self.lock();
        entries.retain(|entry| !state.polls[poll].known.contains(&entry.token));
        entries
    }

    /// Takes over what is not known. `from` is where the look began.
    pub fn offer(&self, poll: usize, from: Option<i64>, entries: impl IntoIterator<Item = Entry>) {
        let mut state = self.lock();
        let state = &mut *state;
        let of = &mut state.polls[poll];
        for entry in entries {
            if !of.known.insert(entry.token) {
                continue;
            }
            let number = state.next;
            state.next += 1;
            let at = entry.at.or(from).unwrap_or(0);
            of.open.insert((at, number));
            let Entry { body, kind, token, at: updated } = entry;
            state.pending.insert(number, Item { poll, at, updated, token, kind: kind.into(), body, yielded: 0 });
        }
        self.ready.notify_one();
    }

    /// Everything before this time was looked through.
    pub fn looked_through(&self, poll: usize, until: i64) {
        if until == i64::MIN {
            return;
        }
        let mut state = self.lock();
        let poll = &mut state.polls[poll];
        poll.cap = poll.cap.max(Some(until));
        poll.advance();
    }

    /// How many wait to be yielded.
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// The connection is lost: everything that is open comes again.
    pub fn lost(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        state.epoch += 1;
        let yielded = std::mem::take(&mut state.unsettled);
        yielded.values().for_each(|_| self.reporter.settled());
        for item in yielded.into_values().chain(std::mem::take(&mut state.pending).into_values()) {
            state.polls[item.poll].known.remove(&item.token);
        }
        for poll in &mut state.polls {
            poll.open.clear();
            poll.cap = None;
        }
    }

    /// The next delivery, when there is one and it may be yielded.
    pub fn take(self: &Arc<Self>) -> Option<Delivery> {
        let mut state = self.lock();
        if state.unsettled.len() >= self.unsettled_max {
            return None;
        }
        let (number, mut item) = state.pending.pop_first()?;
        let settle = FhirSettle { window: Arc::clone(self), epoch: state.epoch, number };
        let mut delivery = Delivery::new(&self.name, item.body.clone(), now_ms(), Box::new(settle));
        delivery.content_type = FHIR_JSON.into();
        delivery.routing = item.kind.clone();
        delivery.redelivery = Redelivery { redelivered: item.yielded > 0, count: Some(item.yielded) };
        item.yielded += 1;
        state.unsettled.insert(number, item);
        self.reporter.delivered(now_ms());
        self.room.notify_one();
        Some(delivery)
    }

    /// Settles what is still this connection's; gives its poll.
    fn settle(&self, epoch: u64, number: u64, how: Settlement) -> Option<usize> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.epoch != epoch {
            return None;
        }
        let item = state.unsettled.remove(&number)?;
        self.reporter.settled();
        let poll = item.poll;
        match how {
            Settlement::Released => drop(state.pending.insert(number, item)),
            Settlement::Accepted | Settlement::Rejected(_) => state.polls[poll].accepted(number, &item),
        }
        self.ready.notify_one();
        Some(poll)
    }

    /// The type that was asked for, and the time of something unsettled.
    fn about(&self, epoch: u64, number: u64) -> Option<(&str, i64)> {
        let state = self.lock();
        let item = state.unsettled.get(&number).filter(|_| state.epoch == epoch)?;
        Some((&self.kinds[item.poll], item.updated.unwrap_or(0)))
    }

    /// Writes a poll's marker; those that wait for it at once share one write.
    pub async fn save(&self, poll: usize) -> Result<(), MarkerError> {
        let wanted = self.lock().polls[poll].version;
        let _turn = self.saving[poll].lock().await;
        let (version, marker) = {
            let state = self.lock();
            let of = &state.polls[poll];
            let idle = of.marker.unwrap_or(i64::MIN).saturating_sub(of.saved_marker.unwrap_or(i64::MIN)) < IDLE_SAVE_MS;
            if of.saved >= wanted && idle {
                return Ok(());
            }
            (of.version, of.to_marker())
        };
        let at = marker.at;
        self.markers.save(&self.name, &self.kinds[poll], marker).await?;
        let mut state = self.lock();
        (state.polls[poll].saved, state.polls[poll].saved_marker) = (version, at);
        Ok(())
    }
}

/// The right to settle one delivery.
struct FhirSettle {
    window: Arc<Window>,
    epoch: u64,
    number: u64,
}

impl Settle for FhirSettle {
    fn settle(self: Box<Self>, how: Settlement) -> SettleFuture {
        Box::pin(async move {
            let Self { window, epoch, number } = *self;
            if let Settlement::Rejected(reason) = how {
                let (kind, at) = window.about(epoch, number).ok_or(SettleError::ConnectionLost)?;
                let noted = window.markers.put_aside(&window.name, kind, at, reason).await;
                if noted.is_err() {
                    window.settle(epoch, number, Settlement::Released);
                    return Err(SettleError::Refused);
                }
            }
            let poll = window.settle(epoch, number, how).ok_or(SettleError::ConnectionLost)?;
            if how == Settlement::Released {
                return Ok(());
            }
            // not saved, it comes again after a restart; here it is known
            window.save(poll).await.map_err(|_| SettleError::Refused)
        })
    }

    fn abandon(self: Box<Self>) {
        self.window.settle(self.epoch, self.number, Settlement::Released);
    }
}
