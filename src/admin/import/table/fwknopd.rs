//! The settings of fwknopd.conf.

use crate::model::foreign::Row;

const CAPTURE: &str = "Postern captures only what can be a knock";
const LOGS: &str = "Postern writes to the journal";
const OWN_RULES: &str = "Postern has its own table or chains";
const FLUSH: &str = "grants outlive a restart; see `on_stop` of `[firewall]`";
const STATE: &str = "Postern has folders of its own";
const OTHER_SYSTEM: &str = "it is for another operating system";
const UDP_ONLY: &str = "Postern receives knocks in UDP packets only";
const SEND_UDP: &str = "send UDP packets: remove SPA_SERVER_PROTO at the clients";
const NO_EXTERNAL: &str = "fwknopd's external commands take the place of its firewall";
const OWN_BACKEND: &str =
    "write backend = \"command\" and [firewall.command] into posternd.toml, then remove the line";
const NAT: &str = "a packet reaches only inner hosts that the config names";
const NAME_HOSTS: &str = "add a [service.NAME] with ports and forward, and give it to the user";
const LOCAL: &str = "a packet reaches only ports of the gate that the config names";
const NAME_LOCAL: &str = "add a [service.NAME] with ports and redirect, and give it to the user";
const SNAT: &str = "`[service.NAME] masquerade` of imported forwards";
const CHAIN: &str = "its own chains, if the target is ACCEPT; else refused";

/// Settings whose key belongs into `[gate]`, which the administrator writes.
pub(crate) const BY_HAND: [&str; 5] = [
    "PCAP_INTF",
    "PCAP_FILTER",
    "ENABLE_UDP_SERVER",
    "UDPSERV_PORT",
    "NFQ_PORT",
];

