//! Broker, database, validators and object store go away under load and come back: each is killed again and again, and gone for long
//! once. The gateway takes and acknowledges what it can make durable and nothing more, says which part is not ready, and goes on by
//! itself. In the end every message that was published is anchored, once.
//!
//! `CHARTSEAL_KILLS` (3) says how often each is killed, `CHARTSEAL_AWAY_S` (0) how many seconds each stays away once all that can
//! happen without it has happened: `tests/run --long` sets 10 and 900.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ledger_client::HttpLedger;
use schemas::genesis::Genesis;
use tokio::sync::watch;

use crate::chain::Chain;
use crate::crash::settle;
use crate::feed::Feed;
use crate::servers::Server;
use crate::world::{Gateway, Services, World};

/// Longest wait for one change of what the gateway says.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often broker, database and validator are killed under load, unless `CHARTSEAL_KILLS` says otherwise.
const KILLS: usize = 3;
/// Attempts to connect that the broker misses.
const MISSED_CONNECTS: usize = 3;
/// What the log says of an attempt that failed, and how many more fail while nothing may move.
const ATTEMPT: &str = "delay_ms=";
const ATTEMPTS: usize = 1;
/// Messages that a gateway holds back at least while its database is away: those are still the broker's.
const HELD_BACK: u32 = 200;
/// Published around each outage: more than fits between broker and the part that is away, in memory.
const AROUND_BROKER: usize = 400;
const AROUND_DATABASE: usize = 400;
const AROUND_OBJECTS: usize = 1_400;
const AROUND_VALIDATOR: usize = 400;
const AROUND_LEDGER: usize = 2_600;

/// A publisher that never stops: message after message, again when it is unsure, as soon as the broker is there.
struct Load {
    /// How many are to be published in all.
    target: watch::Sender<usize>,
    published: watch::Receiver<usize>,
    broker: watch::Sender<bool>,
}

impl Load {
    fn start(url: String, key: String) -> Self {
        let (target, mut wanted) = watch::channel(0);
        let (done, published) = watch::channel(0);
        let (broker, mut up) = watch::channel(true);
        tokio::spawn(async move {
            let (mut feed, mut next) = (None, 0);
            // until the test is over
            while let Ok(most) = wanted.wait_for(|target| *target > next).await.map(|target| *target)
                && up.wait_for(|up| *up).await.is_ok()
            {
                if feed.is_none() {
                    feed = Feed::try_connect(&url).await.ok();
                }
                let Some(open) = &feed else { continue };
                let burst = next..most.min(next + 64);
                match open.try_send_all(&key, burst.clone()).await {
                    Ok(()) => next = burst.end,
                    Err(_) => feed = None,
                }
                done.send_replace(next);
            }
        });
        Self { target, published, broker }
    }

    fn publish(&self, more: usize) {
        self.target.send_modify(|target| *target += more);
    }

    /// Waits until everything is the broker's.
    async fn all_published(&mut self) -> usize {
        let target = *self.target.borrow();
        *self.published.wait_for(|published| *published == target).await.expect("the publisher goes on")
    }
}

/// What the outage is seen through.
struct Outage {
    world: World,
    gateway: Gateway,
    ledger: HttpLedger,
    chain: Chain,
    load: Load,
    feed: Feed,
    /// How long what is gone stays away.
    away: Duration,
}

impl Outage {
    /// On this PostgreSQL, or on SQLite.
    async fn start(services: Services, database: Option<&str>) -> Self {
        let world = World::start(services);
        if let Some(url) = database {
            world.use_database(url);
        }
        let text = std::fs::read_to_string(world.dir.join("genesis.json")).expect("genesis.json");
        let chain = Chain::new(&Genesis::parse(&text).expect("the genesis parses"));
        let (gateway, ledger) = (world.gateway(None), world.ledger());
        let feed = Feed::connect(&world.services.amqp).await;
        let load = Load::start(world.services.amqp.clone(), world.routing_key());
        let away = Duration::from_secs(number("CHARTSEAL_AWAY_S", 0) as u64);
        let mut outage = Self { world, gateway, ledger, chain, load, feed, away };
        outage.until_not_ready(None, &[]).await;
        outage
    }

