//! etcd beside the ledger: three nodes of Debian's package on loopback, private folders on the same disk, puts of the size of our
//! transactions. It tolerates crashes only and checks no signatures; what it shows is the price of a replicated, synced write.
//!
//! The puts go over etcd's own protocol, gRPC, which is one HTTP/2 request each: the JSON gateway would be one more hop inside etcd
//! and measure that. One message of two fields needs no gRPC crate.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Client;
use tokio::task::JoinSet;

use super::load::IN_FLIGHT_MAX;
use crate::commands::bench::Latencies;
use crate::failure::{Exit, Failure};
use crate::home;
use crate::services::Service;
use crate::usage::{cpu_ms, family};

/// Connections, so many to each node: requests share them as HTTP/2 streams.
const CONNECTIONS_PER_NODE: usize = 2;
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Longest wait for the first leader.
const READY: Duration = Duration::from_secs(20);
/// Longest time for one put.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Phase that is not measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Whether a folder of `path` has the server.
pub fn is_installed(path: Option<&OsStr>) -> bool {
    path.is_some_and(|path| std::env::split_paths(path).any(|folder| folder.join("etcd").is_file()))
}

/// Its version, as it says it.
pub fn version() -> Option<String> {
    let said = std::process::Command::new("etcd").arg("--version").output().ok()?;
    let line = String::from_utf8(said.stdout).ok()?;
    Some(line.lines().next()?.rsplit_once(' ')?.1.to_owned())
}

/// Three running nodes.
pub struct Etcd {
    service: Service,
    connections: Vec<(Client, String)>,
}

/// What was measured.
pub struct Puts {
    /// Of every put.
    pub latencies: Latencies,
    /// Length of the measured part.
    pub elapsed: Duration,
    /// Time of all nodes on the cores, in milliseconds.
    pub cpu_ms: u64,
}

