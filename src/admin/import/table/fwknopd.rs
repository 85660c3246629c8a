//! The settings of fwknopd.conf.

use super::{convert, ignore, narrow, refuse};
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

/// Settings whose key stands in `[gate]`, which the administrator writes.
pub(crate) const BY_HAND: [&str; 5] = [
    "PCAP_INTF",
    "PCAP_FILTER",
    "ENABLE_UDP_SERVER",
    "UDPSERV_PORT",
    "NFQ_PORT",
];

pub(crate) const FWKNOPD: [Row; 86] = [
    convert("PCAP_INTF", "`[gate] interfaces`, by hand"),
    convert("PCAP_FILTER", "`[gate] port`, by hand"),
    convert("ENABLE_UDP_SERVER", "`[gate] capture = \"udp\"`, by hand"),
    convert("UDPSERV_PORT", "`[gate] port`, by hand"),
    ignore("UDPSERV_SELECT_TIMEOUT", CAPTURE),
    ignore("ENABLE_PCAP_PROMISC", CAPTURE),
    ignore("ENABLE_PCAP_ANY_DIRECTION", CAPTURE),
    ignore("PCAP_DISPATCH_COUNT", CAPTURE),
    ignore("PCAP_LOOP_SLEEP", CAPTURE),
    ignore("MAX_SNIFF_BYTES", CAPTURE),
    ignore("PCAP_FILE", CAPTURE),
    ignore("EXIT_AT_INTF_DOWN", "interfaces may go and return"),
    ignore("ENABLE_NFQ_CAPTURE", CAPTURE),
    ignore("NFQ_INTERFACE", CAPTURE),
    convert("NFQ_PORT", "`[gate] port`, by hand"),
    ignore("NFQ_TABLE", CAPTURE),
    ignore("NFQ_CHAIN", CAPTURE),
    ignore("NFQ_QUEUE_NUMBER", CAPTURE),
    ignore("NFQ_LOOP_SLEEP", CAPTURE),
    narrow(
        "ENABLE_SPA_PACKET_AGING",
        "",
        "packets older than 120 s are refused, whatever this says",
        "set the clocks of clients, or time_offset in their profiles",
    ),
    refuse(
        "MAX_SPA_PACKET_AGE",
        "packets count as fresh for 120 s, which is longer than this",
        "write 120, or remove the line, if 120 s will do",
    ),
    narrow(
        "ENABLE_DIGEST_PERSISTENCE",
        "",
        "a packet works once, also after a restart",
        "nothing to do",
    ),
    ignore("RULES_CHECK_THRESHOLD", OWN_RULES),
    refuse("ENABLE_SPA_OVER_HTTP", UDP_ONLY, SEND_UDP),
    ignore(
        "ENABLE_X_FORWARDED_FOR",
        "it is for knocks in HTTP requests",
    ),
    refuse("ENABLE_TCP_SERVER", UDP_ONLY, SEND_UDP),
    ignore("TCPSERV_PORT", "it is for `ENABLE_TCP_SERVER`"),
    refuse(
        "ENABLE_DESTINATION_RULE",
        "a grant opens the port at all addresses of the gate",
        "remove the line, if that will do",
    ),
    ignore("ENABLE_RULE_PREPEND", OWN_RULES),
    narrow(
        "ENABLE_NAT_DNS",
        "",
        "the host of a forward is an address, never a name",
        NAME_HOSTS,
    ),
    ignore(
        "FIREWALL_EXE",
        "`backend` of `[firewall]` chooses the firewall",
    ),
    narrow(
        "ENABLE_IPT_FORWARDING",
        "`[service.NAME] forward`",
        NAT,
        NAME_HOSTS,
    ),
    narrow(
        "ENABLE_FIREWD_FORWARDING",
        "`[service.NAME] forward`",
        NAT,
        NAME_HOSTS,
    ),
    narrow(
        "ENABLE_IPT_LOCAL_NAT",
        "`[service.NAME] redirect`",
        LOCAL,
        NAME_LOCAL,
    ),
    narrow(
        "ENABLE_FIREWD_LOCAL_NAT",
        "`[service.NAME] redirect`",
        LOCAL,
        NAME_LOCAL,
    ),
    convert("ENABLE_IPT_SNAT", SNAT),
    convert("ENABLE_FIREWD_SNAT", SNAT),
    narrow(
        "SNAT_TRANSLATE_IP",
        SNAT,
        "inner hosts see the gate's address on that side, not this one",
        "nothing to do if the gate has this address there",
    ),
    ignore("ENABLE_IPT_OUTPUT", "answers pass by connection tracking"),
    ignore(
        "ENABLE_FIREWD_OUTPUT",
        "answers pass by connection tracking",
    ),
    ignore("ENABLE_IPT_COMMENT_CHECK", OWN_RULES),
    ignore("ENABLE_FIREWD_COMMENT_CHECK", OWN_RULES),
    ignore("FLUSH_IPT_AT_INIT", FLUSH),
    ignore("FLUSH_IPT_AT_EXIT", FLUSH),
    ignore("FLUSH_FIREWD_AT_INIT", FLUSH),
    ignore("FLUSH_FIREWD_AT_EXIT", FLUSH),
    convert("IPT_INPUT_ACCESS", CHAIN),
    convert("IPT_OUTPUT_ACCESS", CHAIN),
    convert("IPT_FORWARD_ACCESS", CHAIN),
    ignore("IPT_DNAT_ACCESS", OWN_RULES),
    ignore("IPT_SNAT_ACCESS", OWN_RULES),
    ignore("IPT_MASQUERADE_ACCESS", OWN_RULES),
    convert("FIREWD_INPUT_ACCESS", CHAIN),
    convert("FIREWD_OUTPUT_ACCESS", CHAIN),
    convert("FIREWD_FORWARD_ACCESS", CHAIN),
    ignore("FIREWD_DNAT_ACCESS", OWN_RULES),
    ignore("FIREWD_SNAT_ACCESS", OWN_RULES),
    ignore("FIREWD_MASQUERADE_ACCESS", OWN_RULES),
    refuse("ENABLE_EXTERNAL_CMDS", NO_EXTERNAL, OWN_BACKEND),
    ignore("EXTERNAL_CMD_OPEN", NO_EXTERNAL),
    ignore("EXTERNAL_CMD_CLOSE", NO_EXTERNAL),
    ignore("EXTERNAL_CMD_ALARM", NO_EXTERNAL),
    ignore("ENABLE_EXT_CMD_PREFIX", NO_EXTERNAL),
    ignore("EXT_CMD_PREFIX", NO_EXTERNAL),
    ignore("IPFW_START_RULE_NUM", OTHER_SYSTEM),
    ignore("IPFW_MAX_RULES", OTHER_SYSTEM),
    ignore("IPFW_ACTIVE_SET_NUM", OTHER_SYSTEM),
    ignore("IPFW_EXPIRE_SET_NUM", OTHER_SYSTEM),
    ignore("IPFW_EXPIRE_PURGE_INTERVAL", OTHER_SYSTEM),
    ignore("IPFW_ADD_CHECK_STATE", OTHER_SYSTEM),
    ignore("FLUSH_IPFW_AT_INIT", OTHER_SYSTEM),
    ignore("FLUSH_IPFW_AT_EXIT", OTHER_SYSTEM),
    ignore("PF_ANCHOR_NAME", OTHER_SYSTEM),
    ignore("PF_EXPIRE_INTERVAL", OTHER_SYSTEM),
    ignore("FWKNOP_RUN_DIR", STATE),
    ignore("FWKNOP_CONF_DIR", STATE),
    ignore("FWKNOP_PID_FILE", STATE),
    ignore(
        "ACCESS_FILE",
        "name the file on the command line of `posternd import`",
    ),
    ignore(
        "ACCESS_FOLDER",
        "name its files on the command line of `posternd import`",
    ),
    ignore("DIGEST_FILE", STATE),
    ignore("GPG_HOME_DIR", "Postern reads no GnuPG packets"),
    ignore("GPG_EXE", "Postern reads no GnuPG packets"),
    ignore("SYSLOG_IDENTITY", LOGS),
    ignore("SYSLOG_FACILITY", LOGS),
    ignore("VERBOSE", LOGS),
    ignore("LOCALE", LOGS),
];
