//! Rooms of real nodes: who gets what is said, who does not, and what the relay sees of it.

use std::collections::BTreeSet;

use penpal_tests::{Person, Relay, connect, folder, wait};
use serde_json::Value;

/// People at one relay; the first has an account and made the others contacts.
pub(crate) struct Team {
    relay: Relay,
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) carol: Person,
    _folder: tempfile::TempDir,
}

impl Team {
    /// Three people of whom each is a contact of each.
    pub(crate) fn of_contacts() -> Self {
        let team = Self::of_strangers();
        connect(&team.bob, &team.carol);
        team
    }

    /// Bob and Carol are contacts of Alice, and not of each other.
    fn of_strangers() -> Self {
        let folder = folder();
        let relay = Relay::start(&folder.path().join("relay"));
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| Person::new(&folder, name));
        alice.ok(&["register", relay.address(), "--token", &relay.token(), "--handle", "alice"]);
        connect(&alice, &bob);
        connect(&alice, &carol);
        Self { relay, alice, bob, carol, _folder: folder }
    }

    pub(crate) fn room(&self, members: &[&Person]) {
        self.alice.ok(&["room", "create", ROOM]);
        for member in members {
            join(&self.alice, member);
        }
        // Everybody knows everybody.
        for person in members {
            wait::until("the members", || members_of(person).len() == members.len() + 1);
        }
    }
}

pub(crate) const ROOM: &str = "canary-payments-7a61c2";
pub(crate) const ADDRESS: &str = "#canary-payments-7a61c2";

pub(crate) fn join(owner: &Person, member: &Person) {
    owner.ok(&["room", "invite", ADDRESS, member.name()]);
    wait::until("the invitation", || standing(member).as_deref() == Some("invited"));
    member.ok(&["room", "join", ADDRESS]);
    wait::until("the membership", || standing(member).as_deref() == Some("member"));
}

pub(crate) fn standing(person: &Person) -> Option<String> {
    let rooms = person.json(&["room", "list"]);
    let row = rooms["rooms"].as_array()?.iter().find(|row| row["room"] == ADDRESS)?.clone();
    row["standing"].as_str().map(str::to_owned)
}

pub(crate) fn members_of(person: &Person) -> BTreeSet<String> {
    let room = person.json(&["room", "members", ADDRESS]);
    let members = room["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter_map(|member| member["name"].as_str()).map(str::to_owned).collect()
}

pub(crate) fn messages(person: &Person, args: &[&str]) -> Vec<Value> {
    person.json(args)["messages"].as_array().cloned().unwrap_or_default()
}

/// Everything that a person has of the room, oldest first.
fn history(person: &Person) -> Vec<String> {
    let all = messages(person, &["room", "history", ADDRESS]);
    all.iter().filter_map(|message| message["body"].as_str()).map(str::to_owned).collect()
}

/// What waits for a person in the room, oldest first.
pub(crate) fn unread(person: &Person) -> Vec<String> {
    let all = messages(person, &["inbox"]);
    let of_room = all.iter().filter(|message| message["room"] == ADDRESS);
    of_room.filter_map(|message| message["body"].as_str()).map(str::to_owned).collect()
}

fn copies(sent: &Value) -> BTreeSet<String> {
    let all = sent["copies"].as_array().cloned().unwrap_or_default();
    all.iter().filter_map(|copy| copy["contact"].as_str()).map(str::to_owned).collect()
}

pub(crate) fn has(person: &Person, text: &str) -> bool {
    history(person).iter().any(|body| body == text)
}

#[test]
fn what_is_said_in_a_room_reaches_every_member_and_the_sender_is_told_whom() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    team.room(&[bob, carol]);
    bob.ok(&["session", "open", "web"]);
    let sent = bob.json(&["send", ADDRESS, "canary-text-schema is final", "--as", "web"]);
    assert_eq!(copies(&sent), ["alice", "carol"].map(str::to_owned).into());
    assert_eq!(sent["to"], ADDRESS);
    for person in [alice, carol] {
        wait::until("the message", || unread(person) == ["canary-text-schema is final"]);
        let message = messages(person, &["inbox"]).remove(0);
        assert_eq!((&message["to"], &message["from"]), (&Value::from(ADDRESS), &Value::from("bob/web")));
    }
    let id = sent["id"].as_str().expect("an id");
    wait::until("both receipts", || {
        let trail = bob.json(&["trace", id]);
        let events = trail["events"].as_array().cloned().unwrap_or_default();
        let by: Vec<&str> = events
            .iter()
            .filter(|event| event["stage"] == "delivered" && event["signed"] == true)
            .filter_map(|event| event["by"].as_str())
            .collect();
        ["alice/", "carol/"].iter().all(|who| by.iter().any(|by| by.starts_with(who)))
    });
    // An answer goes into the room, to the session that asked; the others have it, and it waits for none of them.
    let short = messages(alice, &["inbox"])[0]["short"].as_str().expect("an id").to_owned();
    let reply = alice.json(&["reply", &short, "canary-answer thanks"]);
    assert_eq!(reply["to"], format!("{ADDRESS} @bob/web"));
    assert_eq!(copies(&reply), ["bob", "carol"].map(str::to_owned).into());
    wait::until("the answer", || bob.bodies("web") == ["canary-answer thanks"]);
    wait::until("the answer in the history", || has(carol, "canary-answer thanks"));
    assert_eq!(unread(carol), ["canary-text-schema is final"]);
    let kept = messages(carol, &["room", "history", ADDRESS]).pop().expect("the answer");
    assert_eq!((&kept["state"], &kept["kind"]), (&Value::from("history"), &Value::from("reply")));
    // Their own words are in it as well, in one order with the others.
    assert_eq!(history(bob), ["canary-text-schema is final", "canary-answer thanks"]);
    assert_eq!(history(alice), history(bob));
    // The relay saw none of it, nor what the room is called.
    let relay = team.relay.folder().to_path_buf();
    let mut seen = Vec::new();
    read_all(&relay, &mut seen);
    for canary in ["canary-payments", "canary-text", "canary-answer"] {
        assert!(
            !seen.windows(canary.len()).any(|window| window == canary.as_bytes()),
            "{canary} is at the relay"
        );
    }
    assert!(seen.windows(5).any(|window| window == b"alice"), "the search finds nothing at all");
}

