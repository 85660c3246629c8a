//! What the host drops although Postern lets it through: granted packets and knocks.
//!
//! In the chain that holds Postern's rules, only earlier rules count. Before Postern's first start, none does.

use ipnet::IpNet;

use super::cure;
use super::view::{HostView, services_in};
use crate::admin::check::findings::Finding;
use crate::core::host_rules::{BaseChain, Hook, Judgement};
use crate::model::service::{Ports, list};
use crate::model::settings::CaptureKind;

const JUMP_FIRST: &str = "put the jump first; posternd also does so when it starts";
const DROP_IS_FINAL: &str = "an accept in another chain does not override this drop";

struct Block<'a> {
    step: BaseChain<'a>,
    is_certain: bool,
    rule: String,
    services: Vec<Ports>,
    interfaces: Vec<String>,
}

impl Block<'_> {
    /// `nft table inet filter, chain input`.
    fn place(&self) -> String {
        place(self.step)
    }

    /// ` by eth0` if not all interfaces are concerned.
    fn by(&self, view: &HostView<'_>) -> String {
        if self.interfaces.len() < view.host.network.interfaces.len() {
            format!(" by {}", list(&self.interfaces))
        } else {
            String::new()
        }
    }

    fn unclear(&self, what: impl std::fmt::Display) -> Finding {
        let (place, rule) = (self.place(), &self.rule);
        Finding::note("unclear", format!("cannot tell whether {what}")).detail(format!(
            "{place}: {rule} decides, with a condition that posternd does not understand"
        ))
    }
}

pub(super) fn place(step: BaseChain<'_>) -> String {
    format!("{}, chain {}", step.chain.table, step.chain.name)
}

pub(super) fn findings(view: &HostView<'_>) -> Vec<Finding> {
    let own = view.own_services();
    // The nftables driver puts a rule of its own before what drops for certain.
    let is_left = |block: &Block<'_>| view.is_iptables || !block.is_certain;
    let mut granted = blocks(view, &own, Hook::Input);
    granted.retain(is_left);
    let mut findings: Vec<Finding> = granted.iter().map(|block| at_gate(view, block)).collect();
    let mut behind = blocks(view, &view.forwarded_services(), Hook::Forward);
    behind.retain(is_left);
    findings.extend(behind.iter().map(|block| behind_gate(view, block)));
    let gate = &view.settings.gate;
    if gate.capture == CaptureKind::Udp {
        let ports = gate.ports.iter().map(|port| format!("udp/{port}"));
        let ports: Vec<Ports> = ports.filter_map(|port| port.parse().ok()).collect();
        findings.extend(blocks(view, &ports, Hook::Input).iter().map(knock));
    }
    findings
}

fn blocks<'a>(view: &HostView<'a>, services: &[Ports], hook: Hook) -> Vec<Block<'a>> {
    let mut blocks: Vec<Block<'a>> = Vec::new();
    let targets = view.targets();
    let known_chains = view.granting();
    for family in view.families() {
        for step in view.filter_chains(family, hook) {
            if !is_hosts_own(view, step) {
                continue;
            }
            for service in services_in(services, family) {
                for interface in &view.host.network.interfaces {
                    let mut packet = view.packet(family, service, interface);
                    packet.known_chains = &known_chains;
                    if hook == Hook::Forward {
                        packet.destinations = &targets;
                        packet.out_interface = way_out(view, &targets);
                        packet.is_forwarded = true;
                    }
                    let (rule, is_certain) = match view.host.rules.judge_chain(step, &packet) {
                        Judgement::Accepted(_) => continue,
                        Judgement::Dropped(rule) => (rule, true),
                        Judgement::CannotTell(rule) => (rule, false),
                    };
                    let new = Block {
                        step,
                        is_certain,
                        rule,
                        services: vec![service],
                        interfaces: vec![interface.clone()],
                    };
                    add(&mut blocks, new);
                }
            }
        }
    }
    blocks
}

/// The interface to all targets; `None` if there are several.
fn way_out<'a>(view: &HostView<'a>, targets: &[IpNet]) -> Option<&'a str> {
    let mut ways = targets.iter().map(|to| view.host.network.interface_to(*to));
    let first = ways.next()??;
    ways.all(|way| way == Some(first)).then_some(first)
}

/// False for Postern's own chains, and for a chain that Postern will put its rules into first.
fn is_hosts_own(view: &HostView<'_>, step: BaseChain<'_>) -> bool {
    let will_be_first = view.is_home(step.chain)
        && step.base.hook != Hook::Prerouting
        && HostView::jump(step.chain).is_none();
    !HostView::is_postern(step.chain) && !will_be_first
}

fn add<'a>(blocks: &mut Vec<Block<'a>>, new: Block<'a>) {
    let same = blocks.iter_mut().find(|block| {
        std::ptr::eq(block.step.chain, new.step.chain) && block.is_certain == new.is_certain
    });
    match same {
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

fn at_gate(view: &HostView<'_>, block: &Block<'_>) -> Finding {
    let (services, chain) = (list(&block.services), block.step.chain);
    if !block.is_certain {
        return block.unclear(format!("a grant opens {services}"));
    }
    let what = format!("a grant does not open {services}{}", block.by(view));
    let (program, rule) = (&chain.table.program, &block.rule);
    if view.is_home(chain) && block.step.base.hook == Hook::Input {
        let why = "the jump to POSTERN is not the first rule of INPUT";
        return Finding::warning("earlier-drop", what)
            .detail(format!("{why}, and {rule} drops it before"))
            .detail(JUMP_FIRST)
            .cured_by(vec![format!("{program} -I INPUT 1 -j POSTERN")]);
    }
    Finding::warning("later-drop", what)
        .detail(format!("{}, drops it: {rule}", block.place()))
        .detail(DROP_IS_FINAL)
        .detail("write backend = \"auto\" in [firewall]: it works in every chain of the host")
}

fn behind_gate(view: &HostView<'_>, block: &Block<'_>) -> Finding {
    let services = format!("{} of the hosts behind this one", list(&block.services));
    if !block.is_certain {
        return block.unclear(format!("a grant opens {services}"));
    }
    let what = format!("a grant does not open {services}{}", block.by(view));
    let (place, rule) = (block.place(), &block.rule);
    if view.is_home(block.step.chain) {
        let program = &block.step.chain.table.program;
        let cause = format!("{place}, drops it before the jump to POSTERN-FWD: {rule}");
        return Finding::warning("earlier-drop", what)
            .detail(cause)
            .detail(JUMP_FIRST)
            .cured_by(vec![format!("{program} -I FORWARD 1 -j POSTERN-FWD")]);
    }
    Finding::warning("later-drop", what)
        .detail(format!("{place}, drops it: {rule}"))
        .detail(DROP_IS_FINAL)
        .detail("write backend = \"auto\" in [firewall]: it works in every chain of the host")
}

fn knock(block: &Block<'_>) -> Finding {
    let ports = list(&block.services);
    if !block.is_certain {
        return block.unclear(format!("knocks to {ports} arrive"));
    }
    let (place, rule) = (block.place(), &block.rule);
    Finding::warning("knock-closed", format!("no knock to {ports} arrives"))
        .detail(format!("capture is \"udp\", and {place}, drops it: {rule}"))
        .detail("accept it there, or set capture = \"packet\", which also receives dropped packets")
        .cured_by(cure::accept(block.step.chain, &block.services))
}
