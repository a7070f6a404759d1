//! Whoever may hand something in tries to file strangers under a patient whose record it may read: with numbers that nobody has yet,
//! said of a known patient, and with texts that look like names of another kind.

use gateway_server::ingest::Outcome;
use gateway_server::ingest::normalise::client_source;
use gateway_server::store::subjects;
use gateway_vault::Naming;

use crate::journey::{FHIR, HL7, admission, subject_of};
use crate::world::worlds;

const SYSTEM: &str = "urn:oid:1.2.3";

/// A Patient with these numbers.
fn patient(id: &str, numbers: &[(&str, &str)]) -> String {
    let identifiers: Vec<_> =
        numbers.iter().map(|(system, value)| format!(r#"{{"system":"{system}","value":"{value}"}}"#)).collect();
    format!(r#"{{"resourceType":"Patient","id":"{id}","identifier":[{}]}}"#, identifiers.join(","))
}

fn about(contained: &str) -> String {
    format!(
        r##"{{"resourceType":"Observation","id":"o","status":"final","code":{{"text":"x"}},"subject":{{"reference":"#p"}},"contained":[{contained}]}}"##
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_file_a_stranger_under_a_patient_it_knows() {
    for world in worlds().await {
        let running = world.start().await;
        let app = client_source("app");
        assert_eq!(running.send(HL7, &admission("1", "known")).await, Outcome::Received);
        running.idle().await;
        let known = subject_of(&world, &running, "known").await;
        let claims = [
            about(&patient("p", &[(SYSTEM, "known"), (SYSTEM, "stranger-1")])),
            patient("p", &[(SYSTEM, "known"), (SYSTEM, "stranger-2")]),
            // the client's own id is tied to the known one now; a number said of it later is not
            patient("p", &[(SYSTEM, "stranger-3")]),
            format!(
                r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{}}},{{"resource":{}}}]}}"#,
                patient("q", &[(SYSTEM, "known"), (SYSTEM, "stranger-4")]),
                about(&patient("p", &[(SYSTEM, "stranger-4"), (SYSTEM, "stranger-5")]))
            ),
        ];
        for claim in &claims {
            assert_eq!(running.send_as(&app, FHIR, claim).await, Outcome::Received);
            running.idle().await;
        }
        for (control, stranger) in
            [("2", "stranger-1"), ("3", "stranger-2"), ("4", "stranger-3"), ("5", "stranger-4"), ("6", "stranger-5")]
        {
            assert_eq!(running.send(HL7, &admission(control, stranger)).await, Outcome::Received);
            running.idle().await;
            assert!(subject_of(&world, &running, stranger).await != known, "{stranger} is filed under another patient");
        }
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_another_kind_cannot_be_written_as_an_identifier() {
    for world in worlds().await {
        let running = world.start().await;
        let app = client_source("app");
        // a patient by the id of another source, and the institution's own subject
        assert_eq!(running.send_as("ehr", FHIR, &patient("555", &[])).await, Outcome::Received);
        let supplier = r#"{"resourceType":"Organization","id":"s","name":"nobody's"}"#;
        assert_eq!(running.send_as("ehr", FHIR, supplier).await, Outcome::Received);
        running.idle().await;
        let own =
            [world.vault.alias_of(Naming::Source, "ehr", "555"), world.vault.alias_of(Naming::Institution, "", "")];
        let known = subjects::by_aliases(&running.store, &own).await.expect("read");
        assert_eq!(known.len(), own.len());
        let forged = [("source:ehr", "555"), ("ehr", "555"), ("chartseal", "institution"), ("institution", "")];
        for (at, (system, value)) in forged.into_iter().enumerate() {
            let text = patient(&format!("x{at}"), &[(system, value)]);
            assert_eq!(running.send_as(&app, FHIR, &text).await, Outcome::Received);
            running.idle().await;
            let alias = world.vault.alias_of(Naming::Source, &app, &format!("x{at}"));
            let claimed = subjects::by_aliases(&running.store, &[alias]).await.expect("read");
            assert!(known.values().all(|of| *of != claimed[&alias]), "{system}|{value} is somebody of another kind");
        }
        running.stop().await;
    }
}
