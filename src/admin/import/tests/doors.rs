//! Each setting of knockd.conf.

use super::*;
use crate::admin::import::table::KNOCKD;

const ACCEPT: &str = "/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT";
const REMOVE: &str = "/sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT";

fn door(lines: &str) -> Converted {
    import(&[("knockd.conf", &format!("[ssh]\n{lines}"))])
}

fn ssh(lines: &str) -> Converted {
    door(&format!(
        "sequence = 1,2:udp\nstart_command = {ACCEPT}\nstop_command = {REMOVE}\n{lines}"
    ))
}

#[test]
fn door_becomes_a_user() {
    let made = ssh("cmd_timeout = 30\ntcpflags = syn, !ACK\n");
    assert_eq!(said(&made), [""; 0]);
    let expected = "name = \"ssh\"\nsequence = [\"tcp/1\", \"udp/2\"]\nsequence_timeout = \"25s\"\n\
        tcp_flags = [\"syn\", \"!ack\"]\nservices = [\"tcp/22\"]\nnetworks = [\"0.0.0.0/0\"]\n\
        duration = \"30s\"\nmax_duration = \"30s\"\n";
    assert_eq!(*made.users[0].toml.full, expected);
}

#[test]
fn values_of_a_door_are_kept() {
    let six = |text: &str| text.replace("/iptables", "/ip6tables");
    let both = format!(
        "start_command_6 = {}\nstop_command_6 = {}",
        six(ACCEPT),
        six(REMOVE)
    );
    for (made, key, value) in [
        (ssh(""), "duration", "\"10s\""),
        (ssh("timeout = 7"), "sequence_timeout", "\"7s\""),
        (ssh("timeout = 301"), "sequence_timeout", "\"300s\""),
        (
            door("one_time_sequences = /a\ncommand = /bin/a"),
            "sequences_file",
            "\"/a\"",
        ),
        (ssh(&both), "networks", "[\"0.0.0.0/0\", \"::/0\"]"),
        (
            door(&format!(
                "sequence = 1\nstart_command_6 = {}\nstop_command_6 = {}",
                six(ACCEPT),
                six(REMOVE)
            )),
            "networks",
            "[\"::/0\"]",
        ),
        (
            door(&format!("sequence = 1\ncommand = {ACCEPT}")),
            "duration",
            "\"3600s\"",
        ),
        (
            door("sequence = 1\ncommand = nft add element inet filter knock { %IP% timeout 2m }"),
            "duration",
            "\"120s\"",
        ),
    ] {
        assert_eq!(
            only_user(&made)[key].to_string(),
            value,
            "{:?}",
            said(&made)
        );
    }
}

#[test]
fn other_commands_become_hooks() {
    for (lines, keys) in [
        (
            "command = /usr/local/sbin/start-backup %IP%",
            "on_open = [\"/usr/local/sbin/start-backup\", \"{address}\"]\n",
        ),
        (
            "command = /usr/sbin/ipset add knock %IP%\nstop_command = /usr/sbin/ipset del knock %IP%",
            "on_open = [\"/usr/sbin/ipset\", \"add\", \"knock\", \"{address}\"]\non_close = [\"/usr/sbin/ipset\", \"del\", \"knock\", \"{address}\"]\n",
        ),
        (
            "command = /usr/sbin/nft add element inet filter knock {%IP%}\nstop_command = /usr/sbin/nft delete element inet filter knock {%IP%}",
            "nft_set = \"inet filter knock\"\n",
        ),
        (
            "command = /sbin/iptables -A KNOCK -s %IP% -j ACCEPT",
            "on_open = [\"/sbin/iptables\", \"-A\", \"KNOCK\", \"-s\", \"{address}\", \"-j\", \"ACCEPT\"]\n",
        ),
    ] {
        let made = door(&format!("sequence = 1\n{lines}\n"));
        assert_eq!(only_user(&made)["services"].to_string(), "[\"ssh\"]");
        let expected = format!("[service.ssh]\nports = [\"udp/9\"]\n{keys}");
        assert_eq!(*made.services[0].toml.full, expected);
    }
}

