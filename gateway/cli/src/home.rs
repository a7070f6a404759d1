//! The folders that init, demo and bench write: keys, genesis, commented configurations. Secrets are files with mode 0600 in
//! folders that are made with mode 0700 (and closed where `init` finds an empty one), never overwritten. Stands before anything runs;
//! must never read a key back.

pub mod config;

use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use gateway_vault::Vault;
use schemas::genesis::{Genesis, GenesisInstitution, Validator};
use schemas::id::{InstitutionId, PublicKey, RawPublicKey};

use crate::failure::Failure;

/// Ports of private processes: above those of well-known services, below those of outgoing connections and those that
/// `compose/services` takes for a broker and a database (20000 to 29999), which are started after these were found.
const PORTS: Range<u16> = 10_000..18_000;

/// A validator on this machine.
pub struct ValidatorHome {
    /// Name in the genesis.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Address for other validators, `host:port`.
    pub peer: String,
    /// Address of its RPC, `host:port`.
    pub rpc: String,
    /// Address of `/metrics`, where it has one.
    pub operators: Option<String>,
    /// Its public key.
    pub key: PublicKey,
}

impl ValidatorHome {
    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("node.toml")
    }
}

/// A hospital with its gateway on this machine.
pub struct Hospital {
    /// Name for people.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Address for FHIR clients, `host:port`.
    pub listen: String,
    /// Address for operators, `host:port`.
    pub operators: String,
    /// What the genesis says about it.
    pub registered: GenesisInstitution,
}

impl Hospital {
    /// Its gateway's configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("gateway.toml")
    }

    /// The address under which clients know it.
    pub fn base(&self) -> String {
        format!("http://{}", self.listen)
    }
}

/// Random bytes of the system: ids, never keys.
///
/// # Errors
/// When the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    gateway_vault::random().map_err(|e| Failure::classed(e.class(), e))
}

/// Makes a folder that only its owner may enter; the folders above it as the umask says. One that is there already stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_folder(path: &Path) -> Result<(), Failure> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).with_context(|| format!("{}", above.display()))?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(anyhow!(e).context(format!("{}", path.display())).into())
        }
        _ => Ok(()),
    }
}

/// Closes an empty folder that was there before to everyone but its owner.
///
/// # Errors
/// When it is somebody else's.
pub fn close_folder(path: &Path) -> Result<(), Failure> {
    let closed = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    closed.map_err(|e| {
        let expected =
            "a folder of this user, which only its owner may enter: run `chmod 700` on it, or name a new one";
        Failure::usage(format_args!("{}: {e}; expected {expected}", path.display()))
    })
}

/// Writes a new file with mode 0600, synced.
///
/// # Errors
/// When it exists or cannot be written.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{}: expected a file that does not exist yet", path.display()))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(|| format!("{}", path.display()))?;
    Ok(())
}

/// Writes a file that everyone may read.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).with_context(|| format!("{}", path.display()))?;
    Ok(())
}

/// Makes the key of a TLS client: the PEM file at `path`; the public key goes into the genesis (`transports`).
///
/// # Errors
/// When the file exists or cannot be written.
pub fn create_transport_key(path: &Path) -> Result<PublicKey, Failure> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).context("making a P-256 key")?;
    write_secret(path, pair.serialize_pem().as_bytes())?;
    // SEC1 uncompressed 04 ‖ x ‖ y to compressed: the parity of y stands in the first byte.
    let point = pair.public_key_raw();
    let (Some(x), Some(last)) = (point.get(1..33), point.last()) else {
        return Err(anyhow!("the key has no point").into());
    };
    let mut raw = [2 + (last & 1); 33];
    raw[1..].copy_from_slice(x);
    Ok(PublicKey(RawPublicKey(raw)))
}

/// Loopback ports that nobody listens on, each once; all below the range from which systems give ports to outgoing
/// connections (32768 on Linux), one of which could hold the port of a process that is just being restarted.
///
/// # Errors
/// When there are none.
pub fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    // `RandomState` is the standard library's source of randomness; commands that run beside each other should not meet.
    let start = RandomState::new().hash_one(count);
    let candidates = (0..PORTS.len() as u64).map(|i| PORTS.start + (start.wrapping_add(i) % PORTS.len() as u64) as u16);
    // All are held until all are found, so that none is given twice.
    let held: Vec<_> = candidates.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).take(count).collect();
    if held.len() < count {
        return Err(anyhow!("found {} free loopback ports from {PORTS:?}, expected {count}", held.len()).into());
    }
    Ok(held.iter().filter_map(|l| l.local_addr().ok()).map(|a| a.port()).collect())
}

/// Makes the folders and keys of validators: `validator-1` … below `folder`. Ports are peers' and RPC's in turn.
///
/// # Errors
/// When something exists or cannot be written.
pub fn create_validators(folder: &Path, ports: &[u16]) -> Result<Vec<ValidatorHome>, Failure> {
    let pairs = ports.chunks_exact(2).enumerate();
    pairs
        .map(|(index, pair)| {
            let name = format!("validator-{}", index + 1);
            let folder = folder.join(&name);
            make_private_folder(&folder)?;
            let key = ledger_node::key::create(&folder.join("validator.key"))
                .map_err(|e| Failure::new(crate::failure::Exit::Failed, e))?;
            let (peer, rpc) = (format!("127.0.0.1:{}", pair[0]), format!("127.0.0.1:{}", pair[1]));
            Ok(ValidatorHome { name, folder, peer, rpc, operators: None, key })
        })
        .collect()
}

/// Makes a hospital's folder and keys.
///
/// # Errors
/// When something exists or cannot be written.
pub fn create_hospital(folder: &Path, name: &str, listen: &str, operators: &str) -> Result<Hospital, Failure> {
    make_private_folder(folder)?;
    let vault = Vault::create(&folder.join("keys")).map_err(|e| Failure::classed(e.class(), e))?;
    let transport = create_transport_key(&folder.join("transport.key"))?;
    let registered = vault.register(name, InstitutionId(random()?), vec![transport]);
    let (name, folder) = (name.to_owned(), folder.to_owned());
    Ok(Hospital { name, folder, listen: listen.to_owned(), operators: operators.to_owned(), registered })
}

/// Writes the genesis of these validators and hospitals.
///
/// # Errors
/// When it cannot be written.
pub fn write_genesis(path: &Path, validators: &[ValidatorHome], hospitals: &[Hospital]) -> Result<Genesis, Failure> {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let genesis = Genesis {
        created,
        validators: validators.iter().map(|v| Validator { name: v.name.clone(), key: v.key }).collect(),
        institutions: hospitals.iter().map(|h| h.registered.clone()).collect(),
    };
    ledger_proof::verify_genesis(&genesis).map_err(|e| Failure::classed(e.class(), e))?;
    write(path, &genesis.to_json())?;
    Ok(genesis)
}
