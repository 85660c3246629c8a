//! The settings of fwknopd's access.conf.

use crate::model::foreign::Row;

const NO_GPG: &str = "Postern reads no GnuPG packets";
const NEW_KEY: &str = "give the client a symmetric key, or enrol it with postern enroll";
const NO_COMMANDS: &str = "a packet runs no command that the client makes up";
const NAME_COMMANDS: &str =
    "name each command in commands of the user, or let a hook of a service run it";
const NO_PROGRAM_USER: &str = "programs run as root in the sandbox of the unit";
const SUDO: &str = "let a program of yours change the user";
const NO_GATEWAY: &str = "Postern forwards single ports, not all traffic";
const FORWARD_ALL: &str =
    "Postern forwards single ports, not all traffic; with FORCE_NAT it is narrowed to that";
const NAME_PORTS: &str = "add a [service.NAME] with ports and forward for each port";

pub(crate) const ACCESS: [Row; 46] = [
    Row::convert("SOURCE", "`[[user]] from`"),
    Row::convert("DESTINATION", "`[[user]] fwknop.destination`"),
    Row::convert("OPEN_PORTS", "`[[user]] services`"),
    Row::convert("RESTRICT_PORTS", "`[[user]] services` without these ports"),
    Row::convert("KEY", "`[[user]] fwknop.key`, in base64"),
    Row::convert("KEY_BASE64", "`[[user]] fwknop.key`"),
    Row::convert("HMAC_KEY", "`[[user]] fwknop.hmac_key`, in base64"),
    Row::convert("HMAC_KEY_BASE64", "`[[user]] fwknop.hmac_key`"),
    Row::convert("HMAC_DIGEST_TYPE", "`[[user]] fwknop.hmac`"),
    Row::convert(
        "USE_HMAC",
        "nothing: a key for the HMAC turns it on, as in fwknopd",
    ),
    Row::convert(
        "ENCRYPTION_MODE",
        "`[[user]] fwknop.mode` for CBC and legacy; refused for CFB, OFB, CTR and ECB",
    ),
    Row::ignore("RAND_MODE_LEGACY", "fwknopd ignores it, too"),
    Row::convert("FW_ACCESS_TIMEOUT", "`[[user]] duration`"),
    Row::convert(
        "MAX_FW_TIMEOUT",
        "`[[user]] max_duration`, or `fwknop.max_asked` if FW_ACCESS_TIMEOUT is longer",
    ),
    Row::convert("REQUIRE_USERNAME", "`[[user]] fwknop.username`, and `name`"),
    Row::convert(
        "REQUIRE_SOURCE_ADDRESS",
        "`[[user]] grant_to = \"claimed\"`",
    ),
    Row::convert("REQUIRE_SOURCE", "the same as `REQUIRE_SOURCE_ADDRESS`"),
    Row::convert(
        "ACCESS_EXPIRE",
        "`[[user]] expires`, 00:00 of that day in the time zone of this host",
    ),
    Row::convert("ACCESS_EXPIRE_EPOCH", "`[[user]] expires`"),
    Row::narrow(
        "ENABLE_CMD_EXEC",
        "`[[user]] fwknop.commands`",
        NO_COMMANDS,
        NAME_COMMANDS,
    ),
    Row::narrow(
        "ENABLE_CMD_SUDO_EXEC",
        "`[[user]] fwknop.commands`",
        NO_COMMANDS,
        NAME_COMMANDS,
    ),
    Row::narrow("CMD_EXEC_USER", "", NO_PROGRAM_USER, SUDO),
    Row::narrow("CMD_EXEC_GROUP", "", NO_PROGRAM_USER, SUDO),
    Row::narrow("CMD_SUDO_EXEC_USER", "", NO_PROGRAM_USER, SUDO),
    Row::narrow("CMD_SUDO_EXEC_GROUP", "", NO_PROGRAM_USER, SUDO),
    Row::ignore("SUDO_EXE", "no program is run through sudo"),
    Row::ignore("CMD_EXEC_TIMEOUT", "every program has a deadline"),
    Row::convert(
        "CMD_CYCLE_OPEN",
        "`[service.NAME] on_open`, for `fwknop.access`; with `$PORT` for the ports of OPEN_PORTS",
    ),
    Row::convert("CMD_CYCLE_CLOSE", "`[service.NAME] on_close`"),
    Row::convert("CMD_CYCLE_TIMER", "`[[user]] duration` and `max_duration`"),
    Row::convert(
        "FORCE_NAT",
        "`[service.NAME] forward`; without OPEN_PORTS for the port of the inner host only",
    ),
    Row::narrow(
        "FORCE_SNAT",
        "`[service.NAME] masquerade`",
        "the inner host sees the gate's address on that side, not this one",
        "nothing to do if the gate has this address there",
    ),
    Row::convert("FORCE_MASQUERADE", "`[service.NAME] masquerade`"),
    Row::refuse("FORWARD_ALL", FORWARD_ALL, NAME_PORTS),
    Row::refuse("DISABLE_DNAT", NO_GATEWAY, NAME_PORTS),
    Row::refuse("GPG_DECRYPT_ID", NO_GPG, NEW_KEY),
    Row::refuse("GPG_DECRYPT_PW", NO_GPG, NEW_KEY),
    Row::refuse("GPG_ALLOW_NO_PW", NO_GPG, NEW_KEY),
    Row::ignore("GPG_REQUIRE_SIG", NO_GPG),
    Row::ignore("GPG_DISABLE_SIG", NO_GPG),
    Row::ignore("GPG_IGNORE_SIG_VERIFY_ERROR", NO_GPG),
    Row::ignore("GPG_REMOTE_ID", NO_GPG),
    Row::ignore("GPG_FINGERPRINT_ID", NO_GPG),
    Row::ignore("GPG_HOME_DIR", NO_GPG),
    Row::ignore("GPG_EXE", NO_GPG),
    Row::convert(
        "%include, %include_folder, %include_keys",
        "the settings of these files, three levels deep",
    ),
];
