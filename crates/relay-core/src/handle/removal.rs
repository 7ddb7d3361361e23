//! Removing an account with everything that is its own.

use penpal_protocol::ids::{AccountId, SlotId};
use penpal_protocol::limits::MAX_CONTACTS;

use crate::command::CloseReason;
use crate::core::RelayCore;
use crate::effect::Effect;
use crate::error::Fault;
use crate::rows::records::{AccountDevice, Invite, Link};
use crate::rows::{Change, Rows, Table, keys};
use crate::spool;

/// Index keys read of each kind: more than any account has.
const MAX_OF_A_KIND: usize = 4 * MAX_CONTACTS;

impl RelayCore {
    /// Removes an account: devices, spools, profile, edges, links, invites, blobs. Its connections end.
    pub(crate) fn remove_account(&mut self, id: AccountId, rows: &dyn Rows) -> Result<(), Fault> {
        let Some(account) = self.db.accounts.get(&id, rows)?.cloned() else { return Ok(()) };
        self.remove_edges(&id, rows)?;
        self.unlink_edges(&id, rows)?;
        self.remove_invites_of(&id, None, rows)?;
        self.remove_blobs(&id, rows)?;
        self.delete_profile(id, account.devices.iter().map(|device| device.slot));
        for device in account.devices.iter() {
            self.end_device(device);
        }
        self.drop_states(id, &account);
        if let Some(hash) = account.proof_hash {
            self.db.proofs.delete(hash, &mut self.db.changes);
        }
        self.db.handles.delete(account.handle, &mut self.db.changes);
        self.db.accounts.delete(id, &mut self.db.changes);
        Ok(())
    }

    /// Ends a device: its key is worth nothing, its spool goes. The account's row is the caller's.
    pub(crate) fn end_device(&mut self, device: &AccountDevice) {
        self.db.devices.delete(device.key, &mut self.db.changes);
        self.db.slots.delete(device.slot, &mut self.db.changes);
        self.db.changes.push(Change::DropQueue { queue: spool::queue(&device.slot) });
        self.db.spools.taken(&device.slot);
        self.db.shares.forget(&device.slot);
        self.acks.forget(&device.slot);
        self.unsaved_runs.remove(&device.slot);
        self.effects.push(Effect::Dismiss { peer: device.key, reason: CloseReason::Refused });
    }

    fn remove_edges(&mut self, id: &AccountId, rows: &dyn Rows) -> Result<(), Fault> {
        for key in self.db.index_keys(Table::OwnedEdge, id.as_bytes(), MAX_OF_A_KIND, rows)? {
            let Some((edge_id, _)) = keys::read_owned_edge(&key) else { continue };
            if let Some(edge) = self.db.edges.get(&edge_id, rows)?.cloned() {
                self.end_edge(edge_id, &edge);
            }
        }
        Ok(())
    }

    /// Edges of others that the account has linked can be linked anew by whoever has the capability.
    fn unlink_edges(&mut self, id: &AccountId, rows: &dyn Rows) -> Result<(), Fault> {
        let tag = self.graph.link_tag(id);
        for key in self.db.index_keys(Table::LinkedEdge, tag.as_bytes(), MAX_OF_A_KIND, rows)? {
            let Some((edge_id, _)) = keys::read_linked_edge(&key) else { continue };
            if let Some(mut edge) = self.db.edges.get(&edge_id, rows)?.cloned() {
                self.db.delete_edge(edge_id, &edge);
                edge.link = Link::Open;
                self.db.put_edge(edge_id, edge);
            }
        }
        Ok(())
    }

    /// Removes the invites of an account, or those that one of its devices made.
    pub(crate) fn remove_invites_of(
        &mut self,
        id: &AccountId,
        slot: Option<&SlotId>,
        rows: &dyn Rows,
    ) -> Result<(), Fault> {
        for key in self.db.index_keys(Table::OwnedInvite, id.as_bytes(), MAX_OF_A_KIND, rows)? {
            let Some(invite_id) = keys::read_owned_invite(&key) else { continue };
            let Some(invite): Option<Invite> = self.db.invites.get(&invite_id, rows)?.cloned() else {
                continue;
            };
            if slot.is_some_and(|slot| *slot != invite.slot) {
                continue;
            }
            self.db.delete_invite(invite_id, &invite);
            // An account that is not confirmed yet has no invites of its own, so this goes one level deep.
            if let Some(provisional) = invite.provisional.filter(|provisional| provisional != id) {
                self.remove_account(provisional, rows)?;
            }
        }
        Ok(())
    }
}
