//! The socket for packets that the firewall drops. The monitor binds it and never reads from it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::{info, warn};

use super::sockets::lock_filter;
use crate::adapters::attempts;
use crate::model::settings::{DriverKind, NflogGroup, Settings};

/// Lives as long as the monitor, because a group has one reader. Each engine gets a copy.
#[derive(Debug, Default)]
pub(super) struct AttemptSocket {
    /// The group in the config. The rules have the bound one.
    pub(super) asked: NflogGroup,
    bound: Option<(u16, OwnedFd)>,
}

impl AttemptSocket {
    /// Binds the group of these settings. Without it the gate serves all the same.
    pub(super) fn open(settings: &Settings) -> Self {
        let asked = settings.firewall.nflog_group;
        let group = match asked {
            NflogGroup::None => return Self { asked, bound: None },
            NflogGroup::Auto => None,
            NflogGroup::Group(group) => Some(group),
        };
        if settings.firewall.backend == DriverKind::Command {
            return Self { asked, bound: None };
        }
        let opened = attempts::open(group, settings.gate.capture.nflog_group());
        let opened = opened.and_then(|(group, socket)| Ok((group, lock_filter(socket)?)));
        let bound = match (opened, group) {
            (Ok(bound), _) => Some(bound),
            (Err(error), Some(group)) => {
                warn!("attempts without a grant are not shown: group {group} of NFLOG: {error}");
                None
            }
            (Err(error), None) => {
                info!(
                    "attempts without a grant are not shown, because NFLOG has no group: {error}"
                );
                None
            }
        };
        Self { asked, bound }
    }

    /// Puts the bound group into settings that were just read.
    pub(super) fn put_into(&self, settings: &mut Settings) {
        settings.firewall.nflog_group = self.group().map_or(NflogGroup::None, NflogGroup::Group);
    }

    pub(super) fn group(&self) -> Option<u16> {
        self.bound.as_ref().map(|(group, _)| *group)
    }

    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.bound.as_ref().map(|(_, socket)| socket.as_fd())
    }
}
