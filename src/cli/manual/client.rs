//! The keys of a client's `config.toml`.

use super::{Section, key};

/// A profile; a config has as many as one likes, each under its name.
pub const PROFILE: Section = Section {
    name: "[PROFILE]",
    about: "A gate to knock at, and how. A profile has a shared key (key or key_file) or its part of a key pair (private_key or \
            private_key_file, with gate_public_key), or the key comes with each command.",
    keys: &[
        key(
            "gate",
            "\"gate.example.org\"",
            None,
            "The gate's name, exactly as its own config has it. It is part of the key.",
        ),
        key(
            "address",
            "\"gate.example.org:62201\" or a list",
            Some("the gate's name, port 62201"),
            "Where knocks go: a host or address, with a port if it is not 62201. One knock goes to each address family.",
        ),
        key(
            "key",
            "\"base64...\"",
            None,
            "The shared key: 44 characters, as postern keygen prints them.",
        ),
        key(
            "key_file",
            "\"home.key\"",
            None,
            "A file that holds the shared key and nothing else. A relative path starts at the config's folder.",
        ),
        key(
            "private_key",
            "\"base64...\"",
            None,
            "One's own private key.",
        ),
        key(
            "private_key_file",
            "\"own.key\"",
            None,
            "A file that holds it.",
        ),
        key(
            "gate_public_key",
            "\"base64...\"",
            None,
            "The gate's public key, which its administrator knows.",
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
            Some("[]"),
            "What to open, unless the command says: ports, or names that the gate defines.",
        ),
        key(
            "allow",
            "\"auto\", \"source\", \"source/24\", an address, a network, or \"stun:host\"",
            Some("\"auto\""),
            "Whom to let in. auto names one's own address where the gate will see the same, else the source of the knock; source/24 is the \
             network of that source, for carriers that change addresses within one. stun:HOST or stun:HOST:PORT asks that STUN server \
             (RFC 8489) which address it sees, and names that; of a list, [\"stun:a\", \"stun:b\"], all that answer must say the same, or \
             nothing is sent.",
        ),
        key(
            "duration",
            "\"30s\"",
            Some("what the gate grants"),
            "For how long to open, in whole seconds.",
        ),
        key(
            "target",
            "\"10.0.0.7\"",
            Some("the gate itself"),
            "A host behind the gate to reach.",
        ),
        key(
            "code",
            "\"ask\"",
            Some("none"),
            "For a gate that asks for one-time codes: each knock that opens asks for one on the terminal, and fails where there is none. \
             POSTERN_CODE and --code-stdin go before it.",
        ),
        key(
            "code_command",
            "[\"/usr/bin/oathtool\", \"--totp\", \"...\"]",
            Some("none"),
            "A program that prints the code in its place, with its arguments; no shell is between. The secret itself should lie elsewhere.",
        ),
        key(
            "time_offset",
            "\"+30s\" or \"-30s\"",
            Some("none"),
            "Added to this machine's clock, where that is known to be wrong and cannot be set.",
        ),
    ],
};
