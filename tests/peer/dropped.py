"""The vectors that a gate drops: section 6, steps 1 to 8.

Owns one case or more for every reason. Each fails one check alone, but for those called order-*,
which fail two and show that the checks run in the order of the specification. The broken bodies
themselves are in broken.py.
"""

import broken
import knock
import recipe
from recipe import PAIR, STEP_START, TIME, WINDOW, vector

HOUR = 3_600_000
MAC_AT, SEALED_AT = 20, 52


def cases():
    """All of them."""
    yield from wrong_lengths()
    yield from unknown_hints()
    yield from bad_macs()
    yield from bad_seals()
    yield from malformed_bodies()
    yield from step_mismatches()
    yield from wrong_times()
    yield from repeats()
    yield from orders()


def wrong_lengths():
    def cut(size):
        return lambda packet: packet.wire[:size]

    for size in (0, 1, 8, 52, 68):
        yield vector(f"length-{size}", f"A packet cut to {size} bytes.", "length",
                     arrives=cut(size))
    yield vector("length-131-cut", "A packet of 132 bytes that lost its last.", "length",
                 length=64, arrives=cut(131))
    yield vector("length-517-padded", "A packet of 516 bytes with a zero after it.", "length",
                 length=448, arrives=lambda packet: packet.wire + b"\0")
    yield vector("length-1400-padded", "A packet with zeros up to 1400 bytes.", "length",
                 arrives=lambda packet: packet.wire.ljust(1400, b"\0"))
    for body_length in (63, 449):
        yield vector(f"length-{body_length + 68}-sealed",
                     f"A packet well made of a body of {body_length} bytes.", "length",
                     request=None, body=knock.encode_body(broken.BASE, TIME, body_length))


def unknown_hints():
    other_key = {"shared_key": recipe.seeded("other shared key").hex()}
    yield vector("unknown-hint-other-key", "The gate holds another key.", "unknown-hint",
                 at_gate=other_key)
    for name, about, gate_name in (
        ("other-gate-name", "The knock was made for another gate.", "gate2.example.org"),
        ("gate-name-case", "The gate's name differs in case.", "Gate.example.org"),
        ("gate-name-dot", "The gate's name ends with a dot.", "gate.example.org."),
    ):
        yield vector(f"unknown-hint-{name}", about, "unknown-hint",
                     at_gate={"gate_name": gate_name})
    yield vector("unknown-hint-pair-other-gate-name",
                 "The knock was made for another gate, with a key pair.", "unknown-hint", key=PAIR,
                 at_gate={"gate_name": "gate2.example.org"})
    yield vector("unknown-hint-gate-name-form",
                 "The gate's name looks the same but is other code points: bytes count.",
                 "unknown-hint", gate_name="t\u00fcr.example.org",
                 at_gate={"gate_name": "tu\u0308r.example.org"})
    for bit in (0, 31, 63):
        yield vector(f"unknown-hint-flip-{bit}", f"Bit {bit} of the packet, in the hint, is turned.",
                     "unknown-hint", arrives=flipped(bit))
    yield vector("unknown-hint-hour-old", "The knock is an hour old.", "unknown-hint",
                 now=TIME + HOUR)
    yield vector("unknown-hint-hour-ahead", "The knock is an hour ahead.", "unknown-hint",
                 now=TIME - HOUR)
    yield vector("unknown-hint-random", "A packet that is random from end to end.", "unknown-hint",
                 arrives=lambda packet: b"".join(
                     recipe.seeded(f"noise {part}") for part in range(8)))


def flipped(*bits):
    """The packet with these bits turned; a negative one counts from the end."""
    def arrives(packet):
        wire = packet.wire
        for bit in bits:
            wire = knock.flip_bit(wire, bit % (8 * len(wire)))
        return wire
    return arrives