    /// Publishes, and goes on in the middle of the work.
    async fn under_way(&mut self, messages: usize) {
        let before = self.chain.anchors.len();
        self.load.publish(messages);
        settle(&mut self.chain, &self.ledger, before + 40, &mut self.gateway).await;
    }

    /// Waits until `/readyz` names this part, and no other but those that stand on it; for none: until all are ready.
    async fn until_not_ready(&mut self, part: Option<&str>, standing_on_it: &[&str]) {
        let wanted: BTreeSet<&str> = part.into_iter().collect();
        let from = Instant::now();
        loop {
            let found = self.world.not_ready().await;
            let found: Option<BTreeSet<&str>> = found.as_ref().map(|all| all.iter().map(String::as_str).collect());
            let settled = found.as_ref().is_some_and(|found| {
                wanted.is_subset(found) && found.difference(&wanted).all(|part| standing_on_it.contains(part))
            });
            if settled {
                return;
            }
            assert!(self.gateway.is_running(), "the gateway ended by itself");
            assert!(from.elapsed() < WAIT_MAX, "found {found:?} not ready for {WAIT_MAX:?}, expected {wanted:?}");
            tokio::task::yield_now().await;
        }
    }

    /// As long as something is away: the gateway lives, and goes on saying so.
    async fn stays_away(&mut self) {
        if !self.away.is_zero() {
            assert!(self.gateway.lives_for(self.away).await, "the gateway ended by itself");
        }
    }

    /// Waits until everything is published and in the inbox, while what comes behind it is held up and says so.
    async fn until_all_taken(&mut self) {
        self.load.all_published().await;
        let from = Instant::now();
        loop {
            let says_so = self.world.not_ready().await.is_some_and(|parts| parts.contains("ingest"));
            let now = self.feed.waiting(&self.world.queue).await;
            if says_so && now == 0 {
                return;
            }
            assert!(
                from.elapsed() < WAIT_MAX,
                "found {now} at the broker, expected all taken; ingest says so: {says_so}"
            );
        }
    }

    /// Waits until everything is published and the gateway takes nothing more: it tries again and again, and the broker keeps
    /// what it has.
    async fn until_held_back(&mut self) {
        self.load.all_published().await;
        let from = Instant::now();
        // what is on its way still fills the queues between the steps
        let (mut before, mut now) = (0, self.feed.waiting(&self.world.queue).await);
        loop {
            while before != now || now < HELD_BACK {
                assert!(from.elapsed() < WAIT_MAX, "consumption goes on: {before}, then {now} at the broker");
                before = now;
                self.world.not_ready().await;
                now = self.feed.waiting(&self.world.queue).await;
            }
            let attempts = self.world.logged(ATTEMPT);
            self.world.until_logged(ATTEMPT, attempts + ATTEMPTS).await;
            let says_so = self.world.not_ready().await.is_some_and(|parts| parts.contains("ingest"));
            now = self.feed.waiting(&self.world.queue).await;
            if says_so && now == before {
                return;
            }
            assert!(from.elapsed() < WAIT_MAX, "consumption goes on: {before}, then {now} at the broker");
        }
    }

    /// Everything that was published is anchored, once.
    async fn end(mut self) {
        // one more behind everything else: what was still under way would be anchored before it
        self.load.publish(1);
        let published = self.load.all_published().await;
        settle(&mut self.chain, &self.ledger, published, &mut self.gateway).await;
        assert_eq!(self.feed.waiting(&self.world.queue).await, 0, "nothing waits at the broker");
        assert_eq!(self.chain.anchors.len(), published, "one anchor for each message");
        assert!(self.chain.anchors.values().all(|&times| times == 1), "no case is anchored twice");
        self.gateway.kill().await;
    }

    /// Waits until all is ready again and all that was published is anchored.
    async fn recovered(&mut self, what: &str) {
        let from = Instant::now();
        self.until_not_ready(None, &[]).await;
        let ready = from.elapsed();
        let published = self.load.all_published().await;
        settle(&mut self.chain, &self.ledger, published, &mut self.gateway).await;
        println!("{what}: ready {ready:?} after it came back, all {published} anchored {:?} after", from.elapsed());
    }
}

