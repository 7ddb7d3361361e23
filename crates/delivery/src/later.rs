//! Work on so many messages that one step cannot hold it: as much as there is room for, and the rest in the steps that follow at once.
//!
//! What is left of it is not stored. A restart in between leaves a mark or a release undone; mail of a mailbox that is no more is moved again
//! by the shell when it starts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::address::{MailKey, Mailbox};
use crate::arrivals::HeldReason;
use crate::machine::Delivery;
use crate::step::Step;

/// What is done with each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Into another mailbox; with a reason its sender is told that it is held there.
    Move { from: Mailbox, to: Mailbox, held: Option<HeldReason> },
    /// Marked as sent to an earlier conversation.
    MarkEarlier,
    /// Shown, if it was held for this reason.
    Release(HeldReason),
}

#[derive(Debug)]
struct Task {
    doing: Doing,
    keys: VecDeque<MailKey>,
}

/// What is begun and not done, in its order.
#[derive(Debug, Default)]
pub(crate) struct Later(VecDeque<Task>);

impl Later {
    /// When to go on, given the time of the last input: at once.
    pub(crate) fn deadline(&self, last: Duration) -> Option<Duration> {
        (!self.0.is_empty()).then_some(last)
    }
}

impl Delivery {
    /// Does it to all of them, behind what was begun before.
    pub(crate) fn do_to_all(&mut self, doing: Doing, keys: Vec<MailKey>, step: &mut Step<'_>) {
        self.later.0.push_back(Task { doing, keys: keys.into() });
        self.go_on(step);
    }

    /// Goes on for as long as this step has room.
    pub(crate) fn go_on(&mut self, step: &mut Step<'_>) {
        while let Some(task) = self.later.0.front_mut() {
            if !self.ledger.has_room() {
                return;
            }
            let doing = task.doing;
            match task.keys.pop_front() {
                Some(key) => self.do_to_one(doing, key, step),
                None => {
                    self.later.0.pop_front();
                }
            }
        }
    }

    fn do_to_one(&mut self, doing: Doing, key: MailKey, step: &mut Step<'_>) {
        match doing {
            Doing::Move { from, to, held } => self.move_one(key, from, to, held, step),
            Doing::MarkEarlier => self.mark_one_earlier(key, step),
            Doing::Release(reason) => self.release(key, reason, step),
        }
    }
}