def bad_macs():
    for name, about, bit in (
        ("nonce-first", "The first bit of the nonce is turned.", 8 * knock.HINT_LEN),
        ("nonce-last", "The last bit of the nonce is turned.", 8 * MAC_AT - 1),
        ("mac-first", "The first bit of the mac is turned.", 8 * MAC_AT),
        ("mac-mark-last", "The last bit of the mac's first half is turned.", 8 * (MAC_AT + 16) - 1),
        ("mac-after-mark", "The first bit of the mac's second half is turned.", 8 * (MAC_AT + 16)),
        ("mac-last", "The last bit of the mac is turned.", 8 * SEALED_AT - 1),
        ("sealed-first", "The first bit of the ciphertext is turned.", 8 * SEALED_AT),
        ("sealed-timestamp", "A bit of the sealed timestamp is turned.", 8 * (SEALED_AT + 11)),
        ("tag-first", "The first bit of the tag is turned.", -128),
        ("tag-last", "The last bit of the packet is turned.", -1),
    ):
        yield vector(f"bad-mac-{name}", about, "bad-mac", arrives=flipped(bit))
    yield vector("bad-mac-pair-sealed", "With a key pair, a bit of the ciphertext is turned.",
                 "bad-mac", key=PAIR, arrives=flipped(8 * SEALED_AT + 100))
    yield vector("bad-mac-zero", "The mac is all zero.", "bad-mac",
                 arrives=lambda packet: packet.wire[:MAC_AT] + bytes(32) + packet.sealed)
    yield vector("bad-mac-cut", "The last byte is missing; the length is still allowed.", "bad-mac",
                 length=128, arrives=lambda packet: packet.wire[:-1])
    yield vector("bad-mac-padded", "A zero follows; the length is still allowed.", "bad-mac",
                 length=128, arrives=lambda packet: packet.wire + b"\0")

    _, keys = recipe.derive(recipe.SHARED, recipe.GATE_NAME)
    other_hint = knock.hint_of(keys.k_hint, knock.step_of(TIME) - 1)
    yield vector("bad-mac-hint-of-step-before",
                 "The hint is replaced by that of the step before, which the table holds.",
                 "bad-mac", arrives=lambda packet: other_hint + packet.wire[8:])

    def without(part):
        def arrives(packet):
            parts = {"hint": packet.hint, "nonce": packet.nonce, "sealed": packet.sealed}
            parts[part] = b""
            mac = knock.hmac_sha256(keys.k_mac, b"".join(parts.values()))
            return packet.wire[:MAC_AT] + mac + packet.sealed
        return arrives

    for part in ("hint", "nonce", "sealed"):
        yield vector(f"bad-mac-without-{part}", f"The mac in the packet leaves out the {part}.",
                     "bad-mac", arrives=without(part))


def bad_seals():
    def turn(bit):
        return lambda sealed: knock.flip_bit(sealed, bit % (8 * len(sealed)))

    for name, about, bit in (
        ("sealed-first", "The first bit of the ciphertext is turned, the mac made anew.", 0),
        ("sealed-timestamp", "A bit of the sealed timestamp is turned, the mac made anew.", 88),
        ("tag-first", "The first bit of the tag is turned, the mac made anew.", -128),
        ("tag-last", "The last bit of the tag is turned, the mac made anew.", -1),
    ):
        yield vector(f"bad-seal-{name}", about, "bad-seal", damage_sealed=turn(bit))
    yield vector("bad-seal-pair", "With a key pair, a bit is turned and the mac made anew.",
                 "bad-seal", key=PAIR, damage_sealed=turn(200))
    yield vector("bad-seal-no-aad", "Sealed without the hint as associated data.", "bad-seal",
                 aad=b"")
    yield vector("bad-seal-aad-nonce", "Hint and nonce as associated data, in place of the hint.",
                 "bad-seal", aad=knock.hint_of(
                     recipe.derive(recipe.SHARED, recipe.GATE_NAME)[1].k_hint,
                     knock.step_of(TIME)) + recipe.seeded("nonce bad-seal-aad-nonce", 12))
    yield vector("bad-seal-other-key", "Sealed with another key under a mac that fits.", "bad-seal",
                 seal_key=recipe.seeded("other seal key"))
    yield vector("bad-seal-cut", "The last byte of the tag was cut before the mac was made.",
                 "bad-seal", length=128, damage_sealed=lambda sealed: sealed[:-1])


def malformed_bodies():
    for case in broken.CASES:
        name = f"malformed-{case.name}"
        length = recipe.drawn_length(name, broken.BASE | case.request)
        yield vector(name, case.about, "malformed", rule=case.rule, request=None,
                     body=case.body(TIME, length))


