"""Prints the hits of an encrypted sequence of fwknop 1.9, for `knock`. Shares no code with Postern.

Usage: encrypted_sequence.py PASSPHRASE OFFSET ADDRESS PORT PROTOCOL USER SECOND
SECOND is the protocol of every second hit.
"""

import hashlib
import ipaddress
import os
import subprocess
import sys

passphrase, offset, address, port, protocol, user, second = sys.argv[1:]

plain = ipaddress.IPv4Address(address).packed + int(port).to_bytes(2, "big") + bytes([int(protocol)])
plain += bytes([sum(plain) % 256]) + user.encode()
# openssl adds the padding.
assert len(plain) < 16

secret = passphrase.encode().ljust(16, b"0")
salt = os.urandom(8)
digest, derived = b"", b""
while len(derived) < 48:
    digest = hashlib.md5(digest + secret + salt).digest()
    derived += digest

openssl = ["openssl", "enc", "-aes-256-cbc", "-K", derived[:32].hex(), "-iv", derived[32:].hex()]
block = subprocess.run(openssl, input=plain, stdout=subprocess.PIPE, check=True).stdout
run = b"Salted__" + salt + block
assert len(run) == 32
for at, byte in enumerate(run):
    print(f"{int(offset) + byte}:{second if at % 2 else 'tcp'}")
