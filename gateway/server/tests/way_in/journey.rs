//! What arrives is anchored and indexed once; what cannot be taken is kept with a reason; nothing is readable at rest.

use std::path::Path;

use gateway_server::dead_letters::hint;
use gateway_server::ingest::Outcome;
use gateway_server::store::dead_letters::{self, Filter};
use gateway_server::store::inbox::{State, Which, has_brought, passing};
use gateway_server::store::summaries::{self, Reader};
use gateway_server::store::{anchors, cases, subjects, units};
use ledger_proof::verify_receipt;
use schemas::id::SubjectId;

use crate::world::{Running, World, worlds};

pub const HL7: &str = "application/hl7-v2+er7";
pub const FHIR: &str = "application/fhir+json";

/// Text that must be found nowhere at rest.
const CANARIES: [&str; 3] = ["Canaryfamily", "CANARY-4711", "Canarystreet"];

pub fn admission(control: &str, patient: &str) -> String {
    format!(
        "MSH|^~\\&|ADT|HOSP|X|Y|20240101120000||ADT^A01^ADT_A01|{control}|P|2.5\rEVN|A01|20240101120000\r\
         PID|1||{patient}^^^HOSP^MR||Canaryfamily^Jane||19800101|F|||Canarystreet 1\rPV1|1|I|W^1^1||||||||||||||||V{control}\r"
    )
}

fn observation(id: &str, version: &str, status: &str, time: &str, patient: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","meta":{{"versionId":"{version}","lastUpdated":"{time}"}},"status":"{status}","code":{{"text":"{status}"}},"subject":{{"identifier":{{"system":"urn:oid:1.2.3","value":"{patient}"}}}}}}"#
    )
}

