//! The files that a configuration names: until when certificates hold, and whether what is secret is readable by its owner alone. What a
//! file is, its content says: certificates first, all else is a secret.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use connectors_source::Finding;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use schemas::id::TimeMs;
use x509_parser::parse_x509_certificate;

use crate::config::{Config, NotifyConfig};

/// Days before its end from which a certificate is pointed at.
const DAYS_AHEAD: i64 = 30;
const DAY_S: i64 = 24 * 60 * 60;
/// Largest file that is looked into, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Every file with certificates, keys or passwords, each once.
pub(super) fn named(config: &Config) -> Vec<PathBuf> {
    let gateway = &config.gateway;
    let mut all = vec![config.ledger.key.clone()];
    all.extend([&gateway.tls_certificate, &gateway.tls_key, &config.database.url_file].into_iter().flatten().cloned());
    for connector in &config.connectors {
        all.extend(connector.clone().files_mut().into_iter().map(|file| file.clone()));
    }
    let mut notify = config.notify.clone();
    all.extend(notify.iter_mut().flat_map(NotifyConfig::files_mut).map(|file| file.clone()));
    all.sort();
    all.dedup();
    all
}

pub(super) fn findings(files: &[PathBuf], now: TimeMs) -> Vec<Finding> {
    files.iter().map(|file| finding(file, i64::try_from(now / 1_000).unwrap_or(i64::MAX))).collect()
}

fn finding(file: &Path, now_s: i64) -> Finding {
    let about = file.display().to_string();
    let read = std::fs::metadata(file).and_then(|of| {
        let small = of.is_file() && of.len() <= FILE_BYTES_MAX;
        let text = if small { std::fs::read(file)? } else { Vec::new() };
        Ok((of.permissions().mode() & 0o7777, text))
    });
    let (mode, text) = match read {
        Ok(read) => read,
        Err(error) => return Finding::bad(about, format!("no readable file ({})", error.kind()), "the file"),
    };
    let mut ends = Vec::new();
    let mut secret = false;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
        match section {
            Ok((SectionKind::Certificate, der)) => match parse_x509_certificate(&der) {
                Ok((_, certificate)) => {
                    let validity = certificate.validity();
                    ends.push((validity.not_after.timestamp(), validity.not_before.timestamp()));
                }
                Err(_) => return Finding::bad(about, "a certificate that does not parse", "certificates in PEM"),
            },
            Ok(_) => secret = true,
            Err(_) => {}
        }
    }
    match ends.iter().min() {
        Some((end, begin)) if !secret => holds(about, (*begin, *end), now_s),
        _ if mode & 0o077 != 0 => {
            let expected = format!("0600, for it is secret: run `chmod 600 {}`", file.display());
            Finding::bad(about, format!("mode {mode:04o}"), expected)
        }
        _ => Finding::good(about, format!("mode {mode:04o}")),
    }
}

/// The certificate of a file that ends first.
fn holds(about: String, (begin, end): (i64, i64), now_s: i64) -> Finding {
    let day = jiff::Timestamp::from_second(end).map(|end| end.strftime("%Y-%m-%d").to_string()).unwrap_or_default();
    let days = (end - now_s) / DAY_S;
    match () {
        () if begin > now_s => {
            Finding::bad(about, "a certificate that does not hold yet", "one that does, or a right clock")
        }
        () if end <= now_s => {
            Finding::bad(about, format!("a certificate that ended on {day}"), "a new one: nobody accepts it")
        }
        () if days < DAYS_AHEAD => Finding::warning(
            about,
            format!("a certificate that ends on {day}, in {days} days"),
            "a new one before that",
        ),
        () => Finding::good(about, format!("holds until {day}")),
    }
}
