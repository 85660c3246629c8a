//! The engine: the unprivileged process. It holds the keys, the gate, the replay store and the control socket.
//!
//! One loop owns the gate (`event_loop.rs`). It receives packets and reports itself; other threads feed its channel. Another thread runs
//! it while the disk is slow (`turns.rs`). The engine opens nothing itself: it sends orders to the monitor, which checks each again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::core::order::{MESSAGE_MAX, Order};
use crate::model::exit::{ExitError, FAILED};

mod batch;
mod claimed;
mod claiming;
mod clock_fault;
mod cluster_link;
pub mod commit;
pub mod core;
mod event_loop;
mod events;
mod figures;
mod fwknop;
mod health;
pub mod limits;
mod prefilter;
pub mod privileges;
mod publication_lines;
mod receive;
mod remembering;
mod sample;
mod shares;
mod sharing;
mod start;
mod tables;
mod threads;
mod turns;

use event_loop::{Engine, OpenCapture};
use fwknop::FwknopThread;
use turns::Tools;

/// Events that may wait for the loop. If there is no room, the other threads wait. Their room is taken at the start.
const EVENTS_MAX: usize = 256;

/// Orders that may wait for the monitor.
const ORDERS_MAX: usize = 4096;

/// Serves as the engine of the monitor that started this process, until another engine takes over or the monitor ends.
pub fn run() -> Result<(), ExitError> {
    let link = Link::from_stdin().map_err(ExitError::system("the link to the monitor"))?;
    let Some(parts) = start::take_over(&link)? else {
        return Ok(());
    };
    let (engine, tools) = start_threads(link, parts)?;
    turns::serve(engine, tools)
}

fn start_threads(link: Link, parts: start::EngineParts) -> Result<(Engine, Tools), ExitError> {
    let mut core = parts.core;
    let channel = events::events(EVENTS_MAX);
    let (events, inbox) = channel.map_err(ExitError::system("making the engine's channel"))?;
    let (tables, wanted) = sync_channel(1);
    let (keys, table) = (core.gate().hint_keys(), core.gate().table());
    threads::tables(keys, table, wanted, parts.prefilter, events.clone())?;
    let second = link.try_clone();
    let second = second.map_err(ExitError::system("the link to the monitor"))?;
    let orders = Arc::new(threads::orders(second, ORDERS_MAX, events.clone())?);
    if let Some(listener) = parts.metrics {
        threads::metrics(listener, events.clone())?;
    }
    if let Some(reader) = parts.attempts {
        threads::attempts(reader, events.clone())?;
    }
    let control = threads::control(parts.control, events.clone());
    let mut captures = Vec::new();
    for (name, capture) in parts.captures {
        let (number, received) = core.health().add_capture(name, capture.drops(), None);
        captures.push(OpenCapture {
            number,
            capture,
            received,
        });
    }
    let (finish, has_sensor) = (Arc::new(AtomicBool::new(false)), parts.sensor.is_some());
    if let Some((name, log)) = parts.sensor {
        let (_, received) = core.health().add_capture(name, None, Some(log.lines()));
        threads::sensor(log, received, Arc::clone(&finish), events.clone())?;
    }
    let users = Some(core.gate().fwknop_users());
    let users = users.filter(|users| !users.is_empty());
    let fwknop = users.map(|users| FwknopThread::start(users, events.clone()));
    let fwknop = fwknop.transpose()?;
    let tools = Tools {
        orders: Arc::clone(&orders),
        events,
        turns: Arc::default(),
    };
    let engine = Engine {
        core,
        link,
        buffer: vec![0; MESSAGE_MAX],
        inbox,
        captures,
        interfaces: parts.interfaces,
        has_sensor,
        next_file: parts.next_file,
        finish,
        store: Some(Box::new(parts.store)),
        commits: Vec::new(),
        is_settled: true,
        is_hasty: false,
        busy_at: clock::instant(),
        orders,
        tables,
        is_table_being_built: false,
        control,
        cluster: None,
        fwknop,
        steady: clock::Steady::new(),
        clock_events: parts.clock_events,
    };
    let ready = engine.orders.send(&Order::Ready);
    ready.map_err(|why| ExitError::new(FAILED, why))?;
    Ok((engine, tools))
}
