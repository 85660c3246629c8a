//! Knocks that policy or quota refuses: one log line with user and rule, and nothing opens (proto/README.md section 6,
//! steps 9 and 10).

use postern::core::gate::Seen;
use postern::model::reason::{Reason, Rule};
use postern_proto::{Packet, Sealed};

use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, START, World, seconds};

const V6: &str = "2001:db8::7";

fn alice(rights: &str) -> World {
    World::new(&format!(
        "[service.web]\nports = ['tcp/80']\n[service.inner]\nports = ['tcp/2222']\nforward = '10.0.0.5:22'\n[[user]]\nname = 'alice'\nkey = ALICE\nquota = '100/s'\n{rights}\n"
    ))
}

/// The knocks that a policy refuses, each with its source and what explain says besides the rule.
type Refused<'a> = Vec<(Knock, &'a str, &'a str)>;

#[test]
pub(crate) fn each_policy_rule_refuses_and_is_explained() {
    let knock = || Knock::of("alice");
    let ssh = "services = ['tcp/22']";
    let wants = |services: &[&str]| knock().services(services);
    type FromSources = Vec<(Knock, &'static str)>;
    let cases: Vec<(String, Rule, Refused, FromSources)> = vec![
        (
            // The gate's clock says 2025-10-09T08:53:52Z.
            format!("{ssh}\nexpires = 2025-10-09T10:53:52+02:00"),
            Rule::Expired,
            vec![(knock(), HOME, "alice expired at 2025-10-09T08:53:52Z; change expires of alice")],
            vec![],
        ),
        (
            format!("{ssh}\nfrom = ['203.0.113.0/24', '2001:db8::/64']\nexpires = 2025-10-10"),
            Rule::From,
            vec![
                (knock(), HOME, "it comes from 192.0.2.7, which is not in 203.0.113.0/24, 2001:db8::/64; knock from there, or add it to from of alice"),
                (knock().allow("203.0.113.9"), HOME, ""),
                (knock(), "2001:db8:0:1::7", ""),
            ],
            vec![(knock().allow(HOME), "203.0.113.9"), (knock(), V6)],
        ),
        (
            format!("{ssh}\nnetworks = ['192.0.2.0/24', '10.0.0.0/8']"),
            Rule::Networks,
            vec![
                (knock(), "198.51.100.9", "198.51.100.9/32 is not in 192.0.2.0/24, 10.0.0.0/8; knock from there, or add it to networks of alice"),
                (knock(), "2001:db8::9", ""),
                (knock().allow("192.0.3.1"), HOME, ""),
            ],
            vec![(knock(), HOME)],
        ),
        (
            // Addresses that no host can have.
            ssh.to_owned(),
            Rule::Networks,
            ["224.0.0.1", "255.255.255.255", "ff02::1"]
                .map(|allow| (knock().allow(allow), HOME, "is not a host's address; knock for your own"))
                .into(),
            vec![],
        ),
        (
            format!("{ssh}\nmax_prefix = {{ v4 = 28, v6 = 64 }}"),
            Rule::Prefix,
            vec![
                (knock().widened(96 + 27), HOME, "it asks for 192.0.2.0/27, and at most /28 for IPv4 and /64 for IPv6 is allowed; ask for less, or change max_prefix of alice"),
                (knock().allow("192.0.2.0/27"), HOME, ""),
                (knock().allow("0.0.0.0/0"), HOME, ""),
                (knock().allow("2001:db8::/63"), HOME, ""),
                // Less than 96 bits of an IPv4 source is not an IPv4 network.
                (knock().widened(95), HOME, "it asks for 192.0.2.7 widened to /95 of IPv6, and at most "),
                (knock().widened(0), HOME, ""),
            ],
            vec![(knock().widened(96 + 28), HOME), (knock().widened(64), V6)],
        ),
        (
            format!("{ssh}\ngrant_to = 'claimed'"),
            Rule::GrantTo,
            vec![(knock(), HOME, "it asks for its source, and only an address that the knock itself names is let in; set allow = \"auto\" or an address in the client's profile")],
            vec![(knock().allow(HOME), HOME)],
        ),
        (
            format!("{ssh}\ngrant_to = 'observed'"),
            Rule::GrantTo,
            vec![(knock().allow(HOME), HOME, "it names 192.0.2.7/32, and only the address that it comes from is let in; set allow = \"source\" in the client's profile")],
            vec![(knock(), HOME)],
        ),
        (
            format!("{ssh}\ngrant_to = 'same'\nmax_prefix = {{ v4 = 24, v6 = 128 }}"),
            Rule::GrantTo,
            vec![
                (knock(), HOME, "it asks for its source, and only an address that the knock itself names is let in; "),
                (knock().allow("203.0.113.66"), HOME, "it names 203.0.113.66/32, and comes from another address; "),
            ],
            vec![(knock().allow(HOME), HOME), (knock().allow("192.0.2.0/24"), HOME)],
        ),
        (
            ssh.to_owned(),
            Rule::Target,
            vec![(knock().target("10.0.0.5"), HOME, "it wants 10.0.0.5, and alice may reach the gate itself alone; leave the target out, or add it to targets of alice")],
            vec![],
        ),
        (
            "services = ['tcp/22', 'inner']\ntargets = ['10.0.0.0/24']".to_owned(),
            Rule::Target,
            vec![
                (knock().target("10.0.1.5"), HOME, ""),
                (wants(&["inner"]).target("10.0.0.7"), HOME, "inner already leads elsewhere, and the knock also names 10.0.0.7; leave the target out"),
            ],
            vec![(knock().target("10.0.0.5"), HOME)],
        ),
        (
            format!("{ssh}\ntargets = ['fd00::/64']"),
            Rule::Family,
            vec![(knock().target("fd00::5"), HOME, "192.0.2.7/32 cannot reach fd00::5; knock over the other family")],
            vec![(knock().target("fd00::5"), V6)],
        ),
        (
            "services = ['inner']".to_owned(),
            Rule::Family,
            vec![(wants(&["inner"]), V6, "2001:db8::7/128 cannot reach 10.0.0.5; knock over the other family")],
            vec![],
        ),
        (
            // One service too many refuses the whole knock.
            "services = ['tcp/22', 'udp/1000-1010']".to_owned(),
            Rule::Service,
            [
                (&["tcp/22", "tcp/23", "inner"][..], "tcp/23, inner is not in tcp/22, udp/1000-1010; ask for less, or add it to services of alice"),
                (&["udp/22"], ""),
                (&["udp/1000-1011"], ""),
                (&["web"], ""),
                (&["icmp"], ""),
                (&["tcp/1-65535"], ""),
            ]
            .map(|(services, why)| (wants(services), HOME, why))
            .into(),
            vec![(wants(&["udp/1002-1010", "tcp/22"]), HOME)],
        ),
        (
            "services = ['web']".to_owned(),
            Rule::UnknownService,
            vec![
                (wants(&["wbe"]), HOME, "wbe is not defined here, defined are: inner, web; check the spelling, or add a section [service.wbe]"),
                (wants(&["web", "mail"]), HOME, ""),
            ],
            vec![(wants(&["web"]), HOME)],
        ),
    ];
    for (rights, rule, refused, admitted) in cases {
        let mut world = alice(&rights);
        for (knock, source, why) in refused {
            world.refuses(source, &knock, rule);
            let line = world.account.take().unwrap().line();
            let start = format!("refuse {} (step 9): alice asked to open ", rule.name());
            let said = format!(": {}: ", rule.sentence());
            assert!(line.starts_with(&start) && line.contains(&said), "{line}");
            assert!(line.contains(why), "{line}");
        }
        for (knock, source) in admitted {
            world.opens(&knock, source);
        }
    }
}

fn two_users(quota: &str) -> World {
    World::new(&format!(
        "{ALICE}quota = '{quota}'\n[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\nquota = '{quota}'\n"
    ))
}

#[test]
pub(crate) fn a_used_up_quota_is_restored_with_time() {
    let mut world = two_users("2/min");
    let alice = Knock::of("alice");
    for (pause, admitted) in [(0, 2), (29, 0), (1, 1), (3600, 2)] {
        world.pass(seconds(pause));
        (0..admitted).for_each(|_| world.opens(&alice, HOME));
        world.refuses(HOME, &alice, Rule::Quota);
    }
    let line = world.account.take().unwrap().line();
    let room =
        "2/min are all used up, the next knock is admitted in 30s; wait, or change quota of alice";
    assert!(line.ends_with(room), "{line}");
    world.opens(&Knock::of("bob"), HOME);
}

#[test]
fn only_admitted_knocks_use_the_quota() {
    let mut world = two_users("2/min");
    let knock = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &knock);
    let mut changed = knock.as_bytes().to_vec();
    changed[30] ^= 1;
    for _ in 0..50 {
        world.arrives(HOME, knock.as_bytes());
        world.arrives(HOME, &changed);
        world.knock(&Knock::of("alice").services(&["tcp/80"]), HOME);
    }
    world.opens(&Knock::of("alice").close(), HOME);
    world.refuses(HOME, &Knock::of("alice").close(), Rule::Quota);
}

