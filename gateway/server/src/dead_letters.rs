//! What operators do about messages that were refused: look, try again, discard. Stands beside the way in, which alone gives messages
//! back to itself. Raw bytes are opened only to be shown, and that is written down first; nothing here changes a message.

use std::sync::Arc;

use gateway_vault::{Vault, VaultError};
use schemas::ErrorClass;
use serde::Serialize;

use crate::ingest::{Ingest, StepError, now_ms};
use crate::objects::{ObjectError, Objects};
use crate::store::dead_letters::{self, DeadLetter, Filter, OperatorDeed};
use crate::store::inbox::RawPlace;
use crate::store::{self, Store, StoreError};

/// Most dead letters of one list or one retry.
pub const MOST: usize = 1_000;

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A key, or sealed bytes that are not what was stored.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The way in.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl DeadLetterError {
    /// The class of the error.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(e) => e.class(),
            Self::Objects(e) => e.class(),
            Self::Vault(e) => e.class(),
            Self::Step(e) => e.class(),
        }
    }
}

/// How many of one kind there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Who brought them.
    pub connector: String,
    /// Why they were refused.
    pub code: String,
    /// How many.
    pub count: u64,
    /// What to do about them.
    pub hint: &'static str,
}

/// What became of a retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retried {
    /// Messages that go their way again.
    pub retried: usize,
    /// Messages whose key is another message's: they can be shown and discarded only.
    pub left: usize,
}

/// The operators' hands.
#[derive(Clone)]
pub struct DeadLetters {
    /// The database.
    pub store: Store,
    /// The object store.
    pub objects: Objects,
    /// The keys.
    pub vault: Arc<Vault>,
    /// The way in.
    pub ingest: Arc<Ingest>,
}

impl DeadLetters {
    /// The oldest that are meant, behind an id.
    ///
    /// # Errors
    /// `DeadLetterError`.
    pub async fn list(&self, filter: &Filter, after: i64, most: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        Ok(dead_letters::list(&self.store, filter, after, most.min(MOST)).await?)
    }

    /// How many are meant.
    ///
    /// # Errors
    /// `DeadLetterError`.
    pub async fn count(&self, filter: &Filter) -> Result<Vec<Counted>, DeadLetterError> {
        let all = dead_letters::count(&self.store, filter).await?;
        let counted = all.into_iter();
        Ok(counted.map(|(connector, code, count)| Counted { hint: hint(&code), connector, code, count }).collect())
    }

    /// The bytes of one, as they came. That they were shown, and to whom, is durable before they are opened.
    ///
    /// # Errors
    /// `DeadLetterError`.
    pub async fn show(&self, id: i64, operator: &str) -> Result<Option<Vec<u8>>, DeadLetterError> {
        let Some((raw, key, bound)) = dead_letters::raw(&self.store, id).await? else { return Ok(None) };
        self.note(operator, "show", format!("dead letter {id}")).await?;
        let sealed = match raw {
            RawPlace::Inline(bytes) => bytes.into(),
            RawPlace::Object(object) => self.objects.get(&object).await?,
        };
        Ok(Some(self.vault.open_raw(&key, &bound.0, &sealed)?))
    }

    /// Sends those that are meant their way again, oldest first, all that are there now.
    ///
    /// # Errors
    /// `DeadLetterError`: some may be on their way.
    pub async fn retry(&self, filter: Filter, operator: &str) -> Result<Retried, DeadLetterError> {
        self.note(operator, "retry", about(&filter)).await?;
        // one that fails again has a higher id: each is tried once
        let upto = dead_letters::last_id(&self.store).await?;
        let (mut after, mut all) = (0, Retried::default());
        loop {
            let (some, last) = self.ingest.retry(filter.clone(), (after, upto)).await?;
            (all.retried, all.left) = (all.retried + some.retried, all.left + some.left);
            match last {
                Some(last) => after = last,
                None => return Ok(all),
            }
        }
    }

    /// Discards those that are meant, for good.
    ///
    /// # Errors
    /// `DeadLetterError`.
    pub async fn discard(&self, filter: &Filter, operator: &str) -> Result<u64, DeadLetterError> {
        let mut write = self.store.begin().await?;
        let count = dead_letters::discard(&mut write, filter).await?;
        dead_letters::note(&mut write, &deed(operator, "discard", format!("{count}: {}", about(filter)))).await?;
        store::commit(write).await?;
        Ok(count)
    }

    /// Writes down what an operator did.
    ///
    /// # Errors
    /// `DeadLetterError`.
    pub async fn note(&self, operator: &str, what: &str, about: String) -> Result<(), DeadLetterError> {
        let mut write = self.store.begin().await?;
        dead_letters::note(&mut write, &deed(operator, what, about)).await?;
        Ok(store::commit(write).await?)
    }
}

