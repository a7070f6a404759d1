//! What a mended table makes of messages that are indexed already: new versions where they say something else, nothing where they do not,
//! whatever ends in between.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use connectors_hl7v2::Mapper;
use gateway_server::ingest::Outcome;
use gateway_server::replays::{Asked, ReplayError, ReplayState, Replays};
use gateway_server::store::dead_letters::{self, Filter, deeds};
use gateway_server::store::inbox::RawPlace;
use gateway_server::store::replays::{Range, Restored, page, restore};
use gateway_server::store::{cases, commit, intents, merges, subjects, units};
use gateway_vault::{Custody, CustodyPurpose};
use schemas::json::{self, Value};

use crate::journey::{FHIR, HL7, subject_of};
use crate::world::{Running, World, normaliser, worlds};

/// All that there is, for good or to be looked at.
const ALL: Asked = Asked { from: 0, to: i64::MAX, dry_run: false };
const LOOK: Asked = Asked { dry_run: true, ..ALL };
/// Dates where no table looks for them, but for a wrong one.
const BIRTH: (&str, &str, &str) = ("segments/PID.map", "birthDate  <- PID-7 as date", "birthDate  <- PID-33 as date");
const EFFECTIVE: (&str, &str, &str) =
    ("segments/OBX.map", "effectiveDateTime <- OBX-14 as dateTime", "effectiveDateTime <- OBX-19 as dateTime");

/// The tables with one line of one of them changed.
fn tables(running: &Running, (file, good, bad): (&str, &str, &str)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/mappings");
    let text = std::fs::read_to_string(folder.join(file)).expect("a table");
    assert!(text.contains(good), "{good}");
    let mapper = Mapper::with_tables(&[(file.to_owned(), text.replace(good, bad))]).expect("a table");
    running.tables.send_replace(Arc::new(normaliser(mapper)));
}

fn mend(running: &Running) {
    running.tables.send_replace(Arc::new(normaliser(Mapper::embedded())));
}

fn message(control: u32, event: &str, hour: u32, segments: &str) -> String {
    format!(
        "MSH|^~\\&|ADT|HOSP|X|Y|2024010112{control:02}00||{event}|{control}|P|2.5.1\rEVN||20240101{hour:02}0000\r{segments}\r"
    )
}

/// A patient with a field 33 of 1999.
fn patient(id: &str, born: &str) -> String {
    let of_1999 = if born.is_empty() { String::new() } else { format!("{}19990101", "|".repeat(26)) };
    format!("PID|1||{id}^^^HOSP^MR||Canaryfamily^Jane||{born}{of_1999}")
}

fn result(control: u32, order: &str, status: &str) -> String {
    let patient = "PID|1||a^^^HOSP^MR||Canaryfamily^Jane";
    let times = "|||20240101|||||19990101";
    let segments = format!("{patient}\rOBR|1||{order}|1^Test^L\rOBX|1|NM|2^Value^L||1||||||{status}{times}");
    message(control, "ORU^R01^ORU_R01", 12, &segments).replace("EVN||20240101120000\r", "")
}

async fn ended(running: &Running, replays: &Replays, name: &str) -> ReplayState {
    let over = |phase: &str| matches!(phase, "done" | "failed" | "stopped");
    running.until("the replay", || async { over(replays.state(name).expect("begun").phase) }).await;
    let state = replays.state(name).expect("begun");
    assert_eq!((state.phase, &state.fault), ("done", &None));
    assert_eq!((state.looked, state.unopened), (state.messages, 0));
    state
}

async fn replay(running: &Running, name: &str, asked: Asked) -> ReplayState {
    let replays = Replays::new(Arc::clone(&running.ingest), running.on.clone());
    replays.begin(name, asked, "tester").await.expect("begun");
    ended(running, &replays, name).await
}

