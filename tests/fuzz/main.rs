//! Every decoder that meets bytes from outside, fed mutations of good ones: nothing panics or stays away, what is accepted is
//! written back as it was read, what is made is bounded, no error tells a value, and nothing forged verifies; and the ledger's core,
//! whose luck is an input too. Inputs that once failed, or that libFuzzer found to reach what no other does (`guided.rs`), stand in
//! `corpus/`, one a line, and are run first. Beside them whole messages from outside, which the decoders must all take.
//! `CHARTSEAL_FUZZ_SECONDS` is the time for each target, `CHARTSEAL_SEED` repeats a run.

mod bundle;
mod canary;
mod connector;
mod core;
mod frames;
mod interop;
mod mutate;
mod notices;
mod outside;
#[path = "../../schemas/tests/support/samples.rs"]
mod samples;
mod tables;
mod targets;
mod watch;

use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ::tests::dice::Dice;
use mutate::Mutator;
use schemas::id::to_hex;
use targets::{Target, corpora, corpus, targets};
use watch::Watch;

/// Time for each target when nobody says how much, in milliseconds.
const TARGET_MS: u64 = 400;
/// Inputs that a target must at least have had: less would be no test.
const INPUTS_MIN: u64 = 200;

#[test]
fn no_bytes_break_a_decoder() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CHARTSEAL_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 32);
    let time = number("CHARTSEAL_FUZZ_SECONDS").map_or(Duration::from_millis(TARGET_MS), Duration::from_secs);
    println!("CHARTSEAL_SEED={seed}");
    let watch = Watch::start();
    for target in targets() {
        let mut mutator = Mutator::new(Dice::new(seed), &target.samples);
        for sample in &target.samples {
            let accepted = run(&watch, &target, sample);
            assert!(accepted, "{}: a good sample is refused: {}", target.name, shown(sample));
        }
        for once in corpus(target.name) {
            run(&watch, &target, &once);
        }
        let (since, mut inputs, mut accepted) = (Instant::now(), 0_u64, 0_u64);
        while since.elapsed() < time || inputs < INPUTS_MIN {
            accepted += u64::from(run(&watch, &target, &mutator.next()));
            inputs += 1;
        }
        println!("{:20} {inputs:8} inputs, {accepted:8} accepted", target.name);
    }
}

#[test]
fn every_corpus_is_of_a_target() {
    let names: Vec<&str> = targets().iter().map(|target| target.name).collect();
    for file in std::fs::read_dir(corpora()).expect("the corpora").map(|entry| entry.expect("an entry").file_name()) {
        let file = file.to_str().expect("a name");
        let name = file.strip_suffix(".hex").map(|name| name.strip_suffix(".broke").unwrap_or(name));
        assert!(name.is_some_and(|name| names.contains(&name)), "{file}: a target of this name is not there");
    }
}

/// Whether the target takes an input; one that breaks it is shown.
fn run(watch: &Watch, target: &Target, input: &[u8]) -> bool {
    watch.begins(target.name, input);
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    ran.unwrap_or_else(|_| {
        panic!("{} broke; add this line to tests/fuzz/corpus/{0}.broke.hex: {}", target.name, shown(input))
    })
}

fn shown(input: &[u8]) -> String {
    to_hex(input)
}
