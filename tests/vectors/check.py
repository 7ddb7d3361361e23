#!/usr/bin/env python3
"""Checks the vectors against docs/protocol.md with code that shares nothing with this project.

Primitives come from the packages `cryptography` (OpenSSL) and `kyber-py` and from Python itself; HPKE, X-Wing, CBOR and every
rule of the protocol are written here from their specifications. `bash .ci/run vectors` installs the packages and runs it.

It opens what must open, byte for byte, and says of each invalid entry why it is refused; a refusal for another reason than the
one in the vector is a failure.
"""

import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kyber_py.ml_kem import ML_KEM_768

FOLDER = pathlib.Path(__file__).parent
SIZES = [4096, 8192, 16384, 32768, 81920]
DAY = 24 * 3600 * 1000
checked = 0


def same(got, expected, what):
    global checked
    checked += 1
    if got != expected:
        show = lambda x: x.hex()[:80] if isinstance(x, bytes) else repr(x)
        sys.exit(f"FAILED {what}: got {show(got)}, expected {show(expected)}")


class Refused(Exception):
    """Why something is refused, in the word that the vectors use."""


def need(condition, why):
    if not condition:
        raise Refused(why)


def reason(call):
    try:
        call()
        return "ok"
    except Refused as refused:
        return str(refused)


# ---- section 0: labels, CBOR, padding ----


def label(use):
    return b"penpal/v1/" + use.encode() + b"\0"


def H(use, *parts):
    return hashlib.sha256(label(use) + b"".join(parts)).digest()


def MAC(key, use, *parts):
    return hmac.digest(key, label(use) + b"".join(parts), "sha256")


def extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def expand(prk, info, length):
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


def HKDF(ikm, salt, length, use, *parts):
    return expand(extract(salt, ikm), label(use) + b"".join(parts), length)


def sign(seed, use, *parts):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(label(use) + b"".join(parts))


def verify(key, signature, use, *parts):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, label(use) + b"".join(parts))
    except (InvalidSignature, ValueError):
        raise Refused("Signature") from None


def cbor(data):
    """One item in core deterministic encoding, and nothing behind it."""

    def head(at):
        need(at < len(data), "Malformed")
        major, low = data[at] >> 5, data[at] & 31
        if low < 24:
            return major, low, at + 1
        need(low <= 27, "Malformed")
        size = 1 << (low - 24)
        need(at + 1 + size <= len(data), "Malformed")
        value = int.from_bytes(data[at + 1 : at + 1 + size], "big")
        need(value >= (24 if size == 1 else 1 << (4 * size)), "Malformed")
        return major, value, at + 1 + size

    def item(at, depth):
        need(depth <= 12 and at < len(data), "Malformed")
        if data[at] in (0xF4, 0xF5):
            return data[at] == 0xF5, at + 1
        major, value, at = head(at)
        if major == 0:
            return value, at
        if major in (2, 3):
            need(at + value <= len(data), "Malformed")
            text = data[at : at + value]
            if major == 3:
                try:
                    text = text.decode()
                except UnicodeDecodeError:
                    raise Refused("Malformed") from None
            return text, at + value
        if major == 4:
            items = []
            for _ in range(value):
                one, at = item(at, depth + 1)
                items.append(one)
            return items, at
        need(major == 5, "Malformed")
        entries, last = {}, -1
        for _ in range(value):
            kind, key, at = head(at)
            need(kind == 0 and key > last, "Malformed")
            need(key < 128, "Malformed")  # critical, and unknown
            entries[key], at = item(at, depth + 1)
            last = key
        return entries, at

    value, end = item(0, 0)
    need(end == len(data), "Malformed")
    return value


def signed(data):
    pair = cbor(data)
    need(isinstance(pair, list) and len(pair) == 2, "Malformed")
    need(isinstance(pair[0], bytes) and isinstance(pair[1], bytes) and len(pair[1]) == 64, "Malformed")
    return pair