fn read_all(folder: &std::path::Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let kind = entry.file_type().expect("its type");
        if kind.is_dir() {
            read_all(&entry.path(), into);
        } else if kind.is_file() {
            into.extend(std::fs::read(entry.path()).expect("a file"));
        }
    }
}

#[test]
fn who_comes_late_reads_nothing_from_before_and_who_is_out_nothing_from_after() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    team.room(&[bob]);
    alice.ok(&["send", ADDRESS, "before carol"]);
    wait::until("the first message", || has(bob, "before carol"));
    join(alice, carol);
    wait::until("bob to know", || members_of(bob).contains("carol"));
    bob.ok(&["send", ADDRESS, "with carol"]);
    wait::until("the second message", || has(carol, "with carol") && has(alice, "with carol"));
    // Everything dies, and goes on.
    for person in [alice, bob, carol] {
        person.kill_node();
    }
    alice.ok(&["room", "remove", ADDRESS, "bob"]);
    wait::until("bob to be out", || standing(bob).as_deref() == Some("removed"));
    wait::until("carol to know", || !members_of(carol).contains("bob"));
    carol.kill_node();
    let sent = carol.json(&["send", ADDRESS, "without bob"]);
    assert_eq!(copies(&sent), ["alice".to_owned()].into());
    wait::until("the third message", || has(alice, "without bob"));
    let said = bob.try_json(&["send", ADDRESS, "still?"]);
    assert_eq!((said.status, said.code().as_str()), (1, "room-state"), "{said:?}");
    assert_eq!(history(carol), ["with carol", "without bob"]);
    assert_eq!(history(bob), ["before carol", "with carol"]);
    // Carol goes by herself, at once.
    carol.ok(&["room", "leave", ADDRESS]);
    assert_eq!(standing(carol).as_deref(), Some("left"));
    wait::until("alice to know", || members_of(alice).len() == 1);
    let said = alice.try_json(&["send", ADDRESS, "anybody?"]);
    assert_eq!((said.status, said.code().as_str()), (1, "room-state"), "{said:?}");
}

#[test]
fn a_message_for_one_session_is_shown_there_and_kept_by_the_others() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    bob.ok(&["session", "open", "web"]);
    carol.ok(&["session", "open", "web"]);
    team.room(&[bob, carol]);
    wait::until("bob's session", || {
        let list = alice.json(&["contact", "sessions", "bob"]);
        list["sessions"].as_array().is_some_and(|rows| !rows.is_empty())
    });
    let to = format!("{ADDRESS} @bob/web");
    let sent = alice.json(&["send", &to, "only for bob's web", "--ask", "--wait", "0s"]);
    assert_eq!(sent["to"], to);
    wait::until("the message", || bob.bodies("web") == ["only for bob's web"]);
    wait::until("the copy", || has(carol, "only for bob's web"));
    // A session of the same name elsewhere has nothing to do with it.
    assert_eq!(carol.bodies("web"), Vec::<String>::new());
    assert_eq!((unread(carol), unread(bob)), (Vec::new(), vec!["only for bob's web".to_owned()]));
    let kept = messages(carol, &["room", "history", ADDRESS]).pop().expect("it");
    assert_eq!(kept["to"], to);
    // Whom nobody knows is not guessed.
    for wrong in ["@bob/nobody", "@nobody/web", "bob/web"] {
        let said = alice.try_json(&["send", &format!("{ADDRESS} {wrong}"), "x"]);
        assert_ne!(said.status, 0, "{wrong}: {said:?}");
    }
    assert_eq!(alice.try_json(&["send", "#nowhere", "x"]).code(), "unknown-room");
}

