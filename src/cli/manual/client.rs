//! The keys of a client's `config.toml`.

use super::{Section, key};

/// A profile. A config may have several.
pub const PROFILE: Section = Section {
    name: "[PROFILE]",
    about: "A gate and how to knock at it. A profile has a shared key (key or key_file) or one part of a key pair (private_key or private_key_file, with gate_public_key). Without either, each command must name the key.",
    keys: &[
        key(
            "gate",
            "\"gate.example.org\"",
            None,
            "The gate's name, exactly as in the gate's config. It is part of the key.",
        ),
        key(
            "address",
            "\"gate.example.org:62201\" or a list",
            Some("the gate's name, port 62201"),
            "The destination of knocks: a host or address, with a port if it is not 62201. One knock is sent to each address family.",
        ),
        key(
            "key",
            "\"base64...\"",
            None,
            "The shared key: 44 characters, as postern keygen prints it.",
        ),
        key(
            "key_file",
            "\"home.key\"",
            None,
            "A file that holds only the shared key. A relative path starts at the config's folder.",
        ),
        key(
            "private_key",
            "\"base64...\"",
            None,
            "The client's private key.",
        ),
        key(
            "private_key_file",
            "\"own.key\"",
            None,
            "A file that holds only the private key.",
        ),
        key(
            "gate_public_key",
            "\"base64...\"",
            None,
            "The gate's public key. Its administrator knows it.",
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
            Some("[]"),
            "The services to open if the command names none: ports, or names that the gate defines.",
        ),
        key(
            "allow",
            "\"auto\", \"source\", \"source/24\", an address, a network, or \"stun:host\"",
            Some("\"auto\""),
            "The address to admit. auto sends the client's own address if the gate will see the same, else it asks for the source of the knock. source/24 admits the network of that source, for carriers that change addresses within it. stun:HOST or stun:HOST:PORT asks that STUN server (RFC 8489) for the address. In a list, [\"stun:a\", \"stun:b\"], all servers that answer must agree, or nothing is sent.",
        ),
        key(
            "duration",
            "\"30s\"",
            Some("the gate's default"),
            "How long to open the services, in whole seconds.",
        ),
        key(
            "target",
            "\"10.0.0.7\"",
            Some("the gate itself"),
            "The host behind the gate to open services at.",
        ),
        key(
            "code",
            "\"ask\"",
            Some("none"),
            "For a gate that requires one-time codes: each knock that opens asks for a code on the terminal, and fails without a terminal. POSTERN_CODE and --code-stdin take precedence.",
        ),
        key(
            "code_command",
            "[\"/usr/bin/oathtool\", \"--totp\", \"...\"]",
            Some("none"),
            "A program that prints the code, with its arguments. No shell runs it. Keep the secret itself out of this file.",
        ),
        key(
            "time_offset",
            "\"+30s\" or \"-30s\"",
            Some("none"),
            "Added to this machine's clock, if the clock is wrong and cannot be set.",
        ),
    ],
};
