//! Invites: left by one account, fetched and redeemed by whoever has the code.

use penpal_protocol::hash::labelled;
use penpal_protocol::ids::{AccountId, Hash, InviteId, SlotId};
use penpal_protocol::limits::{DAY_MS, REDEEMED_INVITE_LIFE_MS};
use penpal_protocol::wire::{
    Answer, InviteAnswer, InviteCreate, InviteFetch, InviteRedeem, InviteRevoke, InviteState, RefusalCode,
};
use subtle::ConstantTimeEq;

use crate::core::{Caller, CallerDevice, Cx, RelayCore, refused};
use crate::error::Fault;
use crate::minute;
use crate::rows::records::Invite;
use crate::rows::{Rows, Table, keys};
use crate::spool;

/// Longest life that an invite may ask for.
const MAX_INVITE_LIFE_MS: u64 = 30 * DAY_MS;

impl RelayCore {
    /// The invite, if it exists and has not ended.
    pub(crate) fn live_invite(
        &mut self,
        id: &InviteId,
        now_ms: u64,
        rows: &dyn Rows,
    ) -> Result<Option<Invite>, Fault> {
        Ok(self.db.invites.get(id, rows)?.filter(|invite| now_ms < invite.expires_ms).cloned())
    }

    /// Leaves an invite; the same again is done.
    pub(crate) fn invite_create(
        &mut self,
        device: CallerDevice,
        what: InviteCreate,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        if let Some(invite) = self.db.invites.get(&what.invite, cx.rows)? {
            // An open invite is compared as a whole; of a redeemed one the record is gone.
            let same = invite.owner == device.account
                && invite.proof_hash == what.proof_hash
                && invite.record.as_ref().is_none_or(|record| *record == what.record);
            return Ok(if same { Answer::Done } else { Answer::refused(RefusalCode::No) });
        }
        if device.provisional {
            return Ok(refused(RefusalCode::No, "this account's own invite is not redeemed yet"));
        }
        let now_ms = cx.now.wall_ms;
        if what.expires_ms <= now_ms || what.expires_ms > now_ms.saturating_add(MAX_INVITE_LIFE_MS) {
            return Ok(refused(RefusalCode::Malformed, "an invite ends in the future, within 30 days"));
        }
        let most = self.config.limits.invites_per_account;
        let owned = self.db.index_keys(Table::OwnedInvite, device.account.as_bytes(), most, cx.rows)?;
        if owned.len() >= most {
            return Ok(refused(RefusalCode::Quota, &format!("an account has at most {most} invites")));
        }
        let invite = Invite {
            owner: device.account,
            slot: device.slot,
            proof_hash: what.proof_hash,
            expires_ms: what.expires_ms,
            record: Some(what.record),
            provisional: None,
            redeemed: None,
        };
        self.db.add_index(Table::OwnedInvite, keys::owned_invite(&device.account, &what.invite));
        self.db.add_index(Table::InviteEnd, keys::invite_end(what.expires_ms, &what.invite));
        self.db.invites.put(what.invite, invite, &mut self.db.changes);
        Ok(Answer::Done)
    }

    /// Says where an invite stands, and gives its record while it is open.
    pub(crate) fn invite_fetch(
        &mut self,
        _caller: &Caller,
        what: &InviteFetch,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        let Some(invite) = self.live_invite(&what.invite, cx.now.wall_ms, cx.rows)? else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        Ok(Answer::Invite(match invite.redeemed {
            None => InviteAnswer { state: InviteState::Open, record: invite.record },
            Some(_) => InviteAnswer { state: InviteState::Redeemed, record: None },
        }))
    }

