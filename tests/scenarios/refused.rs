//! Authenticated knocks that policy does not allow (step 6.9): told at info with who and which rule, and nothing opens.

use postern::core::gate::Seen;
use postern::model::reason::Rule;
use postern_proto::{Packet, Sealed};

use crate::knocks::{HOME, Knock};
use crate::reasons::assert_refused;
use crate::world::{START, World, seconds};

fn alice(rights: &str) -> World {
    World::new(&format!(
        "[service.web]\nports = ['tcp/80']\n[[user]]\nname = 'alice'\nkey = ALICE\nquota = '100/s'\n{rights}"
    ))
}

#[test]
pub(crate) fn an_address_outside_the_users_networks_is_refused() {
    let mut world = alice("services = ['tcp/22']\nnetworks = ['192.0.2.0/24']\n");
    let wish = Knock::of("alice");
    assert_refused(
        &mut world,
        |world| world.knock(&wish, "198.51.100.9"),
        Rule::Networks,
    );
    assert_refused(
        &mut world,
        |world| world.knock(&wish, "2001:db8::9"),
        Rule::Networks,
    );
    assert_refused(
        &mut world,
        |world| world.knock(&wish.clone().allow("192.0.3.1"), HOME),
        Rule::Networks,
    );
    assert!(world.knock(&wish, HOME).admitted);
}

#[test]
fn an_address_that_is_nobodys_is_never_let_in() {
    let mut world = alice("services = ['tcp/22']\n");
    for nobody in ["224.0.0.1", "255.255.255.255", "ff02::1"] {
        assert_refused(
            &mut world,
            |world| world.knock(&Knock::of("alice").allow(nobody), HOME),
            Rule::Networks,
        );
    }
}

#[test]
pub(crate) fn a_network_wider_than_max_prefix_is_refused() {
    let mut world = alice("services = ['tcp/22']\nmax_prefix = { v4 = 28, v6 = 64 }\n");
    for wish in [
        Knock::of("alice").widened(96 + 27),
        Knock::of("alice").allow("192.0.2.0/27"),
        Knock::of("alice").allow("0.0.0.0/0"),
        Knock::of("alice").allow("2001:db8::/63"),
        // From an IPv4 source, less than 96 would be a network that is no IPv4 one any more.
        Knock::of("alice").widened(95),
        Knock::of("alice").widened(0),
    ] {
        assert_refused(&mut world, |world| world.knock(&wish, HOME), Rule::Prefix);
    }
    assert!(
        world
            .knock(&Knock::of("alice").widened(96 + 28), HOME)
            .admitted
    );
    assert!(
        world
            .knock(&Knock::of("alice").widened(64), "2001:db8::7")
            .admitted
    );
}

#[test]
pub(crate) fn the_other_kind_of_address_than_grant_to_says_is_refused() {
    for (grant_to, wish) in [
        ("claimed", Knock::of("alice")),
        ("observed", Knock::of("alice").allow(HOME)),
    ] {
        let mut world = alice(&format!("services = ['tcp/22']\ngrant_to = '{grant_to}'\n"));
        assert_refused(&mut world, |world| world.knock(&wish, HOME), Rule::GrantTo);
    }
}

#[test]
pub(crate) fn a_host_behind_the_gate_that_the_policy_does_not_list_is_refused() {
    let mut world = alice("services = ['tcp/22']\n");
    assert_refused(
        &mut world,
        |world| world.knock(&Knock::of("alice").target("10.0.0.5"), HOME),
        Rule::Target,
    );
    let mut world = alice("services = ['tcp/22']\ntargets = ['10.0.0.0/24']\n");
    assert_refused(
        &mut world,
        |world| world.knock(&Knock::of("alice").target("10.0.1.5"), HOME),
        Rule::Target,
    );
}

#[test]
pub(crate) fn a_target_of_the_other_family_is_refused() {
    let mut world = alice("services = ['tcp/22']\ntargets = ['fd00::/64']\n");
    assert_refused(
        &mut world,
        |world| world.knock(&Knock::of("alice").target("fd00::5"), HOME),
        Rule::Family,
    );
    assert!(
        world
            .knock(&Knock::of("alice").target("fd00::5"), "2001:db8::7")
            .admitted
    );
}

#[test]
pub(crate) fn one_service_that_is_not_the_users_refuses_the_whole_knock() {
    let mut world = alice("services = ['tcp/22', 'udp/1000-1010']\n");
    for services in [
        &["tcp/22", "tcp/23"][..],
        &["udp/22"],
        &["udp/1000-1011"],
        &["web"],
        &["icmp"],
        &["tcp/1-65535"],
    ] {
        assert_refused(
            &mut world,
            |world| world.knock(&Knock::of("alice").services(services), HOME),
            Rule::Service,
        );
    }
    assert!(
        world
            .knock(
                &Knock::of("alice").services(&["udp/1002-1010", "tcp/22"]),
                HOME
            )
            .admitted
    );
}

#[test]
pub(crate) fn a_name_that_this_gate_does_not_know_is_refused() {
    let mut world = alice("services = ['web']\n");
    assert_refused(
        &mut world,
        |world| world.knock(&Knock::of("alice").services(&["mail"]), HOME),
        Rule::UnknownService,
    );
    assert_refused(
        &mut world,
        |world| world.knock(&Knock::of("alice").services(&["web", "mail"]), HOME),
        Rule::UnknownService,
    );
}

#[test]
fn a_user_who_floods_with_refused_knocks_gets_a_few_lines_a_second_and_every_one_is_counted() {
    let mut world = alice("services = ['tcp/80']\n");
    let said: usize = (0..100).map(|_| world.alice_knocks().said.len()).sum();
    assert_eq!(
        (
            said,
            world.count(postern::model::reason::Reason::Refuse(Rule::Service))
        ),
        (20, 100)
    );
}

#[test]
fn the_gate_tells_an_administrator_which_packets_it_admitted_and_which_it_refused_and_when() {
    let mut world = World::of_alice();
    let [admitted, refused, unknown] = ["tcp/22", "tcp/23", "tcp/24"]
        .map(|service| Knock::of("alice").services(&[service]).sealed(START));
    let mark = |knock: &Sealed| Packet::parse(knock.as_bytes()).unwrap().mark();
    assert_eq!(
        world.core.gate().seen(&mark(&admitted)),
        None,
        "not before it comes"
    );
    world.arrives(HOME, admitted.as_bytes());
    world.pass(seconds(1));
    world.arrives(HOME, refused.as_bytes());
    let seen = [&admitted, &refused, &unknown].map(|knock| world.core.gate().seen(&mark(knock)));
    assert_eq!(
        seen,
        [
            Some(Seen::Admitted(START)),
            Some(Seen::Refused(START.plus(seconds(1)))),
            None
        ]
    );
    assert_eq!(
        seen.map(|seen| seen.map(Seen::at)),
        [Some(START), Some(START.plus(seconds(1))), None]
    );
}
