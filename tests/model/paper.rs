//! The daemon on paper: mark, order, grant and expiry as DESIGN section 3 has them, without a line of Postern's code.
//!
//! Two knocks of one user for one door; both may come to the gate again and again. One engine, or two while one hands over to the
//! next; a disk with commits under way; orders in the link; a monitor; a kernel that ends grants by itself; clocks that are set. Time is
//! counted in ticks, of which the window has one and a grant two or one. All of it can die at any moment.

use crate::explore::Machine;

pub(crate) const KNOCKS: usize = 2;
const WINDOW: i8 = 1;
/// For how long each knock asks.
const LENGTHS: [i8; KNOCKS] = [2, 1];
const START: i8 = 3;

/// A way to build the daemon wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The order goes out while the mark is being written.
    OrderFirst,
    /// The order goes out though the mark could not be written.
    OrderAnyway,
    /// An engine begins without what is on the disk.
    EmptyMemory,
    /// The gate's clock counts backwards when it is set back.
    CountsBackwards,
    /// The greatest time that was recorded is not on the disk.
    ForgetsTheTime,
    /// The next engine reads the disk while the last one still writes to it.
    TwoWriters,
    /// Ends are counted by a clock that can be set ahead.
    EndsByTheClock,
    /// The kernel ends nothing.
    NoKernel,
    /// Neither kernel nor monitor ends anything.
    NobodyCloses,
    /// A monitor begins by emptying the firewall.
    CleanStart,
    /// A renewal puts the new end in the place of a later one.
    Shortens,
    /// What the firewall did not do is told as done.
    TellsFirst,
}

