//! Keys of validators and of the one client, their genesis, and signatures: a keyed hash for speed, or real P-256. A mock
//! signature is unforgeable by convention: attackers are handed a signer of their own index only.

use std::sync::Arc;

use ledger_contract::Seal;
use ledger_core::{Config, Sign};
use ledger_proof::{AwsLc, ValidatorSet, Validators, Verifier};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use schemas::ballot::{Member, possession_to_sign};
use schemas::block::{Epoch, ValidatorIndex};
use schemas::cbor::sha256;
use schemas::genesis::{Genesis, GenesisInstitution, Validator};
use schemas::id::{ChainId, Height, InstitutionId, PublicKey, RawPublicKey, RawSignature, Signature};
use schemas::transaction::RegisterInstitution;
use schemas::view::Checkpoint;

/// The institution whose gateway submits.
pub const INSTITUTION: InstitutionId = InstitutionId([9; 16]);

/// Verifies mock signatures.
struct Mock;

impl Verifier for Mock {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        mock(key, message) == *signature
    }
}

fn mock(key: &PublicKey, message: &[u8]) -> Signature {
    let half = sha256(&[&key.as_bytes()[..], message].concat());
    let mut out = [0; 64];
    out[..32].copy_from_slice(&half.0);
    out[32..].copy_from_slice(&half.0);
    Signature(RawSignature(out))
}

/// A secret key, or what stands for it.
enum Secret {
    Mock(PublicKey),
    Real(Box<SigningKey>),
}

impl Secret {
    fn new(seed: u64, number: u64, real: bool) -> Self {
        let bytes = sha256(&[&seed.to_be_bytes()[..], &number.to_be_bytes(), b"chartseal sim"].concat()).0;
        if real {
            return Self::Real(Box::new(SigningKey::from_slice(&bytes).expect("below the order, but for 2^-32")));
        }
        let mut point = [2; 33];
        point[1..].copy_from_slice(&bytes);
        Self::Mock(PublicKey(RawPublicKey(point)))
    }

    fn public(&self) -> PublicKey {
        match self {
            Self::Mock(key) => *key,
            Self::Real(key) => {
                let point = key.verifying_key().to_sec1_point(true);
                PublicKey(RawPublicKey::from_slice(point.as_bytes()).expect("a compressed point has 33 bytes"))
            }
        }
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        match self {
            Self::Mock(key) => mock(key, bytes),
            Self::Real(key) => {
                let signature: p256::ecdsa::Signature = key.sign(bytes);
                Signature(RawSignature(signature.normalize_s().to_bytes().into()))
            }
        }
    }
}

/// Another set of validators. Whoever stays keeps its index; new ones come last, and the last ones leave.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// How many there are.
    pub n: usize,
    /// Who gets another key.
    pub rotated: Vec<ValidatorIndex>,
}

/// All keys of a run.
pub struct Keys {
    /// By epoch and index: a validator may get another key with an epoch.
    secrets: Vec<Vec<Arc<Secret>>>,
    client: Secret,
    verifier: &'static dyn Verifier,
    /// The genesis that names them.
    pub genesis: Genesis,
    /// The validators of each epoch that is decided, and where it begins once that is executed.
    eras: Vec<Era>,
    /// The chain.
    pub chain: ChainId,
}

/// An epoch.
struct Era {
    set: ValidatorSet,
    base: Option<Checkpoint>,
}

/// One validator's signer.
pub struct Signer<'a>(&'a Secret);

impl Sign for Signer<'_> {
    fn sign(&self, bytes: &[u8]) -> Signature {
        self.0.sign(bytes)
    }
}

impl Keys {
    /// Keys of n validators, and of those of every epoch that follows.
    pub fn new(n: usize, changes: &[Change], seed: u64, real: bool) -> Self {
        let new = |epoch: usize, index: usize| Arc::new(Secret::new(seed, index as u64 | (epoch as u64) << 16, real));
        let mut secrets: Vec<Vec<Arc<Secret>>> = vec![(0..n).map(|index| new(0, index)).collect()];
        for (epoch, change) in (1..).zip(changes) {
            let before = &secrets[epoch - 1];
            let secret = |index: usize| {
                let is_rotated = change.rotated.contains(&(index as ValidatorIndex));
                before.get(index).filter(|_| !is_rotated).cloned().unwrap_or_else(|| new(epoch, index))
            };
            let of_epoch = (0..change.n).map(secret).collect();
            secrets.push(of_epoch);
        }
        let client = Secret::new(seed, 1 << 32, real);
        let register = RegisterInstitution {
            institution: INSTITUTION,
            key: client.public(),
            gateways: vec![],
            transports: vec![],
        };
        let possession = client.sign(&schemas::genesis::possession_to_sign(&register));
        let institutions = vec![GenesisInstitution { name: "client".to_owned(), register, possession }];
        let genesis = Genesis { created: 1, validators: validators(&secrets[0]), institutions };
        let verifier: &'static dyn Verifier = if real { &AwsLc } else { &Mock };
        let (set, chain) = (ValidatorSet::with_verifier(&genesis, verifier), genesis.chain_id());
        let eras = vec![Era { set, base: Some(Checkpoint::genesis(&chain)) }];
        Self { secrets, client, verifier, genesis, eras, chain }
    }

