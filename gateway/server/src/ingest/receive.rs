//! *receive*: deliveries of all sources become inbox rows, many in one commit; only then are they acknowledged. The only
//! deduplicator: the same key with the same content is counted and dropped, with other content it goes to quarantine. It
//! must never acknowledge what is not durable, and never look further into a message than its key. What the next step has
//! no room for waits in the inbox.

mod key;
mod owed;
mod parts;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use connectors_source::Delivery;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use schemas::cbor::sha256;
use schemas::id::{Digest, TimeMs, to_hex};
use schemas::limits;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::key::{content_key, key_of};
use self::parts::Part;
use super::normalise::media_type;
use super::{Control, Foundation, Held, RETRY_FIRST_MS, Room, StepError, crash_point, spread, within};
use crate::dead_letters::Retried;
use crate::store::application_acks::Owed;
use crate::store::dead_letters::Filter;
use crate::store::inbox::{self, Quarantined, RawPlace};
use crate::store::replays::Restored;
use crate::store::{self, StoreError};
use crate::telemetry::{Moment, Step};

/// Groups that follow each other within this time are busy ones, in milliseconds.
const BUSY_MS: u64 = 50;
/// How long a busy group waits for more, in milliseconds: a commit of two costs what one of fifty does.
const LINGER_MS: u64 = 12;
/// Nothing more within this time ends the waiting, in milliseconds: senders that wait for their acknowledgements send nothing.
const LINGER_GAP_MS: u64 = 2;
/// Traces that one group's span is linked to.
const LINKS_MAX: usize = 64;

/// A message as a source hands it over.
#[derive(Clone)]
pub struct Message {
    /// Who brought it.
    pub connector: Box<str>,
    /// Media type as stated.
    pub content_type: Box<str>,
    /// The bytes.
    pub body: Bytes,
    /// W3C traceparent.
    pub trace: Option<Box<str>>,
    /// When.
    pub received: TimeMs,
    /// Whether its sender can be told later what became of it.
    pub tells_outcome: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable and goes its way.
    Received,
    /// It was there already.
    Duplicate,
    /// The same key with other content was there: this one is in quarantine.
    Conflict,
    /// It is larger than is taken: in quarantine.
    TooLarge,
}

impl Outcome {
    /// Code, place and class of a dead letter.
    const fn refusal(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Self::Conflict => Some(("same-key-other-content", "message key", "conflict")),
            Self::TooLarge => Some(("too-large", "message", "caller")),
            Self::Received | Self::Duplicate => None,
        }
    }
}

/// Who is told.
pub(super) enum Settle {
    Delivery(Delivery),
    Reply(oneshot::Sender<Outcome>),
}

/// A message with the one that waits for its outcome.
pub(super) struct Offer {
    pub message: Message,
    pub settle: Settle,
    pub room: Option<Held>,
}

/// What is to go its way again.
pub(super) enum Again {
    DeadLetters { filter: Filter, ids: (i64, i64), reply: oneshot::Sender<Result<(Retried, Option<i64>), StepError>> },
    Indexed { rows: Arc<[Restored]>, reply: oneshot::Sender<Result<(), StepError>> },
}

/// A durable message. Built here only.
#[derive(Clone)]
pub struct Received {
    inbox_id: i64,
    message: Message,
    room: Option<Held>,
    is_again: bool,
}

impl Received {
    /// Its inbox row.
    pub const fn inbox_id(&self) -> i64 {
        self.inbox_id
    }
    /// As it came.
    pub const fn message(&self) -> &Message {
        &self.message
    }
    /// Whether cases of it are sealed already: it is mapped again.
    pub const fn is_again(&self) -> bool {
        self.is_again
    }
    /// The room that its body takes.
    pub(super) fn room(&self) -> Option<Held> {
        self.room.clone()
    }
}

/// A message with its sealed form.
struct Prepared {
    message: Message,
    row: inbox::Message,
    /// Of the bytes as they came, as rows of earlier versions have it.
    raw_hash: Digest,
    owed: Option<Owed>,
    object: Option<Bytes>,
    room: Option<Held>,
}

pub(super) struct Receiver {
    on: Foundation,
    control: Control,
    to: mpsc::Sender<Received>,
    room: Room,
    /// Highest inbox id that is known: a row above it is one whose commit was not reported.
    known: i64,
    /// Highest inbox id that was handed on. Rows above it wait in the inbox where the next step has no room: what is
    /// durable is acknowledged whatever holds the rest of the way up.
    passed: i64,
    /// Rows below it that go their way again.
    again: VecDeque<i64>,
    /// Whether rows wait to be handed on.
    behind: bool,
    /// Not looked at before this, after a failure; and how long the next one waits, in milliseconds.
    not_before: Instant,
    delay_ms: u64,
    /// Acknowledgements under way.
    telling: JoinSet<()>,
}

