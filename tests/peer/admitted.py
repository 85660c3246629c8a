"""The vectors that a gate admits.

Owns one case for every form that a good knock can take: keys, gate names, addresses, targets,
items, body lengths, close, and the edges of the window. What is dropped is in dropped.py.
"""

import recipe
from broken import BASE, SSH, names, ports, service, skipped
from recipe import PAIR, PAIR_PSK, SOURCE_V6, STEP_START, TIME, WINDOW, vector


def open_with(*items: dict, **fields) -> dict:
    """An open request; without items it opens SSH."""
    return BASE | {"items": list(items) or [SSH]} | fields


def close_with(*items: dict, **fields) -> dict:
    """A close request."""
    return BASE | {"action": "close", "duration_s": 0, "items": list(items)} | fields


def cases():
    """All of them."""
    yield from keys_and_names()
    yield from addresses()
    yield from item_forms()
    yield from lengths()
    yield from closes()
    yield from times()


def keys_and_names():
    v4 = open_with(allow="::ffff:192.0.2.9/128")
    yield vector("open-shared-v4-claimed", "A shared key opens SSH for a claimed IPv4 address.",
                 request=v4)
    yield vector("open-pair-v4-claimed", "A key pair without a pre-shared key.", key=PAIR,
                 request=v4)
    yield vector("open-pair-psk-v4-claimed", "A key pair with a pre-shared key.", key=PAIR_PSK,
                 request=v4)
    yield vector("open-pair-v6-source", "A key pair over IPv6, for the source.", key=PAIR,
                 source=SOURCE_V6)
    yield vector("open-pair-psk-v6-claimed", "A key pair with a pre-shared key, IPv6 claimed.",
                 key=PAIR_PSK, source=SOURCE_V6, request=open_with(allow="2001:db8::9/128"))
    for name, about, gate_name in (
        ("gate-name-1-byte", "A gate name of one byte.", "g"),
        ("gate-name-255-bytes", "A gate name of 255 bytes.", "gate." * 51),
        ("gate-name-non-ascii", "A gate name outside ASCII counts in UTF-8.",
         "t\u00fcr.example.org \u9580"),
        ("gate-name-255-bytes-non-ascii", "A gate name of 128 letters that is 255 bytes long.",
         "\u00fc" * 127 + "g"),
    ):
        yield vector(f"open-shared-{name}", about, gate_name=gate_name)
    yield vector("open-pair-gate-name-non-ascii", "A key pair at a gate named outside ASCII.",
                 key=PAIR, gate_name="t\u00fcr.example.org \u9580")


def addresses():
    for name, about, source, allow in (
        ("v4-claimed-24", "A claimed IPv4 /24.", "v4", "::ffff:192.0.2.0/120"),
        ("v4-claimed-0", "All of IPv4, claimed: prefix 96.", "v4", "::ffff:0.0.0.0/96"),
        ("v6-claimed", "A claimed IPv6 address.", "v6", "2001:db8::9/128"),
        ("v6-claimed-32", "A claimed IPv6 /32.", "v6", "2001:db8::/32"),
        ("v6-claimed-127", "A claimed IPv6 /127.", "v6", "2001:db8::8/127"),
        ("v6-claimed-over-v4", "IPv6 claimed in a knock that came over IPv4.", "v4",
         "2001:db8::9/128"),
        ("v4-claimed-over-v6", "IPv4 claimed in a knock that came over IPv6.", "v6",
         "::ffff:198.51.100.9/128"),
        ("v4-source", "The IPv4 source itself.", "v4", "source/128"),
        ("v4-source-24", "The /24 around the IPv4 source.", "v4", "source/120"),
        ("v4-source-0", "The IPv4 source widened to prefix 96, the least for IPv4.", "v4",
         "source/96"),
        ("v6-source", "The IPv6 source itself.", "v6", "source/128"),
        ("v6-source-64", "The /64 around the IPv6 source.", "v6", "source/64"),
        ("v6-source-0", "The IPv6 source widened to prefix 0.", "v6", "source/0"),
    ):
        address = SOURCE_V6 if source == "v6" else recipe.SOURCE_V4
        yield vector(f"open-shared-{name}", about, source=address, request=open_with(allow=allow))
    yield vector("open-shared-target-v4", "A target behind the gate, IPv4.",
                 request=open_with(target="::ffff:10.0.0.5"))
    yield vector("open-shared-target-v6", "A target behind the gate, IPv6.", source=SOURCE_V6,
                 request=open_with(target="2001:db8:5::5"))
    yield vector("open-shared-target-v4-claimed", "A target and a claimed network together.",
                 request=open_with(target="::ffff:10.0.0.5", allow="::ffff:192.0.2.0/120"))


