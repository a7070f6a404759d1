//! Keeps the house as `../shared/design/architecture.md` §2 and the README say: who may depend on whom, what stands at the
//! top, how a source file opens, how long it may be, what it must not contain. Reads files only; builds and runs nothing.

mod exceptions;
mod layout;
mod lexer;
mod manifest;
mod rules;
mod source;

use std::path::{Path, PathBuf};

/// The workspace that this test belongs to.
fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

fn nothing_wrong(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{} {what}:\n  {}", found.len(), found.join("\n  "));
}

#[test]
fn the_top_level_is_as_fixed() {
    nothing_wrong("at the top level", &layout::check(&workspace()));
}

#[test]
fn dependencies_point_one_way() {
    nothing_wrong("in manifests", &manifest::check(&workspace()));
}

#[test]
fn sources_keep_the_rules() {
    let files = source::files(&workspace());
    assert!(files.len() > 50, "found {} source files, expected the whole workspace", files.len());
    nothing_wrong("in sources", &rules::check(&files));
}

#[test]
fn every_exception_is_still_needed() {
    nothing_wrong("exceptions without a cause", &rules::unused_exceptions(&source::files(&workspace())));
}

#[test]
fn a_house_out_of_order_is_seen() {
    let root = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in rules::BROKEN_HOUSE {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("created");
        std::fs::write(path, text).expect("written");
    }
    let mut found = layout::check(root.path());
    found.extend(manifest::check(root.path()));
    found.extend(rules::check(&source::files(root.path())));
    for expected in rules::BROKEN_HOUSE_FINDINGS {
        assert!(found.iter().any(|f| f.contains(expected)), "not seen: {expected}\nseen: {found:#?}");
    }
    assert_eq!(found.len(), rules::BROKEN_HOUSE_FINDINGS.len(), "{found:#?}");
}
