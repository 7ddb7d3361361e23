//! Rooms of an account with several devices: joined, read, left and made on one, and so on all.

use penpal_tests::{Pair, Person, wait};

use crate::devices::{link, other_machine, with_two_devices};

/// How a person's node stands to a room.
fn standing(person: &Person, room: &str) -> Option<String> {
    let list = person.json(&["room", "list"]);
    let rows = list["rooms"].as_array()?.iter();
    let row = rows.clone().find(|row| row["room"] == format!("#{room}"))?;
    row["standing"].as_str().map(str::to_owned)
}

fn is(person: &Person, room: &str, wanted: &str) -> bool {
    standing(person, room).as_deref() == Some(wanted)
}

/// Body and state of everything that was said in a room to others' machines.
fn heard(person: &Person, room: &str) -> Vec<(String, String)> {
    let list = person.json(&["inbox", &format!("#{room}"), "--all"]);
    let rows = list["messages"].as_array().expect("messages").iter();
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    rows.map(|row| (text(row, "body"), text(row, "state"))).collect()
}

fn has(person: &Person, room: &str, body: &str) -> bool {
    heard(person, room).iter().any(|(text, _)| text == body)
}

#[test]
fn a_room_is_joined_read_and_left_on_all_machines() {
    let (pair, other) = with_two_devices();
    pair.bob.ok(&["room", "create", "plans"]);
    pair.bob.ok(&["room", "invite", "#plans", "alice"]);
    for person in [&pair.alice, &other] {
        wait::until("the invitation", || is(person, "plans", "invited"));
    }
    // Joined on one machine.
    other.ok(&["room", "join", "#plans"]);
    for person in [&pair.alice, &other] {
        wait::until("to be in it", || is(person, "plans", "member"));
    }
    pair.bob.ok(&["send", "#plans", "hello room", "--as", "web"]);
    for person in [&pair.alice, &other] {
        wait::until("its mail", || has(person, "plans", "hello room"));
    }
    let state = |person: &Person| heard(person, "plans")[0].1.clone();
    assert_eq!((state(&pair.alice).as_str(), state(&other).as_str()), ("unread", "unread"));
    let short =
        pair.alice.json(&["inbox", "#plans"])["messages"][0]["short"].as_str().expect("an id").to_owned();
    pair.alice.ok(&["read", &short]);
    wait::until("the mark", || state(&other) == "read");
    // What one machine says there the other keeps.
    other.ok(&["send", "#plans", "hello back"]);
    wait::until("its message", || has(&pair.bob, "plans", "hello back"));
    wait::until("the other's copy", || {
        let found = pair.alice.json(&["search", "back", "--with", "#plans"]);
        found["hits"].as_array().is_some_and(|hits| hits.len() == 1)
    });
    // Left on one machine.
    pair.alice.ok(&["room", "leave", "#plans"]);
    wait::until("to be out of it", || is(&other, "plans", "left"));
    wait::until("the owner to know", || {
        let room = pair.bob.json(&["room", "members", "plans"]);
        room["members"].as_array().is_some_and(|members| members.len() == 1)
    });
    let said = other.ok(&["status"]);
    assert!(!said.out.contains("you were taken out"), "{}", said.out);
}

#[test]
fn a_machine_that_is_linked_later_is_in_the_rooms_of_its_account() {
    let pair = Pair::connected();
    // One room of the account's own, one of a contact.
    pair.alice.ok(&["room", "create", "ours"]);
    pair.alice.ok(&["room", "invite", "ours", "bob"]);
    pair.bob.ok(&["room", "create", "theirs"]);
    pair.bob.ok(&["room", "invite", "theirs", "alice"]);
    wait::until("the invitation", || {
        is(&pair.bob, "ours", "invited") && is(&pair.alice, "theirs", "invited")
    });
    pair.bob.ok(&["room", "join", "ours"]);
    pair.alice.ok(&["room", "join", "theirs"]);
    wait::until("both rooms", || is(&pair.bob, "ours", "member") && is(&pair.alice, "theirs", "member"));
    pair.bob.ok(&["send", "#theirs", "before the tower", "--as", "web"]);
    wait::until("its mail", || has(&pair.alice, "theirs", "before the tower"));
    let other = other_machine(&pair);
    link(&pair.alice, &other, "tower");
    wait::until("the rooms", || is(&other, "ours", "member") && is(&other, "theirs", "member"));
    wait::until("their members", || {
        ["ours", "theirs"].iter().all(|room| {
            let list = other.json(&["room", "members", room]);
            let members = list["members"].as_array().cloned().unwrap_or_default();
            members.len() == 2 && members.iter().all(|one| one["linked"] == true)
        })
    });
    for room in ["ours", "theirs"] {
        let from_there = format!("from the tower in {room}");
        other.ok(&["send", &format!("#{room}"), &from_there]);
        wait::until("its message", || has(&pair.bob, room, &from_there));
    }
    wait::until("bob to know the machine", || {
        let members = pair.bob.json(&["send", "#ours", "to both", "--as", "web"]);
        members["copies"].as_array().is_some_and(|copies| copies.len() == 2)
    });
    wait::until("both have it", || has(&pair.alice, "ours", "to both") && has(&other, "ours", "to both"));
    assert!(!has(&other, "theirs", "before the tower"), "nothing from before");
    // One machine changes the room, the other says which.
    let refused = other.run(&["room", "remove", "ours", "bob", "--json"]);
    assert_eq!(refused.code(), "room-state");
    assert!(
        refused.json()["error"]["message"].as_str().is_some_and(|said| said.contains("laptop")),
        "{refused:?}"
    );
    // One that is made there is run from there, until that machine is revoked.
    other.ok(&["room", "create", "towers"]);
    other.ok(&["room", "invite", "towers", "bob"]);
    wait::until("the invitation", || is(&pair.bob, "towers", "invited"));
    pair.bob.ok(&["room", "join", "towers"]);
    wait::until("all of it everywhere", || {
        [&pair.alice, &other, &pair.bob].iter().all(|person| {
            is(person, "towers", "member") && person.json(&["room", "members", "towers"])["epoch"] == 1
        })
    });
    pair.alice.ok(&["device", "revoke", "tower"]);
    pair.alice.ok(&["room", "close", "towers"]);
    wait::until("its end", || is(&pair.bob, "towers", "closed"));
}
