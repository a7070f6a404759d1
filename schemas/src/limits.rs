//! The maximum of everything: messages, batches, queues, pages, retries, times. Relations between them are asserted at
//! compile time, so that no limit can be raised past what another part can carry.

/// Deepest JSON nesting accepted, in levels.
pub const JSON_DEPTH_MAX: usize = 100;
/// Largest message accepted unless configured, in bytes.
pub const MESSAGE_BYTES_DEFAULT: usize = 16 << 20;
/// Largest message that a configuration may allow, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Largest raw message kept inside the inbox row; a larger one becomes an object first, in bytes.
pub const INBOX_INLINE_BYTES_MAX: usize = 64 << 10;

/// Most units (resources and the raw message) in one case.
pub const CASE_UNITS_MAX: usize = 4096;
/// Longest plaintext of one unit, in bytes.
pub const UNIT_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
/// Chunk of the STREAM construction, in bytes.
pub const UNIT_CHUNK_BYTES: usize = 64 << 10;
/// Padding granule of a unit: lengths are rounded up to a multiple, in bytes.
pub const UNIT_PADDING_BYTES: usize = 256;
/// Most recipients of one case.
pub const CASE_WRAPS_MAX: usize = 16;

/// Most statements in one AnchorCases transaction.
pub const STATEMENTS_MAX: usize = 100;
/// Largest signed transaction, in bytes.
pub const TRANSACTION_BYTES_MAX: usize = 64 << 10;
/// Largest signed transaction without many statements, in bytes.
pub const TRANSACTION_SMALL_BYTES_MAX: usize = 4 << 10;
/// Furthest `valid_until` ahead of the current height, in blocks.
pub const VALID_UNTIL_AHEAD_MAX: u64 = 10_000;
/// Most live consents of one subject.
pub const CONSENTS_LIVE_MAX: usize = 64;
/// Deepest nesting of provisions in one Consent.
pub const CONSENT_DEPTH_MAX: usize = 8;
/// Most provisions in one Consent.
pub const CONSENT_PROVISIONS_MAX: usize = 256;
/// Most actors, codings and data references in one Consent.
pub const CONSENT_CRITERIA_MAX: usize = 4096;
/// Most codings or references of one unit that are kept for decisions; a unit with more is known incompletely.
pub const UNIT_FACTS_MAX: usize = 1024;
/// Most subjects that merges may make one person.
pub const MERGED_SUBJECTS_MAX: usize = 32;
/// Most guardians of one subject.
pub const GUARDIANS_MAX: usize = 8;
/// Most break-glass accesses inline in one RecordAccess.
pub const BREAK_GLASS_MAX: usize = 64;