/// A number of the environment.
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("found {name}={text}, expected a number")))
}

fn kills() -> usize {
    number("CHARTSEAL_KILLS", KILLS)
}

/// Once stopped as an operator would, then killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_broker_loses_and_doubles_nothing() {
    let Some(mut services) = Services::find() else { return };
    let home = tempfile::tempdir().expect("a temporary folder");
    let [mut broker] = Server::start(["rabbitmq"], home.path());
    services.amqp.clone_from(&broker.url);
    let mut outage = Outage::start(services, None).await;
    for round in 0..=kills() {
        outage.under_way(AROUND_BROKER).await;
        outage.load.broker.send_replace(false);
        if round == 0 {
            broker.stop()
        } else {
            broker.kill()
        }
        outage.until_not_ready(Some("connector crash"), &[]).await;
        if round == 0 {
            outage.world.until_logged("not connected", MISSED_CONNECTS).await;
            outage.stays_away().await;
        }
        broker.restart();
        outage.feed = Feed::connect(&broker.url).await;
        outage.load.broker.send_replace(true);
        outage.recovered(&format!("broker, round {round}")).await;
    }
    outage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_database_loses_and_doubles_nothing() {
    let Some(services) = Services::find() else { return };
    // PostgreSQL's own user has to reach its folder
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    let home = tempfile::Builder::new().permissions(mode).tempdir().expect("a temporary folder");
    let [mut database] = Server::start(["postgres"], home.path());
    let mut outage = Outage::start(services, Some(&database.url)).await;
    for round in 1..=kills() {
        outage.under_way(AROUND_DATABASE).await;
        database.crash();
        outage.until_not_ready(Some("database"), &["ingest", "ledger"]).await;
        if round == 1 {
            // the gateway may have taken all that was published before
            outage.load.publish(AROUND_DATABASE);
            outage.until_held_back().await;
            outage.stays_away().await;
        }
        database.restart();
        outage.recovered(&format!("database, round {round}")).await;
    }
    outage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_of_objects_and_ledger_lose_and_double_nothing() {
    let Some(services) = Services::find() else { return };
    let mut outage = Outage::start(services, None).await;
    without_objects(&mut outage).await;
    without_validator(&mut outage, kills()).await;
    without_quorum(&mut outage).await;
    outage.end().await;
}

async fn without_objects(outage: &mut Outage) {
    let (objects, away) = (outage.world.dir.join("objects"), outage.world.dir.join("away"));
    outage.under_way(AROUND_OBJECTS).await;
    std::fs::rename(&objects, &away).expect("moved away");
    outage.until_not_ready(Some("objects"), &["ingest"]).await;
    outage.until_all_taken().await;
    std::fs::rename(&away, &objects).expect("nothing was made in its place");
    outage.recovered("objects").await;
}

/// One validator, which is the primary mostly: the other three go on.
async fn without_validator(outage: &mut Outage, kills: usize) {
    for round in 1..=kills {
        outage.under_way(AROUND_VALIDATOR).await;
        let index = (round - 1) % 4;
        outage.world.kill_validator(index);
        outage.recovered(&format!("validator {index} gone, round {round}")).await;
        if round == 1 {
            outage.stays_away().await;
        }
        outage.world.restart_validator(index);
        outage.under_way(AROUND_VALIDATOR).await;
        outage.recovered(&format!("validator {index} back, round {round}")).await;
    }
}

/// Two of four: nothing can be anchored.
async fn without_quorum(outage: &mut Outage) {
    outage.under_way(AROUND_LEDGER).await;
    outage.world.signal_validator(2, "STOP");
    outage.world.kill_validator(3);
    outage.until_not_ready(Some("ledger"), &["ingest"]).await;
    outage.until_all_taken().await;
    outage.stays_away().await;
    outage.world.restart_validator(3);
    outage.world.signal_validator(2, "CONT");
    outage.recovered("ledger").await;
}
