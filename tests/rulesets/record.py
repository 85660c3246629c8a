#!/usr/bin/env python3
"""Record what nf_tables answers about the rules of a file.

    unshare -n tests/rulesets/record.py drop.netlink drop.nft

Loads drop.nft into the network namespace and writes drop.netlink: for each message the number of the question, its
length and the message itself, from its family on. For a .save file it runs iptables-nft-restore. Without a file it
records the rules that are there.
"""
import socket, struct, subprocess, sys

TABLE, CHAIN, RULE, SET, ELEMENT = 1, 4, 7, 10, 13
DONE, ERROR, DUMP = 3, 2, 0x301


def attribute(kind, text):
    value = text.encode() + b"\0"
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def dump(sock, question, family=0, attributes=b""):
    body = struct.pack("=BBH", family, 0, 0) + attributes
    sock.send(struct.pack("=IHHII", 16 + len(body), 10 << 8 | question, DUMP, 1, 0) + body)
    while True:
        data = sock.recv(1 << 18)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind in (DONE, ERROR):
                return
            yield data[16:length]
            data = data[length + 3 & ~3 :]


def find(message, wanted):
    message = message[4:]
    while message:
        length, kind = struct.unpack_from("=HH", message)
        if kind & 0x3FFF == wanted:
            return message[4:length].rstrip(b"\0").decode()
        message = message[length + 3 & ~3 :]


def load(file):
    if file.endswith(".save"):
        subprocess.run(["iptables-nft-restore", "--noflush", file], check=True)
    else:
        subprocess.run(["nft", "-f", file], check=True)


def main(recording, *files):
    for file in files:
        load(file)
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    with open(recording, "wb") as out:
        def write(question, messages):
            for message in messages:
                out.write(struct.pack("<II", question, len(message)) + message)

        for question in (TABLE, CHAIN, RULE):
            write(question, list(dump(sock, question)))
        sets = list(dump(sock, SET))
        write(SET, sets)
        for one in sets:
            names = attribute(1, find(one, 1)) + attribute(2, find(one, 2))
            write(ELEMENT, list(dump(sock, ELEMENT, one[0], names)))


main(*sys.argv[1:])
