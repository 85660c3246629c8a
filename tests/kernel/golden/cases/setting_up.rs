//! A gate is set up and gets users, with nothing running and then with a daemon that reads what changes; profiles at a client.

use super::super::stage::Stage;

pub(super) fn story(stage: &mut Stage) {
    // as on a machine that never had Postern, and that does not route
    stage.does("gate", "sed -i '/^postern:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow && sysctl -qw net.ipv4.ip_forward=0");
    programs(stage);
    gate(stage);
    users(stage);
    client(stage);
    running(stage);
}

fn programs(stage: &mut Stage) {
    for command in [
        "posternd --version",
        "posternd",
        "posternd open-sesame",
        "posternd user",
        "posternd user promote",
    ] {
        stage.tell("gate", command);
    }
    for command in ["postern --version", "postern", "postern open-sesame"] {
        stage.tell("you", command);
    }
}

fn gate(stage: &mut Stage) {
    stage.tell("gate", "posternd check");
    stage.tell("gate", "posternd init --name gate.example.org");
    stage.tell("gate", "posternd init --name gate.example.org");
    stage.tell("gate", "posternd init --name other.example.org");
    stage.tell("gate", "posternd init --json --config /srv/gate/posternd.toml --name inner.example.org --address 192.0.2.1 --port 4000");
    stage.tell(
        "gate",
        "posternd init --json --config /srv/gate/posternd.toml --name inner.example.org",
    );
    stage.tell("gate", "posternd check");
    stage.does(
        "gate",
        "sed -i 's/^#\\?backend = .*/backend = \"nftables\"/' /etc/postern/posternd.toml",
    );
}

fn users(stage: &mut Stage) {
    stage.tell("gate", "posternd user list");
    stage.tell("gate", "posternd user add alice -s tcp/22");
    stage.tell("gate", "posternd user add alice -s tcp/22");
    stage.tell("gate", "posternd user add bob -s tcp/22 --psk");
    stage.tell("gate", "posternd user add bob -s tcp/22/23");
    stage.tell("gate", "posternd user add bob -s tcp/22 -s udp/5000-5010 --pair --totp --target 10.0.0.0/24 --duration 1m --quota 5/min");
    stage.tell(
        "gate",
        "posternd user add --json carol -s tcp/8080 --pair --psk --totp",
    );
    stage.does(
        "gate",
        "postern keygen >/etc/postern/dave.key && chmod 600 /etc/postern/dave.key",
    );
    let dave =
        "\\n[[user]]\\nname = \"dave\"\\nkey_file = \"dave.key\"\\nservices = [\"tcp/22\"]\\n";
    stage.does(
        "gate",
        &format!("printf '{dave}' >>/etc/postern/posternd.toml"),
    );
    stage.tell("gate", "posternd user rotate alice --keep-old 1h");
    stage.tell("gate", "posternd user rotate nobody");
    stage.tell("gate", "posternd user rotate --json bob --pair");
    stage.tell("gate", "posternd user list");
    stage.tell("gate", "posternd user list --json");
    for name in ["alice", "bob", "dave", "nobody"] {
        stage.tell("gate", &format!("posternd user show {name}"));
    }
    stage.tell("gate", "posternd user show --json bob");
    stage.tell("gate", "posternd user disable alice");
    stage.tell("gate", "posternd user disable alice");
    stage.tell("gate", "posternd user disable dave");
    stage.tell("gate", "posternd user disable --json carol");
    stage.tell("gate", "posternd user disable --json carol");
    stage.tell("gate", "posternd user enable alice");
    stage.tell("gate", "posternd user enable alice");
    stage.tell("gate", "posternd user enable nobody");
    stage.tell("gate", "posternd user enable --json carol");
    stage.tell("gate", "posternd check");
    stage.tell("gate", "posternd check --json");
    // a host whose own rules let nothing in
    stage.does("gate", "nft 'add table inet host; add chain inet host input { type filter hook input priority 0; policy drop; }'");
    stage.tell("gate", "posternd check");
    stage.tell("gate", "posternd check --json");
    stage.does("gate", "nft delete table inet host");
    stage.tell("gate", "posternd user remove carol");
    stage.tell("gate", "posternd user remove bob --unprotect");
    stage.tell("gate", "posternd user remove --json --unprotect carol");
    stage.tell("gate", "posternd user remove carol");
}

fn client(stage: &mut Stage) {
    stage.tell("you", "postern profiles");
    stage.tell("you", "postern keygen");
    stage.tell("you", "postern keygen --pair");
    stage.tell("you", "postern keygen --output home.key");
    stage.tell("you", "postern keygen --output home.key");
    stage.tell("you", "postern keygen --json");
    stage.tell("you", "postern keygen --json --pair");
    stage.tell("you", "postern keygen --json --pair --output pair.key");
    stage.tell("you", "postern enroll");
    stage.tell("you", "postern enroll");
    stage.tell("you", "postern enroll --json work");
    let token = stage.does(
        "gate",
        "posternd user add --json erin -s tcp/22 | grep -o 'postern-secret-1[A-Za-z0-9_.-]*'",
    );
    stage.world.host("you").write("~/token", &token);
    stage.tell("you", "postern import token");
    stage.tell("you", "postern import token");
    stage.tell("you", "postern import --json --replace token");
    stage.tell("you", "postern import /etc/hostname");
    stage.world.host("you").write("~/profile.toml", PROFILE);
    stage.tell("you", "postern import --json profile.toml");
    stage.tell("you", "postern profiles");
    stage.tell("you", "postern profiles --json");
    stage.does("you", "chmod 644 .config/postern/config.toml");
    stage.tell("you", "postern profiles");
}

fn running(stage: &mut Stage) {
    stage.does("gate", "systemctl start posternd");
    stage.tell("gate", "posternd user add fred -s tcp/22");
    stage.tell("gate", "posternd user add --json gina -s tcp/22");
    stage.tell("gate", "posternd user disable fred");
    not_taken(stage);
    stage.does("gate", "printf '[gat]\\n' >/etc/postern/users.d/odd.toml && chmod 600 /etc/postern/users.d/odd.toml");
    stage.tell("gate", "posternd user enable fred");
    stage.tell("gate", "posternd check");
    stage.tell("gate", "posternd check --json");
    stage.does("gate", "systemctl stop posternd");
}

/// The daemon that runs can't use what the commands find right, or can't be asked.
fn not_taken(stage: &mut Stage) {
    let config = "/etc/postern/posternd.toml";
    for (sabotage, name) in [
        ("s/^run_as = .*/run_as = \"nobody-at-all\"/", "hank"),
        ("s,^\\[gate\\],&\\ncontrol_socket = \"/run/loop\",", "ivy"),
    ] {
        stage.does(
            "gate",
            &format!(
                "ln -sfn loop /run/loop; cp -p {config} /run/kept; sed -i '{sabotage}' {config}"
            ),
        );
        stage.tell(
            "gate",
            &format!("posternd user add --json {name} -s tcp/22"),
        );
        stage.tell("gate", &format!("posternd user disable {name}"));
        stage.tell("gate", &format!("posternd user enable --json {name}"));
        stage.does("gate", &format!("cp -p /run/kept {config}"));
    }
}

const PROFILE: &str = r#"[work]
gate = "work.example.org"
address = ["work.example.org", "[2001:db8::1]:4000"]
key = "fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU="
services = ["tcp/22", "web"]
target = "10.0.0.5"
allow = "source/24"
duration = "10m"
code = "ask"
"#;