pub async fn subject_of(world: &World, running: &Running, patient: &str) -> SubjectId {
    let alias = world.vault.alias("urn:oid:1.2.3", patient);
    let found = subjects::by_aliases(&running.store, &[alias]).await.expect("read");
    *found.get(&alias).expect("the patient is known")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hl7_and_fhir_become_cases_of_one_subject() {
    for world in worlds().await {
        let running = world.start().await;
        assert_eq!(running.send(HL7, &admission("1", "CANARY-4711")).await, Outcome::Received);
        let final_one = observation("o", "1", "final", "2024-01-02T10:00:00Z", "CANARY-4711");
        assert_eq!(running.send(FHIR, &final_one).await, Outcome::Received);
        let late = observation("o", "2", "preliminary", "2024-01-02T11:00:00Z", "CANARY-4711");
        assert_eq!(running.send(FHIR, &late).await, Outcome::Received);
        running.idle().await;
        let subject = subject_of(&world, &running, "CANARY-4711").await;
        let of_subject = cases::of_subject(&running.store, &subject, 10).await.expect("read");
        assert_eq!(of_subject.len(), 3);
        for case in &of_subject {
            let receipt = anchors::receipt(&running.store, case).await.expect("a receipt");
            let verified = verify_receipt(receipt.as_bytes(), &world.ledger.genesis).expect("the receipt verifies");
            assert_eq!(verified.case, case.case);
            let object = running.objects.get_from(&case.extent, &case.object).await.expect("the object is there");
            assert!(!CANARIES.iter().any(|canary| contains(&object, canary)));
        }
        let observations = units::heads(&running.store, &subject, Some("Observation")).await.expect("read");
        assert_eq!(observations.len(), 1);
        let row = subjects::get(&running.store, &subject).await.expect("read").expect("there");
        let key = world.vault.open_subject(&subject, &row.wrapped_key).expect("opens");
        let head = &observations[0];
        let sealed = summaries::get(&running.store, &[head.case]).await.expect("read");
        let summary = Reader::new(&key).read(&head.case, head.unit, &sealed[&head.case]).expect("opens");
        assert_eq!(summary.matched.text("status"), Some("final"), "a late preliminary does not replace a final");
        assert_no_raw_left(&running).await;
        running.stop().await;
        assert_nothing_readable(world.folder.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_word_on_a_final_result_counts_in_whatever_order_they_arrive() {
    // status and hour of what is said, in the order of arrival; which of them counts in the end
    let stories: [(&[(&str, u8)], usize); 6] = [
        (&[("final", 9), ("entered-in-error", 10), ("final", 11)], 2),
        (&[("final", 11), ("final", 9), ("entered-in-error", 10)], 0),
        (&[("corrected", 10), ("final", 9)], 0),
        (&[("cancelled", 9), ("preliminary", 11), ("final", 10)], 2),
        (&[("preliminary", 9), ("final", 10), ("preliminary", 11)], 1),
        (&[("final", 9), ("amended", 10), ("corrected", 11), ("amended", 8)], 2),
    ];
    for world in worlds().await {
        let running = world.start().await;
        for (n, (said, _)) in stories.iter().enumerate() {
            for (version, (status, hour)) in said.iter().enumerate() {
                let time = format!("2024-01-02T{hour:02}:00:00Z");
                let text = observation(&format!("o{n}"), &format!("v{version}"), status, &time, &format!("p{n}"));
                assert_eq!(running.send(FHIR, &text).await, Outcome::Received);
                running.idle().await;
            }
        }
        for (n, (said, counts)) in stories.iter().enumerate() {
            let subject = subject_of(&world, &running, &format!("p{n}")).await;
            let heads = units::heads(&running.store, &subject, Some("Observation")).await.expect("read");
            let time: jiff::Timestamp = format!("2024-01-02T{:02}:00:00Z", said[*counts].1).parse().expect("a time");
            assert_eq!(
                heads.iter().map(|head| head.event_time).collect::<Vec<_>>(),
                [time.as_millisecond()],
                "{said:?}"
            );
        }
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_without_a_name_have_keys_of_their_own() {
    let message = |patient: &str| {
        format!(
            "MSH|^~\\&|||X|Y|||ADT^A01^ADT_A01|77|P|2.5\rEVN|A01|20240101120000\rPID|1||{patient}^^^HOSP^MR\rPV1|1|I\r"
        )
    };
    for world in worlds().await {
        let running = world.start().await;
        assert_eq!(running.send_as("north", HL7, &message("a")).await, Outcome::Received);
        assert_eq!(running.send_as("south", HL7, &message("b")).await, Outcome::Received);
        assert_eq!(running.send_as("north", HL7, &message("a")).await, Outcome::Duplicate);
        assert_eq!(running.send_as("north", HL7, &message("c")).await, Outcome::Conflict);
        running.indexed(2).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_dropped_and_conflicts_kept_aside() {
    for world in worlds().await {
        let running = world.start().await;
        let message = admission("1", "a");
        assert_eq!(running.send(HL7, &message).await, Outcome::Received);
        assert_eq!(running.send(HL7, &message).await, Outcome::Duplicate);
        assert_eq!(running.send(HL7, &admission("1", "b")).await, Outcome::Conflict);
        running.idle().await;
        assert_eq!(running.send(HL7, &message).await, Outcome::Duplicate);
        assert_eq!(running.send(HL7, &admission("1", "b")).await, Outcome::Conflict);
        assert_eq!(cases::count(&running.store).await.expect("read"), 1);
        let aside = dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        assert_eq!(aside.iter().map(|line| line.code.as_str()).collect::<Vec<_>>(), ["same-key-other-content"]);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_source_sent_says_nothing_about_anothers() {
    for world in worlds().await {
        let running = world.start().await;
        let without_key = r#"{"resourceType":"Patient","name":[{"family":"Canaryfamily"}]}"#;
        assert_eq!(running.send_as("ehr", FHIR, without_key).await, Outcome::Received);
        assert_eq!(running.send_as("ehr", FHIR, without_key).await, Outcome::Duplicate);
        assert_eq!(running.send_as("lab", FHIR, without_key).await, Outcome::Received);
        running.idle().await;
        assert_eq!(cases::count(&running.store).await.expect("read"), 2);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_type_that_no_database_takes_holds_nothing_up() {
    for world in worlds().await {
        let running = world.start().await;
        assert_eq!(running.send("application/\0", &admission("1", "a")).await, Outcome::Received);
        running.indexed(1).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_content_type_no_word_of_the_sender_is_kept() {
    for world in worlds().await {
        let running = world.start().await;
        let body = r#"{"resourceType":"Patient","id":"a","name":[{"family":"Canaryfamily"}]}"#;
        let stated = ["application/fhir+json; of=Canaryfamily", "image/png; of=Canaryfamily", "Canaryfamily"];
        for (at, stated) in stated.iter().enumerate() {
            let body = body.replace("\"a\"", &format!("\"{at}\""));
            assert_eq!(running.send(stated, &body).await, Outcome::Received);
        }
        running.indexed(2).await;
        running.idle().await;
        let aside = dead_letters::list(&running.store, &Filter::default(), 0, 20).await.expect("read");
        assert_eq!(aside.iter().map(|letter| letter.content_type.as_str()).collect::<Vec<_>>(), ["image/png"]);
        running.stop().await;
        assert_nothing_readable(world.folder.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_is_kept_with_code_and_place() {
    for world in worlds().await {
        let running = world.start().await;
        let large = format!(r#"{{"resourceType":"Basic","id":"{}"}}"#, "x".repeat(2 << 20));
        assert_eq!(running.send(FHIR, &large).await, Outcome::TooLarge);
        let refused = [
            (FHIR, r#"{"resourceType":"Patient""#.to_owned()),
            (FHIR, r#"{"resourceType":"Observation","code":{"text":"Canaryfamily"}}"#.to_owned()),
            (FHIR, format!("{}1{}", "[".repeat(200), "]".repeat(200))),
            (HL7, "PID|1||Canaryfamily".to_owned()),
            (HL7, "MSH|^~\\&|A|B|C|D|20240101||ZZZ^Z99|9|P|2.5\r".to_owned()),
            ("image/png", "Canaryfamily".to_owned()),
            ("", String::new()),
        ];
        for (content_type, body) in &refused {
            assert_eq!(running.send(content_type, body).await, Outcome::Received, "{content_type}");
        }
        assert_eq!(running.send(FHIR, r#"{"resourceType":"Bundle","type":"batch"}"#).await, Outcome::Received);
        assert_eq!(running.send(HL7, &admission("2", "a")).await, Outcome::Received);
        running.idle().await;
        let aside = dead_letters::list(&running.store, &Filter::default(), 0, 20).await.expect("read");
        assert_eq!(aside.len(), refused.len() + 1);
        assert!(aside.iter().all(|line| !line.code.is_empty() && !line.path.is_empty()));
        assert!(aside.iter().any(|line| line.code == "missing-element" && line.path == "Observation.status"));
        let unknown = hint("of a newer program");
        assert!(aside.iter().all(|line| hint(&line.code) != unknown), "what to do is said of each");
        let tapped = passing(&running.store, "ehr", Which::Newest, 100).await.expect("read");
        let refused_now: Vec<_> = tapped.iter().filter(|one| one.state == State::Quarantined as i64).collect();
        assert_eq!(refused_now.len(), refused.len());
        assert!(tapped.iter().all(|one| one.code.is_some() == (one.state == State::Quarantined as i64)), "{tapped:?}");
        let ids = [refused_now[0].id, refused_now[1].id];
        let these = passing(&running.store, "ehr", Which::These(&ids), 100).await.expect("read");
        assert_eq!(these.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
        assert!(passing(&running.store, "lab", Which::These(&ids), 100).await.expect("read").is_empty());
        assert!(has_brought(&running.store, "ehr").await.expect("read"));
        assert!(!has_brought(&running.store, "lab").await.expect("read"));
        let seen = format!("{aside:?}");
        assert!(!CANARIES.iter().any(|canary| seen.contains(canary)));
        assert_eq!(cases::count(&running.store).await.expect("read"), 1, "the good one behind them is not held up");
        running.stop().await;
        assert_nothing_readable(world.folder.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_about_several_patients_is_a_case_for_each() {
    for world in worlds().await {
        let running = world.start().await;
        let patient = |id: &str| {
            format!(r#"{{"resource":{{"resourceType":"Patient","id":"{id}","name":[{{"family":"Canaryfamily"}}]}}}}"#)
        };
        let bundle =
            format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{},{}]}}"#, patient("a"), patient("b"));
        assert_eq!(running.send(FHIR, &bundle).await, Outcome::Received);
        running.indexed(2).await;
        running.idle().await;
        let all = cases::after(&running.store, 0, 10).await.expect("read");
        assert_eq!(all.len(), 2);
        assert_ne!(all[0].subject, all[1].subject);
        running.stop().await;
        assert_nothing_readable(world.folder.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_known_patients_in_one_are_not_mixed() {
    for world in worlds().await {
        let running = world.start().await;
        running.send(HL7, &admission("1", "a")).await;
        running.send(HL7, &admission("2", "b")).await;
        let both = r#"{"resourceType":"Patient","identifier":[{"system":"urn:oid:1.2.3","value":"a"},{"system":"urn:oid:1.2.3","value":"b"}]}"#;
        running.send(FHIR, both).await;
        running.idle().await;
        let aside = dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        assert_eq!(aside.iter().map(|line| line.code.as_str()).collect::<Vec<_>>(), ["identity-conflict"]);
        running.stop().await;
    }
}

async fn assert_no_raw_left(running: &Running) {
    let sql = "SELECT (SELECT COUNT(*) FROM inbox WHERE raw_key IS NOT NULL) + (SELECT COUNT(*) FROM inbox_raw)";
    let row = sqlx::query(sql).fetch_one(running.store.reader()).await.expect("read");
    assert_eq!(sqlx::Row::try_get::<i64, _>(&row, 0).expect("a count"), 0);
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn assert_nothing_readable(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            assert_nothing_readable(&path);
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        for canary in CANARIES {
            assert!(!contains(&bytes, canary), "{canary} in {}", path.display());
        }
    }
}
