//! Prints how long sealing and opening take, whole and in parts.
//!
//! `cargo run --release -p penpal-seal --example seal_speed`. Figures, and the choice of the ML-KEM implementation made from
//! them, stand in `docs/decisions/0001-ml-kem-implementation.md`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]
#![expect(clippy::disallowed_methods, reason = "measures with the clock, which the library may not")]

#[path = "../tests/seal/people.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod people;

use std::{hint::black_box, sync::Arc, time::Instant};

use hpke::{
    Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305, kdf::HkdfSha256, setup_receiver,
    setup_sender_with_rng,
};
use ml_kem::{FromSeed as _, KeyExport as _, MlKem768, kem::Decapsulate as _, ml_kem_768};
use penpal_seal::{
    Arrived, FreshBytes, PairKey, ReceiveKey, ReceiveSeed, Recipient, SealError, VerifiedMessage, seal,
};
use rand_core::Rng as _;
use x25519_dalek::{PublicKey, StaticSecret};

use people::{NOW_MS, Pair, note, rng};

const ROUNDS: usize = 2_000;

fn measure<T>(name: &str, mut work: impl FnMut() -> T) -> f64 {
    let mut micros: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            drop(black_box(work()));
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    let [p10, p50, p90] = [10, 50, 90].map(|percent| micros[ROUNDS * percent / 100]);
    println!("{name:<56} p10 {p10:>7.1}  p50 {p50:>7.1}  p90 {p90:>7.1} µs");
    p50
}

fn envelopes() {
    let pair = Pair::new(1);
    let mut fresh = rng(2);
    let key = Arc::new(ReceiveKey::expand(ReceiveSeed::from_bytes([4; 32])));
    for text_bytes in [1024, 60 * 1024] {
        let body = note(&pair.alice, &pair.bob, &"x".repeat(text_bytes));
        let mut sealed = || -> Result<Vec<u8>, SealError> {
            let mut coins = [0; 64];
            fresh.fill_bytes(&mut coins);
            let recipient =
                Recipient { key_id: pair.bob.key_id, key: key.public(), pair_key: &pair.alice_to_bob };
            seal(&body, &recipient, &pair.alice.sender(), FreshBytes::from_bytes(coins))
        };
        let envelope = sealed().unwrap();
        let kib = envelope.len() / 1024;
        let open = || -> VerifiedMessage<()> {
            let found = Arrived::parse(&envelope).unwrap().find_contact([((), &pair.alice_to_bob)]).unwrap();
            let parsed = found.open(&key, &pair.bob.device).unwrap().parse().unwrap();
            parsed.verify(&pair.bob.fingerprint(), &pair.alice.manifest, NOW_MS).unwrap()
        };
        let seal_us = measure(&format!("seal {text_bytes} B text in {kib} KiB"), &mut sealed);
        let open_us = measure(&format!("open {text_bytes} B text in {kib} KiB"), open);
        println!("{:<56} {:>32.1} µs", "  together (medians)", seal_us + open_us);
    }
    let body = note(&pair.alice, &pair.bob, "x");
    let recipient = Recipient { key_id: pair.bob.key_id, key: key.public(), pair_key: &pair.alice_to_bob };
    let envelope = seal(&body, &recipient, &pair.alice.sender(), FreshBytes::generate(&mut fresh)).unwrap();
    let strangers: Vec<_> = (0..1000).map(|_| PairKey::generate(&mut fresh)).collect();
    measure("find the contact among 1000, none matches", || {
        Arrived::parse(&envelope).unwrap().find_contact(strangers.iter().enumerate()).is_none()
    });
    measure("expand a receive key from its seed", || ReceiveKey::expand(ReceiveSeed::from_bytes([4; 32])));
}

fn ml_kem_implementations() {
    let (seed, coins) = ([7_u8; 64], [9_u8; 32]);
    {
        use libcrux_ml_kem::mlkem768 as m;
        let pair = m::generate_key_pair(seed);
        let (ct, _) = m::encapsulate(pair.public_key(), coins);
        measure("libcrux-ml-kem: key pair from seed", || m::generate_key_pair(seed));
        measure("libcrux-ml-kem: validate public key", || m::validate_public_key(pair.public_key()));
        measure("libcrux-ml-kem: encapsulate", || m::encapsulate(pair.public_key(), coins));
        measure("libcrux-ml-kem: decapsulate", || m::decapsulate(pair.private_key(), &ct));
    }
    {
        use libcrux_ml_kem::mlkem768::{self as m, portable as p};
        let pair = m::generate_key_pair(seed);
        let (ct, _) = m::encapsulate(pair.public_key(), coins);
        measure("libcrux-ml-kem, portable code: key pair from seed", || p::generate_key_pair(seed));
        measure("libcrux-ml-kem, portable code: encapsulate", || p::encapsulate(pair.public_key(), coins));
        measure("libcrux-ml-kem, portable code: decapsulate", || p::decapsulate(pair.private_key(), &ct));
    }
    {
        let seed = seed.into();
        let (private, public) = MlKem768::from_seed(&seed);
        let bytes = public.to_bytes();
        let (ct, _) = public.encapsulate_deterministic(&coins.into());
        measure("ml-kem: key pair from seed", || MlKem768::from_seed(&seed));
        measure("ml-kem: parse public key", || ml_kem_768::EncapsulationKey::new(&bytes).unwrap());
        measure("ml-kem: encapsulate", || public.encapsulate_deterministic(&coins.into()));
        measure("ml-kem: decapsulate", || private.decapsulate(&ct));
    }
}

fn neighbours() {
    let (ours, theirs) = (StaticSecret::from([3; 32]), PublicKey::from(&StaticSecret::from([4; 32])));
    measure("x25519: public key", || PublicKey::from(&ours));
    measure("x25519: shared secret", || ours.diffie_hellman(&theirs).to_bytes());
    {
        use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
        let key = SigningKey::from_bytes(&[5; 32]);
        let (sig, public) = (key.sign(&[1; 80]), key.verifying_key().to_bytes());
        measure("ed25519: sign", || key.sign(&[1; 80]));
        measure("ed25519: parse key and verify strictly", || {
            VerifyingKey::from_bytes(&public).unwrap().verify_strict(&[1; 80], &sig)
        });
    }
    {
        type Theirs = hpke::kem::XWing;
        let mut rng = rng(3);
        let (private, public) = Theirs::gen_keypair_with_rng(&mut rng);
        let mut sealed = || {
            let (enc, mut context) = setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, Theirs>(
                &OpModeS::Base,
                &public,
                b"info",
                &mut rng,
            )
            .unwrap();
            let ct = context.seal(&[0; 2900], b"").unwrap();
            (enc, ct)
        };
        let (enc, ct) = sealed();
        measure("hpke with its own X-Wing: seal 2.9 KB", || sealed().0.to_bytes());
        measure("hpke with its own X-Wing: open 2.9 KB", || {
            setup_receiver::<ChaCha20Poly1305, HkdfSha256, Theirs>(&OpModeR::Base, &private, &enc, b"info")
                .unwrap()
                .open(&ct, b"")
                .unwrap()
        });
    }
}

fn main() {
    envelopes();
    ml_kem_implementations();
    neighbours();
}