def unpad(data, why):
    end = len(data.rstrip(b"\0"))
    need(end and data[end - 1] == 0x80, why)
    return data[: end - 1]


def pad(data, size):
    return data + b"\x80" + bytes(size - len(data) - 1)


# ---- X-Wing and HPKE ----


def xwing_keys(seed):
    expanded = hashlib.shake_256(seed).digest(96)
    public, private = ML_KEM_768.key_derive(expanded[:64])
    x = X25519PrivateKey.from_private_bytes(expanded[64:])
    x_public = x.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return public + x_public, (private, x, x_public)


def xwing_secret(ss_m, ss_x, ct_x, pk_x):
    return hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + b"\\.//^\\").digest()


def xwing_encapsulate(pk, coins):
    ss_m, ct_m = ML_KEM_768._encaps_internal(pk[:1184], coins[:32])
    ephemeral = X25519PrivateKey.from_private_bytes(coins[32:])
    ct_x = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    ss_x = ephemeral.exchange(X25519PublicKey.from_public_bytes(pk[1184:]))
    return xwing_secret(ss_m, ss_x, ct_x, pk[1184:]), ct_m + ct_x


def xwing_open(keys, enc):
    private, x, x_public = keys
    ss_x = x.exchange(X25519PublicKey.from_public_bytes(enc[1088:]))
    return xwing_secret(ML_KEM_768.decaps(private, enc[:1088]), ss_x, enc[1088:], x_public)


def hpke(secret, info):
    suite = b"HPKE\x64\x7a\x00\x01\x00\x03"
    labelled = lambda salt, use, ikm: extract(salt, b"HPKE-v1" + suite + use + ikm)
    derive = lambda prk, use, context, n: expand(prk, n.to_bytes(2, "big") + b"HPKE-v1" + suite + use + context, n)
    context = b"\0" + labelled(b"", b"psk_id_hash", b"") + labelled(b"", b"info_hash", info)
    prk = labelled(secret, b"secret", b"")
    return derive(prk, b"key", context, 32), derive(prk, b"base_nonce", context, 12)


def aead_open(key, nonce, data, aad, why):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, data, aad)
    except InvalidTag:
        raise Refused(why) from None


# ---- section 2: manifest and bundle ----


def manifest(data, fingerprint, held=None):
    body, signature = signed(data)
    m = cbor(body)
    root = m.get(0)
    need(isinstance(root, bytes) and len(root) == 32, "Malformed")
    need(held is None or root == held[0], "Signature")
    verify(root, signature, "manifest-signature", body)
    devices, revoked, earlier = m[5], m[6], m[2]
    ids = [device[0] for device in devices]
    good = (
        m[1] >= 1
        and m[3] < m[4] <= m[3] + 30 * DAY
        and 1 <= len(devices) <= 16
        and ids == sorted(set(ids))
        and len({device[1] for device in devices}) == len({device[2] for device in devices}) == len(devices)
        and sum(bool(device.get(6)) for device in devices) <= 1
        and not set(ids) & set(revoked)
        and len(earlier) <= 32
        and [e[0] for e in earlier] == sorted({e[0] for e in earlier})
        and all(e[0] < m[1] for e in earlier)
    )
    need(good, "Inconsistent")
    need(fingerprint is None or H("root", root)[:16] == fingerprint, "OtherAccount")
    if held is not None:
        need(m[1] >= held[1], "Rollback")
        known = {e[0]: e[1] for e in earlier} | {m[1]: H("manifest", body)[:16]}
        for version, name in held[2].items():
            need(version not in known or known[version] == name, "Fork")
        need(not set(ids) & held[3], "Revoked")
    known = {e[0]: e[1] for e in earlier} | {m[1]: H("manifest", body)[:16]}
    return {"held": (root, m[1], known, set(revoked)), "devices": {d[0]: d[2] for d in devices}, "name": known[m[1]]}


