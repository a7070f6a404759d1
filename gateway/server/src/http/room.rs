//! Room for what clients hand in, and turns for looking at it. A body takes room as it comes in and keeps it until it is answered; a tree,
//! which may be many times as large as its text, is made in a turn only, and a large one alone. Stands between the handlers and what
//! they parse. It must never let anybody parse who has no turn.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use schemas::limits;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::outcome::Refused;

/// Bodies that are read or kept at once, in KiB.
const ROOM_KIB: u32 = 256 << 10;
/// Looks at once: one that searches for the place of a problem may take a second of a processor.
const TURNS: u32 = 2;
/// A body above this is looked at alone, in bytes.
const LARGE_BYTES: usize = 1 << 20;
/// Longest wait for room or for a turn.
const WAIT: Duration = Duration::from_secs(10);
/// How many times its text a tree may be: a text of `[],` or `0,`.
const TREE_TIMES: usize = 40;

/// What all handlers share.
pub static ROOM: Room = Room::new(ROOM_KIB, TURNS);

/// Room and turns.
pub struct Room {
    kib: Semaphore,
    turns: Semaphore,
    turns_max: u32,
}

/// A body with the room that it takes.
pub struct InHand {
    /// The body, exactly as it came.
    pub bytes: Bytes,
    _room: Option<SemaphorePermit<'static>>,
}

impl Room {
    /// So many KiB, so many turns.
    pub const fn new(kib: u32, turns: u32) -> Self {
        Self { kib: Semaphore::const_new(kib as usize), turns: Semaphore::const_new(turns as usize), turns_max: turns }
    }

    /// Reads a body within its bounds. What is not there yet takes no room: nobody keeps others out by promising much.
    ///
    /// # Errors
    /// `Refused`: too large, not there in time, or no room for it in time.
    pub async fn read(&'static self, body: Body, most: usize, wait: Duration) -> Result<InHand, Refused> {
        // what it says of itself is believed when it is too much, and only then
        if body.size_hint().lower() > most as u64 {
            return Err(Refused::too_large());
        }
        let read = tokio::time::timeout(wait, self.fill(body, most)).await;
        read.unwrap_or_else(|_| Err(Refused::request("timeout", "the body did not arrive in time")))
    }

    async fn fill(&'static self, body: Body, most: usize) -> Result<InHand, Refused> {
        let (mut chunks, mut bytes) = (body.into_data_stream(), BytesMut::new());
        let mut room: Option<SemaphorePermit<'static>> = None;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refused::request("incomplete", "the body ended before its end"))?;
            let length = bytes.len() + chunk.len();
            if length > most {
                return Err(Refused::too_large());
            }
            let (has, needs) = (room.as_ref().map_or(0, SemaphorePermit::num_permits), length.div_ceil(1024));
            if needs > has {
                let more = self.take(needs - has).await?;
                match &mut room {
                    Some(room) => room.merge(more),
                    none => *none = Some(more),
                }
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(InHand { bytes: bytes.freeze(), _room: room })
    }

    /// Room for the tree of a text that is kept beyond its turn.
    ///
    /// # Errors
    /// `Refused`: unavailable.
    pub async fn for_tree(&'static self, bytes: usize) -> Result<SemaphorePermit<'static>, Refused> {
        self.take((bytes * TREE_TIMES).div_ceil(1024)).await
    }

    async fn take(&'static self, kib: usize) -> Result<SemaphorePermit<'static>, Refused> {
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        soon(self.kib.acquire_many(kib)).await
    }

    /// A turn for a body of so many bytes.
    ///
    /// # Errors
    /// `Refused`: unavailable.
    async fn turn(&'static self, bytes: usize) -> Result<SemaphorePermit<'static>, Refused> {
        let all = if bytes > LARGE_BYTES { self.turns_max } else { 1 };
        soon(self.turns.acquire_many(all)).await
    }

    /// Looks at a body of so many bytes when it is its turn, on a thread of its own, so that it holds up nobody's answer.
    ///
    /// # Errors
    /// `Refused`: what the look says; unavailable.
    pub async fn look<T: Send + 'static>(
        &'static self,
        bytes: usize,
        look: impl FnOnce() -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let turn = self.turn(bytes).await?;
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            look()
        });
        looked.await.unwrap_or_else(|_| Err(Refused::fault()))
    }
}

async fn soon<T, E>(waiting: impl Future<Output = Result<T, E>>) -> Result<T, Refused> {
    match tokio::time::timeout(WAIT, waiting).await {
        Ok(Ok(got)) => Ok(got),
        _ => Err(Refused::unavailable("too much is handed in at once; nothing was kept")),
    }
}

const _: () = assert!(limits::MESSAGE_BYTES_MAX * 2 <= (ROOM_KIB as usize) << 10);
const _: () = assert!(limits::CONSENT_BYTES_MAX * (TREE_TIMES + 1) <= (ROOM_KIB as usize) << 10);

#[cfg(test)]
mod tests;
