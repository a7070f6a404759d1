//! Markers, restarts, order, pages, peers that misbehave: what goes beyond the suite of all sources.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connectors_fhir::{FhirConfig, FhirSource, Mode, ServerConfig};
use connectors_source::{Delivery, Source as _};
use tokio::net::TcpListener;

use crate::markers::{Memory, lock};
use crate::server::{Hospital, answer_with, instant, now};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn config(hospital: &Hospital) -> FhirConfig {
    FhirConfig {
        name: "ehr".into(),
        server: server(&hospital.base()),
        types: vec!["Patient".into()],
        mode: Mode::Search,
        since: None,
        interval_ms: 20,
        count: 10,
        overlap_ms: 0,
        page_bytes_max: 4 << 20,
        unsettled_max: 100,
    }
}

pub fn server(base: &str) -> ServerConfig {
    ServerConfig {
        base: base.to_owned(),
        trusted_network: false,
        tls_roots: None,
        tls_certificate: None,
        tls_key: None,
        token_file: None,
        login: None,
        timeout_ms: 10_000,
    }
}

pub fn start(config: &FhirConfig, markers: &Arc<Memory>) -> FhirSource {
    FhirSource::start(config.clone(), Arc::clone(markers) as _).expect("its files")
}

pub async fn next(source: &mut FhirSource) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, source.next()).await.expect("in time");
    next.expect("no error").expect("a delivery")
}

/// Nothing comes, although the server was asked again.
async fn nothing(source: &mut FhirSource, hospital: &Hospital) {
    hospital.more_requests(4).await;
    let next = tokio::time::timeout(Duration::ZERO, source.next()).await;
    assert!(next.is_err(), "found a delivery, expected none");
}

/// Accepts so many; their bodies.
async fn accept(source: &mut FhirSource, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let delivery = next(source).await;
        bodies.push(String::from_utf8(delivery.body.to_vec()).expect("text"));
        delivery.accept().await.expect("accepted");
    }
    bodies
}

#[tokio::test]
async fn bytes_stay_as_they_stood_in_the_page() {
    let hospital = Hospital::start().await;
    let odd = "\"z\" :\t1.50, \"a\":[ 1E+2,-0.0 , \"\\u00e4\\/ü\" ],\n \"b\":{ \"b\":2 ,\"a\":1},\"big\":12345678901234567890123.10";
    let put = hospital.put("Patient", "a", odd);
    let mut source = start(&config(&hospital), &Arc::default());
    let delivery = next(&mut source).await;
    assert_eq!(delivery.body, Bytes::from(put));
    assert_eq!((&*delivery.connector, &*delivery.content_type), ("ehr", "application/fhir+json"));
    assert_eq!(&*delivery.routing, "Patient");
}

