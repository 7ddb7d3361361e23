//! What programs are told of a message that does not get there: one shape with the error in it, whatever else is in it.

use penpal_tests::{Pair, Person, Said, folder};

#[test]
fn every_refusal_of_a_message_is_an_error_object() {
    let pair = Pair::connected();
    let (alice, bob) = (&pair.alice, &pair.bob);
    let fails = |said: &Said, status: i32, code: &str| {
        assert_eq!((said.status, said.code().as_str()), (status, code), "{said:?}");
        let shape = said.json();
        assert!(shape["v"] == 1 && shape["error"]["message"].is_string(), "{said:?}");
        assert!(said.err.contains("error: ") && said.err.contains("hint: "), "{said:?}");
    };
    let send = |to: &str| alice.try_json(&["send", to, "hi", "--as", "api"]);
    let nobody = alice.try_json(&["send", "nobody", "hi"]);
    assert_ne!(nobody.code(), "", "{nobody:?}");
    fails(&send("bob/nosuch"), 1, "unknown-address");
    fails(&send("#nosuch"), 1, "unknown-room");
    let long = "x".repeat(64 * 1024 + 1);
    fails(&alice.run_with(&["--json", "send", "bob", "-"], long.as_bytes()), 2, "body-too-large");
    fails(&alice.try_json(&["send", "bob", "hi", "--file", "/nosuch"]), 1, "bad-file");
    // What is late is told with all that is known of it.
    bob.ok(&["daemon", "stop"]);
    for words in [
        &["send", "bob/web", "hi", "--wait", "1ms"][..],
        &["send", "bob/web", "hi", "--ask", "--wait", "1ms"],
    ] {
        let late = alice.try_json(words);
        fails(&late, 5, "not-in-time");
        let shape = late.json();
        assert!(shape["short"].is_string() && shape["timed_out"] == true, "{late:?}");
        let hint = format!("do not send again; penpal trace {}", shape["short"].as_str().expect("an id"));
        assert_eq!(shape["error"]["hint"], hint, "{late:?}");
    }
    alice.ok(&["contact", "block", "bob"]);
    fails(&send("bob/web"), 1, "contact-blocked");
    alice.ok(&["contact", "remove", "bob"]);
    assert_ne!(send("bob/web").code(), "");
}

#[test]
fn without_an_account_or_a_home_a_refusal_is_an_error_object_too() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    let said = me.try_json(&["send", "bob/web", "hi"]);
    assert_eq!((said.status, said.code().as_str()), (4, "no-account"), "{said:?}");
    let said = me.try_json(&["send", "bob", ""]);
    assert_eq!((said.status, said.code().as_str()), (2, "usage"), "{said:?}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let said = Person::at(&file, "me").try_json(&["send", "bob", "hi"]);
    assert_eq!((said.status, said.code().as_str()), (3, "home-unusable"), "{said:?}");
}