pub(crate) const FWKNOPD: [Row; 86] = [
    Row::convert("PCAP_INTF", "`[gate] interfaces`, by hand"),
    Row::convert("PCAP_FILTER", "`[gate] port`, by hand"),
    Row::convert("ENABLE_UDP_SERVER", "`[gate] capture = \"udp\"`, by hand"),
    Row::convert("UDPSERV_PORT", "`[gate] port`, by hand"),
    Row::ignore("UDPSERV_SELECT_TIMEOUT", CAPTURE),
    Row::ignore("ENABLE_PCAP_PROMISC", CAPTURE),
    Row::ignore("ENABLE_PCAP_ANY_DIRECTION", CAPTURE),
    Row::ignore("PCAP_DISPATCH_COUNT", CAPTURE),
    Row::ignore("PCAP_LOOP_SLEEP", CAPTURE),
    Row::ignore("MAX_SNIFF_BYTES", CAPTURE),
    Row::ignore("PCAP_FILE", CAPTURE),
    Row::ignore("EXIT_AT_INTF_DOWN", "interfaces may go and return"),
    Row::ignore("ENABLE_NFQ_CAPTURE", CAPTURE),
    Row::ignore("NFQ_INTERFACE", CAPTURE),
    Row::convert("NFQ_PORT", "`[gate] port`, by hand"),
    Row::ignore("NFQ_TABLE", CAPTURE),
    Row::ignore("NFQ_CHAIN", CAPTURE),
    Row::ignore("NFQ_QUEUE_NUMBER", CAPTURE),
    Row::ignore("NFQ_LOOP_SLEEP", CAPTURE),
    Row::narrow(
        "ENABLE_SPA_PACKET_AGING",
        "",
        "packets older than 120 s are refused, whatever this says",
        "set the clocks of clients, or time_offset in their profiles",
    ),
    Row::refuse(
        "MAX_SPA_PACKET_AGE",
        "packets count as fresh for 120 s, which is longer than this",
        "write 120, or remove the line, if 120 s will do",
    ),
    Row::narrow(
        "ENABLE_DIGEST_PERSISTENCE",
        "",
        "a packet works once, also after a restart",
        "nothing to do",
    ),
    Row::ignore("RULES_CHECK_THRESHOLD", OWN_RULES),
    Row::refuse("ENABLE_SPA_OVER_HTTP", UDP_ONLY, SEND_UDP),
    Row::ignore(
        "ENABLE_X_FORWARDED_FOR",
        "it is for knocks in HTTP requests",
    ),
    Row::refuse("ENABLE_TCP_SERVER", UDP_ONLY, SEND_UDP),
    Row::ignore("TCPSERV_PORT", "it is for `ENABLE_TCP_SERVER`"),
    Row::refuse(
        "ENABLE_DESTINATION_RULE",
        "a grant opens the port at all addresses of the gate",
        "remove the line, if that will do",
    ),
    Row::ignore("ENABLE_RULE_PREPEND", OWN_RULES),
    Row::narrow(
        "ENABLE_NAT_DNS",
        "",
        "the host of a forward is an address, never a name",
        NAME_HOSTS,
    ),
    Row::ignore(
        "FIREWALL_EXE",
        "`backend` of `[firewall]` chooses the firewall",
    ),
    Row::narrow(
        "ENABLE_IPT_FORWARDING",
        "`[service.NAME] forward`",
        NAT,
        NAME_HOSTS,
    ),
    Row::narrow(
        "ENABLE_FIREWD_FORWARDING",
        "`[service.NAME] forward`",
        NAT,
        NAME_HOSTS,
    ),
    Row::narrow(
        "ENABLE_IPT_LOCAL_NAT",
        "`[service.NAME] redirect`",
        LOCAL,
        NAME_LOCAL,
    ),
    Row::narrow(
        "ENABLE_FIREWD_LOCAL_NAT",
        "`[service.NAME] redirect`",
        LOCAL,
        NAME_LOCAL,
    ),
    Row::convert("ENABLE_IPT_SNAT", SNAT),
    Row::convert("ENABLE_FIREWD_SNAT", SNAT),
    Row::narrow(
        "SNAT_TRANSLATE_IP",
        SNAT,
        "inner hosts see the gate's address on that side, not this one",
        "nothing to do if the gate has this address there",
    ),
    Row::ignore("ENABLE_IPT_OUTPUT", "answers pass by connection tracking"),
    Row::ignore(
        "ENABLE_FIREWD_OUTPUT",
        "answers pass by connection tracking",
    ),
    Row::ignore("ENABLE_IPT_COMMENT_CHECK", OWN_RULES),
    Row::ignore("ENABLE_FIREWD_COMMENT_CHECK", OWN_RULES),
    Row::ignore("FLUSH_IPT_AT_INIT", FLUSH),
    Row::ignore("FLUSH_IPT_AT_EXIT", FLUSH),
    Row::ignore("FLUSH_FIREWD_AT_INIT", FLUSH),
    Row::ignore("FLUSH_FIREWD_AT_EXIT", FLUSH),
    Row::convert("IPT_INPUT_ACCESS", CHAIN),
    Row::convert("IPT_OUTPUT_ACCESS", CHAIN),
    Row::convert("IPT_FORWARD_ACCESS", CHAIN),
    Row::ignore("IPT_DNAT_ACCESS", OWN_RULES),
    Row::ignore("IPT_SNAT_ACCESS", OWN_RULES),
    Row::ignore("IPT_MASQUERADE_ACCESS", OWN_RULES),
    Row::convert("FIREWD_INPUT_ACCESS", CHAIN),
    Row::convert("FIREWD_OUTPUT_ACCESS", CHAIN),
    Row::convert("FIREWD_FORWARD_ACCESS", CHAIN),
    Row::ignore("FIREWD_DNAT_ACCESS", OWN_RULES),
    Row::ignore("FIREWD_SNAT_ACCESS", OWN_RULES),
    Row::ignore("FIREWD_MASQUERADE_ACCESS", OWN_RULES),
    Row::refuse("ENABLE_EXTERNAL_CMDS", NO_EXTERNAL, OWN_BACKEND),
    Row::ignore("EXTERNAL_CMD_OPEN", NO_EXTERNAL),
    Row::ignore("EXTERNAL_CMD_CLOSE", NO_EXTERNAL),
    Row::ignore("EXTERNAL_CMD_ALARM", NO_EXTERNAL),
    Row::ignore("ENABLE_EXT_CMD_PREFIX", NO_EXTERNAL),
    Row::ignore("EXT_CMD_PREFIX", NO_EXTERNAL),
    Row::ignore("IPFW_START_RULE_NUM", OTHER_SYSTEM),
    Row::ignore("IPFW_MAX_RULES", OTHER_SYSTEM),
    Row::ignore("IPFW_ACTIVE_SET_NUM", OTHER_SYSTEM),
    Row::ignore("IPFW_EXPIRE_SET_NUM", OTHER_SYSTEM),
    Row::ignore("IPFW_EXPIRE_PURGE_INTERVAL", OTHER_SYSTEM),
    Row::ignore("IPFW_ADD_CHECK_STATE", OTHER_SYSTEM),
    Row::ignore("FLUSH_IPFW_AT_INIT", OTHER_SYSTEM),
    Row::ignore("FLUSH_IPFW_AT_EXIT", OTHER_SYSTEM),
    Row::ignore("PF_ANCHOR_NAME", OTHER_SYSTEM),
    Row::ignore("PF_EXPIRE_INTERVAL", OTHER_SYSTEM),
    Row::ignore("FWKNOP_RUN_DIR", STATE),
    Row::ignore("FWKNOP_CONF_DIR", STATE),
    Row::ignore("FWKNOP_PID_FILE", STATE),
    Row::ignore(
        "ACCESS_FILE",
        "name the file on the command line of `posternd import`",
    ),
    Row::ignore(
        "ACCESS_FOLDER",
        "name its files on the command line of `posternd import`",
    ),
    Row::ignore("DIGEST_FILE", STATE),
    Row::ignore("GPG_HOME_DIR", "Postern reads no GnuPG packets"),
    Row::ignore("GPG_EXE", "Postern reads no GnuPG packets"),
    Row::ignore("SYSLOG_IDENTITY", LOGS),
    Row::ignore("SYSLOG_FACILITY", LOGS),
    Row::ignore("VERBOSE", LOGS),
    Row::ignore("LOCALE", LOGS),
];