#[test]
fn marks_are_kept_no_longer_than_the_window() {
    let mut world = two_users("100/s");
    for _ in 0..600 {
        world.opens(&Knock::of("alice"), HOME);
        world.pass(seconds(1));
    }
    // One a second in a window of 30 seconds, both ends included.
    assert_eq!(world.core.gate().marks(), 31);
    assert_eq!(world.store.with(|disk| disk.kept.marks.len()), 31);
}

#[test]
fn a_flood_of_refusals_is_logged_in_part() {
    let mut world = alice("services = ['tcp/80']");
    // Of many refused in one millisecond, only some are remembered, and the others are too old.
    let mut said = 0;
    for _ in 0..100 {
        said += world.alice_knocks().said.len();
        world.pass(seconds(1) / 1000);
    }
    let counted = world.count(Reason::Refuse(Rule::Service));
    assert_eq!((said, counted), (20, 100));
}

#[test]
fn the_gate_reports_seen_packets() {
    let mut world = World::of_alice();
    let [admitted, refused, unknown] = ["tcp/22", "tcp/23", "tcp/24"]
        .map(|service| Knock::of("alice").services(&[service]).sealed(START));
    let mark = |knock: &Sealed| Packet::parse(knock.as_bytes()).unwrap().mark();
    assert_eq!(world.core.gate().seen(&mark(&admitted)), None);
    world.arrives(HOME, admitted.as_bytes());
    world.pass(seconds(1));
    world.arrives(HOME, refused.as_bytes());
    let later = START.plus(seconds(1));
    for (knock, seen) in [
        (admitted, Some(Seen::Admitted(START))),
        (refused, Some(Seen::Refused(later))),
        (unknown, None),
    ] {
        assert_eq!(world.core.gate().seen(&mark(&knock)), seen);
    }
}
