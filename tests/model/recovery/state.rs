//! A state of the recovery model: what each honest validator remembers, and what was ever said. Heights count from 0 here, and so
//! a checkpoint or an executed height is the number of heights below it.

/// Honest validators; the one that loses its votes is the first.
pub const HONEST: usize = 3;
pub const FORGETFUL: usize = 0;
/// q without the faulty one, whose word is always there.
const QUORUM: u32 = 2;
pub const HEIGHTS: usize = 2;
pub const VIEWS: usize = 3;
/// Heights above its newest checkpoint at which a validator votes.
pub const OPEN: usize = 1;

/// What stands at a height: the batch of the view that first proposed it, or the null batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Batch {
    Of(usize),
    Null,
}

/// What prepared at each height, and in which view.
type Prepared = [Option<(usize, Batch)>; HEIGHTS];

/// VIEW-CHANGE: the newest checkpoint, and what prepared above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Leave {
    checkpoint: usize,
    prepared: Prepared,
}

/// NEW-VIEW: from where it begins, and what it assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Begin {
    checkpoint: usize,
    assigned: [Option<Batch>; HEIGHTS],
}

/// Until which height is final a validator is silent, and above which view it then speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Silence {
    pub until: usize,
    pub above: usize,
}

/// What a validator remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Validator {
    pub view: usize,
    pub checkpoint: usize,
    pub executed: usize,
    pub silence: Option<Silence>,
    active: bool,
    prepared: Prepared,
}

/// Who of the honest said something, as bits.
type Said = u8;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub validators: [Validator; HONEST],
    prepares: [[Said; HEIGHTS]; VIEWS],
    commits: [[Said; HEIGHTS]; VIEWS],
    attested: [Said; HEIGHTS],
    leaves: [[Option<Leave>; HONEST]; VIEWS],
    began: [Option<Begin>; VIEWS],
    pub is_lost: bool,
    /// A validator said two things of which an honest one says one.
    pub is_contradicted: bool,
}

fn is_quorum(said: Said) -> bool {
    said.count_ones() >= QUORUM
}

impl State {
    /// All are in view 0.
    pub fn new() -> Self {
        let validator = Validator { active: true, ..Validator::default() };
        let mut began = [None; VIEWS];
        began[0] = Some(Begin { checkpoint: 0, assigned: [None; HEIGHTS] });
        let mut state = Self {
            validators: [validator; HONEST],
            prepares: [[0; HEIGHTS]; VIEWS],
            commits: [[0; HEIGHTS]; VIEWS],
            attested: [0; HEIGHTS],
            leaves: [[None; HONEST]; VIEWS],
            began,
            is_lost: false,
            is_contradicted: false,
        };
        state.settle();
        state
    }

    /// What the primary of a view proposes at a height.
    fn batch(&self, view: usize, height: usize) -> Option<Batch> {
        let begin = self.began[view]?;
        (height >= begin.checkpoint).then(|| begin.assigned[height].unwrap_or(Batch::Of(view)))
    }

