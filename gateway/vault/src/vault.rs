//! The vault of one institution: three key files in one folder (`root.key`, `institution.key`, `gateway.key`), and what
//! is done with them. Everything else that is secret is derived from the root key or wrapped under it.

use std::path::Path;

use schemas::cbor::Parts;
use schemas::envelope::{Statement, Wrap, statements_root};
use schemas::genesis::{GenesisInstitution, possession_to_sign};
use schemas::id::{ChainId, Digest, Height, InstitutionId, PublicKey, SubjectId, to_hex};
use schemas::limits;
use schemas::transaction::{
    AnchorCases, Authored, Body, Core, RegisterInstitution, Signer, SupersedeCase, Transaction,
};
use zeroize::Zeroizing;

use crate::boxed;
use crate::check::{Checked, VerifiedAnchor};
use crate::derive::{Secret, expand, mac};
use crate::error::{AbandonError, OpenError, SealError, VaultError};
use crate::files;
use crate::open::OpenCase;
use crate::random::{self, NoRandomness, System};
use crate::seal::{self, SealRequest, Sealed};
use crate::sign::SignatureKey;
use crate::subject::SubjectKey;

const ROOT_FILE: &str = "root.key";
const INSTITUTION_FILE: &str = "institution.key";
const GATEWAY_FILE: &str = "gateway.key";

/// An institution's keys. Zeroised when dropped; has no Debug, no Clone: share it behind an `Arc`.
pub struct Vault {
    institution: SignatureKey,
    gateway: SignatureKey,
    logical_id: Secret,
    alias: Secret,
    blind: Secret,
    row: Secret,
    subject_wrap: Secret,
    raw_wrap: Secret,
}

/// The key of one raw message in the inbox; destroyed with its wrapped form once the case is anchored.
pub struct RawKey(Secret);

impl From<NoRandomness> for VaultError {
    fn from(_: NoRandomness) -> Self {
        Self::Randomness
    }
}

impl Vault {
    pub(crate) fn new(root: &Secret, institution: SignatureKey, gateway: SignatureKey) -> Self {
        let of = |label: &[u8]| expand(root, label);
        Self {
            institution,
            gateway,
            logical_id: of(b"cs1/logical-id"),
            alias: of(b"cs1/alias"),
            blind: of(b"cs1/blind"),
            row: of(b"cs1/institution-row"),
            subject_wrap: of(b"cs1/subject-wrap"),
            raw_wrap: of(b"cs1/raw-wrap"),
        }
    }

    /// Makes the folder (0700) if absent and the three key files (0600), synced. Existing keys are never overwritten.
    ///
    /// # Errors
    /// `VaultError::Exists` when one of the files is there, or the file's errors.
    pub fn create(dir: &Path) -> Result<Self, VaultError> {
        files::make_folder(dir)?;
        for name in [ROOT_FILE, INSTITUTION_FILE, GATEWAY_FILE] {
            let path = dir.join(name);
            if path.symlink_metadata().is_ok() {
                return Err(VaultError::Exists { path });
            }
        }
        let root = files::create_root(&dir.join(ROOT_FILE), &mut System)?;
        let institution = files::create_p256(&dir.join(INSTITUTION_FILE), &mut System)?;
        let gateway = files::create_p256(&dir.join(GATEWAY_FILE), &mut System)?;
        Ok(Self::new(&root, SignatureKey::new(&institution), SignatureKey::new(&gateway)))
    }

    /// Opens the three key files.
    ///
    /// # Errors
    /// `VaultError` that names the file: absent, a link, a looser mode (with the chmod to run), or another content.
    pub fn open(dir: &Path) -> Result<Self, VaultError> {
        files::check_folder(dir)?;
        let root = files::read_root(&dir.join(ROOT_FILE))?;
        let institution = files::read_p256(&dir.join(INSTITUTION_FILE))?;
        let gateway = files::read_p256(&dir.join(GATEWAY_FILE))?;
        Ok(Self::new(&root, SignatureKey::new(&institution), SignatureKey::new(&gateway)))
    }

    /// The key that signs statements.
    pub fn institution_key(&self) -> PublicKey {
        self.institution.public()
    }

    /// The key that signs RecordAccess.
    pub fn gateway_key(&self) -> PublicKey {
        self.gateway.public()
    }

    /// The entry of a genesis, with proof of possession.
    pub fn register(&self, name: &str, institution: InstitutionId, transports: Vec<PublicKey>) -> GenesisInstitution {
        let register = RegisterInstitution {
            institution,
            key: self.institution_key(),
            gateways: vec![self.gateway_key()],
            transports,
        };
        let possession = self.institution.sign(&possession_to_sign(&register));
        GenesisInstitution { name: name.to_owned(), register, possession }
    }
}

