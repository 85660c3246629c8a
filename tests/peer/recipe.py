"""The recipe from a case to a test vector.

Owns the fixed inputs and the order of a vector's fields. Keys, nonces and lengths come from hashing
fixed words, so that every run gives the same bytes. No vector leaves here before gate.py has come
to the verdict it expects. Files are the business of vectors.py.
"""

import base64
import hashlib

import broken
import gate
import knock

GATE_NAME = "gate.example.org"
SOURCE_V4, SOURCE_V6 = "192.0.2.7", "2001:db8:7::7"
# The first millisecond of step 27500000, so that cases at a step's edge are easy to read.
STEP_START = 1_760_000_000_000
# Ten seconds into that step: the window of 30 s around it touches the step before, too.
TIME = STEP_START + 10_000
WINDOW = 30_000


def seeded(words: str, length: int = 32) -> bytes:
    """Up to 32 bytes that look random and depend on the words alone."""
    return hashlib.sha256(f"postern vectors: {words}".encode()).digest()[:length]


def shared_key(words: str = "shared key") -> dict:
    """The key field of a shared key."""
    return {"kind": "shared", "shared_key": seeded(words).hex()}


def pair_key(psk: bytes | None = None) -> dict:
    """The key field of a key pair."""
    client, host = seeded("client private"), seeded("gate private")
    return {
        "kind": "pair",
        "client_private": client.hex(),
        "client_public": knock.public_key(client).hex(),
        "gate_private": host.hex(),
        "gate_public": knock.public_key(host).hex(),
        "psk": psk.hex() if psk is not None else None,
    }


SHARED, PAIR, PAIR_PSK = shared_key(), pair_key(), pair_key(seeded("psk"))


def derive(key: dict, gate_name: str) -> tuple[bytes | None, knock.Keys]:
    """Z (None for a shared key) and the keys, from the key field of a vector."""
    if key["kind"] == "shared":
        return None, knock.derive(knock.shared_ikm(bytes.fromhex(key["shared_key"])), gate_name)
    raw = {name: bytes.fromhex(text) for name, text in key.items() if name != "kind" and text}
    z = knock.agree(raw["client_private"], raw["gate_public"])
    if z != knock.agree(raw["gate_private"], raw["client_public"]):
        raise AssertionError("the two sides do not agree")
    ikm = knock.pair_ikm(z, raw["client_public"], raw["gate_public"], raw.get("psk"))
    return z, knock.derive(ikm, gate_name)


def drawn_length(name: str, request: dict) -> int:
    """A body length that differs from vector to vector, as a client would draw it."""
    least = knock.shortest_body(request)
    spread = min(96, knock.BODY_MAX - least)
    return least + int.from_bytes(seeded(f"length {name}", 4), "big") % (spread + 1)


def vector(
    name: str,
    about: str,
    reason: str | None = None,
    *,
    rule: str | None = None,
    key: dict = SHARED,
    gate_name: str = GATE_NAME,
    request: dict | None = broken.BASE,
    body: bytes | None = None,
    length: int | None = None,
    timestamp: int = TIME,
    step: int | None = None,
    arrives=None,
    now: int | None = None,
    window: int = WINDOW,
    source: str = SOURCE_V4,
    seen: int | None = None,
    at_gate: dict | None = None,
    **spoil,
) -> dict:
    """One vector. `body` replaces a request that has no legal form; `arrives` turns the packet
    that was made into the one that is received; `spoil` goes to knock.make_packet."""
    z, keys = derive(key, gate_name)
    if body is None:
        body = knock.encode_body(request, timestamp, length or drawn_length(name, request))
    step = knock.step_of(timestamp) if step is None else step
    packet = knock.make_packet(keys, step, seeded(f"nonce {name}", 12), body, **spoil)
    wire = arrives(packet) if arrives else packet.wire
    made = {
        "name": name,
        "about": about,
        "key": key,
        "gate_name": gate_name,
        "timestamp_ms": timestamp,
        "nonce": packet.nonce.hex(),
        "request": request,
        "z": z.hex() if z else None,
        "ikm": keys.ikm.hex(),
        "prk": keys.prk.hex(),
        "k_hint": keys.k_hint.hex(),
        "k_seal": keys.k_seal.hex(),
        "k_mac": keys.k_mac.hex(),
        "step": step,
        "hint": packet.hint.hex(),
        "body": body.hex(),
        "sealed": packet.sealed.hex(),
        "mac": packet.mac.hex(),
        "mark": packet.mark.hex(),
        "packet_hex": wire.hex(),
        "packet_base64": base64.b64encode(wire).decode(),
        "gate": (at_gate or {}) | {
            "now_ms": timestamp if now is None else now,
            "window_ms": window,
            "source": source,
            "seen_before_ms": seen,
        },
        "outcome": {
            "verdict": "drop" if reason else "admit",
            "reason": reason,
            "rule": rule,
            "step": gate.CHECK_OF_REASON[reason] if reason else gate.ADMIT_CHECK,
        },
    }
    confirm(made)
    return made


def confirm(made: dict) -> None:
    """Hold a vector, as it is in its file, against the gate's reading of the specification."""
    here, outcome = made["gate"], made["outcome"]
    key = made["key"]
    if "shared_key" in here:
        key = {"kind": "shared", "shared_key": here["shared_key"]}
    _, keys = derive(key, here.get("gate_name", made["gate_name"]))
    wire = bytes.fromhex(made["packet_hex"])
    seen = here["seen_before_ms"]
    reason, faults = gate.judge(keys, wire, here["now_ms"], here["window_ms"], seen)
    rules = [outcome["rule"]] if outcome["rule"] else []
    if (reason, faults) != (outcome["reason"], rules):
        raise AssertionError(f"{made['name']}: the gate says {reason} {faults}, not {outcome}")
    if seen is not None and gate.judge(keys, wire, seen, here["window_ms"])[0] is not None:
        raise AssertionError(f"{made['name']}: the first of the two would not have been admitted")
    if made["request"] is not None:
        request, timestamp, _ = gate.read_body(bytes.fromhex(made["body"]))
        if (request, timestamp) != (made["request"], made["timestamp_ms"]):
            raise AssertionError(f"{made['name']}: the body reads as {request}")
