//! One connection: frames in, deliveries out, acknowledgements back in the order of the messages. A message that is given back
//! unsettled ends the connection without an answer, as its sender would see a crash: it comes again, and nothing behind it
//! overtakes it. It must never acknowledge what was not accepted.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use connectors_source::{Delivery, HealthReporter, Rejection, Settle, SettleError, SettleFuture, Settlement};
use schemas::limits;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::acknowledge::{Answer, HEAD_BYTES, answer, last_word};
use crate::config::MllpConfig;
use crate::frame::{Decoder, Event, encode};
use crate::places::Seat;
use crate::source::now_ms;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// An unfinished frame larger than this takes one of the listener's few places for large ones, in bytes.
const LARGE_BYTES: usize = 1 << 20;
/// Bodies of one listener that are taken and not settled, in KiB.
pub(crate) const ROOM_KIB: u32 = 128 << 10;
/// Such places of a listener.
pub(crate) const LARGE_FRAMES_MAX: usize = 4;
/// Messages of one connection that wait for their outcome: a sender need not wait for each acknowledgement.
const PIPELINE_MAX: usize = 64;
/// Longest that a frame may take from its first byte to its last, in milliseconds.
const FRAME_MS_MAX: u64 = 120_000;
/// A frame that ends without its carriage return is whole when nothing follows for so long.
const SILENCE: Duration = Duration::from_secs(1);
/// Longest wait for an answer to be sent, in milliseconds.
const ANSWER_MS_MAX: u64 = 10_000;
/// Longest wait for the peer to close too, in milliseconds.
const LINGER_MS_MAX: u64 = 1_000;

/// A delivery on its way to `next`: whether it comes again because its connection is gone, and the places that it holds.
pub(crate) struct Handed {
    pub gone: Arc<AtomicBool>,
    pub delivery: Delivery,
    _permits: Permits,
}

/// One of the unsettled, and the bytes of its body. Given back when neither the connection nor `next` has it any more.
type Permits = Arc<(OwnedSemaphorePermit, OwnedSemaphorePermit)>;

/// What the connections of a listener share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub config: Arc<MllpConfig>,
    pub reporter: HealthReporter,
    pub to: mpsc::Sender<Handed>,
    pub unsettled: Arc<Semaphore>,
    /// Room for bodies that are taken and not settled, in KiB.
    pub room: Arc<Semaphore>,
    pub large: Arc<Semaphore>,
    pub closing: CancellationToken,
}

/// A settlement on its way to the connection, and the way back.
struct Told {
    how: Settlement,
    done: oneshot::Sender<()>,
}

/// A message whose outcome is open, or one that was refused at once.
enum Pending {
    Open(Open),
    TooLong { head: Bytes },
}

struct Open {
    head: Bytes,
    told: oneshot::Receiver<Told>,
    /// Whether its sender hears when it was kept: if not it will not send it again.
    answered: bool,
    gone: Arc<AtomicBool>,
    _place: Place,
}

/// Counts a delivery as unsettled while it lives.
struct Place {
    _permits: Permits,
    reporter: HealthReporter,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.reporter.settled();
    }
}

/// The connection's side of a delivery.
struct MllpSettle(oneshot::Sender<Told>);

impl Settle for MllpSettle {
    fn settle(self: Box<Self>, how: Settlement) -> SettleFuture {
        let (done, is_done) = oneshot::channel();
        let told = self.0.send(Told { how, done });
        Box::pin(async move {
            told.map_err(|_| SettleError::ConnectionLost)?;
            match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), is_done).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(SettleError::ConnectionLost),
                Err(_) => Err(SettleError::TimedOut { after_ms: ANSWER_MS_MAX }),
            }
        })
    }

    /// The connection sees the other end gone.
    fn abandon(self: Box<Self>) {}
}

