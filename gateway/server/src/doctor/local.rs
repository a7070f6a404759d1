//! What a gateway finds on this machine when it starts: its keys, its token, the folder of objects, the addresses on which it listens. Whatever
//! `run` refuses there is an error here. Addresses are bound for a moment, unless this very gateway runs.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use connectors_source::Finding;
use gateway_vault::Vault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::config::{Config, ConnectorConfig};
use crate::gateway::institution;
use crate::operators::hands::{self, TOKEN_FILE};

/// Longest wait for a gateway that may run, in milliseconds.
const RUNNING_MS_MAX: u64 = 2_000;

/// Whether the keys are there, and those of the institution in the genesis.
pub(super) fn keys(config: &Config) -> Vec<Finding> {
    let vault = match Vault::open(&config.vault.dir) {
        Ok(vault) => vault,
        Err(error) => {
            let expected = "the institution's keys, which only their owner can read";
            return vec![Finding::bad("keys", error.to_string(), expected)];
        }
    };
    let found = Finding::good("keys", format!("{} with its keys", config.vault.dir.display()));
    let own = match institution(config, &vault) {
        Ok(()) => Finding::good("institution", "its keys are those of the genesis"),
        Err(error) => {
            Finding::bad("institution", error.to_string(), "a genesis that names this institution with these keys")
        }
    };
    vec![found, own]
}

/// Whether operators' commands can show their token; nothing where a gateway has never run.
pub(super) fn token(config: &Config) -> Option<Finding> {
    let file = config.gateway.home.join(TOKEN_FILE);
    if !file.exists() {
        return None;
    }
    // it is there: reading it makes none
    Some(match hands::token(&config.gateway.home) {
        Ok(_) => Finding::good("operators", format!("{} is private", file.display())),
        Err(error) => Finding::bad("operators", error.to_string(), "a token that only its owner can read"),
    })
}

/// Whether sealed cases can be kept.
pub(super) fn objects(config: &Config) -> Finding {
    let url = config.objects.url.as_str();
    let folder = url.strip_prefix("file://").unwrap_or(url);
    if folder.contains("://") {
        return Finding::not_checked("objects", "an object store, not a folder", "one that takes what is put there");
    }
    let folder = Path::new(folder);
    // where there is none yet, it is made
    let Some(there) = folder.ancestors().find(|folder| folder.exists()) else {
        return Finding::bad("objects", format!("{}: no folder above it", folder.display()), "a folder");
    };
    match write_into(there) {
        Ok(()) if there == folder => Finding::good("objects", format!("{} can be written", folder.display())),
        Ok(()) => Finding::good("objects", format!("{} can be made", folder.display())),
        Err(error) => {
            let found = format!("{}: {error}", there.display());
            Finding::bad("objects", found, "a folder that the user who runs the gateway may write")
        }
    }
}

fn write_into(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    std::fs::remove_file(&probe)
}

/// An address on which a gateway listens, and whether it may be plain where others reach it.
struct Listener {
    about: String,
    address: String,
    is_guarded: bool,
}

fn named(config: &Config) -> Vec<Listener> {
    let gateway = &config.gateway;
    let own =
        |about: &str, address: &str, is_guarded| Listener { about: about.into(), address: address.into(), is_guarded };
    let mut all = vec![
        own("listen", &gateway.listen, gateway.tls_certificate.is_some()),
        own("operators", &gateway.operators, false),
    ];
    for connector in &config.connectors {
        let listen = match connector {
            ConnectorConfig::Mllp(mllp) => mllp.listen,
            ConnectorConfig::Bridge(bridge) => bridge.mllp.listen,
            _ => continue,
        };
        // its file was checked: plain only where that was said to be trusted
        all.push(Listener {
            about: format!("{}: listen", connector.name()),
            address: listen.to_string(),
            is_guarded: true,
        });
    }
    all
}

/// Every address on which the gateway listens.
pub(super) async fn listeners(config: &Config) -> Vec<Finding> {
    let runs = runs(config).await;
    let (mut findings, mut seen) = (Vec::new(), Vec::<(String, SocketAddr)>::new());
    for listener in named(config) {
        let found = look(&listener, &mut seen, runs).await;
        let (found, expected) = match found {
            Ok(good) => {
                findings.push(Finding::good(listener.about, good));
                continue;
            }
            Err(bad) => bad,
        };
        findings.push(Finding::bad(listener.about, format!("{}: {found}", listener.address), expected));
    }
    findings
}

async fn look(
    listener: &Listener,
    seen: &mut Vec<(String, SocketAddr)>,
    runs: bool,
) -> Result<String, (String, &'static str)> {
    let address = &listener.address;
    let at = lookup_host(address).await.ok().and_then(|mut all| all.next());
    let at = at.ok_or_else(|| ("no address of this name".to_owned(), "`host:port` of this machine"))?;
    if !listener.is_guarded && !at.ip().is_loopback() {
        let expected = "127.0.0.1, or for FHIR clients tls_certificate and tls_key";
        return Err(("plain HTTP where others reach it".into(), expected));
    }
    let meets = |other: &SocketAddr| {
        other.port() == at.port() && (other.ip() == at.ip() || other.ip().is_unspecified() || at.ip().is_unspecified())
    };
    if let Some((other, _)) = seen.iter().find(|(_, other)| meets(other)) {
        return Err((format!("the address of {other} too"), "an address of its own"));
    }
    seen.push((listener.about.clone(), at));
    if runs {
        return Ok(format!("{address}: the gateway runs"));
    }
    match bind(at) {
        Ok(()) => Ok(format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let expected = "nobody: stop who listens there (`ss -ltnp` names it), or take another port";
            Err(("somebody listens there, and it is not this gateway".into(), expected))
        }
        Err(error) => Err((error.to_string(), "an address on which this user may listen")),
    }
}

/// Takes an address without listening there: whoever listens holds it against this, and a gateway that starts meanwhile is not held up.
fn bind(at: SocketAddr) -> std::io::Result<()> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(at)
}

/// Whether this very gateway runs: its operators' listener takes its token, as it does from every command.
async fn runs(config: &Config) -> bool {
    let Ok(token) = std::fs::read_to_string(config.gateway.home.join(TOKEN_FILE)) else { return false };
    let address = &config.gateway.operators;
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /connectors HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            token.trim()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(&status == b"HTTP/1.1 200")
    };
    let limit = Duration::from_millis(RUNNING_MS_MAX);
    matches!(tokio::time::timeout(limit, asked).await, Ok(Ok(true)))
}
