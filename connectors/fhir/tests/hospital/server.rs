//! A small FHIR server: search by `_lastUpdated` with pages, `_history`, reading, SMART backend services and bulk export. It can be cut,
//! made unreachable, told to be busy, and told to misbehave.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, header};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::bulk::Jobs;
use crate::login::Tokens;
use crate::markers::lock;

/// One version of a resource.
#[derive(Clone)]
pub struct Version {
    pub kind: String,
    pub id: String,
    pub version: usize,
    pub at: i64,
    /// None: it was deleted.
    pub body: Option<String>,
}

/// How it misbehaves.
#[derive(Default)]
pub struct Manners {
    /// Answers that come first: status and `Retry-After`.
    pub busy: VecDeque<(u16, Option<String>)>,
    /// Links to next pages begin with this.
    pub next_base: Option<String>,
    /// Searches are redirected there.
    pub redirect: Option<String>,
    /// `_sort` is not kept to: newest first.
    pub unsorted: bool,
    /// `_lastUpdated` is not looked at.
    pub timeless: bool,
    /// Searches are answered with this.
    pub body: Option<String>,
    /// So many reads find nothing: the copy that is asked is behind.
    pub behind: usize,
    /// Types that are refused.
    pub forbidden: Vec<String>,
    /// Types that it fails at.
    pub failing: Vec<String>,
}

#[derive(Default)]
pub struct Shared {
    pub versions: Mutex<Vec<Version>>,
    pub manners: Mutex<Manners>,
    pub tokens: Mutex<Tokens>,
    pub jobs: Mutex<Jobs>,
    /// Path and query of each request, with its time.
    pub asked: Mutex<Vec<(String, Instant)>>,
    pub count: watch::Sender<usize>,
    cut: watch::Sender<u64>,
    refuse: AtomicUsize,
    pub base: Mutex<String>,
}

pub struct Hospital {
    pub shared: Arc<Shared>,
    pub address: SocketAddr,
    serving: Option<JoinHandle<()>>,
    tls: Option<TlsAcceptor>,
}

impl Hospital {
    pub async fn start() -> Self {
        Self::with_tls(None).await
    }

    pub async fn with_tls(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let scheme = if tls.is_some() { "https" } else { "http" };
        *lock(&shared.base) = format!("{scheme}://{address}/fhir");
        let mut hospital = Self { shared, address, serving: None, tls };
        hospital.serve(listener);
        hospital
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = Router::new().fallback(handle).with_state(Arc::clone(&self.shared));
        let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
        self.serving = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if shared.refuse.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1)).is_ok() {
                    continue;
                }
                let (router, cut, tls) = (router.clone(), shared.cut.subscribe(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, router, cut).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, router, cut).await;
                            }
                        }
                    }
                });
            }
        }));
    }

    pub fn base(&self) -> String {
        lock(&self.shared.base).clone()
    }

    /// Cuts every connection, and the next one as well.
    pub fn cut(&self) {
        self.shared.refuse.fetch_add(1, Ordering::AcqRel);
        self.shared.cut.send_modify(|n| *n += 1);
    }

    pub async fn set_reachable(&mut self, reachable: bool) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        self.shared.cut.send_modify(|n| *n += 1);
        if reachable {
            self.serve(TcpListener::bind(self.address).await.expect("the port again"));
        }
    }

    /// Writes a version as of now; `rest` is the resource behind its meta.
    pub fn put(&self, kind: &str, id: &str, rest: &str) -> String {
        let last = lock(&self.shared.versions).iter().map(|v| v.at).max().unwrap_or(0);
        self.put_at(kind, id, rest, now().max(last + 1))
    }

    pub fn put_at(&self, kind: &str, id: &str, rest: &str, at: i64) -> String {
        let mut versions = lock(&self.shared.versions);
        let version = 1 + versions.iter().filter(|v| v.kind == kind && v.id == id).count();
        let meta = format!(r#""meta":{{"versionId":"{version}","lastUpdated":"{}"}}"#, instant(at));
        let body = format!(r#"{{"resourceType":"{kind}","id":"{id}",{meta},{rest}}}"#);
        versions.push(Version { kind: kind.into(), id: id.into(), version, at, body: Some(body.clone()) });
        body
    }

    pub fn delete(&self, kind: &str, id: &str) {
        let mut versions = lock(&self.shared.versions);
        let version = 1 + versions.iter().filter(|v| v.kind == kind && v.id == id).count();
        versions.push(Version { kind: kind.into(), id: id.into(), version, at: now(), body: None });
    }

    /// Waits for so many more requests.
    pub async fn more_requests(&self, more: usize) {
        let mut count = self.shared.count.subscribe();
        let wanted = *count.borrow() + more;
        count.wait_for(|count| *count >= wanted).await.expect("it serves");
    }
}

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("fits")
}

pub fn instant(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).expect("a time").strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, mut cut: watch::Receiver<u64>) {
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        _ = served => {}
        _ = cut.changed() => {}
    }
}

pub fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).expect("an answer")
}