def bundle(data, pinned, now):
    body, signature = signed(data)
    b = cbor(body)
    need(b[4] < b[5] <= b[4] + 30 * DAY, "Life")
    need(pinned.get(b[0]) == b[1], "UnknownDevice")
    verify(b[1], signature, "bundle-signature", body)
    need(now <= b[5], "Expired")
    try:
        ML_KEM_768._encaps_internal(b[3][:1184], bytes(32))
    except ValueError:
        raise Refused("Key") from None
    return b


def stored(blob, profile_key, kind, device):
    key = HKDF(profile_key, blob[:32], 32, "profile", bytes([kind]), device)
    return unpad(aead_open(key, bytes(12), blob[32:], bytes([kind]) + device, "Closed"), "Closed")


# ---- section 3: envelope ----


def open_envelope(envelope, v):
    need(len(envelope) in SIZES, "Size")
    need(envelope[0] == 1, "Version")
    need(envelope[1] == 1, "Suite")
    header, enc, ciphertext = envelope[:18], envelope[18:1138], envelope[1138:]
    hint, mkey, pair = header[2:10], header[10:], bytes.fromhex(v["pair_key"])
    h_enc = H("enc", enc)
    need(hint == MAC(pair, "hint", header[:2], mkey, h_enc)[:8], "foreign")
    key_id = bytes(a ^ b for a, b in zip(mkey, MAC(pair, "kid", header[:2], h_enc)))
    me, them = v["recipient"], v["sender"]
    need(key_id.hex() == me["prekey_id"], "unreadable")
    pk, keys = xwing_keys(bytes.fromhex(me["prekey_seed"]))
    device = bytes.fromhex(me["device"])
    key, nonce = hpke(xwing_open(keys, enc), label("seal") + device + key_id + H("pk", pk))
    plaintext = aead_open(key, nonce, ciphertext, header + enc, "unreadable")
    body, signature = signed(unpad(plaintext, "unreadable"))
    b = cbor(body)
    need(b[3].hex() == me["fingerprint"] and b[4] == device, "NotForMe")
    need(b[0].hex() == them["fingerprint"], "OtherAccount")
    pinned = manifest(bytes.fromhex(them["manifest"]), b[0])
    need(b[1] in pinned["devices"], "UnknownDevice")
    verify(pinned["devices"][b[1]], signature, "msg", H("bind", header, enc, device, pk), H("body", body))
    return body, b, plaintext


def read(path):
    return json.loads((FOLDER / path).read_text())


def check_primitives():
    for case in read("seal/xwing-draft.json"):
        f = {name: bytes.fromhex(value) for name, value in case.items()}
        pk, keys = xwing_keys(f["seed"])
        same(pk, f["pk"], "X-Wing public key")
        ss, ct = xwing_encapsulate(pk, f["eseed"])
        same((ss, ct), (f["ss"], f["ct"]), "X-Wing encapsulation")
        same(xwing_open(keys, ct), f["ss"], "X-Wing secret")
    hashes = read("protocol/hash.json")
    key = bytes(range(32))
    for name, use, length in [("fingerprint", "root", 16), ("relay_pin", "relay-pin", 16), ("capability_hash", "cap", 32), ("proof_hash", "reg", 32)]:
        same(H(use, key)[:length].hex(), hashes["key_00_to_1f"][name], name)
    for case in hashes["labelled"]:
        data = case["label"].encode() + b"\0" + bytes.fromhex(case["input"])
        same(hashlib.sha256(data).hexdigest(), case["hash"], case["label"])


