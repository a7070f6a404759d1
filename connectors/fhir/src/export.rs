//! Bulk export (FHIR Bulk Data Access): a job at the server is asked for, waited for, read line by line and taken away. A file is a stream:
//! one line of it is in memory, whatever its length. Nothing here hands a line in: its caller does.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use reqwest::{Method, Response, StatusCode, Url};
use schemas::limits;
use serde::Deserialize;

use crate::config::is_type;
use crate::error::FhirError;
use crate::server::{Ask, FHIR_JSON, Server, header_text, read, retry_after_ms};
use crate::time;

/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: usize = 64 << 20;
/// Wait between two questions where the server names none, in milliseconds.
const POLL_MS: u64 = 5_000;
/// Shortest wait between two questions, in milliseconds.
const POLL_MS_MIN: u64 = 250;
/// Longest time that one file may take.
const FILE_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// Whose resources are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// All.
    System,
    /// Those of all patients.
    Patient,
    /// Those of the members of a Group, by its id.
    Group(String),
}

/// A job at the server.
pub struct Export {
    server: Arc<Server>,
    job: Url,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not done.
    Running {
        /// When to ask again, in milliseconds.
        after_ms: u64,
        /// How far it is, where the server says a percentage.
        percent: Option<u8>,
    },
    /// Done.
    Done(Manifest),
}

/// What a job made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Everything up to this instant is in it: where polling goes on.
    pub transaction_time: String,
    /// Its files; those of patients come first, so that their identifiers are known when others refer to them.
    pub files: Vec<ExportFile>,
    /// Files of errors that the server adds, which are not read.
    pub error_files: usize,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// The type of its resources.
    pub kind: String,
    url: Url,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    transaction_time: String,
    #[serde(default)]
    output: Vec<RawFile>,
    #[serde(default)]
    error: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(rename = "type")]
    kind: String,
    url: String,
}

impl Level {
    fn path(&self) -> Result<String, FhirError> {
        match self {
            Self::System => Ok("$export".into()),
            Self::Patient => Ok("Patient/$export".into()),
            Self::Group(id) => {
                let is_id = (1..=64).contains(&id.len())
                    && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
                let fault = FhirError::Shape { found: "another id of a Group", expected: "a FHIR id" };
                if is_id { Ok(format!("Group/{id}/$export")) } else { Err(fault) }
            }
        }
    }
}

impl std::str::FromStr for Level {
    type Err = FhirError;

    fn from_str(text: &str) -> Result<Self, FhirError> {
        let level = match (text, text.strip_prefix("group/")) {
            ("system", _) => Self::System,
            ("patient", _) => Self::Patient,
            (_, Some(id)) => Self::Group(id.to_owned()),
            _ => return Err(FhirError::Shape { found: "another level", expected: "system, patient or group/ID" }),
        };
        level.path().map(|_| level)
    }
}

impl Export {
    /// Asks for a job.
    ///
    /// # Errors
    /// `FhirError`.
    pub async fn start(
        server: Arc<Server>,
        level: &Level,
        types: &[String],
        since: Option<&str>,
    ) -> Result<Self, FhirError> {
        let doing = "asking for an export";
        let shape = |found, expected| FhirError::Shape { found, expected };
        let mut url = server.below(&level.path()?)?;
        if !types.iter().all(|kind| is_type(kind)) {
            return Err(shape("another type", "names of resource types"));
        }
        if !types.is_empty() {
            url.query_pairs_mut().append_pair("_type", &types.join(","));
        }
        if let Some(since) = since {
            time::instant_ms(since).ok_or(shape("another time", "a FHIR instant"))?;
            url.query_pairs_mut().append_pair("_since", since);
        }
        let headers = &[("accept", FHIR_JSON), ("prefer", "respond-async")];
        let response = server.send(&Ask { method: Method::GET, url: &url, headers, wait: None, doing }).await?;
        let place = header_text(&response, "content-location").filter(|_| response.status() == StatusCode::ACCEPTED);
        let place = place.ok_or(shape("no place of a job", "202 with Content-Location"))?;
        let job = server.link(&url, place, "the place of a job")?;
        Ok(Self { server, job })
    }

    /// How it stands.
    ///
    /// # Errors
    /// `FhirError`.
    pub async fn standing(&self) -> Result<Standing, FhirError> {
        let doing = "asking for an export's state";
        let headers = &[("accept", "application/json")];
        let ask = Ask { method: Method::GET, url: &self.job, headers, wait: None, doing };
        let response = match self.server.send(&ask).await {
            Ok(response) => response,
            Err(FhirError::Busy { after_ms }) => return Ok(Standing::Running { after_ms, percent: None }),
            Err(error) => return Err(error),
        };
        if response.status() == StatusCode::ACCEPTED {
            let after_ms = retry_after_ms(&response).unwrap_or(POLL_MS).max(POLL_MS_MIN);
            let percent = header_text(&response, "x-progress").and_then(percent);
            return Ok(Standing::Running { after_ms, percent });
        }
        let body = read(response, MANIFEST_BYTES_MAX, doing).await?;
        self.manifest(&body).map(Standing::Done)
    }

