"""Bodies that break section 5, each exactly one rule of it.

Owns the table of cases: name, rule, sentence, and the knobs that the encoder needs. The vectors
and the sender both draw on it. Bodies that are well-formed have no place here.
"""

from dataclasses import dataclass, field

import knock

SSH = {"service": {"protocol": 6, "first": 22, "last": 22}}
BASE = {"action": "open", "allow": "source/128", "duration_s": 30, "target": "gate", "items": [SSH]}


@dataclass(frozen=True)
class Case:
    """One broken body: `request` overrides fields of BASE, `knobs` go to the encoder."""

    name: str
    rule: str
    about: str
    request: dict = field(default_factory=dict)
    knobs: dict = field(default_factory=dict)
    length: int | None = None
    least: int = 0

    def body(self, timestamp_ms: int, length: int) -> bytes:
        """The broken body; a case that needs its own length, or a least one, overrides the one
        given."""
        request = BASE | self.request
        size = self.length or max(length, self.least, knock.shortest_body(request))
        return knock.encode_body(request, timestamp_ms, size, **self.knobs)


def service(protocol: int, first: int, last: int) -> dict:
    """A service item."""
    return {"service": {"protocol": protocol, "first": first, "last": last}}


def skipped(kind: int, value: str = "") -> dict:
    """An item of any kind, with its value in hex."""
    return {"skipped": {"kind": kind, "value": value}}


def header(name: str, rule: str, about: str, allow: str = "source/128", **knobs) -> Case:
    """A case that breaks one of the fixed fields."""
    return Case(name, rule, about, {"allow": allow}, knobs)


def items(name: str, rule: str, about: str, *listed: dict, ssh: bool = True, **more) -> Case:
    """A case that breaks the list of items; a valid service comes first unless told otherwise."""
    return Case(name, rule, about, {"items": [SSH, *listed] if ssh else list(listed)}, **more)


def ports(first: int, count: int) -> list[dict]:
    """`count` TCP services that differ."""
    return [service(6, port, port) for port in range(first, first + count)]


def names(count: int) -> list[dict]:
    """`count` named services that differ."""
    return [{"name": f"name-{number}"} for number in range(count)]


HEADER = [
    header("version-0", "version", "Version 0.", version=0),
    header("version-2", "version", "Version 2.", version=2),
    header("version-255", "version", "Version 255.", version=255),
    header("action-0", "action", "Action 0.", action=0),
    header("action-3", "action", "Action 3.", action=3),
    header("action-255", "action", "Action 255.", action=255),
    header("allow-prefix-129", "allow-prefix", "Allow prefix length 129.", prefix=129),
    header("allow-prefix-255", "allow-prefix", "Allow prefix length 255.", prefix=255),
    header("allow-prefix-129-claimed", "allow-prefix", "Prefix length 129 on a claimed address.",
           "2001:db8::7/128", prefix=129),
    header("reserved-1", "reserved", "The reserved byte is 1.", reserved=1),
    header("reserved-128", "reserved", "The reserved byte is 128.", reserved=128),
    header("host-bits-v4-24", "host-bits", "An IPv4 /24 with a bit beyond it.",
           "::ffff:192.0.2.1/120"),
    header("host-bits-v4-31", "host-bits", "An IPv4 /31 whose last bit is set.",
           "::ffff:192.0.2.1/127"),
    header("host-bits-v4-0", "host-bits", "An IPv4 /0 with an address.", "::ffff:192.0.2.0/96"),
    header("host-bits-mapped-95", "host-bits", "Prefix 95 cuts into the IPv4-mapped marker.",
           "::ffff:0.0.0.0/95"),
    header("host-bits-v6-32", "host-bits", "An IPv6 /32 with its last bit set.", "2001:db8::1/32"),
    header("host-bits-v6-32-next-bit", "host-bits", "An IPv6 /32 with the first bit after it set.",
           "2001:db8:8000::/32"),
    header("host-bits-v6-0", "host-bits", "An IPv6 /0 with its first bit set.", "8000::/0"),
]

