//! What the host drops that Postern lets through: what a grant opens, the session after it, the knock itself.
//!
//! Pure. Of the chain that Postern's rules stand in, only what comes before them counts; before the first start, nothing.

use super::cure;
use super::judge::{Step, World, exists_in};
use super::rules::Hook;
use super::walk::{Fate, Packet};
use crate::admin::check::findings::Finding;
use crate::model::service::{Ports, list};
use crate::model::settings::CaptureKind;

/// A chain that drops, and what.
struct Block<'a> {
    step: Step<'a>,
    is_sure: bool,
    why: String,
    services: Vec<Ports>,
    interfaces: Vec<String>,
}

pub(super) fn blocked(world: &World<'_>) -> Vec<Finding> {
    let own = world.own_services();
    let granted = blocks(world, &own, Hook::Input);
    let mut findings: Vec<Finding> = granted.iter().map(|block| later(world, block)).collect();
    let (services, _) = world.forwarded();
    findings.extend(
        blocks(world, &services, Hook::Forward)
            .iter()
            .map(|block| behind(world, block)),
    );
    findings.extend(cut(world, &own, &granted));
    if world.settings.gate.capture == CaptureKind::Udp {
        let ports = world
            .settings
            .gate
            .ports
            .iter()
            .filter_map(|port| format!("udp/{port}").parse().ok())
            .collect::<Vec<Ports>>();
        findings.extend(blocks(world, &ports, Hook::Input).iter().map(knock));
    }
    findings
}

fn blocks<'a>(world: &World<'a>, services: &[Ports], hook: Hook) -> Vec<Block<'a>> {
    let mut blocks: Vec<Block<'a>> = Vec::new();
    let (_, targets) = world.forwarded();
    let known = world.granting();
    for family in world.families() {
        for step in world
            .way(family, hook)
            .into_iter()
            .filter(|step| counts(world, *step))
        {
            for service in services
                .iter()
                .copied()
                .filter(|service| exists_in(*service, family))
            {
                for interface in &world.facts.interfaces {
                    let packet = Packet {
                        known: &known,
                        ..world.packet(family, service, interface)
                    };
                    let packet = if hook == Hook::Forward {
                        Packet {
                            to: &targets,
                            ..packet
                        }
                    } else {
                        packet
                    };
                    let (why, is_sure) = match world.fate(step, &packet) {
                        Fate::Accepted(_) => continue,
                        Fate::Dropped(why) => (why, true),
                        Fate::Depends(why) => (why, false),
                    };
                    note(
                        &mut blocks,
                        Block {
                            step,
                            is_sure,
                            why,
                            services: vec![service],
                            interfaces: vec![interface.clone()],
                        },
                    );
                }
            }
        }
    }
    blocks
}

/// Postern's own chains, and those whose head it is about to take, are not the host's.
fn counts(world: &World<'_>, step: Step<'_>) -> bool {
    let is_before_the_start = world.is_home(step.chain)
        && step.base.hook != Hook::Prerouting
        && World::jump(step.chain).is_none();
    !World::is_postern(step.chain) && !is_before_the_start
}

/// One finding a chain.
fn note<'a>(blocks: &mut Vec<Block<'a>>, new: Block<'a>) {
    match blocks.iter_mut().find(|block| {
        std::ptr::eq(block.step.chain, new.step.chain) && block.is_sure == new.is_sure
    }) {
        None => blocks.push(new),
        Some(block) => {
            block.services.extend(new.services);
            block.services.sort_unstable();
            block.services.dedup();
            block.interfaces.extend(new.interfaces);
            block.interfaces.sort_unstable();
            block.interfaces.dedup();
        }
    }
}

/// `nft table inet filter, chain input`.
fn place(step: Step<'_>) -> String {
    format!("{}, chain {}", step.chain.table, step.chain.name)
}

fn by(world: &World<'_>, block: &Block<'_>) -> String {
    if block.interfaces.len() < world.facts.interfaces.len() {
        format!(" by {}", list(&block.interfaces))
    } else {
        String::new()
    }
}