/// Most validators of an epoch.
pub const VALIDATORS_MAX: usize = 64;
/// Fewest validators that a ballot can name: they tolerate one faulty one. A genesis may name fewer, for development.
pub const VALIDATORS_MIN: usize = 4;
/// Longest name of a validator, in bytes.
pub const VALIDATOR_NAME_MAX: usize = 32;
/// Largest ballot, in bytes: as many members as there may be.
pub const BALLOT_BYTES_MAX: usize = 16 << 10;
/// Most epoch proofs in one answer.
pub const EPOCH_PROOFS_MAX: usize = 64;
/// An epoch ends at a multiple of this, in blocks.
pub const EPOCH_INTERVAL: u64 = 256;
/// Most institutions in a genesis.
pub const INSTITUTIONS_MAX: usize = 1024;
/// Most transactions in one batch.
pub const BATCH_TRANSACTIONS_MAX: usize = 512;
/// Largest batch, in bytes.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Wait of an admitted transaction for its batch to fill, for each block in flight, in milliseconds.
pub const BATCH_AGE_MS: u64 = 30;
/// Longest such wait, in milliseconds.
pub const BATCH_AGE_MS_MAX: u64 = 2 * BATCH_AGE_MS;
/// Heights that a validator knows of above a checkpoint: PBFT's watermark window L.
pub const WATERMARK_WINDOW: u64 = 128;
/// Heights above its newest checkpoint at which a validator votes: bounds what a view change carries.
pub const OPEN_HEIGHTS_MAX: u64 = 24;
/// Heights below the newest final one whose votes are kept, so that contradicting ones are seen.
pub const WITNESS_HEIGHTS: u64 = 64;
/// Views whose votes are kept for it.
pub const WITNESS_VIEWS: u64 = 4;
/// Of one validator a vote that does not fit is shown to the others this often, in milliseconds.
pub const SHOWN_AGAIN_MS: u64 = 500;
/// Heights for which a transaction of evidence is valid.
pub const EVIDENCE_VALID_HEIGHTS: u64 = 1_000;
/// Heights for which the word of a member of the next epoch counts that it is there: whoever is says it again.
pub const CONFIRMATION_HEIGHTS: u64 = 10_000;
/// Fresh batches that a validator votes for at one height, view after view, while none of them prepares.
pub const FRESH_BODIES_PER_HEIGHT_MAX: usize = 4;
/// Bodies of different batches that a validator keeps for one height until it is final, those that new views assigned included.
pub const BODIES_PER_HEIGHT_MAX: usize = FRESH_BODIES_PER_HEIGHT_MAX * 3;
/// A primary that does not get the oldest transaction executed within this loses its view, in milliseconds.
pub const VIEW_TIMEOUT_MS: u64 = 2_000;
/// The same after many view changes in a row, each of which doubles it, in milliseconds.
pub const VIEW_TIMEOUT_MS_MAX: u64 = 64_000;
/// A validator whose clock did not tick for this long was asleep itself and blames nobody, in milliseconds.
pub const TICK_GAP_MS_MAX: u64 = 1_000;
/// Whoever asked within this lost its votes and waits for heights and views, in milliseconds.
pub const RECOVERY_ASKED_MS: u64 = 3 * HEAD_INTERVAL_MS;
/// Heights that a primary adds for one who waits, with null batches where nobody sends anything.
pub const RECOVERY_HELP_HEIGHTS: u64 = OPEN_HEIGHTS_MAX + BLOCKS_IN_FLIGHT_MAX * 2;
/// Between two null batches of a primary, in milliseconds.
pub const RECOVERY_NULL_MS: u64 = 50;
/// So long is one helped, in milliseconds.
pub const RECOVERY_HELP_MS: u64 = 60_000;
/// The same validator is helped again after this, in milliseconds.
pub const RECOVERY_HELP_AGAIN_MS: u64 = 300_000;
/// A view change is sent again after this, in milliseconds.
pub const VIEW_CHANGE_AGAIN_MS: u64 = 500;
/// A new view is sent again to the same validator after this, in milliseconds.
pub const NEW_VIEW_AGAIN_MS: u64 = 1_000;
/// Checkpoint interval K, in blocks.
pub const CHECKPOINT_INTERVAL: u64 = 64;
/// Transactions of its own clients waiting at one validator.
pub const MEMPOOL_TRANSACTIONS_MAX: usize = 8192;
/// Of these, kept free for what it hands in itself and for revocations.
pub const MEMPOOL_RESERVE: usize = 1024;
/// Their bytes.
pub const MEMPOOL_BYTES_MAX: usize = 32 << 20;
/// Transactions of other validators waiting at one validator in each of two lanes, the same number of each; and as many that came
/// with proposals.
pub const MEMPOOL_PEERS_MAX: usize = 2048;
/// Their bytes.
pub const MEMPOOL_PEERS_BYTES_MAX: usize = 8 << 20;
/// Bytes of admitted transactions remembered in each of two generations, so that the proposal that holds one costs a look.
pub const ADMITTED_BYTES_MAX: usize = 4 << 20;
/// Blocks that a primary keeps in flight at once.
pub const BLOCKS_IN_FLIGHT_MAX: u64 = 8;
/// Bytes of proposals that a validator holds unexecuted.
pub const PROPOSALS_BYTES_MAX: usize = 32 << 20;
/// A backup hands a waiting transaction to the primary after this, in milliseconds.
pub const FORWARD_AFTER_MS: u64 = 100;
/// To all validators after this, so that every timer runs, in milliseconds.
pub const FORWARD_TO_ALL_MS: u64 = 450;
/// And again after this, in milliseconds.
pub const FORWARD_AGAIN_MS: u64 = 1_000;
/// Most transactions handed on at once.
pub const FORWARD_MAX: usize = 64;
/// A validator that makes no progress says how far it is after this, in milliseconds.
pub const STATUS_STUCK_MS: u64 = 200;
/// Heights whose messages are resent to one who is stuck.
pub const RESEND_HEIGHTS_MAX: usize = 16;
/// Longest long-poll of the validators' RPC, in milliseconds.
pub const RPC_WAIT_MS_MAX: u64 = 10_000;
/// Most transactions in one submission to the validators' RPC.
pub const SUBMISSION_TRANSACTIONS_MAX: usize = 256;
/// Largest submission, in bytes.
pub const SUBMISSION_BYTES_MAX: usize = 1 << 20;
/// Transactions that a client keeps for one validator while others are on their way.
pub const SUBMISSIONS_WAITING_MAX: usize = 4_096;
/// Their size, in bytes.
pub const SUBMISSIONS_WAITING_BYTES_MAX: usize = 16 << 20;
/// Submissions on their way from one client to one validator.
pub const SUBMISSIONS_UNDER_WAY_MAX: usize = 2;
/// Transactions per second that one client may hand in at one validator.
pub const RPC_TRANSACTIONS_PER_SECOND_MAX: u32 = 10_000;
/// Requests per second that one client may make at one validator.
pub const RPC_REQUESTS_PER_SECOND_MAX: u32 = 10_000;
/// Open RPC connections of one validator.
pub const RPC_CONNECTIONS_MAX: usize = 512;
/// Connections that one client may have to one validator.
pub const RPC_CONNECTIONS_PER_CLIENT_MAX: usize = 256;
/// Large answers to one client that are not on the wire yet: what a slow reader holds in memory.
pub const RPC_LARGE_ANSWERS_MAX: usize = 4;
/// Open connections of one validator's operators.
pub const OPERATOR_CONNECTIONS_MAX: usize = 16;
/// RPC handshakes under way at one validator.
pub const RPC_HANDSHAKES_MAX: usize = 256;
/// An RPC connection on which nothing moves is closed after this, in milliseconds.
pub const RPC_IDLE_MS_MAX: u64 = 60_000;
/// Handshakes of other validators under way at one validator.
pub const PEER_HANDSHAKES_MAX: usize = 64;
/// Inputs waiting for the protocol loop.
pub const LOOP_QUEUE_MAX: usize = 8_192;
/// Bytes of one validator's inputs that wait for the protocol loop.
pub const LOOP_PEER_BYTES_MAX: usize = 4 * PEER_FRAME_BYTES_MAX;
/// Bytes of all clients' inputs that wait for it.
pub const LOOP_CLIENTS_BYTES_MAX: usize = MEMPOOL_BYTES_MAX;
/// Messages of another validator that do not verify, before its connection is closed; one is forgiven each second.
pub const PEER_INVALID_MAX: u32 = 32;
/// A validator whose connection was closed for what it said is let in again after this, in milliseconds.
pub const PEER_PAUSE_MS_MIN: u64 = 1_000;
/// The same after many times, each of which doubles it, in milliseconds.
pub const PEER_PAUSE_MS_MAX: u64 = 60_000;
/// After this without another fault the pauses are short again, in milliseconds.
pub const PEER_PAUSE_FORGOTTEN_MS: u64 = 600_000;
/// Votes and attestations of one validator that are verified in a second; the rest waits on its connection.
pub const PEER_VOTES_PER_SECOND_MAX: u32 = 4_000;
/// Lines of one port about what was refused there, in a minute.
pub const REFUSALS_SAID_MAX: usize = 30;
/// Of these, about one remote side.
pub const REFUSALS_SAID_OF_ONE_MAX: usize = 6;
/// The minute, in milliseconds.
pub const REFUSALS_SAID_MS: u64 = 60_000;
/// Largest frame between validators, in bytes.
pub const PEER_FRAME_BYTES_MAX: usize = 4 << 20;
/// Frames queued for one peer.
pub const PEER_QUEUE_FRAMES_MAX: usize = 1024;
/// Most blocks in one catch-up answer.
pub const CATCH_UP_BLOCKS_MAX: usize = 64;
/// Largest catch-up answer, in bytes.
pub const CATCH_UP_BYTES_MAX: usize = 8 << 20;
/// Fewest blocks that a validator keeps whole.
pub const BLOCK_HISTORY_MIN: u64 = 1_024;
/// A validator that has nothing copies the state when others are at this height, in blocks.
pub const TRANSFER_BEHIND_MIN: u64 = 1_024;
/// Deepest level of the state tree at which a snapshot is cut, in bits: at most 32,768 pieces.
pub const TRANSFER_DEPTH_MAX: u8 = 15;
/// A piece of state is cut to about this, in bytes.
pub const TRANSFER_PIECE_BYTES: usize = 256 << 10;
/// Log entries of a piece, as a power of two.
pub const TRANSFER_LOG_LEVEL: u32 = 12;
/// Pieces of the log in a manifest: what execution can still ask for, and one more at each end.
pub const TRANSFER_LOG_PIECES_MAX: usize =
    (VALID_UNTIL_AHEAD_MAX as usize * BATCH_TRANSACTIONS_MAX).div_ceil(1 << TRANSFER_LOG_LEVEL) + 2;
