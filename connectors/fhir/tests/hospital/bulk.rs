//! Bulk export, both sides: the server makes a job, says how far it is, and gives files of any length.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response};
use connectors_fhir::{Export, FhirError, Level, Lines, Server, Standing};
use futures_util::stream;

use crate::markers::lock;
use crate::polling::server;
use crate::server::{Hospital, answer};

/// The server's jobs: one at a time.
#[derive(Default)]
pub struct Jobs {
    /// Answers before the manifest.
    pub waits: usize,
    pub deleted: bool,
    /// What was asked for.
    pub asked: Option<(String, HashMap<String, String>)>,
    /// Lines of the large file.
    pub lines: usize,
    /// A file is somewhere else.
    pub elsewhere: bool,
}

pub fn handle(
    jobs: &mut Jobs,
    base: &str,
    method: &Method,
    path: &str,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
) -> Response<Body> {
    if path.ends_with("$export") {
        let accepts = headers.get("accept").is_some_and(|a| a == "application/fhir+json");
        if !accepts || headers.get("prefer").is_none_or(|p| p != "respond-async") {
            return answer(400, "");
        }
        jobs.asked = Some((path.to_owned(), query.clone()));
        let mut taken = answer(202, "");
        taken.headers_mut().insert("content-location", format!("{base}/jobs/1").parse().expect("a header"));
        return taken;
    }
    match path {
        "jobs/1" if method == Method::DELETE => {
            jobs.deleted = true;
            answer(202, "")
        }
        "jobs/1" if jobs.waits > 0 => {
            jobs.waits -= 1;
            let mut waits = answer(202, "");
            waits.headers_mut().insert("retry-after", "0".parse().expect("a header"));
            waits.headers_mut().insert("x-progress", "about 42 % of it".parse().expect("a header"));
            waits
        }
        "jobs/1" => {
            let place = if jobs.elsewhere { "http://127.0.0.1:1/fhir" } else { base };
            answer(
                200,
                format!(
                    r#"{{"transactionTime":"2026-01-01T00:00:00Z","request":"x","requiresAccessToken":true,"output":[
                    {{"type":"Observation","url":"{place}/jobs/large"}},{{"type":"Patient","url":"{base}/jobs/small"}}],
                    "error":[{{"type":"OperationOutcome","url":"{base}/jobs/error"}}]}}"#
                ),
            )
        }
        "jobs/small" => {
            answer(200, "{\"resourceType\":\"Patient\"}\r\n\n  \n{\"resourceType\":\"Patient\",\"v\":1.50}")
        }
        "jobs/large" => large(jobs.lines),
        _ => answer(404, ""),
    }
}

/// A file that is made while it is read: nobody holds it whole.
fn large(lines: usize) -> Response<Body> {
    let line = |n: usize| {
        let filling = "x".repeat(1_000);
        format!("{{\"resourceType\":\"Observation\",\"id\":\"{n}\",\"note\":\"{filling}\"}}\n")
    };
    let chunks = (0..lines.div_ceil(50)).map(move |chunk| {
        let text: String = (chunk * 50..lines.min(chunk * 50 + 50)).map(line).collect();
        Ok::<_, std::io::Error>(Bytes::from(text))
    });
    answer(200, Body::from_stream(stream::iter(chunks)))
}

async fn all(mut lines: Lines) -> Vec<Bytes> {
    let mut all = Vec::new();
    while let Some(line) = lines.next().await.expect("a line") {
        all.push(line);
    }
    all
}

#[tokio::test]
async fn a_job_is_asked_for_waited_for_read_and_taken_away() {
    let hospital = Hospital::start().await;
    *lock(&hospital.shared.jobs) = Jobs { waits: 2, lines: 120, ..Jobs::default() };
    let server = Arc::new(Server::new(&server(&hospital.base())).expect("no files"));
    let types = ["Patient".to_owned(), "Observation".to_owned()];
    let level: Level = "group/g-1".parse().expect("a level");
    let export = Export::start(server, &level, &types, Some("2025-01-01T00:00:00Z")).await.expect("a job");
    let (path, query) = lock(&hospital.shared.jobs).asked.clone().expect("asked");
    assert_eq!((path.as_str(), query["_type"].as_str()), ("Group/g-1/$export", "Patient,Observation"));
    assert_eq!(query["_since"], "2025-01-01T00:00:00Z");
    for _ in 0..2 {
        let standing = export.standing().await.expect("its state");
        assert_eq!(standing, Standing::Running { after_ms: 250, percent: Some(42) });
    }
    let Standing::Done(manifest) = export.standing().await.expect("its state") else { panic!("done") };
    assert_eq!((manifest.transaction_time.as_str(), manifest.error_files), ("2026-01-01T00:00:00Z", 1));
    let kinds: Vec<&str> = manifest.files.iter().map(|file| file.kind.as_str()).collect();
    assert_eq!(kinds, ["Patient", "Observation"], "patients first");
    let small = all(export.lines(&manifest.files[0]).await.expect("a file")).await;
    assert_eq!(small, ["{\"resourceType\":\"Patient\"}", "{\"resourceType\":\"Patient\",\"v\":1.50}"]);
    assert_eq!(all(export.lines(&manifest.files[1]).await.expect("a file")).await.len(), 120);
    export.delete().await.expect("taken away");
    assert!(lock(&hospital.shared.jobs).deleted);
}

#[tokio::test]
async fn a_file_of_another_origin_is_refused() {
    let hospital = Hospital::start().await;
    lock(&hospital.shared.jobs).elsewhere = true;
    let server = Arc::new(Server::new(&server(&hospital.base())).expect("no files"));
    let export = Export::start(server, &Level::Patient, &[], None).await.expect("a job");
    assert_eq!(export.standing().await, Err(FhirError::Origin("a file of an export")));
    assert!("group/../x".parse::<Level>().is_err() && "ward".parse::<Level>().is_err());
}

/// Most memory that this process had, in KiB.
fn peak_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn a_file_of_hundreds_of_megabytes_is_never_in_memory() {
    const LINES: usize = 300_000;
    let hospital = Hospital::start().await;
    lock(&hospital.shared.jobs).lines = LINES;
    let server = Arc::new(Server::new(&server(&hospital.base())).expect("no files"));
    let export = Export::start(server, &Level::System, &[], None).await.expect("a job");
    let Standing::Done(manifest) = export.standing().await.expect("its state") else { panic!("done") };
    let before = peak_kib();
    let mut lines = export.lines(&manifest.files[1]).await.expect("a file");
    let (mut count, mut bytes) = (0, 0);
    while let Some(line) = lines.next().await.expect("a line") {
        count += 1;
        bytes += line.len();
    }
    assert_eq!(count, LINES);
    let grown = (peak_kib() - before) << 10;
    assert!(bytes > 300_000_000 && grown < 100 << 20, "{bytes} bytes were read; {grown} more were in memory");
}
