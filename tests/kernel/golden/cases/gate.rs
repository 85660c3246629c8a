//! A gate that runs, with two grants open: what it tells of itself, and what becomes of it.

use super::super::stage::Stage;
use super::set_up;

const KNOCK: &str = "postern knock home --allow 203.0.113.9 --for 10m";

pub(super) fn story(stage: &mut Stage) {
    set_up(stage);
    stage.does("gate", "sysctl -qw net.ipv4.ip_forward=1");
    nothing_runs(stage);
    running(stage);
    changing(stage);
    ending(stage);
}

fn nothing_runs(stage: &mut Stage) {
    for command in [
        "status",
        "grants",
        "metrics",
        "close --all",
        "confirm",
        "reload",
    ] {
        stage.tell("gate", &format!("posternd {command}"));
    }
    stage.tell("gate", "posternd close");
    stage.tell("gate", "posternd status --config /etc/postern/none.toml");
    stage.tell("gate", "posternd run --config /etc/postern/none.toml");
    stage.tell("gate", "posternd flush --config /etc/postern/none.toml");
}

fn running(stage: &mut Stage) {
    stage.does("gate", "systemctl start posternd");
    stage.tell("gate", "posternd grants");
    stage.tell("gate", "posternd grants --json");
    stage.tell("gate", "posternd status");
    stage.does("you", KNOCK);
    wait_for(stage, "posternd grants | grep -q tcp/22");
    stage.does(
        "you",
        "postern knock home -s inner -s range -s web --allow 203.0.113.9 --for 20m",
    );
    wait_for(stage, "posternd grants | grep -q tcp/2222");
    stage.does(
        "you",
        "postern knock home --target 10.0.0.5 --allow 203.0.113.9 --for 30m",
    );
    wait_for(stage, "posternd grants | grep -q 10.0.0.5");
    // one that is refused, and a packet that is no knock
    stage.does("you", "postern knock home -s tcp/23");
    stage.does("you", "head -c 132 /dev/zero >/dev/udp/192.0.2.1/62201");
    wait_for(
        stage,
        "posternd status | grep -q 'refuse' && posternd status | grep -q 'drop'",
    );
    stage.tell("gate", "posternd grants");
    stage.tell("gate", "posternd grants --json");
    stage.tell("gate", "posternd status");
    stage.tell("gate", "posternd status --json");
    stage.tell("gate", "posternd metrics");
    stage.tell("gate", "posternd confirm");
    stage.tell("gate", "posternd confirm --json");
    stage.tell("gate", "posternd close --id 1");
    stage.tell("gate", "posternd close --user nobody");
    stage.tell("gate", "posternd close --json --all");
    wait_for(
        stage,
        "grep -q 'closed, as was asked: grant 3' /var/log/posternd.log",
    );
    stage.tell_as("gate", "posternd run", &log("/var/log/posternd.log"));
}

fn changing(stage: &mut Stage) {
    // what is counted for less time than the daemon has run is said to be
    wait_for(
        stage,
        "posternd status --json | grep -q 'daemon_uptime_ms\": [0-9]\\{5\\}\\|daemon_uptime_ms\": [3-9][0-9]\\{3\\}'",
    );
    stage.tell("gate", "posternd reload");
    stage.tell("gate", "posternd reload --json");
    stage.tell("gate", "posternd flush");
    stage.does("gate", "sed -i 's/^name = \"gate.example.org\"/&\\ninterfaces = [\"eth0\", \"wan7\"]/' /etc/postern/posternd.toml");
    stage.does("gate", "posternd reload");
    wait_for(stage, "posternd status | grep -q 'NOT listening'");
    stage.tell("gate", "posternd status");
    stage.tell("gate", "posternd status --json");
    stage.does(
        "gate",
        "sed -i 's/^masquerade/maskerade/' /etc/postern/posternd.toml",
    );
    stage.tell("gate", "posternd reload");
    stage.does(
        "gate",
        "sed -i 's/^maskerade/masquerade/' /etc/postern/posternd.toml",
    );
    // the monitor is held, so that only the engine answers
    stage.tell_as(
        "gate",
        "posternd status --json",
        "kill -STOP $(pgrep -xo posternd -s $(cat /run/started/posternd)); posternd status --json; code=$?; \
         kill -CONT $(pgrep -xo posternd -s $(cat /run/started/posternd)); exit $code",
    );
}

fn ending(stage: &mut Stage) {
    stage.tell_as(
        "gate",
        "posternd status --watch --json",
        "posternd status --watch=100ms --json >/run/watched 2>&1 & \
         until [ -s /run/watched ]; do sleep 0.05; done; systemctl stop posternd; \
         until grep -m1 failed /run/watched; do sleep 0.05; done; kill $!",
    );
    stage.tell("gate", "posternd flush");
    stage.tell("gate", "posternd flush --json");
    // a config that is wrong keeps no port closed
    stage.does(
        "gate",
        "sed 's/^masquerade/maskerade/' /etc/postern/posternd.toml >/etc/postern/typo.toml; chmod 600 /etc/postern/typo.toml",
    );
    stage.tell("gate", "posternd flush --config /etc/postern/typo.toml");
    stage.does("gate", "echo '[gate' >/etc/postern/typo.toml");
    stage.tell("gate", "posternd flush --config /etc/postern/typo.toml");
    stage.tell(
        "gate",
        "posternd flush --config /etc/postern/typo.toml --json",
    );
    stage.does("gate", "sed -i '/^interfaces/d' /etc/postern/posternd.toml");
    stage.tell_as(
        "gate",
        "posternd confirm",
        "touch /run/trial; setsid posternd run --trial 10m >/run/trial 2>&1 & until grep -q 'the engine serves' /run/trial; do sleep 0.05; done; \
         posternd confirm; code=$?; kill $!; wait $!; exit $code",
    );
    stage.tell_as("gate", "posternd run --trial 10m", &log("/run/trial"));
}

/// What the daemon wrote; how tight it is kept, the machine decides.
fn log(file: &str) -> String {
    format!("grep -v 'not as tight as it could be' {file} >&2")
}

/// Until this holds at the gate, for as long as a command may take.
fn wait_for(stage: &Stage, condition: &str) {
    stage.does("gate", &format!("until {condition}; do sleep 0.05; done"));
}