/// Rows of a piece of state: the smallest takes more than this part of a frame.
pub const TRANSFER_ROWS_MAX: usize = PEER_FRAME_BYTES_MAX / 32;
/// Pieces on their way from one validator.
pub const TRANSFER_PIECES_PER_PEER_MAX: usize = 4;
/// Pieces on their way from all validators.
pub const TRANSFER_PIECES_MAX: usize = 16;
/// Offers and manifests are asked for this often, in milliseconds.
pub const TRANSFER_ASK_AGAIN_MS: u64 = 1_000;
/// A height whose snapshot nobody has after this is given up for another, in milliseconds.
pub const TRANSFER_HEIGHT_MS_MAX: u64 = 3_000;
/// Heights above the newest one at which a snapshot is asked for while blocks are made.
pub const TRANSFER_HEIGHTS_AHEAD: u64 = 64;
/// A piece is asked for elsewhere after this, in milliseconds.
pub const TRANSFER_PIECE_MS_MAX: u64 = 5_000;
/// A validator that let so many pieces run out is asked for no more of this snapshot.
pub const TRANSFER_SILENCES_MAX: u32 = 3;
/// A snapshot that nobody asks for is let go after this, in milliseconds.
pub const TRANSFER_VIEW_IDLE_MS: u64 = 60_000;
/// Every snapshot is let go after this, in milliseconds.
pub const TRANSFER_VIEW_MS_MAX: u64 = 1_800_000;
/// One validator may ask for another snapshot this often, in milliseconds.
pub const TRANSFER_VIEW_AGAIN_MS: u64 = 500;
/// For all of them together the loop stands this often, in milliseconds.
pub const TRANSFER_FREEZE_AGAIN_MS: u64 = 1_000;
/// Questions about snapshots that wait at one validator.
pub const TRANSFER_QUEUE_MAX: usize = 256;
/// Largest difference between a proposal's time and a replica's clock, in milliseconds.
pub const CLOCK_SKEW_MS_MAX: u64 = 30_000;
/// A validator signs its head this often, in milliseconds.
pub const HEAD_INTERVAL_MS: u64 = 1_000;
/// A head older than this proves no freshness, in milliseconds.
pub const HEAD_AGE_MS_MAX: u64 = 5_000;

