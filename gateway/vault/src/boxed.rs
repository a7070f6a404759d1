//! A small authenticated box for what the database keeps: rows, subject keys, raw messages. 24 random salt bytes give
//! each box a key of its own (HKDF), so that a key may seal any number of rows without a nonce ever repeating.
//!
//! Layout: salt (24) ‖ AES-256-GCM ciphertext ‖ tag (16); nonce zero; AAD = context.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use schemas::cbor::Parts;

use crate::derive::{Secret, expand};
use crate::random::{NoRandomness, Source};

const SALT_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

fn cipher(key: &Secret, salt: &[u8]) -> Aes256Gcm {
    let key = expand(key, &Parts::new("cs1/box").bytes(salt).finish());
    Aes256Gcm::new((&*key).into())
}

/// Seals.
pub(crate) fn seal(
    key: &Secret,
    context: &[u8],
    plain: &[u8],
    source: &mut dyn Source,
) -> Result<Vec<u8>, NoRandomness> {
    let mut out = Vec::with_capacity(SALT_BYTES + plain.len() + TAG_BYTES);
    out.resize(SALT_BYTES, 0);
    source.fill(&mut out)?;
    let cipher = cipher(key, &out);
    out.extend_from_slice(plain);
    let body = out.get_mut(SALT_BYTES..).unwrap_or_default();
    let Ok(tag) = cipher.encrypt_inout_detached(&Nonce::default(), context, body.into()) else {
        unreachable!("AES-GCM seals up to 64 GiB, limits are far below")
    };
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Opens, or `None` for another key, another context or changed bytes.
pub(crate) fn open(key: &Secret, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (salt, rest) = sealed.split_at_checked(SALT_BYTES)?;
    let (body, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
    let tag = Tag::try_from(tag).ok()?;
    let mut out = body.to_vec();
    cipher(key, salt).decrypt_inout_detached(&Nonce::default(), context, out.as_mut_slice().into(), &tag).ok()?;
    Some(out)
}
