//! What users and the administrator see of grants: opened, extended, closed, one user's apart from another's.

use postern_harness::{FAMILIES, Family, GateConfig, SERVICE, World, text, wait_for};

pub(crate) fn knock_opens_for_its_sender_and_ends(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    for family in FAMILIES {
        world.first.expect_shut_out(family);
        world.first.knock("alice", family, &["--for", "8s"]);
        world.first.expect_let_in(family);
        world.second.expect_shut_out(family);
    }
    world.wait_until_closed();
    world.first.expect_both_shut_out();
    world.expect_nothing_open();
    assert_eq!(world.daemon.logged(&["closed, its time is up"]).len(), 2);
}

pub(crate) fn client_waits_for_the_open_port(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    for family in FAMILIES {
        let said = world.first.knock("alice", family, &["--wait=20s"]);
        assert!(said.contains("is open after"), "{said}");
        let in_vain = world.second.postern(
            "alice",
            &["knock", family.name(), "-s", "tcp/23", "--wait=1s"],
        );
        assert_eq!(in_vain.code, Some(3), "{in_vain:?}");
    }
}

/// One rule only, and the same grant: an address does not pile up rules.
pub(crate) fn renewal_extends_the_one_grant(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    for (count, family) in (1..).zip(FAMILIES) {
        let admitted = world.daemon.status().admitted;
        world.first.knock("alice", family, &["--for", "60s"]);
        world.wait_for_grants(count);
        let grant = || {
            world
                .daemon
                .grants()
                .into_iter()
                .find(|grant| grant.allow.addr() == world.first.address(family))
        };
        let (first, rules) = (grant().unwrap(), world.rules());
        world.first.knock("alice", family, &["--for", "600s"]);
        world.daemon.wait_for_admitted(admitted + 2);
        let extended = wait_for("a later end", || {
            grant().filter(|grant| grant.until > first.until)
        });
        assert!(extended.opens_same(&first), "{extended}");
        assert!(
            extended.until.since(first.until).as_secs() >= 530,
            "{extended} until {}",
            extended.until
        );
        assert_eq!(world.daemon.grants().len(), count);
        assert_eq!(world.rules().len(), rules.len(), "{:?}", world.rules());
        assert_ne!(world.rules(), rules, "the kernel has the later end, too");
        world.first.expect_let_in(family);
    }
}

pub(crate) fn users_close_only_their_own_grants(backend: &'static str) {
    let world = World::start(
        &GateConfig::new(backend).user("bob", &format!("services = [\"tcp/{SERVICE}\"]")),
    );
    for family in FAMILIES {
        for user in ["alice", "bob"] {
            world.first.knock(user, family, &[]);
        }
    }
    world.wait_for_grants(4);
    let close = |user: &str, family: Family| {
        let ran = world.first.postern(user, &["close", family.name()]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    };
    close("alice", Family::V4);
    world.wait_for_grants(3);
    close("alice", Family::V6);
    assert!(
        world
            .wait_for_grants(2)
            .iter()
            .all(|grant| grant.user == "bob"),
        "bob's stay"
    );
    world.first.expect_both_let_in();
    close("bob", Family::V4);
    close("bob", Family::V6);
    world.wait_until_closed();
    world.first.expect_both_shut_out();
    world.expect_nothing_open();
    assert_eq!(world.daemon.logged(&["closed, as was asked"]).len(), 4);
}

pub(crate) fn administrator_lists_and_closes_grants(backend: &'static str) {
    let world = World::start(
        &GateConfig::new(backend).user("bob", &format!("services = [\"tcp/{SERVICE}\"]")),
    );
    for family in FAMILIES {
        world.first.knock("alice", family, &["--for", "10m"]);
        world.second.knock("bob", family, &[]);
    }
    world.wait_for_grants(4);

    let said: serde_json::Value =
        serde_json::from_slice(&world.daemon.asked(&["grants", "--json"]).stdout).unwrap();
    assert_eq!(said["version"], 1);
    for family in FAMILIES {
        let allow = ipnet::IpNet::from(world.first.address(family)).to_string();
        let grants = said["grants"].as_array().unwrap();
        let grant = grants
            .iter()
            .find(|grant| grant["allow"] == allow.as_str())
            .unwrap_or_else(|| panic!("{said}"));
        assert_eq!(
            (&grant["user"], &grant["services"]),
            (
                &"alice".into(),
                &serde_json::json!([format!("tcp/{SERVICE}")])
            )
        );
        assert!(
            grant["target"].is_null() && grant["id"].is_u64() && !grant["until"].is_null(),
            "{grant}"
        );
    }
    let plain = text(&world.daemon.asked(&["grants"]));
    assert_eq!(plain.lines().count(), 5, "{plain}");
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let alices = plain
        .lines()
        .map(words)
        .find(|row| row[2] == "10.77.0.2/32")
        .unwrap_or_else(|| panic!("{plain}"));
    assert_eq!(
        (alices[1].as_str(), alices[3].as_str()),
        ("alice", "tcp/2222"),
        "{plain}"
    );

    let said = text(&world.daemon.asked(&["close", "--user", "bob"]));
    assert_eq!(said, "closed 2 grants\n");
    world.second.expect_both_shut_out();
    world.first.expect_both_let_in();
    let said: serde_json::Value =
        serde_json::from_slice(&world.daemon.asked(&["close", "--all", "--json"]).stdout).unwrap();
    assert_eq!(said, serde_json::json!({ "version": 1, "closed": 2 }));
    world.first.expect_both_shut_out();
    world.expect_nothing_open();
    assert_eq!(text(&world.daemon.asked(&["grants"])), "nothing is open\n");
}
