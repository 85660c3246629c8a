//! Opens the sockets of an engine: control, metrics and captures. Bound sockets of the last engine are used again.
//!
//! What a hostile engine does to such a socket would outlast it. Its filter of system calls refuses what would do harm. No filter
//! can be put on the socket, because one in the way of every packet could be locked.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::socket::SetSockOpt;
use nix::{libc, setsockopt_impl, sockopt_impl};

use crate::adapters::capture;
use crate::adapters::control;
use crate::adapters::metrics;
use crate::core::order::CaptureSpec;
use crate::daemon::monitor::interfaces::InterfaceTable;
use crate::model::exit::ExitError;
use crate::model::settings::{CaptureKind, Interfaces, Settings};

sockopt_impl!(
    LockFilter,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_LOCK_FILTER,
    bool
);

pub(super) fn lock_filter(socket: OwnedFd) -> std::io::Result<OwnedFd> {
    LockFilter.set(&socket, &true)?;
    Ok(socket)
}

pub(super) fn control_socket(path: &Path) -> Result<OwnedFd, ExitError> {
    let doing = format!("binding the control socket {}", path.display());
    let socket = control::bind(path).map(OwnedFd::from);
    let socket = socket.and_then(lock_filter);
    socket.map_err(ExitError::system(doing))
}

/// Listens for readers of the metrics. The socket in `bound` is used again, because an address can be bound only once.
pub(super) fn metrics_listener(
    address: Option<SocketAddr>,
    bound: Option<&(SocketAddr, OwnedFd)>,
) -> Result<Option<(SocketAddr, OwnedFd)>, ExitError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let socket = match bound.filter(|(there, _)| *there == address) {
        Some((_, socket)) => socket.try_clone().map_err(ExitError::system(format!(
            "passing on the listener of {address}"
        )))?,
        None => metrics::http::bind(address)
            .map(OwnedFd::from)
            .and_then(lock_filter)
            .map_err(ExitError::system(format!(
                "metrics.listen: listening on {address} (is another program using it?)"
            )))?,
    };
    Ok(Some((address, socket)))
}

/// Opens the sockets that capture knocks. A socket in `bound` is used again, because a port can be bound only once.
pub(super) fn captures(
    settings: &Settings,
    bound: &[(CaptureSpec, OwnedFd)],
    interfaces: &mut InterfaceTable,
) -> Result<Vec<(CaptureSpec, OwnedFd)>, ExitError> {
    let gate = &settings.gate;
    let mut packet = |interface: Option<String>| {
        let socket = capture::packet::open(&gate.ports)
            .map_err(ExitError::system("opening the packet socket"))?;
        let index = interface.as_ref().map(|name| interfaces.index(name));
        let index = index.transpose()?.unwrap_or_default();
        Ok((CaptureSpec::Packet { interface, index }, socket))
    };
    let knocks: Vec<_> = match (gate.capture, &gate.interfaces) {
        (CaptureKind::Packet, Interfaces::Any) => packet(None).map(|one| vec![one])?,
        (CaptureKind::Packet, Interfaces::Named(names)) => {
            let sockets = names.iter().cloned().map(Some).map(packet);
            sockets.collect::<Result<_, ExitError>>()?
        }
        (CaptureKind::Nflog(group), listened) => {
            return nflog(group, listened, bound, interfaces).map(|socket| vec![socket]);
        }
        (CaptureKind::Udp, _) => {
            let sockets = gate.ports.iter().map(|port| udp(*port, bound));
            sockets.collect::<Result<_, _>>()?
        }
        (CaptureKind::None, _) => Vec::new(),
    };
    let hits = sequences(settings, interfaces)?;
    Ok(knocks.into_iter().chain(hits).collect())
}

/// Opens the sockets that capture hits of sequences, if any user has one.
fn sequences(
    settings: &Settings,
    interfaces: &mut InterfaceTable,
) -> Result<Vec<(CaptureSpec, OwnedFd)>, ExitError> {
    if settings.sequences.is_empty() || settings.gate.log_sensor.is_some() {
        return Ok(Vec::new());
    }
    let names = match &settings.gate.interfaces {
        Interfaces::Any => vec![None],
        Interfaces::Named(names) => names.iter().cloned().map(Some).collect(),
    };
    let open = |interface: Option<String>| {
        let socket = capture::packet::open_for_hits(&settings.sequences);
        let doing = "opening the packet socket for sequences";
        let socket = socket.map_err(ExitError::system(doing))?;
        let index = interface.as_ref().map(|name| interfaces.index(name));
        let index = index.transpose()?.unwrap_or_default();
        Ok((CaptureSpec::Sequences { interface, index }, socket))
    };
    names.into_iter().map(open).collect()
}

/// One socket gets knocks and hits.
fn nflog(
    group: u16,
    listened: &Interfaces,
    bound: &[(CaptureSpec, OwnedFd)],
    interfaces: &mut InterfaceTable,
) -> Result<(CaptureSpec, OwnedFd), ExitError> {
    let names = match listened {
        Interfaces::Any => &[][..],
        Interfaces::Named(names) => names,
    };
    let index = |name: &String| Ok((name.clone(), interfaces.index(name)?));
    let named = names.iter().map(index).collect::<Result<_, ExitError>>()?;
    let is_same =
        |spec: &CaptureSpec| matches!(spec, CaptureSpec::Nflog { group: old, .. } if *old == group);
    let doing = format!("capture: binding group {group} of NFLOG");
    let socket = match bound.iter().find(|(spec, _)| is_same(spec)) {
        Some((_, socket)) => socket.try_clone(),
        None => capture::nflog::open(group).and_then(lock_filter),
    };
    let interfaces = named;
    let spec = CaptureSpec::Nflog { group, interfaces };
    Ok((spec, socket.map_err(ExitError::system(doing))?))
}

fn udp(port: u16, bound: &[(CaptureSpec, OwnedFd)]) -> Result<(CaptureSpec, OwnedFd), ExitError> {
    if let Some((spec, socket)) = bound
        .iter()
        .find(|(spec, _)| *spec == CaptureSpec::Udp { port })
    {
        let again = socket.try_clone().map_err(ExitError::system(format!(
            "passing on the socket of UDP port {port}"
        )))?;
        return Ok((spec.clone(), again));
    }
    let socket = capture::udp::bind(port).and_then(lock_filter);
    let socket = socket.map_err(ExitError::system(format!(
        "binding UDP port {port} (is another program using it?)"
    )))?;
    Ok((CaptureSpec::Udp { port }, socket))
}
