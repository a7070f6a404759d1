//! COSE Receipts (RFC 9942) of log entries: one COSE_Sign1 per validator over the root of the log, with the inclusion proof in its
//! header, so that any verifier of such receipts can check an entry without knowing our formats. A quorum of them travels in one
//! file. The bytes are built and read here; signing is the validator's, judging is `ledger-proof`'s.

use minicbor::data::{Tag, Type};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::cbor;
use crate::id::{ChainId, Digest, ES256, PublicKey, RawPublicKey, RawSignature, Signature};
use crate::proof::EpochProof;

/// COSE_Sign1 (RFC 9052 §4.2).
const SIGN1: Tag = Tag::new(18);
/// Header parameters: algorithm, key id, CWT claims (RFC 9597), verifiable data structure and its proofs (RFC 9942).
const ALGORITHM: i64 = 1;
const KEY_ID: i64 = 4;
const CLAIMS: i64 = 15;
const STRUCTURE: i64 = 395;
const PROOFS: i64 = 396;
/// The claim that names the issuer (RFC 8392).
const ISSUER: i64 = 1;
/// The data structure RFC9162_SHA256, and its inclusion proofs.
const RFC9162_SHA256: i64 = 1;
const INCLUSION: i64 = -1;

/// A receipt of inclusion by one validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoseReceipt {
    /// Who signed: the key id is the compressed key itself.
    pub key: PublicKey,
    /// The chain: the issuer is `chartseal:` and its id in hex.
    pub chain: ChainId,
    /// Leaves of the log.
    pub size: u64,
    /// Index of the entry.
    pub index: u64,
    /// Siblings from the leaf up.
    pub path: Vec<Digest>,
    /// Over `to_sign`.
    pub signature: Signature,
}

/// An entry with receipts of several validators.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CoseReceipts {
    /// The leaf's bytes: CBOR of a `LogEntry`.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub entry: Vec<u8>,
    /// Receipts, each the bytes of one tagged COSE_Sign1, sorted by their bytes.
    #[n(1)]
    pub receipts: Vec<ReceiptBytes>,
    /// From epoch 1 to the one whose validators signed; left out when those of the genesis did.
    #[n(2)]
    #[cbor(skip_if = "Vec::is_empty")]
    pub epochs: Vec<EpochProof>,
}

/// One receipt as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct ReceiptBytes(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub Vec<u8>,
);

/// What a validator signs: the protected header and the root of the log, which is not in the receipt (RFC 9942 §4.2: the verifier
/// must compute it).
pub fn to_sign(key: &PublicKey, chain: &ChainId, root: &Digest) -> Vec<u8> {
    crate::cose::sig_structure_of(&protected(key, chain), b"", &root.0)
}

fn issuer(chain: &ChainId) -> String {
    format!("chartseal:{chain}")
}

fn protected(key: &PublicKey, chain: &ChainId) -> Vec<u8> {
    cbor::encode(&Protected { key, chain })
}

struct Protected<'a> {
    key: &'a PublicKey,
    chain: &'a ChainId,
}

impl<C> Encode<C> for Protected<'_> {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.map(4)?.i64(ALGORITHM)?.i64(ES256)?.i64(KEY_ID)?.bytes(self.key.as_bytes())?;
        e.i64(CLAIMS)?.map(1)?.i64(ISSUER)?.str(&issuer(self.chain))?;
        e.i64(STRUCTURE)?.i64(RFC9162_SHA256)?.ok()
    }
}

/// The receipt's own encoding is the RFC's, so it is written and read by hand; `cbor::decode` still insists on one spelling.
impl<C> Encode<C> for CoseReceipt {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        let proof = cbor::encode(&Inclusion { size: self.size, index: self.index, path: self.path.clone() });
        e.tag(SIGN1)?.array(4)?.bytes(&protected(&self.key, &self.chain))?;
        e.map(1)?.i64(PROOFS)?.map(1)?.i64(INCLUSION)?.array(1)?.bytes(&proof)?;
        e.null()?.bytes(self.signature.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for CoseReceipt {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let expected = || decode::Error::message("expected a COSE receipt of inclusion in a log");
        let is = |holds: bool| if holds { Ok(()) } else { Err(expected()) };
        is(d.tag()? == SIGN1 && d.array()? == Some(4))?;
        let mut header = Decoder::new(d.bytes()?);
        is(header.map()? == Some(4) && header.i64()? == ALGORITHM && header.i64()? == ES256)?;
        is(header.i64()? == KEY_ID)?;
        let key = RawPublicKey::from_slice(header.bytes()?).map(PublicKey).ok_or_else(expected)?;
        is(header.i64()? == CLAIMS && header.map()? == Some(1) && header.i64()? == ISSUER)?;
        let chain = header.str()?.strip_prefix("chartseal:").and_then(|hex| hex.parse().ok()).ok_or_else(expected)?;
        is(header.i64()? == STRUCTURE && header.i64()? == RFC9162_SHA256)?;
        is(header.position() == header.input().len())?;
        is(d.map()? == Some(1) && d.i64()? == PROOFS && d.map()? == Some(1) && d.i64()? == INCLUSION)?;
        is(d.array()? == Some(1))?;
        let Inclusion { size, index, path } = cbor::decode(d.bytes()?).map_err(|_| expected())?;
        is(d.datatype()? == Type::Null)?;
        d.null()?;
        let signature = RawSignature::from_slice(d.bytes()?).map(Signature).ok_or_else(expected)?;
        Ok(Self { key, chain, size, index, path, signature })
    }
}

/// `[tree size, leaf index, path]`.
#[derive(Encode, Decode)]
struct Inclusion {
    #[n(0)]
    size: u64,
    #[n(1)]
    index: u64,
    #[n(2)]
    path: Vec<Digest>,
}
