"""The Postern knock, version 1: the sender's half (specification, sections 2 to 5).

Owns keys, hint, body, seal and packet. Every function is pure: time and nonce are arguments, and
all intermediate values come back. Knobs let a caller break any rule of section 5 on purpose; what
the gate makes of the result is in gate.py, which shares nothing with the encoder but constants.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_LEN = 32
STEP_MS = 64_000
HINT_LEN, NONCE_LEN, MAC_LEN, TAG_LEN, MARK_LEN = 8, 12, 32, 16, 16
BODY_MIN, BODY_MAX, BODY_HEAD = 64, 448, 48
PACKET_MIN, PACKET_MAX = 132, 516
ACTIONS = {"open": 1, "close": 2}
KIND_END, KIND_SERVICE, KIND_NAME, KIND_CODE = 0, 1, 2, 3


# Section 2: keys

def key_from_text(text: str) -> bytes:
    """Decode standard base64 with padding, 44 characters, canonical, nothing else accepted."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("a key is 44 characters of standard base64") from error
    # Encoding again catches set bits in the last character, which the decoder lets pass.
    if len(raw) != KEY_LEN or base64.b64encode(raw).decode() != text:
        raise ValueError("a key is 32 bytes in canonical base64")
    return raw


def shared_ikm(shared_key: bytes) -> bytes:
    """Input key material of a shared key."""
    if len(shared_key) != KEY_LEN:
        raise ValueError("a shared key has 32 bytes")
    return b"\x01" + shared_key


def public_key(private: bytes) -> bytes:
    """The X25519 public key of a private one."""
    public = X25519PrivateKey.from_private_bytes(private).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def agree(own_private: bytes, peer_public: bytes) -> bytes:
    """Z = X25519(own private, peer public); an all-zero Z is refused."""
    own = X25519PrivateKey.from_private_bytes(own_private)
    try:
        z = own.exchange(X25519PublicKey.from_public_bytes(peer_public))
    except ValueError as error:  # the library refuses an all-zero result by itself
        raise ValueError("Z is all zero") from error
    if not any(z):
        raise ValueError("Z is all zero")
    return z


def pair_ikm(z: bytes, client_public: bytes, gate_public: bytes, psk: bytes | None) -> bytes:
    """Input key material of a key pair; without a pre-shared key its place holds zeros."""
    parts = (z, client_public, gate_public, psk if psk is not None else bytes(KEY_LEN))
    if any(len(part) != KEY_LEN for part in parts):
        raise ValueError("every part of a key pair has 32 bytes")
    return b"\x02" + b"".join(parts)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """RFC 2104 with SHA-256."""
    return hmac.new(key, message, hashlib.sha256).digest()


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """RFC 5869, section 2.2."""
    return hmac_sha256(salt or bytes(32), ikm)


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2.3."""
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac_sha256(prk, block + info + bytes([counter]))
        out, counter = out + block, counter + 1
    return out[:length]


@dataclass(frozen=True)
class Keys:
    """What one user's input key material gives at one gate."""

    ikm: bytes
    prk: bytes
    k_hint: bytes
    k_seal: bytes
    k_mac: bytes


def derive(ikm: bytes, gate_name: str) -> Keys:
    """The three keys of one user at one gate."""
    salt = gate_name.encode("utf-8")
    if not 1 <= len(salt) <= 255:
        raise ValueError("a gate name has 1 to 255 bytes")
    prk = hkdf_extract(salt, ikm)
    hint, seal, mac = (
        hkdf_expand(prk, b"postern/1 " + label, 32) for label in (b"hint", b"seal", b"mac")
    )
    return Keys(ikm, prk, hint, seal, mac)


# Section 3: hint

def step_of(timestamp_ms: int) -> int:
    """The 64-second step that a time falls in."""
    return timestamp_ms // STEP_MS


def hint_of(k_hint: bytes, step: int) -> bytes:
    """The 8 bytes by which the gate finds the key."""
    return hmac_sha256(k_hint, struct.pack(">Q", step))[:HINT_LEN]


# Section 5: body

