//! Key files on a real disk: modes, links, overwriting, content; and what the keys in them derive.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use gateway_vault::{Naming, PersonalKey, Vault, VaultError, verify};
use schemas::ErrorClass;
use schemas::genesis::possession_to_sign;
use schemas::id::{CaseId, ChainId, ConsentId, InstitutionId, SubjectId};
use schemas::transaction::{Body, Core, RegisterSubject, RevokeConsent, Signer};

const FILES: [&str; 3] = ["root.key", "institution.key", "gateway.key"];

fn folder() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("keys");
    (temp, dir)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn refused(dir: &Path) -> VaultError {
    Vault::open(dir).err().expect("keys were opened that must be refused")
}

#[test]
fn what_is_created_is_opened_and_private() {
    let (_temp, dir) = folder();
    let made = Vault::create(&dir).unwrap();
    assert_eq!(mode(&dir), 0o700);
    FILES.iter().for_each(|name| assert_eq!(mode(&dir.join(name)), 0o600, "{name}"));
    let opened = Vault::open(&dir).unwrap();
    assert_eq!(opened.institution_key(), made.institution_key());
    assert_eq!(opened.gateway_key(), made.gateway_key());
    assert_ne!(opened.gateway_key(), made.institution_key());
    assert_eq!(opened.logical_id("Patient", &["a"]), made.logical_id("Patient", &["a"]));
    let (id, key, wrapped) = made.new_subject().unwrap();
    let case = CaseId([3; 16]);
    assert_eq!(opened.open_subject(&id, &wrapped).unwrap().tag(&case), key.tag(&case));
}

#[test]
fn looser_modes_are_refused_and_say_what_to_run() {
    let (_temp, dir) = folder();
    Vault::create(&dir).unwrap();
    for (path, good) in FILES.iter().map(|name| (dir.join(name), 0o600)).chain([(dir.clone(), 0o700)]) {
        for loose in [0o040, 0o004, 0o020, 0o002, 0o001, 0o4000].map(|bit| good | bit) {
            fs::set_permissions(&path, Permissions::from_mode(loose)).unwrap();
            let error = refused(&dir);
            assert!(matches!(error, VaultError::Mode { .. }), "{loose:o}: {error}");
            assert!(error.to_string().contains(&format!("`chmod {good:o} {}`", path.display())), "{error}");
            assert_eq!(error.class(), ErrorClass::Caller);
        }
        fs::set_permissions(&path, Permissions::from_mode(good)).unwrap();
    }
    Vault::open(&dir).unwrap();
    fs::set_permissions(dir.join(FILES[0]), Permissions::from_mode(0o400)).unwrap();
    Vault::open(&dir).expect("a tighter mode is fine");
}

