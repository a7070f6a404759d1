//! A key and the hospital at which it is bound: what the invitation said is kept beside the key file, so that no gateway can later
//! say that it is another one. Makes and signs transactions and questions; speaks HTTP to the one gateway.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use gateway_vault::PersonalKey;
use schemas::cbor::{self, Record};
use schemas::genesis::Genesis;
use schemas::id::{ChainId, Height, InstitutionId, SubjectId};
use schemas::transaction::{Body, Core, RegisterSubject, Signer};
use schemas::wallet::{Ask, Bind, Bound, Invitation, Question, Standing};
use serde::{Deserialize, Serialize};

use super::key_failed;
use crate::failure::{Exit, Failure, read_text};
use crate::home;
use crate::smart::{Answer, read};
use crate::watch::now_ms;

/// Blocks until a transaction that is signed now can no longer be executed.
const VALID_BLOCKS: u64 = 5_000;

/// Where a key is bound; in a file beside it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hospital {
    gateway: String,
    chain: ChainId,
    institution: InstitutionId,
    subject: SubjectId,
}

/// A key with its hospital.
pub struct Wallet {
    /// The patient's key.
    pub key: PersonalKey,
    /// The genesis that everything is checked against.
    pub genesis: Genesis,
    /// Height at which the key was bound; 0 when that was earlier.
    pub bound_at: Height,
    at: Hospital,
    http: reqwest::Client,
}

fn place(key: &Path) -> PathBuf {
    let mut name = OsString::from(key);
    name.push(".hospital.json");
    name.into()
}

fn client() -> Result<reqwest::Client, Failure> {
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(60)).build().context("the HTTP client")?)
}

impl Wallet {
    /// A bound key.
    ///
    /// # Errors
    /// Usage when key, hospital file and genesis are not there or do not fit.
    pub fn open(path: &Path, genesis: Genesis) -> Result<Self, Failure> {
        let key = PersonalKey::open(path).map_err(key_failed)?;
        let file = place(path);
        if !file.is_file() {
            let found =
                format!("{}: found no such file, expected a key that chartseal wallet bind has bound", file.display());
            return Err(Failure::usage(found));
        }
        let at = serde_json::from_str(&read_text(&file)?);
        let at = at.map_err(|e| Failure::usage(format_args!("{}: {e}", file.display())))?;
        Self::at(key, genesis, at)
    }

    fn at(key: PersonalKey, genesis: Genesis, at: Hospital) -> Result<Self, Failure> {
        if at.chain != genesis.chain_id() {
            let found = format!("found chain {}, expected the genesis's {}", at.chain, genesis.chain_id());
            return Err(Failure::usage(found));
        }
        let wallet = Self { key, genesis, bound_at: 0, at, http: client()? };
        if wallet.name().is_none() {
            let found = format!("found institution {}, expected one of the genesis", wallet.at.institution);
            return Err(Failure::usage(found));
        }
        Ok(wallet)
    }

    /// Binds a key by an invitation.
    ///
    /// # Errors
    /// When the invitation is of another chain, the key is bound elsewhere, or the gateway refuses.
    pub async fn bind(path: &Path, genesis: Genesis, invitation: &Invitation) -> Result<Self, Failure> {
        let key = PersonalKey::open(path).map_err(key_failed)?;
        let Invitation { gateway, chain, institution, subject, seal, .. } = invitation.clone();
        let mut wallet = Self::at(key, genesis, Hospital { gateway, chain, institution, subject })?;
        let file = place(path);
        if file.is_file() {
            let kept: Hospital = serde_json::from_str(&read_text(&file)?)
                .map_err(|e| Failure::usage(format_args!("{}: {e}", file.display())))?;
            if kept != wallet.at {
                let found = "found a key that is bound elsewhere, expected a new one: chartseal wallet new";
                return Err(Failure::usage(format_args!("{}: {found}", file.display())));
            }
        }
        let standing: Standing = wallet.decode(&read(wallet.http.get(wallet.url(""))).await?, "asking the height")?;
        let body = Body::RegisterSubject(RegisterSubject {
            subject,
            institution,
            key: Some(wallet.key.public()),
            guardians: Vec::new(),
        });
        let transaction = wallet.sign(body, standing.height, Signer::NewKey);
        // before the gateway hears of it: when its answer is lost, the key may be bound all the same
        let is_new = !file.is_file();
        if is_new {
            let text = serde_json::to_vec_pretty(&wallet.at).context("the hospital's file")?;
            home::write_secret(&file, &text)?;
        }
        let bound: Result<Bound, Failure> = wallet.send("bind", &Bind { seal, transaction }, "binding").await;
        if is_new && bound.as_ref().is_err_and(|failure| failure.exit == Exit::Failed) {
            std::fs::remove_file(&file).with_context(|| format!("{}", file.display()))?;
        }
        wallet.bound_at = bound?.height;
        Ok(wallet)
    }

    fn name(&self) -> Option<&str> {
        let mut all = self.genesis.institutions.iter();
        all.find(|i| i.register.institution == self.at.institution).map(|i| i.name.as_str())
    }

    /// The hospital's name in the genesis.
    pub fn institution_name(&self) -> &str {
        self.name().unwrap_or("")
    }

    /// The hospital.
    pub const fn institution(&self) -> InstitutionId {
        self.at.institution
    }

    /// The patient's pseudonym there.
    pub const fn subject(&self) -> SubjectId {
        self.at.subject
    }

    /// Signed bytes of a transaction.
    pub fn sign(&self, body: Body, height: Height, signer: Signer) -> Vec<u8> {
        let core = Core { chain: self.at.chain, valid_until: height + VALID_BLOCKS, body };
        cbor::encode(&self.key.sign(core, signer))
    }

    /// Asks the gateway, signed.
    ///
    /// # Errors
    /// When it refuses or cannot be reached.
    pub async fn ask<T: Record>(&self, ask: Ask) -> Result<T, Failure> {
        let Hospital { chain, institution, .. } = self.at;
        let (key, time, nonce) = (self.key.public(), now_ms().unsigned_abs(), home::random()?);
        let question = self.key.ask(Question { chain, institution, key, ask, time, nonce });
        self.send("ask", &question, "asking").await
    }

    /// Posts a record and reads one.
    ///
    /// # Errors
    /// When the gateway refuses or cannot be reached.
    pub async fn send<T: Record>(&self, path: &str, body: &impl Record, doing: &str) -> Result<T, Failure> {
        self.decode(&self.post(path, body).await?, doing)
    }

    /// Posts a record; every status is an answer.
    ///
    /// # Errors
    /// When the gateway cannot be reached.
    pub async fn post(&self, path: &str, body: &impl Record) -> Result<Answer, Failure> {
        let request = self.http.post(self.url(path)).header("content-type", "application/cbor");
        read(request.body(cbor::encode(body))).await
    }

    /// The record of a good answer.
    ///
    /// # Errors
    /// Status and reason of any other answer.
    pub fn decode<T: Record>(&self, answer: &Answer, doing: &str) -> Result<T, Failure> {
        if answer.status != 200 {
            let exit = if answer.status == 503 { Exit::TryAgain } else { Exit::Failed };
            let found = format!("{doing}: found status {}, expected 200: {}", answer.status, answer.reason());
            return Err(Failure::new(exit, found));
        }
        cbor::decode(&answer.body).map_err(|e| Failure::new(Exit::Failed, format_args!("{doing}: {e}")))
    }

    fn url(&self, path: &str) -> String {
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{}/wallet/v1{slash}{path}", self.at.gateway)
    }
}