    /// The epoch's end and what follows are decided.
    pub fn decide(&mut self, seal: &Seal) {
        let next = ValidatorSet::of_epoch(self.chain, &seal.next, self.verifier);
        if let Some(last) = self.eras.last_mut().filter(|last| last.set.epoch() + 1 == next.epoch()) {
            last.set = last.set.clone().until(seal.at);
            self.eras.push(Era { set: next, base: None });
        }
    }

    /// The last height of an epoch was executed.
    pub fn begin(&mut self, epoch: Epoch, base: Checkpoint) {
        self.eras[usize::try_from(epoch).expect("few")].base = Some(base);
    }

    /// The epoch of a height, as far as it is decided.
    pub fn epoch_of(&self, height: Height) -> Epoch {
        self.eras
            .iter()
            .rev()
            .map(|era| &era.set)
            .find(|set| set.first() <= height.max(1))
            .map_or(0, ValidatorSet::epoch)
    }

    /// What checks that do not depend on the receiver need to know; `None` while the epoch has not begun.
    pub fn config(&self, epoch: Epoch) -> Option<Config> {
        let era = self.eras.get(usize::try_from(epoch).ok()?)?;
        let (validators, base) = (era.set.keys().len(), era.base.clone()?);
        Some(Config { chain: self.chain, epoch, validators, me: 0, base })
    }

    /// Validators of an epoch that is decided.
    pub fn validators(&self, epoch: Epoch) -> usize {
        self.in_epoch(epoch).map_or(0, |set| set.keys().len())
    }

    /// The members that the plan foresees behind an epoch, as a ballot names them.
    pub fn members_after(&self, epoch: Epoch) -> Vec<Member> {
        let at = usize::try_from(epoch).expect("few");
        let Some(secrets) = self.secrets.get(at + 1) else { return vec![] };
        let member = |(validator, secret): (Validator, &Arc<Secret>)| {
            let is_new = !self.secrets[at].iter().any(|before| before.public() == validator.key);
            let message = possession_to_sign(&self.chain, epoch, &validator);
            Member { possession: is_new.then(|| secret.sign(&message)), name: validator.name, key: validator.key }
        };
        validators(secrets).into_iter().zip(secrets).map(member).collect()
    }

    /// The signer of a validator in an epoch.
    pub fn signer(&self, epoch: Epoch, index: ValidatorIndex) -> Signer<'_> {
        Signer(&self.secrets[usize::try_from(epoch).expect("few")][usize::from(index)])
    }

    /// The client's signature.
    pub fn sign_as_client(&self, bytes: &[u8]) -> Signature {
        self.client.sign(bytes)
    }

    /// How signatures of this run are verified.
    pub const fn verifier(&self) -> &'static dyn Verifier {
        self.verifier
    }

    /// Whether a validator of the epoch signed this.
    pub fn is_signed(&self, epoch: Epoch, by: ValidatorIndex, message: &[u8], signature: &Signature) -> bool {
        let key = self.in_epoch(epoch).and_then(|set| set.keys().get(usize::from(by)));
        key.is_some_and(|key| self.verifier.verify(key, message, signature))
    }
}

fn validators(secrets: &[Arc<Secret>]) -> Vec<Validator> {
    let validator =
        |(index, secret): (usize, &Arc<Secret>)| Validator { name: format!("v{index}"), key: secret.public() };
    secrets.iter().enumerate().map(validator).collect()
}

impl Validators for Keys {
    fn chain(&self) -> &ChainId {
        &self.chain
    }

    fn in_epoch(&self, epoch: Epoch) -> Option<&ValidatorSet> {
        self.eras.get(usize::try_from(epoch).ok()?).map(|era| &era.set)
    }
}
