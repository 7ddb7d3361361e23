//! Frozen vectors of what people type and read, of the envelope header and of labelled hashes.

use penpal_protocol::envelope::Header;
use penpal_protocol::hash::{USES, labelled};
use penpal_protocol::ids::*;
use penpal_protocol::sealed::{Kind, Manifest, chain_hash, identity_hash};
use penpal_protocol::text::{Address, InviteCode, Label, RelayAddress};
use serde_json::{Value, json};

use crate::vectors::frozen;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn unhex<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(text(value)).unwrap().try_into().unwrap()
}

fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first + at as u8)
}

fn code() -> InviteCode {
    let relay =
        RelayAddress { at: "relay.example.com".parse().unwrap(), pin: RelayPin::from_bytes(counting(0x40)) };
    InviteCode::new(
        InviteSecret::from_bytes(counting(0)),
        Fingerprint::from_bytes(counting(0x20)),
        relay,
        1_790_000_000_000,
    )
}

fn make_text() -> Value {
    let code = code();
    let plain = code.to_code();
    let pin = counting::<16>(0x40);
    json!({
        "labels": {
            "valid": [["web", "web"], ["Web", "web"], ["0a.b_c-d", "0a.b_c-d"], ["n".repeat(64), "n".repeat(64)]],
            "invalid": ["", "-a", ".a", "_a", "a b", "ä", "a/b", "n".repeat(65)],
        },
        "ids": {
            "valid": [
                { "hex": hex::encode(counting::<16>(0)), "text": MsgId::from_bytes(counting(0)).to_text() },
                { "hex": "ff".repeat(16), "text": MsgId::from_bytes([0xff; 16]).to_text() },
            ],
            "invalid": ["", "7k3p", "zzzzzzzzzzzzzzzzzzzzzzzzzz", "uuuuuuuuuuuuuuuuuuuuuuuuuu"],
        },
        "addresses": {
            "valid": [
                ["api", "api"], ["API", "api"], ["./api", "./api"], ["desk", "./desk"], ["bob/", "bob/"], ["bob/desk", "bob/"],
                ["bob/web", "bob/web"], ["bob/desktop/web", "bob/desktop/web"], ["me/laptop/api", "me/laptop/api"],
                ["me/laptop/desk", "me/laptop/desk"], ["#payments", "#payments"],
            ],
            "invalid": [
                "", "./", "/", "/web", "me", "me/", "me/web", "desk/", "desk/web", "bob/me", "bob//web", "bob/desktop/",
                "bob/me/web", "a/b/c/d", "#", "#me", "a b", "bob/w b",
            ],
        },
        "relay_addresses": {
            "valid": [
                {
                    "text": format!("penpal://relay.example.com/{}", penpal_protocol::text::pin_to_text(&RelayPin::from_bytes(pin))),
                    "host": "relay.example.com", "port": 4433, "pin": hex::encode(pin),
                },
                {
                    "text": format!("penpal://127.0.0.1:49210/{}", penpal_protocol::text::pin_to_text(&RelayPin::from_bytes([0; 16]))),
                    "host": "127.0.0.1", "port": 49210, "pin": "00".repeat(16),
                },
                {
                    "text": format!("penpal://[::1]:1/{}", penpal_protocol::text::pin_to_text(&RelayPin::from_bytes([0xff; 16]))),
                    "host": "[::1]", "port": 1, "pin": "ff".repeat(16),
                },
            ],
            "invalid": [
                "relay.example.com", "https://relay.example.com/", "penpal://relay.example.com", "penpal:///00000-00000-00000-00000-00000-00",
                "penpal://relay:0/00000-00000-00000-00000-00000-00", "penpal://relay/00000-00000-00000-00000-00000-0",
                "penpal://relay/00000-00000-00000-00000-00000-01", "penpal://relay/10000-00000-00000-00000-00000-00",
                "penpal://10.0.0.256/00000-00000-00000-00000-00000-00", "penpal://::1/00000-00000-00000-00000-00000-00",
            ],
        },
        "invite_codes": {
            "valid": [
                { "text": plain.as_str() },
                { "text": code.to_link().as_str() },
                { "text": plain.to_lowercase().replace('-', "") },
                { "text": format!("Hi, this is for you:\n> {}\nsee you", plain.replacen('-', "-\n> ", 12)) },
            ],
            "means": {
                "secret": hex::encode(counting::<20>(0)), "inviter": hex::encode(counting::<16>(0x20)),
                "relay_pin": hex::encode(pin), "relay": "relay.example.com", "port": 4433,
                "expires_ms": code.expires_ms(),
            },
            "invalid": [
                "", "pp1-8ZK3Q", &plain[..plain.len() - 6], plain.replacen("04", "05", 1),
                plain.replacen("pp1", "qq1", 1),
            ],
        },
    })
}