/// The heads of a patient as they were sealed.
async fn heads(world: &World, running: &Running, patient: &str, resource_type: &str) -> Vec<Value> {
    let subject = subject_of(world, running, patient).await;
    let row = subjects::get(&running.store, &subject).await.expect("read").expect("there");
    let key = world.vault.open_subject(&subject, &row.wrapped_key).expect("opens");
    let heads = units::heads(&running.store, &subject, Some(resource_type)).await.expect("read");
    let mut all = Vec::new();
    let chains: Vec<_> = heads.iter().map(|head| head.chain()).collect();
    let places = units::head_places(&running.store, &chains.iter().collect::<Vec<_>>()).await.expect("read");
    for place in places {
        let object = running.objects.get_from(&place.extent, &place.object).await.expect("the object");
        let case = world.vault.open_case(&key, &place.wraps, &object, &place.object).expect("opens");
        let custody = Custody::claimed_by_custodian_for(CustodyPurpose::Provenance);
        all.push(
            json::parse(&case.unit_for_custody(place.unit as usize, custody).expect("opens").bytes).expect("JSON"),
        );
    }
    assert_eq!(all.len(), heads.len());
    all
}

async fn born(world: &World, running: &Running, patient: &str) -> String {
    let heads = heads(world, running, patient, "Patient").await;
    let [head] = &heads[..] else { panic!("{} heads", heads.len()) };
    head.text("birthDate").unwrap_or_default().to_owned()
}

async fn count(running: &Running) -> u64 {
    cases::count(&running.store).await.expect("counted")
}