def item_forms():
    for name, about, *items in (
        ("tcp-range", "A range of TCP ports, both ends at their limits.", service(6, 1, 65535)),
        ("udp", "One UDP port.", service(17, 51820, 51820)),
        ("udp-range", "A range of UDP ports.", service(17, 60000, 61000)),
        ("sctp", "One SCTP port.", service(132, 3868, 3868)),
        ("icmp", "ICMP.", service(1, 0, 0)),
        ("icmpv6", "ICMPv6.", service(58, 0, 0)),
        ("every-protocol", "Every protocol in one request.", SSH, service(17, 53, 53),
         service(132, 22, 22), service(1, 0, 0), service(58, 0, 0)),
        ("ranges-overlap", "Ranges that overlap are not equal.", service(6, 22, 22),
         service(6, 22, 23), service(6, 1, 22), service(17, 22, 22)),
        ("name", "One named service.", {"name": "web"}),
        ("name-1-byte", "Names of one byte, a letter and a digit.", {"name": "a"}, {"name": "0"}),
        ("name-32-bytes", "A name of 32 bytes with every sort of character.",
         {"name": "0-abcdefghijklmnopqrstuvwxyz_189"}),
        ("name-edges", "Names that end in a hyphen and an underscore.",
         {"name": "z-"}, {"name": "9_"}, {"name": "a--__z"}),
        ("code-6", "A code of 6 digits.", SSH, {"code": "012345"}),
        ("code-7", "A code of 7 digits.", SSH, {"code": "6789012"}),
        ("code-8-first", "A code of 8 digits before the service.", {"code": "00000000"}, SSH),
        ("skipped", "Unknown items that are skipped, of the least and the greatest kind.",
         skipped(128, "00"), SSH, skipped(255, "ff00ff")),
        ("skipped-empty", "A skipped item without a value.", SSH, skipped(200)),
        ("skipped-alike", "Skipped items alike in kind or in value, but not in both.",
         SSH, skipped(200, "01"), skipped(200, "02"), skipped(201, "01"), skipped(200)),
        ("skipped-255", "A skipped item of 255 bytes.", SSH, skipped(128, "5a" * 255)),
        ("16-services", "16 services, the most.", *ports(100, 16)),
        ("16-mixed-code-skipped", "16 services of both kinds; a code and a skipped item do not count.",
         *ports(100, 8), *names(8), {"code": "123456"}, skipped(200, "01")),
        ("service-name-alternate", "The order of the items is kept.", {"name": "web"}, SSH,
         {"name": "dns"}, service(17, 53, 53)),
    ):
        yield vector(f"open-shared-{name}", about, request=open_with(*items))
    yield vector("open-shared-duration-0", "Duration 0: what the gate grants by default.",
                 request=open_with(duration_s=0))
    yield vector("open-shared-duration-max", "The longest duration; the policy clips it.",
                 request=open_with(duration_s=0xFFFFFFFF))


def lengths():
    full_64 = open_with(SSH, skipped(128, "a1a2a3a4a5a6a7"))
    full_448 = open_with(SSH, skipped(128, "5a" * 255), skipped(129, "5a" * 134))
    yield vector("open-shared-n-64", "The shortest body, a packet of 132 bytes.", length=64)
    yield vector("open-shared-n-65", "A body of 65 bytes.", length=65)
    yield vector("open-shared-n-447", "A body of 447 bytes.", length=447)
    yield vector("open-shared-n-448", "The longest body, a packet of 516 bytes.", length=448)
    yield vector("open-shared-n-64-full", "The list ends exactly at the end of the shortest body.",
                 request=full_64, length=64)
    yield vector("open-shared-n-448-full", "The list ends exactly at the end of the longest body.",
                 request=full_448, length=448)
    yield vector("open-shared-n-100-full", "The list ends exactly at the end of a body of 100.",
                 request=open_with(*ports(100, 7), {"name": "w"}), length=100)
    yield vector("open-shared-end-last-byte", "Kind 0 is the last byte of the body.", length=64,
                 request=open_with(SSH, skipped(128, "a1a2a3a4a5a6")))


def closes():
    yield vector("close-shared-all", "Close all that is open for the source.",
                 request=close_with())
    yield vector("close-shared-all-v4-claimed", "Close all that is open for a claimed address.",
                 request=close_with(allow="::ffff:192.0.2.9/128"))
    yield vector("close-shared-services", "Close a service and a named one.",
                 request=close_with(SSH, {"name": "web"}))
    yield vector("close-shared-code", "Close all, with a code.",
                 request=close_with({"code": "123456"}))
    yield vector("close-shared-skipped", "Close all, with a skipped item.",
                 request=close_with(skipped(200, "01")))
    yield vector("close-pair-all-v6", "Close all with a key pair over IPv6.", key=PAIR,
                 source=SOURCE_V6, request=close_with())


def times():
    yield vector("time-exactly-window-old", "The timestamp is exactly the window old.",
                 now=TIME + WINDOW)
    yield vector("time-exactly-window-ahead", "The timestamp is exactly the window ahead.",
                 now=TIME - WINDOW)
    last = STEP_START - 1
    yield vector("time-window-old-last-ms-of-step",
                 "Exactly the window old: the window touches only that step's last millisecond.",
                 timestamp=last, now=last + WINDOW)
    yield vector("time-window-ahead-first-ms-of-step",
                 "Exactly the window ahead: the window touches only that step's first millisecond.",
                 timestamp=STEP_START, now=STEP_START - WINDOW)
    for window in (5_000, 300_000):
        yield vector(f"time-window-{window}-old", f"A window of {window} ms, exactly that old.",
                     window=window, now=TIME + window)
        yield vector(f"time-window-{window}-ahead", f"A window of {window} ms, exactly that ahead.",
                     window=window, now=TIME - window)
    yield vector("time-near-epoch", "The window reaches back before 1970.", timestamp=10_000)
