//! Notifications: which of them are messages, and when their sender hears that they were taken.

use std::path::Path;

use bytes::Bytes;
use connectors_fhir::{FhirError, Hook, HookConfig, HookSource, Notice, Taken};
use connectors_source::{Rejection, Source as _, TraceContext};

use crate::polling::server;
use crate::server::Hospital;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn start(folder: &Path, base: Option<&str>) -> (HookSource, Hook) {
    let secret_file = folder.join("secret");
    std::fs::write(&secret_file, format!("{SECRET}\n")).expect("written");
    let config = HookConfig { name: "hook".into(), secret_file, server: base.map(server), unsettled_max: 2 };
    HookSource::start(&config).expect("its files")
}

fn resources(n: usize) -> Vec<(String, Bytes)> {
    (0..n).map(|n| ("Patient".to_owned(), Bytes::from(format!(r#"{{"resourceType":"Patient","id":"{n}"}}"#)))).collect()
}

#[tokio::test]
async fn a_sender_hears_of_success_only_when_everything_was_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut source, hook) = start(folder.path(), None);
    assert!(hook.knows(SECRET) && !hook.knows("another") && !hook.fetches() && source.health().borrow().connected);
    // more than may be unsettled at once
    let (taker, mut taking) = (hook.clone(), Box::pin(hook.take(resources(3), TraceContext::default())));
    let mut hold = async |count: usize| {
        let mut held = Vec::new();
        for _ in 0..count {
            tokio::select! {
                biased;
                _ = &mut taking => panic!("it was not settled"),
                next = source.next() => held.push(next.expect("no error").expect("a delivery")),
            }
        }
        held
    };
    let held = hold(2).await;
    for (delivery, (_, body)) in held.into_iter().zip(resources(2)) {
        assert_eq!((&*delivery.routing, &delivery.body), ("Patient", &body));
        delivery.accept().await.expect("told");
    }
    let last = hold(1).await.remove(0);
    let (taken, told) = tokio::join!(taking, last.accept());
    assert_eq!((taken, told), (Taken::Accepted, Ok(())));
    for (release, expected) in [(true, Taken::NotNow), (false, Taken::Rejected)] {
        let settle = async {
            let delivery = source.next().await.expect("no error").expect("a delivery");
            if release { drop(delivery) } else { delivery.reject(Rejection::TooLarge).await.expect("told") }
        };
        let (taken, ()) = tokio::join!(taker.take(resources(1), TraceContext::default()), settle);
        assert_eq!(taken, expected);
    }
    source.close();
    assert_eq!(taker.take(resources(1), TraceContext::default()).await, Taken::NotNow);
}

#[test]
fn a_short_secret_is_refused_and_not_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, "CANARY").expect("written");
    let config = HookConfig { name: "hook".into(), secret_file, server: None, unsettled_max: 2 };
    let error = HookSource::start(&config).err().expect("refused").to_string();
    assert!(error.contains("at least 32 bytes") && !error.contains("CANARY"), "{error}");
}

fn bundle(kind: &str, rest: &str) -> Bytes {
    let status = format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"type","valueCode":"{kind}"}},
        {{"name":"notification-event","part":[{{"name":"focus","valueReference":{{"reference":"Patient/a"}}}}]}}]}}"#
    );
    let entries = format!(r#"{{"resource":{status}}}{rest}"#);
    Bytes::from(format!(r#"{{"resourceType":"Bundle","type":"history","entry":[{entries}]}}"#))
}

#[test]
fn each_notification_is_what_it_is() {
    let whole = Bytes::from_static(br#"{"id":"a","resourceType":"Patient", "n": 1.50}"#);
    let collection = Bytes::from_static(
        br#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"}}]}"#,
    );
    let one = |kind: &str, body: &Bytes| Notice { resources: vec![(kind.into(), body.clone())], ..Notice::default() };
    assert_eq!(Notice::read(&whole), Ok(one("Patient", &whole)));
    assert_eq!(Notice::read(&collection), Ok(one("Bundle", &collection)));
    for kind in ["handshake", "heartbeat", "query-status"] {
        assert_eq!(Notice::read(&bundle(kind, "")), Ok(Notice::default()));
    }
    let raw = r#"{ "resourceType":"Observation","v":1.50 ,"id":"b"}"#;
    let rest = format!(
        r#",{{"fullUrl":"urn:x","resource":{raw}}},{{"request":{{"method":"DELETE"}}}},{{"fullUrl":"Patient/c"}}"#
    );
    let mixed = Notice::read(&bundle("event-notification", &rest)).expect("read");
    assert_eq!(mixed.resources, [("Observation".to_owned(), Bytes::from(raw))]);
    assert_eq!(mixed.references, ["Patient/c"]);
    assert_eq!(Notice::read(&bundle("event-notification", "")).expect("read").references, ["Patient/a"]);
    let r4b = r#"{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"SubscriptionStatus",
        "type":"event-notification","notificationEvent":[{"focus":{"reference":"Patient/d"}}]}}]}"#;
    assert_eq!(Notice::read(&Bytes::from(r4b)).expect("read").references, ["Patient/d"]);
    let blind = Bytes::from(r4b.replace("focus", "other"));
    assert!(Notice::read(&blind).expect("read").is_blind, "an event about nothing");
    let deletion = bundle("event-notification", r#",{"request":{"method":"DELETE"}}"#);
    assert!(!Notice::read(&deletion).expect("read").is_blind, "a deletion is passed over");
    for broken in ["", "{}", "[]", r#"{"resourceType":1}"#] {
        Notice::read(&Bytes::from(broken)).expect_err("no notification");
    }
}

#[tokio::test]
async fn what_is_only_named_is_fetched_from_the_base_and_from_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let hospital = Hospital::start().await;
    let put = hospital.put("Patient", "a", r#""n":1.50"#);
    let (_source, hook) = start(folder.path(), Some(&hospital.base()));
    let all = ["Patient/a".into(), "Patient/gone".into(), format!("{}/Patient/a", hospital.base())];
    let found = hook.fetch(&all).await.expect("fetched");
    assert_eq!(found, [("Patient".to_owned(), Bytes::from(put.clone())), ("Patient".to_owned(), Bytes::from(put))]);
    let asked = lock_len(&hospital);
    for elsewhere in ["http://127.0.0.1:1/fhir/Patient/a", "../admin", "//other/fhir/Patient/a", "/Patient/a"] {
        assert_eq!(hook.fetch(&[elsewhere.to_owned()]).await, Err(FhirError::Origin("a reference")), "{elsewhere}");
    }
    assert_eq!(lock_len(&hospital), asked);
}

/// The copy of a server that is asked may be behind the one that notified.
#[tokio::test]
async fn what_is_named_and_not_there_yet_is_asked_for_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let hospital = Hospital::start().await;
    let put = hospital.put("Patient", "a", r#""n":1"#);
    let (_source, hook) = start(folder.path(), Some(&hospital.base()));
    crate::markers::lock(&hospital.shared.manners).behind = 1;
    let found = hook.fetch(&["Patient/a".into()]).await.expect("fetched");
    assert_eq!(found, [("Patient".to_owned(), Bytes::from(put))]);
}

fn lock_len(hospital: &Hospital) -> usize {
    crate::markers::lock(&hospital.shared.asked).len()
}
