//! What a message leaves out stays: versions of a patient and a visit hold what was known, whether their heads are indexed, under way or of
//! an earlier run; nulls take away; a late word changes no head.

use std::sync::atomic::Ordering;

use gateway_server::store::{subjects, units};
use gateway_vault::{Custody, CustodyPurpose};
use schemas::json::{self, Value};

use crate::journey::{HL7, subject_of};
use crate::world::{Running, World, worlds};

fn message(control: u32, event: &str, hour: u32, segments: &str) -> String {
    format!(
        "MSH|^~\\&|ADT|HOSP|X|Y|2024010112{control:02}00||{event}|{control}|P|2.5.1\rEVN||20240101{hour:02}0000\r{segments}\r"
    )
}

/// The head as it was sealed.
async fn head(world: &World, running: &Running, resource_type: &str) -> Value {
    let subject = subject_of(world, running, "a").await;
    let row = subjects::get(&running.store, &subject).await.expect("read").expect("there");
    let key = world.vault.open_subject(&subject, &row.wrapped_key).expect("opens");
    let heads = units::heads(&running.store, &subject, Some(resource_type)).await.expect("read");
    let [head] = &heads[..] else { panic!("{} heads", heads.len()) };
    let places = units::head_places(&running.store, &[&head.chain()]).await.expect("read");
    let place = &places[0];
    let object = running.objects.get_from(&place.extent, &place.object).await.expect("the object");
    let case = world.vault.open_case(&key, &place.wraps, &object, &place.object).expect("opens");
    let custody = Custody::claimed_by_custodian_for(CustodyPurpose::Provenance);
    let unit = case.unit_for_custody(place.unit as usize, custody).expect("opens");
    json::parse(&unit.bytes).expect("JSON")
}

fn text<'v>(of: &'v Value, path: &[&str]) -> Option<&'v str> {
    of.path(path).and_then(Value::as_str)
}

const RICH: &str = "PID|1||a^^^HOSP^MR||Canaryfamily^Jane||19800101|F|||Canarystreet 1^^Town||^PRN^PH^^1^207^1|^WPN^PH^^1^207^2\r\
                    PV1|1|I|W^1^1|E|||7^Attending^A||||||||||||V1^^^HOSP^VN|||||||||||||||||||||||||20240101110000";
const SPARSE: &str = "PID|1||a^^^HOSP^MR||Canaryfamily^Jane\r";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_message_leaves_out_stays_and_a_null_takes_away() {
    for world in worlds().await {
        let running = world.start().await;
        running.send(HL7, &message(1, "ADT^A01^ADT_A01", 12, RICH)).await;
        // its head may be under way
        let result = format!("{SPARSE}OBR|1||F1|1^Test^L\rOBX|1|NM|2^Value^L||1||||||F");
        running.send(HL7, &message(2, "ORU^R01^ORU_R01", 13, &result)).await;
        running.idle().await;
        let patient = head(&world, &running, "Patient").await;
        assert_eq!(text(&patient, &["address", "city"]), Some("Town"), "a laboratory knows no address");
        assert_eq!((patient.text("gender"), patient.list("telecom").len()), (Some("female"), 2));
        let null = "PID|1||a^^^HOSP^MR||Canaryfamily^Jane||19800101||||\"\"||\"\"\r\
                    PV1|1|I|W^1^2||||||||||||||||V1^^^HOSP^VN";
        running.send(HL7, &message(3, "ADT^A08^ADT_A01", 14, null)).await;
        running.idle().await;
        let patient = head(&world, &running, "Patient").await;
        assert!(patient.get("address").is_none() && patient.text("gender") == Some("female"));
        assert_eq!(text(&patient, &["telecom", "use"]), Some("work"), "the other phone is another field");
        running.stop().await;

        // its head is of an earlier run
        let running = world.start().await;
        let discharge = format!("{SPARSE}PV1|1|I|||||||||||||||||V1^^^HOSP^VN||||||||||||||||||||||||||20240105110000");
        running.send(HL7, &message(4, "ADT^A03^ADT_A03", 15, &discharge)).await;
        running.idle().await;
        let visit = head(&world, &running, "Encounter").await;
        assert_eq!(visit.text("status"), Some("finished"));
        assert!(text(&visit, &["period", "start"]).is_some_and(|start| start.starts_with("2024-01-01")));
        assert!(text(&visit, &["period", "end"]).is_some_and(|end| end.starts_with("2024-01-05")));
        assert_eq!(visit.list("participant").len(), 1, "the attending doctor stays");

        let late = "PID|1||a^^^HOSP^MR||Canaryfamily^Jane|||M\rPV1|1|I|W^9^9||||||||||||||||V1^^^HOSP^VN";
        running.send(HL7, &message(5, "ADT^A08^ADT_A01", 11, late)).await;
        // behind the head's first message, before the discharge, which said nothing else
        running.send(HL7, &message(6, "ADT^A08^ADT_A01", 14, late)).await;
        running.idle().await;
        assert_eq!(head(&world, &running, "Patient").await.text("gender"), Some("female"), "said before");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_an_earlier_run_left_under_way_is_folded_onto() {
    for world in worlds().await {
        world.ledger.away.store(true, Ordering::Release);
        let running = world.start().await;
        running.send(HL7, &message(1, "ADT^A01^ADT_A01", 12, RICH)).await;
        running
            .until("an intent", || async {
                let pending = gateway_server::store::intents::pending(&running.store).await.expect("read");
                !pending.is_empty()
            })
            .await;
        running.stop().await;

        let running = world.start().await;
        running.send(HL7, &message(2, "ADT^A08^ADT_A01", 13, SPARSE.trim_end())).await;
        world.ledger.away.store(false, Ordering::Release);
        running.indexed(2).await;
        running.idle().await;
        assert_eq!(text(&head(&world, &running, "Patient").await, &["address", "city"]), Some("Town"));
        running.stop().await;
    }
}
