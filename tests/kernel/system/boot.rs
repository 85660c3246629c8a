//! A boot whose posternd cannot start: what it hid stays hidden, from the moment at which the network starts.

use super::booted::Booted;
use postern_harness::{FAMILIES, Family, GateConfig, World, run};

/// The units of cloud-init, as far as they order others: one before the network and one after it, both before sysinit.target. A
/// local file system waits for the second. In the middle a network that notes the rules it starts with.
const CLOUD_INIT: &str = r#"
cd etc/systemd/system
unit() { printf '[Unit]\nDefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\n%b' "$2" >"$1"; }
unit cloud-init-local.service 'Wants=network-pre.target\nAfter=systemd-remount-fs.service\nBefore=network-pre.target sysinit.target\nRequiresMountsFor=/var/lib/cloud\n[Service]\nType=oneshot\nExecStart=/bin/true\n'
unit networking.service 'After=network-pre.target\nBefore=network.target\n[Service]\nType=oneshot\nExecStart=/bin/sh -c "{ nft list ruleset; iptables-save; } >/run/first-rules"\n'
unit cloud-init.service 'Wants=cloud-init-local.service networking.service\nAfter=cloud-init-local.service networking.service\nBefore=network-online.target sysinit.target\n[Service]\nType=oneshot\nExecStart=/bin/true\n'
unit srv.mount 'Requires=cloud-init.service\nAfter=cloud-init.service\nBefore=local-fs.target\n[Mount]\nWhat=tmpfs\nWhere=/srv\nType=tmpfs\n'
mkdir -p sysinit.target.wants local-fs.target.requires multi-user.target.wants
ln -s ../cloud-init-local.service ../cloud-init.service sysinit.target.wants
ln -s ../srv.mount local-fs.target.requires
ln -s /usr/lib/systemd/system/postern-protect.service sysinit.target.wants
cd ../../..
mkdir -m 700 var/lib/postern.protect
cp /mnt-of-test/protection.json var/lib/postern.protect
chmod 600 var/lib/postern.protect/protection.json
mkdir -m 755 etc/postern
umask 077
echo nonsense >etc/postern/posternd.toml
"#;

const KEPT: &str = "/var/lib/postern.protect/protection.json";

fn expect_all_shut_out(world: &World) {
    for family in FAMILIES {
        world.first.expect_shut_out(family);
        world.second.expect_shut_out(family);
    }
}

pub(crate) fn broken_config_at_boot_hides(backend: &'static str) {
    let world = World::prepare(&GateConfig::new(backend).gate("run_as = \"postern\""));
    let machine = Booted::start(&world);
    machine.configure();
    machine.tell("systemctl enable posternd && systemctl start posternd");
    let enabled = machine.tell("systemctl is-enabled postern-protect");
    assert_eq!(enabled, "enabled", "with posternd.service");
    machine.tell(&format!("cp {KEPT} /mnt && systemctl stop posternd"));
    // It does nothing to grants of a gate that was here before.
    world.first.expect_shut_out(Family::V4);
    machine.tell("posternd protect");
    drop(machine);
    let flush = || {
        run(&world.gate, "nft", &["flush", "ruleset"]);
    };
    flush();
    world.second.expect_let_in(Family::V4);

    let folder = world.folder().display().to_string();
    world.install("prepare", &CLOUD_INIT.replace("/mnt-of-test", &folder));
    let machine = Booted::start(&world);
    expect_all_shut_out(&world);
    let first = machine.tell("cat /run/first-rules");
    assert!(first.to_lowercase().contains("postern"), "{first}");
    // systemd has no journal yet when it orders a boot, so it does that again.
    let log = machine
        .ask("journalctl -b --no-pager; systemd-analyze verify sysinit.target 2>&1")
        .1;
    assert!(!log.contains("ordering cycle"), "{log}");
    // The host's own firewall service may have flushed everything.
    flush();
    assert!(!machine.ask("systemctl start posternd").0);
    let said = "the last protection stays in force; closed for everyone: tcp/2222";
    machine.wait_until_it_says("journalctl -u posternd -o cat --no-pager", said);
    expect_all_shut_out(&world);

    // The config is still wrong.
    assert!(!machine.ask("posternd flush").0);
    world.second.expect_let_in(Family::V4);
    machine.tell(&format!("test ! -e {KEPT} && ! systemctl start posternd"));
    world.second.expect_let_in(Family::V4);
}

/// With `on_stop = "remove"` nothing is left for the next boot, and a trial leaves nothing until it is passed.
pub(crate) fn removed_protection_stays_removed_at_boot() {
    let config = GateConfig::new("nftables").gate("run_as = \"postern\"");
    let world = World::prepare(&config.firewall("on_stop = \"remove\""));
    let machine = Booted::start(&world);
    machine.configure();
    machine.tell(&format!("systemctl start posternd && test -e {KEPT}"));
    machine.tell(&format!(
        "systemctl stop posternd && test -d /var/lib/postern.protect && test ! -e {KEPT}"
    ));
    let trial = "[Service]\\nExecStart=\\nExecStart=/usr/bin/posternd run --trial 10m\\n";
    machine.tell(&format!(
        "mkdir -p /etc/systemd/system/posternd.service.d && printf '{trial}' >/etc/systemd/system/posternd.service.d/test.conf"
    ));
    machine.tell(&format!(
        "systemctl daemon-reload && systemctl start posternd && test ! -e {KEPT}"
    ));
    machine.tell(&format!("posternd confirm && test -e {KEPT}"));
}