LIST_END = [
    items("item-truncated-no-length-service", "item-truncated",
          "The last byte of the body is kind 1 and has no length byte.",
          skipped(128, "a1a2a3a4a5a6"), {"raw": "01"}, length=64),
    items("item-truncated-no-length-skipped", "item-truncated",
          "The last byte of the body is kind 200 and has no length byte.",
          skipped(128, "a1a2a3a4a5a6"), {"raw": "c8"}, length=64),
    items("item-truncated-service-by-one", "item-truncated",
          "A service of 5 bytes has only 4 left.",
          skipped(128, "a1"), {"raw": "010506005000"}, length=64),
    items("item-truncated-service-no-value", "item-truncated",
          "A service's length byte is the last byte of the body.",
          skipped(128, "a1a2a3a4a5"), {"raw": "0105"}, length=64),
    items("item-truncated-name", "item-truncated", "A name of 32 bytes has only 3 left.",
          skipped(128, "a1a2"), {"raw": "0220776562"}, length=64),
    items("item-truncated-code", "item-truncated", "A code of 6 digits has only 5 left.",
          {"raw": "8000"}, {"raw": "0306" + b"12345".hex()}, length=64),
    items("item-truncated-skipped-255", "item-truncated",
          "A skipped item of 255 bytes in a body of 64.", {"raw": "ffff"}, length=64),
    items("item-truncated-skipped-by-one", "item-truncated",
          "A skipped item reaches one byte beyond a body of 448.", length=448,
          knobs={"tail": b"\x80\xff" + b"\xaa" * 255 + b"\x81\x87" + b"\xaa" * 134}),
    items("padding-first", "padding", "The byte right after kind 0 is not zero.",
          knobs={"patch": {56: 1}}),
    items("padding-last", "padding", "The very last byte of the body is not zero.",
          knobs={"patch": {-1: 0x80}}),
    items("padding-middle", "padding", "One byte in the midst of the zeros is not zero.",
          knobs={"patch": {-20: 255}}, least=77),
    items("padding-item-after-end", "padding", "A valid service follows kind 0.",
          knobs={"tail": b"\0" + knock.encode_item(service(6, 80, 80))}),
    Case("padding-close-first", "padding", "A close without items, then a byte after kind 0.",
         {"action": "close", "items": []}, {"patch": {49: 1}}),
]

SERVICES = [
    items("service-length-0", "service-length", "A service without a value.", skipped(1)),
    items("service-length-4", "service-length", "A service of 4 bytes.", skipped(1, "06005000")),
    items("service-length-6", "service-length", "A service of 6 bytes.",
          skipped(1, "060050005000")),
    items("service-protocol-0", "service-protocol", "Protocol 0.", service(0, 80, 80)),
    items("service-protocol-0-no-ports", "service-protocol", "Protocol 0, both ports 0.",
          service(0, 0, 0)),
    items("service-protocol-47", "service-protocol", "Protocol 47 (GRE), both ports 0.",
          service(47, 0, 0)),
    items("service-protocol-255", "service-protocol", "Protocol 255.", service(255, 80, 80)),
    items("service-ports-tcp-0", "service-ports", "TCP with both ports 0.", service(6, 0, 0)),
    items("service-ports-udp-0", "service-ports", "UDP with both ports 0.", service(17, 0, 0)),
    items("service-ports-sctp-0", "service-ports", "SCTP with both ports 0.", service(132, 0, 0)),
    items("service-ports-first-0", "service-ports", "TCP from port 0 to 1023.",
          service(6, 0, 1023)),
    items("service-ports-last-0", "service-ports", "TCP from port 22 to 0.", service(6, 22, 0)),
    items("service-ports-tcp-reversed", "service-ports", "TCP, first port after the last.",
          service(6, 81, 80)),
    items("service-ports-udp-reversed", "service-ports", "UDP, first port after the last.",
          service(17, 65535, 1)),
    items("service-ports-sctp-reversed", "service-ports", "SCTP, first port after the last.",
          service(132, 256, 255)),
    items("service-ports-icmp", "service-ports", "ICMP with ports.", service(1, 8, 8)),
    items("service-ports-icmp-last", "service-ports", "ICMP, the last port not 0.",
          service(1, 0, 1)),
    items("service-ports-icmp-first", "service-ports", "ICMP, the first port not 0.",
          service(1, 1, 0)),
    items("service-ports-icmpv6", "service-ports", "ICMPv6 with ports.", service(58, 1, 65535)),
]

