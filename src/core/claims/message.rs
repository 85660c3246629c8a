//! The messages between engine and cluster process, one in each datagram of their socket pair.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::{Answer, Claim, MARGIN, gate_hash};
use crate::model::cluster::Cluster;
use crate::model::settings::Settings;
use crate::model::time::{Timestamp, millis};

/// The first message to a cluster process, of the monitor. Attached are the contents of the files that the section names, and the
/// link to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterStart {
    /// User and group to change to; `None`: keep the present ones.
    pub run_as: Option<(u32, u32)>,
    pub cluster: Cluster,
    pub gate: GateFacts,
}

/// What it answers: whether it can use its settings. The coordinator may still be away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Opened {
    Yes,
    No { why: String },
}

/// What a cluster process knows of its gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateFacts {
    /// The gate's name, as [`gate_hash`] writes it.
    pub name_hash: String,
    /// The longest of the gate.
    pub window_ms: u64,
    /// The longest grant that a policy allows.
    pub longest_grant_ms: u64,
    /// What it looks for, if it takes rosters from the coordinator.
    pub roster: Option<RosterSought>,
}

/// Which roster a cluster process hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterSought {
    /// The version in force. Only a higher one is new.
    pub version: u64,
    /// After this time the same one is handed on again, to confirm it.
    pub refresh_ms: Option<u64>,
}

impl GateFacts {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            name_hash: gate_hash(settings.gate.name.as_str()),
            window_ms: millis(settings.longest_window()),
            longest_grant_ms: millis(settings.longest_grant()),
            roster: None,
        }
    }
}

/// What the engine asks of the cluster process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Ask {
    Claim {
        ticket: u64,
        claim: Claim,
        within_ms: u64,
        /// Published in the transaction of the claim, if it is won.
        publish: Option<Publish>,
    },
    /// Publish this alone. [`Told::Published`] brings it back, also to the gate that published it.
    Publish(Publish),
    /// Watch what the gates of this name publish, from the start, and also if it is watched already.
    Watch,
    /// Another gate has a newer roster: look for it at once.
    LookForRoster,
    /// Say when the coordinator is back.
    Probe { number: u64 },
}

/// What the cluster process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Told {
    Claimed {
        ticket: u64,
        answer: Answer,
    },
    /// The coordinator carries out claims, asked after this probe.
    Back {
        number: u64,
    },
    /// It does not yet, for this reason.
    Away {
        number: u64,
        why: String,
    },
    /// A gate of this name has published this. It is told when it happens, and for all that is live after [`Ask::Watch`].
    Published {
        sealed: String,
    },
    /// All that was live has been told.
    Current,
    /// Something may have been missed. All that is live is told again, and then [`Told::Current`].
    Behind {
        why: String,
    },
}

/// The longest name and content of a publication, in bytes.
pub const NAME_MAX: usize = 64;
pub const SEALED_MAX: usize = 4096;

/// What a gate tells the other gates of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    pub kind: PublishKind,
    /// Hexadecimal digits, 1 to [`NAME_MAX`]. A second publication of the same kind and name replaces the first at etcd. Redis tells
    /// both.
    pub name: String,
    /// Base64, at most [`SEALED_MAX`] bytes. Only engines can read it.
    pub sealed: String,
    /// How long the coordinator keeps it, at least.
    pub lasts_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishKind {
    Grant,
    Close,
    Heartbeat,
    Notice,
}

impl PublishKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Close => "close",
            Self::Heartbeat => "heartbeat",
            Self::Notice => "notice",
        }
    }
}

impl Publish {
    /// Whether it can be published: the coordinator gets no other characters, and no more of them.
    pub fn is_sound(&self) -> bool {
        (1..=NAME_MAX).contains(&self.name.len())
            && self.name.bytes().all(|byte| byte.is_ascii_hexdigit())
            && is_sealed(&self.sealed)
    }

    /// What a coordinator stores: the end by this gate's clock, and the content.
    pub fn stored(&self, now: Timestamp) -> String {
        let end = now.plus(Duration::from_millis(self.lasts_ms));
        format!("{} {}", end.as_millis(), self.sealed)
    }
}

/// The content of what a coordinator stored. `None`: it has ended, by any gate's clock, or no gate has stored it.
pub fn live(stored: &[u8], now: Timestamp) -> Option<&str> {
    let (end, sealed) = std::str::from_utf8(stored).ok()?.split_once(' ')?;
    let end = Timestamp::from_millis(end.parse().ok()?);
    let is_live = now < end.plus(MARGIN) && is_sealed(sealed);
    is_live.then_some(sealed)
}

fn is_sealed(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    (1..=SEALED_MAX).contains(&text.len()) && text.bytes().all(is_base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_bounded_and_end() {
        let mut publish = Publish {
            kind: PublishKind::Grant,
            name: "0a".to_owned(),
            sealed: "AAA=".to_owned(),
            lasts_ms: 1000,
        };
        let now = Timestamp::from_millis(5_000);
        let stored = publish.stored(now);
        assert_eq!(live(stored.as_bytes(), now), Some("AAA="));
        let late = now.plus(MARGIN).plus(Duration::from_secs(1));
        for (stored, at) in [
            (stored.as_bytes(), late),
            (b"AAA=", now),
            (b"9999 ", now),
            (b"9999 \xff", now),
            (
                format!("9999 {}", "A".repeat(SEALED_MAX + 1)).as_bytes(),
                now,
            ),
        ] {
            assert_eq!(live(stored, at), None);
        }
        assert!(publish.is_sound());
        for name in ["", "../x", &"0".repeat(NAME_MAX + 1)] {
            publish.name = name.to_owned();
            assert!(!publish.is_sound());
        }
        publish.name = "0a".to_owned();
        publish.sealed = "a b".to_owned();
        assert!(!publish.is_sound());
    }
}
