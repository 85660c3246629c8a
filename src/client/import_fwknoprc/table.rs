//! What becomes of each setting of .fwknoprc. `docs/from-fwknop-and-knockd.md` has the same rows; a test compares.

use crate::model::foreign::Row;

const NO_HTTP: &str = "Postern asks no web server for the own address";
const STUN: &str = "write allow = \"stun:HOST\" into the profile, or allow = \"source\"";
const NO_GPG: &str = "Postern writes no GnuPG packets";
const NEW_KEY: &str = "agree on a symmetric key with the gate's administrator";
const KEY_HERE: &str = "copy the key from that file into KEY_BASE64 or HMAC_KEY_BASE64";

/// Every setting.
pub const FWKNOPRC: [Row; 45] = [
    Row::convert("SPA_SERVER", "`[PROFILE] gate` and `address`"),
    Row::convert("SPA_SERVER_PORT", "`[PROFILE] address`"),
    Row::refuse(
        "SPA_SERVER_PROTO",
        "Postern sends UDP packets only",
        "write udp, or remove the line",
    ),
    Row::narrow(
        "SPA_SOURCE_PORT",
        "",
        "the system chooses the source port",
        "nothing to do, unless a firewall on the way passes this port only",
    ),
    Row::convert("ALLOW_IP", "`[PROFILE] allow`; `resolve` is narrowed"),
    Row::convert("ACCESS", "`[PROFILE] services`"),
    Row::convert("FW_TIMEOUT", "`[PROFILE] duration`"),
    Row::convert("KEY", "`[PROFILE] fwknop.key`, in base64"),
    Row::convert("KEY_BASE64", "`[PROFILE] fwknop.key`"),
    Row::refuse("KEY_FILE", "keys in files of fwknop are not read", KEY_HERE),
    Row::convert("USE_HMAC", "nothing: a key for the HMAC turns it on"),
    Row::convert("HMAC_KEY", "`[PROFILE] fwknop.hmac_key`, in base64"),
    Row::convert("HMAC_KEY_BASE64", "`[PROFILE] fwknop.hmac_key`"),
    Row::refuse(
        "HMAC_KEY_FILE",
        "keys in files of fwknop are not read",
        KEY_HERE,
    ),
    Row::convert("HMAC_DIGEST_TYPE", "`[PROFILE] fwknop.hmac`"),
    Row::convert(
        "ENCRYPTION_MODE",
        "`[PROFILE] fwknop.mode` for CBC and legacy; refused for others",
    ),
    Row::ignore("DIGEST_TYPE", "every gate takes SHA-256"),
    Row::convert("TIME_OFFSET", "`[PROFILE] time_offset`"),
    Row::convert("SPOOF_USER", "`[PROFILE] fwknop.username`"),
    Row::narrow(
        "SPOOF_SOURCE_IP",
        "",
        "a profile names no source address",
        "give it with each knock: postern knock --spoof-source ADDRESS",
    ),
    Row::refuse(
        "RAND_PORT",
        "a gate listens on the ports of its config",
        "remove the line, and write SPA_SERVER_PORT if it is not 62201",
    ),
    Row::convert(
        "NAT_ACCESS",
        "`[PROFILE] fwknop.nat_access`, or `nat_local`",
    ),
    Row::convert(
        "NAT_LOCAL",
        "`[PROFILE] fwknop.nat_local`, with SPA_SERVER and the port of ACCESS unless NAT_ACCESS names them",
    ),
    Row::convert(
        "NAT_PORT",
        "`[PROFILE] services`, in place of the port of ACCESS",
    ),
    Row::refuse(
        "NAT_RAND_PORT",
        "the gate's config names the outer port",
        "remove the line, and write NAT_PORT with the port of the gate's service",
    ),
    Row::narrow("RESOLVE_IP_HTTPS", "", NO_HTTP, STUN),
    Row::narrow("RESOLVE_IP_HTTP", "", NO_HTTP, STUN),
    Row::narrow("RESOLVE_HTTP_ONLY", "", NO_HTTP, STUN),
    Row::ignore("RESOLVE_URL", NO_HTTP),
    Row::ignore("WGET_CMD", NO_HTTP),
    Row::ignore("USE_WGET_USER_AGENT", NO_HTTP),
    Row::ignore("HTTP_USER_AGENT", NO_HTTP),
    Row::ignore("SERVER_RESOLVE_IPV4", "`postern knock --ipv4` does it"),
    Row::refuse("USE_GPG", NO_GPG, NEW_KEY),
    Row::ignore("USE_GPG_AGENT", NO_GPG),
    Row::ignore("GPG_RECIPIENT", NO_GPG),
    Row::ignore("GPG_SIGNER", NO_GPG),
    Row::ignore("GPG_HOMEDIR", NO_GPG),
    Row::ignore("GPG_EXE", NO_GPG),
    Row::ignore("GPG_SIGNING_PW", NO_GPG),
    Row::ignore("GPG_SIGNING_PW_BASE64", NO_GPG),
    Row::ignore("GPG_NO_SIGNING_PW", NO_GPG),
    Row::ignore("VERBOSE", "see `postern knock --json`"),
    Row::ignore("NO_SAVE_ARGS", "no command is remembered"),
    Row::ignore("CONF_FILE", "it names this file"),
];