#[test]
fn links_and_special_files_are_refused() {
    for name in FILES {
        let (temp, dir) = folder();
        Vault::create(&dir).unwrap();
        let (path, elsewhere) = (dir.join(name), temp.path().join("elsewhere"));
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(matches!(refused(&dir), VaultError::Kind { expected: "file", .. }), "{name}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(refused(&dir), VaultError::Kind { expected: "file", .. }), "{name}");
    }
    let (temp, dir) = folder();
    Vault::create(&dir).unwrap();
    let link = temp.path().join("link");
    symlink(&dir, &link).unwrap();
    assert!(matches!(refused(&link), VaultError::Kind { expected: "folder", .. }));
    assert!(matches!(Vault::create(&link).err().unwrap(), VaultError::Kind { expected: "folder", .. }));
}

#[test]
fn keys_are_never_overwritten() {
    for name in FILES {
        let (temp, dir) = folder();
        drop(Vault::create(&dir).unwrap());
        for other in FILES.iter().filter(|other| **other != name) {
            fs::remove_file(dir.join(other)).unwrap();
        }
        let before = fs::read(dir.join(name)).unwrap();
        assert!(matches!(Vault::create(&dir).err().unwrap(), VaultError::Exists { .. }), "{name}");
        assert_eq!(fs::read(dir.join(name)).unwrap(), before);
        // Not through a dangling link either.
        fs::rename(dir.join(name), temp.path().join("kept")).unwrap();
        symlink(temp.path().join("nowhere"), dir.join(name)).unwrap();
        assert!(matches!(Vault::create(&dir).err().unwrap(), VaultError::Exists { .. }), "{name}");
        assert!(!temp.path().join("nowhere").exists());
    }
    let (temp, _) = folder();
    let path = temp.path().join("patient.key");
    let made = PersonalKey::create(&path).unwrap();
    assert!(matches!(PersonalKey::create(&path).err().unwrap(), VaultError::Exists { .. }));
    assert_eq!(PersonalKey::open(&path).unwrap().public(), made.public());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn absent_and_broken_files_are_named() {
    for name in FILES {
        let (_temp, dir) = folder();
        Vault::create(&dir).unwrap();
        let path = dir.join(name);
        let whole = fs::read(&path).unwrap();
        for broken in
            [&b""[..], b"canary-canary", &whole[..whole.len() / 2], &[0xff; 5000], &[&whole[..], b"x"].concat()]
        {
            fs::write(&path, broken).unwrap();
            let error = refused(&dir);
            assert!(matches!(error, VaultError::Form { .. }), "{name}: {error}");
            assert!(error.to_string().contains(name));
            assert!(!format!("{error} {error:?}").contains("canary"), "the content is a secret");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(refused(&dir), VaultError::File { .. }));
    }
    let (_temp, dir) = folder();
    let absent = refused(&dir);
    assert!(matches!(absent, VaultError::File { .. }));
    assert_eq!(absent.class(), schemas::ErrorClass::Caller, "trying again does not bring keys");
}

#[test]
fn pseudonyms_are_separate_and_unambiguous() {
    let (_temp, dir) = folder();
    let vault = Vault::create(&dir).unwrap();
    let id = vault.logical_id("DiagnosticReport", &["ab", "c"]);
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id} is a FHIR id");
    assert_ne!(id, vault.logical_id("DiagnosticReport", &["a", "bc"]));
    assert_ne!(id, vault.logical_id("DiagnosticReport", &["abc"]));
    assert_ne!(id, vault.logical_id("Observation", &["ab", "c"]));
    assert_ne!(vault.alias("ab", "c"), vault.alias("a", "bc"));
    assert_ne!(vault.alias("x", "y"), vault.blind("x", "y"));
    let kinds = [Naming::Identifier, Naming::Source, Naming::Url, Naming::Institution];
    let aliases: BTreeSet<_> = kinds.into_iter().map(|kind| vault.alias_of(kind, "x", "y")).collect();
    assert_eq!(aliases.len(), kinds.len(), "a name of one kind is that of another");
    let (_other_temp, other_dir) = folder();
    let other = Vault::create(&other_dir).unwrap();
    assert_ne!(other.alias("ab", "c"), vault.alias("ab", "c"));
}

#[test]
fn rows_subjects_and_raw_messages_open_in_their_place_only() {
    let (_temp, dir) = folder();
    let vault = Vault::create(&dir).unwrap();
    let (id, subject, wrapped) = vault.new_subject().unwrap();
    let (other_id, other, _) = vault.new_subject().unwrap();
    assert_ne!(id, other_id);
    assert!(vault.open_subject(&other_id, &wrapped).is_err());
    assert!(vault.open_subject(&SubjectId([0; 16]), &wrapped).is_err());

    let sealed = subject.seal_row(b"unit/summary/1", b"canary").unwrap();
    assert_ne!(sealed, subject.seal_row(b"unit/summary/1", b"canary").unwrap());
    assert_eq!(subject.open_row(b"unit/summary/1", &sealed).unwrap(), b"canary");
    assert!(subject.open_row(b"unit/summary/2", &sealed).is_err());
    assert!(other.open_row(b"unit/summary/1", &sealed).is_err());
    assert!(vault.open_row(b"unit/summary/1", &sealed).is_err());
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(subject.open_row(b"unit/summary/1", &changed).is_err(), "bit {bit}");
    }
    (0..sealed.len())
        .for_each(|cut| assert!(subject.open_row(b"unit/summary/1", &sealed[..cut]).is_err(), "cut {cut}"));

    let (key, wrapped) = vault.new_raw_key(b"row 1").unwrap();
    let raw = vault.seal_raw(&key, b"row 1", b"MSH|").unwrap();
    assert_eq!(vault.open_raw(&wrapped, b"row 1", &raw).unwrap(), b"MSH|");
    assert!(matches!(vault.open_raw(&wrapped, b"row 2", &raw), Err(VaultError::Box { what: "raw key" })));
    let (_, other_wrapped) = vault.new_raw_key(b"row 1").unwrap();
    let error = vault.open_raw(&other_wrapped, b"row 1", &raw).unwrap_err();
    assert!(matches!(error, VaultError::Box { what: "raw message" }));
    assert_eq!(error.class(), ErrorClass::Corrupt);
}

