//! All sequences as one tree of hits. A source is at one node of it, whatever number of sequences begin alike.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use postern_proto::Protocol;

use super::definition::{Expected, Flags, Sequence, SequenceId};

/// A node's number. It is never used again, so an attempt at a removed node fits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u64);

/// Before the first hit.
pub(super) const ROOT: NodeId = NodeId(0);

#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<NodeId, Node>,
    ends: HashMap<SequenceId, NodeId>,
    last: u64,
}

#[derive(Debug)]
pub(super) struct Node {
    /// The next hits. Their ports do not overlap, so at most one fits a packet.
    edges: BTreeMap<(u8, u16), Edge>,
    parent: NodeId,
    /// The key of the parent's edge that leads here.
    hit: (u8, u16),
    /// The sequence that is complete here. Then there are no edges.
    pub(super) end: Option<SequenceId>,
    /// The longest time of a sequence that goes through here, since its first hit.
    pub(super) timeout: Duration,
    /// All sequences with the same first hit have the same.
    pub(super) flags: Flags,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    last: u16,
    to: NodeId,
}

/// A node, and the hit that leads to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next<'a> {
    pub(super) id: NodeId,
    pub(super) node: &'a Node,
    /// How far the port is from the hit's first port.
    pub(super) offset: u8,
    /// Whether other ports are the same hit.
    pub(super) several: bool,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Node::new(ROOT, (0, 0), Duration::ZERO, Flags::default());
        Self {
            nodes: HashMap::from([(ROOT, root)]),
            ends: HashMap::new(),
            last: 0,
        }
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// What follows a node with a packet to this port.
    pub(super) fn next(&self, from: NodeId, protocol: u8, port: u16) -> Option<Next<'_>> {
        let node = self.node(from)?;
        let ((at, first), edge) = node.edges.range(..=(protocol, port)).next_back()?;
        if *at != protocol || port > edge.last {
            return None;
        }
        Some(Next {
            id: edge.to,
            node: self.node(edge.to)?,
            offset: u8::try_from(port - first).ok()?,
            several: edge.last != *first,
        })
    }

    /// The hits that can follow a node.
    pub(super) fn expected(&self, id: NodeId) -> Vec<Expected> {
        let edges = self.node(id).map(|node| &node.edges);
        let edges = edges.into_iter().flatten();
        let hits = edges.filter_map(|((protocol, first), edge)| {
            Some(Expected {
                protocol: Protocol::from_number(*protocol)?,
                first: *first,
                last: edge.last,
            })
        });
        hits.collect()
    }

    /// At most `most` of the sequences that go through a node, each with how many hits it has.
    pub(super) fn through(&self, id: NodeId, most: usize) -> Vec<(SequenceId, usize)> {
        let (mut found, mut nodes) = (Vec::new(), vec![id]);
        while let Some(node) = nodes.pop().and_then(|id| self.node(id)) {
            if found.len() == most {
                break;
            }
            found.extend(node.end.map(|end| (end, self.depth(end))));
            nodes.extend(node.edges.values().rev().map(|edge| edge.to));
        }
        found
    }

    fn depth(&self, id: SequenceId) -> usize {
        let parent = |at: &NodeId| Some(self.node(*at)?.parent);
        let nodes = std::iter::successors(self.ends.get(&id).copied(), parent);
        nodes.take_while(|at| *at != ROOT).count()
    }

    /// Adds a sequence, or nothing if it conflicts with another.
    pub(super) fn insert(&mut self, id: SequenceId, sequence: &Sequence) -> Result<(), Conflict> {
        self.check(id, sequence)?;
        let mut at = ROOT;
        for hit in sequence.hits() {
            let key = (hit.protocol.number(), hit.first);
            let known = self.node(at).and_then(|node| node.edges.get(&key));
            at = match known {
                Some(edge) => edge.to,
                None => self.grow(at, *hit, sequence),
            };
            if let Some(node) = self.nodes.get_mut(&at) {
                node.timeout = node.timeout.max(sequence.timeout());
            }
        }
        if let Some(node) = self.nodes.get_mut(&at) {
            node.end = Some(id);
            self.ends.insert(id, at);
        }
        Ok(())
    }

    fn grow(&mut self, from: NodeId, hit: Expected, sequence: &Sequence) -> NodeId {
        self.last += 1;
        let to = NodeId(self.last);
        let key = (hit.protocol.number(), hit.first);
        if let Some(node) = self.nodes.get_mut(&from) {
            let last = hit.last;
            node.edges.insert(key, Edge { last, to });
        }
        let node = Node::new(from, key, sequence.timeout(), sequence.flags());
        self.nodes.insert(to, node);
        to
    }

    fn check(&self, id: SequenceId, sequence: &Sequence) -> Result<(), Conflict> {
        if self.ends.contains_key(&id) {
            return Err(Conflict::Same(id, id));
        }
        let mut at = ROOT;
        for (position, hit) in sequence.hits().iter().enumerate() {
            let Some(node) = self.node(at) else {
                return Ok(());
            };
            if let Some(shorter) = node.end {
                return Err(Conflict::Prefix {
                    shorter,
                    longer: id,
                });
            }
            let Some((first, edge)) = node.overlapping(*hit) else {
                return Ok(());
            };
            if (first, edge.last) != (hit.first, hit.last) {
                let other = self.some_end(edge.to).unwrap_or(id);
                return Err(Conflict::Overlap {
                    other,
                    id,
                    position,
                });
            }
            let flags = self.node(edge.to).map(|node| node.flags);
            if flags != Some(sequence.flags()) {
                let other = self.some_end(edge.to).unwrap_or(id);
                return Err(Conflict::Flags(other, id));
            }
            at = edge.to;
        }
        match self.node(at) {
            Some(Node {
                end: Some(other), ..
            }) => Err(Conflict::Same(*other, id)),
            _ => Err(Conflict::Prefix {
                shorter: id,
                longer: self.some_end(at).unwrap_or(id),
            }),
        }
    }

    /// A sequence that goes through a node.
    fn some_end(&self, mut at: NodeId) -> Option<SequenceId> {
        loop {
            let node = self.node(at)?;
            match node.end {
                Some(id) => return Some(id),
                None => at = node.edges.values().next()?.to,
            }
        }
    }

    /// Removes a sequence. Attempts at it end with their next hit.
    pub(super) fn remove(&mut self, id: SequenceId) {
        let Some(mut at) = self.ends.remove(&id) else {
            return;
        };
        while at != ROOT {
            let Some(node) = self.nodes.remove(&at) else {
                return;
            };
            let Some(parent) = self.nodes.get_mut(&node.parent) else {
                return;
            };
            parent.edges.remove(&node.hit);
            if !parent.edges.is_empty() {
                return;
            }
            at = node.parent;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}

impl Node {
    fn new(parent: NodeId, hit: (u8, u16), timeout: Duration, flags: Flags) -> Self {
        Self {
            edges: BTreeMap::new(),
            parent,
            hit,
            end: None,
            timeout,
            flags,
        }
    }

    /// The first port and the edge of a hit that has a port in common with this one.
    fn overlapping(&self, hit: Expected) -> Option<(u16, Edge)> {
        let protocol = hit.protocol.number();
        let ((at, first), edge) = self.edges.range(..=(protocol, hit.last)).next_back()?;
        (*at == protocol && edge.last >= hit.first).then_some((*first, *edge))
    }
}

/// Whether these sequences can be in one machine.
pub fn conflict<'a>(
    sequences: impl IntoIterator<Item = (SequenceId, &'a Sequence)>,
) -> Result<(), Conflict> {
    let mut tree = Tree::new();
    sequences
        .into_iter()
        .try_for_each(|(id, sequence)| tree.insert(id, sequence))
}

/// Why two sequences cannot be in one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("the two sequences have the same hits")]
    Same(SequenceId, SequenceId),
    #[error(
        "one sequence is the beginning of the other, so the longer one could never be complete"
    )]
    Prefix {
        shorter: SequenceId,
        longer: SequenceId,
    },
    #[error("the two sequences begin with the same hit, so they need the same TCP flags")]
    Flags(SequenceId, SequenceId),
    #[error(
        "hit {} of the two sequences, after the same beginning, has some ports in common, but not all", .position + 1
    )]
    Overlap {
        other: SequenceId,
        id: SequenceId,
        /// Counted from 0.
        position: usize,
    },
    #[error("a hit of the sequence is not to a watched port")]
    Unwatched(SequenceId),
}
