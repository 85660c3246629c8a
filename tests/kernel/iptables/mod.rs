//! The iptables driver against the real kernel, both families, both variants.
//!
//! Each test makes its own network namespaces, by threads that leave the host's, and they vanish with these threads.
//! The host's own rules are never touched. Needs root; without it, or without the programs, the tests are ignored.
//!
//! ```text
//!   peer ── wire ── 192.0.2.7, 2001:db8::7 │ 192.0.2.1, 2001:db8::1 ── wire ── gate (iptables here)
//! ```

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use postern::adapters::firewall::{Change, FirewallDriver};
use postern::model::grant::Grant;
use postern::model::settings::Protection;

mod executor;
mod scale;
mod world;

use postern_harness::firewall::{iptables_paths as paths, iptables_variants as variants};
use postern_harness::{Machine, Requirement, trials};
use world::{World, grant, protection};

const ALL: [&str; 6] = [
    "tcp/22",
    "tcp/8000-8010",
    "udp/53",
    "sctp/3868",
    "icmp",
    "icmpv6",
];
const HOUR: Duration = Duration::from_secs(3600);
/// Where the gate listens, and who may come.
const V4: [&str; 2] = ["192.0.2.1:22", "192.0.2.7/32"];
const V6: [&str; 2] = ["[2001:db8::1]:22", "2001:db8::7/128"];

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    trials![
        machine, &[Requirement::Root, Requirement::Program("ip"), Requirement::Program("iptables-restore"), Requirement::Program("ip6tables-restore")];
        removal_restores_the_rules,
        grants_are_read_back_from_the_kernel,
        scale::ten_thousand_grants_take_one_run_each,
        executor::grant_keeps_its_length_after_a_clock_change,
        executor::grants_of_the_last_run_are_adopted,
        knocks_get_no_answer,
        ping_needs_its_grant,
        failing_program_leaves_nothing_half_open,
    ]
}

fn removal_restores_the_rules() {
    for variant in variants() {
        let mut world = World::new(variant);
        for family in ["iptables", "ip6tables"] {
            let run = format!("{family}-{variant}");
            world.gate.sh(&format!("{run} -A INPUT -p tcp --dport 25 -j DROP; {run} -N OTHERS; {run} -A FORWARD -j OTHERS"));
        }
        let before = world.rules();
        world.driver.install(&protection(&ALL), &[]).unwrap();
        let once = world.rules();
        world.driver.install(&protection(&ALL), &[]).unwrap();
        assert_eq!(world.rules(), once, "{variant}");
        assert_eq!(
            once.matches("-A INPUT -j POSTERN\n-A INPUT -p tcp").count(),
            2,
            "{variant}: at the head, in both families: {once}"
        );
        assert_eq!(world.driver.kernel_expiry(), Ok(()));

        let run = format!("iptables-{variant}");
        world.gate.sh(&format!(
            "{run} -I INPUT 1 -j ACCEPT; {run} -A INPUT -j POSTERN; {run} -F POSTERN"
        ));
        world
            .driver
            .install(&protection(&ALL), &[grant(1, V4[1], &ALL, HOUR)])
            .unwrap();
        world.gate.sh(&format!("{run} -D INPUT -j ACCEPT"));
        world.driver.install(&protection(&ALL), &[]).unwrap();
        assert_eq!(world.rules(), once, "{variant}: repaired");

        world.driver.remove().unwrap();
        assert_eq!(world.rules(), before, "{variant}");
        world.driver.remove().unwrap();
        assert_eq!(
            world.rules(),
            before,
            "{variant}: nothing is there to remove"
        );
    }
}

fn grants_are_read_back_from_the_kernel() {
    for variant in variants() {
        let mut world = World::new(variant);
        world
            .driver
            .install(
                &protection(&ALL),
                &[grant(9, "198.51.100.0/24", &["tcp/22"], HOUR)],
            )
            .unwrap();
        let ninth = world.listed();
        assert_eq!(ninth.len(), 1, "{variant}");
        let (four, six) = (grant(1, V4[1], &ALL, HOUR), grant(2, V6[1], &ALL, HOUR));
        let wide = grant(3, "0.0.0.0/0", &["tcp/1-65535", "udp/65535"], HOUR);
        let behind = Grant {
            target: Some("2001:db8:1::5".parse().unwrap()),
            ..grant(4, "2001:db8::/64", &["tcp/443"], HOUR)
        };
        world.apply(&[four.clone(), six.clone(), wide.clone(), behind.clone()].map(Change::Open));
        let expected = |grants: &[&Grant]| -> BTreeSet<String> {
            let own = grants
                .iter()
                .map(|grant| format!("{grant} until {}", grant.until.as_millis()));
            own.chain(ninth.iter().cloned()).collect()
        };
        assert_eq!(
            world.listed(),
            expected(&[&four, &six, &wide, &behind]),
            "{variant}"
        );

        let longer = Grant {
            until: four.until.plus(HOUR),
            ..four.clone()
        };
        let runs = world.runs();
        world.apply(&[
            Change::Extend {
                old: four,
                new: longer.clone(),
            },
            Change::Close(wide),
            Change::Close(behind.clone()),
        ]);
        assert_eq!(
            world.runs() - runs,
            2,
            "{variant}: the kernel's rules are found again by their text"
        );
        assert_eq!(world.listed(), expected(&[&longer, &six]), "{variant}");

        world
            .gate
            .sh(&format!("iptables-{variant} -F POSTERN-GRANTS"));
        world.apply(&[Change::Close(longer), Change::Close(behind)]);
        assert_eq!(
            world.listed(),
            expected(&[&six]),
            "{variant}: a deleted rule is no obstacle, and the ninth is back"
        );

        world.gate.sh(&format!(
            "ip6tables-{variant} -A POSTERN-GRANTS -s 2001:db8::/32 -j ACCEPT"
        ));
        let error = world.driver.list().unwrap_err().to_string();
        assert!(
            error.contains("-s 2001:db8::/32 -j ACCEPT"),
            "{variant}: {error}"
        );
    }
}