fn later(world: &World<'_>, block: &Block<'_>) -> Finding {
    let (services, place, why) = (list(&block.services), place(block.step), &block.why);
    if !block.is_sure {
        return Finding::note(
            "unclear",
            format!(
                "whether {place}, lets through what a grant opens to {services} can't be told: it depends on {why}, and on a condition that posternd does not understand"
            ),
        );
    }
    if world.is_home(block.step.chain) && block.step.base.hook == Hook::Input {
        let what = format!(
            "a grant does not open {services}: the jump to POSTERN is not the first rule of INPUT, and {why} drops it before; put the jump first, or start posternd again, which does it"
        );
        return Finding::warning("earlier-drop", what).cured_by(vec![format!(
            "{} -I INPUT 1 -j POSTERN",
            block.step.chain.table.program
        )]);
    }
    let dropped = format!(
        "a grant does not open {services}{}: {place}, drops it ({why}), and no accept elsewhere saves a packet from that",
        by(world, block)
    );
    let cure = cure::accepting(world, block.step.chain, &block.services);
    if world.settings.firewall.protect {
        let what = format!(
            "{dropped}; let it through there, which lets in nobody else once Postern runs, since that drops whoever has not knocked, and keep it so ({})",
            cure::where_kept(world, block.step.chain)
        );
        Finding::warning("later-drop", what).cured_by(cure)
    } else {
        let what = format!(
            "{dropped}; a host can't close it there and Postern open it: set protect = \"services\" in [firewall], start posternd again, then let it through there ({})",
            cure::where_kept(world, block.step.chain)
        );
        Finding::warning("later-drop", what).cured_by(cure)
    }
}

fn behind(world: &World<'_>, block: &Block<'_>) -> Finding {
    let (services, place, why) = (list(&block.services), place(block.step), &block.why);
    if !block.is_sure {
        return Finding::note(
            "unclear",
            format!(
                "whether {place}, lets through what a grant opens to {services} of the hosts behind this one can't be told: it depends on {why}"
            ),
        );
    }
    let dropped = format!(
        "a grant does not open {services} of the hosts behind this one{}: {place}, drops it ({why})",
        by(world, block)
    );
    if world.is_home(block.step.chain) {
        let what = format!(
            "{dropped} before the jump to POSTERN-FWD; put the jump first, or start posternd again, which does it"
        );
        return Finding::warning("earlier-drop", what).cured_by(vec![format!(
            "{} -I FORWARD 1 -j POSTERN-FWD",
            block.step.chain.table.program
        )]);
    }
    let what = format!(
        "{dropped}, and no accept elsewhere saves a packet from that; let {services} to these hosts, and connections that are established, through there, and close them to strangers in Postern's own backend, not there"
    );
    Finding::warning("later-drop", what)
}

fn knock(block: &Block<'_>) -> Finding {
    let (ports, place, why) = (list(&block.services), place(block.step), &block.why);
    let what = format!(
        "with capture = \"udp\" no knock to {ports} arrives: {place}, drops it ({why}); let it through there, or set capture = \"packet\", which hears it all the same"
    );
    if block.is_sure {
        Finding::warning("knock-closed", what)
            .cured_by(cure::accept(block.step.chain, &block.services))
    } else {
        Finding::note(
            "unclear",
            format!(
                "whether {place}, lets knocks to {ports} through can't be told: it depends on {why}"
            ),
        )
    }
}

/// Without protection Postern has no rule for sessions that outlive their grant: the host must have one.
fn cut(world: &World<'_>, services: &[Ports], granted: &[Block<'_>]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    if world.settings.firewall.protect {
        return findings;
    }
    for family in world.families() {
        for step in world
            .way(family, Hook::Input)
            .into_iter()
            .filter(|step| !World::is_postern(step.chain))
        {
            let is_told = granted
                .iter()
                .any(|block| block.is_sure && std::ptr::eq(block.step.chain, step.chain));
            let ending = |service: &Ports| {
                let fate = |interface: &String| {
                    world.fate(
                        step,
                        &Packet {
                            is_established: true,
                            ..world.packet(family, *service, interface)
                        },
                    )
                };
                world.facts.interfaces.iter().find_map(|interface| {
                    if let Fate::Dropped(why) = fate(interface) {
                        Some(why)
                    } else {
                        None
                    }
                })
            };
            let cut: Vec<(Ports, String)> = services
                .iter()
                .filter(|service| exists_in(**service, family) && !is_told)
                .filter_map(|service| ending(service).map(|why| (*service, why)))
                .collect();
            let Some((_, why)) = cut.first() else {
                continue;
            };
            let names: Vec<Ports> = cut.iter().map(|(service, _)| *service).collect();
            let what = format!(
                "a session to {} is cut when its grant ends: {}, has no rule for established connections before it drops ({why}), and with protect = \"none\" Postern has none either; let them through there, or set protect = \"services\"",
                list(&names),
                place(step)
            );
            findings.push(
                Finding::warning("no-established", what)
                    .cured_by(vec![cure::established(step.chain)]),
            );
        }
    }
    findings
}
