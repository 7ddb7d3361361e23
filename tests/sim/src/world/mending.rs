//! After the storm: nothing goes wrong any more, and everything that waits must come to an end by itself.

use std::time::Duration;

use penpal_local_api::mail::{OutboxRequest, Stage};
use penpal_local_api::methods::{Call, Outbox, Status};
use penpal_local_api::status::{RelayState, StatusRequest};
use tokio::time::{Instant, sleep};

use super::World;
use super::people::mark_of;
use crate::note;

/// What was receipted is sent again to whoever was put back, and no list shows that: this long after a first rest all is looked at again.
const SENT_AGAIN: Duration = Duration::from_secs(1800);

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
        let mut rested = self.ledger.borrow().unsteady.is_empty();
        loop {
            let restless = match self.restless_node().await {
                None => self.restless_relay(),
                found => found,
            };
            let Some(restless) = restless else {
                if std::mem::replace(&mut rested, true) {
                    break;
                }
                sleep(SENT_AGAIN).await;
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
        for _ in 0..600 {
            if self.node(who).is_up() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.blame(format!("p{who} does not start"));
    }

    /// What still waits at a node.
    async fn restless_node(&self) -> Option<String> {
        for who in 0..self.plan.homes.len() {
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
                let parted =
                    self.number_of(&message.to).is_some_and(|to| self.ledger.borrow().are_parted(who, to));
                if matches!(message.stage, Stage::Queued | Stage::Relayed) && !parted {
                    let mark = mark_of(&message.body).unwrap_or_default().to_owned();
                    return Some(format!("p{who} still sends {mark} to {}: {:?}", message.to, message.stage));
                }
            }
        }
        None
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
