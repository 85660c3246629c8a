//! How one engine follows another: at the start, after a crash, and when SIGHUP or `posternd reload` asks for the config to be read anew.
//!
//! The new engine loads the config next to the old one, which serves on. Only when it has everything but the store does the new
//! config come into force; then the old engine sees to what is under way and ends, and the new one opens the store. Knocks that
//! come in between wait in the new engine's captures. A config that can't be used changes nothing.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use crate::adapters::capture::hint_filter::HintFilter;
use crate::adapters::clock;
use crate::adapters::config::disk;
use crate::core::order::{CaptureSpec, Reloaded, Report, Start};
use crate::daemon::monitor::child::{Engine, Over, Stage};
use crate::daemon::monitor::enclosure;
use crate::daemon::monitor::prefilter::{self, Without};
use crate::daemon::monitor::prepare;
use crate::daemon::monitor::reloads;
use crate::daemon::monitor::serve::{Monitor, READY_WITHIN};
use crate::model::exit::{CONFIG, ExitError, FAILED};
use crate::model::settings::Settings;

/// The old engine must end within this time after it was told to; its captures take up to a second.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// An engine that is to follow.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) engine: Engine,
    settings: Settings,
    held: Vec<(CaptureSpec, OwnedFd)>,
    listener: Option<(SocketAddr, OwnedFd)>,
    started: Instant,
    /// Orders of the old engine that are answered once it is known what becomes of this one.
    askers: Vec<u64>,
    /// Since when its config is in force and the old engine knows that it is to end.
    in_force_since: Option<Instant>,
}

impl Monitor {
    /// Reads the config afresh, for no key of it was kept, and starts an engine on it, to follow the one that may serve now.
    ///
    /// # Errors
    /// Why the config can't be used; nothing has changed then.
    pub(super) fn start_engine(&mut self) -> Result<(), ExitError> {
        self.started = if self.engine.is_some() {
            self.started
        } else {
            clock::instant()
        };
        let (bundle, settings) = disk::load(&self.config)?;
        stays(&self.settings, &settings)?;
        prepare::state_dir(&settings.gate.state_dir, &self.run_as)?;
        let captures = prepare::captures(&settings.gate, &self.held)?;
        let listener = prepare::metrics_listener(settings.metrics.listen, self.listener.as_ref())?;
        let filter = prefilter::attach(&settings, &captures);
        self.tell_of_prefilter(filter.as_ref().err());
        let start = Start {
            run_as: self.run_as.ids,
            captures: captures.iter().map(|(spec, _)| spec.clone()).collect(),
            backend: self.executor.backend_name().to_owned(),
            daemon_uptime_ms: crate::model::time::millis(self.clock.age()),
            state_dir: settings.gate.state_dir.clone(),
            metrics: listener.is_some(),
            hint_filter: filter.is_ok(),
        };
        let besides = listener
            .iter()
            .map(|(_, socket)| socket.as_fd())
            .chain(filter.iter().flat_map(HintFilter::maps));
        let besides: Vec<BorrowedFd<'_>> = besides.collect();
        let engine = Engine::start(
            &super::ENGINE,
            &bundle,
            self.control.as_fd(),
            &captures,
            &besides,
            &start,
        )?;
        drop(besides);
        let held = captures
            .into_iter()
            .filter(|(spec, _)| matches!(spec, CaptureSpec::Udp { .. }))
            .collect();
        let (started, askers, in_force_since) = (clock::instant(), Vec::new(), None);
        self.successor = Some(Successor {
            engine,
            settings,
            held,
            listener,
            started,
            askers,
            in_force_since,
        });
        Ok(())
    }

    /// Says once what becomes of junk, and again where that changes.
    fn tell_of_prefilter(&mut self, without: Option<&Without>) {
        let said = match without {
            None => "the kernel drops what no user's key can have made".to_owned(),
            Some(without) => format!("the kernel does not look for hints: {without}"),
        };
        if self.told_of_prefilter.as_ref() == Some(&said) {
            return;
        }
        match without {
            Some(Without::Lacking(_)) => {
                info!("{said}; junk at the knock port costs the engine a look each")
            }
            _ => debug!("{said}"),
        }
        self.told_of_prefilter = Some(said);
    }

    /// Whether the engine that serves was told to end.
    pub(super) fn is_handing_over(&self) -> bool {
        self.successor
            .as_ref()
            .is_some_and(|successor| successor.in_force_since.is_some())
    }

    /// Begins a reload that is wanted, and takes a successor the next step on its way.
    pub(super) fn look_at_successor(&mut self, buffer: &mut [u8]) -> Result<(), ExitError> {
        let Some(successor) = self.successor.as_mut() else {
            self.reload_if_wanted();
            return Ok(());
        };
        let engine = &mut successor.engine;
        if !engine.orders(1, buffer).is_empty() {
            engine.over = Some(Over::Unfit(
                "it gave an order before it was told to go".to_owned(),
            ));
        } else if engine.stage == Stage::Loading && clock::elapsed(successor.started) > READY_WITHIN
        {
            engine.over = Some(Over::Unfit(format!(
                "it was not loaded within {}",
                crate::model::time::human(READY_WITHIN)
            )));
        }
        if engine.over.is_some() {
            return self.give_up_successor();
        }
        if engine.stage == Stage::Loading {
            return Ok(());
        }
        match (successor.in_force_since, self.engine.as_mut()) {
            (None, _) => self.put_in_force(),
            (Some(_), None) => {
                self.let_go();
                Ok(())
            }
            (Some(since), Some(old)) => {
                if clock::elapsed(since) > FINISH_WITHIN {
                    old.over.get_or_insert(Over::Unfit(
                        "it did not end when it was told to".to_owned(),
                    ));
                }
                Ok(())
            }
        }
    }

