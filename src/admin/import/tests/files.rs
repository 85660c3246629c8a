//! Included files, files of several programs, and files that packages ship.

use super::*;

#[test]
fn included_files_are_read() {
    let stanza = |name: &str| format!("SOURCE ANY\n{KEY}{HMAC}REQUIRE_USERNAME {name}\n");
    let main = "SOURCE 10.0.0.0/8\n%include_keys included/keys\nOPEN_PORTS tcp/1\n%include included/a\n%include_folder included/d\n";
    let keys = format!("{KEY}{HMAC}");
    let made = import(&[
        ("access.conf", main),
        ("included/keys", &keys),
        (
            "included/a",
            &format!("{}%include included/b\n", stanza("a")),
        ),
        ("included/b", &stanza("b")),
        ("included/d/1.conf", &stanza("c")),
        ("included/d/2.conf", &stanza("d")),
    ]);
    let names: Vec<_> = made.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["fwknop-1", "a", "b", "c", "d"]);
    assert_eq!(made.users[2].place.to_string(), "included/b:1");
    assert!(!made.findings.has_refused());
}

#[test]
fn unreadable_or_endless_includes_convert_nothing() {
    let stanza = format!("SOURCE ANY\n{KEY}{HMAC}");
    for (main, part) in [
        ("%include included/none\n", "included/none cannot be read"),
        ("%include included/a\n", "more than three levels deep"),
        (
            "%include included/b\nOPEN_PORTS tcp/1\n",
            "after an include",
        ),
    ] {
        let made = import(&[
            ("access.conf", &format!("{stanza}{main}")),
            ("included/a", "%include included/a\n"),
            ("included/b", ""),
        ]);
        let said = said(&made).join("\n");
        assert!(
            said.contains(part) && made.users.is_empty(),
            "{main}: {said}"
        );
    }
}

/// As fwknopd does it: keys of the file replace those of the stanza, and other lines count for nothing.
#[test]
fn keys_of_a_file_replace_those_of_the_stanza() {
    let made = import(&[
        (
            "access.conf",
            &format!("SOURCE ANY\n{KEY}{HMAC}%include_keys included/a\n"),
        ),
        (
            "included/a",
            "SOURCE 10.0.0.1\nKEY_BASE64 b3RoZXI=\nOPEN_PORTS tcp/1\n",
        ),
    ]);
    assert!(!made.findings.has_refused());
    let user = only_user(&made);
    assert_eq!(user["fwknop"]["key"].as_str(), Some("b3RoZXI="));
    assert_eq!(user["from"].to_string(), "[\"0.0.0.0/0\"]");
}

#[test]
fn openwrt_sections_become_users() {
    let text = "config global\n\toption uci_enabled '1'\n\nconfig access\n\toption SOURCE 'ANY'\n\
        \toption KEY_BASE64 'c2VjcmV0LWtleS1vZi1hbGljZQ=='\n\toption HMAC_KEY_BASE64 'c2VjcmV0LWhtYWMtb2YtYWxpY2U='\n\
        \toption OPEN_PORTS 'tcp/22, tcp/443'\n\toption hkeytype 'Base 64 key'\n\nconfig config\n\toption ENABLE_TCP_SERVER 'y'\n";
    let made = import(&[("fwknopd", text)]);
    assert_eq!(
        only_user(&made)["services"].to_string(),
        "[\"tcp/22\", \"tcp/443\"]"
    );
    let said = said(&made).join("\n");
    assert!(
        said.contains("fwknopd:12: ENABLE_TCP_SERVER refused"),
        "{said}"
    );
    let off = text.replace('1', "0");
    let made = import(&[("fwknopd", &off)]);
    assert!(made.users.is_empty() && made.findings.has_refused());
    let made = import(&[(
        "fwknopd",
        "config global\n\toption uci_enabled '1'\nconfig access\n\toption KEY 'a'\n",
    )]);
    assert!(made.users.is_empty() && made.findings.has_refused());
}

#[test]
fn other_files_are_refused() {
    for (text, part) in [
        ("hello\n", "this is no access.conf"),
        ("", "this is no access.conf"),
        ("[default]\nKEY x\n", "run postern import"),
    ] {
        let said = said(&import(&[("file", text)])).join("\n");
        assert!(said.contains(part), "{text}: {said}");
    }
}

