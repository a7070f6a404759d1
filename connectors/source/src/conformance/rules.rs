//! One function per MUST of `SPEC.md`. Each starts at an empty place of the peer and uses nothing but the traits.

use bytes::Bytes;

use super::{Check, Message, Rig, RigFuture, Timing, Violation};
use crate::delivery::Rejection;
use crate::error::SettleError;
use crate::source::Source;

type Rule = fn(&mut dyn Rig, Timing) -> RigFuture<'_, Result<(), Violation>>;

/// All checks, in the order of `SPEC.md`.
pub(super) const ALL: &[Rule] = &[
    |rig, timing| Box::pin(yields_everything(rig, timing)),
    |rig, timing| Box::pin(keeps_bytes(rig, timing)),
    |rig, timing| Box::pin(survives_cancelled_next(rig, timing)),
    |rig, timing| Box::pin(accepted_is_gone(rig, timing)),
    |rig, timing| Box::pin(released_comes_again(rig, timing)),
    |rig, timing| Box::pin(dropped_comes_again(rig, timing)),
    |rig, timing| Box::pin(rejected_is_put_aside(rig, timing)),
    |rig, timing| Box::pin(bounds_unsettled(rig, timing)),
    |rig, timing| Box::pin(recovers(rig, timing)),
    |rig, timing| Box::pin(reports_health(rig, timing)),
    |rig, timing| Box::pin(closes(rig, timing)),
    |rig, timing| Box::pin(keeps_order(rig, timing)),
];

async fn publish(rig: &mut dyn Rig, count: usize) {
    for n in 0..count {
        rig.publish(Message::numbered(n)).await;
    }
}

/// S1.
async fn yields_everything(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S1 yields_everything", timing);
    publish(rig, 50).await;
    let mut source = rig.open(8).await;
    let mut missing: Vec<Bytes> = (0..50).map(|n| Message::numbered(n).body).collect();
    while !missing.is_empty() {
        let delivery = check.next(&mut *source).await?;
        if &*delivery.connector != source.name() {
            return check.fail("another connector's name in the delivery", "the source's name");
        }
        missing.retain(|body| *body != delivery.body);
        check.accept(delivery).await?;
    }
    check.nothing(&mut *source, "nothing more").await
}

/// S2.
async fn keeps_bytes(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S2 keeps_bytes", timing);
    let all_bytes: Vec<u8> = (0..=255).collect();
    for body in [Bytes::new(), Bytes::from(all_bytes), Bytes::from(vec![b'\r'; 1 << 20])] {
        let message = Message { body: body.clone(), ..Message::numbered(0) };
        rig.publish(message).await;
        let mut source = rig.open(1).await;
        let delivery = check.next(&mut *source).await?;
        check.body(&delivery, &body)?;
        if &*delivery.content_type != "application/octet-stream" {
            return check.fail("another content type", "the sender's, in lower case");
        }
        check.accept(delivery).await?;
    }
    Ok(())
}

/// S3.
async fn survives_cancelled_next(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S3 survives_cancelled_next", timing);
    let mut source = rig.open(4).await;
    for n in 0..20 {
        // Polled once and dropped, around the moment at which the message arrives.
        let _ = tokio::time::timeout(std::time::Duration::ZERO, source.next()).await.map(drop);
        rig.publish(Message::numbered(n)).await;
        let hasty = tokio::time::timeout(std::time::Duration::ZERO, source.next()).await;
        let delivery = match hasty {
            Ok(Ok(Some(delivery))) => delivery,
            _ => check.next(&mut *source).await?,
        };
        check.body(&delivery, &Message::numbered(n).body)?;
        check.accept(delivery).await?;
    }
    Ok(())
}

/// S4.
async fn accepted_is_gone(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S4 accepted_is_gone", timing);
    publish(rig, 1).await;
    let mut source = rig.open(4).await;
    let delivery = check.next(&mut *source).await?;
    check.accept(delivery).await?;
    close_and_drain(&check, &mut *source).await?;
    let mut other = rig.open(4).await;
    check.nothing(&mut *other, "an accepted message gone for good").await
}

/// S5.
async fn released_comes_again(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S5 released_comes_again", timing);
    publish(rig, 1).await;
    let mut source = rig.open(4).await;
    let delivery = check.next(&mut *source).await?;
    if let Err(error) = delivery.release().await {
        return check.fail(error.to_string(), "the release sent");
    }
    let again = check.next(&mut *source).await?;
    check.body(&again, &Message::numbered(0).body)?;
    check.accept(again).await
}

/// S5.
async fn dropped_comes_again(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S5 dropped_comes_again", timing);
    publish(rig, 1).await;
    let mut source = rig.open(4).await;
    drop(check.next(&mut *source).await?);
    // An accept that nobody polls settles nothing.
    drop(check.next(&mut *source).await?.accept());
    let again = check.next(&mut *source).await?;
    check.body(&again, &Message::numbered(0).body)?;
    check.accept(again).await
}