    /// What q committed at a height, of each view.
    fn decided(&self, height: usize) -> impl Iterator<Item = Batch> + '_ {
        let views = (0..VIEWS).filter(move |&view| is_quorum(self.commits[view][height]));
        views.filter_map(move |view| self.batch(view, height))
    }

    /// One batch at each height.
    pub fn agrees(&self) -> bool {
        (0..HEIGHTS).all(|height| {
            let mut decided = self.decided(height);
            let first = decided.next();
            decided.all(|other| Some(other) == first)
        })
    }

    /// Whether one that lost its votes speaks again, and is of a quorum that commits.
    pub fn decides_again(&self) -> bool {
        let mut prepared = self.validators[FORGETFUL].prepared.iter().enumerate();
        let decides = |height: usize, view: usize| is_quorum(self.commits[view][height]);
        self.is_lost && prepared.any(|(height, of)| of.is_some_and(|(view, _)| decides(height, view)))
    }

    /// Honest validators, but for `who`, that are in this view or a later one, or asked for it before they lost their votes.
    fn wanting(&self, view: usize, who: Option<usize>) -> usize {
        let wants =
            |by: usize| self.validators[by].view >= view || self.leaves[view..].iter().any(|of| of[by].is_some());
        (0..HONEST).filter(|&by| Some(by) != who && wants(by)).count()
    }

    /// Whether a validator votes for its view's batch at a height: open, and nothing else was executed there.
    fn accepts(&self, who: usize, height: usize) -> bool {
        let Validator { view, checkpoint, executed, active, silence, .. } = self.validators[who];
        let is_open = (checkpoint..checkpoint + OPEN).contains(&height);
        let fits = |batch| height >= executed || self.decided(height).all(|decided| decided == batch);
        active && silence.is_none() && is_open && self.batch(view, height).is_some_and(fits)
    }

    /// A prepared certificate, and the commit.
    pub fn commit(&mut self, who: usize, height: usize) -> Option<()> {
        let view = self.validators[who].view;
        let is_new = self.validators[who].prepared[height].is_none_or(|(before, _)| before < view);
        (is_new && self.accepts(who, height) && is_quorum(self.prepares[view][height])).then_some(())?;
        self.validators[who].prepared[height] = Some((view, self.batch(view, height)?));
        self.commits[view][height] |= 1 << who;
        Some(())
    }

    /// The next height, if it is decided.
    pub fn execute(&mut self, who: usize) -> Option<()> {
        let height = self.validators[who].executed;
        (height < HEIGHTS).then_some(())?;
        self.decided(height).next()?;
        self.validators[who].executed += 1;
        self.attested[height] |= 1 << who;
        Some(())
    }

    /// A newer checkpoint, from whoever has it.
    pub fn learn(&mut self, who: usize, height: usize) -> Option<()> {
        let validator = &mut self.validators[who];
        (height >= validator.checkpoint && is_quorum(self.attested[height])).then_some(())?;
        validator.checkpoint = height + 1;
        Some(())
    }

    /// The first knows nothing any more, once.
    pub fn lose(&mut self, silence: Silence) -> Option<()> {
        (!self.is_lost).then_some(())?;
        self.is_lost = true;
        self.validators[FORGETFUL] = Validator { silence: Some(silence), ..Validator::default() };
        Some(())
    }

    /// A checkpoint with all below it, once.
    pub fn catch_up(&mut self, height: usize) -> Option<()> {
        let validator = &mut self.validators[FORGETFUL];
        let is_behind = validator.silence.is_some() && validator.checkpoint == 0;
        (is_behind && is_quorum(self.attested[height])).then_some(())?;
        (validator.checkpoint, validator.executed) = (height + 1, height + 1);
        Some(())
    }

    /// By its timer to the next view, once the own one has begun or q want it; or by joining f + 1.
    pub fn leave(&mut self, who: usize, to: usize) -> Option<()> {
        let Validator { view, active, checkpoint, prepared, silence, .. } = self.validators[who];
        let is_overdue = active || self.wanting(view, None) >= QUORUM as usize;
        let by_timer = silence.is_none() && to == view + 1 && is_overdue;
        (by_timer || self.wanting(to, Some(who)) > 0).then_some(())?;
        let said = Leave { checkpoint, prepared };
        self.is_contradicted |= self.leaves[to][who].is_some_and(|before| before != said);
        self.leaves[to][who] = Some(said);
        self.validators[who] = Validator { view: to, active: false, silence: None, ..self.validators[who] };
        Some(())
    }

    /// From the view changes of two honest validators and the faulty one, which says nothing in its own, or of all three.
    pub fn begin(&mut self, view: usize, without: Option<usize>) -> Option<()> {
        let is_of_use = self.validators.iter().any(|validator| validator.view <= view);
        (self.began[view].is_none() && is_of_use).then_some(())?;
        let honest = (0..HONEST).filter(|&by| Some(by) != without);
        let leaves: Vec<Leave> = honest.map(|by| self.leaves[view][by]).collect::<Option<_>>()?;
        let checkpoint = leaves.iter().map(|leave| leave.checkpoint).max()?;
        let highest = |height: usize| leaves.iter().filter_map(|leave| leave.prepared[height]).max();
        let end = (checkpoint..HEIGHTS).rfind(|&height| highest(height).is_some()).map_or(checkpoint, |last| last + 1);
        let mut assigned = [None; HEIGHTS];
        for (height, assigned) in assigned.iter_mut().enumerate().take(end).skip(checkpoint) {
            *assigned = Some(highest(height).map_or(Batch::Null, |(_, batch)| batch));
        }
        self.began[view] = Some(Begin { checkpoint, assigned });
        Some(())
    }

    /// Votes in a view that began.
    pub fn enter(&mut self, who: usize, view: usize) -> Option<()> {
        let before = self.validators[who];
        let begin = self.began[view]?;
        (view > before.view || !before.active).then_some(())?;
        let checkpoint = before.checkpoint.max(begin.checkpoint);
        self.validators[who] = Validator { view, active: true, checkpoint, silence: None, ..before };
        Some(())
    }

    /// Everyone prepares what is open to it; then what can make no difference any more is made equal, and the two validators that
    /// never lose anything are put in order: they have no names.
    pub fn settle(&mut self) {
        for who in 0..HONEST {
            let Validator { view, checkpoint, .. } = self.validators[who];
            for height in (checkpoint..HEIGHTS).filter(|&height| self.accepts(who, height)).collect::<Vec<_>>() {
                self.prepares[view][height] |= 1 << who;
                // a vote in a view that it left
                self.is_contradicted |= self.leaves[view + 1..].iter().any(|leaves| leaves[who].is_some());
            }
            self.validators[who].prepared[..checkpoint].fill(None);
        }
        let enough = |said: &mut Said| {
            if is_quorum(*said) {
                *said = 0b11
            }
        };
        self.prepares.iter_mut().flatten().for_each(enough);
        self.commits.iter_mut().flatten().for_each(enough);
        self.attested.iter_mut().for_each(enough);
        self.bury();
        self.close();
        let mut mirrored = self.clone();
        mirrored.mirror();
        if mirrored < *self {
            *self = mirrored;
        }
    }

    /// Views that everyone left for good. One that lost its votes may still speak in any.
    fn bury(&mut self) {
        let may_vote = |validator: &Validator| if validator.silence.is_some() { 0 } else { validator.view };
        let oldest = self.validators.iter().map(may_vote).min().unwrap_or(0);
        for view in 0..VIEWS {
            if self.began[view].is_some() {
                // only the one that forgets could say another one
                self.leaves[view][FORGETFUL + 1..].fill(None);
            }
            if view < oldest {
                self.prepares[view].fill(0);
                self.commits[view].iter_mut().filter(|said| !is_quorum(**said)).for_each(|said| *said = 0);
                if self.commits[view] == [0; HEIGHTS] {
                    self.began[view] = Some(Begin { checkpoint: HEIGHTS, assigned: [None; HEIGHTS] });
                }
            }
        }
    }

    /// Heights that are final and executed everywhere, and that no estimate lies below: nobody votes there any more.
    fn close(&mut self) {
        let below = |validator: &Validator| match validator.silence {
            Some(silence) => silence.until,
            None => validator.checkpoint.min(validator.executed),
        };
        let closed = self.validators.iter().map(below).min().unwrap_or(0).min(HEIGHTS);
        if self.agrees() {
            for said in self.prepares.iter_mut().chain(&mut self.commits) {
                said[..closed].fill(0);
            }
        }
        for begin in self.began.iter_mut().flatten() {
            begin.assigned[..closed].fill(None);
            begin.checkpoint = begin.checkpoint.max(closed);
        }
    }

    fn mirror(&mut self) {
        let swap = |said: &mut Said| *said = *said & 1 | (*said & 2) << 1 | (*said & 4) >> 1;
        self.validators.swap(1, 2);
        self.leaves.iter_mut().for_each(|leaves| leaves.swap(1, 2));
        self.prepares.iter_mut().flatten().for_each(swap);
        self.commits.iter_mut().flatten().for_each(swap);
        self.attested.iter_mut().for_each(swap);
    }
}
