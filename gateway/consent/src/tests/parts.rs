//! The small parts on their own: dates and references.

use super::fixture::json;
use crate::{Reference, Span, Truth};

fn span(text: &str) -> Option<(i64, i64)> {
    Span::of_date(text).map(|s| (s.first_ms, s.last_ms))
}

#[test]
fn dates_are_the_spans_that_they_say() {
    let day = 86_400_000;
    let table = [
        ("1970", (0, 365 * day - 1)),
        ("1970-01", (0, 31 * day - 1)),
        ("1970-01-01", (0, day - 1)),
        ("1969-12-31", (-day, -1)),
        ("2000-02", (951_782_400_000 - 28 * day, 951_782_400_000 + day - 1)),
        ("2000-02-29", (951_782_400_000, 951_782_400_000 + day - 1)),
        ("1970-01-01T00:00:00Z", (0, 999)),
        ("1970-01-01T00:00:00.5Z", (500, 599)),
        ("1970-01-01T00:00:00.123456Z", (123, 123)),
        ("1970-01-01T01:00:00+01:00", (0, 999)),
        ("1969-12-31T19:00:00-05:00", (0, 999)),
        ("1970-01-01T00:00:00+14:00", (-14 * 3_600_000, -14 * 3_600_000 + 999)),
        ("1972-06-30T23:59:60Z", (78_796_799_000, 78_796_799_999)),
        ("9999-12-31", (253_402_214_400_000, 253_402_300_799_999)),
    ];
    for (text, expected) in table {
        assert_eq!(span(text), Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_fhir_date_is_refused() {
    let table = [
        "",
        "20",
        "0000",
        "2024-",
        "2024-13",
        "2024-00",
        "2024-1",
        "2024-02-30",
        "2023-02-29",
        "1900-02-29",
        "2024-01-00",
        "2024-01-01T",
        "2024-01-01T00:00",
        "2024-01-01T00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+1:00",
        "2024-01-01T00:00:00+15:00",
        "2024-01-01T00:00:00+00:60",
        "2024-01-01T00:00:00Zx",
        "2024-01T00:00:00Z",
        "2024T00:00:00Z",
        " 2024",
        "2024 ",
        "+024",
        "2024-01-01 00:00:00Z",
        "２０２４",
        "2024-01-01T00:00:00−05:00",
    ];
    for text in table {
        assert_eq!(span(text), None, "{text}");
    }
}

#[test]
fn references_name_the_same_in_every_spelling() {
    let parse = |text| Reference::parse_under(text, "https://own.example/fhir");
    let local = Some(Reference::local("Patient", "p"));
    assert_eq!(parse("Patient/p"), local);
    assert_eq!(parse("Patient/p/_history/2"), local);
    assert_eq!(parse("https://own.example/fhir/Patient/p"), local);
    assert_eq!(parse("https://own.example/fhir/Patient/p/_history/2"), local);
    let foreign = parse("https://other.example/fhir/Patient/p").expect("a reference");
    assert_eq!(foreign.equals(&Reference::local("Patient", "p")), Truth::Unknown);
    assert_eq!(foreign.equals(&Reference::local("Patient", "q")), Truth::False);
    assert!(matches!(parse("urn:uuid:00000000-0000-0000-0000-000000000000"), Some(Reference::Uri(_))));
    for text in
        ["", "#p", "Patient", "patient/p", "Patient/", "/p", "Patient?identifier=1", "Patient/p q", "a/b/Patient/p"]
    {
        assert_eq!(parse(text), None, "{text}");
    }
    assert_eq!(Reference::all_of(&json(r#"{"display": "p"}"#), ""), []);
}
