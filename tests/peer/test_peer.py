"""Tests of the peer: its building blocks against RFCs, its encoder against its decoder, its files.

Owns the proof that the vectors hang together: each is made again from its inputs alone, with the
key derivation of another library, and every reason and every rule has its case.
"""

import base64
import dataclasses
import io
import json
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import admitted
import broken
import gate
import knock
import recipe
import send
import vectors

HERE = Path(__file__).resolve().parent


def on_disk() -> list[dict]:
    """Every vector as it is in its file."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(vectors.FOLDER.glob("*.json"))]


class Primitives(unittest.TestCase):
    def test_hmac_meets_rfc_4231_case_2(self):
        mac = knock.hmac_sha256(b"Jefe", b"what do ya want for nothing?")
        self.assertEqual(
            mac.hex(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        )

    def test_hkdf_meets_rfc_5869_cases_1_and_3(self):
        ikm = b"\x0b" * 22
        prk = knock.hkdf_extract(bytes(range(13)), ikm)
        self.assertEqual(
            prk.hex(), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
        )
        self.assertEqual(
            knock.hkdf_expand(prk, bytes(range(0xF0, 0xFA)), 42).hex(),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        )
        self.assertEqual(
            knock.hkdf_expand(knock.hkdf_extract(b"", ikm), b"", 42).hex(),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        )

    def test_x25519_meets_rfc_7748_section_5_2(self):
        z = knock.agree(
            bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
            bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
        )
        self.assertEqual(
            z.hex(), "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
        )

    def test_seal_meets_rfc_8439_section_2_8_2(self):
        text = (
            b"Ladies and Gentlemen of the class of '99: If I could offer you "
            b"only one tip for the future, sunscreen would be it."
        )
        nonce, aad = "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7"
        sealed = knock.seal(
            bytes(range(0x80, 0xA0)), bytes.fromhex(nonce), bytes.fromhex(aad), text
        )
        self.assertEqual(sealed[:16].hex(), "d31a8d34648e60db7b86afbc53ef7ec2")
        self.assertEqual(sealed[-16:].hex(), "1ae10b594f09e26a7e902ecbd0600691")


class Keys(unittest.TestCase):
    def test_a_peer_key_that_gives_an_all_zero_z_is_refused(self):
        for point in (bytes(32), b"\x01" + bytes(31)):
            with self.assertRaises(ValueError):
                knock.agree(b"\x42" * 32, point)

    def test_base64_is_strict(self):
        good = base64.b64encode(b"\xfb" * 32).decode()
        self.assertEqual(knock.key_from_text(good), b"\xfb" * 32)
        for bad in (
            good[:-1], good + "\n", " " + good, good.replace("+", "-"), good[:-2] + "t=", "",
            good + "=", base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(33)).decode(),
        ):
            with self.assertRaises(ValueError, msg=repr(bad)):
                knock.key_from_text(bad)

    def test_the_gate_name_is_1_to_255_bytes(self):
        for name in ("", "g" * 256, "\u00fc" * 128):
            with self.assertRaises(ValueError):
                knock.derive(bytes(33), name)


class Body(unittest.TestCase):
    def test_what_the_encoder_writes_the_decoder_reads(self):
        for made in admitted.cases():
            with self.subTest(made["name"]):
                body = bytes.fromhex(made["body"])
                request, timestamp, faults = gate.read_body(body)
                self.assertEqual((request, faults), (made["request"], []))
                self.assertEqual(knock.encode_body(request, timestamp, len(body)), body)

    def test_each_broken_body_breaks_its_own_rule_and_no_other_at_any_length(self):
        for case in broken.CASES:
            for length in (64, 65, 200, 448):
                with self.subTest(case.name, length=length):
                    if case.name.startswith("padding-middle") and length < 80:
                        continue  # no room between the items and the last 20 bytes
                    _, _, faults = gate.read_body(case.body(recipe.TIME, length))
                    self.assertEqual(faults, [case.rule])

    def test_every_single_byte_of_a_body_matters(self):
        body = knock.encode_body(broken.BASE, recipe.TIME, 64)
        read = gate.read_body(body)
        for bit in range(8 * len(body)):
            self.assertNotEqual(gate.read_body(knock.flip_bit(body, bit)), read, bit)


class Vectors(unittest.TestCase):
    def test_the_files_on_disk_are_what_the_cases_give(self):
        run = subprocess.run(
            [sys.executable, str(HERE / "vectors.py"), "--check"], capture_output=True, check=False
        )
        self.assertEqual((run.returncode, run.stderr), (0, b""))

    def test_check_sees_a_changed_a_missing_and_a_stray_file(self):
        wanted = {"a.json": "1", "b.json": "2"}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "b.json").write_text("3")
            (folder / "c.json").write_text("4")
            self.assertEqual(vectors.differences(wanted, folder), ["a.json", "b.json", "c.json"])

    def test_each_file_follows_from_its_own_inputs(self):
        for made in on_disk():
            with self.subTest(made["name"]):
                recipe.confirm(made)
                raw = {k: bytes.fromhex(v) for k, v in made.items() if k in BYTES and v is not None}
                key = {k: bytes.fromhex(v) for k, v in made["key"].items() if k != "kind" and v}
                if made["key"]["kind"] == "shared":
                    self.assertIsNone(made["z"])
                    ikm = b"\x01" + key["shared_key"]
                else:
                    self.assertEqual(knock.public_key(key["client_private"]), key["client_public"])
                    self.assertEqual(knock.public_key(key["gate_private"]), key["gate_public"])
                    ikm = b"\x02" + raw["z"] + key["client_public"] + key["gate_public"]
                    ikm += key.get("psk", bytes(32))
                self.assertEqual(ikm, raw["ikm"])
                for label in ("hint", "seal", "mac"):
                    kdf = HKDF(
                        hashes.SHA256(), 32, made["gate_name"].encode(),
                        f"postern/1 {label}".encode(),
                    )
                    self.assertEqual(kdf.derive(ikm), raw[f"k_{label}"])
                step = made["step"].to_bytes(8, "big")
                self.assertEqual(knock.hmac_sha256(raw["k_hint"], step)[:8], raw["hint"])
                covered = raw["hint"] + raw["nonce"] + raw["sealed"]
                self.assertEqual(knock.hmac_sha256(raw["k_mac"], covered), raw["mac"])
                self.assertEqual(raw["mac"][:16], raw["mark"])
                wire = bytes.fromhex(made["packet_hex"])
                self.assertEqual(base64.b64decode(made["packet_base64"]), wire)
                made_wire = raw["hint"] + raw["nonce"] + raw["mac"] + raw["sealed"]
                spoiled = made["outcome"]["step"] in (1, 2, 3)
                self.assertTrue(spoiled or wire == made_wire)
                if not spoiled and made["outcome"]["reason"] != "bad-seal":
                    again = knock.seal(raw["k_seal"], raw["nonce"], raw["hint"], raw["body"])
                    self.assertEqual(again, raw["sealed"])

    def test_every_reason_and_every_rule_has_a_case_and_most_cases_are_drops(self):
        outcomes = [made["outcome"] for made in on_disk()]
        self.assertEqual(
            {outcome["reason"] for outcome in outcomes}, {None, *gate.CHECK_OF_REASON}
        )
        self.assertEqual({outcome["rule"] for outcome in outcomes}, {None, *gate.RULES})
        drops = sum(outcome["verdict"] == "drop" for outcome in outcomes)
        self.assertGreater(drops, len(outcomes) / 2)

    def test_no_two_vectors_share_a_nonce(self):
        nonces = [made["nonce"] for made in on_disk()]
        self.assertEqual(len(set(nonces)), len(nonces))


BYTES = {
    "nonce", "z", "ikm", "prk", "k_hint", "k_seal", "k_mac", "hint", "body", "sealed", "mac",
    "mark",
}


class Send(unittest.TestCase):
    KEY = {"kind": "shared", "shared_key": base64.b64encode(bytes(range(32))).decode()}
    NOW = recipe.TIME

    def reasons(self, *knocks: dict) -> list[str | None]:
        """Send the knocks over a real socket; the reason for each that arrives."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.bind(("127.0.0.1", 0))
            here.settimeout(5)
            description = {
                "key": self.KEY, "gate_name": "g", "now_ms": self.NOW, "host": "127.0.0.1",
                "port": here.getsockname()[1], "knocks": list(knocks),
            }
            with mock.patch("sys.stdin", io.StringIO(json.dumps(description))), \
                    mock.patch("sys.stdout", io.StringIO()) as out, \
                    mock.patch("sys.argv", ["send.py"]):
                self.assertEqual(send.main(), 0)
            lines = [json.loads(line) for line in out.getvalue().splitlines()]
            arrived = [here.recv(2048) for _ in lines]
        self.assertEqual([base64.b64decode(line["packet_base64"]) for line in lines], arrived)
        keys = knock.derive(knock.shared_ikm(bytes(range(32))), "g")
        found, seen = [], {}
        for packet in arrived:
            found.append(gate.judge(keys, packet, self.NOW, 30_000, seen.get(packet))[0])
            seen[packet] = self.NOW
        return found

    def test_each_override_arrives_and_is_dropped_for_its_reason(self):
        other = {"kind": "shared", "shared_key": "ab" * 32}
        self.assertEqual(
            self.reasons(
                {}, {"again": 0}, {"times": 2}, {"nonce": "00" * 12}, {"request": {"target": "::5"}},
                {"timestamp_offset_ms": -30_001}, {"hint_step_offset": -1}, {"flip_bit": 3},
                {"flip_bit": 100}, {"flip_sealed_bit": 9}, {"gate_name": "h"}, {"key": other},
                {"break": "version"}, {"truncate": 131}, {"length": 448, "pad": 517},
                {"truncate": 0}, {"length": 64},
            ),
            [
                None, "duplicate", None, "duplicate", None, None,
                "too-old", "step-mismatch", "unknown-hint",
                "bad-mac", "bad-seal", "unknown-hint", "unknown-hint",
                "malformed", "length", "length",
                "length", None,
            ],
        )

    def test_an_unknown_field_is_an_error(self):
        with self.assertRaises(ValueError):
            list(send.run({"knocks": [{"flipbit": 1}]}, None))

    def test_a_pair_key_gives_what_the_vectors_say(self):
        key = {name: recipe.PAIR_PSK[name] for name in ("client_private", "gate_public", "psk")}
        _, keys = recipe.derive(recipe.PAIR_PSK, "g")
        self.assertEqual(send.ikm({"kind": "pair", **key}), dataclasses.asdict(keys)["ikm"])


if __name__ == "__main__":
    unittest.main()
