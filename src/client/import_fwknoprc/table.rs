//! What becomes of each setting of .fwknoprc. `docs/from-fwknop-and-knockd.md` has the same rows; a test compares.

use crate::model::foreign::{Row, Verdict};

const NO_HTTP: &str = "Postern asks no web server for the own address";
const STUN: &str = "write allow = \"stun:HOST\" into the profile, or allow = \"source\"";
const NO_GPG: &str = "Postern writes no GnuPG packets";
const NEW_KEY: &str = "agree on a symmetric key with the gate's administrator";
const KEY_HERE: &str = "copy the key from that file into KEY_BASE64 or HMAC_KEY_BASE64";

const fn row(
    name: &'static str,
    verdict: Verdict,
    becomes: &'static str,
    why: &'static str,
    cure: &'static str,
) -> Row {
    Row {
        name,
        verdict,
        becomes,
        why,
        cure,
    }
}

const fn convert(name: &'static str, becomes: &'static str) -> Row {
    row(name, Verdict::Convert, becomes, "", "")
}

const fn narrow(name: &'static str, why: &'static str, cure: &'static str) -> Row {
    row(name, Verdict::Narrow, "", why, cure)
}

const fn refuse(name: &'static str, why: &'static str, cure: &'static str) -> Row {
    row(name, Verdict::Refuse, "", why, cure)
}

const fn ignore(name: &'static str, why: &'static str) -> Row {
    row(name, Verdict::Ignore, "", why, "")
}

/// Every setting.
pub const FWKNOPRC: [Row; 45] = [
    convert("SPA_SERVER", "`[PROFILE] gate` and `address`"),
    convert("SPA_SERVER_PORT", "`[PROFILE] address`"),
    refuse(
        "SPA_SERVER_PROTO",
        "Postern sends UDP packets only",
        "write udp, or remove the line",
    ),
    narrow(
        "SPA_SOURCE_PORT",
        "the system chooses the source port",
        "nothing to do, unless a firewall on the way passes this port only",
    ),
    convert("ALLOW_IP", "`[PROFILE] allow`; `resolve` is narrowed"),
    convert("ACCESS", "`[PROFILE] services`"),
    convert("FW_TIMEOUT", "`[PROFILE] duration`"),
    convert("KEY", "`[PROFILE] fwknop.key`, in base64"),
    convert("KEY_BASE64", "`[PROFILE] fwknop.key`"),
    refuse("KEY_FILE", "keys in files of fwknop are not read", KEY_HERE),
    convert("USE_HMAC", "nothing: a key for the HMAC turns it on"),
    convert("HMAC_KEY", "`[PROFILE] fwknop.hmac_key`, in base64"),
    convert("HMAC_KEY_BASE64", "`[PROFILE] fwknop.hmac_key`"),
    refuse(
        "HMAC_KEY_FILE",
        "keys in files of fwknop are not read",
        KEY_HERE,
    ),
    convert("HMAC_DIGEST_TYPE", "`[PROFILE] fwknop.hmac`"),
    convert(
        "ENCRYPTION_MODE",
        "`[PROFILE] fwknop.mode` for CBC and legacy; refused for others",
    ),
    ignore("DIGEST_TYPE", "every gate takes SHA-256"),
    convert("TIME_OFFSET", "`[PROFILE] time_offset`"),
    convert("SPOOF_USER", "`[PROFILE] fwknop.username`"),
    narrow(
        "SPOOF_SOURCE_IP",
        "a profile names no source address",
        "give it with each knock: postern knock --spoof-source ADDRESS",
    ),
    refuse(
        "RAND_PORT",
        "a gate listens on the ports of its config",
        "remove the line, and write SPA_SERVER_PORT if it is not 62201",
    ),
    convert("NAT_ACCESS", "`[PROFILE] fwknop.nat`"),
    convert("NAT_LOCAL", "`[PROFILE] fwknop.nat_local`"),
    convert("NAT_PORT", "`[PROFILE] fwknop.nat_port`"),
    refuse(
        "NAT_RAND_PORT",
        "the gate's config names the outer port",
        "remove the line, and write NAT_PORT with the port of the gate's service",
    ),
    narrow("RESOLVE_IP_HTTPS", NO_HTTP, STUN),
    narrow("RESOLVE_IP_HTTP", NO_HTTP, STUN),
    narrow("RESOLVE_HTTP_ONLY", NO_HTTP, STUN),
    ignore("RESOLVE_URL", NO_HTTP),
    ignore("WGET_CMD", NO_HTTP),
    ignore("USE_WGET_USER_AGENT", NO_HTTP),
    ignore("HTTP_USER_AGENT", NO_HTTP),
    ignore("SERVER_RESOLVE_IPV4", "`postern knock --ipv4` does it"),
    refuse("USE_GPG", NO_GPG, NEW_KEY),
    ignore("USE_GPG_AGENT", NO_GPG),
    ignore("GPG_RECIPIENT", NO_GPG),
    ignore("GPG_SIGNER", NO_GPG),
    ignore("GPG_HOMEDIR", NO_GPG),
    ignore("GPG_EXE", NO_GPG),
    ignore("GPG_SIGNING_PW", NO_GPG),
    ignore("GPG_SIGNING_PW_BASE64", NO_GPG),
    ignore("GPG_NO_SIGNING_PW", NO_GPG),
    ignore("VERBOSE", "see `postern knock --json`"),
    ignore("NO_SAVE_ARGS", "no command is remembered"),
    ignore("CONF_FILE", "it names this file"),
];
