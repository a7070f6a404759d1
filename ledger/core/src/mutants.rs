//! Planted bugs: tests of the tests. Each is a mistake that somebody made or nearly made; the ordinary suite and the simulator
//! must catch it without knowing it (`sim --mutants`). They exist only with the feature `mutants`, which no product has;
//! without it the compiler knows that nothing is planted.
//!
//! | mutant | source |
//! |---|---|
//! | new-view-believed | FISCO #2448: what is inside of a new view is not checked again |
//! | oldest-checkpoint | fabric-archive #1111: the wrong checkpoint is selected in a view change |
//! | lowest-view-prepared | of two prepared certificates the older one is chosen (PBFT §4.4: the highest view) |
//! | null-over-prepared | IBFT 1: what was locked is lost in a round change (2002.03613) |
//! | checkpoint-not-proven | a view change's checkpoint without a quorum counts (PBFT §4.4: C holds 2f + 1) |
//! | primary-counts-twice | pre-prepare and prepare of one validator in one certificate (PBFT §4.2: prepares of different backups) |
//! | short-prepared-certificate | a prepared certificate without a quorum counts (PBFT §4.4: P_m holds 2f) |
//! | signer-counts-again | one validator several times in one certificate (PBFT §4.2: different replicas) |
//! | quorum-2f+1 | celo #253, quorum #796, SmartBFT #83: 2f + 1 at n other than 3f + 1 |
//! | endless-window | a high watermark that nobody looks at (PBFT §4.2) |
//! | votes-beyond-view-changes | more in flight than a view change carries (formats.md §4: a window) |
//! | votes-of-any-view | diem #6094: messages of another view are processed |
//! | primary-prepares | a primary that counts twice in a prepared certificate (PBFT §4.2: backups prepare) |
//! | prepared-one-short | off by one in a quorum (PBFT §4.2) |
//! | commit-not-written | Jepsen of Tendermint: a vote without its log record |
//! | committed-one-short | off by one in a quorum (PBFT §4.2) |
//! | decisions-not-learned | besu #8307: who missed a decision never gets it |
//! | view-goes-with-the-log | garbage collection of what is still needed (PBFT §4.3) |
//! | checkpoint-one-short | off by one in a quorum (PBFT §4.2) |
//! | view-change-not-written | amnesia about a view change (formats.md §4: durable before sent) |
//! | prepared-not-said | a view change without its set P (PBFT §4.4) |
//! | one-drags-all | FISCO #2211: one node's huge view drags all |
//! | view-change-said-once | fabric-archive #1917: not resent, dead after healing |
//! | executes-proposals | FISCO #2312: the wrong block of a height is executed |
//! | votes-while-changing | sawtooth-pbft #117: agreement goes on while a view change is under way |
//! | assigned-digest-ignored | a new view's batches replaced by fresh ones (PBFT §4.4: O) |
//! | prepare-not-written | Jepsen of Tendermint: a vote without its log record |
//! | new-view-one-short | off by one in a quorum (PBFT §4.2) |
//! | new-view-twice | sawtooth-pbft #98: a doubled NewView |
//! | new-view-not-written | amnesia about a new view (formats.md §4: durable before sent) |
//! | proposes-on-assigned | sawtooth-pbft #140: a stale primary block |
//! | height-proposed-again | a restarted primary proposes a height twice (formats.md §4: durable before sent) |
//! | view-change-forgotten | a restart votes in a view that was left (PBFT §4.4) |
//! | vote-forgotten | amnesia: a restart votes again (formats.md §4: durable before sent) |
//! | certificate-forgotten | a restart forgets what it prepared (PBFT §4.4: P) |
//! | new-view-said-once | who missed a NewView is lost (Castro's thesis: retransmission) |
//! | nothing-fetched | who is behind stays behind (Castro's thesis: state transfer) |
//! | nothing-resent | lost messages stay lost (Castro's thesis: retransmission) |
//! | executes-before-prepared | a block is executed before the log has the record that it was prepared (our own, by a reader) |
//! | refused-copies-serve | a client's transaction is forgotten with any copy of it that execution refuses (our own, by an auditor) |
//! | timer-needs-a-block | sawtooth-rfcs #29: silent leader, the timer starts only once a block is seen |
//! | timer-never-restarts | a timer that progress does not stop (PBFT §4.4) |
//! | stuck-changing | sawtooth-pbft #90: stuck in ViewChanging |
//! | votes-outlive-views | sawtooth-pbft #140: what belongs to an old view counts in the new one |
//! | blames-across-views | an honest validator that votes for another batch in a later view is framed (formats.md §4: one view) |
//! | recovers-too-early | TigerBeetle #2767: a validator that lost its disk votes at once |
//! | recovers-in-its-view | the same: it votes again in a view that it may have left |
//! | votes-beyond-the-seal | diem #897: agreement goes on above a reconfiguration |
//! | votes-of-any-digest | matching by height alone (PBFT §4.2: matching digests) |

#[cfg(feature = "mutants")]
mod planting {
    use std::cell::Cell;

    /// All of them, in the order of the table.
    pub const ALL: &[&str] = &[
        "new-view-believed",
        "oldest-checkpoint",
        "lowest-view-prepared",
        "null-over-prepared",
        "checkpoint-not-proven",
        "primary-counts-twice",
        "short-prepared-certificate",
        "signer-counts-again",
        "quorum-2f+1",
        "endless-window",
        "votes-beyond-view-changes",
        "votes-of-any-view",
        "primary-prepares",
        "prepared-one-short",
        "commit-not-written",
        "committed-one-short",
        "decisions-not-learned",
        "view-goes-with-the-log",
        "checkpoint-one-short",
        "view-change-not-written",
        "prepared-not-said",
        "one-drags-all",
        "view-change-said-once",
        "executes-proposals",
        "votes-while-changing",
        "assigned-digest-ignored",
        "prepare-not-written",
        "new-view-one-short",
        "new-view-twice",
        "new-view-not-written",
        "proposes-on-assigned",
        "height-proposed-again",
        "view-change-forgotten",
        "vote-forgotten",
        "certificate-forgotten",
        "new-view-said-once",
        "nothing-fetched",
        "nothing-resent",
        "executes-before-prepared",
        "refused-copies-serve",
        "timer-needs-a-block",
        "timer-never-restarts",
        "stuck-changing",
        "votes-outlive-views",
        "blames-across-views",
        "recovers-too-early",
        "recovers-in-its-view",
        "votes-beyond-the-seal",
        "votes-of-any-digest",
    ];

    thread_local! {
        static PLANTED: Cell<&'static str> = const { Cell::new("") };
    }

    /// Plants one in this thread; an empty name none.
    pub fn plant(name: &'static str) {
        assert!(name.is_empty() || ALL.contains(&name), "an unknown mutant");
        PLANTED.set(name);
    }

    /// Whether this one is planted here.
    pub(crate) fn planted(name: &'static str) -> bool {
        PLANTED.get() == name
    }
}

#[cfg(feature = "mutants")]
pub(crate) use planting::planted;
#[cfg(feature = "mutants")]
pub use planting::{ALL, plant};

/// Whether this one is planted here: never, without the feature.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn planted(_: &'static str) -> bool {
    false
}