/// What the packages of Debian 12 have below /etc, without comments.
#[test]
fn shipped_files_are_judged() {
    let access = "SOURCE              ANY\nKEY_BASE64          __CHANGEME__\nHMAC_KEY_BASE64     __CHANGEME__\n";
    let made = import(&[
        ("access.conf", access),
        ("fwknopd.conf", "#PCAP_INTF eth0;\n"),
    ]);
    assert!(made.users.is_empty());
    assert_eq!(said(&made).len(), 2, "{:?}", said(&made));
    let rule =
        |change: &str| format!("/sbin/iptables {change} INPUT -s %IP% -p tcp --dport 22 -j ACCEPT");
    let door = |name: &str, ports: &str, command: &str| {
        format!(
            "\n[{name}]\n\tsequence    = {ports}\n\tseq_timeout = 5\n\tcommand     = {command}\n\ttcpflags    = syn\n"
        )
    };
    let knockd = "[options]\n\tUseSyslog\n".to_owned()
        + &door("openSSH", "7000,8000,9000", &rule("-A"))
        + &door("closeSSH", "9000,8000,7000", &rule("-D"))
        + &door(
            "openHTTPS",
            "12345,54321,24680,13579",
            "/usr/local/sbin/knock_add -i -c INPUT -p tcp -d 443 -f %IP%",
        );
    let made = import(&[("knockd.conf", &knockd)]);
    let names: Vec<_> = made.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["openSSH", "closeSSH", "openHTTPS"]);
    assert!(!made.findings.has_refused());
    let close = "on_open = [\"/usr/bin/posternd\", \"close\", \"--address\", \"{address}\"]";
    assert!(made.services[0].toml.full.contains(close));
    for (service, port) in made.services.iter().zip(["udp/9", "udp/8"]) {
        let line = format!("ports = [\"{port}\"]\n");
        assert!(service.toml.full.contains(&line), "one of its own: {line}");
    }
    let expected = "name = \"openSSH\"\nsequence = [\"tcp/7000\", \"tcp/8000\", \"tcp/9000\"]\nsequence_timeout = \"5s\"\n\
        tcp_flags = [\"syn\"]\nservices = [\"tcp/22\"]\nnetworks = [\"0.0.0.0/0\"]\nduration = \"3600s\"\nmax_duration = \"3600s\"\n";
    assert_eq!(*made.users[0].toml.full, expected);
    let said = said(&made).join("\n");
    assert!(
        said.contains("knockd.conf:7: Command narrowed: nothing deletes this rule"),
        "{said}"
    );
    assert!(
        said.contains("knockd.conf:13: Command narrowed: the sequence closes all grants"),
        "{said}"
    );
}

#[test]
fn no_user_runs_the_program_of_another() {
    let stanza = |lines: &str| format!("SOURCE ANY\n{KEY}{HMAC}{lines}\n");
    let program = stanza("OPEN_PORTS tcp/7\nCMD_CYCLE_OPEN /bin/a $IP\nCMD_CYCLE_CLOSE NONE");
    let door = "[backup]\nsequence = 1\ncommand = /bin/a %IP%\n".to_owned();
    for (others, owner) in [
        ("OPEN_PORTS tcp/80,udp/9", ("one.conf", &program)),
        ("", ("one.conf", &program)),
        ("RESTRICT_PORTS tcp/22", ("knockd.conf", &door)),
    ] {
        let other = stanza(others);
        let made = import(&[("other.conf", &other), (owner.0, owner.1)]);
        let names: Vec<_> = made.users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["fwknop-1"], "{:?}", said(&made));
        assert!(made.services.is_empty());
        let said = said(&made).join("\n");
        let part = format!("{}:1: refused: user fwknop-1 may open", owner.0);
        assert!(said.contains(&part), "{said}");
    }
    // The program has a port of its own, not the one that its clients ask for.
    let apart = stanza("OPEN_PORTS tcp/7");
    let made = import(&[("other.conf", &apart), ("one.conf", &program)]);
    assert_eq!(made.users.len(), 2, "{:?}", said(&made));
}