impl Puts {
    /// Puts per second.
    pub fn rate_per_s(&self) -> f64 {
        self.latencies.count() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl Etcd {
    /// Starts the nodes and waits until they take a put.
    ///
    /// # Errors
    /// Unavailable when they do not start.
    pub async fn start(folder: &Path) -> Result<Self, Failure> {
        let service = Service::etcd(folder)?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS_PER_NODE {
            for url in service.address.split(' ') {
                let client = Client::builder().http2_prior_knowledge().no_proxy().timeout(TIMEOUT).build();
                connections.push((client.context("a client of etcd")?, format!("{url}/etcdserverpb.KV/Put")));
            }
        }
        let etcd = Self { service, connections };
        let deadline = Instant::now() + READY;
        for (client, url) in &etcd.connections {
            while let Err(failure) = put(client, url, frame(b"ready", b"1")).await {
                if Instant::now() > deadline {
                    return Err(failure);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(etcd)
    }

    /// Connections that the puts share.
    pub const fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Puts with keys and values of together `bytes`, as many under way as transactions of ours.
    ///
    /// # Errors
    /// When a put fails.
    pub async fn load(&self, bytes: usize, seconds: Duration) -> Result<Puts, Failure> {
        let (start, next) = (Instant::now() + WARM_UP, Arc::new(AtomicUsize::new(0)));
        let end = start + seconds;
        let mut putters = JoinSet::new();
        for _ in 0..IN_FLIGHT_MAX {
            let (connections, next) = (self.connections.clone(), Arc::clone(&next));
            putters.spawn(async move {
                let mut latencies = Latencies::new()?;
                while Instant::now() < end {
                    let at = next.fetch_add(1, Ordering::Relaxed) % connections.len();
                    let Some((client, url)) = connections.get(at) else { break };
                    let frame = random_frame(bytes)?;
                    let before = Instant::now();
                    put(client, url, frame).await?;
                    let after = Instant::now();
                    if before >= start && after <= end {
                        latencies.record(after - before);
                    }
                }
                Ok::<_, Failure>(latencies)
            });
        }
        tokio::time::sleep_until(start.into()).await;
        let (nodes, mut latencies) = (family(self.service.process()), Latencies::new()?);
        let used = || nodes.iter().map(|&process| cpu_ms(process)).sum::<u64>();
        let before = used();
        tokio::time::sleep_until(end.into()).await;
        let cpu_ms = used() - before;
        while let Some(ended) = putters.join_next().await {
            latencies.add(&ended.map_err(|_| Failure::new(Exit::Failed, "a client of etcd ended"))??);
        }
        Ok(Puts { latencies, elapsed: seconds, cpu_ms })
    }
}

fn random_frame(bytes: usize) -> Result<Vec<u8>, Failure> {
    let key: [u8; KEY_BYTES] = home::random()?;
    // as our transactions: hashes mostly, which do not compress
    let value: Vec<u8> = key.iter().copied().cycle().skip(1).take(bytes.saturating_sub(KEY_BYTES)).collect();
    Ok(frame(&key, &value))
}

async fn put(client: &Client, url: &str, frame: Vec<u8>) -> Result<(), Failure> {
    let request = client.post(url).header("content-type", "application/grpc").header("te", "trailers").body(frame);
    let failed = |what: &str| Failure::unavailable(format_args!("etcd at {url}: {what}"));
    let answer = request.send().await.map_err(|e| failed(&e.to_string()))?;
    let said = answer.headers().get("grpc-message").and_then(|text| text.to_str().ok()).unwrap_or("").to_owned();
    let body = answer.bytes().await.map_err(|e| failed(&e.to_string()))?;
    if holds_message(&body) { Ok(()) } else { Err(failed(&format!("found no answer to a put: {said}"))) }
}

/// `PutRequest { key = 1, value = 2 }` in protobuf, behind gRPC's five bytes: not compressed, and the length.
fn frame(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 5];
    for (tag, bytes) in [(0x0a, key), (0x12, value)] {
        out.push(tag);
        let mut length = bytes.len();
        while length > 0x7f {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
    }
    let length = (out.len() - 5) as u32;
    out[1..5].copy_from_slice(&length.to_be_bytes());
    out
}

/// Whether the body is one whole message: an error has none, its status stands in the trailers.
fn holds_message(body: &[u8]) -> bool {
    let length = body.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    body.first() == Some(&0) && length.is_some_and(|length| length > 0 && body.len() == 5 + length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_spelled_as_protobuf_and_grpc_say() {
        assert_eq!(frame(b"k", b"ab"), [0, 0, 0, 0, 7, 0x0a, 1, b'k', 0x12, 2, b'a', b'b']);
        let long = frame(b"k", &[7; 300]);
        assert_eq!(long[..11], [0, 0, 0, 1, 0x32, 0x0a, 1, b'k', 0x12, 0xac, 0x02]);
        assert_eq!(long.len(), 5 + 3 + 3 + 300);
    }

    #[test]
    fn only_a_whole_message_is_an_answer() {
        assert!(holds_message(&[0, 0, 0, 0, 2, 10, 0]));
        for body in [&[][..], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 3, 10, 0], &[0, 0, 0, 0, 1, 10, 0], &[1, 0, 0, 0, 1, 10]]
        {
            assert!(!holds_message(body), "{body:?}");
        }
    }

    #[test]
    fn it_is_installed_where_a_folder_of_the_path_has_it() {
        let (with, without) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        std::fs::write(with.path().join("etcd"), "").expect("written");
        std::fs::create_dir(without.path().join("etcd")).expect("a folder of that name is no server");
        let path =
            |folders: &[&tempfile::TempDir]| std::env::join_paths(folders.iter().map(|f| f.path())).expect("a path");
        assert!(is_installed(Some(&path(&[&without, &with]))));
        assert!(!is_installed(Some(&path(&[&without]))));
        assert!(!is_installed(None));
    }

    #[test]
    fn key_and_value_together_have_the_size_asked_for() {
        assert_eq!(random_frame(400).expect("random").len(), frame(&[0; KEY_BYTES], &[0; 400 - KEY_BYTES]).len());
    }
}
