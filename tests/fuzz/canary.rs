//! A word that stands in no sample, put into an input: where it turns up in an error or a list of paths, a value was told. Where
//! it is put follows from the input alone, so that an input repeats. It must never be a word of FHIR, HL7 or a table.

use tests::dice::Dice;

/// The word; longer than a segment's name, of which paths are made.
const CANARY: &str = "Kanarienvogel";

/// Dice that the input throws.
pub fn dice_of(input: &[u8]) -> Dice {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    Dice::new(input.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// The input with the word at one place.
pub fn planted(input: &[u8]) -> Vec<u8> {
    let at = dice_of(input).index(input.len() + 1);
    [&input[..at], CANARY.as_bytes(), &input[at..]].concat()
}

/// What was said names places, never a value.
pub fn untold(said: &str) {
    assert!(!said.contains(CANARY), "a place, never a value: {said}");
}