/// Each case is anchored once.
async fn assert_once(world: &World, running: &Running, wanted: u64) {
    let anchors = world.ledger.anchors();
    assert!(anchors.values().all(|times| *times == 1));
    assert_eq!((count(running).await, anchors.len() as u64), (wanted, wanted));
    assert!(intents::pending(&running.store).await.expect("read").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_table_makes_new_heads_and_displaces_no_later_word() {
    for world in worlds().await {
        let running = world.start().await;
        tables(&running, EFFECTIVE);
        assert_eq!(running.send(HL7, &result(1, "F1", "F")).await, Outcome::Received);
        running.send(HL7, &result(2, "F2", "F")).await;
        running.send_as("lab", HL7, &result(3, "F2", "C")).await;
        let large =
            result(4, "F3", "X").replace("|NM|", "|TX|").replace("||1||", &format!("||{}||", "x".repeat(100_000)));
        running.send_as("large", HL7, &large).await;
        running.idle().await;
        mend(&running);

        let looked = replay(&running, "ehr", LOOK).await;
        assert_eq!((looked.messages, looked.changed, looked.replayed), (2, 2, 0));
        let elements: Vec<_> = looked.elements["Observation"].iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(elements, [("effectiveDateTime", 2)]);
        // a message's Provenance tells which fields reached no resource
        let types: Vec<_> = looked.elements.keys().map(String::as_str).collect();
        assert_eq!((types, looked.new.len(), looked.gone.len()), (vec!["Observation", "Provenance"], 0, 0));
        assert_eq!(count(&running).await, 4, "a look adds nothing");
        let deeds = deeds(&running.store, 10).await.expect("read");
        let noted: Vec<_> = deeds.iter().map(|d| (d.operator.as_str(), d.deed.as_str(), d.about.as_str())).collect();
        let about = format!("connector ehr, from 1970-01-01T00:00:00Z to {}, 2 messages, dry run", i64::MAX);
        assert_eq!(noted, [("tester", "replay", about.as_str())]);

        let done = replay(&running, "ehr", ALL).await;
        assert_eq!((done.changed, done.replayed, &done.elements), (2, 2, &looked.elements));
        assert_eq!(replay(&running, "large", ALL).await.replayed, 1);
        assert_once(&world, &running, 7).await;
        let mut seen: Vec<_> = heads(&world, &running, "a", "Observation").await;
        seen.sort_by_key(|head| head.text("status").map(str::to_owned));
        let seen: Vec<_> = seen.iter().map(|h| (h.text("status"), h.text("effectiveDateTime"))).collect();
        let mended = Some("2024-01-01");
        let expected = [(Some("cancelled"), mended), (Some("corrected"), Some("1999-01-01")), (Some("final"), mended)];
        assert_eq!(seen, expected);
        assert_eq!(running.send(HL7, &result(1, "F1", "F")).await, Outcome::Duplicate, "its key is known");

        let again = replay(&running, "ehr", ALL).await;
        assert_eq!((again.looked, again.changed, again.replayed), (2, 0, 0), "nothing is left to do");
        assert_once(&world, &running, 7).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_table_changes_adds_nothing() {
    for world in worlds().await {
        let running = world.start().await;
        let two = r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"x"}},{"resource":{"resourceType":"Patient","id":"y","meta":{"versionId":"7"}}}]}"#;
        running.send(FHIR, two).await;
        running.send(FHIR, r#"{"resourceType":"Bundle","type":"batch"}"#).await;
        running.send(FHIR, r#"{"resourceType":"Organization","name":"nobody"}"#).await;
        let large = format!(r#"{{"resourceType":"Basic","id":"l","code":{{"text":"{}"}}}}"#, "x".repeat(100_000));
        running.send(FHIR, &large).await;
        let visit = |ward: &str| format!("{}\rPV1|1|I|{ward}||||||||||||||||V1^^^HOSP^VN", patient("a", "19800101"));
        running.send(HL7, &message(1, "ADT^A01^ADT_A01", 12, &visit("W^1^1"))).await;
        running.send(HL7, &message(2, "ADT^A08^ADT_A01", 14, &format!("{}|M", patient("a", "")))).await;
        // a late word stands alone, and what came after it was not folded onto it
        running.send(HL7, &message(3, "ADT^A08^ADT_A01", 11, &visit("W^9^9"))).await;
        running.send(HL7, &message(4, "ADT^A03^ADT_A03", 15, &visit(""))).await;
        running.send(HL7, &result(5, "F1", "P")).await;
        running.send(HL7, &result(6, "F1", "F")).await;
        let merge = format!("{}\rMRG|b^^^HOSP^MR", patient("a", ""));
        running.send(HL7, &message(7, "ADT^A40^ADT_A39", 16, &merge)).await;
        running.send(HL7, &message(8, "ADT^Z33", 16, "")).await;
        running.idle().await;
        let letters = async || dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        let (before, aside) = (count(&running).await, letters().await);
        assert_eq!(aside.len(), 1);

        for asked in [LOOK, ALL, ALL] {
            let done = replay(&running, "ehr", asked).await;
            let expected = ReplayState {
                phase: "done",
                dry_run: asked.dry_run,
                messages: 11,
                looked: 11,
                ..ReplayState::default()
            };
            assert_eq!(done, expected);
        }
        assert_once(&world, &running, before).await;
        assert_eq!(letters().await, aside, "a dead letter stays one");
        assert_eq!(replay(&running, "other", ALL).await.messages, 0);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_is_folded_anew_through_the_range() {
    for world in worlds().await {
        let running = world.start().await;
        tables(&running, BIRTH);
        running.send(HL7, &message(1, "ADT^A01^ADT_A01", 12, &patient("a", "19800101"))).await;
        // carries on what the first one said wrongly
        running.send(HL7, &message(2, "ADT^A08^ADT_A01", 13, &format!("{}|F", patient("a", "")))).await;
        running.send(HL7, &result(3, "F1", "F")).await;
        running
            .send_as("lab", HL7, &message(4, "ADT^A08^ADT_A01", 15, &format!("{}||||Street 1^^Town", patient("a", ""))))
            .await;
        running.send(HL7, &message(5, "ADT^A08^ADT_A01", 11, &patient("a", "19700101"))).await;
        running.idle().await;
        assert_eq!(born(&world, &running, "a").await, "1999-01-01");
        mend(&running);

        let looked = replay(&running, "ehr", LOOK).await;
        assert_eq!((looked.messages, looked.changed, looked.elements["Patient"]["birthDate"]), (4, 3, 3));
        let done = replay(&running, "ehr", ALL).await;
        assert_eq!((done.changed, done.replayed, &done.elements), (3, 3, &looked.elements));
        assert_eq!(born(&world, &running, "a").await, "1999-01-01", "another connector's word is the last one");
        let done = replay(&running, "lab", ALL).await;
        assert_eq!((done.messages, done.replayed), (1, 1));
        let patients = heads(&world, &running, "a", "Patient").await;
        let head = &patients[0];
        assert_eq!((head.text("birthDate"), head.text("gender")), (Some("1980-01-01"), Some("female")));
        assert_eq!(head.path(&["address", "city"]).and_then(Value::as_str), Some("Town"));

        for name in ["ehr", "lab"] {
            let again = replay(&running, name, ALL).await;
            assert_eq!((again.changed, again.replayed), (0, 0), "{name}");
        }
        assert_once(&world, &running, 9).await;
        // what comes is folded onto what was mapped again
        running.send(HL7, &message(6, "ADT^A08^ADT_A01", 16, &patient("a", ""))).await;
        running.idle().await;
        assert_eq!(born(&world, &running, "a").await, "1980-01-01");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_element_that_no_table_makes_any_more_is_gone_from_all_that_carried_it() {
    for world in worlds().await {
        let running = world.start().await;
        let death = "deceasedDateTime <- PID-29 as dateTime";
        tables(&running, ("segments/PID.map", death, "deceasedDateTime <- PID-33 as dateTime"));
        running.send(HL7, &message(1, "ADT^A01^ADT_A01", 12, &patient("a", "19800101"))).await;
        running.send(HL7, &message(2, "ADT^A08^ADT_A01", 13, &format!("{}|F", patient("a", "")))).await;
        running.idle().await;
        assert_eq!(replay(&running, "ehr", ALL).await.changed, 0);
        mend(&running);
        let looked = replay(&running, "ehr", LOOK).await;
        assert_eq!((looked.changed, looked.elements["Patient"]["deceasedDateTime"]), (2, 2));
        assert_eq!(replay(&running, "ehr", ALL).await.elements, looked.elements);
        let patients = heads(&world, &running, "a", "Patient").await;
        let head = &patients[0];
        assert!(head.get("deceasedDateTime").is_none());
        assert_eq!((head.text("birthDate"), head.text("gender")), (Some("1980-01-01"), Some("female")));
        assert_eq!(replay(&running, "ehr", ALL).await.changed, 0);
        assert_once(&world, &running, 4).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_about_several_patients_is_mapped_again_for_each_and_merges_nobody_twice() {
    for world in worlds().await {
        let running = world.start().await;
        tables(&running, BIRTH);
        let two = format!("{}\r{}", patient("a", "19800101"), patient("b", "19810101"));
        running.send(HL7, &message(1, "ADT^A24^ADT_A24", 12, &two)).await;
        running.idle().await;
        assert_eq!((count(&running).await, born(&world, &running, "b").await.as_str()), (2, "1999-01-01"));
        let (a, b) = (subject_of(&world, &running, "a").await, subject_of(&world, &running, "b").await);
        mend(&running);
        let done = replay(&running, "ehr", ALL).await;
        assert_eq!((done.changed, done.replayed, done.elements["Patient"]["birthDate"]), (1, 1, 2));
        assert_once(&world, &running, 4).await;
        assert_eq!(born(&world, &running, "a").await, "1980-01-01");
        assert_eq!(born(&world, &running, "b").await, "1981-01-01");
        assert_eq!(subject_of(&world, &running, "a").await, a, "nobody is new");
        let member = |subject, survives| merges::Member { subject, survives };
        let others = merges::others(&running.store, &b).await.expect("read");
        assert!(others == [member(a, true)] || others == [member(a, false)]);
        let row = sqlx::query("SELECT COUNT(*) FROM subject_merge").fetch_one(running.store.reader()).await;
        assert_eq!(sqlx::Row::try_get::<i64, _>(&row.expect("read"), 0).expect("a count"), 1);
        assert_eq!(replay(&running, "ehr", ALL).await.changed, 0, "its raw object is there as before");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_tables_refuse_or_make_no_more_stays_as_it_is() {
    for world in worlds().await {
        let running = world.start().await;
        running.send(HL7, &result(1, "F1", "F")).await;
        running.idle().await;
        tables(&running, ("messages/ORU_R01.map", "on ORU^R01 ORU^R30", "on ORU^R30"));
        for asked in [LOOK, ALL] {
            let done = replay(&running, "ehr", asked).await;
            assert_eq!(
                done.refused.iter().map(|(c, n)| (c.as_str(), *n)).collect::<Vec<_>>(),
                [("unsupported-message", 1)]
            );
        }
        let aside = dead_letters::list(&running.store, &Filter::default(), 0, 10).await.expect("read");
        assert_eq!(aside, [], "it is no dead letter for that");
        let no_report =
            "  OBX makes Observation without TXA, DocumentReference with TXA fills DiagnosticReport, ServiceRequest";
        tables(
            &running,
            (
                "messages/ORU_R01.map",
                no_report,
                "  OBX makes DocumentReference with TXA fills DiagnosticReport, ServiceRequest",
            ),
        );
        let done = replay(&running, "ehr", ALL).await;
        assert_eq!(done.gone.get("Observation"), Some(&1));
        assert_eq!(heads(&world, &running, "a", "Observation").await.len(), 1);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_falls_gives_way_to_what_is_above_it() {
    for world in worlds().await {
        let running = world.start().await;
        let status = "status     <- OBX-11 via ObservationResultStatusCodesInterpretation";
        tables(&running, ("segments/OBX.map", status, "status     <- \"final\""));
        running.send(HL7, &result(1, "F1", "P")).await;
        running.idle().await;
        mend(&running);
        running.send_as("lab", HL7, &result(2, "F1", "P")).await;
        running.idle().await;
        assert_eq!(heads(&world, &running, "a", "Observation").await[0].text("status"), Some("final"));
        replay(&running, "ehr", ALL).await;
        let subject = subject_of(&world, &running, "a").await;
        let heads = units::heads(&running.store, &subject, Some("Observation")).await.expect("read");
        assert_eq!(heads.iter().map(|head| (head.status_rank, head.arrived)).collect::<Vec<_>>(), [(2, 2)]);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_between_two_steps_goes_on_once() {
    for world in worlds().await {
        let running = world.start().await;
        tables(&running, BIRTH);
        let bodies: Vec<String> =
            (1..=4).map(|n| message(n, "ADT^A08^ADT_A01", 11 + n, &patient("a", &format!("1980010{n}")))).collect();
        for body in &bodies {
            running.send(HL7, body).await;
            running.idle().await;
        }
        mend(&running);
        let range = Range { connector: "ehr".into(), from: 0, to: i64::MAX };
        let first = page(&running.store, &range, (0, i64::MAX), 1).await.expect("read").remove(0);
        let store = running.store.clone();
        running.ingest.stop(std::time::Duration::from_secs(30)).await;

        // it ends behind the commit that gave the first one back
        let (key, wrapped) = world.vault.new_raw_key(&first.source_key.0).expect("a key");
        let sealed = world.vault.seal_raw(&key, &first.source_key.0, bodies[0].as_bytes()).expect("sealed");
        let rows =
            [Restored { id: first.id, attempts: first.attempts, raw: Some((RawPlace::Inline(sealed), wrapped)) }];
        for expected in [vec![first.id], vec![]] {
            let mut write = store.begin().await.expect("begin");
            assert_eq!(restore(&mut write, &rows).await.expect("restored"), expected, "an answer that was lost");
            commit(write).await.expect("committed");
        }
        running.stop().await;

        // and with the next ones in flight
        let running = world.start().await;
        running.indexed(5).await;
        running.idle().await;
        world.ledger.away.store(true, Ordering::SeqCst);
        let replays = Replays::new(Arc::clone(&running.ingest), running.on.clone());
        replays.begin("ehr", ALL, "tester").await.expect("begun");
        let other = replays.begin("lab", ALL, "tester").await.expect_err("one at a time");
        assert!(matches!(other, ReplayError::Running));
        let pending = || async { !intents::pending(&running.store).await.expect("read").is_empty() };
        running.until("an intent", pending).await;
        running.stop().await;

        world.ledger.away.store(false, Ordering::SeqCst);
        let running = world.start().await;
        let done = replay(&running, "ehr", ALL).await;
        assert_eq!((done.messages, done.replayed), (4, 2), "one was under way, the first is done");
        assert_once(&world, &running, 8).await;
        assert_eq!(born(&world, &running, "a").await, "1980-01-04");
        running.stop().await;
    }
}