/// Deliveries whose receipt shares one inbox commit.
pub const INBOX_GROUP_MAX: usize = 256;
/// Messages that wait in the inbox while the rest of the way in is held up; then no more are taken.
pub const INBOX_WAITING_MAX: i64 = 1_000_000;
/// Unacknowledged deliveries per connector unless configured.
pub const PREFETCH_DEFAULT: u16 = 512;
/// Lanes of one AMQP connector: queues that are consumed side by side, each in order.
pub const LANES_MAX: u16 = 16;
/// A queue one of whose messages comes for this time is read carefully, one message at a time: one death of a process is an accident,
/// two happen in a bad night.
pub const DELIVERIES_SUSPECT: u32 = 3;
/// Connections of one MLLP listener unless configured.
pub const MLLP_CONNECTIONS_DEFAULT: usize = 64;
/// The same at most.
pub const MLLP_CONNECTIONS_MAX: usize = 1024;
/// TLS handshakes of one MLLP listener under way: they are no connections yet and take none of their places.
pub const MLLP_HANDSHAKES_MAX: usize = 64;
/// An MLLP connection on which nothing moves is closed after this unless configured, in milliseconds: a night without messages.
pub const MLLP_IDLE_MS_DEFAULT: u64 = 12 * 3_600_000;
/// The same at most, in milliseconds.
pub const MLLP_IDLE_MS_MAX: usize = 7 * 24 * 3_600_000;
/// Longest wait for a connection and for an answer of who takes application acknowledgements, in milliseconds, unless configured.
pub const MLLP_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Longest such wait that may be configured, in milliseconds.
pub const MLLP_TIMEOUT_MS_MAX: u64 = 120_000;
/// An application acknowledgement that nobody took for so long is given up, in milliseconds.
pub const APPLICATION_ACK_MS_MAX: i64 = 7 * 24 * 3_600_000;
/// Deliveries of one message before the broker dead-letters it.
pub const DELIVERY_LIMIT: u32 = 20;
/// Longest time between attempts of a step that failed as transient, in milliseconds.
pub const RETRY_DELAY_MS_MAX: u64 = 10_000;

