//! People and relays in one thread, under a virtual clock, with faults by seed.

use std::time::Duration;

use penpal_contact::{
    At, By, Command, ContactView, Contacts, NewAccount, Notice, State, Step, Token, Unreachable,
};
use penpal_protocol::{
    ids::MsgId,
    sealed::{Content, Kind},
    text::{InviteCode, Label},
    time::Now,
    wire::{Answer, DepositOutcome, HelloAnswer, Request, Verdict},
};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use super::{
    person::{Disk, Out, Person, Sent},
    relay::{Relay, Row},
};

/// Index of a person.
pub(crate) type Who = usize;
pub(crate) const ALICE: Who = 0;
pub(crate) const BOB: Who = 1;
pub(crate) const CAROL: Who = 2;
pub(crate) const DAVE: Who = 3;

/// When a process dies, as seen from its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The key file was written, the batch was not.
    BeforeCommit,
    /// The batch was written, nothing was sent.
    AfterCommit,
}

/// How likely each fault is, in 1 of 256.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) lose_request: u8,
    pub(crate) lose_answer: u8,
    pub(crate) repeat_answer: u8,
    pub(crate) crash: u8,
    /// Whether events happen in random order.
    pub(crate) shuffle: bool,
}

struct Call {
    who: Who,
    run: u64,
    token: Token,
    relay: At,
    request: Request,
}

struct Reply {
    who: Who,
    run: u64,
    token: Token,
    answer: Result<Answer, Unreachable>,
}

enum Event {
    Hello(Who),
    Bundle(Who),
    Call(usize),
    Reply(usize),
    Spool(Who),
    Pump(Who),
}

pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) rng: ChaCha12Rng,
    pub(crate) people: Vec<Person>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) home: Vec<usize>,
    pub(crate) faults: Faults,
    /// A crash of one person at its n-th step from now.
    pub(crate) plan: Option<(Who, u32, Crash)>,
    pub(crate) steps: Vec<u32>,
    pub(crate) crashes: u32,
    /// Machines that are off the network.
    pub(crate) off: Vec<Who>,
    /// Changes an answer of a relay before it travels.
    pub(crate) tamper: Option<fn(&Request, Answer) -> Answer>,
    pub(crate) requests: Vec<(Who, Request)>,
    /// Those who take nothing from the relay.
    pub(crate) deaf: Vec<Who>,
    calls: Vec<Call>,
    replies: Vec<Reply>,
}