/// S6.
async fn rejected_is_put_aside(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S6 rejected_is_put_aside", timing);
    publish(rig, 1).await;
    let mut source = rig.open(4).await;
    let delivery = check.next(&mut *source).await?;
    if let Err(error) = delivery.reject(Rejection::TooLarge).await {
        return check.fail(error.to_string(), "the rejection sent");
    }
    check.nothing(&mut *source, "a rejected message not yielded again").await?;
    match rig.put_aside().await {
        1 => Ok(()),
        other => check.fail(format!("{other} messages put aside"), "1"),
    }
}

/// S7.
async fn bounds_unsettled(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S7 bounds_unsettled", timing);
    publish(rig, 8).await;
    let mut source = rig.open(3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(check.next(&mut *source).await?);
    }
    check.nothing(&mut *source, "no more deliveries than may be unsettled").await?;
    let unsettled = source.health().borrow().unsettled;
    if unsettled != 3 {
        return check.fail(format!("{unsettled} unsettled in its health"), "3");
    }
    check.accept(held.remove(0)).await?;
    held.push(check.next(&mut *source).await?);
    for delivery in held {
        check.accept(delivery).await?;
    }
    Ok(())
}

/// S8.
async fn recovers(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S8 recovers", timing);
    publish(rig, 1).await;
    let mut source = rig.open(1).await;
    let stale = check.next(&mut *source).await?;
    rig.cut().await;
    let again = check.next_within(&mut *source, check.timing.recovery).await?;
    check.body(&again, &Message::numbered(0).body)?;
    match stale.accept().await {
        Err(SettleError::ConnectionLost) => {}
        other => return check.fail(format!("{other:?} from the lost connection"), "ConnectionLost"),
    }
    check.accept(again).await?;
    rig.publish(Message::numbered(1)).await;
    let next = check.next(&mut *source).await?;
    check.body(&next, &Message::numbered(1).body)?;
    check.accept(next).await?;
    match source.health().borrow().reconnects {
        0 => check.fail("no reconnect in its health", "at least one"),
        _ => Ok(()),
    }
}

/// S9.
async fn reports_health(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S9 reports_health", timing);
    let states: &[bool] = if rig.listens() { &[false, true] } else { &[true, false, true] };
    rig.set_reachable(states[0]).await;
    let source = rig.open(1).await;
    let mut health = source.health();
    for connected in states.iter().copied() {
        rig.set_reachable(connected).await;
        let limit = if connected { check.timing.recovery } else { check.timing.patience };
        if !matches!(tokio::time::timeout(limit, health.wait_for(|h| h.connected == connected)).await, Ok(Ok(_))) {
            return check.fail("the old state", "the true one, while nobody asks for deliveries");
        }
    }
    Ok(())
}

/// S10.
async fn closes(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S10 closes", timing);
    publish(rig, 6).await;
    let mut source = rig.open(3).await;
    let in_hand = check.next(&mut *source).await?;
    source.close();
    source.close();
    check.accept(in_hand).await?;
    let yielded = 1 + close_and_drain(&check, &mut *source).await?;
    drop(source);
    let mut other = rig.open(8).await;
    for _ in yielded..6 {
        let delivery = check.next(&mut *other).await?;
        check.accept(delivery).await?;
    }
    check.nothing(&mut *other, "every message once, before or after the close").await
}

/// Closes and accepts what is still yielded; how many that were.
async fn close_and_drain(check: &Check, source: &mut dyn Source) -> Result<usize, Violation> {
    source.close();
    let mut drained = 0;
    loop {
        match tokio::time::timeout(check.timing.patience, source.next()).await {
            Ok(Ok(None)) => return Ok(drained),
            Ok(Ok(Some(delivery))) => check.accept(delivery).await?,
            Ok(Err(error)) => return check.fail(error.to_string(), "the end after close"),
            Err(_) => return check.fail("no end", "the end after close"),
        }
        drained += 1;
    }
}

/// S11.
async fn keeps_order(rig: &mut dyn Rig, timing: Timing) -> Result<(), Violation> {
    let check = Check::of("S11 keeps_order", timing);
    publish(rig, 100).await;
    let mut source = rig.open(16).await;
    for n in 0..100 {
        let delivery = check.next(&mut *source).await?;
        check.body(&delivery, &Message::numbered(n).body)?;
        check.accept(delivery).await?;
    }
    // Nothing may be left behind that would be yielded out of order later.
    let late = tokio::time::timeout(check.timing.quiet, source.next()).await;
    if late.is_ok() {
        return check.fail("a delivery too many", "each message once");
    }
    Ok(())
}
