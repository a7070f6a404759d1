//! What the tests of the protocol are made of: mocked signatures, dice, transactions that differ by a number.

use ledger_core::Sign;
use schemas::block::{TransactionBytes, ValidatorIndex};
use schemas::cbor::{self, sha256};
use schemas::id::{ChainId, RawSignature, Signature, SubjectId};
use schemas::transaction::{Body, Core, RevokeConsent, Transaction};

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