#[test]
fn what_cannot_be_done_in_a_room_is_said() {
    let team = Team::of_strangers();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    let refused = |person: &Person, args: &[&str]| {
        let said = person.try_json(args);
        assert_ne!(said.status, 0, "{args:?}: {said:?}");
        said.code()
    };
    assert_eq!(refused(alice, &["room", "create", "not a name"]), "bad-name");
    alice.ok(&["room", "create", ADDRESS]);
    assert_eq!(refused(alice, &["room", "create", ROOM]), "room-state");
    assert_eq!(refused(alice, &["room", "invite", ROOM, "nobody"]), "unknown-contact");
    assert_eq!(refused(alice, &["room", "invite", "nowhere", "bob"]), "unknown-room");
    assert_eq!(refused(alice, &["room", "leave", ROOM]), "room-state");
    assert_eq!(refused(alice, &["room", "remove", ROOM, "bob"]), "room-state");
    assert_eq!(refused(alice, &["send", ADDRESS, "alone"]), "room-state");
    assert_eq!(refused(bob, &["room", "join", ROOM]), "unknown-room");
    join(alice, bob);
    assert_eq!(refused(bob, &["room", "join", ROOM]), "room-state");
    assert_eq!(refused(bob, &["room", "invite", ROOM, "alice"]), "room-state");
    assert_eq!(refused(bob, &["room", "remove", ROOM, "alice"]), "room-state");
    assert_eq!(refused(bob, &["room", "close", ROOM]), "room-state");
    // Inside an agent nobody is invited or removed, and nothing joined or closed.
    alice.ok(&["room", "invite", ROOM, "carol"]);
    wait::until("the invitation", || standing(carol).as_deref() == Some("invited"));
    let status = carol.json(&["status"]);
    assert!(
        status["invitations"][0].as_str().is_some_and(|line| line.starts_with("alice invites you into #")),
        "{status}"
    );
    for (person, args) in [
        (carol, vec!["room", "join", ROOM]),
        (carol, vec!["room", "leave", ROOM]),
        (carol, vec!["device", "rename", "desktop", "x"]),
        (alice, vec!["room", "invite", ROOM, "carol"]),
        (alice, vec!["room", "remove", ROOM, "bob"]),
        (alice, vec!["room", "close", ROOM]),
    ] {
        let mut command = person.command(&args);
        command.arg("--json").env("CLAUDECODE", "1").env("CLAUDE_CODE_ENTRYPOINT", "cli");
        let said: penpal_tests::Said = command.output().expect("penpal runs").into();
        assert_eq!((said.status, said.code().as_str()), (4, "needs-person"), "{said:?}");
    }
    carol.ok(&["room", "leave", ROOM]);
    wait::until("the answer", || {
        let room = alice.json(&["room", "members", ROOM]);
        room["invited"].as_array().is_some_and(Vec::is_empty)
    });
    alice.ok(&["room", "close", ROOM]);
    wait::until("the end", || standing(bob).as_deref() == Some("closed"));
    assert_eq!(refused(bob, &["send", ADDRESS, "x"]), "room-state");
}

#[test]
fn what_blocked_people_say_in_a_room_is_not_shown() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    team.room(&[bob, carol]);
    carol.ok(&["contact", "block", "bob"]);
    let sent = bob.json(&["send", ADDRESS, "from bob"]);
    assert_eq!(
        copies(&sent),
        ["alice", "carol"].map(str::to_owned).into(),
        "he is not told that he is blocked"
    );
    wait::until("the message", || has(alice, "from bob"));
    let sent = carol.json(&["send", ADDRESS, "from carol"]);
    assert_eq!(copies(&sent), ["alice".to_owned()].into());
    assert!(sent["remarks"][0].as_str().is_some_and(|line| line == "not to bob: blocked"), "{sent}");
    wait::until("the other message", || has(alice, "from carol"));
    assert_eq!(history(carol), ["from carol"]);
    assert_eq!(history(bob), ["from bob"]);
    let members = carol.ok(&["room", "members", ADDRESS]).out;
    assert!(members.contains("    bob, blocked\n") && !members.contains("not your contact"), "{members}");
    assert!(members.contains("blocked: bob; nothing goes to them"), "{members}");
}