pub(crate) fn deed(operator: &str, deed: &str, about: String) -> OperatorDeed {
    OperatorDeed { at: now_ms().cast_signed(), operator: operator.to_owned(), deed: deed.to_owned(), about }
}

/// Milliseconds since 1970 as people read them.
pub(crate) fn when(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

fn about(filter: &Filter) -> String {
    let number = |name: &str, value: Option<i64>| value.map(|value| format!("{name} {value}"));
    let time = |name: &str, value: Option<i64>| value.map(|value| format!("{name} {}", when(value)));
    let text = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
    let all = [
        number("dead letter", filter.id),
        text("connector", &filter.connector),
        text("code", &filter.code),
        time("since", filter.since),
        time("until", filter.until),
    ];
    let said: Vec<String> = all.into_iter().flatten().collect();
    if said.is_empty() { "all".to_owned() } else { said.join(", ") }
}

/// What to do about dead letters with a code. Every code that a message can be refused with has a line of its own (`tests`).
pub fn hint(code: &str) -> &'static str {
    match code {
        "unsupported-message" => "add a table for the message type to your mappings, reload, retry; or discard",
        "nothing-mapped" => {
            "its table makes no resource of it: mend the table in your mappings, reload, retry; or discard"
        }
        "no-message-type" => "the sender must state MSH-9; discard and have it sent again",
        "no-msh" => {
            "no line begins with MSH: it is no HL7 v2 message, or text stands before it; discard and have it sent again"
        }
        "batch-count" => {
            "its trailer counts other messages than came: compare with the sender's log, have what is missing sent again or its count mended, then \
             discard"
        }
        "bad-delimiters" => {
            "MSH-1 and MSH-2 must be distinct delimiters, such as |^~\\&; discard and have it sent again"
        }
        "bad-encoding" => {
            "its bytes are of another character set than MSH-18 states: have the sender state its own; where MSH-18 is empty, add \
             [hl7v2] charset = \"8859/1\" to the connector's file, reload, retry"
        }
        "unsupported-charset" => {
            "MSH-18 names a character set that is not known: have the sender use one of HL7 table 0211, such as UNICODE UTF-8 or \
             8859/1, and send it again, then discard"
        }
        "bad-zone" => {
            "the zone of times that name none is not known: set [hl7v2] zone = \"Europe/Berlin\" in the connector's file, reload, retry"
        }
        "same-key-other-content" => "the sender used a control id twice: have it sent under a new one, then discard",
        "identity-conflict" => {
            "its identifiers name two patients: have the sending system merge them (ADT A40) or correct the message, then retry or discard"
        }
        "too-large" => "raise gateway.message_bytes_max and restart, then retry; or discard",
        "too-many-messages" | "too-many-patients" | "too-many-resources" | "too-many-rows" | "too-many-segments"
        | "too-many-fields" | "too-many-units" => {
            "more than one message may hold: have the sender send it in parts, then discard"
        }
        "cannot-be-sealed" => {
            "a resource in it is larger than a case may hold: have the sender send it in parts, then discard"
        }
        "unknown-content-type" => "state the content type in the sender or as the connector's content_type, then retry",
        "no-resource-type" => {
            "a resource in it does not say its resourceType: have the sender mend it and send it again, then discard"
        }
        "unknown-resource-type" => {
            "a resource in it is of no type of FHIR R4: have the sender mend it and send it again, then discard"
        }
        "missing-element" | "bad-element" => {
            "a resource in it lacks the element that is named, or has it in another form: mend the sender or the mapping table, retry"
        }
        "bad-mapping" => {
            "one of your own tables makes an element that FHIR R4 has in another form: `connector try` names it; mend the table, reload, retry"
        }
        "not-a-list" | "not-an-object" => {
            "Bundle.entry must be a list of objects: have the sender mend it and send it again, then discard"
        }
        "bad-id" => {
            "an id must be 1 to 64 letters, digits, - and .: have the sender mend it and send it again, then discard"
        }
        "raw-unreadable" => "stored bytes are damaged: have the sender send it again, then discard",
        "normaliser-failed" => {
            "a fault of ours: report it with what `chartseal connector try NAME - --config gateway.toml` says; retry after an update"
        }
        "abandoned" => {
            "a sealed case did not check, and was not anchored: a fault of ours; report it with the log, then retry"
        }
        code if code.starts_with("json-") => "no valid JSON: have the sender mend it and send it again, then discard",
        _ => GENERIC,
    }
}

/// Of codes that this program does not know: those of an older or newer one.
const GENERIC: &str = "try it: `chartseal dlq show ID --raw --config gateway.toml | chartseal connector try NAME - --config gateway.toml`; \
                       mend the mapping or the sender, retry";

#[cfg(test)]
mod tests;