NAMES = [
    items("name-length-0", "name-length", "An empty name.", {"name": ""}),
    items("name-length-33", "name-length", "A name of 33 bytes.", {"name": "a" * 33}),
    items("name-length-255", "name-length", "A name of 255 bytes.", {"name": "a" * 255}),
] + [
    items(f"name-characters-{side}", "name-characters", about, {"raw": f"02{len(raw):02x}{raw.hex()}"})
    for side, about, raw in (
        ("upper-first", "A name that starts in upper case.", b"Web"),
        ("upper-last", "A name that ends in upper case.", b"weB"),
        ("hyphen-first", "A name that starts with a hyphen.", b"-web"),
        ("underscore-first", "A name that starts with an underscore.", b"_web"),
        ("dot", "A name with a dot.", b"web.1"),
        ("space", "A name that ends with a space.", b"web "),
        ("newline", "A name that ends with a newline.", b"web\n"),
        ("zero", "A name with a zero byte.", b"we\0b"),
        ("non-ascii", "A name with a letter outside ASCII.", "wéb".encode()),
        ("not-utf8", "A name that is not UTF-8.", b"we\xff"),
    )
]

CODES = [
    items("code-length-0", "code-length", "An empty code.", {"code": ""}),
    items("code-length-5", "code-length", "A code of 5 digits.", {"code": "12345"}),
    items("code-length-9", "code-length", "A code of 9 digits.", {"code": "123456789"}),
    items("code-digits-letter", "code-digits", "A code with a letter.", {"code": "12345a"}),
    items("code-digits-sign", "code-digits", "A code that starts with a sign.",
          {"code": "+123456"}),
    items("code-digits-space", "code-digits", "A code that ends with a space.",
          {"code": "123456 "}),
    items("code-digits-non-ascii", "code-digits", "Three Arabic-Indic digits, in 6 bytes.",
          {"code": "\u0661\u0662\u0663"}),
]

COUNTS = [
    items("unknown-item-4", "unknown-item", "An item of kind 4.", skipped(4, "01")),
    items("unknown-item-4-empty", "unknown-item", "An item of kind 4 without a value.",
          skipped(4)),
    items("unknown-item-64-first", "unknown-item", "An item of kind 64 before the service.",
          skipped(64, "0102"), SSH, ssh=False),
    items("unknown-item-127", "unknown-item", "An item of kind 127.", skipped(127, "01")),
    items("duplicate-service", "duplicate-item", "The same service twice.", SSH),
    items("duplicate-service-apart", "duplicate-item", "The same service first and last.",
          {"name": "web"}, skipped(200, "01"), SSH),
    items("duplicate-icmp", "duplicate-item", "ICMP twice.", service(1, 0, 0), service(1, 0, 0)),
    items("duplicate-name", "duplicate-item", "The same name twice.",
          {"name": "web"}, {"name": "web"}),
    items("duplicate-skipped", "duplicate-item", "The same skipped item twice.",
          skipped(200, "0102"), skipped(200, "0102")),
    items("duplicate-skipped-empty", "duplicate-item", "The same skipped item without a value twice.",
          skipped(255), skipped(255)),
    items("too-many-services-17", "too-many-services", "17 services.", *ports(100, 17), ssh=False),
    items("too-many-services-17-names", "too-many-services", "17 named services.",
          *names(17), ssh=False),
    items("too-many-services-17-mixed", "too-many-services", "9 services and 8 named ones.",
          *ports(100, 9), *names(8), ssh=False),
    Case("too-many-services-close", "too-many-services", "A close with 17 services.",
         {"action": "close", "items": ports(100, 17)}),
    items("too-many-codes-2", "too-many-codes", "Two codes that differ.",
          {"code": "123456"}, {"code": "654321"}),
    items("too-many-codes-lengths", "too-many-codes", "Two codes of different lengths.",
          {"code": "123456"}, {"code": "12345678"}),
    items("no-service-empty", "no-service", "An open without any item.", ssh=False),
    items("no-service-code", "no-service", "An open with only a code.",
          {"code": "123456"}, ssh=False),
    items("no-service-skipped", "no-service", "An open with only a skipped item.",
          skipped(200, "0102"), ssh=False),
    items("no-service-full", "no-service",
          "An open with only a skipped item that fills the body to its end.",
          skipped(255, "00" * 14), ssh=False, length=64),
]

CASES = HEADER + LIST_END + SERVICES + NAMES + CODES + COUNTS


def find(name: str) -> Case:
    """The case of that name, or the first that breaks the rule of that name."""
    for case in CASES:
        if case.name == name:
            return case
    for case in CASES:
        if case.rule == name:
            return case
    raise ValueError(f"no broken body is called {name!r}")
