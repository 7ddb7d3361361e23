//! The rooms of one node, told things by a room's owner, by members and by nobody in particular.

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use penpal_protocol::cbor::{self, Blob, List, Text};
use penpal_protocol::ids::{Fingerprint, InviteId, MsgId, RoomId, ShortHash};
use penpal_protocol::limits::MAX_ROOM_ENTRIES;
use penpal_protocol::sealed::{
    RoomChange, RoomEntry, RoomHead, RoomIntroduction, RoomMember, RoomNews, RoomRef, RoomWish,
};
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use penpal_room::{Command, Introduction, Manifests, Me, Restoring, Rooms, Said, Standing, Step, Table};
use penpal_seal::{SignedRoomEntry, VerifiedManifest};

use crate::people::{ALICE, BOB, NOW_MS, Person, rng};

/// Steps of one input, at most.
const MAX_STEPS: usize = 96;

/// What happens.
#[derive(Debug, Arbitrary)]
enum Act {
    /// The owner appends after one of the entries that there are, or makes them up.
    Entry {
        after: u8,
        epoch_off: i8,
        what: u8,
        whom: u8,
        forged: bool,
        from: u8,
    },
    /// Bytes instead of an entry.
    Garbage {
        bytes: Vec<u8>,
        from: u8,
    },
    /// News as bytes.
    Told {
        bytes: Vec<u8>,
        from: u8,
    },
    Wish {
        wish: u8,
        from: u8,
    },
    Have {
        after: u8,
        epoch: u8,
        from: u8,
    },
    Introduction {
        from: u8,
        maker: u8,
        to: u8,
    },
    Message {
        from: u8,
        after: u8,
        epoch: u8,
        id: u8,
    },
    Create {
        name: u8,
    },
    Invite {
        whom: u8,
    },
    Join,
    Leave,
    Remove {
        whom: u8,
    },
    Close,
    ContactEnded {
        whom: u8,
    },
    Introduce {
        to: u8,
    },
    Time {
        seconds: u32,
    },
    Restart,
}

struct Known;

impl Manifests for Known {
    fn manifest(&self, account: &Fingerprint) -> Option<&VerifiedManifest> {
        [&*ALICE, &*BOB].into_iter().map(|one| &one.manifest).find(|one| one.fingerprint() == *account)
    }
}

/// Somebody: Alice, Bob, or one of some strangers.
fn somebody(which: u8) -> Fingerprint {
    match which % 6 {
        0 | 1 => ALICE.manifest.fingerprint(),
        2 => BOB.manifest.fingerprint(),
        other => Fingerprint::from_bytes([other; 16]),
    }
}

struct World {
    rooms: Rooms,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    now: Now,
    /// Names of entries that were made, with their epochs.
    made: Vec<(ShortHash, u64)>,
    id: RoomId,
    signer: &'static Person,
    /// Inputs so far: each has randomness of its own.
    turn: u64,
}

/// Steps, again and again; the first byte says who owns the room.
pub fn check(data: &[u8]) {
    let Some((owner, rest)) = data.split_first() else { return };
    let ours = owner % 2 == 1;
    let mut world = World {
        rooms: Rooms::default(),
        rows: BTreeMap::new(),
        now: Now { mono: Duration::from_secs(5), wall_ms: NOW_MS },
        made: vec![(ShortHash::from_bytes([0; 16]), 0)],
        id: RoomId::from_bytes([1; 16]),
        signer: if ours { &BOB } else { &ALICE },
        turn: 0,
    };
    if ours {
        let name = Label::new("payments").expect("a name");
        world.id = world.with(|rooms, step| rooms.create(&name, step)).expect("the first room");
        let head = world.rooms.fanout(&world.id, &me()).expect("a member").said_in;
        world.made.push((head.chain, head.epoch));
    }
    let mut input = Unstructured::new(rest);
    for _ in 0..MAX_STEPS {
        let Ok(act) = Act::arbitrary(&mut input) else { break };
        world.act(act);
        world.holds();
        if input.is_empty() {
            break;
        }
    }
}

fn me() -> Me {
    Me { account: BOB.manifest.fingerprint(), device: BOB.device, shared: false }
}

