//! Packets that are explained: each cause once, from a packet, a recording and the wire.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etherparse::PacketBuilder;

use super::super::stage::Stage;
use super::set_up;
use postern_harness::hosts::HOME;
use postern_harness::recordings::{Style, interface, pcap, section, simple};

/// Hits of a sequence.
const HITS: &str = r#"gate: printf '[gate]\nname = "g"\n\n[[user]]\nname = "old"\nsequence = ["tcp/7000", "udp/9000"]\nservices = ["tcp/22"]\n' >hits.toml; chmod 600 hits.toml
gate$ posternd explain --config hits.toml --source 203.0.113.9 --hits "7000 udp/9000"
gate$ posternd explain --config hits.toml --source 203.0.113.9 --hits "7000 7000 tcp/9000 udp/9000 udp/9000"
gate$ posternd explain --config hits.toml --source 203.0.113.9 --hits "7000 udp/9000" --json
gate$ posternd explain --hits 7000
"#;

pub(super) fn story(stage: &mut Stage) {
    set_up(stage);
    stage.does(
        "you",
        "printf fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU= >home.key; chmod 600 home.key",
    );
    for (knock, options) in [
        ("postern knock home", ""),
        (
            "postern knock home --allow 203.0.113.9 --for 10m",
            "--json ",
        ),
        ("postern knock home -s tcp/23", ""),
        ("postern knock home -s tcp/23 --time-offset=-5m", ""),
        ("postern knock home -s tcp/23 --time-offset=-5m", "--json "),
        (
            "postern knock --gate gate --address 192.0.2.1 --key-file home.key -s tcp/22",
            "--json ",
        ),
        ("postern knock home", "--verbose "),
        ("echo $(head -c 132 /dev/zero | base64 -w0)", "--json "),
        ("echo c2hvcnQ=", ""),
    ] {
        explain(
            stage,
            knock,
            &format!("posternd explain {options}--source 203.0.113.9 $packet"),
        );
    }
    stage.tell("gate", "posternd explain no-such-file");
    stage.tell("gate", "posternd explain '%%'");
    fwknop(stage);
    stage.play(HITS);
    recordings(stage);
    live(stage);
}

/// A packet that fwknop's client made, of a user who is there for this alone.
fn fwknop(stage: &mut Stage) {
    const KEYS: &str = "key = \"ZXhhbXBsZS1lbmNyeXB0aW9uLWtleS0zMi1ieXRlcyE=\", hmac_key = \"ZXhhbXBsZS1obWFjLWtleS0wMTIzNDU2Nzg5YWJjZGVm\"";
    const PACKET: &str = concat!(
        "+k19hHFbpqzZ/psuDL6/UrUzG94JGXMxsrf45jZ+LAMkcsGvQc94hJ4Hzn7UhH7PnLF0uhmRJIMxSwP6A7WAEmf5LnGbcJ7YyiYH7CmdOZCZZCNT",
        "q3jLrG8v1jt6oabuYflBQJZRBECnUAhF8+RNg89Yb9X9N4xigOd1XDzVNn71oIF6gSJAKizLy6gFAvVWTNDeHRHiHuFGvdbGh7etLuVesDKxP+duU",
    );
    let file = "/etc/postern/users.d/fwknop.toml";
    let user = format!("name = \"old\"\nservices = [\"tcp/22\"]\nfwknop = {{ {KEYS} }}");
    stage.does(
        "gate",
        &format!("umask 077; mkdir -p /etc/postern/users.d; printf '%s\\n' '{user}' >{file}"),
    );
    for options in ["", "--verbose ", "--json "] {
        let shown = format!("posternd explain {options}--at @1795333319 $packet");
        stage.tell_as("gate", &shown, &format!("packet='{PACKET}'; {shown}"));
    }
    stage.does("gate", &format!("rm {file}"));
}

fn explain(stage: &mut Stage, knock: &str, shown: &str) {
    let print = if knock.starts_with("postern") {
        " --print"
    } else {
        ""
    };
    let packet = stage.does("you", &format!("{knock}{print}"));
    stage.tell_as(
        "gate",
        shown,
        &format!("packet='{}'; {shown}", packet.trim()),
    );
}

