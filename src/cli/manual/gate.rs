//! The keys of `posternd.toml` and of the files in `users.d`.

use super::{Section, key};

/// Every table of the gate's config. What `posternd.toml` itself may hold comes first, and is told by the others.
pub const SECTIONS: &[Section] = &[
    TOP, GATE, FIREWALL, COMMAND, METRICS, SERVICE, USER, MAX_PREFIX,
];

const TOP: Section = Section {
    name: "posternd.toml",
    about: "",
    keys: &[
        key("gate", "a table", None, "See [gate]."),
        key("firewall", "a table", None, "See [firewall]."),
        key("metrics", "a table", None, "See [metrics]."),
        key("service", "tables", None, "See [service.NAME]."),
        key("user", "a list of tables", None, "See [[user]]."),
    ],
};

const GATE: Section = Section {
    name: "[gate]",
    about: "The gate itself. This table must be there.",
    keys: &[
        key(
            "name",
            "\"gate.example.org\"",
            None,
            "The name that clients know this gate by, 1 to 255 bytes. It is part of every key: a knock that was made for another name never \
             fits, and a gate with a new name has to be told to every client.",
        ),
        key(
            "port",
            "62201 or [62201, 443]",
            Some("62201"),
            "The UDP ports that knocks come to, at most 16. Nothing ever answers on them.",
        ),
        key(
            "address",
            "\"gate.example.org:62201\" or a list",
            Some("none"),
            "Where clients send to, for the profiles that posternd user add makes; the gate itself makes no use of it. Without it that is the gate's name.",
        ),
        key(
            "interfaces",
            "[\"any\"] or [\"eth0\", \"wg0\"]",
            Some("[\"any\"]"),
            "Where to listen: on every interface, or on those that are named, at most 32. They may be missing at the start, come late, go and come back.",
        ),
        key(
            "window",
            "\"30s\"",
            Some("\"30s\""),
            "The greatest difference between the clocks of client and gate, in either direction, from 5s to 5m.",
        ),
        key(
            "private_key",
            "\"/etc/postern/gate.key\"",
            Some("none"),
            "The file that holds the gate's private key and nothing else. Only users with key pairs need it. postern keygen --pair makes one.",
        ),
        key(
            "state_dir",
            "\"/var/lib/postern\"",
            Some("\"/var/lib/postern\""),
            "The engine's folder, which remembers the knocks that were admitted, so that none is admitted again. The monitor keeps its own beside \
             it, under the same name with .monitor behind it.",
        ),
        key(
            "control_socket",
            "\"/run/postern/control.sock\"",
            Some("\"/run/postern/control.sock\""),
            "Where posternd status and its like ask. Only root may.",
        ),
        key(
            "run_as",
            "\"postern\"",
            Some("\"nobody\""),
            "The unprivileged user that the engine becomes. Better one of its own.",
        ),
        key(
            "capture",
            "\"packet\" or \"udp\"",
            Some("\"packet\""),
            "How knocks are heard: packet listens passively, and the port stays closed; udp binds sockets that never answer, for hosts where \
             passive capture is not allowed.",
        ),
    ],
};

const FIREWALL: Section = Section {
    name: "[firewall]",
    about: "How doors are opened and closed.",
    keys: &[
        key(
            "backend",
            "\"auto\", \"iptables\", \"nftables\" or \"command\"",
            Some("\"auto\""),
            "Which firewall is driven: iptables through iptables-restore and ip6tables-restore; nftables over netlink, without any program; \
             command through programs of one's own. auto takes iptables where it is there, else nftables.",
        ),
        key(
            "protect",
            "\"services\" or \"none\"",
            Some("\"services\""),
            "Whether every service that some user may open is closed for everyone else. With none the host's own rules must do that.",
        ),
        key(
            "on_stop",
            "\"keep\" or \"remove\"",
            Some("\"keep\""),
            "What happens when posternd stops: keep leaves open grants to run out and services closed; remove takes everything out.",
        ),
        key(
            "command",
            "a table",
            Some("none"),
            "The programs of the backend command, see [firewall.command].",
        ),
    ],
};