    fn manifest(&self, body: &[u8]) -> Result<Manifest, FhirError> {
        let shape = |found| FhirError::Shape { found, expected: "an export's manifest" };
        let raw: RawManifest = serde_json::from_slice(body).map_err(|_| shape("something else"))?;
        if raw.output.len() > limits::FHIR_EXPORT_FILES_MAX {
            return Err(shape("too many files"));
        }
        time::instant_ms(&raw.transaction_time).ok_or(shape("no transactionTime"))?;
        let file = |file: RawFile| {
            let url = self.server.link(&self.job, &file.url, "a file of an export")?;
            Ok(ExportFile { kind: file.kind, url })
        };
        let mut files = raw.output.into_iter().map(file).collect::<Result<Vec<_>, FhirError>>()?;
        files.sort_by_key(|file| file.kind != "Patient");
        Ok(Manifest { transaction_time: raw.transaction_time, files, error_files: raw.error.len() })
    }

    /// The lines of a file, from its beginning.
    ///
    /// # Errors
    /// `FhirError`.
    pub async fn lines(&self, file: &ExportFile) -> Result<Lines, FhirError> {
        let headers = &[("accept", "application/fhir+ndjson")];
        let doing = "reading a file of an export";
        let ask = Ask { method: Method::GET, url: &file.url, headers, wait: Some(FILE_WAIT), doing };
        let limit = self.server.patience();
        let response =
            tokio::time::timeout(limit, self.server.send(&ask)).await.map_err(|_| FhirError::Away { doing })??;
        Ok(Lines { response, rest: BytesMut::new(), looked: 0, is_dropping: false, ended: false, limit })
    }

    /// Takes the job away from the server.
    ///
    /// # Errors
    /// `FhirError`.
    pub async fn delete(&self) -> Result<(), FhirError> {
        let doing = "taking an export away";
        let headers = &[("accept", "application/json")];
        let ask = Ask { method: Method::DELETE, url: &self.job, headers, wait: None, doing };
        self.server.send(&ask).await.map(drop)
    }
}

/// `42 %`, `about 42% done` → 42. Nothing else of such a text is kept.
fn percent(text: &str) -> Option<u8> {
    let before = text.split_once('%')?.0.trim_end();
    let digits = before.len() - before.bytes().rev().take_while(u8::is_ascii_digit).count();
    before.get(digits..)?.parse().ok().filter(|percent| *percent <= 100)
}

/// A file's lines as they come.
pub struct Lines {
    response: Response,
    rest: BytesMut,
    /// How much of the rest holds no line's end.
    looked: usize,
    /// The line is longer than any gateway takes: its bytes are dropped as they come.
    is_dropping: bool,
    ended: bool,
    limit: Duration,
}

impl Lines {
    /// The next line that is not empty, without its end; `None` at the end of the file.
    ///
    /// # Errors
    /// `FhirError`; `TooLarge` for a line that no gateway takes: the next call gives what is behind it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FhirError> {
        let doing = "reading a file of an export";
        loop {
            let found = self.rest[self.looked..].iter().position(|b| *b == b'\n').map(|at| self.looked + at);
            let line = match found {
                Some(at) => {
                    let line = self.rest.split_to(at);
                    self.rest.advance(1);
                    line
                }
                None if self.ended && self.rest.is_empty() && !self.is_dropping => return Ok(None),
                None if self.ended => self.rest.split(),
                None => {
                    self.looked = self.rest.len();
                    if self.looked > limits::MESSAGE_BYTES_MAX {
                        (self.is_dropping, self.looked) = (true, 0);
                        self.rest.clear();
                    }
                    let chunk = tokio::time::timeout(self.limit, self.response.chunk()).await;
                    match chunk {
                        Ok(Ok(Some(chunk))) => self.rest.extend_from_slice(&chunk),
                        Ok(Ok(None)) => self.ended = true,
                        Ok(Err(_)) | Err(_) => return Err(FhirError::Away { doing }),
                    }
                    continue;
                }
            };
            self.looked = 0;
            if std::mem::take(&mut self.is_dropping) {
                return Err(FhirError::TooLarge { doing, most: limits::MESSAGE_BYTES_MAX });
            }
            if !line.trim_ascii().is_empty() {
                let line = line.freeze();
                return Ok(Some(line.slice_ref(line.trim_ascii())));
            }
        }
    }
}