/// A knock and another packet, as tcpdump would have written them.
fn recordings(stage: &mut Stage) {
    let packet = stage.does("you", "postern knock home --print");
    let knock = STANDARD.decode(packet.trim()).unwrap();
    let udp = |port: u16, payload: &[u8]| {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([203, 0, 113, 9], [192, 0, 2, 1], 64)
            .udp(40000, port)
            .write(&mut packet, payload)
            .unwrap();
        packet
    };
    let seconds: u64 = stage.does("you", "date +%s").trim().parse().unwrap();
    // IP packets without a link layer
    let style = Style {
        link_type: 101,
        ..Style::ETHERNET
    };
    let [other, knock] = [udp(53, b"what is the time?"), udp(62201, &knock)];
    let recording = pcap(
        style,
        &[other, knock]
            .each_ref()
            .map(|it| (seconds * 1000, &it[..])),
    );
    // a simple packet has no time
    let odd = [
        section(style),
        interface(style),
        simple(style, b"no packet"),
    ]
    .concat();
    let files = [("recording.pcap", recording), ("odd.pcapng", odd)];
    stage.world.host("gate").space.run(move || {
        files
            .iter()
            .for_each(|(name, bytes)| std::fs::write(Path::new(HOME).join(name), bytes).unwrap())
    });
    for options in ["", "--all ", "--all --json "] {
        stage.tell("gate", &format!("posternd explain {options}recording.pcap"));
    }
    stage.tell("gate", "posternd explain --all odd.pcapng");
    stage.tell("gate", "posternd explain --all --json odd.pcapng");
}

/// Beside the gate, which remembers what it admitted and what it refused.
fn live(stage: &mut Stage) {
    stage.does("gate", "systemctl start posternd");
    let tried = "postern knock home --allow 203.0.113.8; sleep 0.5; timeout 0.5 bash -c '</dev/tcp/192.0.2.1/22' || true";
    for (options, knock) in [
        ("--live --count 1 --for 1m", "postern knock home"),
        ("--json --live --count 1 --for 1m", "postern knock home"),
        (
            "--json --live --count 1 --for 1m",
            "postern knock home -s tcp/23",
        ),
        ("--json --live --for 4s", tried),
        ("--clock --count 1", "postern knock home --time-offset=-61m"),
        (
            "--json --clock --count 1",
            "postern knock home --time-offset=7m",
        ),
    ] {
        stage.does("gate", "posternd close --all");
        let shown = format!("posternd explain {options}");
        stage.does("gate", &format!("({shown} >/run/live.out 2>/run/live.err; echo $? >/run/live.code) >/dev/null 2>&1 & until [ $(grep -c '^' /proc/net/packet) -gt 2 ]; do sleep 0.05; done"));
        stage.does("you", knock);
        stage.tell_as(
            "gate",
            &shown,
            "until [ -s /run/live.code ]; do sleep 0.05; done; cat /run/live.out; cat /run/live.err >&2; code=$(cat /run/live.code); rm /run/live.*; exit $code",
        );
    }
    seen_before(stage, "postern knock home", "drop replay");
    seen_before(stage, "postern knock home -s tcp/23", "refused");
    stage.does("gate", "systemctl stop posternd");
}

/// A packet that the running gate has had already, and long enough ago that it is no second copy of one knock.
fn seen_before(stage: &mut Stage, knock: &str, how: &str) {
    let packet = stage.does("you", &format!("{knock} --allow 203.0.113.9 --print"));
    let packet = packet.trim();
    stage.does(
        "you",
        &format!("echo {packet} | base64 -d >/dev/udp/192.0.2.1/62201"),
    );
    stage.does("gate", &format!("until posternd explain --json {packet} | grep 'running_gate.:{{' | grep -q '{how}'; do sleep 0.05; done"));
    for shown in [
        "posternd explain $packet",
        "posternd explain --json $packet",
    ] {
        stage.tell_as("gate", shown, &format!("packet={packet}; {shown}"));
    }
}