    fn reload_if_wanted(&mut self) {
        let asked = self.reloads.due_in().is_some_and(|due| due.is_zero());
        let wanted = self.reload_wanted || asked;
        if !wanted
            || self
                .engine
                .as_ref()
                .is_none_or(|engine| engine.stage < Stage::Ready)
        {
            // An engine that has yet to start reads the config as it then is.
            self.reload_wanted &= self.engine.is_some();
            return;
        }
        self.reload_wanted = false;
        let askers = self.reloads.begin();
        self.status_reports.reloading();
        info!("reading the config anew");
        let start = clock::instant();
        let started = self.start_engine();
        self.reloads.began(clock::elapsed(start));
        match (started, self.successor.as_mut()) {
            (Ok(()), Some(successor)) => successor.askers = askers,
            (Ok(()), None) => {}
            (Err(stop), _) => {
                stop.message
                    .lines()
                    .for_each(|line| error!("{NOT_USED}: {line}"));
                self.tell_askers(askers, &reloads::refused(&stop.message));
            }
        }
    }

    /// Those who asked for a reload hear of it from the engine that they asked, while it is there.
    fn tell_askers(&mut self, askers: Vec<u64>, outcome: &Reloaded) {
        if let Some(engine) = self.engine.as_mut() {
            reloads::reports(askers, outcome).for_each(|report| engine.tell(&report));
        }
    }

    /// The new engine can serve: its config comes into force, and the old engine is told to end.
    fn put_in_force(&mut self) -> Result<(), ExitError> {
        let Some(successor) = self.successor.as_mut() else {
            return Ok(());
        };
        if let Err(error) = self.executor.reload(&successor.settings, self.clock.now()) {
            successor.engine.over = Some(Over::Unfit(format!(
                "the firewall did not take its config: {error}"
            )));
            return self.give_up_successor();
        }
        self.settings = successor.settings.clone();
        successor.in_force_since = Some(clock::instant());
        let askers = std::mem::take(&mut successor.askers);
        self.tell_askers(askers, &Reloaded::Done);
        match self.engine.as_mut() {
            Some(old) => old.tell(&Report::Finish),
            None => self.let_go(),
        }
        Ok(())
    }

    /// No other engine has the store open: the new one may.
    fn let_go(&mut self) {
        let Some(mut successor) = self.successor.take() else {
            return;
        };
        successor.engine.tell(&Report::Go);
        self.executor.count_engine();
        if self.served {
            let users = self.settings.policies.len();
            info!(
                users,
                "the config is in force: {}",
                crate::model::time::count(users, "user")
            );
        }
        self.engine = Some(successor.engine);
        self.reloads.forget();
        self.held = successor.held;
        self.listener = successor.listener;
        self.started = clock::instant();
    }

    fn give_up_successor(&mut self) -> Result<(), ExitError> {
        let Some(mut successor) = self.successor.take() else {
            return Ok(());
        };
        let askers = std::mem::take(&mut successor.askers);
        let why = successor.engine.over.clone().unwrap_or(Over::Gone);
        let status = successor.engine.end();
        match (why, status.and_then(|status| status.code())) {
            (why, code) if !self.served => {
                let code = code
                    .and_then(|code| u8::try_from(code).ok())
                    .filter(|_| why == Over::Gone)
                    .unwrap_or(FAILED);
                let why = if why == Over::Gone {
                    "its own line is above".to_owned()
                } else {
                    why.to_string()
                };
                return Err(ExitError::new(
                    code,
                    format!("the engine could not begin ({why})"),
                ));
            }
            (why, _) if self.engine.is_some() => {
                let what = format!("the new engine could not begin: {why}");
                error!("{NOT_USED}: {what}");
                self.tell_askers(askers, &reloads::refused(&what));
            }
            (why, _) => warn!("the engine could not begin: {why}"),
        }
        Ok(())
    }
}

const NOT_USED: &str = "the new config is not used, the old one stays in force";

/// What is made or opened once, when the monitor starts, can't be changed by a reload.
fn stays(old: &Settings, new: &Settings) -> Result<(), ExitError> {
    let folder = |settings: &Settings| {
        settings
            .metrics
            .file
            .as_deref()
            .and_then(Path::parent)
            .map(Path::to_owned)
    };
    let is_enclosed = !enclosure::runs_programs_of_config(old);
    let changed = [
        (
            "that no service has a hook (on_open, on_close)",
            is_enclosed && enclosure::runs_programs_of_config(new),
        ),
        (
            "the folder of metrics.file",
            is_enclosed && new.metrics.file.is_some() && folder(new) != folder(old),
        ),
        ("gate.state_dir", old.gate.state_dir != new.gate.state_dir),
        (
            "gate.control_socket",
            old.gate.control_socket != new.gate.control_socket,
        ),
        ("gate.run_as", old.gate.run_as != new.gate.run_as),
        (
            "firewall.backend",
            old.firewall.backend != new.firewall.backend,
        ),
        (
            "firewall.command",
            old.firewall.command != new.firewall.command,
        ),
    ];
    let lines = changed.iter().filter(|(_, changed)| *changed);
    let lines: Vec<String> = lines
        .map(|(what, _)| {
            format!("{what} can't change while posternd runs; change it back, or restart")
        })
        .collect();
    if lines.is_empty() {
        Ok(())
    } else {
        Err(ExitError::new(CONFIG, lines.join("\n")))
    }
}