/// What an alias stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naming {
    /// System and value of an identifier.
    Identifier,
    /// A source, and the id that it gives.
    Source,
    /// An absolute address, of everybody's or of one source's.
    Url,
    /// The institution's own subject, whose cases are about no patient.
    Institution,
}

/// Pseudonyms. Their keys come from the root and never rotate.
impl Vault {
    /// Logical id of a resource: 32 hex digits of HMAC(key, "cs1/logical-id" ‖ type ‖ business key…).
    pub fn logical_id(&self, resource_type: &str, business_key: &[&str]) -> String {
        let message = business_key.iter().fold(Parts::new("cs1/logical-id").part(&resource_type), |m, k| m.part(k));
        to_hex(mac(&self.logical_id, &message.finish()).0.first_chunk::<16>().map_or(&[], |head| head.as_slice()))
    }

    /// Alias of a hospital identifier: assigning authority or FHIR system, and value.
    pub fn alias(&self, system: &str, value: &str) -> Digest {
        self.alias_of(Naming::Identifier, system, value)
    }

    /// Alias of any name. Each kind has a label of its own: what somebody writes as an identifier never is another kind's name.
    pub fn alias_of(&self, naming: Naming, system: &str, value: &str) -> Digest {
        let label = match naming {
            Naming::Identifier => "cs1/alias",
            Naming::Source => "cs1/alias/source",
            Naming::Url => "cs1/alias/url",
            Naming::Institution => "cs1/alias/institution",
        };
        mac(&self.alias, &Parts::new(label).part(&system).part(&value).finish())
    }

    /// Blind token of an identifier or logical id, or blind hash of a content, for the index.
    pub fn blind(&self, kind: &str, text: &str) -> Digest {
        mac(&self.blind, &Parts::new("cs1/blind").part(&kind).part(&text).finish())
    }
}

/// Keys that are stored wrapped, and rows.
impl Vault {
    /// A new subject: random id, its key, and the wrapped key to store. Deleting the stored form shreds the subject.
    ///
    /// # Errors
    /// `VaultError::Randomness`.
    pub fn new_subject(&self) -> Result<(SubjectId, SubjectKey, Vec<u8>), VaultError> {
        let id = SubjectId(random::random()?);
        let secret = random::secret(&mut System)?;
        let wrapped = boxed::seal(&self.subject_wrap, id.as_bytes(), secret.as_slice(), &mut System)?;
        Ok((id, SubjectKey::new(&secret), wrapped))
    }

    /// Unwraps a subject's key.
    ///
    /// # Errors
    /// `VaultError::Box` when it is another subject's or was changed.
    pub fn open_subject(&self, id: &SubjectId, wrapped: &[u8]) -> Result<SubjectKey, VaultError> {
        unwrap(&self.subject_wrap, id.as_bytes(), wrapped)
            .map(|secret| SubjectKey::new(&secret))
            .ok_or(VaultError::Box { what: "subject key" })
    }

    /// A new key for one raw message, and its wrapped form to store. `row` names the message (its source key or id).
    ///
    /// # Errors
    /// `VaultError::Randomness`.
    pub fn new_raw_key(&self, row: &[u8]) -> Result<(RawKey, Vec<u8>), VaultError> {
        let secret = random::secret(&mut System)?;
        let wrapped = boxed::seal(&self.raw_wrap, row, secret.as_slice(), &mut System)?;
        Ok((RawKey(secret), wrapped))
    }

    /// Seals a raw message under its own key.
    ///
    /// # Errors
    /// `VaultError::Randomness`.
    pub fn seal_raw(&self, key: &RawKey, row: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(boxed::seal(&key.0, row, plain, &mut System)?)
    }

    /// Opens a raw message with the wrapped key that was stored beside it.
    ///
    /// # Errors
    /// `VaultError::Box` for another row or changed bytes.
    pub fn open_raw(&self, wrapped: &[u8], row: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let key = unwrap(&self.raw_wrap, row, wrapped).ok_or(VaultError::Box { what: "raw key" })?;
        boxed::open(&key, row, sealed).ok_or(VaultError::Box { what: "raw message" })
    }

    /// Seals a row that belongs to no single subject (the access log). `context` names table, column and row.
    ///
    /// # Errors
    /// `VaultError::Randomness`.
    pub fn seal_row(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(boxed::seal(&self.row, context, plain, &mut System)?)
    }

    /// Opens a row that `Vault::seal_row` sealed under the same context.
    ///
    /// # Errors
    /// `VaultError::Box`.
    pub fn open_row(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        boxed::open(&self.row, context, sealed).ok_or(VaultError::Box { what: "row" })
    }
}

