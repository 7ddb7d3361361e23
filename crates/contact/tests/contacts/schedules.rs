//! Random schedules: requests and answers lost, repeated and reordered, nodes that die at any step.
//!
//! `PENPAL_SCHEDULES=2000 cargo nextest run -p penpal-contact schedules` runs more of them.

use proptest::{prelude::*, test_runner::TestRunner};

use crate::support::{ALICE, BOB, Faults, World};

pub(crate) fn schedules() -> u32 {
    std::env::var("PENPAL_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(24)
}

fn run(check: impl Fn(u64, Faults, bool)) {
    let faults = (0..60_u8, 0..60_u8, 0..60_u8, prop_oneof![Just(0_u8), 1..16_u8], any::<bool>());
    let config =
        ProptestConfig { cases: schedules(), failure_persistence: None, ..ProptestConfig::default() };
    let result =
        TestRunner::new(config).run(&(any::<u64>(), faults, any::<bool>()), |(seed, faults, two_relays)| {
            let (lose_request, lose_answer, repeat_answer, crash, shuffle) = faults;
            check(seed, Faults { lose_request, lose_answer, repeat_answer, crash, shuffle }, two_relays);
            Ok(())
        });
    result.unwrap();
}

#[test]
fn schedules_end_with_both_or_neither() {
    run(|seed, faults, two_relays| {
        let mut world = World::new(seed, if two_relays { &[0, 1] } else { &[0, 0] });
        world.faults = faults;
        let connected = world.pursue(60);
        world.faults = Faults::default();
        assert!(connected || world.pursue(60), "never became contacts");
        world.settle();
        world.check_rest();
        let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].fp());
        assert_ne!(alice, bob);
    });
}
