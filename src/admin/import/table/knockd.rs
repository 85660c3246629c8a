//! The settings of knockd.conf, and of OpenWrt's /etc/config/fwknopd beside those of fwknopd itself.

use crate::model::foreign::Row;

const JOURNAL: &str = "Postern writes to the journal";
const COMMAND: &str = "`[[user]] services` for a rule that accepts a port; `[service.NAME] nft_set` for an element; else `on_open`; one that only deletes runs posternd close";

pub(crate) const KNOCKD: [Row; 17] = [
    Row::convert("Interface", "`[gate] interfaces`, by hand"),
    Row::ignore("UseSyslog", JOURNAL),
    Row::ignore("LogFile", JOURNAL),
    Row::ignore("PidFile", "systemd knows the process"),
    Row::convert("Sequence", "`[[user]] sequence`"),
    Row::convert("One_Time_Sequences", "`[[user]] sequences_file`"),
    Row::convert("Seq_Timeout", "`[[user]] sequence_timeout`"),
    Row::convert("Timeout", "the same as `Seq_Timeout`"),
    Row::convert("TCPFlags", "`[[user]] tcp_flags`"),
    Row::refuse(
        "Target",
        "a user's packets cannot be limited to one address of the gate",
        "remove the line, if the sequence may come to every address of the gate",
    ),
    Row::convert("Start_Command", COMMAND),
    Row::convert("Command", "the same as `Start_Command`"),
    Row::narrow(
        "Start_Command_6",
        "as `Start_Command`, if it opens the same ports",
        "it does not open the same ports as the command for IPv4",
        "write a user of its own for IPv6, with another sequence",
    ),
    Row::narrow(
        "Command_6",
        "as `Start_Command_6`",
        "it does not open the same ports as the command for IPv4",
        "write a user of its own for IPv6, with another sequence",
    ),
    Row::convert(
        "Stop_Command",
        "nothing if it deletes the rule of the start command; else `[service.NAME] on_close`",
    ),
    Row::narrow(
        "Stop_Command_6",
        "as `Stop_Command`",
        "it does not close what the command for IPv6 opened",
        "write a user of its own for IPv6, with another sequence",
    ),
    Row::convert("Cmd_Timeout", "`[[user]] duration` and `max_duration`"),
];

pub(crate) const UCI: [Row; 6] = [
    Row::refuse(
        "uci_enabled",
        "fwknopd does not use this file, because uci_enabled is not 1",
        "import /etc/fwknop/access.conf and fwknopd.conf, or set uci_enabled to 1",
    ),
    Row::ignore("keytype", "only the web interface of OpenWrt uses it"),
    Row::ignore("hkeytype", "only the web interface of OpenWrt uses it"),
    Row::convert("network", "`[gate] interfaces`, by hand"),
    Row::convert("access", "a section with settings of access.conf"),
    Row::convert("config", "a section with settings of fwknopd.conf"),
];
