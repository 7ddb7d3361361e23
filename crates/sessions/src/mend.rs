//! Restored records that contradict each other.

use penpal_protocol::ids::SessionId;
use penpal_protocol::time::Now;

use crate::command::Command;
use crate::input::{ProcessModel, ProcessRef};
use crate::machine::Sessions;
use crate::record::{self, SessionRecord};

impl Sessions {
    /// Puts right what restored records may contradict: one name, one process, one conversation for two sessions, aliases to nothing.
    pub(crate) fn mend(&mut self, now: Now) {
        let mut order: Vec<(u64, SessionId)> =
            self.local.iter().map(|(sid, local)| (local.record.created_ms, *sid)).collect();
        order.sort_unstable();
        let mut seen: Vec<SessionId> = Vec::new();
        for (_, sid) in order {
            let Some(mine) = self.local.get(&sid).map(|local| local.record.clone()) else { continue };
            let others: Vec<&SessionRecord> =
                seen.iter().filter_map(|other| self.local.get(other)).map(|local| &local.record).collect();
            let same_name = others.iter().any(|other| other.name == mine.name) || mine.name.is_reserved();
            let same_conversation = others.iter().any(|other| {
                mine.conversation.is_some()
                    && other.agent == mine.agent
                    && other.conversation.as_ref().map(|c| &c.id) == mine.conversation.as_ref().map(|c| &c.id)
            });
            let one = |record: &SessionRecord| record.model == ProcessModel::OnePerConversation;
            let doubled: Vec<ProcessRef> = mine
                .processes
                .iter()
                .filter(|process| {
                    one(&mine) && others.iter().any(|other| one(other) && other.processes.contains(process))
                })
                .copied()
                .collect();
            if same_name {
                let name = self.free_number(&mine.name);
                self.edit(sid, |record| record.name = name);
            }
            if same_conversation {
                self.edit(sid, |record| record.conversation = None);
            }
            for process in doubled {
                self.detach(sid, process, now);
            }
            seen.push(sid);
        }
        let dangling: Vec<SessionId> = self
            .aliases
            .iter()
            .filter(|(sid, into)| self.local.contains_key(sid) || !self.local.contains_key(into))
            .map(|(sid, _)| *sid)
            .collect();
        for alias in dangling {
            self.aliases.remove(&alias);
            self.command(Command::Change(record::alias_change(alias, None)));
        }
    }
}