#[test]
fn texts_read_as_frozen() {
    let file = frozen("text.json", make_text);
    let list = |kind: &str, validity: &str| file[kind][validity].as_array().unwrap().clone();
    for pair in list("labels", "valid") {
        assert_eq!(Label::new(text(&pair[0])).unwrap().as_str(), text(&pair[1]));
    }
    for wrong in list("labels", "invalid") {
        assert!(Label::new(text(&wrong)).is_err(), "{wrong}");
    }
    for id in list("ids", "valid") {
        assert_eq!(MsgId::from_bytes(unhex(&id["hex"])).to_text(), text(&id["text"]));
        assert_eq!(MsgId::parse(text(&id["text"])), Ok(MsgId::from_bytes(unhex(&id["hex"]))));
    }
    for wrong in list("ids", "invalid") {
        assert!(MsgId::parse(text(&wrong)).is_err(), "{wrong}");
    }
    for pair in list("addresses", "valid") {
        assert_eq!(text(&pair[0]).parse::<Address>().unwrap().to_string(), text(&pair[1]));
    }
    for wrong in list("addresses", "invalid") {
        assert!(text(&wrong).parse::<Address>().is_err(), "{wrong}");
    }
    for address in list("relay_addresses", "valid") {
        let parsed: RelayAddress = text(&address["text"]).parse().unwrap();
        assert_eq!(parsed.to_string(), text(&address["text"]));
        assert_eq!(parsed.at.host.to_string(), text(&address["host"]));
        assert_eq!(json!(parsed.at.port), address["port"]);
        assert_eq!(parsed.pin, RelayPin::from_bytes(unhex(&address["pin"])));
    }
    for wrong in list("relay_addresses", "invalid") {
        assert!(text(&wrong).parse::<RelayAddress>().is_err(), "{wrong}");
    }
    let means = &file["invite_codes"]["means"];
    for code in list("invite_codes", "valid") {
        let code: InviteCode = text(&code["text"]).parse().unwrap();
        assert_eq!(code.secret, InviteSecret::from_bytes(unhex(&means["secret"])));
        assert_eq!(code.inviter, Fingerprint::from_bytes(unhex(&means["inviter"])));
        assert_eq!(code.relay.pin, RelayPin::from_bytes(unhex(&means["relay_pin"])));
        assert_eq!(code.relay.at.to_string(), text(&means["relay"]));
        assert_eq!(json!(code.expires_ms()), means["expires_ms"]);
        assert_eq!(code.to_code().as_str(), text(&file["invite_codes"]["valid"][0]["text"]));
    }
    for wrong in list("invite_codes", "invalid") {
        assert!(text(&wrong).parse::<InviteCode>().is_err(), "{wrong}");
    }
}

#[test]
fn envelope_headers_read_as_frozen() {
    let header =
        || Header { hint: KeyHint::from_bytes(counting(1)), masked_key: KeyHint::from_bytes(counting(0x11)) };
    let file = frozen("envelope-header.json", || {
        let version = [&[2][..], &header().encode()[1..]].concat();
        let suite = [&[1, 2][..], &header().encode()[2..]].concat();
        json!({
            "what": "the first 18 bytes of an envelope; the rest is zero here",
            "hint": hex::encode(counting::<8>(1)), "mkey": hex::encode(counting::<8>(0x11)),
            "header": hex::encode(header().encode()),
            "sizes": [4096, 8192, 16384, 32768, 81920],
            "invalid": [
                { "what": "later version", "size": 4096, "header": hex::encode(version) },
                { "what": "unknown suite", "size": 4096, "header": hex::encode(suite) },
                { "what": "size that is no step", "size": 4097, "header": hex::encode(header().encode()) },
                { "what": "size between two steps", "size": 65536, "header": hex::encode(header().encode()) },
                { "what": "header only", "size": 18, "header": hex::encode(header().encode()) },
            ],
        })
    });
    let envelope = |header: &Value, size: &Value| {
        let mut envelope = hex::decode(text(header)).unwrap();
        envelope.resize(usize::try_from(size.as_u64().unwrap()).unwrap(), 0);
        envelope
    };
    for size in file["sizes"].as_array().unwrap() {
        assert_eq!(Header::decode(&envelope(&file["header"], size)), Ok(header()));
    }
    assert_eq!(hex::encode(header().encode()), text(&file["header"]));
    for wrong in file["invalid"].as_array().unwrap() {
        assert!(Header::decode(&envelope(&wrong["header"], &wrong["size"])).is_err(), "{}", wrong["what"]);
    }
}

#[test]
fn hashes_are_as_frozen() {
    let now = || {
        let plain: Vec<Value> = USES
            .iter()
            .map(|use_| json!({ "label": format!("penpal/v1/{use_}"), "input": "6162", "hash": hex::encode(labelled(use_, &[b"a", b"b"])) }))
            .collect();
        let key = counting::<32>(0);
        json!({
            "labelled": plain,
            "key_00_to_1f": {
                "fingerprint": hex::encode(Fingerprint::of(&RootPublicKey::from_bytes(key)).as_bytes()),
                "relay_pin": hex::encode(RelayPin::of(&TransportPublicKey::from_bytes(key)).as_bytes()),
                "capability_hash": hex::encode(Capability::from_bytes(key).hash().as_bytes()),
                "proof_hash": hex::encode(RegistrationProof::from_bytes(key).hash().as_bytes()),
            },
            "manifest_of_616263": hex::encode(Manifest::hash(b"abc").as_bytes()),
            "identity_of_ask_conversation_00_to_0f_content_616263": hex::encode(
                identity_hash(Kind::Ask, &ConversationId::from_bytes(counting(0)), b"abc").as_bytes()
            ),
            "chain_of_message_00_to_0f_content_616263": hex::encode(chain_hash(&MsgId::from_bytes(counting(0)), b"abc").as_bytes()),
        })
    };
    assert_eq!(frozen("hash.json", now), now());
}