const COMMAND: Section = Section {
    name: "[firewall.command]",
    about: "The programs of the backend command. Each is a list: the program's whole path, then its arguments, in which placeholders are \
            filled in: {id} {user} {allow} {address} {prefix} {family} {target} {service} {protocol} {first} {last} {ports} {until} \
            {until_unix} {seconds}. No shell is involved. A program must belong to root, and nobody else may be able to change it. Under \
            systemd it runs within what the unit leaves to posternd.",
    keys: &[
        key(
            "open",
            "[\"/usr/local/sbin/door\", \"open\", \"{allow}\", \"{ports}\"]",
            None,
            "Opens one service of one grant, or moves its end. It must be harmless to run it again.",
        ),
        key(
            "close",
            "[\"/usr/local/sbin/door\", \"close\", \"{allow}\", \"{ports}\"]",
            None,
            "Closes one service of one grant. What is closed already is done, and no failure.",
        ),
        key(
            "list",
            "[\"/usr/local/sbin/door\", \"list\"]",
            Some("none"),
            "Prints the {id} of every grant that is open, one a line; what somebody else took out is then put back.",
        ),
        key(
            "deadline",
            "\"5s\"",
            Some("\"5s\""),
            "How long each run may take, from 1s to 30s.",
        ),
    ],
};

const METRICS: Section = Section {
    name: "[metrics]",
    about: "Whom the figures are told to. Without this table they can be had by posternd metrics alone. No name of a user and no address is among them.",
    keys: &[
        key(
            "file",
            "\"/var/lib/prometheus/node-exporter/postern.prom\"",
            Some("none"),
            "A file for the textfile collector of a node exporter, which reads names that end in .prom. It is replaced whole, and taken away \
             when posternd stops. Its folder must be there, and root must be allowed to write to it; the unit allows the one of the example.",
        ),
        key(
            "interval",
            "\"15s\"",
            Some("\"15s\""),
            "How often the file is written, from 1s to 1h.",
        ),
        key(
            "listen",
            "\"127.0.0.1:9162\"",
            Some("none"),
            "A loopback address that answers GET /metrics in the OpenMetrics form. Everyone on this host may read it.",
        ),
    ],
};

const SERVICE: Section = Section {
    name: "[service.NAME]",
    about: "A named service: what NAME means where a user's services or a knock name it. NAME has 1 to 32 of a-z, 0-9, hyphen and underscore.",
    keys: &[
        key(
            "ports",
            "[\"tcp/80\", \"tcp/443\"]",
            None,
            "Protocols with ports or ranges of ports: tcp/22, udp/5000-5010, sctp/9, icmp, icmpv6.",
        ),
        key(
            "end_connections",
            "true or false",
            Some("false"),
            "Whether connections to these ports end with the grant that they rest on. Otherwise they live on.",
        ),
        key(
            "forward",
            "\"10.0.0.5:22\"",
            Some("none"),
            "The host behind the gate that the service's one port leads to, with its port. Without a port the ports are kept.",
        ),
        key(
            "masquerade",
            "true or false",
            Some("false"),
            "Whether that host sees the gate's address instead of the client's, and so needs no route back to it.",
        ),
        key(
            "on_open",
            "[\"/usr/local/sbin/tell\", \"opened\", \"{user}\"]",
            Some("none"),
            "A program that runs after a grant was opened that covers all ports of the service. For its form see [firewall.command].",
        ),
        key(
            "on_close",
            "[\"/usr/local/sbin/tell\", \"closed\", \"{user}\"]",
            Some("none"),
            "The same after the grant has ended, however it ended.",
        ),
    ],
};

