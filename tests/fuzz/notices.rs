//! What FHIR servers send to their subscribers: whatever is sent, nothing is taken that did not stand there, and no more than that.

use bytes::Bytes;
use connectors_fhir::Notice;

use crate::targets::{Target, target};

const SAMPLES: [&str; 4] = [
    r#"{"resourceType":"Patient","id":"p","meta":{"versionId":"1","lastUpdated":"2026-01-01T00:00:00Z"}}"#,
    r#"{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"SubscriptionStatus",
       "type":"event-notification"}},{"resource":{"resourceType":"Patient"}},{"fullUrl":"Patient/p"}]}"#,
    r#"{"resourceType":"Bundle","type":"subscription-notification","entry":[{"resource":{"resourceType":"SubscriptionStatus",
       "type":"event-notification","notificationEvent":[{"focus":{"reference":"Patient/p"}}]}}]}"#,
    r#"{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"Parameters","parameter":[
       {"name":"type","valueCode":"event-notification"},{"name":"notification-event","part":[
       {"name":"focus","valueReference":{"reference":"Patient/p"}}]}]}}]}"#,
];

pub fn notices() -> Target {
    let samples = SAMPLES.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    target("fhir-notice", samples, |input| {
        let body = Bytes::copy_from_slice(input);
        let Ok(notice) = Notice::read(&body) else { return false };
        let mut held = 0;
        for (_, resource) in &notice.resources {
            let within = body.as_ptr_range();
            assert!(within.contains(&resource.as_ptr()), "a resource that did not stand there");
            held += resource.len();
        }
        let named: usize = notice.references.iter().map(String::len).sum();
        assert!(held + named <= 2 * input.len(), "more is taken than was sent");
        true
    })
}
