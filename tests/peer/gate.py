"""The gate's half of the specification: section 5 read strictly, section 6, steps 1 to 8.

Owns the verdict that a vector expects. It reads the body with a decoder of its own, so that a slip
in the encoder shows, and it gathers every rule that is broken instead of stopping at the first, so
that a vector meant to break one rule can be shown to break only that one. No policy, no state.
"""

import hmac
import ipaddress
import re
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import knock

DUPLICATE_MS = 1000
RULES = (
    "version", "action", "allow-prefix", "reserved", "host-bits", "item-truncated", "padding",
    "service-length", "service-protocol", "service-ports", "name-length", "name-characters",
    "code-length", "code-digits", "unknown-item", "duplicate-item", "too-many-services",
    "too-many-codes", "no-service",
)
CHECK_OF_REASON = {
    "length": 1, "unknown-hint": 2, "bad-mac": 3, "bad-seal": 4, "malformed": 5,
    "step-mismatch": 6, "too-old": 7, "too-new": 7, "replay": 8, "duplicate": 8,
}
ADMIT_CHECK = 12


def address_text(raw: bytes) -> str:
    """The text form that the vectors use: mapped addresses end in dotted decimal."""
    address = ipaddress.IPv6Address(raw)
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address)


def read_body(body: bytes) -> tuple[dict | None, int, list[str]]:
    """The request (None if anything is broken), the timestamp, and every rule that is broken."""
    version, action, prefix, reserved, timestamp, duration = struct.unpack(">BBBBQI", body[:16])
    allow, target = body[16:32], body[32:48]
    faults = []
    if version != 1:
        faults.append("version")
    if action not in (1, 2):
        faults.append("action")
    if reserved != 0:
        faults.append("reserved")
    if prefix > 128:
        faults.append("allow-prefix")
    elif int.from_bytes(allow, "big") % (1 << (128 - prefix)) != 0:
        faults.append("host-bits")

    parts, end_faults = split_items(body[48:])
    faults += end_faults
    items = [read_item(kind, value, faults) for kind, value in parts]
    services = sum(kind in (1, 2) for kind, _ in parts)
    if len(set(parts)) != len(parts):
        faults.append("duplicate-item")
    if services > 16:
        faults.append("too-many-services")
    if sum(kind == 3 for kind, _ in parts) > 1:
        faults.append("too-many-codes")
    if action == 1 and services == 0:
        faults.append("no-service")
    if faults:
        return None, timestamp, faults

    request = {
        "action": {1: "open", 2: "close"}[action],
        "allow": f"{address_text(allow) if any(allow) else 'source'}/{prefix}",
        "duration_s": duration,
        "target": address_text(target) if any(target) else "gate",
        "items": items,
    }
    return request, timestamp, faults


def split_items(area: bytes) -> tuple[list[tuple[int, bytes]], list[str]]:
    """Kinds and values up to the end of the list, and what is wrong with that end."""
    parts, at = [], 0
    while at < len(area):
        kind = area[at]
        if kind == 0:
            return parts, ["padding"] if any(area[at + 1:]) else []
        if at + 1 == len(area):
            return parts, ["item-truncated"]
        size = area[at + 1]
        value = area[at + 2:at + 2 + size]
        if len(value) < size:
            return parts, ["item-truncated"]
        parts.append((kind, value))
        at += 2 + size
    return parts, []


def read_item(kind: int, value: bytes, faults: list[str]) -> dict | None:
    """One item in the vectors' form; adds the rules it breaks to `faults`."""
    if kind == 1:
        if len(value) != 5:
            faults.append("service-length")
            return None
        protocol, first, last = struct.unpack(">BHH", value)
        if protocol in (6, 17, 132):
            if not 1 <= first <= last:
                faults.append("service-ports")
        elif protocol in (1, 58):
            if first or last:
                faults.append("service-ports")
        else:
            faults.append("service-protocol")
        return {"service": {"protocol": protocol, "first": first, "last": last}}
    if kind == 2:
        if not 1 <= len(value) <= 32:
            faults.append("name-length")
        if value and not re.fullmatch(rb"[a-z0-9][a-z0-9_-]*", value):
            faults.append("name-characters")
        return {"name": value.decode("ascii", "replace")}
    if kind == 3:
        if not 6 <= len(value) <= 8:
            faults.append("code-length")
        if not re.fullmatch(rb"[0-9]*", value):
            faults.append("code-digits")
        return {"code": value.decode("ascii", "replace")}
    if kind <= 127:
        faults.append("unknown-item")
    return {"skipped": {"kind": kind, "value": value.hex()}}


def judge(
    keys: knock.Keys,
    packet: bytes,
    now_ms: int,
    window_ms: int,
    seen_ms: int | None = None,
) -> tuple[str | None, list[str]]:
    """Steps 1 to 8 for one user: the drop reason, or None to admit, and the broken body rules."""
    if not 132 <= len(packet) <= 516:
        return "length", []
    hint, nonce, mac, sealed = packet[:8], packet[8:20], packet[20:52], packet[52:]

    # A step before the epoch does not exist, so the table starts at step 0 at the earliest.
    now_ms = max(now_ms, seen_ms or 0)
    first, last = max(0, now_ms - window_ms) // 64_000, (now_ms + window_ms) // 64_000
    table = {knock.hint_of(keys.k_hint, step): step for step in range(first, last + 1)}
    if hint not in table:
        return "unknown-hint", []

    expected = knock.hmac_sha256(keys.k_mac, hint + nonce + sealed)
    if not hmac.compare_digest(expected, mac):
        return "bad-mac", []
    try:
        body = ChaCha20Poly1305(keys.k_seal).decrypt(nonce, sealed, hint)
    except InvalidTag:
        return "bad-seal", []

    _, timestamp, faults = read_body(body)
    if faults:
        return "malformed", faults
    if timestamp // 64_000 != table[hint]:
        return "step-mismatch", []
    if now_ms - timestamp > window_ms:
        return "too-old", []
    if timestamp - now_ms > window_ms:
        return "too-new", []
    if seen_ms is not None:
        return "duplicate" if now_ms - seen_ms <= DUPLICATE_MS else "replay", []
    return None, []
