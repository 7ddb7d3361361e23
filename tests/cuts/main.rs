//! The power goes, for one, two or all three machines, while messages flow between the real programs. Every message for which
//! `send` exited 0 arrives exactly once, in order per sender, and nothing that an inbox showed is missing afterwards.
//!
//! Each machine has an ext4 file system on a disk that loses what was not flushed (`disk.rs`). Needs Linux, root, FUSE and loop
//! devices; elsewhere it says so in one line and passes. `PENPAL_CUTS` sets the number of cuts, 5 when absent; `PENPAL_SEED`
//! repeats the choices of a run (what the programs do meanwhile is theirs).

#![cfg(target_os = "linux")]
#![expect(clippy::panic, clippy::print_stdout, reason = "a test that says what it did")]

mod disk;
mod machine;
mod surroundings;
mod world;

#[test]
fn what_was_accepted_survives_power_cuts() {
    if surroundings::is_inside() {
        let cuts = std::env::var("PENPAL_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(5);
        world::run(cuts);
    } else if let Some(missing) = surroundings::missing() {
        println!("power cuts: SKIPPED, this needs {missing}");
    } else {
        surroundings::enter("what_was_accepted_survives_power_cuts");
    }
}
