//! Makes new inputs out of samples: flipped bits, telling bytes and lengths, pieces cut out, doubled, swapped in from another
//! sample.

use tests::dice::Dice;

/// Bytes at which formats turn: ends of ranges, lengths of CBOR, delimiters of HL7, JSON and forms.
const TELLING: &[u8] = b"\0\x01\x17\x18\x19\x1a\x1b\x1f\x7f\x80\x9f\xbf\xd8\xff|^~\\&#\r\n\x0b\x1c{}[]\",:%+=$/-.09eE";
/// Most bytes of an input.
const BYTES_MAX: usize = 64 << 10;

pub struct Mutator<'s> {
    dice: Dice,
    samples: &'s [Vec<u8>],
}

impl<'s> Mutator<'s> {
    pub fn new(dice: Dice, samples: &'s [Vec<u8>]) -> Self {
        Self { dice, samples }
    }

    pub fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.sample().to_vec();
        for _ in 0..self.dice.between(1, 5) {
            self.change(&mut bytes);
            bytes.truncate(BYTES_MAX);
        }
        bytes
    }

    fn sample(&mut self) -> &'s [u8] {
        &self.samples[self.dice.index(self.samples.len())]
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.dice.index(bytes.len());
        let to = (at + self.dice.between(1, 40) as usize).min(bytes.len());
        match self.dice.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.dice.below(8),
            1 if !bytes.is_empty() => bytes[at] = TELLING[self.dice.index(TELLING.len())],
            2 => bytes.insert(at, TELLING[self.dice.index(TELLING.len())]),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let piece = bytes[at..to].to_vec();
                let times = self.dice.between(1, 30) as usize;
                bytes.splice(at..at, piece.repeat(times));
            }
            5 => bytes.truncate(at),
            6 => {
                let other = self.sample();
                let from = self.dice.index(other.len());
                let until = (from + self.dice.between(1, 200) as usize).min(other.len());
                bytes.splice(at..to, other[from..until].iter().copied());
            }
            // a length that nobody has
            _ => drop(bytes.splice(at..to.min(at + 9), [[0x1b].as_slice(), &u64::MAX.to_be_bytes()].concat())),
        }
    }
}