fn knocks_get_no_answer() {
    for variant in variants() {
        let mut world = World::new(variant);
        let is_refused = |world: &World, port: u16| {
            world.peer.run(move || {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.connect(("192.0.2.1", port)).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_millis(500)))
                    .unwrap();
                socket.send(b"knock").unwrap();
                socket.recv(&mut [0; 9]).unwrap_err().kind() == ErrorKind::ConnectionRefused
            })
        };
        assert!(
            is_refused(&world, 62201),
            "{variant}: without Postern the kernel says that the port is closed"
        );
        world.driver.install(&protection(&[]), &[]).unwrap();
        assert!(!is_refused(&world, 62201), "{variant}");
        assert!(
            is_refused(&world, 62202),
            "{variant}: other ports are none of ours"
        );
        world
            .driver
            .install(
                &Protection {
                    silence_knocks: false,
                    ..protection(&[])
                },
                &[],
            )
            .unwrap();
        let bound = world
            .gate
            .run(|| UdpSocket::bind("192.0.2.1:62201").unwrap());
        bound
            .set_read_timeout(Some(Duration::from_secs(3)))
            .unwrap();
        assert!(!is_refused(&world, 62201));
        assert_eq!(
            bound.recv(&mut [0; 9]).unwrap(),
            5,
            "{variant}: a bound socket receives its knocks"
        );
    }
}

fn ping_needs_its_grant() {
    for variant in variants() {
        let mut world = World::new(variant);
        world
            .driver
            .install(&protection(&["icmp", "icmpv6"]), &[])
            .unwrap();
        for (host, own, allow, service) in [
            ("192.0.2.1", "192.0.2.7", V4[1], "icmp"),
            ("2001:db8::1", "2001:db8::7", V6[1], "icmpv6"),
        ] {
            let pings = |world: &World| world.peer.pings(own, host);
            assert!(!pings(&world), "{variant}: {host}");
            let open = grant(1, allow, &[service], HOUR);
            world.apply(&[Change::Open(open.clone())]);
            assert!(pings(&world), "{variant}: {host}");
            world.apply(&[Change::Close(open)]);
            assert!(!pings(&world), "{variant}: {host}");
        }
    }
}

/// A real file in place of iptables-restore: it works until `armed` exists beside it, then it does what the script says.
fn failing(folder: &Path, script: &str) -> postern::adapters::firewall::iptables::Paths {
    let mut paths = paths("nft");
    let fake = folder.join("iptables-restore");
    let text = format!(
        "#!/bin/sh\n[ -e {}/armed ] || exec {} \"$@\"\n{script}\n",
        folder.display(),
        paths.v4.restore.display()
    );
    std::fs::write(&fake, text).unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    paths.v4.restore = fake;
    paths
}

fn failing_program_leaves_nothing_half_open() {
    for (script, words) in [
        (
            "echo 'iptables-restore: line 2 failed' >&2; exit 1",
            "exit status 1: iptables-restore: line 2 failed",
        ),
        ("sleep 60", "did not finish within 1s and was killed"),
        ("head -c 300000 /dev/urandom >&2; exit 3", "exit status 3"),
        ("head -c 3000000 /dev/zero", "wrote more than 1048576 bytes"),
        (
            "cat >/dev/null; exit 4",
            "exit status 4: it gave no reason; another program",
        ),
        ("kill -SEGV $$", "killed by a signal"),
        // its work is done, but it is killed before it could say so
        (
            "/usr/sbin/iptables-nft-restore \"$@\"; sleep 60",
            "did not finish within 1s",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let armed = folder.path().join("armed");
        let mut world = World::with(
            "nft",
            failing(folder.path(), script),
            Duration::from_secs(1),
        );
        let first = grant(1, V4[1], &["tcp/22"], HOUR);
        world
            .driver
            .install(&protection(&["tcp/22"]), std::slice::from_ref(&first))
            .unwrap();
        let before = world.rules();
        std::fs::write(&armed, "").unwrap();
        let (second, third) = (
            grant(2, "192.0.2.8/32", &["tcp/22"], HOUR),
            grant(3, V6[1], &["tcp/22"], HOUR),
        );
        let batch = [
            Change::Open(second.clone()),
            Change::Open(third.clone()),
            Change::Close(first.clone()),
        ];
        let results = world.driver.apply(&batch);
        for failed in [&results[0], &results[2]] {
            let error = failed.clone().unwrap_err().to_string();
            assert!(
                error.contains("iptables-restore ")
                    && error.contains(words)
                    && !error.contains('\n'),
                "{script}: {error}"
            );
        }
        assert_eq!(results[1], Ok(()), "{script}: the other family works");
        world.apply(&[Change::Close(third)]);
        assert_eq!(
            world.rules(),
            before,
            "{script}: nothing is half open, nothing half closed"
        );
        assert!(
            world.driver.install(&protection(&["tcp/22"]), &[]).is_err(),
            "{script}"
        );
        std::fs::remove_file(&armed).unwrap();
        world.apply(&[Change::Close(second), Change::Close(first)]);
        assert!(world.listed().is_empty(), "{script}");
    }
}