    /// Uses an invite: its request becomes a row of the inviter's spool, and the account that was registered with it stays.
    pub(crate) fn invite_redeem(
        &mut self,
        caller: &Caller,
        what: &InviteRedeem,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        let Some(mut invite) = self.live_invite(&what.invite, cx.now.wall_ms, cx.rows)? else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let hash = Hash::from_bytes(labelled("redeem", &[&what.request]));
        if let Some(first) = &invite.redeemed {
            let same = bool::from(first.as_bytes().ct_eq(hash.as_bytes()));
            return Ok(if same { Answer::Done } else { Answer::refused(RefusalCode::Used) });
        }
        let Some(slot) = self.inviter_slot(&invite, cx.rows)? else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let row = spool::redeemed_row(&what.invite, &what.request);
        if !self.has_room(&slot, row.len(), cx.rows)? {
            return Ok(refused(RefusalCode::Quota, "the inviter's spool is full; try later"));
        }
        self.settle_registration(caller, what.invite, &mut invite, cx.rows)?;
        self.db.remove_index(Table::InviteEnd, keys::invite_end(invite.expires_ms, &what.invite));
        invite.expires_ms = cx.now.wall_ms.saturating_add(REDEEMED_INVITE_LIFE_MS);
        self.db.add_index(Table::InviteEnd, keys::invite_end(invite.expires_ms, &what.invite));
        invite.record = None;
        invite.redeemed = Some(hash);
        self.db.invites.put(what.invite, invite, &mut self.db.changes);
        self.spool(&slot, row, minute(cx.now.wall_ms), cx.rows)?;
        Ok(Answer::Done)
    }

    /// The device that is told of a redeem: the one that made the invite, else the account's first.
    fn inviter_slot(&mut self, invite: &Invite, rows: &dyn Rows) -> Result<Option<SlotId>, Fault> {
        let Some(account) = self.db.accounts.get(&invite.owner, rows)?.filter(|account| !account.suspended)
        else {
            return Ok(None);
        };
        let slots = || account.devices.iter().map(|device| device.slot);
        Ok(slots().find(|slot| *slot == invite.slot).or_else(|| slots().next()))
    }

    /// A redeem spends the right to register: the redeemer's account stays, one that somebody else made with it goes.
    fn settle_registration(
        &mut self,
        caller: &Caller,
        id: InviteId,
        invite: &mut Invite,
        rows: &dyn Rows,
    ) -> Result<(), Fault> {
        let redeemer = caller.device.map(|device| device.account);
        if let Some(other) = invite.provisional.take()
            && Some(other) != redeemer
        {
            self.remove_account(other, rows)?;
        }
        let Some(redeemer) = redeemer else { return Ok(()) };
        let Some(mut account) = self.db.accounts.get(&redeemer, rows)?.cloned() else { return Ok(()) };
        let Some(registered_with) = account.provisional.take() else { return Ok(()) };
        self.db.accounts.put(redeemer, account, &mut self.db.changes);
        if registered_with != id {
            self.unbind(registered_with, &redeemer, rows)?;
        }
        Ok(())
    }

    /// An invite can be registered with again.
    fn unbind(&mut self, id: InviteId, account: &AccountId, rows: &dyn Rows) -> Result<(), Fault> {
        if let Some(mut invite) = self.db.invites.get(&id, rows)?.cloned()
            && invite.provisional.as_ref() == Some(account)
        {
            invite.provisional = None;
            self.db.invites.put(id, invite, &mut self.db.changes);
        }
        Ok(())
    }

    /// Takes an invite back. Afterwards the account has none of this id, and that is all the answer says.
    pub(crate) fn invite_revoke(
        &mut self,
        device: CallerDevice,
        what: &InviteRevoke,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        if let Some(invite) = self.db.invites.get(&what.invite, cx.rows)?.cloned()
            && invite.owner == device.account
        {
            self.end_invite(what.invite, &invite, cx.rows)?;
        }
        Ok(Answer::Done)
    }

    /// Removes an invite, and the account that was registered with it and never redeemed it.
    pub(crate) fn end_invite(&mut self, id: InviteId, invite: &Invite, rows: &dyn Rows) -> Result<(), Fault> {
        self.db.delete_invite(id, invite);
        match invite.provisional {
            Some(account) => self.remove_account(account, rows),
            None => Ok(()),
        }
    }
}