/// The daemon, and how far it is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Daemon {
    pub(crate) flaw: Option<Flaw>,
    /// How many ticks there are.
    pub(crate) ticks: i8,
    /// How far the engine's clock can be set from the true time, both ways; none: never.
    pub(crate) set_by: i8,
    /// How often something that works may fail: a commit, the firewall.
    pub(crate) failures: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Make(usize),
    Arrive(usize),
    Written(usize),
    NotWritten(usize),
    Order(usize),
    Serve(usize),
    ServeFails(usize),
    EngineDies,
    EngineBegins,
    HandOver,
    MonitorDies,
    MonitorBegins,
    Close,
    Tick,
    SetClock(i8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// True time: the kernel's and the monitor's.
    time: i8,
    /// The engine's clock, less the true time.
    ahead: i8,
    failures: u8,
    /// When each knock was made.
    made: [Option<i8>; KNOCKS],
    engine: Option<Engine>,
    /// The next engine is there and waits for this one to end.
    handing_over: bool,
    disk: Memory,
    /// Orders in the link.
    link: [bool; KNOCKS],
    /// What the ledger has open, and until when.
    monitor: Option<Option<i8>>,
    kernel: Option<i8>,
    /// What the user was told.
    told: Option<i8>,
    /// Which marks were ever on the disk, and how often each knock was ordered; no part of the daemon knows.
    ever_written: [bool; KNOCKS],
    ordered: [u8; KNOCKS],
    /// The time of the last order that was served.
    served: Option<i8>,
    /// An order was given for a mark that was not on the disk.
    too_early: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Engine {
    memory: Memory,
    writing: [Writing; KNOCKS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Writing {
    #[default]
    Nothing,
    UnderWay,
    Done,
}

/// Marks, and the two times that guard them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Memory {
    marks: [bool; KNOCKS],
    floor: i8,
    horizon: i8,
}

impl Machine for Daemon {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        State {
            time: START,
            ahead: 0,
            failures: 0,
            made: [None; KNOCKS],
            engine: Some(Engine::default()),
            handing_over: false,
            disk: Memory::default(),
            link: [false; KNOCKS],
            monitor: Some(None),
            kernel: None,
            told: None,
            ever_written: [false; KNOCKS],
            ordered: [0; KNOCKS],
            served: None,
            too_early: false,
        }
    }

    fn next(&self, state: &State) -> Vec<(Action, State)> {
        let mut next = Vec::new();
        for knock in 0..KNOCKS {
            next.extend(
                self.make(*state, knock)
                    .map(|after| (Action::Make(knock), after)),
            );
            next.extend(
                self.arrive(*state, knock)
                    .map(|after| (Action::Arrive(knock), after)),
            );
            next.extend(
                self.written(*state, knock)
                    .map(|after| (Action::Written(knock), after)),
            );
            next.extend(
                self.not_written(*state, knock)
                    .map(|after| (Action::NotWritten(knock), after)),
            );
            next.extend(
                self.order(*state, knock)
                    .map(|after| (Action::Order(knock), after)),
            );
            next.extend(
                self.serve(*state, knock)
                    .map(|after| (Action::Serve(knock), after)),
            );
            next.extend(
                self.serve_fails(*state, knock)
                    .map(|after| (Action::ServeFails(knock), after)),
            );
        }
        next.extend(
            self.engine_dies(*state)
                .map(|after| (Action::EngineDies, after)),
        );
        next.extend(
            self.engine_begins(*state)
                .map(|after| (Action::EngineBegins, after)),
        );
        next.extend(
            self.hand_over(*state)
                .map(|after| (Action::HandOver, after)),
        );
        next.extend(
            self.monitor_dies(*state)
                .map(|after| (Action::MonitorDies, after)),
        );
        next.extend(
            self.monitor_begins(*state)
                .map(|after| (Action::MonitorBegins, after)),
        );
        next.extend(self.close(*state).map(|after| (Action::Close, after)));
        next.extend(self.tick(*state).map(|after| (Action::Tick, after)));
        for ahead in [-self.set_by, 0, self.set_by] {
            next.extend(
                self.clock(*state, ahead)
                    .map(|after| (Action::SetClock(ahead), after)),
            );
        }
        next
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let over = |end: i8| end <= state.time;
        if state.too_early {
            return Some("3: an order before its mark is durable");
        }
        if state.ordered.iter().any(|times| *times > 1) {
            return Some("3: one mark, two orders");
        }
        match (state.kernel, state.served) {
            (Some(_), None) => return Some("3: a grant without an order"),
            (Some(end), _) if over(end) => return Some("4: a grant past its end"),
            (Some(end), Some(served)) if end > served + LENGTHS[0] => {
                return Some("4: a grant that is longer than was asked");
            }
            _ => {}
        }
        match state.told {
            Some(end) if !over(end) && state.kernel.is_none_or(|kernel| kernel < end) => {
                Some("10: told to be open, but shut")
            }
            _ => None,
        }
    }
}

impl Daemon {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// A user knocks, with a clock that is right.
    fn make(&self, mut state: State, knock: usize) -> Option<State> {
        // The second knock is made after the first: which is which does not matter.
        let turn = state.made[knock].is_none() && (knock == 0 || state.made[knock - 1].is_some());
        state.made[knock] = Some(state.time);
        turn.then_some(state)
    }

    /// Steps 7 and 8, for the first copy or a later one.
    fn arrive(&self, mut state: State, knock: usize) -> Option<State> {
        let (made, clock) = (state.made[knock]?, state.time + state.ahead);
        let engine = state
            .engine
            .as_mut()
            .filter(|_| !state.handing_over || self.has(Flaw::TwoWriters))?;
        let memory = &mut engine.memory;
        let backwards = self.has(Flaw::CountsBackwards);
        let now = if backwards {
            clock
        } else {
            clock.max(memory.floor)
        };
        if made < memory.horizon && !backwards || (now - made).abs() > WINDOW || memory.marks[knock]
        {
            return None;
        }
        memory.marks[knock] = true;
        memory.floor = memory.floor.max(now);
        memory.horizon = memory.horizon.max(memory.floor - WINDOW);
        memory.forget(&state.made, memory.horizon);
        engine.writing[knock] = Writing::UnderWay;
        if self.has(Flaw::OrderFirst) {
            order(&mut state, knock);
        }
        Some(state)
    }

    /// Step 11: the disk has the mark, and with it the times.
    fn written(&self, mut state: State, knock: usize) -> Option<State> {
        let engine = state
            .engine
            .as_mut()
            .filter(|engine| engine.writing[knock] == Writing::UnderWay)?;
        engine.writing[knock] = Writing::Done;
        state.disk.marks[knock] = true;
        // Two engines with one file: what the first wrote after the second had read is not what the second knows.
        state.disk.floor = state.disk.floor.max(engine.memory.floor);
        state.disk.horizon = state.disk.horizon.max(engine.memory.horizon);
        state.disk.forget(&state.made, state.disk.horizon);
        if self.has(Flaw::ForgetsTheTime) {
            (state.disk.floor, state.disk.horizon) = (0, 0);
        }
        state.ever_written[knock] = true;
        Some(state)
    }

    /// The disk could not take it: what an engine does after that is to end.
    fn not_written(&self, mut state: State, knock: usize) -> Option<State> {
        state.engine.filter(|engine| {
            engine.writing[knock] == Writing::UnderWay && state.failures < self.failures
        })?;
        state.failures += 1;
        if self.has(Flaw::OrderAnyway) {
            order(&mut state, knock);
            return Some(state);
        }
        self.engine_dies(state)
    }

    /// Step 12: the engine hears that the mark is durable.
    fn order(&self, mut state: State, knock: usize) -> Option<State> {
        let engine = state
            .engine
            .filter(|engine| engine.writing[knock] == Writing::Done)?;
        state.engine = Some(Engine {
            writing: with(engine.writing, knock, Writing::Nothing),
            ..engine
        });
        if !self.has(Flaw::OrderFirst) {
            order(&mut state, knock);
        }
        Some(state)
    }

    fn serve(&self, mut state: State, knock: usize) -> Option<State> {
        let open = state.monitor.filter(|_| state.link[knock])?;
        state.link[knock] = false;
        let clock = if self.has(Flaw::EndsByTheClock) {
            state.time + state.ahead.max(0)
        } else {
            state.time
        };
        let asked = clock + LENGTHS[knock];
        let end = if self.has(Flaw::Shortens) {
            asked
        } else {
            open.unwrap_or(asked).max(asked)
        };
        state.monitor = Some(Some(end));
        (state.kernel, state.told, state.served) =
            (Some(end), state.told.max(Some(end)), Some(state.time));
        Some(state)
    }

    /// The firewall refuses, and the monitor says so.
    fn serve_fails(&self, mut state: State, knock: usize) -> Option<State> {
        state
            .monitor
            .filter(|_| state.link[knock] && state.failures < self.failures)?;
        state.failures += 1;
        state.link[knock] = false;
        if self.has(Flaw::TellsFirst) {
            state.told = Some(state.time + LENGTHS[knock]);
        }
        Some(state)
    }

    /// Orders that are in the link stay there, for the monitor reads them to the end.
    fn engine_dies(&self, mut state: State) -> Option<State> {
        state.engine.take()?;
        // A next engine that waits takes over at once, with what is on the disk now.
        if std::mem::take(&mut state.handing_over) {
            self.engine_begins(state)
        } else {
            Some(state)
        }
    }

    fn engine_begins(&self, mut state: State) -> Option<State> {
        if state.engine.is_some() || state.monitor.is_none() {
            return None;
        }
        let memory = if self.has(Flaw::EmptyMemory) {
            Memory::default()
        } else {
            state.disk
        };
        state.engine = Some(Engine {
            memory,
            ..Engine::default()
        });
        Some(state)
    }

    /// A reload: the engine takes in no more knocks. Once nothing is under way in it, it ends.
    fn hand_over(&self, mut state: State) -> Option<State> {
        let engine = state.engine?;
        if !state.handing_over {
            state.handing_over = true;
            return Some(state);
        }
        let idle = engine.writing == [Writing::Nothing; KNOCKS];
        if self.has(Flaw::TwoWriters) {
            // What is being written goes on, but the engine that now judges knows nothing of it.
            state.handing_over = false;
            state.engine = Some(Engine {
                memory: state.disk,
                ..engine
            });
            return Some(state);
        }
        if idle { self.engine_dies(state) } else { None }
    }

    /// The engine goes with it, and what is in the link.
    fn monitor_dies(&self, mut state: State) -> Option<State> {
        state.monitor.take()?;
        (state.engine, state.handing_over, state.link) = (None, false, [false; KNOCKS]);
        Some(state)
    }

    /// The firewall is its own record.
    fn monitor_begins(&self, mut state: State) -> Option<State> {
        if state.monitor.is_some() {
            return None;
        }
        if self.has(Flaw::CleanStart) {
            state.kernel = None;
        }
        state.monitor = Some(state.kernel.filter(|end| *end > state.time));
        if !self.has(Flaw::NobodyCloses) {
            state.kernel = state.monitor.flatten();
        }
        Some(state)
    }

    /// The user, or the administrator, closes the door.
    fn close(&self, mut state: State) -> Option<State> {
        state.monitor.flatten()?;
        (state.monitor, state.kernel, state.told) = (Some(None), None, None);
        Some(state)
    }

    /// What is due ends with the tick: the kernel does that, and the monitor if there is one.
    fn tick(&self, mut state: State) -> Option<State> {
        if state.time == START + self.ticks {
            return None;
        }
        state.time += 1;
        let stays = |end: &i8| *end > state.time;
        let kernel = !self.has(Flaw::NoKernel) && !self.has(Flaw::NobodyCloses);
        let monitor = state.monitor.is_some() && !self.has(Flaw::NobodyCloses);
        if kernel || monitor {
            state.kernel = state.kernel.filter(stays);
        }
        state.monitor = state.monitor.map(|open| open.filter(stays));
        state.told = state.told.filter(stays);
        Some(state)
    }

    fn clock(&self, mut state: State, ahead: i8) -> Option<State> {
        let differs = ahead != state.ahead;
        state.ahead = ahead;
        differs.then_some(state)
    }
}

fn order(state: &mut State, knock: usize) {
    state.too_early |= !state.ever_written[knock];
    state.link[knock] = true;
    state.ordered[knock] = (state.ordered[knock] + 1).min(2);
}

fn with<T: Copy>(mut all: [T; KNOCKS], at: usize, one: T) -> [T; KNOCKS] {
    all[at] = one;
    all
}

impl Memory {
    /// Marks of knocks that were made before this.
    fn forget(&mut self, made: &[Option<i8>; KNOCKS], horizon: i8) {
        for (mark, made) in self.marks.iter_mut().zip(made) {
            *mark &= made.is_none_or(|made| made >= horizon);
        }
    }
}
