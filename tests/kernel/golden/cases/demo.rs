//! The demo, which makes namespaces of its own.

use super::super::stage::Stage;

pub(super) fn story(stage: &mut Stage) {
    stage.tell("gate", "posternd demo --backend nftables");
    stage.tell("gate", "posternd demo --backend nftables --json");
    stage.tell("gate", "posternd demo --backend pf");
}