const USER: Section = Section {
    name: "[[user]]",
    about: "A user: who may knock, and what may be opened. In posternd.toml, or in files of their own under users.d, where a file that holds one \
            user needs no [[user]]. A user has exactly one of key, key_file and public_key.",
    keys: &[
        key(
            "name",
            "\"alice\"",
            None,
            "1 to 64 letters, digits, dots, underscores, hyphens or @.",
        ),
        key(
            "key",
            "\"base64...\"",
            None,
            "The key that client and gate share: 44 characters, as postern keygen prints them.",
        ),
        key(
            "key_file",
            "\"alice.key\"",
            None,
            "A file that holds the shared key and nothing else.",
        ),
        key(
            "public_key",
            "\"base64...\"",
            None,
            "The client's public key; the gate then needs private_key.",
        ),
        key(
            "psk",
            "\"base64...\"",
            Some("none"),
            "A key that both share besides the key pair.",
        ),
        key(
            "services",
            "[\"tcp/22\", \"web\"]",
            None,
            "What may be opened: ports, or names of [service.NAME].",
        ),
        key(
            "targets",
            "[\"10.0.0.0/24\"]",
            Some("[]"),
            "Hosts behind the gate that ports may be opened at. Without any, only the gate itself.",
        ),
        key(
            "grant_to",
            "\"claimed\", \"observed\" or \"either\"",
            Some("\"either\""),
            "Which address may be let in: the one inside the knock, which nobody on the way can change, the source of the packet, or either.",
        ),
        key(
            "networks",
            "[\"192.0.2.0/24\"]",
            Some("[\"0.0.0.0/0\", \"::/0\"]"),
            "The networks that addresses to be let in must lie in.",
        ),
        key(
            "max_prefix",
            "{ v4 = 24, v6 = 64 }",
            Some("{ v4 = 32, v6 = 128 }"),
            "The widest network that one grant may let in, see max_prefix.",
        ),
        key(
            "duration",
            "\"30s\"",
            Some("\"30s\""),
            "How long a grant lasts where the knock does not say.",
        ),
        key(
            "max_duration",
            "\"1h\"",
            Some("\"1h\""),
            "The longest that a grant may last, at most 720h. Longer wishes are clipped.",
        ),
        key(
            "quota",
            "\"30/min\"",
            Some("\"30/min\""),
            "How many knocks are admitted in a time: 1/s, 30/min, 100/h, 10/day, 5/10s.",
        ),
        key(
            "end_connections",
            "true or false",
            Some("false"),
            "Whether connections end with the grants of this user that they rest on.",
        ),
        key(
            "disabled",
            "true or false",
            Some("false"),
            "A disabled user is nobody; the services stay closed for everyone else.",
        ),
        key(
            "totp",
            "\"base32...\"",
            Some("none"),
            "The secret of one-time codes (RFC 6238: SHA-1, 30 seconds): every knock that opens must carry the code of the time. 16 to 64 \
             bytes in base32.",
        ),
        key(
            "totp_digits",
            "6, 7 or 8",
            None,
            "How many digits those codes have; 6 without it. It stands beside totp only.",
        ),
        key(
            "old_key",
            "\"base64...\"",
            Some("none"),
            "The shared key that the user had before; it counts until old_until.",
        ),
        key(
            "old_public_key",
            "\"base64...\"",
            Some("none"),
            "The same of a key pair.",
        ),
        key(
            "old_psk",
            "\"base64...\"",
            Some("none"),
            "The psk that belongs to old_public_key.",
        ),
        key(
            "old_until",
            "2026-12-31T00:00:00Z",
            Some("none"),
            "Until when the old key counts. posternd user rotate writes these.",
        ),
    ],
};

const MAX_PREFIX: Section = Section {
    name: "max_prefix",
    about: "The widest networks, by the lengths of their prefixes.",
    keys: &[
        key(
            "v4",
            "0 to 32",
            Some("32"),
            "For IPv4; 32 is a single address.",
        ),
        key(
            "v6",
            "0 to 128",
            Some("128"),
            "For IPv6; 128 is a single address.",
        ),
    ],
};
