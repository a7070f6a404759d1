//! Two records that a hospital says are one person's: a search finds both, what the surviving one permits holds for both, the denials
//! of both hold, and all of it ends when the hospital takes it back. Nothing is rewritten.

use schemas::id::SubjectId;
use serde_json::json;

use gateway_server::store::merges::{self, Merge};
use gateway_server::store::{self};

use crate::world::{World, permit, worlds};

async fn say(world: &World, inbox_id: i64, (prior, surviving): (SubjectId, SubjectId), undone: bool) {
    let mut write = world.store.begin().await.expect("begin");
    merges::add(&mut write, &[Merge { prior, surviving, inbox_id, undone }]).await.expect("merge");
    store::commit(write).await.expect("commit");
}

/// How many observations a search by this patient shows to the clinic.
async fn found(world: &World, patient: &str) -> u64 {
    let clinic = world.token("clinic", "system/*.rs").await;
    let (status, body) = world.get(&clinic, &format!("Observation?patient={patient}")).await;
    assert_eq!(status, 200, "{body}");
    body["total"].as_u64().expect("a total")
}

#[tokio::test]
async fn the_survivors_permits_and_the_denials_of_both() {
    for world in worlds().await {
        let (stays, goes) = (world.patient("stays").await, world.patient("goes").await);
        world.observation(&stays, "of-stays", "laboratory", "2026-01-01").await;
        let of_goes = world.observation(&goes, "of-goes", "laboratory", "2026-01-02").await;
        world.grant(&permit(&stays.id, "Organization/clinic", &json!({}))).await;
        assert_eq!((found(&world, &stays.id).await, found(&world, &goes.id).await), (1, 0), "two people");

        say(&world, 1, (goes.subject, stays.subject), false).await;
        assert_eq!((found(&world, &stays.id).await, found(&world, &goes.id).await), (2, 2), "one person");
        let clinic = world.token("clinic", "system/*.rs").await;
        assert_eq!(world.get(&clinic, &format!("Observation/{of_goes}")).await.0, 200);

        // what the one who goes denied is denied of both
        let denied = json!({ "code": [{ "coding": [{ "system": "http://loinc.org", "code": "of-stays" }] }] });
        let mut refusal = permit(&goes.id, "Organization/clinic", &denied);
        refusal["policyRule"]["coding"][0]["code"] = "OPTIN".into();
        refusal["provision"] = json!({ "type": "permit", "provision": [{
            "type": "deny", "code": [{ "coding": [{ "system": "http://loinc.org", "code": "of-stays" }] }],
        }] });
        world.grant(&refusal).await;
        assert_eq!(found(&world, &stays.id).await, 1, "the denial of the other");

        say(&world, 2, (stays.subject, goes.subject), true).await;
        assert_eq!((found(&world, &stays.id).await, found(&world, &goes.id).await), (1, 1), "two people again");
    }
}

#[tokio::test]
async fn what_the_one_who_goes_permits_is_its_own() {
    let world = World::new().await;
    let (stays, goes) = (world.patient("stays").await, world.patient("goes").await);
    world.observation(&stays, "of-stays", "laboratory", "2026-01-01").await;
    world.observation(&goes, "of-goes", "laboratory", "2026-01-02").await;
    world.grant(&permit(&goes.id, "Organization/clinic", &json!({}))).await;
    say(&world, 1, (goes.subject, stays.subject), false).await;
    assert_eq!((found(&world, &stays.id).await, found(&world, &goes.id).await), (1, 1));
}

#[tokio::test]
async fn a_chain_of_merges_is_one_person_and_the_last_word_about_a_pair_counts() {
    let world = World::new().await;
    let (a, b, c) = (world.patient("a").await, world.patient("b").await, world.patient("c").await);
    say(&world, 1, (a.subject, b.subject), false).await;
    say(&world, 2, (b.subject, c.subject), false).await;
    let survivors = |all: Vec<merges::Member>| {
        let mut all: Vec<_> = all.into_iter().map(|member| (member.subject, member.survives)).collect();
        all.sort_unstable();
        all
    };
    let sorted = |mut all: Vec<(SubjectId, bool)>| {
        all.sort_unstable();
        all
    };
    let of_a = survivors(merges::others(&world.store, &a.subject).await.expect("read"));
    assert_eq!(of_a, sorted(vec![(b.subject, true), (c.subject, true)]));
    let of_c = survivors(merges::others(&world.store, &c.subject).await.expect("read"));
    assert_eq!(of_c, sorted(vec![(a.subject, false), (b.subject, false)]));
    // a and c are two people, although both are b
    say(&world, 9, (c.subject, a.subject), true).await;
    let of_a = survivors(merges::others(&world.store, &a.subject).await.expect("read"));
    assert_eq!(of_a, [(b.subject, true)]);
    say(&world, 10, (a.subject, c.subject), false).await;
    say(&world, 3, (b.subject, c.subject), true).await;
    say(&world, 11, (a.subject, c.subject), true).await;
    assert_eq!(survivors(merges::others(&world.store, &c.subject).await.expect("read")), []);
    say(&world, 4, (c.subject, b.subject), false).await;
    let of_c = survivors(merges::others(&world.store, &c.subject).await.expect("read"));
    assert_eq!(of_c, [(b.subject, true)], "a is another person than c, whoever joins them");
}