/// Searches are answered with this text.
pub fn answer_with(hospital: &Hospital, body: &str) {
    lock(&hospital.shared.manners).body = Some(body.to_owned());
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let asked = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let is_probe = request.method() == Method::HEAD;
    if !is_probe {
        lock(&shared.asked).push((asked, Instant::now()));
        shared.count.send_modify(|count| *count += 1);
    }
    let path = request.uri().path().trim_start_matches("/fhir").trim_matches('/').to_owned();
    let query: HashMap<String, String> = url_pairs(request.uri().query().unwrap_or_default());
    if is_probe {
        return answer(200, "");
    }
    if path == ".well-known/smart-configuration" {
        let elsewhere = lock(&shared.tokens).endpoint.clone();
        let token = elsewhere.unwrap_or_else(|| format!("{}/token", lock(&shared.base)));
        return answer(200, format!(r#"{{"token_endpoint":"{token}"}}"#));
    }
    if path == "token" {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a form");
        let base = lock(&shared.base).clone();
        return lock(&shared.tokens).grant(&base, &String::from_utf8_lossy(&body));
    }
    if let Some((status, after)) = lock(&shared.manners).busy.pop_front() {
        let mut busy = answer(status, "");
        if let Some(after) = after {
            busy.headers_mut().insert(header::RETRY_AFTER, after.parse().expect("a header"));
        }
        return busy;
    }
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !lock(&shared.tokens).admits(shown) {
        return answer(401, "");
    }
    if path.ends_with("$export") || path.starts_with("jobs/") {
        let base = lock(&shared.base).clone();
        return crate::bulk::handle(&mut lock(&shared.jobs), &base, request.method(), &path, &query, request.headers());
    }
    records(&shared, &path, &query)
}

fn records(shared: &Shared, path: &str, query: &HashMap<String, String>) -> Response<Body> {
    let mut manners = lock(&shared.manners);
    let versions = lock(&shared.versions);
    let parts: Vec<&str> = path.split('/').collect();
    let kind = parts[0];
    if manners.forbidden.iter().any(|f| f == kind) {
        return answer(403, "");
    }
    if manners.failing.iter().any(|f| f == kind) {
        return answer(500, "");
    }
    if let Some(body) = &manners.body {
        return answer(200, body.clone());
    }
    if let Some(to) = &manners.redirect {
        return Response::builder().status(307).header("location", to).body(Body::empty()).expect("an answer");
    }
    let of_kind = versions.iter().filter(|v| v.kind == kind);
    let from = |name: &str| query.get(name).map_or(0, |text| ms(text.trim_start_matches("ge")));
    let mut found: Vec<Version> = match parts.get(1) {
        Some(&"_history") => {
            let mut all: Vec<_> = of_kind.filter(|v| v.at >= from("_since")).cloned().collect();
            all.sort_by_key(|v| (v.at, v.version));
            all.reverse();
            all
        }
        Some(_) if manners.behind > 0 => {
            manners.behind -= 1;
            return answer(404, "");
        }
        Some(id) => {
            let newest = of_kind.filter(|v| v.id == *id).max_by_key(|v| v.version).and_then(|v| v.body.clone());
            return newest.map_or_else(|| answer(404, ""), |body| answer(200, body));
        }
        None => {
            let mut newest: BTreeMap<&str, &Version> = BTreeMap::new();
            newest.extend(of_kind.map(|v| (v.id.as_str(), v)));
            let since = if manners.timeless { 0 } else { from("_lastUpdated") };
            let shown = newest.into_values().filter(|v| v.body.is_some() && v.at >= since);
            let mut all: Vec<_> = shown.cloned().collect();
            all.sort_by_key(|v| v.at);
            if manners.unsorted {
                all.reverse();
            }
            all
        }
    };
    let number = |name: &str, otherwise| query.get(name).and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (count, offset): (usize, usize) = (number("_count", 10), number("_offset", 0));
    let is_more = found.len() > offset + count;
    found = found.into_iter().skip(offset).take(count).collect();
    let entry = |v: &Version| match &v.body {
        Some(body) => format!(r#"{{ "fullUrl":"x/{}","resource": {body} ,"search":{{"mode":"match"}}}}"#, v.id),
        None => format!(r#"{{"request":{{"method":"DELETE","url":"{}/{}"}}}}"#, v.kind, v.id),
    };
    let entries: Vec<String> = found.iter().map(entry).collect();
    let base = manners.next_base.clone().unwrap_or_else(|| lock(&shared.base).clone());
    let mut rest = String::new();
    for (name, value) in query.iter().filter(|(name, _)| *name != "_offset") {
        rest.push_str(&format!("&{name}={}", value.replace(':', "%3A").replace('+', "%2B")));
    }
    let next = format!(r#"{{"relation":"next","url":"{base}/{path}?_offset={}{rest}"}}"#, offset + count);
    let links = if is_more { next } else { String::new() };
    answer(
        200,
        format!(r#"{{"resourceType":"Bundle","type":"searchset","link":[{links}],"entry":[{}]}}"#, entries.join(",")),
    )
}

fn ms(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("an instant").as_millisecond()
}

pub fn url_pairs(text: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).expect("a query");
    url.query_pairs().into_owned().collect()
}
