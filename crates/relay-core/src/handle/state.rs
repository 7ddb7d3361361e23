//! The sealed state of an account, kept for whoever shows the proof that its root key gives: what is needed to be it on a new machine.
//!
//! A device alone can neither read nor replace it: who stole one could undo what was kept. Nor does the proof alone replace it: a machine that
//! was revoked may have the root key still.

use penpal_protocol::ids::{AccountId, StateId};
use penpal_protocol::wire::{Answer, GetState, PutState, RefusalCode, StatePart};

use crate::core::{CallerDevice, Cx, RelayCore, refused};
use crate::error::Fault;
use crate::rows::records::{Account, KeptState, NextState, StatePiece};

impl RelayCore {
    /// Takes one part; with the last one the whole takes the place of the state before. The same again is done.
    ///
    /// What was begun and not finished gives way to what is begun next, so an account has at most two states here.
    pub(crate) fn put_state(
        &mut self,
        device: CallerDevice,
        what: PutState,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        let proved = self.proved(&what.proof, cx.rows)?;
        let Some((id, mut account)) = proved.filter(|(id, _)| *id == device.account) else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let stored = account.state.map(|kept| kept.state);
        if stored == Some(what.state) {
            return Ok(Answer::Done);
        }
        if stored != what.expect {
            return Ok(refused(RefusalCode::Conflict, "another state is stored"));
        }
        let begun = account.next_state.filter(|next| next.state == what.state && next.parts == what.parts);
        let next = match begun {
            Some(next) => next,
            None if what.part == 0 => {
                self.drop_next_state(id, &mut account);
                NextState { state: what.state, parts: what.parts, there: 0 }
            }
            None => return Ok(refused(RefusalCode::Conflict, "the parts before are not stored")),
        };
        if what.part < next.there {
            return Ok(Answer::Done);
        }
        if what.part > next.there {
            return Ok(refused(RefusalCode::Conflict, "the parts before are not stored"));
        }
        let piece = StatePiece { sealed: what.sealed };
        self.db.pieces.put((id, what.state, what.part), piece, &mut self.db.changes);
        let there = next.there.saturating_add(1);
        if there == next.parts {
            let before = account.state.replace(KeptState { state: what.state, parts: what.parts });
            account.next_state = None;
            if let Some(before) = before {
                self.drop_pieces(id, before.state, before.parts);
            }
        } else {
            account.next_state = Some(NextState { there, ..next });
        }
        self.db.accounts.put(id, account, &mut self.db.changes);
        Ok(Answer::Done)
    }

    /// Tells whoever shows the proof which account it is, and gives a part of its state.
    pub(crate) fn get_state(&mut self, what: &GetState, cx: &mut Cx<'_>) -> Result<Answer, Fault> {
        let Some((id, account)) = self.proved(&what.proof, cx.rows)? else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let sealed = match account.state.filter(|kept| what.part < kept.parts) {
            Some(kept) => {
                let piece = self.db.pieces.get(&(id, kept.state, what.part), cx.rows)?;
                piece.map(|piece| piece.sealed.clone())
            }
            None => None,
        };
        let manifest = match what.part {
            0 => self.db.manifests.get(&id, cx.rows)?.map(|held| held.profile.clone()),
            _ => None,
        };
        Ok(Answer::State(StatePart {
            handle: account.handle,
            manifest_revision: account.manifest_revision,
            state: account.state.map(|kept| kept.state),
            parts: account.state.map_or(0, |kept| kept.parts),
            sealed,
            manifest,
        }))
    }

    /// Removes everything that is kept of an account's state.
    pub(crate) fn drop_states(&mut self, id: AccountId, account: &Account) {
        let mut account = account.clone();
        self.drop_next_state(id, &mut account);
        if let Some(kept) = account.state {
            self.drop_pieces(id, kept.state, kept.parts);
        }
    }

    fn drop_next_state(&mut self, id: AccountId, account: &mut Account) {
        if let Some(next) = account.next_state.take() {
            self.drop_pieces(id, next.state, next.there);
        }
    }

    fn drop_pieces(&mut self, id: AccountId, state: StateId, parts: u8) {
        for part in 0..parts {
            self.db.pieces.delete((id, state, part), &mut self.db.changes);
        }
    }
}
