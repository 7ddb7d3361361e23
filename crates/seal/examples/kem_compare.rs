//! Prints medians of the parts of an X-Wing key encapsulation with each ML-KEM-768 implementation.
//!
//! `cargo run --release -p penpal-seal --example kem_compare`. Figures and the choice made from them
//! stand in `docs/decisions/0001-ml-kem-implementation.md`.
#![expect(clippy::print_stdout, reason = "a measuring program")]
#![expect(clippy::unwrap_used, reason = "a measuring program")]

use hpke::{
    Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305, kdf::HkdfSha256, setup_receiver,
    setup_sender_with_rng,
};
use ml_kem::{FromSeed as _, KeyExport as _, MlKem768, kem::Decapsulate as _};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use std::{hint::black_box, time::Instant};
use x25519_dalek::{PublicKey, StaticSecret};

const ROUNDS: usize = 2_000;

fn median<T>(name: &str, mut work: impl FnMut() -> T) {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let _ = black_box(work());
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{name:<44} p10 {:>7.1}  p50 {:>7.1}  p90 {:>7.1} us",
        times[ROUNDS / 10].as_secs_f64() * 1e6,
        times[ROUNDS / 2].as_secs_f64() * 1e6,
        times[ROUNDS * 9 / 10].as_secs_f64() * 1e6
    );
}

fn main() {
    let seed = [7u8; 64];
    let coins = [9u8; 32];
    for _ in 0..2 {
        {
            use libcrux_ml_kem::mlkem768 as m;
            let pair = m::generate_key_pair(seed);
            let (ct, _) = m::encapsulate(pair.public_key(), coins);
            median("libcrux keygen from seed", || m::generate_key_pair(seed));
            median("libcrux validate public key", || m::validate_public_key(pair.public_key()));
            median("libcrux encapsulate (bytes)", || m::encapsulate(pair.public_key(), coins));
            median("libcrux decapsulate (2400 B key)", || m::decapsulate(pair.private_key(), &ct));
        }
        #[cfg(target_arch = "x86_64")]
        {
            use libcrux_ml_kem::mlkem768::{self as m, portable as p};
            let pair = m::generate_key_pair(seed);
            let (ct, _) = m::encapsulate(pair.public_key(), coins);
            median("libcrux portable keygen", || p::generate_key_pair(seed));
            median("libcrux portable encapsulate", || p::encapsulate(pair.public_key(), coins));
            median("libcrux portable decapsulate", || p::decapsulate(pair.private_key(), &ct));
        }
        {
            let s = seed.into();
            let (sk, pk) = MlKem768::from_seed(&s);
            let bytes = pk.to_bytes();
            let (ct, _) = pk.encapsulate_deterministic(&coins.into());
            median("ml-kem keygen from seed", || MlKem768::from_seed(&s));
            median("ml-kem parse public key", || ml_kem::ml_kem_768::EncapsulationKey::new(&bytes).unwrap());
            median("ml-kem encapsulate (parsed key)", || pk.encapsulate_deterministic(&coins.into()));
            median("ml-kem decapsulate (expanded key)", || sk.decapsulate(&ct));
        }
        {
            let kem = &aws_lc_rs::kem::ML_KEM_768;
            let sk = aws_lc_rs::kem::DecapsulationKey::generate(kem).unwrap();
            let pk = sk.encapsulation_key().unwrap();
            let bytes = pk.key_bytes().unwrap();
            let (ct, _) = pk.encapsulate().unwrap();
            let ct = ct.as_ref().to_vec();
            median("aws-lc-rs parse public key", || {
                aws_lc_rs::kem::EncapsulationKey::new(kem, bytes.as_ref()).unwrap()
            });
            median("aws-lc-rs encapsulate (own randomness)", || pk.encapsulate().unwrap());
            median("aws-lc-rs decapsulate", || sk.decapsulate(ct.as_slice().into()).unwrap());
        }
        let (a, b) = (StaticSecret::from([3; 32]), StaticSecret::from([4; 32]));
        let public = PublicKey::from(&b);
        median("x25519-dalek public from secret", || PublicKey::from(&a));
        median("x25519-dalek shared", || a.diffie_hellman(&public));
        median("libcrux-sha3 shake256 32 -> 96", || libcrux_sha3::shake256::<96>(&coins));
        median("libcrux-sha3 sha3-256 of 134", || libcrux_sha3::sha256(&[0; 134]));
        {
            use sha3::digest::{Digest as _, ExtendableOutput as _, Update as _, XofReader as _};
            median("sha3 shake256 32 -> 96", || {
                let mut h = sha3::Shake256::default();
                h.update(&coins);
                let mut out = [0; 96];
                h.finalize_xof().read(&mut out);
                out
            });
            median("sha3 sha3-256 of 134", || sha3::Sha3_256::digest([0; 134]));
        }
        {
            use ed25519_dalek::{Signer as _, SigningKey, hazmat::ExpandedSecretKey};
            let key = SigningKey::from_bytes(&[5; 32]);
            let sig = key.sign(&[1; 80]);
            let exp = ExpandedSecretKey::from(&[5; 32]);
            let vk = key.verifying_key();
            median("ed25519 sign", || key.sign(&[1; 80]));
            median("ed25519 expand", || ExpandedSecretKey::from(&[5; 32]));
            median("ed25519 sign expanded", || {
                ed25519_dalek::hazmat::raw_sign::<sha2::Sha512>(&exp, &[1; 80], &vk)
            });
            median("ed25519 verify_strict", || vk.verify_strict(&[1; 80], &sig));
            median("ed25519 parse+verify_strict", || {
                ed25519_dalek::VerifyingKey::from_bytes(vk.as_bytes()).unwrap().verify_strict(&[1; 80], &sig)
            });
        }
        {
            type X = hpke::kem::XWing;
            let mut rng = ChaCha20Rng::from_seed([1; 32]);
            let (sk, pk) = X::gen_keypair_with_rng(&mut rng);
            let (enc, mut c) = setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X>(
                &OpModeS::Base,
                &pk,
                b"info",
                &mut rng,
            )
            .unwrap();
            let ct = c.seal(&[0; 2900], b"").unwrap();
            median("hpke's own XWing: seal 2.9 KiB", || {
                let (enc, mut c) = setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X>(
                    &OpModeS::Base,
                    &pk,
                    b"info",
                    &mut rng,
                )
                .unwrap();
                (enc.to_bytes(), c.seal(&[0; 2900], b"").unwrap())
            });
            median("hpke's own XWing: open 2.9 KiB", || {
                setup_receiver::<ChaCha20Poly1305, HkdfSha256, X>(&OpModeR::Base, &sk, &enc, b"info")
                    .unwrap()
                    .open(&ct, b"")
                    .unwrap()
            });
        }
        println!();
    }
}
