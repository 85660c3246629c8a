//! Serves the control socket: many askers at once in one thread. Whoever is slow, or asks and does not listen, holds up nobody else.
//!
//! Only root may ask, whatever the socket's mode. Bounded in askers, length and time. Decides no answer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Answer, Question};

#[cfg(test)]
mod tests;

/// Askers at once. One more takes the place of who has been asking the longest.
const ASKERS_MAX: usize = 64;
const QUESTION_MAX: usize = 4096;
/// How long an asker may take to ask, how long an answer may be waited for, and how long it may take to be listened to.
const ASK_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The same for a reload, which waits for another engine to load.
const RELOADED_WITHIN: Duration = Duration::from_secs(150);
/// How long anyone has left once the socket is closing.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Where no more connections can be taken, for want of descriptors say, it is tried again after this time.
const PAUSE: Duration = Duration::from_millis(100);

/// The number of an asker, and the answer as a line.
pub type Told = (u64, Vec<u8>);

/// Somebody who asked and waits for the answer.
#[derive(Debug)]
pub struct Asker {
    number: u64,
    answers: Sender<Told>,
    /// Written to when there is an answer.
    bell: Arc<UnixStream>,
}

/// The socket and those who ask at it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    connections: Vec<Connection>,
    last_number: u64,
    answers: Receiver<Told>,
    to_askers: Sender<Told>,
    bell: UnixStream,
    ringer: Arc<UnixStream>,
    /// Until when no connection is taken.
    pause_until: Option<Instant>,
    closing: Arc<AtomicBool>,
}

/// Tells a server that another one follows it.
#[derive(Debug)]
pub struct Closer {
    closing: Arc<AtomicBool>,
    bell: Arc<UnixStream>,
}

impl Closer {
    /// From now on no connection is taken; those that there are have a second left.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let _ = (&*self.bell).write(&[1]);
    }
}

#[derive(Debug)]
struct Connection {
    number: u64,
    stream: UnixStream,
    state: State,
    until: Instant,
}

#[derive(Debug)]
enum State {
    /// What has been read of the question.
    Asking(Vec<u8>),
    Waiting,
    /// The answer, and how much of it has been written.
    Listening(Vec<u8>, usize),
}

/// What became of a connection when something happened to it.
enum Turn {
    Goes(State),
    Asked(Question),
    Over,
}

impl Asker {
    /// Without a socket: what is answered comes out of the channel.
    pub fn alone() -> io::Result<(Self, Receiver<Told>)> {
        let ((answers, answered), (_, bell)) = (channel(), UnixStream::pair()?);
        bell.set_nonblocking(true)?;
        Ok((
            Self {
                number: 0,
                answers,
                bell: Arc::new(bell),
            },
            answered,
        ))
    }
}

/// Answers; whoever does not listen any more has lost nothing of ours. Never waits.
pub fn answer(to: Asker, answer: &Answer) {
    if to.answers.send((to.number, line(answer))).is_ok() {
        // Where there is no room, it has been rung often enough.
        let _ = (&*to.bell).write(&[1]);
    }
}

