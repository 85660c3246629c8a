//! The kernel's events over a rule set in memory.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::super::dump::{Dumps, Kind, Question};
use super::super::reader::{Owners, Scope};
use super::View;
use crate::adapters::netlink::attributes::Attributes;
use crate::adapters::netlink::{Event, NetlinkError};
use crate::core::host_rules::{Sought, Verdict};

const IP: u8 = 2;

/// A kernel with one table and chains of rules, which counts how often it is asked.
#[derive(Clone, Default)]
struct Kernel {
    chains: BTreeMap<&'static str, Vec<Attributes>>,
    dumps: Rc<Cell<usize>>,
}

fn rule(chain: &str, handle: u64, verdict: i32, target: &str) -> Attributes {
    let verdict = Attributes::new()
        .number(1, verdict.cast_unsigned())
        .text(2, target);
    let data = Attributes::new()
        .number(1, 0)
        .nested(2, &Attributes::new().nested(2, &verdict));
    let expression = Attributes::new().text(1, "immediate").nested(2, &data);
    Attributes::new()
        .text(1, "filter")
        .text(2, chain)
        .bytes(3, &handle.to_be_bytes())
        .nested(4, &Attributes::new().nested(1, &expression))
}

impl Dumps for Kernel {
    fn dump<R: Default>(
        &mut self,
        question: Question<'_>,
        mut read: impl FnMut(&mut R, u8, &[u8]),
    ) -> Result<R, NetlinkError> {
        self.dumps.set(self.dumps.get() + 1);
        let mut result = R::default();
        let mut send = |object: &Attributes| read(&mut result, IP, object.as_bytes());
        match question.kind {
            Kind::Table => send(&Attributes::new().text(1, "filter")),
            Kind::Chain => {
                let hook = Attributes::new().number(1, 1).number(2, 0);
                for name in self.chains.keys() {
                    let chain = Attributes::new().text(1, "filter").text(3, name);
                    match *name {
                        "INPUT" => send(&chain.nested(4, &hook).number(5, 0)),
                        _ => send(&chain),
                    }
                }
            }
            Kind::Rule => self.chains[question.part.unwrap()].iter().for_each(send),
            Kind::Set | Kind::Element => {}
        }
        Ok(result)
    }
}

fn owners() -> Owners<'static> {
    Owners {
        iptables: &|_| None,
        interfaces: HashMap::new().into(),
    }
}

fn view(kernel: &Kernel) -> View<Kernel> {
    let sought = Sought::by(&["eth0".to_owned()]);
    let mut view = View::new(kernel.clone(), kernel.clone(), Scope::Filters, Some(sought));
    view.read(&owners()).unwrap();
    view
}

/// `before` is the handle of the rule before a new one.
fn event(view: &mut View<Kernel>, kind: u8, object: Attributes, before: Option<u64>) -> bool {
    let object = match before {
        Some(handle) => object.bytes(6, &handle.to_be_bytes()),
        None => object,
    };
    let event = Event {
        kind,
        family: IP,
        is_appended: false,
        is_replacing: false,
        attributes: object.as_bytes(),
        port: 7,
    };
    view.take(&event, "postern", &owners())
}

fn handles(view: &View<Kernel>, chain: &str) -> Vec<u64> {
    let mut chains = view.rules().chains.iter();
    let chain = chains.find(|one| one.name == chain).unwrap();
    chain.rules.iter().map(|rule| rule.handle).collect()
}

/// 10,000 rules, in chains that packets enter and chains that they do not.
fn large() -> Kernel {
    let mut kernel = Kernel::default();
    let rules = |chain: &str| (10..5_010).map(|n| rule(chain, n, -5, "")).collect();
    let mut input = vec![rule("INPUT", 1, -3, "reached")];
    input.extend::<Vec<_>>(rules("INPUT"));
    kernel.chains.insert("INPUT", input);
    kernel
        .chains
        .insert("reached", vec![rule("reached", 2, 1, "")]);
    kernel.chains.insert("unrelated", rules("unrelated"));
    kernel
}

#[test]
fn foreign_change_asks_for_no_rules() {
    let kernel = large();
    let mut view = view(&kernel);
    assert!(
        view.rules()
            .chains
            .iter()
            .all(|chain| chain.name != "unrelated")
    );
    let asked = kernel.dumps.get();
    for handle in 6_000..6_100 {
        assert!(!event(
            &mut view,
            6,
            rule("unrelated", handle, 0, ""),
            Some(10)
        ));
        assert!(event(&mut view, 6, rule("INPUT", handle, 0, ""), Some(10)));
        assert!(event(&mut view, 8, rule("INPUT", handle, 0, ""), None));
        assert!(!view.must_read());
    }
    assert_eq!(kernel.dumps.get(), asked);
}

#[test]
fn events_change_the_rules_in_place() {
    let mut kernel = Kernel::default();
    let rules = [3, 4].map(|handle| rule("INPUT", handle, -5, ""));
    kernel.chains.insert("INPUT", rules.to_vec());
    let mut view = view(&kernel);
    event(&mut view, 6, rule("INPUT", 5, 0, ""), Some(3));
    event(&mut view, 8, rule("INPUT", 4, -5, ""), None);
    event(&mut view, 6, rule("INPUT", 6, 1, ""), Some(5));
    assert_eq!(handles(&view, "INPUT"), [3, 5, 6]);
    let last = view.rules().chains[0].rules.last().unwrap();
    assert_eq!(last.verdict, Verdict::Accept);
    assert!(last.name.contains("handle 6"));
}

#[test]
fn event_that_does_not_fit_is_read_again() {
    let jump = |handle| rule("INPUT", handle, -3, "unrelated");
    for (kind, object, before) in [
        // the rule before it is not known; first or last; a rule that was there; one that was not; a new chain to read
        (6, rule("INPUT", 9, 0, ""), Some(77_777)),
        (6, rule("INPUT", 9, 0, ""), None),
        (6, rule("INPUT", 1, 0, ""), Some(10)),
        (8, rule("INPUT", 77_777, 0, ""), None),
        (6, jump(9), Some(10)),
    ] {
        let mut kernel = large();
        let mut view = view(&kernel);
        let text = format!("{kind} {object:?} {before:?}");
        assert!(event(&mut view, kind, object, before));
        assert!(view.must_read(), "{text}");
        kernel.chains.insert("INPUT", vec![jump(9)]);
        view.source = kernel;
        view.read(&owners()).unwrap();
        assert_eq!(handles(&view, "INPUT"), [9]);
        assert_eq!(handles(&view, "unrelated").len(), 5_000);
    }
}