impl Receiver {
    pub fn new(on: Foundation, control: Control, to: mpsc::Sender<Received>, room: Room) -> Self {
        Self {
            on,
            control,
            to,
            room,
            known: 0,
            passed: 0,
            again: VecDeque::new(),
            behind: true,
            not_before: Instant::now(),
            delay_ms: RETRY_FIRST_MS,
            telling: JoinSet::new(),
        }
    }

    pub async fn run(mut self, offered: mpsc::Receiver<Offer>, retries: mpsc::Receiver<Again>) {
        self.serve(offered, retries).await;
        // what is durable is told, even now
        while self.telling.join_next().await.is_some() {}
    }

    async fn serve(&mut self, mut offered: mpsc::Receiver<Offer>, mut retries: mpsc::Receiver<Again>) {
        if !self.look_back().await {
            return;
        }
        let mut group = Vec::with_capacity(limits::INBOX_GROUP_MAX);
        let mut last = Instant::now();
        loop {
            let to = self.to.clone();
            let may_take = self.known - self.passed < limits::INBOX_WAITING_MAX;
            let count = tokio::select! {
                () = self.control.stop.cancelled() => return,
                Some(again) = retries.recv() => {
                    // whoever waited for the answer may be gone
                    match again {
                        Again::DeadLetters { filter, ids, reply } => drop(reply.send(self.retry(&filter, ids).await)),
                        Again::Indexed { rows, reply } => drop(reply.send(self.restore(&rows).await)),
                    }
                    continue;
                }
                () = waiting::has_room(&to, self.not_before), if self.behind => {
                    if !self.catch_up().await {
                        return;
                    }
                    continue;
                }
                count = offered.recv_many(&mut group, limits::INBOX_GROUP_MAX), if may_take => count,
            };
            if last.elapsed() < Duration::from_millis(BUSY_MS) {
                fill(&mut offered, &mut group).await;
            }
            last = Instant::now();
            if count == 0 {
                return;
            }
            while !group.is_empty() {
                let rest = group.split_off(within(group.iter().map(|offer: &Offer| offer.message.body.len())));
                let piece = std::mem::replace(&mut group, rest);
                let span = span_of(&piece);
                if !self.receive(piece).instrument(span).await {
                    return;
                }
            }
        }
    }

