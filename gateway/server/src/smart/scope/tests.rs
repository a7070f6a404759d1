//! Scopes: every order of letters, contexts, v1 words, categories, and that a grant never widens.

use schemas::json::parse;

use super::*;

#[test]
fn letters_must_stand_in_order_and_once() {
    let letters = ["c", "r", "u", "d", "s"];
    for bits in 1_u8..32 {
        let in_order: String =
            letters.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, l)| *l).collect();
        let scope = Scope::parse(&format!("system/Observation.{in_order}")).expect("in order");
        assert_eq!(scope.to_string(), format!("system/Observation.{in_order}"));
        let reversed: String = in_order.chars().rev().collect();
        if reversed != in_order {
            assert_eq!(Scope::parse(&format!("system/Observation.{reversed}")), Err(ScopeError::Shape));
        }
        assert_eq!(Scope::parse(&format!("system/Observation.{in_order}{in_order}")), Err(ScopeError::Shape));
    }
}

#[test]
fn what_is_no_scope_is_refused() {
    for text in [
        "Observation.rs",
        "system/Observation",
        "system/.rs",
        "system/observation.rs",
        "system/Observation.",
        "system/Observation.dus",
        "system/Observation.rd.s",
        "system/Observation.rs?code=1",
        "system/Observation.rs?category=",
        "system/Observation.rs?category=a&status=final",
        "system/Observation.rs?category=a,b",
        "launch/patient.r",
        "system/Obs-ervation.rs",
        "system//Observation.rs",
    ] {
        assert_eq!(Scope::parse(text), Err(ScopeError::Shape), "{text}");
    }
    assert_eq!(Scopes::parse("system/*.rs patient/*.rs"), Err(ScopeError::Context));
    assert_eq!(Scope::parse("user/Observation.rs"), Err(ScopeError::Context));
}

#[test]
fn old_words_are_mapped() {
    assert_eq!(Scope::parse("system/Patient.read"), Scope::parse("system/Patient.rs"));
    assert_eq!(Scope::parse("system/Patient.write"), Scope::parse("system/Patient.cud"));
    assert_eq!(Scope::parse("system/*.*"), Scope::parse("system/*.cruds"));
}

#[test]
fn a_grant_is_never_wider_than_request_or_registration() {
    let registered = Scopes::parse("system/Observation.rs?category=lab system/Patient.r").expect("registered");
    let granted = Scopes::parse("system/*.cruds").expect("asked").granted_by(&registered);
    assert_eq!(granted.to_string(), "system/Observation.rs?category=lab system/Patient.r");
    let other = Scopes::parse("system/Observation.rs?category=vital-signs").expect("asked").granted_by(&registered);
    assert!(other.is_empty());
    let write = Scopes::parse("system/Patient.cu").expect("asked").granted_by(&registered);
    assert!(write.is_empty());
}

#[test]
fn nobody_invites_by_a_wildcard() {
    let (wide, named) = (Scopes::parse("system/*.cruds"), Scopes::parse("system/PatientKey.c"));
    let (wide, named) = (wide.expect("scope"), named.expect("scope"));
    assert!(!wide.covers(PATIENT_KEY, Interaction::Create));
    assert!(named.covers(PATIENT_KEY, Interaction::Create));
    assert!(named.granted_by(&wide).is_empty(), "a client of all types asks for it");
    assert!(wide.granted_by(&named).is_empty(), "a client of it asks for all types");
    assert!(named.granted_by(&named).covers(PATIENT_KEY, Interaction::Create));
}

#[test]
fn category_is_looked_at_on_the_resource() {
    let scopes = Scopes::parse("system/Observation.rs?category=http://x|laboratory").expect("scope");
    let lab = parse(br#"{"category":[{"coding":[{"system":"http://x","code":"laboratory"}]}]}"#).expect("json");
    let vital = parse(br#"{"category":[{"coding":[{"system":"http://x","code":"vital-signs"}]}]}"#).expect("json");
    let other = parse(br#"{"category":[{"coding":[{"system":"http://y","code":"laboratory"}]}]}"#).expect("json");
    assert!(scopes.covers_resource("Observation", Interaction::Search, &lab));
    assert!(!scopes.covers_resource("Observation", Interaction::Search, &vital));
    assert!(!scopes.covers_resource("Observation", Interaction::Search, &other));
    assert!(!scopes.covers_resource("Condition", Interaction::Search, &lab));
    assert!(!scopes.covers_resource("Observation", Interaction::Update, &lab));
}
