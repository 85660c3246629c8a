"""Send knocks, good and bad, as a description on standard input says: one UDP datagram each.

Owns the reading of that description and the sending; README.md lists its fields. Prints one JSON
line a datagram. With --print nothing is sent. It never waits for an answer: there is none.
"""

import argparse
import base64
import contextlib
import json
import os
import secrets
import socket
import sys
import time

import broken
import knock


def main() -> int:
    """Read the description, then make, send and print."""
    parser = argparse.ArgumentParser(description="send knocks as described on standard input")
    parser.add_argument("--print", action="store_true", help="print the packets, send nothing")
    options = parser.parse_args()
    try:
        description = json.load(sys.stdin)
        with contextlib.nullcontext() if options.print else Wire(description) as wire:
            for line in run(description, wire):
                print(json.dumps(line), flush=True)
    except (OSError, ValueError, KeyError) as error:
        print(f"send.py: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


class Wire:
    """A UDP socket towards one gate."""

    def __init__(self, description: dict):
        found = socket.getaddrinfo(
            description["host"], description["port"], type=socket.SOCK_DGRAM
        )
        family, kind, protocol, _, self.peer = found[0]
        self.socket = socket.socket(family, kind, protocol)
        if "bind" in description:
            self.socket.bind((description["bind"], 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, packet: bytes) -> str:
        """Send one datagram; the address it went to."""
        self.socket.sendto(packet, self.peer)
        return f"{self.peer[0]} {self.peer[1]}"


def run(description: dict, wire: Wire | None):
    """Make each knock in turn and send it; yields what to print, one dict a datagram."""
    check_fields(description, DESCRIPTION_FIELDS)
    made: list[bytes] = []
    for index, spec in enumerate(description["knocks"]):
        check_fields(spec, KNOCK_FIELDS)
        if "after_ms" in spec and wire:
            time.sleep(spec["after_ms"] / 1000)
        if "again" in spec:
            if not 0 <= spec["again"] < index:
                raise ValueError("`again` names an earlier knock by its number, from 0")
            packet = made[spec["again"]]
        else:
            packet = make(description, spec)
        made.append(packet)
        for _ in range(spec.get("times", 1)):
            yield {
                "knock": index,
                "what": what(spec),
                "bytes": len(packet),
                "packet_base64": base64.b64encode(packet).decode(),
                "sent_to": wire.send(packet) if wire else None,
            }


DESCRIPTION_FIELDS = {"key", "gate_name", "host", "port", "bind", "now_ms", "request", "knocks"}
KNOCK_FIELDS = {
    "label", "again", "times", "after_ms", "key", "gate_name", "timestamp_offset_ms",
    "hint_step_offset", "request", "length", "break", "nonce", "flip_bit", "flip_sealed_bit",
    "truncate", "pad",
}


def check_fields(spec: dict, known: set[str]) -> None:
    """A field that nothing reads is a slip of the pen, and would send a good knock."""
    strange = sorted(spec.keys() - known)
    if strange:
        raise ValueError(f"unknown fields: {', '.join(strange)}")


def what(spec: dict) -> str:
    """The label, or what was changed."""
    changes = [
        f"{name}={'other' if name == 'key' else json.dumps(value)}"
        for name, value in spec.items()
        if name not in ("label", "after_ms")
    ]
    return spec.get("label") or " ".join(changes) or "good"


def make(description: dict, spec: dict) -> bytes:
    """One packet, with every override of `spec`."""
    keys = knock.derive(
        ikm(spec.get("key", description["key"])), spec.get("gate_name", description["gate_name"])
    )
    now_ms = description.get("now_ms", time.time_ns() // 1_000_000)
    timestamp = now_ms + spec.get("timestamp_offset_ms", 0)
    request = broken.BASE | description.get("request", {}) | spec.get("request", {})
    least = knock.shortest_body(request)
    length = spec.get("length", least + secrets.randbelow(1 + max(0, knock.BODY_MAX - least)))
    if "break" in spec:
        body = broken.find(spec["break"]).body(timestamp, length)
    else:
        body = knock.encode_body(request, timestamp, length)

    step = knock.step_of(timestamp) + spec.get("hint_step_offset", 0)
    nonce = bytes.fromhex(spec["nonce"]) if "nonce" in spec else os.urandom(knock.NONCE_LEN)
    if len(nonce) != knock.NONCE_LEN:
        raise ValueError("a nonce has 12 bytes")
    damage = None
    if "flip_sealed_bit" in spec:
        def damage(sealed):
            return knock.flip_bit(sealed, spec["flip_sealed_bit"])
    packet = knock.make_packet(keys, step, nonce, body, damage_sealed=damage).wire
    if "flip_bit" in spec:
        packet = knock.flip_bit(packet, spec["flip_bit"])
    if "pad" in spec:
        packet = packet.ljust(spec["pad"], b"\0")
    return packet[:spec["truncate"]] if "truncate" in spec else packet


def ikm(key: dict) -> bytes:
    """Input key material from the client's side of a key."""
    if key["kind"] == "shared":
        return knock.shared_ikm(key_bytes(key["shared_key"]))
    if key["kind"] == "pair":
        private, gate_public = key_bytes(key["client_private"]), key_bytes(key["gate_public"])
        psk = key_bytes(key["psk"]) if key.get("psk") else None
        z = knock.agree(private, gate_public)
        return knock.pair_ikm(z, knock.public_key(private), gate_public, psk)
    raise ValueError(f"unknown kind of key {key['kind']!r}")


def key_bytes(text: str) -> bytes:
    """A key in hex (64 characters) or base64 (44)."""
    return bytes.fromhex(text) if len(text) == 64 else knock.key_from_text(text)


if __name__ == "__main__":
    sys.exit(main())