#[test]
fn wrong_doors_are_refused_with_their_message() {
    let long = format!("sequence = {}1\ncommand = /bin/a", "1,".repeat(32));
    for (lines, part) in [
        (
            "command = /bin/a",
            "knockd.conf:1: refused: the door has no sequence",
        ),
        (
            "sequence = 1",
            "knockd.conf:1: refused: the door runs no command",
        ),
        (
            "sequence = 1,0\ncommand = /bin/a",
            "Sequence refused: this is no sequence",
        ),
        ("sequence = 1:icmp\ncommand = /bin/a", "Sequence refused"),
        (&long, "Sequence refused"),
        (
            "sequence = 1\none_time_sequences = /a\ncommand = /bin/a",
            "One_Time_Sequences refused: Sequence is there, too",
        ),
        (
            "sequence = 1\ntcpflags = syn,!syn\ncommand = /bin/a",
            "both set and not set",
        ),
        (
            "sequence = 1\ncommand = /bin/a\nseq_timeout = 0",
            "Seq_Timeout refused",
        ),
        (
            "sequence = 1\ncommand = /bin/a\nseq_timeout = 5\ntimeout = 5",
            "it is given twice",
        ),
        (
            "sequence = 1\ncommand = /bin/a\ncmd_timeout = x",
            "Cmd_Timeout refused",
        ),
        (
            "sequence = 1\ncommand = /bin/a\ntcpflags = sin",
            "TCPFlags refused",
        ),
        (
            "sequence = 1\ncommand = /bin/a\ntarget = 10.0.0.1",
            "Target refused: a user's packets",
        ),
        (
            "sequence = 1\ncommand = a %IP%",
            "Command refused: the program is not named",
        ),
        (
            "sequence = 1\nstart_command = /bin/a\nstop_command = b",
            "Stop_Command refused",
        ),
        (
            &format!("sequence = 1\nstart_command = {REMOVE}\nstop_command = {ACCEPT}"),
            "the sequence closes first and opens later",
        ),
        (
            "sequence = 1\ncommand = /bin/a; /bin/b",
            "knockd.conf:3: Command refused: the command has ';'",
        ),
        (
            "sequence = 1\ncommand = /bin/a $(b)",
            "which only a shell understands; put it into a script",
        ),
        (
            "sequence = 1\ncommand = /bin/a\nno = 1",
            "knockd.conf:4: refused: knockd has no setting",
        ),
    ] {
        let made = door(lines);
        expect_refused(&made, part, lines);
    }
}

#[test]
fn other_commands_for_ipv6_are_narrowed() {
    for (lines, part) in [
        ("start_command_6 = /bin/a", "Start_Command_6 narrowed"),
        ("command_6 = /bin/a", "Command_6 narrowed"),
        ("stop_command_6 = /bin/a", "Stop_Command_6 narrowed"),
        (
            &format!("start_command_6 = {ACCEPT}"),
            "Start_Command_6 narrowed",
        ),
    ] {
        let made = ssh(lines);
        let said = said(&made).join("\n");
        assert!(said.contains(part), "{lines}: {said}");
        assert_eq!(only_user(&made)["networks"].to_string(), "[\"0.0.0.0/0\"]");
    }
}

#[test]
fn every_setting_of_knockd_is_known() {
    for row in KNOCKD {
        let made = import(&[(
            "knockd.conf",
            &format!("[options]\n{0} = 1\n[a]\n{0} = 1\n", row.name),
        )]);
        let said = said(&made).join("\n");
        assert!(!said.contains("no setting of this name"), "{said}");
    }
    let made = import(&[(
        "knockd.conf",
        "[options]\nInterface = eth1\nLogFile = /a\nPidFile = /b\n",
    )]);
    assert!(said(&made)[0].contains("interfaces = [\"eth1\"]"));
}

#[test]
fn too_long_file_is_refused_whole() {
    let lines = format!(
        "[a]\nsequence = 1\ncommand = {ACCEPT}\n{}",
        "#\n".repeat(100_000)
    );
    let made = import(&[("knockd.conf", &lines)]);
    expect_refused(&made, "too many lines", "100,003 lines");
}