fn unwrap(key: &Secret, context: &[u8], wrapped: &[u8]) -> Option<Secret> {
    let plain = Zeroizing::new(boxed::open(key, context, wrapped)?);
    <[u8; 32]>::try_from(plain.as_slice()).ok().map(Zeroizing::new)
}

/// Sealing, signing, checking, opening.
impl Vault {
    /// Algorithm 1 up to the signature: seals one case under a fresh K.
    ///
    /// # Errors
    /// `SealError`.
    pub fn seal(&self, request: SealRequest<'_>) -> Result<Sealed, SealError> {
        seal::seal_with(request, &mut System)
    }

    /// Algorithm 1, the signature: one AnchorCases over 1 to 100 statements, signed by the institution.
    ///
    /// # Errors
    /// `VaultError::Statements` for none, too many, another institution's or a superseding one.
    pub fn sign_anchor(
        &self,
        chain: ChainId,
        institution: InstitutionId,
        valid_until: Height,
        statements: Vec<Statement>,
        authored: Vec<Authored>,
    ) -> Result<Transaction, VaultError> {
        let found = statements.len();
        if found == 0 || found > limits::STATEMENTS_MAX {
            return Err(VaultError::Statements { found, expected: "1 to 100" });
        }
        if statements.iter().any(|s| s.previous.is_some() || s.institution != institution) {
            return Err(VaultError::Statements { found, expected: "new cases of this institution" });
        }
        let root = statements_root(&statements);
        let count = u32::try_from(found).map_err(|_| VaultError::Statements { found, expected: "1 to 100" })?;
        let body = Body::AnchorCases(AnchorCases { institution, root, count });
        Ok(self.sign_statements(Core { chain, valid_until, body }, institution, statements, authored))
    }

    /// Algorithm 1, the signature, for a new version of one case.
    ///
    /// # Errors
    /// `VaultError::Statements` for a statement without a previous version or of another institution.
    pub fn sign_supersede(
        &self,
        chain: ChainId,
        institution: InstitutionId,
        valid_until: Height,
        statement: Statement,
        authored: Option<Authored>,
    ) -> Result<Transaction, VaultError> {
        if statement.previous.is_none() || statement.institution != institution {
            return Err(VaultError::Statements { found: 1, expected: "a new version of this institution's case" });
        }
        let statements = vec![statement];
        let body = Body::SupersedeCase(SupersedeCase { institution, root: statements_root(&statements) });
        let authored = authored.into_iter().collect();
        Ok(self.sign_statements(Core { chain, valid_until, body }, institution, statements, authored))
    }

    fn sign_statements(
        &self,
        core: Core,
        institution: InstitutionId,
        statements: Vec<Statement>,
        authored: Vec<Authored>,
    ) -> Transaction {
        let mut transaction = Transaction { core, statements, signatures: Vec::new(), authored };
        self.institution.sign_transaction(&mut transaction, Signer::Institution(institution));
        transaction
    }

    /// Signs any body without statements, as the institution or as the gateway. Persons add theirs with
    /// `PersonalKey::countersign`.
    ///
    /// # Errors
    /// `VaultError::Role` for other roles, another gateway's key, or a body with statements.
    pub fn sign(&self, core: Core, signer: Signer) -> Result<Transaction, VaultError> {
        let key = match signer {
            Signer::Institution(_) => &self.institution,
            Signer::Gateway(key) if key == self.gateway_key() => &self.gateway,
            _ => return Err(VaultError::Role),
        };
        if core.body.statements_root().is_some() {
            return Err(VaultError::Role);
        }
        let mut transaction =
            Transaction { core, statements: Vec::new(), signatures: Vec::new(), authored: Vec::new() };
        key.sign_transaction(&mut transaction, signer);
        Ok(transaction)
    }

    /// Algorithm 2 for one case of a verified transaction: opens and checks it as its recipient will.
    ///
    /// # Errors
    /// `AbandonError`: the case must not be anchored.
    pub fn check(
        &self,
        anchor: &VerifiedAnchor<'_>,
        index: usize,
        object: &[u8],
        wraps: &[Wrap],
        subject: &SubjectKey,
    ) -> Result<Checked, AbandonError> {
        Checked::check(anchor, index, object, wraps, subject)
    }

    /// Opens a stored case as the custodian. `expected` is the anchored object digest (`Statement::object`).
    ///
    /// # Errors
    /// `OpenError`.
    pub fn open_case<'a>(
        &self,
        subject: &SubjectKey,
        wraps: &[Wrap],
        object: &'a [u8],
        expected: &Digest,
    ) -> Result<OpenCase<'a>, OpenError> {
        OpenCase::as_custodian(subject, wraps, object, expected)
    }
}
