//! The typed check: R4 types are known, problems name their element and never a value.

use schemas_fhir::check;

fn problem(resource_type: &str, text: &str) -> (String, String) {
    let problem = check(resource_type, text.as_bytes()).expect_err("must be refused");
    assert!(!format!("{problem} {problem:?}").contains("CANARY"), "a value in an error");
    (problem.code.to_owned(), problem.path)
}

#[test]
fn good_resources_pass() {
    let text = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.00}}"#;
    check("Observation", text.as_bytes()).expect("good");
    check("MedicinalProduct", br#"{"resourceType":"MedicinalProduct"}"#).expect("R4 only");
}

#[test]
fn problems_name_the_element() {
    let cases = [
        ("Observation", r#"{"resourceType":"Observation","code":{"text":"x"}}"#, "missing-element", "status"),
        (
            "Observation",
            r#"{"resourceType":"Observation","status":"CANARY","code":{"text":"x"}}"#,
            "bad-element",
            "status",
        ),
        (
            "Observation",
            r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"component":[{"code":{"text":"a"}},{"code":{"text":["CANARY"]}}]}"#,
            "bad-element",
            "component[1].code.text",
        ),
        ("Patient", r#"{"resourceType":"Patient","birthDate":"CANARY"}"#, "bad-element", "birthDate"),
        ("CANARYType", r#"{"resourceType":"CANARYType"}"#, "unknown-resource-type", "resourceType"),
        ("Citation", r#"{"resourceType":"Citation","status":"draft"}"#, "unknown-resource-type", "resourceType"),
    ];
    for (resource_type, text, code, path) in cases {
        assert_eq!(problem(resource_type, text), (code.to_owned(), path.to_owned()), "{text}");
    }
}

#[test]
fn several_elements_of_one_name_may_be_absent_for_a_reason() {
    let absent =
        r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;
    let header = |source: &str| {
        format!(
            r#"{{"resourceType":"MessageHeader","eventCoding":{{"code":"A01"}},"destination":[{{"name":"X","_endpoint":{absent}}},{{"name":"Y","_endpoint":{absent}}}],"source":{source}}}"#
        )
    };
    let good = header(&format!(r#"{{"name":"ADT","_endpoint":{absent}}}"#));
    assert_eq!(check("MessageHeader", good.as_bytes()), Ok(()));
    assert_eq!(problem("MessageHeader", &header(r#"{"name":"ADT"}"#)).0, "missing-element");
}

#[test]
fn official_examples_pass() {
    let data = std::env::var("CHARTSEAL_DATA").unwrap_or_else(|_| "../../../shared/data".into());
    let Ok(folder) = std::fs::read_dir(std::path::Path::new(&data).join("fhir-r4")) else {
        println!("skipped: no CHARTSEAL_DATA");
        return;
    };
    let mut seen = 0;
    for file in folder.filter_map(Result::ok) {
        let bytes = std::fs::read(file.path()).expect("readable");
        let Ok(tree) = schemas::json::parse(&bytes) else { continue };
        let Some(resource_type) = tree.resource_type() else { continue };
        check(resource_type, &tree.canonical()).unwrap_or_else(|e| panic!("{}: {e}", file.path().display()));
        seen += 1;
    }
    assert!(seen > 0, "no example found");
}
