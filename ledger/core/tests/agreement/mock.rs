//! What the tests of the protocol are made of: mocked signatures, dice, transactions that differ by a number.

use ledger_core::Sign;
use schemas::block::{TransactionBytes, ValidatorIndex};
use schemas::cbor::{self, sha256};
use schemas::id::{ChainId, InstitutionId, RawSignature, Signature, SubjectId};
use schemas::transaction::{Body, Core, RegisterSubject, RevokeConsent, Signed, Signer, Transaction};

pub const CHAIN: ChainId = ChainId([7; 32]);

/// Signs with a hash of who and what.
pub struct Mock(pub ValidatorIndex);

impl Sign for Mock {
    fn sign(&self, bytes: &[u8]) -> Signature {
        let half = sha256(&[&self.0.to_be_bytes()[..], bytes].concat());
        let mut out = [0; 64];
        out[..32].copy_from_slice(&half.0);
        out[32..].copy_from_slice(&half.0);
        Signature(RawSignature(out))
    }
}

/// Whether a mocked signature is right.
pub fn is_signed(by: ValidatorIndex, bytes: &[u8], signature: &Signature) -> bool {
    Mock(by).sign(bytes) == *signature
}

/// xorshift64*: enough for faults.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    pub fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// A transaction that differs by its number; the protocol does not look further.
pub fn transaction(number: u64) -> TransactionBytes {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let body = Body::RevokeConsent(RevokeConsent { consent: schemas::id::ConsentId(id), subject: SubjectId([1; 16]) });
    let core = Core { chain: CHAIN, valid_until: 1000, body };
    let transaction = Transaction { core, statements: vec![], signatures: vec![], authored: vec![] };
    TransactionBytes(cbor::encode(&transaction).into())
}

/// One that is no revocation.
pub fn ordinary(number: u64) -> TransactionBytes {
    let mut id = [9; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let (subject, institution) = (SubjectId(id), InstitutionId([1; 16]));
    let body = Body::RegisterSubject(RegisterSubject { subject, institution, key: None, guardians: vec![] });
    let core = Core { chain: CHAIN, valid_until: 1000, body };
    let transaction = Transaction { core, statements: vec![], signatures: vec![], authored: vec![] };
    TransactionBytes(cbor::encode(&transaction).into())
}

/// The same transaction under a signature that nobody made: the same id, and execution refuses it.
pub fn copy(of: &TransactionBytes, salt: u64) -> TransactionBytes {
    let mut copy: Transaction = cbor::decode(of.as_ref()).expect("a transaction");
    let signature = Mock(0).sign(&salt.to_be_bytes());
    copy.signatures.push(Signed { signer: Signer::Institution(InstitutionId([1; 16])), signature });
    TransactionBytes(cbor::encode(&copy).into())
}

/// What execution makes of it, if it was not accepted before.
pub fn is_refused(bytes: &TransactionBytes) -> bool {
    cbor::decode::<Transaction>(bytes.as_ref()).is_ok_and(|transaction| !transaction.signatures.is_empty())
}

/// Chances of faults, in percent.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplication: u64,
    pub delay_ms: u64,
}
