//! What users see of grants: opened, extended, closed, one user's apart from another's.

use std::net::TcpListener;

use rustix::process::Signal;

use postern_harness::traffic::serve_echo;
use postern_harness::{FAMILIES, Family, GateConfig, SERVICE, World, echoes, wait_for};

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

/// A reload brings the end of alice nearer. The kernel itself keeps it.
pub(crate) fn grants_end_with_their_user(backend: &'static str) {
    let mut world = World::start(&GateConfig::new(backend).member("bob", ""));
    for user in ["alice", "bob"] {
        for family in FAMILIES {
            world.first.knock(user, family, &["--for", "600s"]);
        }
    }
    world.wait_for_grants(4);
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(6);
    let end = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let plan = GateConfig::empty(backend).member("alice", &format!("expires = {end}"));
    world.rewrite(&plan);
    world.at_gate(&["reload"]);
    let grants = world.wait_for_grants(2);
    for grant in &grants {
        assert_eq!(
            (&*grant.user, grant.until.to_string()),
            ("alice", end.clone())
        );
    }
    world.first.expect_both_let_in();
    world.daemon.signal(Signal::STOP);
    for family in FAMILIES {
        wait_for("the kernel to end the grant", || {
            world.first.connect(family, SERVICE).err()
        });
        world.first.expect_shut_out(family);
    }
    world.daemon.signal(Signal::CONT);
    world.wait_until_closed();
    world.first.knock("alice", Family::V4, &[]);
    world.daemon.wait_for_count("refuse expired", 1);
    world.restart();
    world.first.knock("alice", Family::V6, &[]);
    world.daemon.wait_for_count("refuse expired", 1);
    world.expect_nothing_open();
}

pub(crate) fn knocks_from_elsewhere_are_refused(backend: &'static str) {
    let from = |host| {
        FAMILIES.map(|family| {
            let length = if family == Family::V4 { 32 } else { 128 };
            format!("{}/{length}", family.address(host))
        })
    };
    let plan = GateConfig::empty(backend).member("alice", &format!("from = {:?}", from(2)));
    let world = World::start(&plan);
    for (count, family) in (1..).zip(FAMILIES) {
        // Whichever address the knock lets in.
        let first = world.first.address(family).to_string();
        world.second.knock("alice", family, &["--allow", &first]);
        world.daemon.wait_for_count("refuse from", count);
        world.expect_nothing_open();
    }
    for family in FAMILIES {
        world.first.open("alice", family, &[]);
        world.second.expect_shut_out(family);
    }
}
