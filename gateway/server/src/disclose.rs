//! The way out, step by step: query → decide → log → open → disclose. Stands between the HTTP front and the stores. Every
//! answer is made of permits and of the proof that its log entry is on disk; hidden and unknown are one answer, and they
//! take the same steps.

pub mod answer;
pub mod decide;
pub mod log;
pub mod open;
pub mod pace;
pub mod page;
pub mod progress;
pub mod query;
pub mod record;
pub mod search;
pub mod verify;
pub mod wallet;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway_consent::Session;
use gateway_vault::{SubjectKey, Vault};
use schemas::ErrorClass;
use schemas::id::{Height, SubjectId, TimeMs};
use schemas::json::Value;
use tokio::time::Instant;

use self::answer::Disclosed;
use self::decide::{Decided, Permitted, Sessions};
use self::log::{AccessLog, Deed, DisclosedUnit, Entry, Logged};
use self::open::{DiscloseError, INLINE_BYTES_MAX, Opened, Opener};
use self::page::Page;
use self::progress::Progress;
use self::query::Row;
use self::search::{Search, Whom};
use crate::consents::Consents;
use crate::http::outcome::Refused;
use crate::smart::{Grant, Interaction};
use crate::store::{Store, StoreError, merges, subjects};
use crate::telemetry::{Metrics, Moment, Step};

/// Longest wait for a state that is fresh enough to decide at.
const FRESH_WAIT_MS: u64 = 2_000;

/// Reads the clock: milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    })
}

/// The spine. Cheap to clone.
#[derive(Clone)]
pub struct Disclose {
    /// The database.
    pub store: Store,
    /// Keys: pseudonyms and page links here.
    pub vault: Arc<Vault>,
    /// How far the ledger's state is, and whether that is fresh.
    pub follower: Arc<dyn Progress>,
    /// The access log.
    pub log: AccessLog,
    /// Documents of live consents.
    pub consents: Consents,
    /// Opens cases.
    pub opener: Opener,
    /// Measures.
    pub metrics: Metrics,
    /// The clock.
    pub clock: Clock,
    /// Base URL of the FHIR endpoint, without a slash at the end.
    pub base: Arc<str>,
}

/// One permitted row with its subject's key.
type Candidate = (Permitted, SubjectKey);

/// Everything that was decided for one request.
struct Decision {
    permitted: Vec<Candidate>,
    withheld: u64,
    height: Height,
    subject: Option<SubjectId>,
}

impl Disclose {
    /// read and, with a version id, vread.
    ///
    /// # Errors
    /// `Refused`: absent for unknown and hidden alike.
    pub async fn read(
        &self,
        grant: &Grant,
        resource_type: &str,
        id: &str,
        version: Option<&str>,
    ) -> Result<Disclosed, Refused> {
        let (mut candidates, logged) = self.versions(grant, resource_type, id, version, Deed::Read, true).await?;
        let candidate = candidates.pop().ok_or_else(Refused::absent)?;
        let shown = self.show(candidate, &logged).await?;
        self.metrics.count(Moment::Disclosed, 1);
        Ok(shown)
    }

    /// History of one resource, newest first.
    ///
    /// # Errors
    /// `Refused`: absent for unknown and hidden alike.
    pub async fn history(&self, grant: &Grant, resource_type: &str, id: &str) -> Result<Value, Refused> {
        let (candidates, logged) = self.versions(grant, resource_type, id, None, Deed::Read, false).await?;
        if candidates.is_empty() {
            return Err(Refused::absent());
        }
        let mut entries = Vec::with_capacity(candidates.len());
        for candidate in candidates.into_iter().rev() {
            entries.push(self.show(candidate, &logged).await?);
        }
        self.metrics.count(Moment::Disclosed, entries.len() as u64);
        let links = vec![("self", format!("{}/{resource_type}/{id}/_history", self.base))];
        Ok(answer::bundle("history", &self.base, entries.len(), links, entries, &logged))
    }

    /// `$verify`: the receipt, the sealed bytes and what binds them together.
    ///
    /// # Errors
    /// `Refused`: absent for unknown and hidden alike.
    pub async fn verify(
        &self,
        grant: &Grant,
        resource_type: &str,
        id: &str,
        version: Option<&str>,
    ) -> Result<Value, Refused> {
        let (mut candidates, logged) = self.versions(grant, resource_type, id, version, Deed::Verify, true).await?;
        let (permitted, key) = candidates.pop().ok_or_else(Refused::absent)?;
        let opened = self.opener.open(&permitted, &key, true).await.map_err(|e| failed(&e))?;
        let proof = verify::parameters(&self.store, &permitted, &opened, &logged).await.map_err(|e| failed(&e))?;
        self.metrics.count(Moment::Disclosed, 1);
        Ok(proof)
    }

