//! One hospital's gateway with everything real but the ledger: patients, anchored cases, registered clients, requests.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use gateway_consent::UnitFacts;
use gateway_server::config::ClientConfig;
use gateway_server::consents::{Consents, Foundation};
use gateway_server::disclose::log::AccessLog;
use gateway_server::disclose::open::Opener;
use gateway_server::disclose::record::Recorder;
use gateway_server::disclose::{Clock, Disclose};
use gateway_server::http::{Front, HandedIn, Intake, TakenIn, router};
use gateway_server::objects::Objects;
use gateway_server::smart::{Clients, Tokens};
use gateway_server::store::anchors::{self, Anchor};
use gateway_server::store::cases::{self, CaseRow};
use gateway_server::store::summaries::{self, Summary};
use gateway_server::store::units::{self, UnitRow};
use gateway_server::store::{self, Store, subjects};
use gateway_server::telemetry::Metrics;
use gateway_vault::{SealRequest, SubjectKey, Unit, Vault};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use schemas::id::{CaseId, Digest, InstitutionId, SubjectId};
use schemas::json::{self, Value};
use schemas::{ErrorClass, cbor};
use serde_json::json;
use tower::ServiceExt as _;

use crate::chain::{BEGIN, TestLedger};
use crate::postgres::fresh_database;

pub const ORIGIN: &str = "http://127.0.0.1:8443";
pub const INSTITUTION: InstitutionId = InstitutionId([7; 16]);

/// What is sent here is there at once; what is not there will not come.
pub const BODY_WAIT: Duration = Duration::from_millis(300);

/// Keeps what was handed in.
#[derive(Default)]
pub struct Inbox(pub std::sync::Mutex<Vec<HandedIn>>);

impl Intake for Inbox {
    fn take(&self, handed: HandedIn) -> Pin<Box<dyn Future<Output = Result<TakenIn, ErrorClass>> + Send + '_>> {
        self.0.lock().expect("lock").push(handed);
        Box::pin(async { Ok(TakenIn::Received) })
    }
}

pub struct World {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub vault: Arc<Vault>,
    pub ledger: Arc<TestLedger>,
    pub objects: Objects,
    pub metrics: Metrics,
    pub inbox: Arc<Inbox>,
    pub now: Arc<AtomicU64>,
    pub router: Router,
    pub key: EncodingKey,
    pub consents: Consents,
}

pub struct Patient {
    pub id: String,
    pub subject: SubjectId,
    pub key: SubjectKey,
}

/// An ES384 key and its public set with the id `k1`.
pub fn client_key() -> (EncodingKey, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key");
    let set = key_set(&key, Algorithm::ES384, "k1");
    (key, set)
}

pub fn key_set(key: &EncodingKey, algorithm: Algorithm, kid: &str) -> String {
    let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(key, algorithm).expect("a jwk");
    jwk.common.key_id = Some(kid.to_owned());
    jwk.common.key_algorithm = None;
    json!({ "keys": [jwk] }).to_string()
}

fn client(id: &str, jwks: &str, scopes: &[&str], reference: &str) -> ClientConfig {
    ClientConfig {
        id: id.to_owned(),
        name: id.to_owned(),
        jwks: Some(jwks.to_owned()),
        jwks_file: None,
        scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        assigns: Vec::new(),
        references: vec![reference.to_owned()],
        roles: Vec::new(),
        purposes: vec!["http://terminology.hl7.org/CodeSystem/v3-ActReason|TREAT".to_owned()],
    }
}

/// One world per engine that there is.
pub async fn worlds() -> Vec<World> {
    let mut worlds = vec![World::new().await];
    if let Some(url) = fresh_database().await {
        worlds.push(World::on(tempfile::tempdir().expect("a folder"), &url).await);
    }
    worlds
}

