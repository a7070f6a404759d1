//! The same targets under libFuzzer, which watches what code an input reaches and keeps what reaches more (`tests/guided` builds it with
//! the instruments and runs it). One target a process: `CHARTSEAL_TARGET` names it. With `CHARTSEAL_SAMPLES` its samples and
//! what is kept are written there, where the fuzzer begins; without a name all names are printed.
#![no_main]

mod bundle;
mod canary;
mod connector;
mod core;
mod frames;
mod interop;
mod notices;
#[path = "../../schemas/tests/support/samples.rs"]
mod samples;
mod tables;
mod targets;

use std::path::Path;

use targets::{Target, corpus, target, targets};

thread_local! {
    static CHOSEN: Target = chosen();
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    CHOSEN.with(|target| (target.run)(input));
});

fn chosen() -> Target {
    let name = std::env::var("CHARTSEAL_TARGET").unwrap_or_default();
    let mut all = targets();
    let Some(at) = all.iter().position(|target| target.name == name) else {
        all.iter().for_each(|target| println!("{}", target.name));
        return nothing();
    };
    let target = all.swap_remove(at);
    let Some(folder) = std::env::var_os("CHARTSEAL_SAMPLES") else { return target };
    for (number, sample) in target.samples.iter().chain(&corpus(target.name)).enumerate() {
        std::fs::write(Path::new(&folder).join(format!("sample-{number}")), sample).expect("a folder to write to");
    }
    nothing()
}

/// The fuzzer calls it a failure when a target ends the process.
fn nothing() -> Target {
    target("nothing", vec![], |_| false)
}
