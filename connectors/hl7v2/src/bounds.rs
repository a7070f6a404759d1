//! Maxima of one input: beyond them a message is refused, so that no input makes the mapper grow without end.

/// Bytes of one input (a message or a batch). The gateway's configured limit is checked before; this one always holds.
pub const MAX_INPUT_BYTES: usize = schemas::limits::MESSAGE_BYTES_MAX;
/// Messages in one FHS/BHS batch.
pub const MAX_MESSAGES: usize = 10_000;
/// Segments of one message.
pub const MAX_SEGMENTS: usize = 50_000;
/// Fields of one segment.
pub const MAX_FIELDS: usize = 1_000;
/// Repetitions of one field that are looked at; more are listed as unmapped.
pub const MAX_REPETITIONS: usize = 2_000;
/// Components of one repetition that a table can name.
pub const MAX_COMPONENTS: usize = 40;
/// Patients of one message.
pub const MAX_CASES: usize = 256;
/// Resources of one case.
pub const MAX_RESOURCES: usize = schemas::limits::CASE_UNITS_MAX - 1;
/// Resources of all cases of one message: what is said once for all patients is copied into each case.
pub const MAX_MESSAGE_RESOURCES: usize = 5 * schemas::limits::CASE_UNITS_MAX;
/// Bytes of all cases of a message about several patients: what is said once is copied into each.
pub const MAX_CASES_BYTES: usize = 4 * schemas::limits::MESSAGE_BYTES_MAX;
/// Rows that one case runs; a table that runs itself over and over ends here.
pub const MAX_ROWS_RUN: usize = 50_000_000;
/// Depth of blocks inside blocks of a table, and of parentheses in a condition.
pub const MAX_TABLE_DEPTH: usize = 32;
/// Paths in one list of unmapped fields.
pub const MAX_UNMAPPED: usize = 2_000;
/// Junk lines that are listed.
pub const MAX_JUNK_LINES: usize = 100;
/// Depth of maps inside maps; a table that refers to itself ends here.
pub const MAX_DEPTH: usize = 24;
/// Texts whose mapping is remembered by one memo.
pub const MEMO_SLOTS: usize = 4_096;
/// Bytes of a text whose mapping is remembered; a multiple of 64.
pub const MEMO_TEXT_BYTES: usize = 256;
/// Bytes of what is remembered of one text.
pub const MEMO_GIVEN_BYTES: usize = 2_048;
/// Ways of writing messages (delimiters, character set) that a memo tells apart before it begins anew.
pub const MEMO_MANNERS: usize = 8;
/// Memos that wait for the next message, one for each that is mapped at the same time.
pub const MEMOS_MAX: usize = 16;
