//! `Register`: making an account.

use penpal_protocol::cbor::List;
use penpal_protocol::ids::{InviteId, RegistrationProof, ShortHash, SpoolEpoch};
use penpal_protocol::wire::{Answer, RefusalCode, Register, Registered};
use subtle::ConstantTimeEq;

use crate::config::RegistrationPolicy;
use crate::core::{Caller, Cx, RelayCore, refused};
use crate::db;
use crate::effect::Effect;
use crate::error::Fault;
use crate::handle::token_key;
use crate::minute;
use crate::rows::records::{Account, AccountDevice, Device, HandleOwner, Invite, Slot, Token};

/// What lets somebody register.
#[derive(Debug)]
enum Grant {
    /// The policy: nothing is spent.
    Policy,
    /// An operator's token, of which one use is spent.
    Token(ShortHash, Token),
    /// An invite, spent when it is redeemed.
    Invite(InviteId, Box<Invite>),
}

impl RelayCore {
    /// Makes an account with this connection's key as its device. The same key gets the same account again.
    pub(crate) fn register(
        &mut self,
        caller: &Caller,
        what: &Register,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        if let Some(device) = caller.device {
            let account = self.db.accounts.get(&device.account, cx.rows)?;
            return Ok(match account.map(|account| account.handle.clone()) {
                Some(handle) => {
                    Answer::Registered(Registered { account: device.account, slot: device.slot, handle })
                }
                None => Answer::refused(RefusalCode::No),
            });
        }
        let grant = match self.grant(what, cx)? {
            Ok(grant) => grant,
            Err(refusal) => return Ok(refusal),
        };
        let replaced = match &grant {
            Grant::Invite(_, invite) => invite.provisional,
            Grant::Policy | Grant::Token(..) => None,
        };
        let holder = self.db.handles.get(&what.handle, cx.rows)?.map(|holder| holder.account);
        if what.handle.is_reserved() || (holder.is_some() && holder != replaced) {
            return Ok(Answer::refused(RefusalCode::HandleTaken));
        }
        if let Some(replaced) = replaced {
            self.remove_account(replaced, cx.rows)?;
        }
        Ok(Answer::Registered(self.make_account(caller, what, grant, cx)))
    }

    fn grant(&mut self, what: &Register, cx: &Cx<'_>) -> Result<Result<Grant, Answer>, Fault> {
        if let Some(text) = &what.token {
            return self.token_grant(text, cx);
        }
        let by_policy = match &self.config.registration {
            RegistrationPolicy::Open => true,
            RegistrationPolicy::AllowList(handles) => handles.contains(&what.handle),
            RegistrationPolicy::Invite => false,
        };
        if by_policy {
            return Ok(Ok(Grant::Policy));
        }
        let by_invite = matches!(self.config.registration, RegistrationPolicy::Invite);
        match (what.invite, &what.proof) {
            (Some(invite), Some(proof)) if by_invite => self.invite_grant(invite, proof, cx),
            _ => Ok(Err(Answer::refused(RefusalCode::NeedsToken))),
        }
    }

    fn token_grant(&mut self, text: &str, cx: &Cx<'_>) -> Result<Result<Grant, Answer>, Fault> {
        let unusable = "this token is unknown, used, revoked or expired";
        let Some(key) = token_key(text) else { return Ok(Err(refused(RefusalCode::NeedsToken, unusable))) };
        let token = self.db.tokens.get(&key, cx.rows)?.cloned();
        let usable = token.filter(|token| cx.now.wall_ms < token.expires_ms && token.uses_left > 0);
        Ok(usable
            .map(|token| Grant::Token(key, token))
            .ok_or_else(|| refused(RefusalCode::NeedsToken, unusable)))
    }

    fn invite_grant(
        &mut self,
        id: InviteId,
        proof: &RegistrationProof,
        cx: &Cx<'_>,
    ) -> Result<Result<Grant, Answer>, Fault> {
        let invite = self.live_invite(&id, cx.now.wall_ms, cx.rows)?;
        let stored = invite.as_ref().map_or([0; 32], |invite| *invite.proof_hash.as_bytes());
        let right = bool::from(proof.hash().as_bytes().ct_eq(&stored));
        let inviter = match &invite {
            Some(invite) => {
                self.db.accounts.get(&invite.owner, cx.rows)?.is_some_and(|owner| !owner.suspended)
            }
            None => false,
        };
        Ok(invite
            .filter(|invite| right && inviter && invite.redeemed.is_none())
            .map(|invite| Grant::Invite(id, Box::new(invite)))
            .ok_or_else(|| Answer::refused(RefusalCode::No)))
    }

    fn make_account(
        &mut self,
        caller: &Caller,
        what: &Register,
        grant: Grant,
        cx: &mut Cx<'_>,
    ) -> Registered {
        let id = db::new_account_id(cx.rng);
        let slot = db::new_slot_id(cx.rng);
        let epoch = SpoolEpoch::from_bytes(db::random(cx.rng));
        let provisional = match grant {
            Grant::Policy => None,
            Grant::Token(key, mut token) => {
                token.uses_left = token.uses_left.saturating_sub(1);
                if token.uses_left == 0 {
                    self.db.tokens.delete(key, &mut self.db.changes);
                } else {
                    self.db.tokens.put(key, token, &mut self.db.changes);
                }
                None
            }
            Grant::Invite(invite_id, mut invite) => {
                invite.provisional = Some(id);
                self.db.invites.put(invite_id, *invite, &mut self.db.changes);
                Some(invite_id)
            }
        };
        let changes = &mut self.db.changes;
        let account = Account {
            handle: what.handle.clone(),
            made_minute: minute(cx.now.wall_ms),
            devices: List::truncated(vec![AccountDevice { slot, key: caller.peer }]),
            manifest_revision: 0,
            suspended: false,
            provisional,
            proof_hash: None,
            state: None,
            next_state: None,
        };
        self.db.accounts.put(id, account, changes);
        self.db.handles.put(what.handle.clone(), HandleOwner { account: id }, changes);
        self.db.devices.put(caller.peer, Device { account: id, slot }, changes);
        self.db.slots.put(slot, Slot { account: id, epoch, known: None, earlier: List::default() }, changes);
        self.effects.push(Effect::Registered { conn: caller.conn });
        Registered { account: id, slot, handle: what.handle.clone() }
    }
}
