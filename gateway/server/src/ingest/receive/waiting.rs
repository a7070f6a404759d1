//! What waits in the inbox to be handed on: what an earlier run left, what the next step had no room for, dead letters and indexed messages
//! that go their way again. Part of *receive*, in its one task. It must never hand on what does not wait, nor keep *receive* from taking
//! what comes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use schemas::limits;
use tokio::sync::mpsc;

use super::{Message, Received, Receiver};
use crate::dead_letters::Retried;
use crate::ingest::{RETRY_FIRST_MS, StepError};
use crate::store::dead_letters::{self, Filter};
use crate::store::inbox::{self, RawPlace};
use crate::store::replays::{self, Restored};
use crate::store::{self};

impl Receiver {
    /// What an earlier run received and did not seal waits to be handed on.
    pub(super) async fn look_back(&mut self) -> bool {
        let control = self.control.clone();
        let mut patience = control.patience("receive");
        loop {
            let looked = async {
                let known = inbox::last_id(&self.on.store).await?;
                let first = inbox::first_waiting(&self.on.store).await?;
                Ok::<_, StepError>((known, first.map_or(known, |id| id - 1)))
            };
            match looked.await {
                Ok((known, passed)) => {
                    (self.known, self.passed) = (known, passed);
                    patience.over();
                    return true;
                }
                Err(error) if patience.wait(&error).await => {}
                Err(_) => return false,
            }
        }
    }

    /// Hands on rows that wait in the inbox, as many as there is room for; what cannot be handed on now is tried again later, and what
    /// comes is taken meanwhile. False when the gateway stops.
    pub(super) async fn catch_up(&mut self) -> bool {
        match self.hand_on_waiting().await {
            Ok(true) => {
                self.control.went_on("receive", self.delay_ms != RETRY_FIRST_MS);
                self.delay_ms = RETRY_FIRST_MS;
            }
            // no room for bodies: soon
            Ok(false) => self.not_before = Instant::now() + Duration::from_millis(RETRY_FIRST_MS),
            Err(StepError::Ended) => return false,
            Err(error) => {
                self.control.held_up("receive", &error, self.delay_ms);
                self.not_before = Instant::now() + Duration::from_millis(self.delay_ms);
                self.delay_ms = (self.delay_ms * 2).min(limits::RETRY_DELAY_MS_MAX);
            }
        }
        true
    }

    /// False where there is no room for another body.
    async fn hand_on_waiting(&mut self) -> Result<bool, StepError> {
        while let Some(id) = self.again.front().copied() {
            if self.to.capacity() == 0 {
                return Ok(true);
            }
            let waiting = inbox::waiting(&self.on.store, id - 1, 1).await?;
            if let Some((_, row)) = waiting.into_iter().find(|(found, _)| *found == id)
                && !self.hand_on(id, &row).await?
            {
                return Ok(false);
            }
            self.again.pop_front();
        }
        let most = self.to.capacity().min(limits::INBOX_GROUP_MAX);
        let rows = inbox::waiting(&self.on.store, self.passed, most).await?;
        self.behind = rows.len() == most;
        for (id, row) in rows {
            if !self.hand_on(id, &row).await? {
                self.behind = true;
                return Ok(false);
            }
            self.passed = id;
        }
        if !self.behind {
            // an old row that went its way again must not look like a backlog up to the newest
            self.passed = self.passed.max(self.known);
        }
        Ok(true)
    }

    /// One row that waits; one that cannot be read must not hold up all others. False where there is no room for it.
    async fn hand_on(&self, id: i64, row: &inbox::Message) -> Result<bool, StepError> {
        match self.reopen(id, row).await {
            Ok(Some(received)) => self.to.send(received).await.map(|()| true).map_err(|_| StepError::Ended),
            Ok(None) => Ok(false),
            Err(error) if !error.class().is_retried() => self.set_aside(id).await.map(|()| true),
            Err(error) => Err(error),
        }
    }

    /// Gives dead letters back to the inbox, where they wait to be handed on.
    pub(super) async fn retry(
        &mut self,
        filter: &Filter,
        ids: (i64, i64),
    ) -> Result<(Retried, Option<i64>), StepError> {
        let mut write = self.on.store.begin().await?;
        let done = dead_letters::give_back(&mut write, filter, ids, limits::INBOX_GROUP_MAX).await?;
        // noted before the commit: its answer may be lost, and a row that does not wait is passed over
        self.again.extend(done.inbox.iter().copied().filter(|id| *id <= self.passed));
        self.behind = true;
        store::commit(write).await?;
        self.known = done.inbox.iter().copied().fold(self.known, i64::max);
        Ok((Retried { retried: done.inbox.len(), left: done.left }, done.last))
    }

    /// Gives indexed messages back to the inbox, where they wait to be handed on.
    pub(super) async fn restore(&mut self, rows: &[Restored]) -> Result<(), StepError> {
        let mut write = self.on.store.begin().await?;
        let restored = replays::restore(&mut write, rows).await?;
        // as above
        self.again.extend(restored.into_iter().filter(|id| *id <= self.passed));
        self.behind = true;
        store::commit(write).await?;
        Ok(())
    }

    async fn set_aside(&self, id: i64) -> Result<(), StepError> {
        tracing::error!(inbox = id, "found raw bytes that are not what was stored; the message is in quarantine");
        let mut write = self.on.store.begin().await?;
        inbox::set_aside(&mut write, id, ("raw-unreadable", "message", "corrupt")).await?;
        store::commit(write).await?;
        self.on.metrics.quarantined("raw-unreadable");
        Ok(())
    }

    /// None where there is no room for its body.
    async fn reopen(&self, inbox_id: i64, row: &inbox::Message) -> Result<Option<Received>, StepError> {
        if self.room.is_scarce() {
            return Ok(None);
        }
        let sealed = match &row.raw {
            RawPlace::Inline(bytes) => Bytes::from(bytes.clone()),
            RawPlace::Object(key) => self.on.objects.get(key).await?,
        };
        let body: Bytes = self.on.vault.open_raw(&row.raw_key, &row.source_key.0, &sealed)?.into();
        let Some(room) = self.room.try_take(body.len()) else { return Ok(None) };
        let message = Message {
            connector: row.connector.as_str().into(),
            content_type: row.content_type.as_str().into(),
            body,
            trace: row.trace.as_deref().map(Into::into),
            received: row.received.unsigned_abs(),
            // what its sender is owed is a row already
            tells_outcome: false,
        };
        Ok(Some(Received { inbox_id, message, room: Some(room), is_again: row.is_again }))
    }
}

/// Until there is room for one more, not before a time.
pub(super) async fn has_room(to: &mpsc::Sender<Received>, not_before: Instant) {
    tokio::time::sleep_until(not_before.into()).await;
    drop(to.reserve().await);
}
