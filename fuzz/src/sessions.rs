//! Histories of sessions: the world of the machine's own tests, with steps that the fuzzer chooses.

use arbitrary::Arbitrary;

use crate::steps::steps;

#[path = "../../crates/sessions/tests/support/history.rs"]
mod history;
#[path = "../../crates/sessions/tests/support/mod.rs"]
mod support;

use history::{Step, World};

/// Most steps of one history.
const MAX_STEPS: usize = 200;

#[derive(Debug, Arbitrary)]
enum Act {
    Register {
        agent: u8,
        pid: u8,
        conversation: Option<u8>,
        certain: bool,
        folder: u8,
        wanted: Option<u8>,
        headless: bool,
        fork: bool,
    },
    Bind {
        session: u8,
        conversation: Option<u8>,
        certain: bool,
        pid: Option<u8>,
        absorb: Option<u8>,
        fresh: bool,
    },
    Sign(u8, u8),
    End(u8),
    Gone(u8),
    Open(u8),
    Close(u8),
    Rename(u8, u8),
    Hide(u8, bool),
    Mail(u8),
    ContactUp,
    ContactDown,
    Pass(u8),
    Restart,
}

impl Act {
    fn step(self) -> Step {
        let row = |number: u8| usize::from(number % 8);
        let pid = |number: u8| u32::from(number % 5) + 1;
        let small = |number: u8| number % 6;
        match self {
            Self::Register { agent, pid: number, conversation, certain, folder, wanted, headless, fork } => {
                Step::Register {
                    agent: agent % 3,
                    pid: pid(number),
                    conversation: conversation.map(small),
                    certain,
                    folder: folder % 3,
                    wanted: wanted.map(small),
                    headless: headless && fork,
                    fork: fork && certain,
                }
            }
            Self::Bind { session, conversation, certain, pid: number, absorb, fresh } => Step::Bind {
                session: row(session),
                conversation: conversation.map(small),
                certain,
                pid: number.map(pid),
                absorb: absorb.map(row),
                fresh,
            },
            Self::Sign(session, sign) => Step::Sign { session: row(session), sign: small(sign) },
            Self::End(session) => Step::End { session: row(session) },
            Self::Gone(number) => Step::Gone { pid: pid(number) },
            Self::Open(name) => Step::Open { name: small(name) },
            Self::Close(session) => Step::Close { session: row(session) },
            Self::Rename(session, name) => Step::Rename { session: row(session), name: small(name) },
            Self::Hide(session, hidden) => Step::Hide { session: row(session), hidden },
            Self::Mail(session) => Step::Mail { session: row(session) },
            Self::ContactUp => Step::ContactUp,
            Self::ContactDown => Step::ContactDown,
            Self::Pass(long) => {
                let lengths = [0, 1, 29, 30, 60, 599, 600, 3_600, 86_400, 604_801, 2_600_000];
                Step::Pass { seconds: lengths[usize::from(long) % lengths.len()] }
            }
            Self::Restart => Step::Restart,
        }
    }
}

/// Steps, one after the other; at the end the machine starts again from its records.
pub fn check(data: &[u8]) {
    let mut world = World::new(1);
    for act in steps::<Act>(data, MAX_STEPS) {
        world.run(act.step());
    }
    world.restart();
}
