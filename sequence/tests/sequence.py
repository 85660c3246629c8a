#!/usr/bin/env python3
"""The ports of keyed sequences, from README.md alone: sequence.py KEY_HEX STEP FIRST LAST HITS"""
import hashlib, hmac, struct, sys


def ports(key, step, first, last, hits):
    count, found, block = last - first + 1, [], 0
    fair = 2**32 // count * count
    while True:
        message = b"postern/1 sequence" + struct.pack(">QI", step, block)
        for (word,) in struct.iter_unpack(">I", hmac.new(key, message, hashlib.sha256).digest()):
            port = first + word % count
            if word < fair and port not in found:
                found.append(port)
                if len(found) == hits:
                    return found
        block += 1


if __name__ == "__main__":
    key, *numbers = sys.argv[1:]
    print(ports(bytes.fromhex(key), *map(int, numbers)))