    /// One page of a search.
    ///
    /// # Errors
    /// `Refused`.
    pub async fn search(
        &self,
        grant: &Grant,
        search: &Search,
        page: Option<&Page>,
        own_url: String,
    ) -> Result<Value, Refused> {
        let asked = Instant::now();
        self.require_fresh().await?;
        let subject = self.whom(&search.whom).await.map_err(|e| store_failed(&e))?;
        let mut decision = self.heads(grant, search, subject).await?;
        decision.permitted.sort_by(|(a, _), (b, _)| page::order(&a.row).cmp(&page::order(&b.row)));
        let total = decision.permitted.len();
        if let Some(page) = page {
            decision.permitted.retain(|(p, _)| page::order(&p.row) > page.after());
        }
        let more = decision.permitted.len() > search.count && search.count > 0;
        decision.permitted.truncate(search.count);
        let logged = self.log(grant, Deed::Search, &search.resource_type, &decision).await?;
        if total == 0 {
            pace::nothing_since(asked).await;
        }
        let mut links = vec![("self", own_url)];
        if let (true, Some((last, _))) = (more, decision.permitted.last()) {
            let next = Page::after_row(search, &grant.client.id, &last.row).seal(&self.vault);
            let next = next.ok_or_else(Refused::fault)?;
            links.push(("next", format!("{}/{}?_page={next}", self.base, search.resource_type)));
        }
        let mut entries = Vec::with_capacity(decision.permitted.len());
        for candidate in decision.permitted {
            entries.push(self.show(candidate, &logged).await?);
        }
        self.metrics.count(Moment::Disclosed, entries.len() as u64);
        Ok(answer::bundle("searchset", &self.base, total, links, entries, &logged))
    }

    /// Steps query to log for one logical id. `one`: at most one row, the version asked for or the head. Nothing is given back at
    /// its time (`pace`).
    async fn versions(
        &self,
        grant: &Grant,
        resource_type: &str,
        id: &str,
        version: Option<&str>,
        deed: Deed,
        one: bool,
    ) -> Result<(Vec<Candidate>, Logged), Refused> {
        if !grant.scopes.covers(resource_type, Interaction::Read) {
            return Err(Refused::scope());
        }
        let asked = Instant::now();
        self.require_fresh().await?;
        let timer = self.metrics.timer(Step::Query);
        let rows = query::versions(&self.store, resource_type, id).await.map_err(|e| store_failed(&e))?;
        drop(timer);
        let rows: Vec<Row> = match version {
            Some(version) => rows.into_iter().filter(|r| answer::version_id(&self.vault, r) == version).collect(),
            None if one => rows.into_iter().filter(|row| row.is_head).collect(),
            None => rows,
        };
        let subject = rows.first().map(|row| row.subject);
        let mut decision = self.decide(grant, rows, Interaction::Read, subject).await?;
        if one {
            decision.permitted.truncate(1);
        } else {
            // a resource that several patients share has a chain for each: one of them is shown
            let shown = decision.permitted.first().map(|(p, _)| p.row.subject);
            decision.permitted.retain(|(p, _)| Some(p.row.subject) == shown);
        }
        if let Some((shown, _)) = decision.permitted.first() {
            decision.subject = Some(shown.row.subject);
        }
        let logged = self.log(grant, deed, resource_type, &decision).await?;
        if decision.permitted.is_empty() {
            pace::nothing_since(asked).await;
        }
        Ok((decision.permitted, logged))
    }

    /// Steps query and decide for a search, part by part under one session. What is bounded is what matches and may be seen:
    /// rows that are hidden show neither by what they are nor by how many.
    async fn heads(&self, grant: &Grant, search: &Search, of: Option<SubjectId>) -> Result<Decision, Refused> {
        let mut decision = Decision { permitted: Vec::new(), withheld: 0, height: self.follower.height(), subject: of };
        let Some(subject) = of else { return Ok(decision) };
        let others = merges::others(&self.store, &subject).await.map_err(|e| store_failed(&e))?;
        for of in std::iter::once(subject).chain(others.iter().map(|other| other.subject)) {
            self.heads_of(grant, search, &of, &mut decision).await?;
        }
        self.metrics.count(Moment::Denied, decision.withheld);
        Ok(decision)
    }

