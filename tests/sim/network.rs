//! The wires between validators: loss, duplication, delay, reordering, partitions that may hold in one direction only, or for some
//! kinds of message only: most that is rare in consensus begins with one phase that gets through and the next that does not.

use schemas::block::{Phase, ValidatorIndex};
use schemas::pbft::Message;

use crate::count::Count;
use crate::dice::Dice;
use crate::plan::Plan;

/// State of the wires.
pub struct Network {
    n: usize,
    /// Blocked links, from × n + to.
    blocked: Vec<bool>,
    /// Kinds of message that a link loses, as bits.
    muted: Vec<u8>,
    /// Latest arrival on each link.
    latest: Vec<u64>,
    loss: u64,
    duplication: u64,
    delay_ms: u64,
    straggling: u64,
}

impl Network {
    /// Wires with the faults of the plan.
    pub fn new(plan: &Plan) -> Self {
        Self {
            n: plan.seats(),
            blocked: vec![false; plan.seats() * plan.seats()],
            muted: vec![0; plan.seats() * plan.seats()],
            latest: vec![0; plan.seats() * plan.seats()],
            loss: plan.loss,
            duplication: plan.duplication,
            delay_ms: plan.delay_ms,
            straggling: plan.straggling,
        }
    }

    /// From now on only delays.
    pub fn heal(&mut self) {
        self.blocked.fill(false);
        self.muted.fill(0);
        (self.loss, self.duplication, self.straggling) = (0, 0, 0);
        self.delay_ms = self.delay_ms.min(10);
    }

    /// Cuts links at random: in two halves, one validator off, or single directions.
    pub fn partition(&mut self, victim: usize, dice: &mut Dice, count: &mut Count) {
        self.blocked.fill(false);
        let n = self.n;
        match dice.below(4) {
            0 => return,
            1 => {
                let sides: Vec<bool> = (0..n).map(|_| dice.percent(50)).collect();
                let links = (0..n * n).filter(|link| sides[link / n] != sides[link % n]);
                links.for_each(|link| self.blocked[link] = true);
            }
            2 => {
                let (one, hears) = (victim, dice.percent(50));
                for other in 0..n {
                    self.blocked[one * n + other] = true;
                    self.blocked[other * n + one] = !hears;
                }
            }
            _ => self.blocked.iter_mut().for_each(|link| *link = dice.percent(20)),
        }
        count.fault("partition");
    }

    /// One validator hears nobody any more; none: everyone is heard again.
    pub fn deafen(&mut self, victim: Option<usize>) {
        let n = self.n;
        (0..n * n).for_each(|link| self.blocked[link] = victim == Some(link % n));
    }

    /// From now on some links lose one or two kinds of message, until the next time.
    pub fn mute(&mut self, dice: &mut Dice, count: &mut Count) {
        self.muted.fill(0);
        if dice.percent(25) {
            return;
        }
        let kinds = 1 << dice.index(KINDS) | if dice.percent(40) { 1 << dice.index(KINDS) } else { 0 };
        let share = [30, 60, 90, 100][dice.index(4)];
        self.muted.iter_mut().for_each(|link| *link = if dice.percent(share) { kinds } else { 0 });
        count.fault("mute");
    }

    /// When copies of a frame arrive, from none to two.
    pub fn arrivals(
        &mut self,
        from: ValidatorIndex,
        to: ValidatorIndex,
        message: &Message,
        now: u64,
        dice: &mut Dice,
        count: &mut Count,
    ) -> [Option<u64>; 2] {
        let link = usize::from(from) * self.n + usize::from(to);
        if self.blocked[link] || self.muted[link] & kind(message) != 0 {
            return [None, None];
        }
        let mut out = [None, None];
        let copies = 1 + usize::from(dice.percent(self.duplication));
        if copies == 2 {
            count.fault("duplicate");
        }
        for slot in out.iter_mut().take(copies) {
            if dice.percent(self.loss) {
                count.fault("loss");
                continue;
            }
            let mut delay = 1 + dice.below(self.delay_ms);
            if dice.percent(self.straggling) {
                count.fault("delay");
                delay += dice.between(50, 800);
            }
            let at = now + delay;
            if at < self.latest[link] {
                count.fault("reorder");
            }
            self.latest[link] = self.latest[link].max(at);
            *slot = Some(at);
        }
        out
    }
}

/// Kinds that can be muted.
const KINDS: usize = 7;

/// The bit of a message's kind; 0 for what is never muted.
const fn kind(message: &Message) -> u8 {
    match message {
        Message::PrePrepare(_) => 1,
        Message::Vote(said) => match said.vote.phase {
            Phase::Prepare => 1 << 1,
            _ => 1 << 2,
        },
        Message::ViewChange(_) => 1 << 3,
        Message::NewView(_) => 1 << 4,
        Message::Attest(_) => 1 << 5,
        Message::Blocks(_) => 1 << 6,
        _ => 0,
    }
}