#[test]
fn members_who_do_not_know_each_other_are_introduced() {
    let team = Team::of_strangers();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    alice.ok(&["room", "create", ADDRESS]);
    join(alice, bob);
    alice.ok(&["room", "invite", ADDRESS, "carol"]);
    wait::until("the invitation", || standing(carol).as_deref() == Some("invited"));
    let joined = carol.json(&["room", "join", ADDRESS]);
    let remark = joined["remarks"][0].as_str().expect("what joining means").to_owned();
    assert!(remark.starts_with("joining makes you a contact of its member: bob"), "{joined}");
    // Until they are, each is told that the other gets nothing.
    wait::until("the membership", || members_of(bob).contains("carol"));
    bob.kill_node();
    wait::until("both to be contacts", || {
        bob.contact_state("carol").as_deref() == Some("active")
            && carol.contact_state("bob").as_deref() == Some("active")
    });
    let row = |person: &Person, name: &str| {
        let list = person.json(&["contact", "list"]);
        let rows = list["contacts"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["name"] == name).expect("the contact")
    };
    for (person, other) in [(bob, "carol"), (carol, "bob")] {
        let row = row(person, other);
        assert_eq!(row["introduced_by"], format!("alice in {ADDRESS}"), "{row}");
        assert_eq!((&row["trust"], &row["held"]), (&Value::from("invited"), &Value::from(false)), "{row}");
    }
    // Who was there first made the invite, for nobody else.
    let invites = bob.json(&["contact", "invites"]);
    let rows = invites["invites"].as_array().cloned().unwrap_or_default();
    let made = rows.iter().find(|row| row["meant_for"] == format!("carol in {ADDRESS}"));
    assert!(made.is_some_and(|row| row["code"].is_null()), "{invites}");
    assert!(bob.ok(&["contact", "invites"]).out.contains(&format!("carol in {ADDRESS}")));
    let sent = bob.json(&["send", ADDRESS, "to everybody"]);
    assert_eq!(copies(&sent), ["alice", "carol"].map(str::to_owned).into());
    wait::until("the message", || has(carol, "to everybody") && has(alice, "to everybody"));
    carol.ok(&["send", ADDRESS, "and back"]);
    wait::until("the answer", || has(bob, "and back"));
}

#[test]
fn whoever_is_no_contact_gets_nothing_and_the_sender_is_told() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    team.room(&[bob, carol]);
    bob.ok(&["contact", "remove", "carol"]);
    let sent = bob.json(&["send", ADDRESS, "from bob"]);
    assert_eq!(copies(&sent), ["alice".to_owned()].into());
    assert!(
        sent["remarks"][0].as_str().is_some_and(|line| line == "not to carol: removed or declined by you"),
        "{sent}"
    );
    wait::until("the message", || has(alice, "from bob"));
    assert_eq!(history(carol), Vec::<String>::new());
    // Nor does his node, which looks for members at each start, invite again whom he removed.
    let invites = bob.json(&["contact", "invites"])["invites"].clone();
    bob.kill_node();
    assert_eq!(members_of(bob).len(), 3);
    assert_eq!(bob.json(&["contact", "invites"])["invites"], invites);
    assert_eq!(bob.contact_state("carol"), None);
}

#[test]
fn what_was_said_in_a_room_is_found_there() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    team.room(&[bob, carol]);
    bob.ok(&["send", ADDRESS, "the deploy waits for the ledger"]);
    bob.ok(&["send", "alice", "the deploy of the other thing"]);
    wait::until("the room", || [alice, carol].iter().all(|one| has(one, "the deploy waits for the ledger")));
    wait::until("the letter", || {
        let all = messages(alice, &["inbox", "--all"]);
        all.iter().any(|message| message["body"] == "the deploy of the other thing")
    });
    let found = |person: &Person, with: &str| {
        let answer = person.json(&["search", "deploy", "--with", with]);
        let hits = answer["hits"].as_array().cloned().unwrap_or_default();
        hits.iter().map(|hit| hit["excerpt"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    for person in [alice, bob, carol] {
        assert_eq!(found(person, ADDRESS), ["the deploy waits for the ledger"], "{}", person.name());
    }
    // With a contact it is everything that they said, in rooms, too.
    assert_eq!(found(alice, "bob"), ["the deploy of the other thing", "the deploy waits for the ledger"]);
    let refused = alice.run(&["search", "deploy", "--with", "#nothing", "--json"]);
    assert_eq!(refused.json()["error"]["code"], "unknown-room");
}
