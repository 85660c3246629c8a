//! The keys of `posternd.toml` and of the files in `users.d`.

use super::{Section, key};

/// Every table of the gate's config. The first lists the tables of `posternd.toml`.
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
    about: "The gate itself. This table is required.",
    keys: &[
        key(
            "name",
            "\"gate.example.org\"",
            None,
            "The name that clients know this gate by, 1 to 255 bytes. It is part of every key: a knock for another name is never admitted. After a change, every client needs the new name.",
        ),
        key(
            "port",
            "62201 or [62201, 443]",
            Some("62201"),
            "The UDP ports for knocks, at most 16. Postern never answers on them.",
        ),
        key(
            "address",
            "\"gate.example.org:62201\" or a list",
            Some("none"),
            "Where clients send knocks. Only posternd user add uses it, for profiles. Without it, clients use the gate's name.",
        ),
        key(
            "interfaces",
            "[\"any\"] or [\"eth0\", \"wg0\"]",
            Some("[\"any\"]"),
            "Receive knocks on every interface, or on the named ones, at most 32. An interface may appear later, disappear and come back.",
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
            "A file that holds only the gate's private key. Only users with key pairs need it. postern keygen --pair makes one.",
        ),
        key(
            "state_dir",
            "\"/var/lib/postern\"",
            Some("\"/var/lib/postern\""),
            "The engine's folder. It stores admitted knocks, so that none is admitted twice. The monitor's folder is beside it and ends in .monitor.",
        ),
        key(
            "control_socket",
            "\"/run/postern/control.sock\"",
            Some("\"/run/postern/control.sock\""),
            "The socket for posternd status and similar commands. Only root may use it.",
        ),
        key(
            "run_as",
            "\"postern\"",
            Some("\"nobody\""),
            "The unprivileged user of the engine. A user of its own is best.",
        ),
        key(
            "capture",
            "\"packet\" or \"udp\"",
            Some("\"packet\""),
            "How knocks are received. packet captures packets, and the port stays closed. udp binds sockets that never answer, for hosts that forbid packet capture.",
        ),
    ],
};

