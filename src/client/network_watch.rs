//! Tells a command that the way to its gate may have changed: an address or a route, a set clock, the end of a suspend.

use std::io;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use crate::adapters::clock::ClockEvents;
use crate::adapters::routes::RouteEvents;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkEvent {
    /// An address or a route.
    Routes,
    /// The wall clock was set, or this machine was suspended.
    Clock,
}

/// Calls `tell` for each event, on a thread of its own, until it returns false.
pub(crate) fn watch(tell: impl Fn(NetworkEvent) -> bool + Send + 'static) -> io::Result<()> {
    let mut routes = RouteEvents::subscribe()?;
    let clock = ClockEvents::subscribe()?;
    thread::spawn(move || {
        loop {
            let readable = |end| PollFd::from_borrowed_fd(end, PollFlags::IN);
            let mut ends = [
                readable(std::os::fd::AsFd::as_fd(&routes)),
                readable(std::os::fd::AsFd::as_fd(&clock)),
            ];
            let has_news = match poll(&mut ends, None) {
                Ok(_) => ends.each_ref().map(|end| !end.revents().is_empty()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            };
            let [of_routes, of_clock] = has_news;
            if of_routes {
                routes.take();
            }
            if of_clock {
                clock.take();
            }
            let news = [
                (of_routes, NetworkEvent::Routes),
                (of_clock, NetworkEvent::Clock),
            ];
            let mut news = news.into_iter().filter(|(has_news, _)| *has_news);
            if !news.all(|(_, event)| tell(event)) {
                return;
            }
        }
    });
    Ok(())
}