impl World {
    /// People at home at the relays with these numbers.
    pub(crate) fn new(seed: u64, homes: &[usize]) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let now = Now { mono: Duration::from_secs(5), wall_ms: 1_790_000_000_000 };
        let names = ["alice", "bob", "carol", "dave", "erin"];
        let people = homes
            .iter()
            .enumerate()
            .map(|(number, _)| Person::new(names[number], &mut Step { now, rng: &mut rng }));
        let people: Vec<_> = people.collect();
        let count = homes.iter().max().unwrap() + 1;
        let relays = (0..count).map(|number| Relay::new(u8::try_from(number + 1).unwrap())).collect();
        Self {
            now,
            rng,
            steps: vec![0; people.len()],
            people,
            relays,
            home: homes.to_vec(),
            faults: Faults::default(),
            plan: None,
            crashes: 0,
            off: Vec::new(),
            tamper: None,
            requests: Vec::new(),
            deaf: Vec::new(),
            calls: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// One input to a person's machine, with everything that follows in the same step. `None`: it died in it.
    pub(crate) fn act<R>(
        &mut self,
        who: Who,
        input: impl FnOnce(&mut Person, &mut Disk, &mut Step<'_>) -> R,
    ) -> Option<R> {
        self.steps[who] += 1;
        let crash = match &mut self.plan {
            Some((whom, 0, crash)) if *whom == who => Some(*crash),
            Some((whom, left, _)) if *whom == who => {
                *left -= 1;
                None
            }
            _ => {
                let dies = self.chance(self.faults.crash);
                dies.then(|| if self.chance(128) { Crash::BeforeCommit } else { Crash::AfterCommit })
            }
        };
        let person = &mut self.people[who];
        let mut batch = person.disk.clone();
        let mut step = Step { now: self.now, rng: &mut self.rng };
        let result = input(person, &mut batch, &mut step);
        let mut after = Vec::new();
        let mut kept = true;
        while let Some(command) = person.node.poll_command() {
            match command {
                Command::KeepSecret(keep) => {
                    assert!(kept, "secrets come before everything else");
                    person.disk.secrets.insert(keep.invite, keep.entry.clone());
                    batch.secrets.insert(keep.invite, keep.entry);
                }
                Command::KeepIdentity(keys) => {
                    assert!(kept, "keys come before everything else");
                    person.keys = keys;
                }
                Command::Persist(change) => {
                    kept = false;
                    let key = (change.table, change.key);
                    match change.value {
                        Some(value) => batch.rows.insert(key, value),
                        None => batch.rows.remove(&key),
                    };
                }
                Command::Deliver(deliver) => {
                    let out = Out {
                        to: deliver.to,
                        by: deliver.by,
                        kind: Kind::Control,
                        content: Content::Control(deliver.control).encode(),
                        expires_ms: deliver.expires_ms,
                        devices: Some(deliver.devices),
                    };
                    batch.outbox.insert(deliver.message, out);
                }
                Command::CancelDelivery(message) => {
                    batch.outbox.remove(&message);
                }
                Command::ContactEnded(contact) => {
                    batch.outbox.retain(|_, out| out.to != contact);
                    batch.receipts.retain(|(to, ..)| *to != contact);
                }
                other => after.push(other),
            }
        }
        if crash == Some(Crash::BeforeCommit) {
            self.die(who);
            return None;
        }
        self.people[who].disk = batch;
        if crash == Some(Crash::AfterCommit) {
            self.die(who);
            return None;
        }
        for command in after {
            self.carry_out(who, command);
        }
        Some(result)
    }

    fn carry_out(&mut self, who: Who, command: Command) {
        let person = &mut self.people[who];
        match command {
            Command::Relay(call) => {
                self.requests.push((who, call.request.clone()));
                let (token, relay, request) = (call.token, call.relay, call.request);
                self.calls.push(Call { who, run: person.run, token, relay, request });
            }
            Command::EraseSecret(invite) => {
                person.disk.secrets.remove(&invite);
            }
            Command::Notice(notice) => person.notices.push(notice),
            Command::BundleWanted => person.bundle_wanted = true,
            Command::HelloWanted => person.hello = false,
            Command::RouteChanged(contact) => {
                let theirs = person.disk.outbox.iter().filter(|(_, out)| out.to == contact);
                for id in theirs.map(|(id, _)| *id).collect::<Vec<_>>() {
                    person.pauses.remove(&id);
                }
            }
            Command::Fetched { .. } | Command::BundlePublished(_) => {}
            other => panic!("{other:?} after the commit"),
        }
    }

    fn die(&mut self, who: Who) {
        if self.plan.is_some_and(|(whom, left, _)| whom == who && left == 0) {
            self.plan = None;
        }
        self.crashes += 1;
        self.start(who);
    }

    /// Takes a machine off the network: what it asked and was not answered yet is lost.
    pub(crate) fn unplug(&mut self, who: Who) {
        self.off.push(who);
        self.calls.retain(|call| call.who != who);
        self.replies.retain(|reply| reply.who != who);
    }

    /// Starts a person's node again from its disk.
    pub(crate) fn start(&mut self, who: Who) {
        let mut step = Step { now: self.now, rng: &mut self.rng };
        self.people[who].restart(&mut step);
        // What starting asks for is carried out in the same way as any step.
        self.act(who, |_, _, _| ());
    }

    fn chance(&mut self, of_256: u8) -> bool {
        of_256 > 0 && (self.rng.next_u32() & 0xff) < u32::from(of_256)
    }

    /// `None` where there is none: a home that was given up since, or an address that somebody made up.
    fn relay_of(&self, who: Who, at: &At) -> Option<usize> {
        let pin = match at {
            At::Home => self.people[who].node.home_relay()?.pin,
            At::Foreign(address) => address.pin,
        };
        self.relays.iter().position(|relay| relay.address.pin == pin)
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for who in (0..self.people.len()).filter(|who| !self.off.contains(who)) {
            let transport = self.people[who].transport();
            let person = &mut self.people[who];
            if person.bundle_wanted {
                events.push(Event::Bundle(who));
            }
            let home = person.node.account().map(|me| me.relay.pin);
            let relay = self.relays.iter().find(|relay| Some(relay.address.pin) == home && !relay.down);
            if let Some(relay) = relay {
                if !person.hello && relay.owner(&transport).is_some() {
                    events.push(Event::Hello(who));
                }
                if !self.deaf.contains(&who)
                    && relay.spools.get(&transport).is_some_and(|rows| !rows.is_empty())
                {
                    events.push(Event::Spool(who));
                }
            }
        }
        events.extend((0..self.replies.len()).map(Event::Reply));
        events.extend((0..self.calls.len()).map(Event::Call));
        if events.is_empty() || self.faults.shuffle {
            events.extend((0..self.people.len()).filter(|who| !self.off.contains(who)).map(Event::Pump));
        }
        events
    }

    /// Lets happen what can happen now; tells whether anything did.
    pub(crate) fn happen(&mut self) -> bool {
        let mut events = self.events();
        while !events.is_empty() {
            let pick = if self.faults.shuffle { self.rng.next_u32() as usize % events.len() } else { 0 };
            if self.run_event(events.swap_remove(pick)) {
                return true;
            }
        }
        false
    }

    fn run_event(&mut self, event: Event) -> bool {
        match event {
            Event::Hello(who) => self.hello(who),
            Event::Bundle(who) => self.bundle(who),
            Event::Call(index) => self.call(index),
            Event::Reply(index) => {
                let reply = self.replies.remove(index);
                if self.people[reply.who].run == reply.run {
                    self.act(reply.who, |person, _, step| {
                        person.node.handle_answer(reply.token, reply.answer, step)
                    });
                }
            }
            Event::Spool(who) => self.spool(who),
            Event::Pump(who) => return self.pump(who),
        }
        true
    }

    fn hello(&mut self, who: Who) {
        let person = &mut self.people[who];
        person.hello = true;
        let pin = person.node.account().unwrap().relay.pin;
        let relay = self.relays.iter().find(|relay| relay.address.pin == pin).unwrap();
        let account = &relay.accounts[&relay.owner(&person.transport()).unwrap()];
        let answer = HelloAnswer {
            verdict: Verdict::Known,
            epoch: penpal_protocol::ids::SpoolEpoch::from_bytes([relay.epoch; 8]),
            newest: 0,
            handle: account.handle.clone(),
            manifest_revision: account.revision,
        };
        self.act(who, |person, _, step| person.node.handle_hello(&answer, step));
    }

    pub(crate) fn bundle(&mut self, who: Who) {
        self.people[who].bundle_wanted = false;
        self.act(who, |person, _, step| {
            let bundle = person.bundle(step.now.wall_ms);
            person.node.publish_bundle(&bundle, step).unwrap();
        });
    }

    fn call(&mut self, index: usize) {
        let Call { who, run, token, relay, request } = self.calls.remove(index);
        if self.people[who].run != run && self.chance(128) {
            return;
        }
        let lost = Reply { who, run, token, answer: Err(Unreachable) };
        let Some(index) = self.relay_of(who, &relay) else {
            self.replies.push(lost);
            return;
        };
        if self.relays[index].down || self.chance(self.faults.lose_request) {
            self.replies.push(lost);
            return;
        }
        let caller = (relay == At::Home).then(|| self.people[who].transport());
        let mut answer = self.relays[index].request(caller, request.clone(), self.now.wall_ms);
        if let Some(tamper) = self.tamper {
            answer = tamper(&request, answer);
        }
        if self.chance(self.faults.lose_answer) {
            self.replies.push(lost);
            return;
        }
        if self.chance(self.faults.repeat_answer) {
            self.replies.push(Reply { who, run, token, answer: Ok(answer.clone()) });
        }
        self.replies.push(Reply { who, run, token, answer: Ok(answer) });
    }

    fn home_of(&self, who: Who) -> usize {
        self.relay_of(who, &At::Home).unwrap()
    }

    fn spool(&mut self, who: Who) {
        let (home, transport) = (self.home_of(who), self.people[who].transport());
        let row = self.relays[home].spools[&transport][0].clone();
        let done = match &row {
            Row::Redeemed(invite, request) => {
                self.act(who, |person, _, step| person.node.handle_redeemed(invite, request, step)).is_some()
            }
            Row::Envelope(envelope) => match self.people[who].open(envelope, self.now.wall_ms) {
                None => {
                    self.people[who].foreign += 1;
                    true
                }
                Some((opener, body)) => {
                    self.act(who, |person, batch, step| person.take(opener, &body, batch, step)).is_some()
                }
            },
        };
        if done && let Some(rows) = self.relays[home].spools.get_mut(&transport) {
            rows.remove(0);
        }
    }

    fn pump(&mut self, who: Who) -> bool {
        let mut step = Step { now: self.now, rng: &mut self.rng };
        let Some(ready) = self.people[who].ready(&mut step) else { return false };
        let Some(index) = self.relay_of(who, &ready.relay) else { return false };
        if self.relays[index].down {
            return false;
        }
        let caller = (ready.relay == At::Home).then(|| self.people[who].transport());
        let outcome = self.relays[index].deposit(caller, &ready.deposit);
        if self.chance(self.faults.lose_answer) {
            return true;
        }
        let (to, edge) = (ready.to, ready.deposit.edge);
        self.act(who, |person, batch, step| match outcome {
            DepositOutcome::Accepted => {
                if let Sent::Receipt(receipt) = ready.what {
                    batch.receipts.remove(&receipt);
                }
                person.node.handle_accepted(&to, step);
            }
            DepositOutcome::No => {
                if let Sent::Receipt(receipt) = ready.what {
                    batch.receipts.remove(&receipt);
                }
                person.node.handle_refused(&to, &edge, step);
            }
            other => panic!("{other:?}"),
        });
        true
    }

    /// Runs until nothing happens before `span` has passed.
    pub(crate) fn run(&mut self, span: Duration) {
        const WINDOW: Duration = Duration::from_secs(15 * 60);
        const MOST_IN_A_WINDOW: u32 = 20_000;
        let until = self.now.mono + span;
        let (mut window, mut happened) = (self.now.mono, 0);
        loop {
            while self.happen() {
                happened += 1;
                assert!(happened < MOST_IN_A_WINDOW, "never comes to rest");
            }
            let timers =
                self.people.iter().flat_map(|person| [person.node.poll_timeout(), person.next_try()]);
            let next = timers.flatten().min().unwrap_or(until).max(self.now.mono + Duration::from_millis(1));
            if next > until {
                self.now = self.now.plus(until.saturating_sub(self.now.mono));
                return;
            }
            self.now = self.now.plus(next - self.now.mono);
            if self.now.mono - window > WINDOW {
                (window, happened) = (self.now.mono, 0);
            }
            for who in 0..self.people.len() {
                if self.people[who].node.poll_timeout().is_some_and(|at| at <= self.now.mono) {
                    self.act(who, |person, _, step| person.node.handle_timeout(step));
                    happened += 1;
                }
            }
        }
    }

    pub(crate) fn settle(&mut self) {
        self.run(Duration::from_secs(15 * 60));
    }

    // What people do. Each returns whether it was done: `None` when the node died in it.

    pub(crate) fn register(&mut self, who: Who) {
        let address = self.relays[self.home[who]].address.clone();
        self.act(who, |person, _, step| {
            let token = Some(penpal_protocol::cbor::Text::new("token").unwrap());
            let device = Label::new("desktop").unwrap();
            // Already registered or under way is fine here.
            let _asked = person.node.register(address, person.handle.clone(), device, token, step);
        });
    }

    pub(crate) fn invite(&mut self, who: Who) -> Option<InviteCode> {
        self.invite_with(who, false)
    }

    pub(crate) fn invite_with(&mut self, who: Who, auto_accept: bool) -> Option<InviteCode> {
        let made = self
            .act(who, |person, _, step| person.node.invite(1, 72 * 3_600_000, auto_accept, step).unwrap());
        made.map(|mut codes| codes.remove(0).code)
    }

    pub(crate) fn add(
        &mut self,
        who: Who,
        code: &InviteCode,
    ) -> Option<Result<penpal_protocol::ids::InviteId, penpal_contact::AddError>> {
        self.act(who, |person, _, step| {
            let account =
                NewAccount { handle: person.handle.clone(), device_name: Label::new("desktop").unwrap() };
            person.node.add(code, Some(account), step)
        })
    }

    pub(crate) fn on<R>(
        &mut self,
        who: Who,
        act: impl FnOnce(&mut Contacts, &mut Step<'_>) -> R,
    ) -> Option<R> {
        self.act(who, |person, _, step| act(&mut person.node, step))
    }

    pub(crate) fn send(&mut self, who: Who, to: &str, text: &str) {
        let name = Label::new(to).unwrap();
        self.act(who, |person, batch, step| {
            let to = person.node.resolve(&name).unwrap();
            let out = Out {
                to,
                by: By::Contact,
                kind: Kind::Note,
                content: Person::letter(text),
                expires_ms: 0,
                devices: None,
            };
            batch.outbox.insert(MsgId::from_bytes(super::person::random(step)), out);
            person.node.handle_person_wrote(&to, step);
        });
    }

    // What can be seen.

    pub(crate) fn view(&self, who: Who, of: Who) -> Option<ContactView> {
        self.people[who].node.view(&self.people[of].fp())
    }

    pub(crate) fn state(&self, who: Who, of: Who) -> Option<State> {
        self.view(who, of).map(|view| view.state)
    }

    pub(crate) fn noticed(&self, who: Who, is_it: impl Fn(&Notice) -> bool) -> usize {
        self.people[who].notices.iter().filter(|notice| is_it(notice)).count()
    }

    pub(crate) fn has_mail(&self, who: Who, text: &str) -> usize {
        self.people[who].disk.mail.iter().filter(|(_, held)| held == text).count()
    }

    /// Whether two people are contacts on both sides, with keys that fit.
    pub(crate) fn connected(&self, one: Who, other: Who) -> bool {
        let side = |who: Who, of: Who| {
            self.view(who, of).is_some_and(|view| view.state == State::Active && view.confirmed)
        };
        if !(side(one, other) && side(other, one)) {
            return false;
        }
        let key_in = |who: Who, of: Who| {
            let of = self.people[of].fp();
            let link = |(opener, _): &(penpal_contact::Opener, _)| {
                opener.contact == of && opener.via == penpal_contact::Via::Link
            };
            self.people[who].node.openers().find(link).map(|(_, key)| key.clone())
        };
        let key_out = |who: Who, of: Who| {
            self.people[who].node.route(&self.people[of].fp()).map(|route| route.pair_key.clone())
        };
        let [a, b] = [(one, other), (other, one)].map(|(from, to)| (key_out(from, to), key_in(to, from)));
        assert!(a.0.is_some() && a.0 == a.1, "pair keys differ");
        assert!(b.0.is_some() && b.0 == b.1, "pair keys differ");
        assert_ne!(a.0, b.0, "one key in both directions");
        let safety = |who, of| self.view(who, of).unwrap().safety;
        assert!(
            safety(one, other).is_some() && safety(one, other) == safety(other, one),
            "safety numbers differ"
        );
        true
    }

    /// The code of an invite that is still open.
    pub(crate) fn open_code(&self, who: Who) -> Option<InviteCode> {
        let node = &self.people[who].node;
        node.invites().iter().find_map(|invite| node.code(&invite.invite))
    }

    /// Lets people do what they would do until two of them are contacts, whatever happens to their nodes. Alice invites.
    pub(crate) fn pursue(&mut self, rounds: u32) -> bool {
        for _ in 0..rounds {
            if self.people[ALICE].node.account().is_none() {
                self.register(ALICE);
            } else if self.home[BOB] != self.home[ALICE] && self.people[BOB].node.account().is_none() {
                self.register(BOB);
            } else if self.connected(ALICE, BOB) {
                return true;
            } else if self.state(ALICE, BOB) == Some(State::PendingIn) {
                let bob = self.view(ALICE, BOB).unwrap().name;
                self.on(ALICE, |node, step| node.accept(&bob, step).unwrap());
            } else if self.state(ALICE, BOB).is_none() && self.open_code(ALICE).is_none() {
                self.invite(ALICE);
            } else if let Some(code) = self.open_code(ALICE) {
                // Under way already, or a code that was just used: both are fine here.
                let _added = self.add(BOB, &code);
            }
            self.run(Duration::from_secs(60));
        }
        self.connected(ALICE, BOB)
    }

    /// What must hold once two people are contacts and everything has come to rest.
    pub(crate) fn check_rest(&mut self) {
        self.send(ALICE, "bob", "to bob");
        self.send(BOB, "alice", "to alice");
        self.settle();
        assert_eq!(self.has_mail(BOB, "to bob"), 1);
        assert_eq!(self.has_mail(ALICE, "to alice"), 1);
        for person in &self.people {
            assert!(person.disk.secrets.is_empty(), "{} keeps secrets", person.handle);
            assert!(
                person.disk.outbox.is_empty(),
                "{} has mail left: {:?}",
                person.handle,
                person.disk.outbox
            );
            assert_eq!(person.node.retiring(), 0);
        }
        let edges: usize = self.relays.iter().map(|relay| relay.edges.len()).sum();
        assert_eq!(edges, 2, "one edge in each direction");
        assert!(self.relays.iter().all(|relay| relay.invites.is_empty()), "the relay keeps an invite");
    }

    /// Alice and bob, each at home, contacts of each other.
    pub(crate) fn of_contacts(seed: u64, homes: &[usize]) -> Self {
        let mut world = Self::new(seed, homes);
        assert!(world.pursue(20));
        world.settle();
        world
    }

    /// One more person becomes a contact of another who invites.
    pub(crate) fn connect(&mut self, inviter: Who, invited: Who) {
        if self.people[inviter].node.account().is_none() {
            self.register(inviter);
            self.settle();
        }
        if self.home[inviter] != self.home[invited] && self.people[invited].node.account().is_none() {
            self.register(invited);
            self.settle();
        }
        let code = self.invite(inviter).unwrap();
        self.settle();
        self.add(invited, &code).unwrap().unwrap();
        self.settle();
        let name = self.view(inviter, invited).unwrap().name;
        self.on(inviter, |node, step| node.accept(&name, step).unwrap());
        self.settle();
        assert!(self.connected(inviter, invited));
    }

    pub(crate) fn days(&mut self, days: u64) {
        self.run(Duration::from_secs(days * 86_400));
    }

    /// Registered and published.
    pub(crate) fn ready(&self, who: Who) -> bool {
        self.people[who].node.account().is_some_and(|me| me.published)
    }
}
