//! After the storm: nothing goes wrong any more, and everything that waits must come to an end by itself.

use std::time::Duration;

use penpal_local_api::mail::{OutMessage, OutboxRequest, Stage};
use penpal_local_api::methods::{Call, Outbox, Status};
use penpal_local_api::status::{RelayState, StatusRequest};
use tokio::time::{Instant, sleep};

use super::World;
use super::people::mark_of;
use crate::note;

/// What was receipted is sent again to whoever was put back, and no list shows that: this long after a first rest all is looked at again.
const SENT_AGAIN: Duration = Duration::from_secs(1800);

/// Nor does one show receipts that were lost with the edges of a device that was cut off: they are repeated after an hour.
const RECEIPTED_AGAIN: Duration = Duration::from_secs(2 * 3600);

/// How long mending may take. Receipts are sent again after an hour, then once a day; copies are kept for two days.
const LIMIT: Duration = Duration::from_secs(40 * 3600);

impl World {
    pub(super) async fn mend(&self) {
        let blocked = self.blocked.take();
        for (who, whom) in blocked {
            self.wait_until_up(who).await;
            self.unblock(who, whom).await;
        }
        let began = Instant::now();
        self.look_for_devices().await;
        let (unsteady, shared) = {
            let ledger = self.ledger.borrow();
            (!ledger.unsteady.is_empty(), !ledger.linked.is_empty())
        };
        let mut rested = !unsteady && !shared;
        loop {
            self.look_for_late_devices().await;
            let mut restless = self.restless_node().await;
            if restless.is_none() {
                restless = self.restless_relay();
            }
            if restless.is_none() {
                restless = self.devices_apart().await;
            }
            if restless.is_none() {
                restless = self.rooms_apart().await;
            }
            let Some(restless) = restless else {
                if std::mem::replace(&mut rested, true) {
                    break;
                }
                sleep(if shared { RECEIPTED_AGAIN } else { SENT_AGAIN }).await;
                continue;
            };
            let waited = began.elapsed();
            if waited > LIMIT {
                self.blame(format!("still not at rest after {waited:?}: {restless}"));
                return;
            }
            let pause = if waited < Duration::from_secs(300) { waited / 4 } else { waited / 10 };
            let pause = pause.clamp(Duration::from_secs(2), Duration::from_secs(1800));
            sleep(pause).await;
        }
        note!(self.trace, "all is at rest");
    }

    pub(super) async fn wait_until_up(&self, who: usize) {
        // Longer than any machine is off.
        for _ in 0..1_200 {
            if self.node(who).is_up() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.blame(format!("p{who} does not start"));
    }

    /// What still waits at a node.
    async fn restless_node(&self) -> Option<String> {
        for who in self.plan.machines().filter(|machine| self.takes_part(*machine)) {
            let node = self.node(who);
            let status = node.call::<Status>(Call::Status(StatusRequest::default())).await;
            let Ok(status) = status else { return Some(format!("p{who} does not answer")) };
            let state = status.relay.map(|relay| relay.state);
            if state != Some(RelayState::Connected) {
                return Some(format!("p{who} is not connected: {:?}", status.notices));
            }
            let outbox = node.call::<Outbox>(Call::Outbox(OutboxRequest::default())).await;
            let Ok(outbox) = outbox else { return Some(format!("p{who} has no outbox")) };
            for message in outbox.messages {
                if self.still_sends(who, &message) {
                    let mark = mark_of(&message.body).unwrap_or_default().to_owned();
                    let copies = &message.copies;
                    return Some(format!("p{who} still sends {mark} to {}: {copies:?}", message.to));
                }
            }
        }
        None
    }

    /// Whether a message waits for somebody who may yet take it.
    fn still_sends(&self, who: usize, message: &OutMessage) -> bool {
        let waits = |stage: Stage| matches!(stage, Stage::Queued | Stage::Relayed);
        let parted = |name: &str| self.number_of(name).is_none_or(|other| self.out_of_touch(who, other));
        if message.to.starts_with('#') {
            let waiting = message.copies.iter().filter(|copy| waits(copy.stage));
            return waiting.filter_map(|copy| copy.contact.as_deref()).any(|name| !parted(name));
        }
        let parted = self.number_of(&message.to).is_some_and(|to| self.out_of_touch(who, to));
        message.copies.iter().any(|copy| waits(copy.stage)) && !parted
    }

    /// Whether mail between two need not come to an end.
    pub(super) fn out_of_touch(&self, one: usize, other: usize) -> bool {
        let ledger = self.ledger.borrow();
        ledger.are_parted(one, other) || ledger.is_way_lost(one, other)
    }

    /// What still waits at a relay.
    fn restless_relay(&self) -> Option<String> {
        for relay in &self.relays {
            match relay.spools() {
                Ok(spools) => {
                    let rows: u64 = spools.iter().map(|usage| usage.rows).sum();
                    if rows > 0 {
                        return Some(format!("{} still has {rows} rows", relay.name));
                    }
                }
                Err(error) => return Some(format!("{}: {error}", relay.name)),
            }
        }
        None
    }

    /// Holds every spool against its bounds.
    pub(super) fn look_at_spools(&self) {
        for relay in &self.relays {
            let (rows, bytes) = (relay.limits().spool_rows, relay.limits().spool_bytes);
            // While the disk is cut or full there may be nothing to read.
            for usage in relay.spools().unwrap_or_default() {
                if usage.rows > rows || usage.bytes > bytes {
                    self.blame(format!("{} lets {} rows wait, {rows} are allowed", relay.name, usage.rows));
                }
            }
        }
    }
}
