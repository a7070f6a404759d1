//! Lossless JSON: what goes in comes out, the canonical form is one, and what JSON forbids is refused with its place.

use std::path::PathBuf;

use proptest::prelude::*;
use schemas::json::{JsonErrorKind, Number, Object, Value, parse};
use schemas::limits;

fn number() -> impl Strategy<Value = Value> {
    "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?"
        .prop_map(|token| Value::Number(Number::from_token(&token).expect("the grammar")))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        any::<String>().prop_map(Value::from),
        "[\\x00-\\x1f\"\\\\/\u{7f}-\u{ff}\u{d7ff}\u{e000}\u{10ffff}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| {
                Value::from(members.into_iter().map(|(name, value)| (name.into(), value)).collect::<Object>())
            }),
        ]
    })
}

/// The same with all members in another order.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(reversed).collect()),
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().map(|(k, v)| (k.to_owned().into(), reversed(v))).collect();
            members.reverse();
            Value::Object(members.into_iter().collect())
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(value in value()) {
        let bytes = value.to_bytes();
        prop_assert_eq!(parse(&bytes).expect("our own"), value);
    }

    #[test]
    fn the_canonical_form_is_one(value in value()) {
        let canonical = value.canonical();
        let again = parse(&canonical).expect("our own");
        prop_assert_eq!(again.canonical(), canonical.clone());
        prop_assert_eq!(again.to_bytes(), canonical.clone(), "canonical order is the written order");
        prop_assert_eq!(reversed(&value).canonical(), canonical);
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = parse(&bytes) {
            prop_assert_eq!(parse(&value.to_bytes()).expect("our own"), value);
        }
    }

    #[test]
    fn damaged_json_never_panics(value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = value.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(value) = parse(&bytes) {
            prop_assert_eq!(parse(&value.to_bytes()).expect("our own"), value);
        }
        let _ = parse(&bytes[..at]).is_ok();
    }
}

fn refused(text: &str) -> JsonErrorKind {
    parse(text.as_bytes()).expect_err("refused").kind
}

#[test]
fn what_json_forbids_is_refused() {
    for text in ["01", "-", "1.", ".5", "1e", "+1", "0x1", "NaN", "Infinity", "1.e5", "--1"] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
        assert!(Number::from_token(text).is_none(), "{text}");
    }
    for text in ["\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\x41\"", "\"\\u12g4\""] {
        assert_eq!(refused(text), JsonErrorKind::BadEscape, "{text}");
    }
    for text in ["[1,]", "{\"a\":1,}", "{a:1}", "[1 2]", "'a'", "\"a\nb\"", "\"a\tb\"", "tru_", "/**/1", "\u{feff}1"] {
        assert_eq!(refused(text), JsonErrorKind::Unexpected, "{text}");
    }
    for text in ["", " ", "[", "{", "\"a", "[1,", "{\"a\"", "{\"a\":", "tr"] {
        assert_eq!(refused(text), JsonErrorKind::Truncated, "{text}");
    }
    assert_eq!(refused("{} {}"), JsonErrorKind::Trailing);
    assert_eq!(parse(b"\"\xff\"").expect_err("refused").kind, JsonErrorKind::NotUtf8);
    assert_eq!(parse(b"\"\xed\xa0\x80\"").expect_err("refused").kind, JsonErrorKind::NotUtf8);
}

#[test]
fn a_name_twice_is_refused_in_whatever_spelling() {
    let error = parse(br#"{"entry":[{},{"status":1,"st\u0061tus":2}]}"#).expect_err("refused");
    assert_eq!((error.kind, error.path.as_str()), (JsonErrorKind::DuplicateName, "entry[1].status"));
    let many: Vec<_> = (0..200).map(|i| format!("\"n{i}\":1")).collect();
    assert!(parse(format!("{{{}}}", many.join(",")).as_bytes()).is_ok());
    assert_eq!(refused(&format!("{{{},\"n7\":1}}", many.join(","))), JsonErrorKind::DuplicateName);
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(limits::JSON_DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(refused(&nested(limits::JSON_DEPTH_MAX + 1)), JsonErrorKind::TooDeep);
    assert_eq!(refused(&"[".repeat(1_000_000)), JsonErrorKind::TooDeep);
    assert_eq!(refused(&"{\"a\":".repeat(100_000)), JsonErrorKind::TooDeep);
}

#[test]
fn errors_show_no_values() {
    for text in ["{\"name\":[{\"family\":\"Secret\\q\"}]}", "{\"Mrs Secret\":1,\"Mrs Secret\":2}", "{\"a\":Secret}"] {
        let error = parse(text.as_bytes()).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("Secret"), "{error:?}");
    }
    let value = parse(br#"{"family":"Secret","n":4711}"#).expect("good");
    let shown = format!("{value:?}");
    assert!(!shown.contains("Secret") && !shown.contains("4711"), "{shown}");
}

#[test]
fn numbers_keep_their_digits() {
    let text = r#"[1.00,1E400,-0,0.10,123456789012345678901234567890]"#;
    assert_eq!(parse(text.as_bytes()).expect("good").canonical(), text.as_bytes());
}

/// RFC 8785's vectors. Numbers are ours to keep as written, so they are compared without.
#[test]
fn jcs_vectors() {
    let data = std::env::var_os("CHARTSEAL_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let vectors = data.join("vectors/jcs");
    if !vectors.exists() {
        println!("skipped: no CHARTSEAL_DATA");
        return;
    }
    let mut count = 0;
    for entry in std::fs::read_dir(vectors.join("input")).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let input = std::fs::read(vectors.join("input").join(&name)).expect("a file");
        let expected = std::fs::read(vectors.join("output").join(&name)).expect("a file");
        let (input, output) = (parse(&input).expect("good"), parse(&expected).expect("good"));
        assert_eq!(output.to_bytes(), expected, "{name:?}: strings and order, verbatim");
        assert_eq!(without_numbers(&input).canonical(), without_numbers(&output).to_bytes(), "{name:?}");
        count += 1;
    }
    assert!(count >= 6);
}

fn without_numbers(value: &Value) -> Value {
    match value {
        Value::Number(_) => Value::from(0),
        Value::Array(items) => Value::Array(items.iter().map(without_numbers).collect()),
        Value::Object(object) => {
            Value::Object(object.iter().map(|(k, v)| (k.to_owned().into(), without_numbers(v))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn a_name_that_no_element_has_is_not_shown() {
    for (text, path) in [
        (r#"{"resourceType":"Patient","genHaddad":tru}"#, "?"),
        (r#"{"name":[{"family, Haddad":tru}]}"#, "name[0].?"),
        (r#"{"name":[{"family":tru}],"_birthDate":0}"#, "name[0].family"),
        (r#"{"_birthDate":tru}"#, "_birthDate"),
    ] {
        let error = schemas::json::parse(text.as_bytes()).expect_err("broken");
        assert_eq!(error.path, path, "{text}");
    }
}

#[test]
fn an_object_of_many_members_is_gathered_in_proportion_to_them_and_as_before() {
    let many = 60_000_u64;
    let begun = std::time::Instant::now();
    let twice = (0..many).chain(0..many).map(|n| (format!("urn:uuid:{n}").into(), Value::from(n)));
    let object: Object = twice.chain([("urn:uuid:7".into(), Value::Null)]).collect();
    // without a map each name is compared with all before it: minutes
    assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(object.len() as u64, many);
    assert!(
        object.get("urn:uuid:7") == Some(&Value::Null)
            && object.iter().nth(7).is_some_and(|(name, _)| name.ends_with(":7"))
    );
}