/// One connection in its life.
struct Connection<S> {
    shared: Shared,
    stream: S,
    buffer: BytesMut,
    decoder: Decoder,
    pending: VecDeque<Pending>,
    /// A message that waits for a place among the unsettled.
    waiting: Option<Bytes>,
    large: Option<OwnedSemaphorePermit>,
    seat: Arc<Seat>,
    /// When something came in last, and when the frame began that is not whole yet.
    moved: Instant,
    begun: Option<Instant>,
}

/// Why a connection ends.
enum End {
    /// The peer went, or the source is closed and everything is settled.
    Done,
    /// Nothing moved.
    Idle,
    /// Its place went to another address, when nothing was unsettled.
    GaveWay,
    /// A message was given back.
    GivenBack,
    /// The socket failed.
    Failed(io::ErrorKind),
}

/// Serves one connection until it ends.
pub(crate) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: Shared, seat: Arc<Seat>) {
    let mut connection = Connection {
        decoder: Decoder::new(shared.config.message_bytes_max),
        stream,
        buffer: BytesMut::new(),
        pending: VecDeque::new(),
        waiting: None,
        large: None,
        seat,
        moved: Instant::now(),
        begun: None,
        shared,
    };
    let end = connection.run().await;
    let lost = connection.let_go();
    let skipped = connection.decoder.skipped();
    let name = connection.shared.config.name.as_str();
    match end {
        End::Done if lost == 0 && skipped < 3 => tracing::debug!(connector = name, "a connection ended"),
        End::Done => tracing::info!(connector = name, unanswered = lost, skipped, "a connection ended"),
        End::GaveWay => tracing::info!(connector = name, skipped, "closed a silent connection for another address"),
        End::Idle => tracing::info!(connector = name, skipped, "closed an idle connection"),
        End::GivenBack => {
            tracing::info!(connector = name, unanswered = lost, "a message was given back: its connection is closed")
        }
        End::Failed(kind) => tracing::info!(connector = name, unanswered = lost, "a connection failed: {kind}"),
    }
    // what is unanswered now comes again
    let ending = linger(&mut connection.stream, &mut connection.buffer);
    drop(tokio::time::timeout(Duration::from_millis(LINGER_MS_MAX), ending).await);
    connection.keep_unanswered().await;
}