    /// The same for one of the subjects that are one person.
    async fn heads_of(
        &self,
        grant: &Grant,
        search: &Search,
        subject: &SubjectId,
        decision: &mut Decision,
    ) -> Result<(), Refused> {
        let session = self.session(grant, subject).await?;
        let kind = search.resource_type.as_str();
        decision.height = session.as_ref().map_or(decision.height, |(_, _, height)| *height);
        // who may see nothing of it whatever it is takes the same time however much there is
        let Some((key, sessions, _)) = session.filter(|(_, sessions, _)| sessions.may_show(grant, kind)) else {
            let hidden = query::count_heads(&self.store, subject, kind).await;
            decision.withheld += hidden.map_err(|e| store_failed(&e))?;
            return Ok(());
        };
        let mut after = Some(query::FIRST.to_owned());
        while let Some(from) = after {
            let timer = self.metrics.timer(Step::Query);
            let part = query::heads_after(&self.store, subject, kind, &from).await;
            drop(timer);
            let (rows, next) = part.map_err(|e| store_failed(&e))?;
            after = next;
            let _timer = self.metrics.timer(Step::Decide);
            let decided = self.judge(rows, &key, &sessions, grant, Interaction::Search).await?;
            let found = decided.permitted.into_iter().filter(|p| search.matches(&p.row.logical_id, &p.known));
            decision.permitted.extend(found.map(|permitted| (permitted, key.clone())));
            decision.withheld += decided.withheld;
            if decision.permitted.len() > query::ROWS_MAX {
                decision.permitted.clear();
                self.log(grant, Deed::Search, &search.resource_type, decision).await?;
                let text = "more resources match than one search sorts; narrow it, by date for example";
                return Err(Refused::request("too-costly", text));
            }
        }
        Ok(())
    }

    /// What one subject's rows are decided with, at one height; none when its key is gone.
    async fn session(
        &self,
        grant: &Grant,
        subject: &SubjectId,
    ) -> Result<Option<(SubjectKey, Arc<Sessions>, Height)>, Refused> {
        let Some((key, own)) = self.session_of(grant, subject).await? else { return Ok(None) };
        let mut merged = Vec::new();
        for other in merges::others(&self.store, subject).await.map_err(|e| store_failed(&e))? {
            // one whose key is gone can neither permit nor deny: so is all that it said
            if let Some((_, session)) = self.session_of(grant, &other.subject).await? {
                merged.push((session, other.survives));
            }
        }
        let sessions = Arc::new(Sessions::new(own, merged));
        let height = sessions.height();
        Ok(Some((key, sessions, height)))
    }

    async fn session_of(&self, grant: &Grant, subject: &SubjectId) -> Result<Option<(SubjectKey, Session)>, Refused> {
        let Some(key) = self.opener.key(subject).await.map_err(|e| failed(&e))? else { return Ok(None) };
        let view = decide::view(&self.store, subject).await.map_err(|e| store_failed(&e))?;
        let live = self.consents.documents(subject, &key, &view.set).await.map_err(|e| store_failed(&e))?;
        Ok(Some((key, decide::session(grant, live, view.height, (self.clock)()))))
    }

    /// *decide* for rows of one or, for shared resources, several subjects.
    async fn decide(
        &self,
        grant: &Grant,
        rows: Vec<Row>,
        asked: Interaction,
        subject: Option<SubjectId>,
    ) -> Result<Decision, Refused> {
        let _timer = self.metrics.timer(Step::Decide);
        let mut decision = Decision { permitted: Vec::new(), withheld: 0, height: self.follower.height(), subject };
        let mut by_subject: BTreeMap<SubjectId, Vec<Row>> = BTreeMap::new();
        for row in rows {
            by_subject.entry(row.subject).or_default().push(row);
        }
        for (subject, rows) in by_subject {
            let Some((key, session, height)) = self.session(grant, &subject).await? else {
                decision.withheld += rows.len() as u64;
                continue;
            };
            let decided = self.judge(rows, &key, &session, grant, asked).await?;
            decision.height = height;
            decision.withheld += decided.withheld;
            decision.permitted.extend(decided.permitted.into_iter().map(|permitted| (permitted, key.clone())));
        }
        self.metrics.count(Moment::Denied, decision.withheld);
        Ok(decision)
    }