    /// One group: sealed, in the inbox, acknowledged, handed on. False when the gateway stops.
    async fn receive(&mut self, group: Vec<Offer>) -> bool {
        let timer = self.on.metrics.timer(Step::Receive);
        let (mut messages, mut settles) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for offer in group {
            let parts = parts::split(offer.message);
            settles.push((offer.settle, parts.len()));
            messages.extend(parts.into_iter().map(|part| (part, offer.room.clone())));
        }
        if messages.is_empty() {
            tracing::info!(deliveries = settles.len(), "took batches that count no message");
            self.tell(settles, Vec::new());
            return true;
        }
        let mut patience = self.control.patience("receive");
        let prepared = loop {
            match self.prepare(messages.clone()).await {
                Ok(prepared) => break prepared,
                Err(error) if patience.wait(&error).await => {}
                Err(_) => return false,
            }
        };
        let (outcomes, received) = loop {
            match self.commit(&prepared).await {
                Ok(done) => break done,
                Err(error) if patience.wait(&error).await => {}
                Err(_) => return false,
            }
        };
        patience.over();
        drop(timer);
        crash_point!("ingest::after_inbox_commit");
        self.count(&outcomes);
        self.tell(settles, outcomes);
        self.known = received.iter().map(|message| message.inbox_id).fold(self.known, i64::max);
        for message in received {
            // its row is there: the body need not wait in memory
            self.behind |= self.room.is_scarce();
            if self.behind {
                break;
            }
            let id = message.inbox_id;
            match self.to.try_send(message) {
                Ok(()) => self.passed = self.passed.max(id),
                Err(TrySendError::Full(_)) => self.behind = true,
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        true
    }

    /// Tells the peers, and does not wait for it: one that does not read its answers must not keep others from theirs. Sources bound what
    /// is not settled.
    fn tell(&mut self, settles: Vec<(Settle, usize)>, outcomes: Vec<Outcome>) {
        self.telling.spawn(acknowledge(settles, outcomes));
        while self.telling.try_join_next().is_some() {}
    }

    /// Seals raw bytes, computes keys, puts the large ones into the object store.
    async fn prepare(&self, messages: Vec<(Part, Option<Held>)>) -> Result<Vec<Prepared>, StepError> {
        let vault = self.on.vault.clone();
        let prepared = spread(messages, move |(part, room)| prepare(&vault, part, room)).await?;
        let prepared = prepared.into_iter().collect::<Result<Vec<_>, _>>()?;
        let objects = prepared.iter().filter_map(|p| match (&p.row.raw, &p.object) {
            (RawPlace::Object(key), Some(bytes)) => Some((*key, bytes.clone())),
            _ => None,
        });
        let objects: Vec<_> = objects.collect();
        if !objects.is_empty() {
            self.on.objects.put_all(objects).await?;
        }
        Ok(prepared)
    }

    /// Writes a group in one commit. Again after an unknown outcome it finds its own rows and goes on.
    async fn commit(&self, prepared: &[Prepared]) -> Result<(Vec<Outcome>, Vec<Received>), StepError> {
        let too_large = |p: &Prepared| p.message.body.len() > self.on.message_bytes_max;
        let mut first: HashMap<Digest, usize> = HashMap::with_capacity(prepared.len());
        for (at, p) in prepared.iter().enumerate().filter(|(_, p)| !too_large(p)) {
            first.entry(p.row.source_key).or_insert(at);
        }
        let rows: Vec<inbox::Message> = prepared
            .iter()
            .enumerate()
            .filter(|(at, p)| first.get(&p.row.source_key) == Some(at))
            .map(|(_, p)| p.row.clone())
            .collect();
        let mut write = self.on.store.begin().await?;
        let added = inbox::add(&mut write, &rows).await?;
        let before: Vec<Digest> = rows.iter().map(|r| r.source_key).filter(|key| !added.contains_key(key)).collect();
        let known = inbox::known(&mut write, &before).await?;
        let mut outcomes = Vec::with_capacity(prepared.len());
        let mut received = Vec::with_capacity(added.len());
        let mut refused = Vec::new();
        for (at, p) in prepared.iter().enumerate() {
            let key = &p.row.source_key;
            let is_first = first.get(key) == Some(&at);
            let outcome = match (too_large(p), added.get(key), known.get(key)) {
                (true, _, _) => Outcome::TooLarge,
                (_, Some(id), _) if is_first => {
                    received.push(p.received(*id));
                    Outcome::Received
                }
                (_, Some(_), _) => {
                    let same = first.get(key).and_then(|at| prepared.get(*at));
                    if same.is_some_and(|f| f.row.content_hash == p.row.content_hash) {
                        Outcome::Duplicate
                    } else {
                        Outcome::Conflict
                    }
                }
                // in the inbox, but never handed on: a commit of ours whose outcome was not reported
                (_, None, Some((id, content))) if *content == p.row.content_hash || *content == p.raw_hash => {
                    if is_first && *id > self.known {
                        received.push(p.received(*id));
                        Outcome::Received
                    } else {
                        Outcome::Duplicate
                    }
                }
                (_, None, Some(_)) => Outcome::Conflict,
                (_, None, None) => return Err(StoreError::Corrupt { what: "inbox.source_key" }.into()),
            };
            outcomes.push(outcome);
            if let Some((code, path, class)) = outcome.refusal()
                && !inbox::is_quarantined(&mut write, key, &p.row.content_hash).await?
            {
                let message = p.row.clone();
                refused.push(Quarantined { message, code, path: path.into(), class });
            }
        }
        inbox::quarantine(&mut write, &refused).await?;
        owed::note(&mut write, prepared, &outcomes, (&added, &known)).await?;
        crash_point!("ingest::before_inbox_commit");
        store::commit(write).await?;
        received.sort_by_key(|r: &Received| r.inbox_id);
        Ok((outcomes, received))
    }

    fn count(&self, outcomes: &[Outcome]) {
        let of = |wanted: Outcome| outcomes.iter().filter(|o| **o == wanted).count();
        self.on.metrics.count(Moment::Received, of(Outcome::Received) as u64);
        self.on.metrics.count(Moment::Duplicate, of(Outcome::Duplicate) as u64);
        (0..of(Outcome::Conflict)).for_each(|_| self.on.metrics.quarantined("same-key-other-content"));
        (0..of(Outcome::TooLarge)).for_each(|_| self.on.metrics.quarantined("too-large"));
    }
}

impl Prepared {
    fn received(&self, inbox_id: i64) -> Received {
        Received { inbox_id, message: self.message.clone(), room: self.room.clone(), is_again: false }
    }
}

/// One span for a group, linked to the traces that its messages came with.
fn span_of(group: &[Offer]) -> tracing::Span {
    let span = tracing::info_span!("receive", messages = group.len());
    for parent in group.iter().filter_map(|offer| offer.message.trace.as_deref()).take(LINKS_MAX) {
        if let [_, trace, at, flags] = parent.split('-').collect::<Vec<_>>()[..]
            && let (Ok(trace), Ok(at)) = (TraceId::from_hex(trace), SpanId::from_hex(at))
        {
            let flags = TraceFlags::new(u8::from_str_radix(flags, 16).unwrap_or(0));
            span.add_link(SpanContext::new(trace, at, flags, true, TraceState::default()));
        }
    }
    span
}

/// Lets a busy group grow a little.
async fn fill(offered: &mut mpsc::Receiver<Offer>, group: &mut Vec<Offer>) {
    let until = tokio::time::Instant::now() + Duration::from_millis(LINGER_MS);
    while group.len() < limits::INBOX_GROUP_MAX {
        let room = limits::INBOX_GROUP_MAX - group.len();
        let gap = tokio::time::Instant::now() + Duration::from_millis(LINGER_GAP_MS);
        match tokio::time::timeout_at(gap.min(until), offered.recv_many(group, room)).await {
            Ok(more) if more > 0 => {}
            _ => return,
        }
    }
}

/// Tells the peers, beside each other. A settlement that fails means that the message comes again.
async fn acknowledge(settles: Vec<(Settle, usize)>, outcomes: Vec<Outcome>) {
    let mut outcomes = &outcomes[..];
    let mut accepting = Vec::with_capacity(settles.len());
    for (settle, parts) in settles {
        let (own, rest) = outcomes.split_at(parts.min(outcomes.len()));
        outcomes = rest;
        match settle {
            Settle::Delivery(delivery) => accepting.push(delivery.accept()),
            // nobody waits any more: the message is durable all the same
            Settle::Reply(reply) => drop(reply.send(parts::of_all(own))),
        }
    }
    let failed = futures_util::future::join_all(accepting).await.iter().filter(|told| told.is_err()).count();
    if failed > 0 {
        tracing::info!(failed, "acknowledgements did not reach the peer; those messages come again");
    }
    crash_point!("ingest::after_accept");
}

fn prepare(vault: &gateway_vault::Vault, part: Part, room: Option<Held>) -> Result<Prepared, StepError> {
    let Part { mut message, about } = part;
    // the one text of a row that comes from outside unchecked: nothing in it may make the database refuse the group
    if media_type(&message.content_type).is_none() {
        message.content_type = "".into();
    }
    let content = sha256(&message.body);
    let hash = |content: &Digest| vault.blind("raw-content", &to_hex(content.as_bytes()));
    let raw_hash = hash(&content);
    let by_content = |whole: &Digest| vault.blind("content-key", &to_hex(&content_key(&message.connector, whole)));
    let (key, canonical) = key_of(&message).unzip();
    let content_hash = canonical.flatten().as_ref().map_or(raw_hash, hash);
    let source_key = match (about, key) {
        (Some(whole), _) => by_content(&whole),
        (None, Some(key)) => vault.blind("source-key", &to_hex(&key)),
        (None, None) => by_content(&content),
    };
    let (key, raw_key) = vault.new_raw_key(&source_key.0)?;
    let sealed = vault.seal_raw(&key, &source_key.0, &message.body)?;
    let (raw, object) = if message.body.len() <= limits::INBOX_INLINE_BYTES_MAX {
        (RawPlace::Inline(sealed), None)
    } else {
        (RawPlace::Object(sha256(&sealed)), Some(Bytes::from(sealed)))
    };
    let owed = owed::of(vault, &message, source_key)?;
    let row = inbox::Message {
        source_key,
        content_hash,
        connector: message.connector.to_string(),
        content_type: message.content_type.to_string(),
        received: message.received.cast_signed(),
        raw,
        raw_key,
        is_again: false,
        trace: message.trace.as_deref().map(str::to_owned),
    };
    Ok(Prepared { message, row, raw_hash, owed, object, room })
}
