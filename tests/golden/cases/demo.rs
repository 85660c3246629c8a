//! The demo, which makes namespaces of its own.

use crate::stage::Stage;

pub(super) fn story(stage: &mut Stage) {
    stage.tell("gate", "posternd demo --backend nftables");
    stage.tell("gate", "posternd demo --backend nftables --json");
    stage.tell("gate", "posternd demo --backend pf");
}