impl World {
    fn with<T>(&mut self, input: impl FnOnce(&mut Rooms, &mut Step<'_>) -> T) -> T {
        self.turn += 1;
        let mut randomness = rng(self.turn);
        let mut step = Step {
            now: self.now,
            rng: &mut randomness,
            signing: &BOB.signing,
            manifests: &Known,
            me: Some(me()),
        };
        let out = input(&mut self.rooms, &mut step);
        let mut said = 0;
        while let Some(command) = self.rooms.poll_command() {
            said += 1;
            assert!(said < 4096, "one input makes it talk without end");
            match command {
                Command::Persist(change) => {
                    match change.value {
                        Some(value) => self.rows.insert((change.table, change.key), value),
                        None => self.rows.remove(&(change.table, change.key)),
                    };
                }
                Command::Send { to, news } => {
                    // Own devices are asked for entries and answered, as everybody is, and nothing else.
                    let decides = news.wish.is_some() || news.invitation.is_some();
                    let ours = to == me().account;
                    assert!(!ours || !(decides || news.introductions.is_some()), "it tells itself: {news:?}");
                    assert!(cbor::encode(&*news).len() <= penpal_protocol::limits::MAX_CONTENT_BYTES);
                }
                _ => {}
            }
        }
        out
    }

    fn place(&self, which: u8) -> (ShortHash, u64) {
        self.made[usize::from(which) % self.made.len()]
    }

    fn news(&mut self, from: u8, news: &RoomNews) {
        let from = somebody(from);
        let taken = self.with(|rooms, step| rooms.handle_news(from, news, step));
        drop(taken);
    }

    fn about(&self) -> RoomNews {
        RoomNews {
            room: self.id,
            invitation: None,
            wish: None,
            entries: None,
            have: None,
            introductions: None,
            shared: None,
        }
    }

    fn act(&mut self, act: Act) {
        let id = self.id;
        match act {
            Act::Entry { after, epoch_off, what, whom, forged, from } => {
                let (prev, epoch) = self.place(after);
                let first = prev == ShortHash::from_bytes([0; 16]);
                let epoch =
                    if first { 0 } else { epoch.saturating_add(1).saturating_add_signed(epoch_off.into()) };
                let (account, name) = (somebody(whom), Label::new("somebody").expect("a name"));
                let nothing = RoomChange::default();
                let change = match what % 4 {
                    _ if first => RoomChange { created: Some(name), ..nothing },
                    0 => RoomChange { removed: Some(account), ..nothing },
                    1 if what > 250 => RoomChange { closed: Some(true), ..nothing },
                    1 => RoomChange { left: Some(account), ..nothing },
                    _ => RoomChange { added: Some(RoomMember { account, name }), ..nothing },
                };
                let signer = self.signer;
                let entry = RoomEntry {
                    room: id,
                    epoch,
                    prev,
                    issued_ms: self.now.wall_ms,
                    owner: signer.manifest.fingerprint(),
                    device: signer.device,
                    change,
                };
                let wrong = if std::ptr::eq(signer, &*ALICE) { &BOB } else { &ALICE };
                let signed =
                    SignedRoomEntry::sign(if forged { &wrong.signing } else { &signer.signing }, entry);
                if !forged {
                    self.made.push((signed.name(), epoch));
                }
                let before = self.rooms.view(&id).and_then(|view| view.epoch);
                let blob = Blob::new(signed.signed().to_vec()).expect("short");
                let entries = List::new(vec![blob]).ok();
                self.news(from, &RoomNews { entries, ..self.about() });
                if forged {
                    assert_eq!(
                        self.rooms.view(&id).and_then(|view| view.epoch),
                        before,
                        "a forged entry counts"
                    );
                }
            }
            Act::Garbage { bytes, from } => {
                let blob = Blob::new(bytes.into_iter().take(280).collect()).expect("short");
                let entries = List::new(vec![blob]).ok();
                self.news(from, &RoomNews { entries, ..self.about() });
            }
            Act::Told { bytes, from } => {
                if let Ok(news) = cbor::decode::<RoomNews>(&bytes, 80_000) {
                    self.news(from, &news);
                }
            }
            Act::Wish { wish, from } => {
                let wish = [RoomWish::Join, RoomWish::Decline, RoomWish::Leave][usize::from(wish % 3)];
                self.news(from, &RoomNews { wish: Some(wish), ..self.about() });
            }
            Act::Have { after, epoch, from } => {
                let have = Some(RoomHead { epoch: epoch.into(), entry: self.place(after).0 });
                self.news(from, &RoomNews { have, ..self.about() });
            }
            Act::Introduction { from, maker, to } => {
                let code = Text::truncated("pp1-x");
                let one = RoomIntroduction { from: somebody(maker), to: somebody(to), code };
                let introductions = List::new(vec![one]).ok();
                self.news(from, &RoomNews { introductions, ..self.about() });
            }
            Act::Message { from, after, epoch, id: msg } => {
                let (chain, _) = self.place(after);
                let (from, said_in) = (somebody(from), RoomRef { id, epoch: epoch.into(), chain });
                let sent_ms = self.now.wall_ms;
                match self.rooms.judge(&from, &said_in, sent_ms, &me()) {
                    Said::Take => {
                        let members = self.rooms.view(&id).expect("the room").members;
                        assert!(
                            [from, me().account]
                                .iter()
                                .all(|one| members.iter().any(|(member, _)| member == one))
                        );
                    }
                    Said::Hold => {
                        let msg = MsgId::from_bytes([msg; 16]);
                        self.with(|rooms, step| rooms.hold(from, msg, &said_in, sent_ms, step));
                    }
                    Said::Refuse(_) => {}
                }
            }
            Act::Create { name } => {
                let name = Label::new(&format!("room-{name}")).expect("a name");
                drop(self.with(|rooms, step| rooms.create(&name, step)));
            }
            Act::Invite { whom } => {
                let name = Label::new("somebody").expect("a name");
                drop(self.with(|rooms, step| rooms.invite(&id, somebody(whom), &name, step)));
            }
            Act::Join => drop(self.with(|rooms, step| rooms.join(&id, step))),
            Act::Leave => drop(self.with(|rooms, step| rooms.leave(&id, step))),
            Act::Remove { whom } => drop(self.with(|rooms, step| rooms.remove(&id, somebody(whom), step))),
            Act::Close => drop(self.with(|rooms, step| rooms.close(&id, step))),
            Act::ContactEnded { whom } => {
                self.with(|rooms, step| rooms.handle_contact_ended(somebody(whom), step))
            }
            Act::Introduce { to } => {
                let made = Introduction {
                    to: somebody(to),
                    invite: InviteId::from_bytes([to; 16]),
                    code: "pp1-x".to_owned(),
                    until_ms: self.now.wall_ms.saturating_add(1000),
                };
                self.with(|rooms, step| rooms.introduce(&id, &[made], step));
            }
            Act::Time { seconds } => {
                self.now = self.now.plus(Duration::from_secs(u64::from(seconds % 1_000_000)));
                self.with(|rooms, step| rooms.handle_timeout(step));
            }
            Act::Restart => {
                let before = self.rooms.list();
                let mut restoring = Restoring::default();
                for ((table, key), value) in &self.rows {
                    restoring.row(*table, key, value).expect("own rows");
                }
                self.rooms = restoring.finish();
                // What is stored is what is held; what counts of it is said at the start.
                self.with(|rooms, step| rooms.handle_started(step));
                assert_eq!(self.rooms.list(), before, "what was stored is something else");
            }
        }
    }

    fn holds(&self) {
        for view in self.rooms.list() {
            assert!(view.members.first().is_some_and(|(owner, _)| *owner == view.owner));
            let is_in = view.members.iter().any(|(account, _)| *account == me().account);
            assert!(view.standing != Standing::Member || is_in, "a member that is none");
            if let Ok(fanout) = self.rooms.fanout(&view.id, &me()) {
                assert!(!fanout.to.contains(&me().account) && fanout.to.len() < 50);
            }
        }
        let entries = self.rows.keys().filter(|(table, _)| *table == Table::Entry).count();
        assert!(entries <= MAX_ROOM_ENTRIES * (self.rooms.list().len().max(1)));
    }
}