def check_derivations():
    v = read("seal/frozen/derivations.json")
    h = bytes.fromhex
    s = h(v["invite"]["secret"])
    same(HKDF(s, b"", 16, "invite-id").hex(), v["invite"]["id"], "invite id")
    proof = HKDF(s, b"", 32, "invite-registration")
    same(proof.hex(), v["invite"]["registration"], "registration proof")
    same(H("reg", proof).hex(), v["invite"]["registration_hash"], "its hash")
    boot = v["boot_key"]
    same(HKDF(h(boot["secret"]), b"", 32, "boot", h(boot["t3"])).hex(), boot["key"], "boot key")
    p = v["pair_key"]
    for name, one, other in [("from_to", "from", "to"), ("to_from", "to", "from")]:
        key = HKDF(h(p["a"]) + h(p["b"]), h(p["t4"]), 32, "pair", h(p[one]), h(p[other]))
        same(key.hex(), p[name], f"pair key {name}")
    low, high = sorted(h(root) for root in v["safety_number"]["roots"])
    digest = H("safety-number", b"\0", low, high) + H("safety-number", b"\1", low, high)
    groups = [int.from_bytes(digest[n : n + 5], "big") % 100000 for n in range(0, 60, 5)]
    same(" ".join(f"{group:05}" for group in groups), v["safety_number"]["number"], "safety number")


def check_manifests():
    v = read("seal/frozen/manifest.json")
    fingerprint = bytes.fromhex(v["account"]["fingerprint"])
    for case in v["valid"]:
        found = manifest(bytes.fromhex(case["signed"]), fingerprint)
        same((found["held"][1], found["name"].hex()), (case["version"], case["hash"]), "manifest")
    for case in v["invalid"]:
        held = manifest(bytes.fromhex(case["held"]), fingerprint)["held"]
        got = reason(lambda: manifest(bytes.fromhex(case["signed"]), fingerprint, held))
        same(got, case["update"], f"manifest, {case['why']}")


def check_bundles():
    v = read("seal/frozen/bundle.json")
    account = v["account"]
    pinned = manifest(bytes.fromhex(account["manifest"]), None)["devices"]
    for case in v["valid"] + v["invalid"]:
        got = reason(lambda: bundle(bytes.fromhex(case["signed"]), pinned, v["now_ms"]))
        same(got, case["verify"], f"bundle, {case.get('why', 'valid')}")
    pk = bytes.fromhex(v["profile_key"])
    blob = bytes.fromhex(v["stored_manifest"]["blob"])
    same(stored(blob, pk, 1, bytes(16)).hex(), account["manifest"], "stored manifest")
    blob = bytes.fromhex(v["stored_bundle"]["blob"])
    same(stored(blob, pk, 2, bytes.fromhex(account["device"])).hex(), account["bundle"], "stored bundle")


def check_envelopes():
    v = read("seal/frozen/envelope.json")
    h = bytes.fromhex
    for person in (v["sender"], v["recipient"]):
        same(xwing_keys(h(person["prekey_seed"]))[0].hex(), person["prekey"], "prekey of its seed")
        same(H("root", h(person["root"]))[:16].hex(), person["fingerprint"], "fingerprint")
    envelope = h(v["valid"]["envelope"])
    body, b, plaintext = open_envelope(envelope, v)
    same(body.hex(), v["valid"]["body"], "the opened body")
    same(H("enc", envelope[18:1138])[:16].hex(), v["valid"]["duplicate_mark"], "duplicate mark")
    same(H("envelope", envelope)[:16].hex(), v["valid"]["reseal_hash"], "reseal hash")
    # And the other way: the same keys and coins seal to the same bytes.
    coins = HKDF(h(v["valid"]["fresh"]), h(v["sender"]["hedge"]), 64, "encap", b[6], H("body", body))
    pk, device, key_id = h(v["recipient"]["prekey"]), h(v["recipient"]["device"]), h(v["recipient"]["prekey_id"])
    secret, enc = xwing_encapsulate(pk, coins)
    pair, h_enc = h(v["pair_key"]), H("enc", enc)
    mkey = bytes(x ^ y for x, y in zip(key_id, MAC(pair, "kid", b"\1\1", h_enc)))
    header = b"\1\1" + MAC(pair, "hint", b"\1\1", mkey, h_enc)[:8] + mkey
    signature = sign(h(v["sender"]["signing_seed"]), "msg", H("bind", header, enc, device, pk), H("body", body))
    inner = b"\x82\x58" + bytes([len(body)]) + body + b"\x58\x40" + signature
    same(plaintext, pad(inner, len(plaintext)), "the plaintext")
    key, nonce = hpke(secret, label("seal") + device + key_id + H("pk", pk))
    sealed = header + enc + ChaCha20Poly1305(key).encrypt(nonce, plaintext, header + enc)
    same(sealed, envelope, "the envelope sealed here")
    for case in v["invalid"]:
        got = reason(lambda: open_envelope(h(case["envelope"]), v))
        same(got, case["judged"], f"envelope, {case['why']}")