/// Between two looks at a FHIR server, in milliseconds, unless configured otherwise.
pub const FHIR_INTERVAL_MS_DEFAULT: u64 = 10_000;
/// Longest time between two looks, in milliseconds.
pub const FHIR_INTERVAL_MS_MAX: u64 = 24 * 3_600_000;
/// Resources of a FHIR page, unless configured otherwise.
pub const FHIR_COUNT_DEFAULT: u32 = 200;
/// Most resources of a FHIR page.
pub const FHIR_COUNT_MAX: u32 = 5_000;
/// How far a look reaches back, in milliseconds, unless configured otherwise.
pub const FHIR_OVERLAP_MS_DEFAULT: u64 = 60_000;
/// Furthest that a look may reach back, in milliseconds.
pub const FHIR_OVERLAP_MS_MAX: u64 = 3_600_000;
/// Largest FHIR page, in bytes, unless configured otherwise.
pub const FHIR_PAGE_BYTES_DEFAULT: usize = 32 << 20;
/// Largest FHIR page that may be configured, in bytes: two of them are in memory.
pub const FHIR_PAGE_BYTES_MAX: usize = 128 << 20;
/// Pages of one look.
pub const FHIR_PAGES_MAX: usize = 100_000;
/// Resource types of one connector.
pub const FHIR_TYPES_MAX: usize = 160;
/// Longest wait for a FHIR server's answer, in milliseconds, unless configured otherwise.
pub const FHIR_TIMEOUT_MS_DEFAULT: u64 = 60_000;
/// Longest wait that may be configured, in milliseconds.
pub const FHIR_TIMEOUT_MS_MAX: u64 = 600_000;
/// Longest `Retry-After` that is kept to, in milliseconds.
pub const FHIR_RETRY_AFTER_MS_MAX: u64 = 600_000;
/// Accepted versions that a poll remembers, so that its overlap yields none of them again.
pub const FHIR_SEEN_MAX: usize = 65_536;
/// Those of them that survive a restart; the inbox recognises the others.
pub const FHIR_SEEN_KEPT_MAX: usize = 512;
/// Files of one bulk export.
pub const FHIR_EXPORT_FILES_MAX: usize = 100_000;
/// Longest the access log waits for its ledger batch, in milliseconds.
pub const ACCESS_BATCH_AGE_MS_MAX: u64 = 10_000;
/// Most entries in one RecordAccess batch.
pub const ACCESS_BATCH_MAX: usize = 4096;

/// Entries of the access log that wait for their commit.
pub const ACCESS_QUEUE_MAX: usize = 4096;
/// Most entries of the access log in one commit.
pub const ACCESS_GROUP_MAX: usize = 512;

