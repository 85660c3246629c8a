//! The ports that sequences of users use: the capture listens to them, and the firewall keeps them silent.

use crate::model::service::Ports;

/// The most ranges. The kernel's filter has at most 4,096 instructions, and each costs time for every packet.
pub(crate) const RANGES_MAX: usize = 512;

/// The ports of all sequences.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SequencePorts {
    /// Of TCP and UDP, joined.
    pub ports: Vec<Ports>,
    /// Whether all sequences want TCP segments with SYN and without ACK only.
    pub only_syn: bool,
    /// Users whose sequence is the same each time, so that anyone on the path can read and repeat it.
    pub readable: Vec<String>,
}

impl SequencePorts {
    /// Whether nobody knocks with a sequence.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }
}