impl World {
    /// On SQLite.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("gateway.db").display());
        Self::on(folder, &url).await
    }

    async fn on(folder: tempfile::TempDir, url: &str) -> Self {
        let vault = Arc::new(Vault::create(&folder.path().join("vault")).expect("a vault"));
        let store = Store::open(url).await.expect("store");
        let objects = Objects::open(&folder.path().join("objects").display().to_string()).expect("objects");
        let register = vault.register("hospital", INSTITUTION, Vec::new());
        let ledger = TestLedger::start(store.clone(), register).await;
        let metrics = Metrics::new().expect("metrics");
        let now = Arc::new(AtomicU64::new(BEGIN + 60_000));
        let reading = now.clone();
        let clock: Clock = Arc::new(move || reading.load(Ordering::SeqCst));
        let (key, jwks) = client_key();
        let base: Arc<str> = format!("{ORIGIN}/fhir").into();
        let configs = [
            client("clinic", &jwks, &["system/*.rs"], "Organization/clinic"),
            client("lab", &jwks, &["system/Observation.rs?category=laboratory"], "Organization/clinic"),
            client("stranger", &jwks, &["system/*.rs"], "Organization/stranger"),
            client("office", &jwks, &["system/Consent.cruds", "system/*.c"], "Organization/office"),
            client("desk", &jwks, &["system/Consent.ru?category=http://loinc.org|64292-6"], "Organization/office"),
            client("reception", &jwks, &["system/PatientKey.c"], "Organization/reception"),
            client("writer", &jwks, &["system/Observation.c", "system/Patient.c"], "Organization/writer"),
        ];
        let clients = Clients::load(&configs, &base).expect("clients");
        let opener = Opener::new(store.clone(), objects.clone(), vault.clone());
        let consents = Consents::new(Foundation {
            store: store.clone(),
            vault: vault.clone(),
            ledger: ledger.clone(),
            follower: ledger.clone(),
            opener: opener.clone(),
            chain: ledger.genesis().chain_id(),
            institution: INSTITUTION,
            base: base.clone(),
        });
        let (log, _) = AccessLog::start(store.clone(), vault.clone(), metrics.clone());
        let disclose = Disclose {
            store: store.clone(),
            vault: vault.clone(),
            follower: ledger.clone(),
            log,
            consents: consents.clone(),
            opener,
            metrics: metrics.clone(),
            clock,
            base,
        };
        let inbox = Arc::new(Inbox::default());
        let front = Front {
            disclose,
            tokens: Tokens::new(store.clone(), clients.clone()),
            clients,
            intake: inbox.clone(),
            origin: ORIGIN.into(),
            institution: "hospital".into(),
            body_bytes_max: 1 << 20,
            body_wait: BODY_WAIT,
        };
        let router = router(front);
        Self { folder, store, vault, ledger, objects, metrics, inbox, now, router, key, consents }
    }

    pub fn recorder(&self) -> Recorder {
        Recorder {
            store: self.store.clone(),
            vault: self.vault.clone(),
            ledger: self.ledger.clone(),
            follower: self.ledger.clone(),
            chain: self.ledger.genesis().chain_id(),
            institution: INSTITUTION,
            metrics: self.metrics.clone(),
        }
    }

    /// A new patient with a Patient resource in a case of its own.
    pub async fn patient(&self, mrn: &str) -> Patient {
        let (subject, key, wrapped) = self.vault.new_subject().expect("a subject");
        let mut write = self.store.begin().await.expect("begin");
        subjects::add(&mut write, &[(subject, wrapped)]).await.expect("subject");
        let alias = self.vault.alias("urn:mrn", mrn);
        subjects::add_aliases(&mut write, &[(alias, subject)]).await.expect("alias");
        store::commit(write).await.expect("commit");
        let id = self.vault.logical_id("Patient", &[mrn]);
        let patient = Patient { id, subject, key };
        let resource = json!({
            "resourceType": "Patient", "id": "src-1", "identifier": [{ "system": "urn:mrn", "value": mrn }],
            "name": [{ "family": "Canaryfamily" }],
        });
        self.case(&patient, &[("Patient", patient.id.clone(), resource)]).await;
        patient
    }

    /// Seals, anchors and indexes one case.
    pub async fn case(&self, patient: &Patient, resources: &[(&str, String, serde_json::Value)]) -> CaseId {
        let texts: Vec<_> = resources.iter().map(|(kind, id, r)| (*kind, id.clone(), r.to_string())).collect();
        self.case_of_texts(patient, &texts).await
    }

    /// The same, from JSON as a source writes it.
    pub async fn case_of_texts(&self, patient: &Patient, resources: &[(&str, String, String)]) -> CaseId {
        let parsed: Vec<Value> = resources.iter().map(|(_, _, r)| json::parse(r.as_bytes()).expect("json")).collect();
        let sealed: Vec<Unit> = resources
            .iter()
            .zip(&parsed)
            .map(|((kind, _, _), value)| Unit { kind: (*kind).to_owned(), bytes: value.canonical() })
            .collect();
        let chain = self.ledger.genesis().chain_id();
        let row = subjects::get(&self.store, &patient.subject).await.expect("store").expect("a row");
        let request = SealRequest {
            chain,
            institution: INSTITUTION,
            subject: &patient.key,
            patient: row.public_key,
            practitioner: None,
            units: sealed.iter().map(Into::into).collect(),
            time: BEGIN,
            previous: None,
        };
        let sealed = self.vault.seal(request).expect("sealed");
        let object = (sealed.statement.object, sealed.object.clone().into());
        let extent = self.objects.pack(&[object]).await.expect("put")[0];
        let statements = vec![sealed.statement.clone()];
        let anchor = self.vault.sign_anchor(chain, INSTITUTION, 1_000, statements, Vec::new()).expect("signed");
        let proof = self.ledger.anchor(&anchor).await;
        let case = sealed.header.case;
        let row = CaseRow {
            case,
            version: 1,
            subject: patient.subject,
            inbox_id: 1,
            connector: "test".to_owned(),
            received: 0,
            sealed: 0,
            height: proof.header.height,
            anchored_at: proof.header.time.cast_signed(),
            transaction: anchor.id(),
            statement: 0,
            wraps: sealed.wraps,
            object: sealed.statement.object,
            extent,
        };
        let anchored = Anchor { transaction: anchor.id(), bytes: cbor::encode(&anchor), proof };
        let (mut rows, mut of_units) = (Vec::new(), Vec::new());
        for (index, ((kind, id, _), value)) in (0..).zip(resources.iter().zip(parsed)) {
            let mut facts = UnitFacts::of(&value);
            facts.identity.push(gateway_consent::Reference::local(kind, id));
            let references = vec![("Patient/src-1".to_owned(), format!("Patient/{}", patient.id))];
            let event_time = value.text("effectiveDateTime").and_then(gateway_consent::Span::of_date);
            of_units.push(Summary { facts: facts.to_json(), matched: value, references });
            rows.push(UnitRow {
                case,
                unit: index,
                subject: patient.subject,
                resource_type: (*kind).to_owned(),
                logical_id: id.clone(),
                is_head: true,
                status_rank: 0,
                event_time: event_time.map_or(0, |span| span.first_ms),
                arrived: 1,
                content: Digest([index as u8; 32]),
            });
            let mut write = self.store.begin().await.expect("begin");
            units::behead(&mut write, &[((*kind).to_owned(), id.clone(), patient.subject)]).await.expect("behead");
            store::commit(write).await.expect("commit");
        }
        let mut write = self.store.begin().await.expect("begin");
        let sealed = summaries::seal(&patient.key, &case, of_units.into_iter()).expect("sealed");
        anchors::add(&mut write, &[anchored]).await.expect("anchor");
        cases::add(&mut write, &[(row, sealed.as_slice())]).await.expect("case");
        units::add(&mut write, &rows).await.expect("units");
        store::commit(write).await.expect("commit");
        case
    }

    /// A laboratory value of a patient.
    pub async fn observation(&self, patient: &Patient, name: &str, category: &str, day: &str) -> String {
        let id = self.vault.logical_id("Observation", &[&patient.id, name]);
        self.case(patient, &[("Observation", id.clone(), observation(name, category, day))]).await;
        id
    }

    pub fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    /// The claims of a valid assertion.
    pub fn claims(&self, client: &str) -> serde_json::Value {
        let jti: [u8; 16] = gateway_vault::random().expect("random");
        json!({
            "iss": client, "sub": client, "aud": format!("{ORIGIN}/oauth/token"), "exp": self.now() / 1000 + 120,
            "jti": schemas::id::to_hex(&jti),
        })
    }

    pub fn assertion(&self, claims: &serde_json::Value) -> String {
        let mut header = Header::new(Algorithm::ES384);
        header.kid = Some("k1".to_owned());
        jsonwebtoken::encode(&header, claims, &self.key).expect("a jwt")
    }

    pub async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, serde_json::Value) {
        let body: Vec<String> =
            form.iter().map(|(n, v)| format!("{n}={}", gateway_server::http::form::encode(v))).collect();
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.join("&")))
            .expect("a request");
        let (status, _, body) = self.send(request).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub async fn token_with(&self, jwt: &str, scope: &str) -> (StatusCode, serde_json::Value) {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", scope),
            ("client_assertion_type", kind),
            ("client_assertion", jwt),
        ];
        self.post_form("/oauth/token", &form).await
    }

    /// A token of a client.
    pub async fn token(&self, client: &str, scope: &str) -> String {
        let (status, body) = self.token_with(&self.assertion(&self.claims(client)), scope).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["access_token"].as_str().expect("a token").to_owned()
    }

    pub async fn send(&self, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
        let response: Response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.expect("a body");
        (parts.status, parts.headers, body.to_vec())
    }

    pub async fn get(&self, token: &str, path: &str) -> (StatusCode, serde_json::Value) {
        let request = Request::get(format!("/fhir/{path}")).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let (status, _, body) = self.send(request.body(Body::empty()).expect("a request")).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub async fn put(
        &self,
        method: Method,
        token: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> (StatusCode, axum::http::HeaderMap, serde_json::Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/fhir/{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/fhir+json")
            .body(Body::from(body.to_string()))
            .expect("a request");
        let (status, headers, body) = self.send(request).await;
        (status, headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Grants a consent as the office; returns its logical id.
    pub async fn grant(&self, consent: &serde_json::Value) -> String {
        let office = self.token("office", "system/Consent.cruds").await;
        let (status, headers, body) = self.put(Method::POST, &office, "Consent", consent).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert!(headers.contains_key("chartseal-ledger-height"));
        body["id"].as_str().expect("an id").to_owned()
    }
}

pub fn observation(name: &str, category: &str, day: &str) -> serde_json::Value {
    json!({
        "resourceType": "Observation", "id": name, "status": "final",
        "category": [{ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category }] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": name }], "text": "Canarytext" },
        "subject": { "reference": "Patient/src-1" },
        "effectiveDateTime": day,
        "valueQuantity": { "value": 1.50, "unit": "canaryunit" },
    })
}

/// A consent that denies everything but what one organisation reads; `more` adds criteria to the permit.
pub fn permit(patient: &str, to: &str, more: &serde_json::Value) -> serde_json::Value {
    let mut inner = json!({
        "type": "permit",
        "actor": [{
            "role": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP" }] },
            "reference": { "reference": to },
        }],
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        inner[name] = value.clone();
    }
    json!({
        "resourceType": "Consent", "status": "active",
        "scope": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": { "reference": format!("Patient/{patient}") },
        "policyRule": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT" }] },
        "provision": { "type": "deny", "provision": [inner] },
    })
}