impl Server {
    /// Serves this socket.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (bell, ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ringer.set_nonblocking(true)?;
        let (to_askers, answers) = channel();
        let (ringer, closing) = (Arc::new(ringer), Arc::new(AtomicBool::new(false)));
        Ok(Self {
            listener,
            connections: Vec::new(),
            last_number: 0,
            answers,
            to_askers,
            bell,
            ringer,
            pause_until: None,
            closing,
        })
    }

    /// What ends it in order.
    pub fn closer(&self) -> Closer {
        Closer {
            closing: Arc::clone(&self.closing),
            bell: Arc::clone(&self.ringer),
        }
    }

    /// Hands questions to `take` until it says that nobody takes them any more, or a [`Closer`] is used. `now` is the clock.
    ///
    /// # Errors
    /// When the socket can't be served any more.
    pub fn serve(
        mut self,
        now: impl Fn() -> Instant,
        mut take: impl FnMut(Question, Asker) -> bool,
    ) -> io::Result<()> {
        loop {
            self.wait(now())?;
            self.ring_off();
            while let Ok((number, answer)) = self.answers.try_recv() {
                self.answered(number, answer, now());
            }
            if self.closing.load(Ordering::Relaxed) {
                let last = now() + LAST_WORDS;
                self.connections
                    .iter_mut()
                    .for_each(|one| one.until = one.until.min(last));
                if self.connections.is_empty() {
                    return Ok(());
                }
            } else {
                self.accept(now());
            }
            for (number, question) in self.turn(now()) {
                let asker = Asker {
                    number,
                    answers: self.to_askers.clone(),
                    bell: Arc::clone(&self.ringer),
                };
                if !take(question, asker) {
                    return Ok(());
                }
            }
        }
    }

    /// Waits for a connection, an answer, bytes of an asker, room for an answer, or the next deadline.
    fn wait(&self, now: Instant) -> io::Result<()> {
        let listens = !self.closing.load(Ordering::Relaxed)
            && self.pause_until.is_none_or(|until| until <= now);
        let wanted = |state: &State| match state {
            State::Asking(_) => PollFlags::IN,
            State::Waiting => PollFlags::empty(),
            State::Listening(..) => PollFlags::OUT,
        };
        let mut waited = vec![PollFd::new(&self.bell, PollFlags::IN)];
        waited.extend(listens.then(|| PollFd::new(&self.listener, PollFlags::IN)));
        waited.extend(
            self.connections
                .iter()
                .map(|one| PollFd::from_borrowed_fd(one.stream.as_fd(), wanted(&one.state))),
        );
        let deadlines = self
            .connections
            .iter()
            .map(|one| one.until)
            .chain(self.pause_until.filter(|_| !listens));
        let next = deadlines.min().map(|until| {
            until
                .saturating_duration_since(now)
                .saturating_add(Duration::from_millis(1))
        });
        let next = next.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut waited, next.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn ring_off(&mut self) {
        let mut rung = [0; 256];
        while matches!(self.bell.read(&mut rung), Ok(count) if count > 0) {}
    }

    fn accept(&mut self, now: Instant) {
        if self.pause_until.is_some_and(|until| until > now) {
            return;
        }
        self.pause_until = None;
        for _ in 0..ASKERS_MAX {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.pause_until = Some(now + PAUSE);
                    return;
                }
            }
        }
    }

    /// Whoever may not ask is told so, and nothing of what he says is read.
    fn admit(&mut self, stream: UnixStream, now: Instant) {
        let is_root =
            rustix::net::sockopt::socket_peercred(&stream).is_ok_and(|peer| peer.uid.is_root());
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if !is_root {
            let _ = (&stream).write(&line(&Answer::Failed("only root may ask".to_owned())));
            return;
        }
        if self.connections.len() >= ASKERS_MAX {
            let oldest = self
                .connections
                .iter()
                .position(|one| matches!(one.state, State::Asking(_)));
            self.connections.remove(oldest.unwrap_or_default());
        }
        self.last_number = self.last_number.wrapping_add(1);
        let state = State::Asking(Vec::new());
        self.connections.push(Connection {
            number: self.last_number,
            stream,
            state,
            until: now + ASK_WITHIN,
        });
    }

    fn answered(&mut self, number: u64, answer: Vec<u8>, now: Instant) {
        if let Some(one) = self.connections.iter_mut().find(|one| one.number == number) {
            one.state = State::Listening(answer, 0);
            one.until = now + ANSWER_WITHIN;
        }
    }

    /// Goes on with every connection as far as that is possible now; the questions that have been asked.
    fn turn(&mut self, now: Instant) -> Vec<(u64, Question)> {
        let mut questions = Vec::new();
        self.connections.retain_mut(|one| {
            if one.until <= now {
                return false;
            }
            let state = match std::mem::replace(&mut one.state, State::Waiting) {
                State::Asking(read) => hear(&one.stream, read),
                State::Waiting => {
                    if is_gone(&one.stream) {
                        Turn::Over
                    } else {
                        Turn::Goes(State::Waiting)
                    }
                }
                State::Listening(answer, written) => tell(&one.stream, answer, written),
            };
            match state {
                Turn::Over => return false,
                Turn::Goes(state) => one.state = state,
                Turn::Asked(question) => {
                    one.until = now
                        + if question == Question::Reload {
                            RELOADED_WITHIN
                        } else {
                            ANSWER_WITHIN
                        };
                    questions.push((one.number, question));
                }
            }
            true
        });
        questions
    }
}

/// Reads on. Nonsense is told to be so.
fn hear(mut stream: &UnixStream, mut read: Vec<u8>) -> Turn {
    let mut buffer = [0; QUESTION_MAX];
    loop {
        match stream.read(&mut buffer) {
            Ok(count) => {
                read.extend_from_slice(buffer.get(..count).unwrap_or_default());
                let line = read.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let is_whole = line.len() < read.len() || count == 0;
                if is_whole || read.len() > QUESTION_MAX {
                    return match serde_json::from_slice(line) {
                        Ok(question) if is_whole => Turn::Asked(question),
                        Ok(_) => failed(stream, "a question is shorter"),
                        Err(error) => failed(stream, &error.to_string()),
                    };
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Turn::Goes(State::Asking(read));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Turn::Over,
        }
    }
}

fn failed(mut stream: &UnixStream, why: &str) -> Turn {
    let _ = stream.write(&line(&Answer::Failed(why.to_owned())));
    Turn::Over
}

/// Whether an asker who should only wait has gone.
fn is_gone(stream: &UnixStream) -> bool {
    let mut waited = [PollFd::new(stream, PollFlags::empty())];
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut waited, Some(&zero)).is_ok_and(|_| {
        waited
            .iter()
            .any(|one| one.revents().intersects(PollFlags::HUP | PollFlags::ERR))
    })
}

/// Writes on.
fn tell(mut stream: &UnixStream, answer: Vec<u8>, mut written: usize) -> Turn {
    while let Some(rest) = answer.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(0) => return Turn::Over,
            Ok(count) => written = written.saturating_add(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Turn::Goes(State::Listening(answer, written));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Turn::Over,
        }
    }
    Turn::Over
}

fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}