/// Closes and reads on until the peer closes too: a socket that is closed with bytes unread takes back answers that the peer has
/// not read yet.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> io::Result<()> {
    stream.shutdown().await?;
    loop {
        buffer.clear();
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(());
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self) -> End {
        let (closing, seat) = (self.shared.closing.clone(), Arc::clone(&self.seat));
        loop {
            let is_busy = !self.pending.is_empty() || self.waiting.is_some();
            seat.set_busy(is_busy);
            if seat.lost().is_cancelled() && !is_busy {
                return End::GaveWay;
            }
            let ends = closing.is_cancelled() || seat.lost().is_cancelled();
            let may_read = self.waiting.is_none() && self.pending.len() < PIPELINE_MAX && !ends;
            if may_read && let Some(event) = self.decoder.decode(&mut self.buffer) {
                self.take(event);
                continue;
            }
            if closing.is_cancelled() && self.pending.is_empty() {
                return End::Done;
            }
            self.begun = self.decoder.is_inside().then(|| self.begun.unwrap_or(self.moved));
            let deadline = self.deadline();
            let bytes = self.waiting.as_ref().map_or(0, Bytes::len);
            tokio::select! {
                told = outcome(&mut self.pending), if !self.pending.is_empty() => match told {
                    Some(told) => match self.settle(told).await {
                        Ok(true) => {}
                        Ok(false) => return End::GivenBack,
                        Err(error) => return End::Failed(error.kind()),
                    },
                    None => return End::GivenBack,
                },
                permits = permits(&self.shared, bytes), if self.waiting.is_some() => {
                    let Some(permits) = permits else { return End::Done };
                    if !self.hand_over(permits) {
                        return End::Done;
                    }
                }
                read = read_some(&mut self.stream, &mut self.buffer, &mut self.large, &self.shared), if may_read => {
                    match read {
                        Ok(0) => return End::Done,
                        Ok(_) => {
                            self.moved = Instant::now();
                            seat.moved();
                        }
                        Err(error) => return End::Failed(error.kind()),
                    }
                }
                () = closing.cancelled(), if !closing.is_cancelled() => self.waiting = None,
                () = seat.lost().cancelled(), if !ends => {}
                () = tokio::time::sleep_until(deadline), if may_read && self.pending.is_empty() => return End::Idle,
                // its sender writes no carriage return and waits for the answer
                () = tokio::time::sleep_until(self.moved + SILENCE), if may_read && self.decoder.may_be_whole(&self.buffer) => {
                    self.buffer.extend_from_slice(b"\r");
                }
            }
        }
    }

    /// The connection is over: what is unanswered comes again, and how many that are. What wanted no answer does not come again.
    fn let_go(&mut self) -> usize {
        let all = self.pending.len() + usize::from(self.waiting.is_some());
        self.waiting.take_if(|body| answer(body, Answer::Kept).is_some());
        self.pending.retain(|pending| match pending {
            Pending::Open(open) => {
                open.gone.store(open.answered, Ordering::Release);
                !open.answered
            }
            Pending::TooLong { .. } => false,
        });
        all - self.pending.len() - usize::from(self.waiting.is_some())
    }

    /// Sees messages home whose sender has gone and wanted no answer.
    async fn keep_unanswered(&mut self) {
        let closing = self.shared.closing.clone();
        while !self.pending.is_empty() || self.waiting.is_some() {
            let bytes = self.waiting.as_ref().map_or(0, Bytes::len);
            tokio::select! {
                told = outcome(&mut self.pending), if !self.pending.is_empty() => {
                    match told {
                        Some(Some(told)) => drop(told.done.send(())),
                        Some(None) => {}
                        None => self.lost(),
                    }
                    self.pending.pop_front();
                }
                permits = permits(&self.shared, bytes), if self.waiting.is_some() => {
                    if !permits.is_some_and(|permits| self.hand_over(permits)) {
                        self.waiting = None;
                    }
                }
                () = closing.cancelled(), if self.waiting.is_some() => {
                    self.waiting = None;
                    self.lost();
                }
            }
        }
    }

    fn lost(&self) {
        let name = self.shared.config.name.as_str();
        tracing::warn!(connector = name, "a message was given back whose sender wanted no answer: it is lost");
    }

    /// When the connection is closed unless something moves: sooner where a frame does not come to its end.
    fn deadline(&self) -> Instant {
        let idle = self.moved + Duration::from_millis(self.shared.config.idle_ms);
        self.begun.map_or(idle, |begun| idle.min(begun + Duration::from_millis(FRAME_MS_MAX)))
    }

    fn take(&mut self, event: Event) {
        let name = self.shared.config.name.as_str();
        self.begun = None;
        // a large body keeps its place until there is room for it
        self.large.take_if(|_| !matches!(&event, Event::Message(body) if body.len() > LARGE_BYTES));
        match event {
            Event::Message(body) => self.waiting = Some(body),
            Event::TooLong { head, bytes } => {
                tracing::warn!(connector = name, bytes, "refused: too large");
                self.pending.push_back(Pending::TooLong { head });
            }
            Event::Broken { bytes } => {
                tracing::warn!(
                    connector = name,
                    bytes,
                    "found a frame that another one began in; its sender has no answer"
                );
            }
        }
    }

    /// Makes a delivery of the message that waits. False when nobody takes any more.
    fn hand_over(&mut self, permits: Permits) -> bool {
        let Some(body) = self.waiting.take() else { return true };
        self.large = None;
        let head = Bytes::copy_from_slice(&body[..body.len().min(HEAD_BYTES)]);
        let (to, told) = oneshot::channel();
        let config = &self.shared.config;
        let mut delivery = Delivery::new(&config.name, body, now_ms(), Box::new(MllpSettle(to)));
        delivery.content_type = config.content_type.to_ascii_lowercase().into();
        delivery.tells_outcome = config.application_ack.is_some();
        self.shared.reporter.delivered(now_ms());
        let place = Place { _permits: Arc::clone(&permits), reporter: self.shared.reporter.clone() };
        let (answered, gone) = (answer(&head, Answer::Kept).is_some(), Arc::<AtomicBool>::default());
        self.pending.push_back(Pending::Open(Open { head, told, answered, gone: Arc::clone(&gone), _place: place }));
        // as many places as permits
        self.shared.to.try_send(Handed { gone, delivery, _permits: permits }).is_ok()
    }

    /// Answers the first of the pending; false when it was given back.
    async fn settle(&mut self, told: Option<Told>) -> io::Result<bool> {
        let how = told.as_ref().map_or(Settlement::Rejected(Rejection::TooLarge), |told| told.how);
        let what = match how {
            Settlement::Released => {
                if let Some(Pending::Open(open)) = self.pending.pop_front() {
                    open.gone.store(true, Ordering::Release);
                }
                // closed is told
                told.map(|told| told.done.send(()));
                return Ok(false);
            }
            Settlement::Accepted => Answer::Kept,
            Settlement::Rejected(Rejection::TooLarge) => refused("the message is larger than the receiver takes"),
            Settlement::Rejected(Rejection::Empty) => refused("the message is empty"),
        };
        let Some(Pending::Open(Open { head, .. }) | Pending::TooLong { head }) = self.pending.front() else {
            return Ok(true);
        };
        let last = || if matches!(what, Answer::Refused { .. }) { last_word(head, what) } else { None };
        if let Some(text) = answer(head, what).or_else(last) {
            let frame = encode(&text);
            let sending = async {
                self.stream.write_all(&frame).await?;
                self.stream.flush().await
            };
            let limit = Duration::from_millis(ANSWER_MS_MAX);
            tokio::time::timeout(limit, sending).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        }
        self.pending.pop_front();
        if let Some(told) = told {
            // nobody waits any more: the peer was told all the same
            let _ = told.done.send(());
        }
        Ok(true)
    }
}

