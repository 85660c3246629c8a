//! A client and a running gate: knocks, ports that open, and errors.

use super::super::stage::Stage;
use super::set_up;

pub(super) fn story(stage: &mut Stage) {
    set_up(stage);
    without_a_gate(stage);
    stage.does("gate", "systemctl start posternd");
    knocking(stage);
    connecting(stage);
    running(stage);
    packets(stage);
    stage.does("gate", "systemctl stop posternd");
}

fn without_a_gate(stage: &mut Stage) {
    for command in [
        "postern knock home --dry-run",
        "postern knock home --dry-run --json",
        "postern knock",
        "postern knock nowhere",
        "postern knock home -s tcp/0",
        "postern knock home --print --wait",
        "postern knock home --config none.toml",
        "postern knock --gate gate.example.org -s tcp/22",
        "postern knock home --address gate.example.net",
        "postern close nowhere",
        "postern connect nowhere gate.example.org 22",
        "postern run home",
        "postern run nowhere -- true",
        "postern open-packet home short",
    ] {
        stage.tell("you", command);
    }
}

fn knocking(stage: &mut Stage) {
    stage.tell("you", "postern knock home");
    stage.tell("you", "postern knock both");
    stage.tell("you", "postern knock home -s tcp/8080 --wait");
    stage.tell("you", "postern knock home -s tcp/8080 --wait --json");
    stage.tell("you", "postern knock both --wait");
    stage.tell(
        "you",
        "postern knock home --target 10.0.0.5 --for 10m --json",
    );
    stage.tell("you", "postern knock home --address '[fe80::1]:62201'");
    stage.tell(
        "you",
        "postern knock both --address 192.0.2.1 --address '[fe80::1]'",
    );
    stage.tell(
        "you",
        "postern knock both --address 192.0.2.1 --address '[fe80::1]' --json",
    );
    stage.tell("you", "postern knock home -s tcp/23 --wait=300ms");
    stage.tell("you", "postern knock home -s tcp/23 --wait=300ms --json");
    stage.tell("you", "postern knock home --print");
    stage.tell("you", "postern knock home --print --json");
    stage.tell("you", "postern close home");
    stage.tell("you", "postern close both --json");
}

fn connecting(stage: &mut Stage) {
    let ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | ";
    let body = " | tail -n 1";
    for options in ["", "--json ", "--quiet "] {
        let shown = format!("postern connect {options}both 192.0.2.1 8080");
        closed(stage);
        stage.tell_as("you", &shown, &format!("{ask}{shown}{body}"));
    }
    stage.tell_as(
        "you",
        "postern connect both 192.0.2.1 8080",
        &format!("{ask}postern connect both 192.0.2.1 8080{body}"),
    );
    stage.tell("you", "postern connect home 192.0.2.1 23 --wait 300ms");
}

fn running(stage: &mut Stage) {
    for command in [
        "postern run both -- echo through",
        "postern run home -s tcp/8080 --json -- sh -c 'exit 7'",
        "postern run both --json -- sh -c 'kill -TERM $$'",
        "postern run both --quiet -- echo through",
        "postern run both -- no-such-program",
        "postern run home -s tcp/23 --wait 300ms -- true",
        "postern run home -s udp/53 --json -- true",
    ] {
        closed(stage);
        stage.tell("you", command);
    }
}

fn packets(stage: &mut Stage) {
    for (shown, knock) in [
        (
            "postern open-packet home $packet",
            "postern knock home --print",
        ),
        (
            "postern open-packet --json home $packet",
            "postern knock home --target 10.0.0.5 --for 1m --allow 203.0.113.0/24 --print",
        ),
        (
            "postern open-packet --json home $packet",
            "postern close home --print",
        ),
        (
            "postern open-packet home $packet",
            "postern knock home --time-offset +1h --print",
        ),
    ] {
        stage.tell_as("you", shown, &format!("packet=$({knock}); {shown}"));
    }
    let other =
        "packet=$(postern knock home --gate gate.example.net --address 192.0.2.1 --print); ";
    stage.tell_as(
        "you",
        "postern open-packet home $packet",
        &format!("{other} postern open-packet home $packet"),
    );
}

/// Nothing is open before what comes next.
fn closed(stage: &Stage) {
    stage.does("gate", "posternd close --all");
}