#[test]
fn signatures_are_deterministic_and_in_role() {
    let (temp, dir) = folder();
    let vault = Vault::create(&dir).unwrap();
    let institution = InstitutionId([1; 16]);
    let entry = vault.register("north", institution, vec![]);
    assert!(verify(&vault.institution_key(), &possession_to_sign(&entry.register), &entry.possession));
    assert_eq!(entry, vault.register("north", institution, vec![]));

    let person = PersonalKey::create(&temp.path().join("patient.key")).unwrap();
    let (subject, _, _) = vault.new_subject().unwrap();
    let key = Some(person.public());
    let body = Body::RegisterSubject(RegisterSubject { subject, institution, key, guardians: vec![] });
    let core = Core { chain: ChainId([2; 32]), valid_until: 9, body };
    let mut transaction = vault.sign(core, Signer::Institution(institution)).unwrap();
    person.countersign(&mut transaction, Signer::NewKey);
    let message = schemas::cose::transaction_to_sign(&ChainId([2; 32]), &transaction.id());
    assert!(verify(&vault.institution_key(), &message, &transaction.signatures[0].signature));
    assert!(verify(&person.public(), &message, &transaction.signatures[1].signature));
    assert!(!verify(&person.public(), &message, &transaction.signatures[0].signature));

    let body = Body::RevokeConsent(RevokeConsent { consent: ConsentId([1; 16]), subject });
    let core = Core { chain: ChainId([2; 32]), valid_until: 9, body };
    for signer in [Signer::Subject(subject), Signer::NewKey, Signer::Gateway(person.public())] {
        assert!(matches!(vault.sign(core.clone(), signer), Err(VaultError::Role)));
    }
    let signed = person.sign(core.clone(), Signer::Subject(subject));
    let message = schemas::cose::transaction_to_sign(&ChainId([2; 32]), &signed.id());
    assert!(verify(&person.public(), &message, &signed.signatures[0].signature));
    vault.sign(core, Signer::Gateway(vault.gateway_key())).unwrap();
}

/// Compiles only while none of the key types can be printed: with Debug or Display the two impls become ambiguous.
#[test]
fn keys_cannot_be_printed() {
    trait Unprintable<A> {
        const UNPRINTABLE: bool = true;
    }
    struct IfDebug;
    struct IfDisplay;
    impl<T: ?Sized> Unprintable<()> for T {}
    impl<T: ?Sized + std::fmt::Debug> Unprintable<IfDebug> for T {}
    impl<T: ?Sized + std::fmt::Display> Unprintable<IfDisplay> for T {}
    const _: () = assert!(<Vault as Unprintable<_>>::UNPRINTABLE);
    const _: () = assert!(<PersonalKey as Unprintable<_>>::UNPRINTABLE);
    const _: () = assert!(<gateway_vault::SubjectKey as Unprintable<_>>::UNPRINTABLE);
    const _: () = assert!(<gateway_vault::RawKey as Unprintable<_>>::UNPRINTABLE);
    const _: () = assert!(<gateway_vault::OpenCase<'static> as Unprintable<_>>::UNPRINTABLE);
}
