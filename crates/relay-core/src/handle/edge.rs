//! Edges: the right to deposit, made by who receives and taken by who shows the capability.

use penpal_protocol::ids::{Capability, EdgeId, Hash};
use penpal_protocol::wire::{Answer, EdgeCreate, EdgeLink, EdgeRevoke, RefusalCode};
use subtle::ConstantTimeEq;

use crate::core::{Caller, CallerDevice, Cx, RelayCore, refused};
use crate::effect::Effect;
use crate::error::Fault;
use crate::minute;
use crate::rows::records::{Edge, Link};
use crate::rows::{Rows, Table};

/// Compared with where there is no edge, so that a wrong edge costs what a wrong capability costs.
const NO_HASH: Hash = Hash::from_bytes([0; 32]);

/// How somebody stands to the other end of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Has linked it.
    Linked,
    /// May link it.
    MayLink,
    /// Somebody else has.
    Taken,
}

impl RelayCore {
    /// The edge, if the capability opens it. The same work is done whether or not it exists.
    fn opened_edge(&mut self, id: &EdgeId, cap: &Capability, rows: &dyn Rows) -> Result<Option<Edge>, Fault> {
        let edge = self.db.edges.get(id, rows)?.cloned();
        let stored = edge.as_ref().map_or(&NO_HASH, |edge| &edge.cap_hash);
        let right = bool::from(cap.hash().as_bytes().ct_eq(stored.as_bytes()));
        Ok(edge.filter(|_| right))
    }

    /// How the caller stands to the edge's other end.
    fn standing(&self, caller: &Caller, edge: &Edge) -> Standing {
        let tag = caller.device.map(|device| self.graph.link_tag(&device.account));
        match &edge.link {
            Link::Open => Standing::MayLink,
            Link::Foreign if tag.is_none() => Standing::Linked,
            Link::Local(linker)
                if tag.is_some_and(|tag| bool::from(tag.as_bytes().ct_eq(linker.as_bytes()))) =>
            {
                Standing::Linked
            }
            Link::Foreign | Link::Local(_) => Standing::Taken,
        }
    }

    /// The edge, if the caller shows its capability and nobody else has linked it.
    pub(crate) fn shown_edge(
        &mut self,
        caller: &Caller,
        id: &EdgeId,
        cap: &Capability,
        rows: &dyn Rows,
    ) -> Result<Option<Edge>, Fault> {
        let edge = self.opened_edge(id, cap, rows)?;
        Ok(edge.filter(|edge| self.standing(caller, edge) != Standing::Taken))
    }

    /// The edge, if the caller shows its capability and has linked it.
    pub(crate) fn linked_edge(
        &mut self,
        caller: &Caller,
        id: &EdgeId,
        cap: &Capability,
        rows: &dyn Rows,
    ) -> Result<Option<Edge>, Fault> {
        let edge = self.opened_edge(id, cap, rows)?;
        Ok(edge.filter(|edge| self.standing(caller, edge) == Standing::Linked))
    }

    /// Makes an edge; the same again is done, an id that exists otherwise is refused.
    pub(crate) fn edge_create(
        &mut self,
        device: CallerDevice,
        what: &EdgeCreate,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        if let Some(edge) = self.db.edges.get(&what.edge, cx.rows)? {
            let same = edge.owner == device.account && edge.cap_hash == what.cap_hash;
            return Ok(if same { Answer::Done } else { Answer::refused(RefusalCode::No) });
        }
        let limits = &self.config.limits;
        let most = if device.provisional { limits.edges_while_provisional } else { limits.edges_per_account };
        let owned = self.db.index_keys(Table::OwnedEdge, device.account.as_bytes(), most, cx.rows)?;
        if owned.len() >= most {
            return Ok(refused(RefusalCode::Quota, &format!("an account has at most {most} edges")));
        }
        let edge = Edge {
            owner: device.account,
            cap_hash: what.cap_hash,
            link: Link::Open,
            made_minute: minute(cx.now.wall_ms),
        };
        self.db.put_edge(what.edge, edge);
        Ok(Answer::Done)
    }

    /// Takes the other end of an edge; the same again is done.
    pub(crate) fn edge_link(
        &mut self,
        caller: &Caller,
        what: &EdgeLink,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        let Some(mut edge) = self.opened_edge(&what.edge, &what.cap, cx.rows)? else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        match self.standing(caller, &edge) {
            Standing::Linked => return Ok(Answer::Done),
            Standing::Taken => return Ok(Answer::refused(RefusalCode::No)),
            Standing::MayLink => {}
        }
        edge.link = match caller.device {
            None => Link::Foreign,
            Some(device) => {
                let linker = self.graph.link_tag(&device.account);
                let limits = &self.config.limits;
                let most = if device.provisional {
                    limits.edges_while_provisional
                } else {
                    limits.links_per_account
                };
                let linked = self.db.index_keys(Table::LinkedEdge, linker.as_bytes(), most, cx.rows)?;
                if linked.len() >= most {
                    let detail = format!("an account has at most {most} linked edges");
                    return Ok(refused(RefusalCode::Quota, &detail));
                }
                self.effects.push(Effect::Linked { edge: what.edge, owner: edge.owner, linker });
                Link::Local(linker)
            }
        };
        self.db.put_edge(what.edge, edge);
        Ok(Answer::Done)
    }

    /// Ends an edge. Afterwards the account has no such edge, whether or not it ever had, and that is all the answer says.
    pub(crate) fn edge_revoke(
        &mut self,
        device: CallerDevice,
        what: &EdgeRevoke,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        if let Some(edge) = self.db.edges.get(&what.edge, cx.rows)?.cloned()
            && edge.owner == device.account
        {
            self.end_edge(what.edge, &edge);
        }
        Ok(Answer::Done)
    }

    /// Removes an edge and tells its linker that nobody is there.
    pub(crate) fn end_edge(&mut self, id: EdgeId, edge: &Edge) {
        if let Link::Local(linker) = edge.link {
            self.effects.push(Effect::Unlinked { edge: id, linker });
        }
        self.db.delete_edge(id, edge);
    }
}
