//! What users see of grants: opened, extended, closed, one user's apart from another's.

use std::net::TcpListener;

use postern_harness::traffic::serve_echo;
use postern_harness::{FAMILIES, Family, GateConfig, World, echoes, wait_for};

pub(crate) fn knock_opens_for_its_sender_and_ends(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    for family in FAMILIES {
        world.first.expect_shut_out(family);
        world.first.open("alice", family, &["--for", "8s"]);
        world.second.expect_shut_out(family);
    }
    world.wait_until_closed();
    world.first.expect_both_shut_out();
    world.expect_nothing_open();
    world.daemon.expect_logged(2, &["closed, its time is up"]);
}

pub(crate) fn session_outlives_its_grant(backend: &'static str) {
    const PORT: u16 = 2200;
    let service = format!("tcp/{PORT}");
    let plan = GateConfig::empty(backend).user("alice", &format!("services = [\"{service}\"]"));
    let world = World::start(&plan);
    serve_echo(world.gate.run(|| TcpListener::bind(("::", PORT)).unwrap()));
    let mut sessions = FAMILIES.map(|family| {
        let options = ["-s", &service, "--for", "5s", "--wait=20s"];
        world.first.knock("alice", family, &options);
        world.first.connect(family, PORT).unwrap()
    });
    assert!(sessions.iter_mut().all(echoes));
    world.wait_until_closed();
    for family in FAMILIES {
        assert!(world.first.connect(family, PORT).is_err());
    }
    assert!(sessions.iter_mut().all(echoes));
}

pub(crate) fn client_waits_for_the_open_port(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    for family in FAMILIES {
        let said = world.first.knock("alice", family, &["--wait=20s"]);
        assert!(said.contains("is open after"), "{said}");
        let words = ["knock", family.name(), "-s", "tcp/23", "--wait=1s"];
        let in_vain = world.second.postern("alice", &words);
        assert_eq!(in_vain.code, Some(3), "{in_vain:?}");
    }
}

/// One rule and the same grant: renewals add no rules.
pub(crate) fn renewal_extends_the_one_grant(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    for (count, family) in (1..).zip(FAMILIES) {
        world.first.knock("alice", family, &["--for", "60s"]);
        let address = world.first.address(family);
        let grant = || {
            let mut grants = world.wait_for_grants(count).into_iter();
            grants.find(|grant| grant.allow.addr() == address)
        };
        let (first, rules) = (grant().unwrap(), world.rules());
        world.first.knock("alice", family, &["--for", "600s"]);
        let extended = wait_for("a later end", || {
            grant().filter(|grant| grant.until > first.until)
        });
        assert!(extended.opens_same(&first), "{extended}");
        let longer = extended.until.since(first.until).as_secs();
        assert!(longer >= 530, "{extended} until {}", extended.until);
        assert_eq!(world.rules().len(), rules.len(), "{:?}", world.rules());
        assert_ne!(world.rules(), rules, "the kernel has the later end, too");
        world.first.expect_let_in(family);
    }
}

pub(crate) fn users_close_only_their_own_grants(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend).member("bob", ""));
    for family in FAMILIES {
        for user in ["alice", "bob"] {
            world.first.knock(user, family, &[]);
        }
    }
    world.wait_for_grants(4);
    world.first.close("alice", Family::V4);
    world.wait_for_grants(3);
    world.first.close("alice", Family::V6);
    let left = world.wait_for_grants(2);
    assert!(left.iter().all(|grant| grant.user == "bob"), "bob's stay");
    world.first.expect_both_let_in();
    world.first.close("bob", Family::V4);
    world.first.close("bob", Family::V6);
    world.wait_until_closed();
    world.first.expect_both_shut_out();
    world.expect_nothing_open();
    world.daemon.expect_logged(4, &["closed, as was asked"]);
}