    /// Decides about rows; where much is known of one of them, off the async threads.
    async fn judge(
        &self,
        rows: Vec<Row>,
        key: &SubjectKey,
        sessions: &Arc<Sessions>,
        grant: &Grant,
        asked: Interaction,
    ) -> Result<Decided, Refused> {
        if !rows.iter().any(|row| row.known_bytes() > INLINE_BYTES_MAX) {
            return Ok(decide::decide(rows, key, sessions, grant, asked));
        }
        let (key, sessions, grant) = (key.clone(), Arc::clone(sessions), grant.clone());
        let deciding = tokio::task::spawn_blocking(move || decide::decide(rows, &key, &sessions, &grant, asked));
        deciding.await.map_err(|_| Refused::fault())
    }

    async fn log(
        &self,
        grant: &Grant,
        deed: Deed,
        resource_type: &str,
        decision: &Decision,
    ) -> Result<Logged, Refused> {
        let disclosed = decision.permitted.iter().map(|(p, _)| {
            let unit = decide::unit_of(&p.row);
            DisclosedUnit {
                case: unit.case,
                version: unit.version,
                unit: unit.index,
                consent: p.leave.consent(),
                provision: p.leave.path().to_owned(),
            }
        });
        let entry = Entry {
            time: (self.clock)(),
            height: decision.height,
            client: grant.client.id.clone(),
            deed,
            resource_type: resource_type.to_owned(),
            subject: decision.subject,
            disclosed: disclosed.collect(),
            withheld: decision.withheld,
            purposes: grant.client.purposes.iter().map(|c| format!("{}|{}", c.system, c.code)).collect(),
        };
        self.append(entry).await
    }

    /// Writes an entry of another deed.
    ///
    /// # Errors
    /// `Refused`: unavailable; nothing may be answered then.
    pub async fn append(&self, entry: Entry) -> Result<Logged, Refused> {
        self.log.append(entry).await.map_err(|error| {
            tracing::error!(class = error.class().name(), "{error}");
            Refused::unavailable("the access log cannot be written; nothing is disclosed")
        })
    }

    async fn open(&self, permitted: &Permitted, key: &SubjectKey) -> Result<Opened, Refused> {
        let _timer = self.metrics.timer(Step::Open);
        self.opener.open(permitted, key, false).await.map_err(|e| failed(&e))
    }

    /// *open* and *disclose* for one permitted row; what is large, off the async threads.
    async fn show(&self, (permitted, key): Candidate, logged: &Logged) -> Result<Disclosed, Refused> {
        let opened = self.open(&permitted, &key).await?;
        let version = answer::version_id(&self.vault, &permitted.row);
        if opened.bytes.len() <= INLINE_BYTES_MAX {
            return Ok(answer::overlay(&permitted, opened.resource, version, logged));
        }
        let logged = logged.clone();
        let laying =
            tokio::task::spawn_blocking(move || answer::overlay(&permitted, opened.resource, version, &logged));
        laying.await.map_err(|_| Refused::fault())
    }

    /// Nothing is decided on a state that may be old.
    ///
    /// # Errors
    /// `Refused`: unavailable.
    pub async fn require_fresh(&self) -> Result<Height, Refused> {
        let fresh = self.follower.fresh(Duration::from_millis(FRESH_WAIT_MS)).await;
        fresh.ok_or_else(|| Refused::unavailable("the ledger's state is not proved to be fresh; nothing is decided"))
    }

    /// Whose rows a search is about.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn whom(&self, whom: &Whom) -> Result<Option<SubjectId>, StoreError> {
        match whom {
            Whom::Patient(id) => query::subject_of(&self.store, id).await,
            Whom::Identifier(system, value) => {
                let alias = self.vault.alias(system, value);
                Ok(subjects::by_aliases(&self.store, &[alias]).await?.remove(&alias))
            }
        }
    }
}

fn store_failed(error: &StoreError) -> Refused {
    tracing::error!(class = error.class().name(), "{error}");
    Refused::of_class(error.class())
}

/// What a failure behind the decision becomes: the place is logged, the client hears the class only.
fn failed(error: &DiscloseError) -> Refused {
    tracing::error!(class = error.class().name(), "{error}");
    match error.class() {
        ErrorClass::Transient => Refused::of_class(ErrorClass::Transient),
        _ => Refused::fault(),
    }
}