def check_invite():
    v = read("seal/frozen/invite.json")
    h = bytes.fromhex
    s, a, b = h(v["secret"]), v["inviter"], v["invited"]
    invite_id = HKDF(s, b"", 16, "invite-id")
    same(invite_id.hex(), v["invite_id"], "invite id")
    K, M = HKDF(s, b"", 32, "invite-key"), HKDF(s, b"", 32, "invite-mac")
    record_signed = unpad(aead_open(K, bytes(12), h(v["sealed_record"]), invite_id, "Closed"), "Closed")
    record, signature = signed(record_signed)
    same(H("record", record_signed).hex(), v["record_hash"], "record hash")
    r = cbor(record)
    root = next(x for x in r.values() if isinstance(x, bytes) and len(x) == 32 and x.hex() == a["root"])
    same(H("root", root)[:16].hex(), a["fingerprint"], "the record's root against the code")
    verify(h(a["signing"]), signature, "record-signature", record)
    one_time, keys = xwing_keys(h(v["one_time_seed"]))
    same(one_time in r.values(), True, "the one-time key in the record")
    blob = h(v["sealed_request"])
    key, nonce = hpke(xwing_open(keys, blob[:1120]), label("invite") + invite_id)
    sealed = cbor(unpad(aead_open(key, nonce, blob[1120:], blob[:1120], "Closed"), "Closed"))
    request, signature, mac = sealed[0], sealed[1], sealed[2]
    same(request.hex(), v["request"], "the opened request")
    t3 = H("invite-request", invite_id, H("record", record_signed), H("request", request))
    same(t3.hex(), v["t3"], "T3")
    verify(h(b["signing"]), signature, "request-signature", t3)
    same(mac, MAC(M, "B", t3), "MAC of the request")
    accept = h(v["accept"]["body"])
    t4 = H("invite-accept", t3, H("accept", accept))
    same(t4.hex(), v["t4"], "T4")
    verify(h(a["signing"]), h(v["accept"]["sig"]), "accept-signature", t4)
    same(MAC(M, "A", t4).hex(), v["accept"]["mac"], "MAC of the acceptance")
    # Coins of the request: the same bytes again.
    coins = HKDF(h(v["request_fresh"]), h(b["hedge"]), 64, "encap", invite_id, H("request", request))
    same(xwing_encapsulate(one_time, coins)[1], blob[:1120], "the request's encapsulation")


def check_wire():
    """Structures: all valid ones are deterministic CBOR; of the invalid ones those that break CBOR itself are refused here."""
    valid = strict = schema = 0
    for path in sorted((FOLDER / "protocol").glob("*.json")):
        v = json.loads(path.read_text())
        if "structure" not in v:
            continue
        for case in v["valid"]:
            same(reason(lambda: cbor(bytes.fromhex(case["hex"]))), "ok", f"{path.name}, {case['what']}")
            valid += 1
        for case in v["invalid"]:
            if reason(lambda: cbor(bytes.fromhex(case["hex"]))) == "ok":
                schema += 1
            else:
                strict += 1
    print(f"wire types: {valid} valid; {strict} refused as CBOR; {schema} that only the schema in docs/penpal.cddl refuses")


def main():
    for check in (check_primitives, check_derivations, check_manifests, check_bundles, check_envelopes, check_invite, check_wire):
        before = checked
        check()
        print(f"{check.__name__.removeprefix('check_')}: {checked - before} checks hold")
    print(f"{checked} checks hold")


if __name__ == "__main__":
    main()
