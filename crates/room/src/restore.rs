//! The machine from its stored rows.

use std::collections::BTreeMap;

use penpal_protocol::ids::{RoomId, ShortHash};
use penpal_seal::SignedRoomEntry;

use crate::command::Command;
use crate::log::Taken;
use crate::machine::{Room, Rooms};
use crate::record::{self, Change, HeldRecord, RoomRecord, RowError, Table};

/// Takes stored rows in any order; [`Self::finish`] gives the machine.
#[derive(Debug, Default)]
pub struct Restoring {
    rooms: BTreeMap<RoomId, RoomRecord>,
    entries: BTreeMap<(RoomId, u64, ShortHash), SignedRoomEntry>,
    held: Vec<HeldRecord>,
    moved: Vec<Change>,
}

impl Restoring {
    /// Takes one row. What contacts can say again, an entry or that a message waits, is left out when it cannot be read: it shall keep no node from starting.
    ///
    /// # Errors
    /// [`RowError`]: a room that cannot be read.
    pub fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        match table {
            Table::Room => {
                let room: RoomRecord = record::decode(value)?;
                self.rooms.insert(room.id, room);
            }
            Table::Entry | Table::Held => {
                if let Err(error) = self.told(table, key, value) {
                    tracing::warn!(%error, "what was said of a room cannot be read and is left out");
                }
            }
        }
        Ok(())
    }

    fn told(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        if table == Table::Held {
            let held: HeldRecord = record::decode(value)?;
            let room = held.said_in.id;
            let place = record::held_key(&room, &held.from, &held.msg_id);
            if place != key {
                // Rows were once kept by room and message id alone.
                self.moved.push(Change { table, key: key.to_vec(), value: None });
                self.moved.push(Change { table, key: place, value: Some(value.to_vec()) });
            }
            self.held.push(held);
            return Ok(());
        }
        let signed = SignedRoomEntry::read(record::plain(value)?)?;
        self.entries.insert((record::room_of(key)?, signed.entry().epoch, signed.name()), signed);
        Ok(())
    }

    /// The machine. Rows that belong to no room are left out.
    #[must_use]
    pub fn finish(self) -> Rooms {
        let mut rooms = Rooms::default();
        for (id, record) in self.rooms {
            rooms.rooms.insert(id, Room::new(record));
        }
        // Ordered by epoch: each comes after the one that it names.
        for ((id, _, _), signed) in self.entries {
            let Some(room) = rooms.rooms.get_mut(&id) else { continue };
            if room.log.insert(&id, signed) != Taken::New {
                tracing::warn!("a stored entry of a room does not fit into its log");
            }
        }
        for held in self.held {
            if let Some(room) = rooms.rooms.get_mut(&held.said_in.id) {
                room.held.insert((held.from, held.msg_id), held);
            }
        }
        rooms.commands.extend(self.moved.into_iter().map(Command::Persist));
        rooms
    }
}
