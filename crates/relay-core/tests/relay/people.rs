//! People: registered devices with edges between them.

use penpal_protocol::ids::{Capability, EdgeId, SpoolEpoch, TransportPublicKey};
use penpal_protocol::wire::{Answer, EdgeCreate, EdgeLink, Registered, Request};
use penpal_relay_core::ConnId;

use crate::world::{Way, World, id16, key};

#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) key: TransportPublicKey,
    pub(crate) conn: ConnId,
    pub(crate) registered: Registered,
}

impl World {
    /// A registered person who is connected and has not said `Hello`.
    pub(crate) fn person(&mut self, number: u64, handle: &str) -> Person {
        let key = key(number);
        let conn = self.connect(key);
        let registered = self.register(conn, handle);
        self.events(conn);
        Person { key, conn, registered }
    }

    /// An edge of `owner` that `linker` has linked.
    pub(crate) fn way(&mut self, owner: &Person, linker: ConnId) -> Way {
        let way = self.open_way(owner);
        let link = EdgeLink { edge: way.edge, cap: way.cap.clone() };
        assert_eq!(self.ask(linker, Request::EdgeLink(link)), Answer::Done);
        way
    }

    /// An edge of `owner` that nobody has linked.
    pub(crate) fn open_way(&mut self, owner: &Person) -> Way {
        let number = self.fresh();
        let edge = EdgeId::from_bytes(id16(number));
        let cap = Capability::from_bytes([u8::try_from(number % 251).unwrap(); 32]);
        let create = EdgeCreate { edge, cap_hash: cap.hash() };
        assert_eq!(self.ask(owner.conn, Request::EdgeCreate(create)), Answer::Done);
        Way { edge, cap, slot: owner.registered.slot }
    }

    /// Two people; the second writes to the first.
    pub(crate) fn pair(&mut self) -> (Person, Person, Way) {
        let (alice, bob) = (self.person(1, "alice"), self.person(2, "bob"));
        let way = self.way(&alice, bob.conn);
        (alice, bob, way)
    }

    /// Starts receiving and gives the epoch.
    pub(crate) fn online(&mut self, person: &Person) -> SpoolEpoch {
        self.receive(person.conn).epoch
    }

    /// A new connection of a person.
    pub(crate) fn reconnect(&mut self, person: &mut Person) {
        person.conn = self.connect(person.key);
        self.events(person.conn);
    }
}