const fn refused(reason: &'static str) -> Answer {
    Answer::Refused { condition: ("207", "Application error"), reason }
}

/// A place among the unsettled, with room for a body. May be dropped before it is ready. None when the source is gone.
async fn permits(shared: &Shared, bytes: usize) -> Option<Permits> {
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, ROOM_KIB);
    let room = Arc::clone(&shared.room).acquire_many_owned(kib).await.ok()?;
    let place = Arc::clone(&shared.unsettled).acquire_owned().await.ok()?;
    Some(Arc::new((place, room)))
}

/// The outcome of the first pending message: told, refused at once (`Some(None)`), or given back (`None`).
async fn outcome(pending: &mut VecDeque<Pending>) -> Option<Option<Told>> {
    match pending.front_mut() {
        Some(Pending::Open(open)) => (&mut open.told).await.ok().map(Some),
        Some(Pending::TooLong { .. }) => Some(None),
        None => std::future::pending().await,
    }
}

/// Reads what is there; a large frame waits for a place first. May be dropped before it is ready without losing a byte.
async fn read_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    large: &mut Option<OwnedSemaphorePermit>,
    shared: &Shared,
) -> io::Result<usize> {
    if buffer.len() > LARGE_BYTES && large.is_none() {
        *large = Arc::clone(&shared.large).acquire_owned().await.ok();
        // at once and not by doubling, which would leave the halves behind; what is not written to takes no memory
        buffer.reserve((shared.config.message_bytes_max + READ_BYTES).saturating_sub(buffer.len()));
    }
    buffer.reserve(READ_BYTES);
    stream.read_buf(buffer).await
}

const _: () = assert!(limits::MESSAGE_BYTES_MAX <= (ROOM_KIB as usize) << 10);
const _: () = assert!(LARGE_BYTES < limits::MESSAGE_BYTES_DEFAULT && PIPELINE_MAX <= limits::PREFETCH_DEFAULT as usize);