#[tokio::test]
async fn a_restart_goes_on_from_the_marker() {
    let (hospital, markers) = (Hospital::start().await, Arc::<Memory>::default());
    for n in 0..25 {
        hospital.put("Patient", &n.to_string(), r#""active":true"#);
    }
    let mut source = start(&config(&hospital), &markers);
    let first = accept(&mut source, 15).await;
    drop(source);
    assert!(markers.marker("ehr", "Patient").expect("saved").at.is_some(), "the pages before this one are behind it");
    lock(&hospital.shared.asked).clear();
    let mut source = start(&config(&hospital), &markers);
    let rest = accept(&mut source, 10).await;
    assert!(rest.iter().all(|body| !first.contains(body)), "nothing that was accepted comes again");
    let asked = lock(&hospital.shared.asked)[0].0.clone();
    assert!(asked.contains("_lastUpdated=ge"), "{asked}");
    nothing(&mut source, &hospital).await;
    hospital.put("Patient", "3", r#""active":false"#);
    assert!(accept(&mut source, 1).await[0].contains(r#""versionId":"2""#));
}

#[tokio::test]
async fn what_is_released_holds_the_marker_and_comes_again_after_a_restart_too() {
    let (hospital, markers) = (Hospital::start().await, Arc::<Memory>::default());
    for n in 0..5 {
        hospital.put("Patient", &n.to_string(), r#""active":true"#);
    }
    let mut source = start(&config(&hospital), &markers);
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(next(&mut source).await);
    }
    let kept = all.remove(1);
    let body = kept.body.clone();
    for delivery in all {
        delivery.accept().await.expect("accepted");
    }
    kept.release().await.expect("released");
    let again = next(&mut source).await;
    assert_eq!((&again.body, again.redelivery.redelivered), (&body, true));
    hospital.more_requests(4).await;
    drop((again, source));
    let mut source = start(&config(&hospital), &markers);
    let again = next(&mut source).await;
    assert_eq!(again.body, body, "only the one that nobody accepted");
    again.accept().await.expect("accepted");
    nothing(&mut source, &hospital).await;
}

#[tokio::test]
async fn pages_full_of_one_instant_are_taken_once_and_left_behind() {
    let hospital = Hospital::start().await;
    let at = now();
    for n in 0..95 {
        hospital.put_at("Patient", &format!("{n:03}"), r#""active":true"#, at);
    }
    let mut source = start(&FhirConfig { overlap_ms: 60_000, ..config(&hospital) }, &Arc::default());
    accept(&mut source, 95).await;
    nothing(&mut source, &hospital).await;
    // later, but the server's clock was behind: the overlap finds it
    hospital.put_at("Patient", "late", r#""active":true"#, at - 30_000);
    assert!(accept(&mut source, 1).await[0].contains("late"));
    nothing(&mut source, &hospital).await;
}

/// Pages that count entries move up when one of those before is updated: what moved over the edge must not be passed over.
#[tokio::test]
async fn what_moves_between_pages_is_not_passed_over() {
    let hospital = Hospital::start().await;
    let at = now() - 60_000;
    for n in 0..35 {
        hospital.put_at("Patient", &n.to_string(), &format!(r#""n":{n}"#), at + n);
    }
    let mut source = start(&config(&hospital), &Arc::default());
    let mut found = accept(&mut source, 1).await;
    hospital.put("Patient", "0", r#""n":100"#);
    hospital.put("Patient", "1", r#""n":101"#);
    found.extend(accept(&mut source, 36).await);
    for n in (0..35).chain([100, 101]) {
        assert!(found.iter().any(|body| body.ends_with(&format!(r#""n":{n}}}"#))), "{n} was passed over");
    }
    nothing(&mut source, &hospital).await;
}

#[tokio::test]
async fn a_server_that_does_not_look_at_times_is_read_by_its_links() {
    let hospital = Hospital::start().await;
    lock(&hospital.shared.manners).timeless = true;
    let at = now() - 60_000;
    for n in 0..35 {
        hospital.put_at("Patient", &n.to_string(), &format!(r#""n":{n}"#), at + n);
    }
    let mut source = start(&config(&hospital), &Arc::default());
    let mut found = accept(&mut source, 35).await;
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 35, "each once, and none passed over");
}

#[tokio::test]
async fn a_time_from_the_future_hides_nothing() {
    let (hospital, markers) = (Hospital::start().await, Arc::<Memory>::default());
    hospital.put_at("Patient", "future", r#""active":true"#, now() + 3_600_000_000);
    let mut source = start(&config(&hospital), &markers);
    accept(&mut source, 1).await;
    hospital.more_requests(3).await;
    hospital.put_at("Patient", "present", r#""active":true"#, now() + 1_000);
    assert!(accept(&mut source, 1).await[0].contains("present"));
    nothing(&mut source, &hospital).await;
}

#[tokio::test]
async fn a_server_that_does_not_sort_loses_nothing_over_a_restart() {
    let (hospital, markers) = (Hospital::start().await, Arc::<Memory>::default());
    lock(&hospital.shared.manners).unsorted = true;
    for n in 0..30 {
        hospital.put_at("Patient", &n.to_string(), r#""active":true"#, now() - 1_000_000 + n * 1_000);
    }
    let mut source = start(&config(&hospital), &markers);
    let mut all = accept(&mut source, 12).await;
    drop(source);
    let mut source = start(&config(&hospital), &markers);
    all.extend(accept(&mut source, 18).await);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 30);
}

#[tokio::test]
async fn history_brings_every_version_in_order_and_passes_over_deletions() {
    let (hospital, markers) = (Hospital::start().await, Arc::<Memory>::default());
    for n in 0..12 {
        hospital.put("Patient", "a", &format!(r#""n":{n}"#));
    }
    hospital.delete("Patient", "a");
    hospital.put("Patient", "b", r#""n":99"#);
    let config = FhirConfig { mode: Mode::History, count: 5, ..config(&hospital) };
    let mut source = start(&config, &markers);
    for n in (0..12).chain([99]) {
        assert!(accept(&mut source, 1).await[0].ends_with(&format!(r#""n":{n}}}"#)));
    }
    nothing(&mut source, &hospital).await;
    drop(source);
    let mut source = start(&config, &markers);
    nothing(&mut source, &hospital).await;
    assert!(lock(&hospital.shared.asked).last().expect("asked").0.contains("_since="));
}

/// What a look keeps is bounded; what it has taken before must not use up that bound.
#[tokio::test]
async fn history_of_more_than_is_kept_at_once_comes_to_its_end() {
    let hospital = Hospital::start().await;
    let (at, text) = (now() - 30_000, "x".repeat(1 << 20));
    for n in 0..80 {
        hospital.put_at("Patient", &n.to_string(), &format!(r#""text":"{text}","n":{n}"#), at + n);
    }
    // all of it is within the overlap, so that each look begins before the first
    let config =
        FhirConfig { mode: Mode::History, count: 5, page_bytes_max: 8 << 20, overlap_ms: 60_000, ..config(&hospital) };
    let mut source = start(&config, &Arc::default());
    for n in 0..80 {
        assert!(accept(&mut source, 1).await[0].ends_with(&format!(r#""n":{n}}}"#)), "version {n}");
    }
}

#[tokio::test]
async fn a_page_or_redirect_to_another_origin_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let other = format!("http://{}/fhir", elsewhere.local_addr().expect("an address"));
    let hospital = Hospital::start().await;
    for n in 0..15 {
        hospital.put("Patient", &n.to_string(), r#""active":true"#);
    }
    lock(&hospital.shared.manners).next_base = Some(other.clone());
    let mut source = start(&config(&hospital), &Arc::default());
    nothing(&mut source, &hospital).await;
    assert!(!source.health().borrow().connected, "messages cannot arrive");
    *lock(&hospital.shared.manners) = Default::default();
    accept(&mut source, 15).await;
    lock(&hospital.shared.manners).redirect = Some(other);
    hospital.more_requests(2).await;
    let asked = tokio::time::timeout(Duration::ZERO, elsewhere.accept()).await;
    assert!(asked.is_err(), "the other server was asked");
}

#[tokio::test]
async fn an_entry_that_is_no_resource_goes_its_way_and_holds_up_no_neighbour() {
    let hospital = Hospital::start().await;
    let good = r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"1"}}"#;
    let bad = [r#"{"resourceType":"Patient","id":7}"#, r#"{"no":"type"}"#, "5"];
    let entries: Vec<String> =
        bad.iter().chain([&good]).map(|resource| format!(r#"{{"resource":{resource}}}"#)).collect();
    answer_with(&hospital, &format!(r#"{{"resourceType":"Bundle","entry":[{}]}}"#, entries.join(",")));
    let mut source = start(&config(&hospital), &Arc::default());
    assert_eq!(accept(&mut source, 4).await, [bad[0], bad[1], bad[2], good]);
    nothing(&mut source, &hospital).await;
}

#[tokio::test]
async fn it_waits_as_long_as_the_server_says() {
    let hospital = Hospital::start().await;
    lock(&hospital.shared.manners).busy = [(429, Some("1".into())), (503, None), (500, None), (429, None)].into();
    hospital.put("Patient", "a", r#""active":true"#);
    let mut source = start(&config(&hospital), &Arc::default());
    accept(&mut source, 1).await;
    let asked = lock(&hospital.shared.asked).clone();
    let waits: Vec<Duration> = asked.windows(2).map(|pair| pair[1].1 - pair[0].1).take(4).collect();
    assert!(waits[0] >= Duration::from_secs(1), "{waits:?}");
    assert!(waits[3] >= Duration::from_secs(5), "busy without a word for how long: {waits:?}");
    assert!(waits[1] >= Duration::from_millis(250) && waits[2] >= Duration::from_millis(500), "{waits:?}");
}

#[tokio::test]
async fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
    let hospital = Hospital::start().await;
    for n in 0..10 {
        hospital.put("Patient", &n.to_string(), &format!(r#""text":"{}""#, "x".repeat(1_000)));
    }
    let mut source = start(&FhirConfig { page_bytes_max: 3_500, ..config(&hospital) }, &Arc::default());
    accept(&mut source, 10).await;
    let asked = lock(&hospital.shared.asked).clone();
    assert!(asked.iter().any(|(asked, _)| asked.contains("_count=2")) && asked[0].0.contains("_count=10"));
}

#[tokio::test]
async fn a_type_that_is_refused_holds_up_no_other_and_is_seen() {
    let hospital = Hospital::start().await;
    lock(&hospital.shared.manners).forbidden = vec!["Patient".into()];
    hospital.put("Observation", "a", r#""status":"final""#);
    let types = vec!["Patient".into(), "Observation".into()];
    let mut source = start(&FhirConfig { types, ..config(&hospital) }, &Arc::default());
    assert!(accept(&mut source, 1).await[0].contains("Observation"));
    hospital.more_requests(4).await;
    assert!(!source.health().borrow().connected, "messages of one type cannot arrive");
    lock(&hospital.shared.manners).forbidden.clear();
    let connected = async { source.health().wait_for(|health| health.connected).await.map(|_| ()) };
    tokio::time::timeout(PATIENCE, connected).await.expect("in time").expect("it lives");
}

#[tokio::test]
async fn a_type_that_the_server_fails_at_holds_up_no_other_either() {
    let hospital = Hospital::start().await;
    lock(&hospital.shared.manners).failing = vec!["Patient".into()];
    hospital.put("Observation", "a", r#""status":"final""#);
    let types = vec!["Patient".into(), "Observation".into()];
    let mut source = start(&FhirConfig { types, ..config(&hospital) }, &Arc::default());
    assert!(accept(&mut source, 1).await[0].contains("Observation"));
    hospital.put("Observation", "b", r#""status":"final""#);
    assert!(accept(&mut source, 1).await[0].contains("Observation"), "and the next look goes on");
    lock(&hospital.shared.manners).failing.clear();
    hospital.put("Patient", "a", r#""active":true"#);
    assert!(accept(&mut source, 1).await[0].contains("Patient"));
}

#[tokio::test]
async fn it_begins_where_it_is_told_and_waits_for_a_store_that_is_away() {
    let (hospital, markers) = (Hospital::start().await, Arc::<Memory>::default());
    *lock(&markers.away) = true;
    hospital.put_at("Patient", "old", r#""active":true"#, now() - 10_000_000);
    hospital.put_at("Patient", "new", r#""active":true"#, now() - 1_000);
    let since = Some(instant(now() - 5_000_000));
    let mut source = start(&FhirConfig { since, ..config(&hospital) }, &markers);
    assert_eq!(lock(&hospital.shared.asked).len(), 0);
    *lock(&markers.away) = false;
    let delivery = next(&mut source).await;
    assert!(String::from_utf8_lossy(&delivery.body).contains("new"));
    *lock(&markers.away) = true;
    delivery.accept().await.expect_err("the marker is not kept");
    *lock(&markers.away) = false;
    // it is not yielded again here: it was accepted
    nothing(&mut source, &hospital).await;
    let marker = markers.marker("ehr", "Patient").and_then(|marker| marker.at).expect("kept");
    assert!(marker > now() - 60_000, "kept with the next look: {}", now() - marker);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let good = FhirConfig {
        name: "ehr".into(),
        server: server("https://ehr.example/fhir"),
        types: vec!["Patient".into()],
        mode: Mode::Search,
        since: Some("2026-01-01T00:00:00Z".into()),
        interval_ms: 10_000,
        count: 100,
        overlap_ms: 0,
        page_bytes_max: 1 << 20,
        unsettled_max: 1,
    };
    assert_eq!(good.check(), Ok(()));
    assert_eq!(good.warnings().len(), 2);
    let at = |base: &str| FhirConfig { server: server(base), ..good.clone() };
    let table = [
        (FhirConfig { name: "a b".into(), ..good.clone() }, "name: expected"),
        (at("http://ehr.example/fhir"), "base: found an address without TLS"),
        (at("https://user:CANARY@ehr.example/fhir"), "base: expected `https://host/…` without user"),
        (at("ehr.example"), "base: found no URL"),
        (FhirConfig { types: vec![], ..good.clone() }, "types: expected 1 to"),
        (FhirConfig { types: vec!["../x".into()], ..good.clone() }, "types: expected names"),
        (FhirConfig { since: Some("2026".into()), ..good.clone() }, "since: expected an instant"),
        (FhirConfig { count: 0, ..good.clone() }, "count: found 0, expected 1 to"),
    ];
    for (config, expected) in table {
        let found = config.check().expect_err(expected);
        assert!(found.contains(expected) && !found.contains("CANARY"), "{found}");
    }
}
