//! What was refused can go its way again once a table for it is there; what a hospital says about who is who is kept and can be taken
//! back.

use std::sync::Arc;

use connectors_hl7v2::Mapper;
use gateway_server::dead_letters::Retried;
use gateway_server::ingest::Outcome;
use gateway_server::store::dead_letters::{self, Filter};
use gateway_server::store::{cases, merges};

use crate::journey::{FHIR, HL7, admission, subject_of};
use crate::world::{normaliser, worlds};

const OWN: &str = "MSH|^~\\&|ADT|HOSP|X|Y|20240101120000||ADT^Z33|9|P|2.5\rPID|1||4711^^^HOSP^MR||Canaryfamily^Jane\r";
const TABLE: &str = "message ADT_Z33\non ADT^Z33\ntime MSH-7\nMSH makes Bundle, MessageHeader\nPID makes Patient\n";
/// All that there are.
const ALL: (i64, i64) = (0, i64::MAX);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_mapping_and_a_retry_empty_the_dead_letters() {
    for world in worlds().await {
        let running = world.start().await;
        assert_eq!(running.send(HL7, OWN).await, Outcome::Received);
        assert_eq!(running.send(HL7, &admission("1", "a")).await, Outcome::Received);
        assert_eq!(running.send(HL7, &admission("1", "b")).await, Outcome::Conflict);
        running.indexed(1).await;
        running.idle().await;
        let list = async || dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        assert_eq!(list().await.len(), 2);

        let unmended =
            running.ingest.retry(Filter { code: Some("unsupported-message".into()), ..Filter::default() }, ALL);
        let (retried, _) = unmended.await.expect("retried");
        assert_eq!(retried, Retried { retried: 1, left: 0 });
        running.idle().await;
        let again = list().await;
        let of_own = again.iter().find(|letter| letter.code == "unsupported-message").expect("refused again");
        assert_eq!(of_own.attempts, 1);

        let mapper = Mapper::with_tables(&[("messages/ADT_Z33.map".to_owned(), TABLE.to_owned())]).expect("a table");
        running.tables.send_replace(Arc::new(normaliser(mapper)));
        let (retried, _) = running.ingest.retry(Filter::default(), ALL).await.expect("retried");
        assert_eq!(retried, Retried { retried: 1, left: 1 }, "a conflict has no place to go back to");
        running.indexed(2).await;
        running.idle().await;
        assert_eq!(list().await.iter().map(|l| l.code.as_str()).collect::<Vec<_>>(), ["same-key-other-content"]);
        assert_eq!(running.send(HL7, OWN).await, Outcome::Duplicate, "its key is known");
        running.stop().await;

        // what was given back and not sealed goes on at the next start
        let running = world.start().await;
        assert_eq!(cases::count(&running.store).await.expect("read"), 2);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sites_table_makes_and_fhir_does_not_know_is_not_sealed() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/mappings/segments/PID.map");
    let table = std::fs::read_to_string(table).expect("our own table");
    let broken = table.replacen("gender     <-", "active[] <-", 1);
    assert_ne!(table, broken);
    for world in worlds().await {
        let running = world.start().await;
        let own =
            |text: &str| Mapper::with_tables(&[("segments/PID.map".to_owned(), text.to_owned())]).expect("it links");
        running.tables.send_replace(Arc::new(normaliser(own(&broken))));
        assert_eq!(running.send(HL7, &admission("1", "a")).await, Outcome::Received);
        running.idle().await;
        let list = async || dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        let letters = list().await;
        let told = letters.iter().map(|l| (l.code.as_str(), l.path.as_str())).collect::<Vec<_>>();
        assert_eq!(told, [("bad-mapping", "Patient.active")]);
        running.tables.send_replace(Arc::new(normaliser(own(&format!("{table}\n# mended\n")))));
        let (retried, _) = running.ingest.retry(Filter::default(), ALL).await.expect("retried");
        assert_eq!(retried, Retried { retried: 1, left: 0 });
        running.indexed(1).await;
        assert_eq!(list().await, []);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_joins_two_subjects_and_is_taken_back() {
    for world in worlds().await {
        let running = world.start().await;
        running.send(HL7, &admission("1", "a")).await;
        running.send(HL7, &admission("2", "b")).await;
        let about = |kind: &str, control: &str, segments: &str| {
            format!("MSH|^~\\&|ADT|HOSP|X|Y|20240102120000||{kind}|{control}|P|2.5\rEVN||20240102120000\r{segments}\r")
        };
        let merge = about("ADT^A40^ADT_A39", "3", "PID|1||a^^^HOSP^MR||Canaryfamily^Jane\rMRG|b^^^HOSP^MR");
        assert_eq!(running.send(HL7, &merge).await, Outcome::Received);
        running.indexed(3).await;
        running.idle().await;
        let aside = dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        assert_eq!(aside, [], "two known patients are no conflict where one replaces the other");
        let (a, b) = (subject_of(&world, &running, "a").await, subject_of(&world, &running, "b").await);
        assert_ne!(a, b, "nothing is rewritten");
        let of = async |subject| merges::others(&running.store, subject).await.expect("read");
        assert_eq!(of(&a).await, [merges::Member { subject: b, survives: false }]);
        assert_eq!(of(&b).await, [merges::Member { subject: a, survives: true }]);

        let unlink = about("ADT^A37^ADT_A37", "4", "PID|1||a^^^HOSP^MR||Canaryfamily^Jane\rPID|2||b^^^HOSP^MR");
        assert_eq!(running.send(HL7, &unlink).await, Outcome::Received);
        running.idle().await;
        assert_eq!((of(&a).await, of(&b).await), (Vec::new(), Vec::new()));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_message_of_a_batch_stops_no_neighbour() {
    for world in worlds().await {
        let running = world.start().await;
        let batch = format!(
            "FHS|^~\\&|ADT|HOSP\rBHS|^~\\&|ADT|HOSP\r{}{OWN}{}BTS|3\rFTS|1\r",
            admission("1", "a"),
            admission("2", "b")
        );
        assert_eq!(running.send(HL7, &batch).await, Outcome::Received);
        running.indexed(2).await;
        let lines = |ids: &[&str]| -> String {
            ids.iter().map(|id| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"}}\n")).collect()
        };
        let ndjson = format!("{}{{\"resourceType\":\"Patient\"\n\n{}", lines(&["x", "y"]), lines(&["z"]));
        assert_eq!(running.send("application/fhir+ndjson", &ndjson).await, Outcome::Received);
        running.indexed(5).await;
        running.idle().await;
        let aside = dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        let codes: Vec<_> = aside.iter().map(|letter| letter.code.as_str()).collect();
        assert_eq!(codes, ["unsupported-message", "json-truncated"]);
        // two came of three: they go their way, and the trailer tells of the third
        let short = format!("BHS|^~\\&|ADT|HOSP\r{}{}BTS|3\r", admission("3", "c"), admission("2", "b"));
        assert_eq!(running.send(HL7, &short).await, Outcome::Received);
        running.indexed(6).await;
        running.idle().await;
        let aside = dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        let last = aside.last().expect("three");
        assert_eq!((aside.len(), last.code.as_str(), last.path.as_str()), (3, "batch-count", "BTS-1"));
        // the same lines around other messages tell of another loss
        let other = format!("BHS|^~\\&|ADT|HOSP\r{}BTS|3\r", admission("4", "d"));
        assert_eq!(running.send(HL7, &other).await, Outcome::Received);
        running.indexed(7).await;
        running.idle().await;
        assert_eq!(dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read").len(), 4);
        // a server may spell the same version of a resource in another way
        let version = r#"{"resourceType":"Patient","id":"v","meta":{"versionId":"7"},"active":true}"#;
        let spelt = "{\n  \"id\" : \"v\",\n  \"resourceType\": \"Patient\", \"active\":true, \"meta\": {\"versionId\": \"7\"}}\n";
        assert_eq!(running.send(FHIR, version).await, Outcome::Received);
        assert_eq!(running.send(FHIR, spelt).await, Outcome::Duplicate);
        assert_eq!(running.send(FHIR, &version.replace("true", "false")).await, Outcome::Conflict);
        running.idle().await;
        // a batch that says it is empty is nothing to look after
        let quiet = "FHS|^~\\&|ADT|HOSP\rBHS|^~\\&|ADT|HOSP\rBTS|0\rFTS|1\r";
        assert_eq!(running.send(HL7, quiet).await, Outcome::Received);
        assert_eq!(running.send(HL7, quiet).await, Outcome::Received);
        assert_eq!(running.send(HL7, "BHS|^~\\&|ADT|HOSP\rBTS|1\r").await, Outcome::Received, "but not this");
        running.idle().await;
        assert_eq!(dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read").len(), 6);
        // the same again, whole or in part, is known
        assert_eq!(running.send(HL7, &batch).await, Outcome::Duplicate);
        assert_eq!(running.send(HL7, &admission("2", "b")).await, Outcome::Duplicate, "alone or in a batch");
        assert_eq!(running.send(FHIR, lines(&["y"]).as_str()).await, Outcome::Duplicate);
        assert_eq!(running.send(HL7, &short).await, Outcome::Duplicate);
        assert_eq!(running.send(HL7, &other).await, Outcome::Duplicate);
        assert_eq!(cases::count(&running.store).await.expect("read"), 8);
        running.stop().await;
    }
}
