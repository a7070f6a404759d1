//! Key files: mode 0600 in a folder of mode 0700, made with O_EXCL and the mode at open, synced with their folder; links
//! and looser modes are refused on open. Nothing here overwrites a key.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use p256::SecretKey;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use schemas::ErrorClass;
use schemas::id::{from_hex, to_hex};
use zeroize::Zeroizing;

use crate::derive::Secret;
use crate::error::VaultError;
use crate::random::{self, Source};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const KEY_FILE_BYTES_MAX: u64 = 4096;
const ROOT_LABEL: &str = "chartseal-root-1:";

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> VaultError {
    use std::io::ErrorKind;
    move |source| {
        let class = match source.kind() {
            // what is not there, or not for this user, does not come by itself
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory => ErrorClass::Caller,
            _ => ErrorClass::Transient,
        };
        VaultError::File { path: path.to_owned(), source, class }
    }
}

fn check_mode(path: &Path, meta: &Metadata, expected: u32) -> Result<(), VaultError> {
    let found = meta.mode() & 0o7777;
    // Tighter than expected is fine as long as the owner can read; looser is not.
    if found & !expected != 0 {
        return Err(VaultError::Mode { path: path.to_owned(), found, expected });
    }
    Ok(())
}

/// Makes the folder if it is absent; insists on a plain folder of mode 0700.
pub(crate) fn make_folder(dir: &Path) -> Result<(), VaultError> {
    match DirBuilder::new().recursive(false).mode(FOLDER_MODE).create(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(dir)(e)),
        Err(_) => {}
        Ok(()) => sync_parent(dir)?,
    }
    check_folder(dir)
}

/// Insists on a plain folder of mode 0700.
pub(crate) fn check_folder(dir: &Path) -> Result<(), VaultError> {
    let meta = fs::symlink_metadata(dir).map_err(failed(dir))?;
    if !meta.is_dir() {
        return Err(VaultError::Kind { path: dir.to_owned(), expected: "folder" });
    }
    check_mode(dir, &meta, FOLDER_MODE)
}

fn sync_parent(path: &Path) -> Result<(), VaultError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed(parent))
}

fn create(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(VaultError::Exists { path: path.to_owned() });
        }
        opened => opened.map_err(failed(path))?,
    };
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed(path))?;
    sync_parent(path)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let named = fs::symlink_metadata(path).map_err(failed(path))?;
    if !named.is_file() {
        return Err(VaultError::Kind { path: path.to_owned(), expected: "file" });
    }
    let file = File::open(path).map_err(failed(path))?;
    let opened = file.metadata().map_err(failed(path))?;
    // The name may have become a link between the two calls: what was opened must be what was looked at.
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) || !opened.is_file() {
        return Err(VaultError::Kind { path: path.to_owned(), expected: "file" });
    }
    check_mode(path, &opened, FILE_MODE)?;
    let mut content = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX as usize));
    file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut content).map_err(failed(path))?;
    Ok(content)
}

/// A new P-256 key, in PEM (PKCS#8).
pub(crate) fn create_p256(path: &Path, source: &mut dyn Source) -> Result<SecretKey, VaultError> {
    let form = || VaultError::Form { path: path.to_owned(), expected: "PKCS#8 P-256 key in PEM" };
    let key = loop {
        let bytes = random::secret(source).map_err(|_| VaultError::Randomness)?;
        // About one draw in 2^32 is no scalar of the group; the next one is taken.
        if let Ok(key) = SecretKey::from_slice(bytes.as_slice()) {
            break key;
        }
    };
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| form())?;
    create(path, pem.as_bytes())?;
    Ok(key)
}

/// Reads a P-256 key in PEM (PKCS#8).
pub(crate) fn read_p256(path: &Path) -> Result<SecretKey, VaultError> {
    let form = || VaultError::Form { path: path.to_owned(), expected: "PKCS#8 P-256 key in PEM" };
    let content = read(path)?;
    let text = std::str::from_utf8(&content).map_err(|_| form())?;
    SecretKey::from_pkcs8_pem(text).map_err(|_| form())
}

/// A new root key.
pub(crate) fn create_root(path: &Path, source: &mut dyn Source) -> Result<Secret, VaultError> {
    let root = random::secret(source).map_err(|_| VaultError::Randomness)?;
    let hex = Zeroizing::new(to_hex(root.as_slice()));
    let text = Zeroizing::new([ROOT_LABEL, &hex, "\n"].concat());
    create(path, text.as_bytes())?;
    Ok(root)
}

/// Reads the root key.
pub(crate) fn read_root(path: &Path) -> Result<Secret, VaultError> {
    let content = read(path)?;
    let root = std::str::from_utf8(&content)
        .ok()
        .and_then(|text| text.strip_prefix(ROOT_LABEL))
        .and_then(|text| from_hex(text.trim_end_matches('\n')))
        .map(Zeroizing::new)
        .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    root.map(Zeroizing::new).ok_or_else(|| VaultError::Form { path: path.to_owned(), expected: "root key" })
}
