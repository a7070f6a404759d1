//! Wraps of the case key K. For the custodian: AES-256-GCM under a key derived from the subject's key. For the patient:
//! HPKE base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, to the bound public key. Both are bound to the
//! header and to kind ‖ recipient ‖ consent id ‖ epoch, so a wrap opens in one place only.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use minicbor::Encoder;
use p256::elliptic_curve::sec1::ToSec1Point;
use schemas::cbor::Parts;
use schemas::envelope::{TAG_BYTES, Wrap, WrapKind};
use schemas::id::{Digest, PublicKey, SubjectTag};
use zeroize::Zeroizing;

use crate::derive::{Secret, expand};
use crate::error::SealError;
use crate::random::{Generator, Source};

const K_BYTES: usize = 32;

/// `info` of a wrap: "cs1/wrap" ‖ SHA-256(header).
fn info(header_hash: &Digest) -> Vec<u8> {
    Parts::new("cs1/wrap").part(header_hash).finish()
}

/// AAD of a wrap: kind ‖ recipient ‖ consent id ‖ epoch.
fn additional(wrap: &Wrap) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let written = Encoder::new(&mut out)
        .array(4)
        .and_then(|e| e.encode(wrap.kind))
        .and_then(|e| e.bytes(&wrap.recipient))
        .and_then(|e| e.encode(wrap.consent))
        .and_then(|e| e.u32(wrap.epoch))
        .is_ok();
    assert!(written, "a Vec takes every write");
    out
}

fn blank(kind: WrapKind, recipient: &[u8]) -> Wrap {
    Wrap {
        kind,
        recipient: recipient.to_vec(),
        consent: None,
        epoch: 0,
        encapsulated: Vec::new(),
        ciphertext: Vec::new(),
    }
}

/// The custodian's wrapping key serves one wrap only: header and AAD are in its derivation, so the nonce can be zero and
/// a wrap of a later epoch never meets it again.
fn custodian_cipher(custodian: &Secret, wrap: &Wrap, header_hash: &Digest) -> Aes256Gcm {
    let info = Parts::new("cs1/custodian-wrap").part(header_hash).bytes(&additional(wrap)).finish();
    Aes256Gcm::new((&*expand(custodian, &info)).into())
}

/// Wraps K for the custodian.
pub(crate) fn for_custodian(
    custodian: &Secret,
    tag: &SubjectTag,
    header_hash: &Digest,
    k: &Secret,
) -> Result<Wrap, SealError> {
    let mut wrap = blank(WrapKind::Custodian, tag.as_bytes());
    let mut sealed = k.to_vec();
    let tag = custodian_cipher(custodian, &wrap, header_hash)
        .encrypt_inout_detached(&Nonce::default(), &additional(&wrap), sealed.as_mut_slice().into())
        .map_err(|_| SealError::Cipher)?;
    sealed.extend_from_slice(&tag);
    wrap.ciphertext = sealed;
    Ok(wrap)
}

/// Opens a custodian's wrap.
pub(crate) fn open_as_custodian(custodian: &Secret, wrap: &Wrap, header_hash: &Digest) -> Option<Secret> {
    if !wrap.encapsulated.is_empty() || wrap.ciphertext.len() != K_BYTES + TAG_BYTES {
        return None;
    }
    let (sealed, tag) = wrap.ciphertext.split_first_chunk::<K_BYTES>()?;
    let mut k = Zeroizing::new(*sealed);
    custodian_cipher(custodian, wrap, header_hash)
        .decrypt_inout_detached(
            &Nonce::default(),
            &additional(wrap),
            k.as_mut_slice().into(),
            &Tag::try_from(tag).ok()?,
        )
        .ok()?;
    Some(k)
}

/// HPKE names points uncompressed; ours are compressed everywhere else.
fn recipient_key(key: &PublicKey) -> Option<<DhP256HkdfSha256 as Kem>::PublicKey> {
    let point = p256::PublicKey::from_sec1_bytes(key.as_bytes()).ok()?;
    Deserializable::from_bytes(point.to_sec1_point(false).as_bytes()).ok()
}

/// Wraps K for the patient's bound key.
pub(crate) fn for_patient(
    patient: &PublicKey,
    header_hash: &Digest,
    k: &Secret,
    source: &mut dyn Source,
) -> Result<Wrap, SealError> {
    let mut wrap = blank(WrapKind::Patient, patient.as_bytes());
    let recipient = recipient_key(patient).ok_or(SealError::PatientKey)?;
    let mut generator = Generator::new(source);
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &recipient,
        &info(header_hash),
        k.as_slice(),
        &additional(&wrap),
        &mut generator,
    )
    .map_err(|_| SealError::Cipher)?;
    if generator.failed() {
        return Err(SealError::Randomness);
    }
    wrap.encapsulated = encapsulated.to_bytes().to_vec();
    wrap.ciphertext = ciphertext;
    Ok(wrap)
}

/// Opens a patient's wrap with the private key.
pub(crate) fn open_as_patient(secret: &p256::SecretKey, wrap: &Wrap, header_hash: &Digest) -> Option<Secret> {
    let bytes = Zeroizing::new(<[u8; 32]>::from(secret.to_bytes()));
    let private = <DhP256HkdfSha256 as Kem>::PrivateKey::from_bytes(bytes.as_slice()).ok()?;
    let encapsulated = <DhP256HkdfSha256 as Kem>::EncappedKey::from_bytes(&wrap.encapsulated).ok()?;
    let plain = hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        &info(header_hash),
        &wrap.ciphertext,
        &additional(wrap),
    );
    let plain = Zeroizing::new(plain.ok()?);
    <[u8; K_BYTES]>::try_from(plain.as_slice()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests;