def step_mismatches():
    this = knock.step_of(TIME)
    yield vector("step-mismatch-hint-before",
                 "The hint is that of the step before, inside the window; `step` is the hint's.",
                 "step-mismatch", step=this - 1)
    yield vector("step-mismatch-hint-after",
                 "The hint is that of the step after, inside the window; `step` is the hint's.",
                 "step-mismatch", timestamp=STEP_START - 1, step=this)
    yield vector("step-mismatch-pair", "With a key pair, the hint is that of the step before.",
                 "step-mismatch", key=PAIR, step=this - 1)


def wrong_times():
    yield vector("too-old-by-1-ms", "One millisecond older than the window.", "too-old",
                 now=TIME + WINDOW + 1)
    yield vector("too-new-by-1-ms", "One millisecond further ahead than the window.", "too-new",
                 now=TIME - WINDOW - 1)
    yield vector("too-old-in-same-step", "As old as can be while the window touches its step.",
                 "too-old", timestamp=STEP_START, now=STEP_START + 63_999 + WINDOW)
    yield vector("too-new-in-same-step", "As far ahead as can be while the window touches its step.",
                 "too-new", timestamp=STEP_START + 63_999, now=STEP_START - WINDOW)
    yield vector("too-old-pair", "With a key pair, one millisecond too old.", "too-old", key=PAIR,
                 now=TIME + WINDOW + 1)
    for window in (5_000, 300_000):
        yield vector(f"too-old-window-{window}", f"A window of {window} ms, one more than that old.",
                     "too-old", window=window, now=TIME + window + 1)
        yield vector(f"too-new-window-{window}",
                     f"A window of {window} ms, one more than that far ahead.",
                     "too-new", window=window, now=TIME - window - 1)


def repeats():
    for later in (0, 1, 999, 1000):
        yield vector(f"duplicate-{later}-ms", f"The same packet again {later} ms later.",
                     "duplicate", now=TIME + later, seen=TIME)
    for later in (1001, 30_000):
        yield vector(f"replay-{later}-ms", f"The same packet again {later} ms later.",
                     "replay", now=TIME + later, seen=TIME)
    yield vector("replay-whole-window",
                 "First seen exactly the window early, again exactly the window late.",
                 "replay", now=TIME + WINDOW, seen=TIME - WINDOW)
    yield vector("replay-next-step", "Seen in one step, again when the gate is in the next.",
                 "replay", timestamp=STEP_START - 1, now=STEP_START + 10_000, seen=STEP_START - 1)
    yield vector("replay-pair", "A key pair's packet again after 5 s.", "replay", key=PAIR,
                 now=TIME + 5_000, seen=TIME)


def orders():
    yield vector("order-length-before-hint", "Too short, and of another key: the length decides.",
                 "length", length=64, arrives=lambda packet: packet.wire[:131],
                 at_gate={"shared_key": recipe.seeded("other shared key").hex()})
    bad_version = broken.find("version-2").body(TIME, 128)
    yield vector("order-malformed-before-step",
                 "Version 2 under the hint of the step before: the body decides.", "malformed",
                 rule="version", request=None, body=bad_version, step=knock.step_of(TIME) - 1)
    yield vector("order-malformed-before-time", "Version 2, and too old: the body decides.",
                 "malformed", rule="version", request=None, body=bad_version,
                 now=TIME + WINDOW + 1)
    now_step = knock.step_of(TIME)
    yield vector("order-step-before-time",
                 "A timestamp of yesterday under a hint of now: the step decides.", "step-mismatch",
                 timestamp=TIME - 24 * HOUR, step=now_step, now=TIME)
    yield vector("order-step-before-time-zero", "Timestamp 0 under a hint of now.",
                 "step-mismatch", timestamp=0, step=now_step, now=TIME)
    yield vector("order-step-before-time-max", "The greatest timestamp under a hint of now.",
                 "step-mismatch", timestamp=2**64 - 1, step=now_step, now=TIME)
    yield vector("order-time-before-replay", "Seen before, and too old by now: the time decides.",
                 "too-old", now=TIME + WINDOW + 1, seen=TIME)
