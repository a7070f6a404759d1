//! Keys of validators and of the one client, their genesis, and signatures: a keyed hash for speed, or real P-256. A mock
//! signature is unforgeable by convention: attackers are handed a signer of their own index only.

use ledger_core::Sign;
use ledger_proof::{AwsLc, ValidatorSet, Verifier};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use schemas::block::ValidatorIndex;
use schemas::cbor::sha256;
use schemas::genesis::{Genesis, GenesisInstitution, Validator};
use schemas::id::{ChainId, InstitutionId, PublicKey, RawPublicKey, RawSignature, Signature};
use schemas::transaction::RegisterInstitution;

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

/// All keys of a run.
pub struct Keys {
    secrets: Vec<Secret>,
    client: Secret,
    verifier: &'static dyn Verifier,
    /// The genesis that names them.
    pub genesis: Genesis,
    /// The validators, with the verifier of the run.
    pub set: ValidatorSet,
    /// The chain.
    pub chain: ChainId,
}

/// One validator's signer.
pub struct Signer<'a>(&'a Secret);

impl Sign for Signer<'_> {
    fn sign(&self, bytes: &[u8]) -> Signature {
        self.0.sign(bytes)
    }
}

impl Keys {
    /// Keys of n validators.
    pub fn new(n: usize, seed: u64, real: bool) -> Self {
        let secrets: Vec<Secret> = (0..n as u64).map(|number| Secret::new(seed, number, real)).collect();
        let client = Secret::new(seed, 1 << 32, real);
        let register = RegisterInstitution {
            institution: INSTITUTION,
            key: client.public(),
            gateways: vec![],
            transports: vec![],
        };
        let possession = client.sign(&schemas::genesis::possession_to_sign(&register));
        let validators = secrets.iter().enumerate().map(|(i, s)| Validator { name: format!("v{i}"), key: s.public() });
        let institutions = vec![GenesisInstitution { name: "client".to_owned(), register, possession }];
        let genesis = Genesis { created: 1, validators: validators.collect(), institutions };
        let verifier: &'static dyn Verifier = if real { &AwsLc } else { &Mock };
        let (set, chain) = (ValidatorSet::with_verifier(&genesis, verifier), genesis.chain_id());
        Self { secrets, client, verifier, genesis, set, chain }
    }

    /// The signer of a validator.
    pub fn signer(&self, index: ValidatorIndex) -> Signer<'_> {
        Signer(&self.secrets[usize::from(index)])
    }

    /// The client's signature.
    pub fn sign_as_client(&self, bytes: &[u8]) -> Signature {
        self.client.sign(bytes)
    }

    /// How signatures of this run are verified.
    pub const fn verifier(&self) -> &'static dyn Verifier {
        self.verifier
    }

    /// Whether a validator signed this.
    pub fn is_signed(&self, by: ValidatorIndex, message: &[u8], signature: &Signature) -> bool {
        self.set.keys().get(usize::from(by)).is_some_and(|key| self.verifier.verify(key, message, signature))
    }
}
