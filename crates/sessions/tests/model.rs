//! Random histories: whatever happens in whatever order, what must always hold holds.

#[path = "support/history.rs"]
mod history;
mod support;

use history::{Step, World};
use proptest::prelude::*;

fn step() -> impl Strategy<Value = Step> {
    let conversation = || proptest::option::of(0_u8..6);
    let register = (
        0_u8..3,
        1_u32..6,
        conversation(),
        any::<bool>(),
        0_u8..3,
        proptest::option::weighted(0.2, 0_u8..6),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(agent, pid, conversation, certain, folder, wanted, headless, fork)| Step::Register {
            agent,
            pid,
            conversation,
            certain,
            folder,
            wanted,
            headless: headless && fork,
            fork: fork && certain,
        });
    let bind = (
        0_usize..8,
        conversation(),
        any::<bool>(),
        proptest::option::of(1_u32..6),
        proptest::option::weighted(0.2, 0_usize..8),
        any::<bool>(),
    )
        .prop_map(|(session, conversation, certain, pid, absorb, fresh)| Step::Bind {
            session,
            conversation,
            certain,
            pid,
            absorb,
            fresh,
        });
    prop_oneof![
        6 => register,
        5 => bind,
        4 => (0_usize..8, 0_u8..6).prop_map(|(session, sign)| Step::Sign { session, sign }),
        2 => (0_usize..8).prop_map(|session| Step::End { session }),
        4 => (1_u32..6).prop_map(|pid| Step::Gone { pid }),
        1 => (0_u8..6).prop_map(|name| Step::Open { name }),
        1 => (0_usize..8).prop_map(|session| Step::Close { session }),
        2 => (0_usize..8, 0_u8..6).prop_map(|(session, name)| Step::Rename { session, name }),
        1 => (0_usize..8, any::<bool>()).prop_map(|(session, hidden)| Step::Hide { session, hidden }),
        4 => (0_usize..8).prop_map(|session| Step::Mail { session }),
        1 => Just(Step::ContactUp),
        1 => Just(Step::ContactDown),
        3 => prop_oneof![0_u64..100, 500_u64..700, 80_000_u64..90_000, 2_000_000_u64..3_000_000].prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Restart),
    ]
}

fn cases() -> u32 {
    std::env::var("PENPAL_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(128)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_promises(seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(seed);
        for step in steps {
            world.run(step);
        }
        world.restart();
    }
}