def address_bytes(text: str) -> bytes:
    """16 bytes of an IPv6 address, or of an IPv4 address in its mapped form."""
    address = ipaddress.ip_address(text)
    if address.version == 4:
        return bytes(10) + b"\xff\xff" + address.packed
    return address.packed


def encode_item(item: dict) -> bytes:
    """One item; nothing is validated. `{"raw": hex}` means these bytes, unchanged."""
    (form, value), = item.items()
    if form == "raw":
        return bytes.fromhex(value)
    if form == "service":
        kind = KIND_SERVICE
        data = struct.pack(">BHH", value["protocol"], value["first"], value["last"])
    elif form == "name":
        kind, data = KIND_NAME, value.encode("utf-8")
    elif form == "code":
        kind, data = KIND_CODE, value.encode("utf-8")
    elif form == "skipped":
        kind, data = value["kind"], bytes.fromhex(value["value"])
    else:
        raise ValueError(f"unknown item form {form!r}")
    return bytes([kind, len(data)]) + data


def encode_body(
    request: dict,
    timestamp_ms: int,
    length: int,
    *,
    version: int = 1,
    action: int | None = None,
    prefix: int | None = None,
    reserved: int = 0,
    tail: bytes = b"",
    patch: dict[int, int] | None = None,
) -> bytes:
    """The body of `length` bytes. The keywords are the knobs that break it: `tail` follows the
    items in place of zeros, `patch` sets single bytes (a negative index counts from the end)."""
    allow, _, width = request["allow"].rpartition("/")
    target = request["target"]
    body = struct.pack(
        ">BBBBQI16s16s",
        version,
        ACTIONS[request["action"]] if action is None else action,
        int(width) if prefix is None else prefix,
        reserved,
        timestamp_ms,
        request["duration_s"],
        bytes(16) if allow == "source" else address_bytes(allow),
        bytes(16) if target == "gate" else address_bytes(target),
    )
    body += b"".join(encode_item(item) for item in request["items"]) + tail
    if len(body) > length:
        raise ValueError(f"the items need {len(body)} bytes, the body has {length}")
    body = bytearray(body.ljust(length, b"\0"))
    for at, value in (patch or {}).items():
        body[at] = value
    return bytes(body)


def shortest_body(request: dict) -> int:
    """The fewest bytes that hold the request, not less than the protocol's minimum."""
    items = sum(len(encode_item(item)) for item in request["items"])
    return max(BODY_MIN, BODY_HEAD + items)


# Section 4: packet

@dataclass(frozen=True)
class Packet:
    """One knock and what it was made of."""

    step: int
    hint: bytes
    nonce: bytes
    body: bytes
    sealed: bytes
    mac: bytes

    @property
    def mark(self) -> bytes:
        """What replay protection remembers."""
        return self.mac[:MARK_LEN]

    @property
    def wire(self) -> bytes:
        """The datagram's bytes."""
        return self.hint + self.nonce + self.mac + self.sealed


def seal(k_seal: bytes, nonce: bytes, aad: bytes, body: bytes) -> bytes:
    """ChaCha20-Poly1305: ciphertext followed by the tag."""
    return ChaCha20Poly1305(k_seal).encrypt(nonce, body, aad)


def packet_mac(k_mac: bytes, hint: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """The mac over all else in the packet."""
    return hmac_sha256(k_mac, hint + nonce + sealed)


def make_packet(
    keys: Keys,
    step: int,
    nonce: bytes,
    body: bytes,
    *,
    seal_key: bytes | None = None,
    aad: bytes | None = None,
    damage_sealed=None,
) -> Packet:
    """Seal a body under the hint of `step`. The keywords spoil the seal under a mac that fits."""
    hint = hint_of(keys.k_hint, step)
    sealed = seal(seal_key or keys.k_seal, nonce, hint if aad is None else aad, body)
    if damage_sealed is not None:
        sealed = damage_sealed(sealed)
    mac = packet_mac(keys.k_mac, hint, nonce, sealed)
    return Packet(step, hint, nonce, body, sealed, mac)


def flip_bit(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit turned; bit 0 is the highest of the first byte."""
    out = bytearray(data)
    out[bit // 8] ^= 0x80 >> (bit % 8)
    return bytes(out)