/// Page size of a search unless asked otherwise.
pub const PAGE_DEFAULT: usize = 50;
/// Largest page of a search.
pub const PAGE_MAX: usize = 500;
/// An answer that shows nothing leaves at a multiple of this after its question, in milliseconds: what was looked at for it must not
/// show in its time.
pub const NOTHING_STEP_MS: u64 = 100;
/// Largest Consent that is handed in, in bytes: it is kept as a tree until the ledger has its word.
pub const CONSENT_BYTES_MAX: usize = 4 << 20;
/// Largest request of a wallet, in bytes.
pub const WALLET_BYTES_MAX: usize = 256 << 10;
/// Most cases in one answer to a wallet.
pub const WALLET_CASES_MAX: usize = 500;
/// A wallet's question counts when its time is this close to the gateway's, in milliseconds.
pub const WALLET_SKEW_MS_MAX: u64 = 60_000;
/// Life of an invitation to bind a key, in milliseconds.
pub const INVITATION_MS_MAX: u64 = 900_000;
/// Longest life of an access token, in seconds.
pub const TOKEN_SECONDS_MAX: u64 = 300;

const _: () = assert!(MESSAGE_BYTES_DEFAULT <= MESSAGE_BYTES_MAX);
const _: () = assert!(INBOX_INLINE_BYTES_MAX < MESSAGE_BYTES_DEFAULT);
const _: () = assert!(STATEMENTS_MAX * 400 <= TRANSACTION_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX * 2 <= PEER_FRAME_BYTES_MAX);
const _: () = assert!(VALIDATORS_MAX * (VALIDATOR_NAME_MAX + 120) + 512 <= BALLOT_BYTES_MAX);
const _: () = assert!(BALLOT_BYTES_MAX <= TRANSACTION_BYTES_MAX);
const _: () = assert!(EPOCH_INTERVAL.is_multiple_of(CHECKPOINT_INTERVAL) && WATERMARK_WINDOW < EPOCH_INTERVAL);
const _: () = assert!(PEER_FRAME_BYTES_MAX <= CATCH_UP_BYTES_MAX);
const _: () = assert!(PEER_FRAME_BYTES_MAX <= LOOP_PEER_BYTES_MAX && SUBMISSION_BYTES_MAX <= LOOP_CLIENTS_BYTES_MAX);
const _: () = assert!(PEER_PAUSE_MS_MIN < PEER_PAUSE_MS_MAX && PEER_PAUSE_MS_MAX < PEER_PAUSE_FORGOTTEN_MS);
const _: () = assert!(REFUSALS_SAID_OF_ONE_MAX < REFUSALS_SAID_MAX);
const _: () = assert!(CHECKPOINT_INTERVAL * 2 <= WATERMARK_WINDOW);
const _: () = assert!(BLOCKS_IN_FLIGHT_MAX < CHECKPOINT_INTERVAL);
const _: () = assert!(BATCH_BYTES_MAX * (BLOCKS_IN_FLIGHT_MAX as usize) <= PROPOSALS_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX * BATCH_TRANSACTIONS_MAX <= MEMPOOL_BYTES_MAX);
const _: () = assert!(BLOCKS_IN_FLIGHT_MAX * 2 <= OPEN_HEIGHTS_MAX && OPEN_HEIGHTS_MAX <= CHECKPOINT_INTERVAL);
const _: () = assert!(BATCH_AGE_MS_MAX < FORWARD_AFTER_MS);
const _: () = assert!(FORWARD_AFTER_MS + FORWARD_TO_ALL_MS + STATUS_STUCK_MS < VIEW_TIMEOUT_MS);
const _: () = assert!(EVIDENCE_VALID_HEIGHTS <= VALID_UNTIL_AHEAD_MAX);
const _: () = assert!(
    RECOVERY_HELP_HEIGHTS * RECOVERY_NULL_MS * 4 < RECOVERY_HELP_MS && RECOVERY_HELP_MS < RECOVERY_HELP_AGAIN_MS
);
const _: () = assert!(TICK_GAP_MS_MAX < VIEW_TIMEOUT_MS);
const _: () = assert!(VIEW_CHANGE_AGAIN_MS < VIEW_TIMEOUT_MS && VIEW_TIMEOUT_MS <= VIEW_TIMEOUT_MS_MAX);
/// Largest NEW-VIEW in bytes: q view changes of q attestations and a full set P, each with q signatures of 72 bytes.
const NEW_VIEW_BYTES_MAX: usize = {
    let q = (VALIDATORS_MAX + (VALIDATORS_MAX - 1) / 3 + 1).div_ceil(2);
    let prepared = OPEN_HEIGHTS_MAX as usize * (q * 72 + 140);
    q * (prepared + q * 72 + 300) + OPEN_HEIGHTS_MAX as usize * 72 + 300
};
const _: () = assert!(NEW_VIEW_BYTES_MAX <= PEER_FRAME_BYTES_MAX);
const _: () = assert!(MEMPOOL_RESERVE * 2 <= MEMPOOL_TRANSACTIONS_MAX);
const _: () = assert!(FORWARD_MAX <= MEMPOOL_PEERS_MAX && VALIDATORS_MAX * 16 <= MEMPOOL_PEERS_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX * VALIDATORS_MAX * 2 <= MEMPOOL_PEERS_BYTES_MAX);
// of each lane the oldest finds room in half a batch
const _: () = assert!((TRANSACTION_BYTES_MAX + 64) * 2 <= BATCH_BYTES_MAX);
const _: () = assert!(WATERMARK_WINDOW * 4 <= BLOCK_HISTORY_MIN);
const _: () = assert!(TRANSFER_PIECE_BYTES * 4 <= PEER_FRAME_BYTES_MAX / 2);
const _: () = assert!(100 << TRANSFER_LOG_LEVEL <= PEER_FRAME_BYTES_MAX / 2);
const _: () = assert!(TRANSFER_VIEW_AGAIN_MS <= TRANSFER_FREEZE_AGAIN_MS);
const _: () = assert!(TRANSFER_FREEZE_AGAIN_MS < TRANSFER_HEIGHT_MS_MAX);
const _: () = assert!(TRANSFER_PIECES_PER_PEER_MAX * VALIDATORS_MAX <= TRANSFER_QUEUE_MAX);
const _: () = assert!(TRANSFER_HEIGHTS_AHEAD <= WATERMARK_WINDOW && TRANSFER_VIEW_AGAIN_MS < TRANSFER_ASK_AGAIN_MS);
/// Largest manifest in bytes: of the state 40 for each piece, of the log 36, and q attestations.
const MANIFEST_BYTES_MAX: usize = {
    let log = ((VALID_UNTIL_AHEAD_MAX as usize * BATCH_TRANSACTIONS_MAX) >> TRANSFER_LOG_LEVEL) + 64;
    (40 << TRANSFER_DEPTH_MAX) + log * 36 + VALIDATORS_MAX * 80 + 1_000
};
const _: () = assert!(MANIFEST_BYTES_MAX <= PEER_FRAME_BYTES_MAX / 2);
const _: () = assert!(HEAD_INTERVAL_MS * 3 <= HEAD_AGE_MS_MAX);
const _: () = assert!(ACCESS_GROUP_MAX <= ACCESS_QUEUE_MAX);
const _: () = assert!(RPC_WAIT_MS_MAX * 2 <= RPC_IDLE_MS_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX * 2 <= SUBMISSION_BYTES_MAX);
const _: () = assert!(SUBMISSION_TRANSACTIONS_MAX * 2 <= RPC_TRANSACTIONS_PER_SECOND_MAX as usize);
const _: () = assert!(RPC_CONNECTIONS_PER_CLIENT_MAX <= RPC_HANDSHAKES_MAX);
const _: () = assert!(RPC_CONNECTIONS_PER_CLIENT_MAX * 2 <= RPC_CONNECTIONS_MAX);
const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX);
const _: () = assert!(WALLET_BYTES_MAX <= CONSENT_BYTES_MAX && CONSENT_BYTES_MAX <= MESSAGE_BYTES_DEFAULT);
const _: () = assert!(DELIVERIES_SUSPECT * 2 <= DELIVERY_LIMIT);
const _: () = assert!(UNIT_CHUNK_BYTES.is_multiple_of(UNIT_PADDING_BYTES));