const FIREWALL: Section = Section {
    name: "[firewall]",
    about: "How grants are opened and closed.",
    keys: &[
        key(
            "backend",
            "\"auto\", \"iptables\", \"nftables\" or \"command\"",
            Some("\"auto\""),
            "The firewall to use. iptables runs iptables-restore and ip6tables-restore. nftables uses netlink and no program. command runs your own programs. auto uses iptables if it is installed, else nftables.",
        ),
        key(
            "protect",
            "\"services\" or \"none\"",
            Some("\"services\""),
            "services closes every service that some user may open to everyone else. With none, the host's own rules must do that.",
        ),
        key(
            "on_stop",
            "\"keep\" or \"remove\"",
            Some("\"keep\""),
            "What happens when posternd stops. keep leaves services closed and lets grants end by themselves. remove removes all rules.",
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
    about: "The programs of the backend command. Each is a list: the program's absolute path, then its arguments. These placeholders are replaced: {id} {user} {allow} {address} {prefix} {family} {target} {service} {protocol} {first} {last} {ports} {until} {until_unix} {seconds}. No shell is used. A program must belong to root, and only root may be able to change it. Under systemd it has the limits of the unit.",
    keys: &[
        key(
            "open",
            "[\"/usr/local/sbin/grant\", \"open\", \"{allow}\", \"{ports}\"]",
            None,
            "Opens one service of one grant, or changes its end. A second run must do no harm.",
        ),
        key(
            "close",
            "[\"/usr/local/sbin/grant\", \"close\", \"{allow}\", \"{ports}\"]",
            None,
            "Closes one service of one grant. It must succeed if the service is already closed.",
        ),
        key(
            "list",
            "[\"/usr/local/sbin/grant\", \"list\"]",
            Some("none"),
            "Prints the {id} of every open grant, one per line. Grants that others removed are then opened again.",
        ),
        key(
            "deadline",
            "\"5s\"",
            Some("\"5s\""),
            "The time limit of each run, from 1s to 30s.",
        ),
    ],
};

const METRICS: Section = Section {
    name: "[metrics]",
    about: "Where metrics are published. Without this table, only posternd metrics prints them. They hold no user name and no address.",
    keys: &[
        key(
            "file",
            "\"/var/lib/prometheus/node-exporter/postern.prom\"",
            Some("none"),
            "A file for the textfile collector of a node exporter, which reads names that end in .prom. It is replaced as a whole, and removed when posternd stops. Its folder must exist, and root must be able to write to it. The unit allows the folder of the example.",
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
            "A loopback address that answers GET /metrics with OpenMetrics text. Everyone on this host can read it.",
        ),
    ],
};

const SERVICE: Section = Section {
    name: "[service.NAME]",
    about: "A named service. The services of a user and of a knock may use NAME: 1 to 32 of a-z, 0-9, hyphen and underscore.",
    keys: &[
        key(
            "ports",
            "[\"tcp/80\", \"tcp/443\"]",
            None,
            "Protocols with ports or port ranges: tcp/22, udp/5000-5010, sctp/9, icmp, icmpv6.",
        ),
        key(
            "end_connections",
            "true or false",
            Some("false"),
            "Whether connections to these ports end with their grant. Otherwise they continue.",
        ),
        key(
            "forward",
            "\"10.0.0.5:22\"",
            Some("none"),
            "The host behind the gate that receives the connections, with its port. Without a port, the ports stay the same. With a port, the service must have one port only.",
        ),
        key(
            "masquerade",
            "true or false",
            Some("false"),
            "Whether that host sees the gate's address instead of the client's. It then needs no route to the client.",
        ),
        key(
            "on_open",
            "[\"/usr/local/sbin/tell\", \"opened\", \"{user}\"]",
            Some("none"),
            "A program that runs after a grant for all ports of the service was opened. For its form see [firewall.command].",
        ),
        key(
            "on_close",
            "[\"/usr/local/sbin/tell\", \"closed\", \"{user}\"]",
            Some("none"),
            "A program that runs after the grant has ended for any reason.",
        ),
    ],
};

const USER: Section = Section {
    name: "[[user]]",
    about: "A user and what the user may open. Users are in posternd.toml or in files under users.d. A file with a single user needs no [[user]]. A user has exactly one of key, key_file and public_key.",
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
            "The key that client and gate share: 44 characters, as postern keygen prints it.",
        ),
        key(
            "key_file",
            "\"alice.key\"",
            None,
            "A file that holds only the shared key.",
        ),
        key(
            "public_key",
            "\"base64...\"",
            None,
            "The client's public key. The gate then needs private_key.",
        ),
        key(
            "psk",
            "\"base64...\"",
            Some("none"),
            "A pre-shared key in addition to the key pair.",
        ),
        key(
            "services",
            "[\"tcp/22\", \"web\"]",
            None,
            "The services that the user may open: ports, or names of [service.NAME].",
        ),
        key(
            "targets",
            "[\"10.0.0.0/24\"]",
            Some("[]"),
            "Hosts behind the gate that the user may reach. Without any, only the gate itself.",
        ),
        key(
            "grant_to",
            "\"claimed\", \"observed\" or \"either\"",
            Some("\"either\""),
            "The address that may be admitted: the one inside the knock, which nobody else can change (claimed), the source of the packet (observed), or either.",
        ),
        key(
            "networks",
            "[\"192.0.2.0/24\"]",
            Some("[\"0.0.0.0/0\", \"::/0\"]"),
            "Only addresses in these networks are admitted.",
        ),
        key(
            "max_prefix",
            "{ v4 = 24, v6 = 64 }",
            Some("{ v4 = 32, v6 = 128 }"),
            "The widest network that one grant may admit, see max_prefix.",
        ),
        key(
            "duration",
            "\"30s\"",
            Some("\"30s\""),
            "How long a grant lasts if the knock names no duration.",
        ),
        key(
            "max_duration",
            "\"1h\"",
            Some("\"1h\""),
            "The longest duration of a grant, at most 720h. A longer request is shortened.",
        ),
        key(
            "quota",
            "\"30/min\"",
            Some("\"30/min\""),
            "How many knocks are admitted per time: 1/s, 30/min, 100/h, 10/day, 5/10s.",
        ),
        key(
            "end_connections",
            "true or false",
            Some("false"),
            "Whether connections end with the grants of this user.",
        ),
        key(
            "disabled",
            "true or false",
            Some("false"),
            "A disabled user cannot knock. The services stay closed to everyone else.",
        ),
        key(
            "totp",
            "\"base32...\"",
            Some("none"),
            "The secret for one-time codes (RFC 6238: SHA-1, 30 seconds), 16 to 64 bytes in base32. Every knock that opens must carry the current code.",
        ),
        key(
            "totp_digits",
            "6, 7 or 8",
            None,
            "The number of digits of the codes; 6 without this key. It requires totp.",
        ),
        key(
            "old_key",
            "\"base64...\"",
            Some("none"),
            "The user's earlier shared key. It works until old_until.",
        ),
        key(
            "old_public_key",
            "\"base64...\"",
            Some("none"),
            "The user's earlier public key. It works until old_until.",
        ),
        key(
            "old_psk",
            "\"base64...\"",
            Some("none"),
            "The psk of old_public_key.",
        ),
        key(
            "old_until",
            "2026-12-31T00:00:00Z",
            Some("none"),
            "The end of the old key. posternd user rotate writes these keys.",
        ),
    ],
};

const MAX_PREFIX: Section = Section {
    name: "max_prefix",
    about: "The widest networks, as prefix lengths.",
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
