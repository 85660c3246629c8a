//! Why a knock or a connection of the demo did not succeed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::time::human;

#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("sending to {0}: {1}")]
    Send(SocketAddr, io::Error),
    #[error("connecting to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("waiting for a connection: {0}")]
    Wait(rustix::io::Errno),
    #[error("{0} was open before the knock")]
    AlreadyOpen(SocketAddr),
    #[error("{0} was still closed {after} after the knock", after = human(*.1))]
    StillClosed(SocketAddr, Duration),
    #[error("no answer within {}", human(*.0))]
    NoAnswer(Duration),
    #[error("answered: {0}")]
    Answered(io::Error),
}
