//! Certificates, passwords and settings of the coordinator: right ones admit, and `check` names what is wrong.

use std::fs;
use std::path::Path;
use std::process::Command;

use postern_harness::{KnockMaker, Namespace, SERVICE, find, run, text, wait_until};

use super::bad_input;
use super::claims::Test;
use super::fleet::{self, Fleet, Gate};
use super::servers::Server;

pub(crate) const TESTS: &[(&str, Test)] = &[(
    "secure_transport_and_password_admit",
    secure_transport_and_password_admit,
)];

/// Makes a CA, the coordinator's certificate, and another CA that signed nothing.
fn certify(folder: &Path) {
    let openssl = |line: &str| {
        let mut command = Command::new(find("openssl").unwrap());
        let ran = command
            .args(line.split_whitespace())
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{line}: {ran:?}");
    };
    for name in ["ca", "other"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /O={name} -keyout {name}-key.pem -out {name}.pem"
        ));
    }
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=coordinator -keyout key.pem -out request.pem",
    );
    fs::write(
        folder.join("names"),
        "subjectAltName=IP:10.78.1.1,IP:127.0.0.1",
    )
    .unwrap();
    openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile names -out cert.pem",
    );
}

/// Turns on etcd's passwords.
fn enable_passwords(space: &Namespace, folder: &Path) {
    let ca = folder.join("ca.pem").display().to_string();
    let ask = |call: &str, body: &str| {
        let url = format!("https://127.0.0.1:2379/v3/auth/{call}");
        text(&run(
            space,
            "curl",
            &["-s", "--cacert", &ca, &url, "-d", body],
        ))
    };
    wait_until("etcd to serve", || {
        ask("role/add", r#"{"name":"postern"}"#).contains("header")
    });
    // Base64 of /postern/ and of what follows the last key that starts so.
    let range = r#"{"name":"postern","perm":{"permType":2,"key":"L3Bvc3Rlcm4v","range_end":"L3Bvc3Rlcm4w"}}"#;
    for (call, body) in [
        ("user/add", r#"{"name":"root","password":"root"}"#),
        ("user/grant", r#"{"user":"root","role":"root"}"#),
        ("role/grant", range),
        ("user/add", r#"{"name":"postern","password":"secret"}"#),
        ("user/grant", r#"{"user":"postern","role":"postern"}"#),
        ("enable", "{}"),
    ] {
        let said = ask(call, body);
        assert!(said.contains("header"), "{call}: {said}");
    }
}

fn secure_transport_and_password_admit(kind: &'static str) {
    let own = fleet::folder();
    let (folder, space) = (own.path().to_owned(), Namespace::new());
    certify(&folder);
    let here = folder.display();
    let line = match kind {
        "etcd" => format!(
            "--listen-client-urls https://0.0.0.0:2379 --advertise-client-urls https://127.0.0.1:2379 --cert-file {here}/cert.pem --key-file {here}/key.pem"
        ),
        _ => format!(
            "--port 0 --tls-port 6379 --tls-cert-file {here}/cert.pem --tls-key-file {here}/key.pem --tls-ca-cert-file {here}/ca.pem \
             --tls-auth-clients no --user postern on >secret ~/postern/* +@all"
        ),
    };
    let more: Vec<&str> = line.split_whitespace().collect();
    let server = Server::start(kind, &space, &folder, &more);
    if kind == "etcd" {
        enable_passwords(&space, &folder);
    }
    let lines = |ca: &str, password: &str| {
        let path = folder.join(password);
        postern::adapters::files::write_private(&path, format!("{password}\n").as_bytes(), true)
            .unwrap();
        format!(
            "user = \"postern\"\nca_file = \"{here}/{ca}.pem\"\npassword_file = \"{here}/{password}\"\n"
        )
    };
    let fleet = Fleet::join(space, own, Some(server), kind, 2, &lines("ca", "secret"));
    let knock = fleet.knock(1);
    fleet.deliver_to(&fleet.gates[0], &knock);
    wait_until("one gate to open", || fleet.grants() == 1);
    fleet.deliver_to(&fleet.gates[1], &knock);
    wait_until("the other to drop it", || {
        fleet.count("drop duplicate") + fleet.count("drop replay") == 1
    });

    key_that_does_not_fit_is_refused(&fleet.gates[0], &fleet.section(1, &lines("ca", "secret")));

    // Another cluster's prefix is closed to this one's user.
    let prefix = lines("ca", "secret") + "prefix = \"/other/\"\n";
    let of_prefix = match kind {
        "etcd" => "readwrite on all keys of cluster.prefix",
        _ => "the keys of cluster.prefix",
    };
    for (host, wrong, cure) in [
        (2, lines("other", "secret"), "cluster.ca_file"),
        (
            3,
            lines("ca", "guessed"),
            "check cluster.user and cluster.password_file",
        ),
        (4, prefix, of_prefix),
    ] {
        let said = fleet.gates[0].checked(&fleet.section(1, &wrong));
        assert!(said.contains(cure), "{said}");
        fleet.gates[0].reload();
        bad_input::refuses(&fleet, host, cure);
    }
}

/// In the middle of a renewal the certificate is that of another key.
fn key_that_does_not_fit_is_refused(gate: &Gate, section: &str) {
    let own = fleet::folder();
    certify(own.path());
    let here = own.path().display();
    let pair = format!("cert_file = \"{here}/cert.pem\"\ncert_key_file = \"{here}/ca-key.pem\"\n");
    gate.checked(&format!("{section}{pair}"));
    let reload = gate.daemon.ask(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stderr);
    assert!(said.contains("cert_key_file: "), "{said}");
    assert!(gate.is_back(), "the old cluster process goes on");
}

/// A secret that nobody can read, and back.
pub(crate) fn gate_starts_without_a_cluster_process() {
    let fleet = Fleet::start("redis", 0);
    let own = fleet::folder();
    let path = own.path().join("password");
    let lines = format!("password_file = \"{}\"\n", path.display());
    let gate = fleet.gate(1, &lines);
    assert!(
        !gate
            .daemon
            .logged(&["ERROR", "no cluster process"])
            .is_empty()
    );
    fleet.deliver_to(&gate, &fleet.knock(1));
    wait_until("the knock to be refused", || {
        gate.daemon.status().count("refuse coordinator") == 1
    });
    let knock = KnockMaker::of("gate1", "emergency").open([10, 99, 0, 1].into(), SERVICE, 60);
    fleet.deliver_to(&gate, &knock);
    wait_until("break glass to open", || gate.daemon.grants().len() == 1);
    postern::adapters::files::write_private(&path, b"", true).unwrap();
    wait_until("the process to start", || gate.is_back());
}

/// Users of Redis who lack a command, or the keys.
pub(crate) fn redis_that_refuses_writes_is_named() {
    let fleet = Fleet::start("redis", 0);
    let own = fleet::folder();
    let path = own.path().join("password");
    postern::adapters::files::write_private(&path, b"secret", true).unwrap();
    let all = "+eval +get +set +time +xadd +xread +role +config|get";
    let gate = fleet.gate(1, "");
    for (user, rights, cure) in [
        ("all", format!("~/postern/* -@all {all}"), None),
        (
            "read",
            format!("%R~/postern/* -@all {all}"),
            Some("the user needs"),
        ),
        (
            "other",
            format!("~/other/* -@all {all}"),
            Some("the user needs"),
        ),
        (
            "set",
            format!("~/postern/* -@all {}", all.replace("+set ", "")),
            Some("SET"),
        ),
        (
            "eval",
            format!("~/postern/* -@all {}", all.replace("+eval ", "")),
            Some("EVAL"),
        ),
    ] {
        let line = format!("ACL SETUSER {user} on >secret resetkeys {rights}");
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let said = text(&run(&fleet.space, "redis-cli", &arguments));
        assert_eq!(said.trim(), "OK");
        let lines = format!(
            "user = \"{user}\"\npassword_file = \"{}\"\n",
            path.display()
        );
        let said = gate.checked(&fleet.section(1, &lines));
        match cure {
            Some(cure) => assert!(said.contains(cure), "{user}: {said}"),
            None => assert!(!said.contains("coordinator can't be used"), "{said}"),
        }
    }
}

/// Debian's own settings.
pub(crate) fn forgetful_redis_is_refused() {
    let own = fleet::folder();
    let space = Namespace::new();
    let server = Server::start("redis", &space, own.path(), &["--appendonly", "no"]);
    let fleet = Fleet::join(space, own, Some(server), "redis", 0, "");
    let gate = fleet.gate(1, "");
    let said = gate.checked(&fleet.section(1, ""));
    assert!(said.contains("set appendonly yes in redis.conf"), "{said}");
    fleet.deliver_to(&gate, &fleet.knock(1));
    wait_until("the knock to be refused", || {
        gate.daemon.status().count("refuse coordinator") == 1
    });
}
