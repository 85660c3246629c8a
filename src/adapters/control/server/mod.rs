//! Serves the control socket: many clients in one thread. A client that is slow or does not read delays no other.
//!
//! Only root may ask, whatever the socket's mode. Clients, lengths and times are bounded.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::question::{Answer, Question};

#[cfg(test)]
mod tests;

const CLIENTS_MAX: usize = 64;
const QUESTION_MAX: usize = 4096;
/// The deadline for a question, and the deadline for the answer and again for reading it.
const ASK_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The deadline for a reload, which waits for another engine to load.
const RELOADED_WITHIN: Duration = Duration::from_secs(150);
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

/// The number of a client, and its answer as a line.
pub type ClientAnswer = (u64, Vec<u8>);

/// A client that waits for its answer.
#[derive(Debug)]
pub struct Client {
    number: u64,
    answers: Sender<ClientAnswer>,
    bell: Arc<UnixStream>,
}

/// The socket and its clients.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    connections: Vec<Connection>,
    last_number: u64,
    answers: Receiver<ClientAnswer>,
    answer_sender: Sender<ClientAnswer>,
    bell: UnixStream,
    ringer: Arc<UnixStream>,
    /// Until when no connection is accepted.
    pause_until: Option<Instant>,
    closing: Arc<AtomicBool>,
}

/// Closes a server.
#[derive(Debug)]
pub struct Closer {
    closing: Arc<AtomicBool>,
    bell: Arc<UnixStream>,
}

impl Closer {
    /// Accepts no more connections. Those that are open have one second left.
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
    Asking(Vec<u8>),
    Waiting,
    Answering(Vec<u8>, usize),
}

enum Next {
    Continue(State),
    Ask(Question),
    Close,
}

impl Client {
    /// A client without a socket, for tests: its answer comes out of the channel.
    pub fn detached() -> io::Result<(Self, Receiver<ClientAnswer>)> {
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

/// Answers a client, which may be gone. Never blocks.
pub fn answer(to: Client, answer: &Answer) {
    if to.answers.send((to.number, line(answer))).is_ok() {
        // A full pipe wakes the server, too.
        let _ = (&*to.bell).write(&[1]);
    }
}

impl Server {
    /// Serves this socket.
    pub fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (bell, ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ringer.set_nonblocking(true)?;
        let (answer_sender, answers) = channel();
        let (ringer, closing) = (Arc::new(ringer), Arc::new(AtomicBool::new(false)));
        Ok(Self {
            listener,
            connections: Vec::new(),
            last_number: 0,
            answers,
            answer_sender,
            bell,
            ringer,
            pause_until: None,
            closing,
        })
    }

    /// What closes this server.
    pub(crate) fn closer(&self) -> Closer {
        Closer {
            closing: Arc::clone(&self.closing),
            bell: Arc::clone(&self.ringer),
        }
    }

    /// Passes questions to `take` until that returns `false`, or a [`Closer`] is used. `now` is the clock.
    pub fn serve(
        mut self,
        now: impl Fn() -> Instant,
        mut take: impl FnMut(Question, Client) -> bool,
    ) -> io::Result<()> {
        loop {
            self.wait(now())?;
            self.clear_bell();
            while let Ok((number, answer)) = self.answers.try_recv() {
                self.answered(number, answer, now());
            }
            if self.closing.load(Ordering::Relaxed) {
                let last = now() + CLOSE_WITHIN;
                self.connections
                    .iter_mut()
                    .for_each(|one| one.until = one.until.min(last));
                if self.connections.is_empty() {
                    return Ok(());
                }
            } else {
                self.accept(now());
            }
            for (number, question) in self.advance(now()) {
                let client = Client {
                    number,
                    answers: self.answer_sender.clone(),
                    bell: Arc::clone(&self.ringer),
                };
                if !take(question, client) {
                    return Ok(());
                }
            }
        }
    }

    fn wait(&self, now: Instant) -> io::Result<()> {
        let listens = !self.closing.load(Ordering::Relaxed)
            && self.pause_until.is_none_or(|until| until <= now);
        let wanted = |state: &State| match state {
            State::Asking(_) => PollFlags::IN,
            State::Waiting => PollFlags::empty(),
            State::Answering(..) => PollFlags::OUT,
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

    fn clear_bell(&mut self) {
        let mut rung = [0; 256];
        while matches!(self.bell.read(&mut rung), Ok(count) if count > 0) {}
    }

    fn accept(&mut self, now: Instant) {
        if self.pause_until.is_some_and(|until| until > now) {
            return;
        }
        self.pause_until = None;
        for _ in 0..CLIENTS_MAX {
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

    /// Admits root only. Nothing is read from others.
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
        if self.connections.len() >= CLIENTS_MAX {
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
            one.state = State::Answering(answer, 0);
            one.until = now + ANSWER_WITHIN;
        }
    }

    fn advance(&mut self, now: Instant) -> Vec<(u64, Question)> {
        let mut questions = Vec::new();
        self.connections.retain_mut(|one| {
            if one.until <= now {
                return false;
            }
            let next = match std::mem::replace(&mut one.state, State::Waiting) {
                State::Asking(read) => read_question(&one.stream, read),
                State::Waiting => {
                    if is_gone(&one.stream) {
                        Next::Close
                    } else {
                        Next::Continue(State::Waiting)
                    }
                }
                State::Answering(answer, written) => write_answer(&one.stream, answer, written),
            };
            match next {
                Next::Close => return false,
                Next::Continue(state) => one.state = state,
                Next::Ask(question) => {
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

fn read_question(mut stream: &UnixStream, mut read: Vec<u8>) -> Next {
    let mut buffer = [0; QUESTION_MAX];
    loop {
        match stream.read(&mut buffer) {
            Ok(count) => {
                read.extend_from_slice(buffer.get(..count).unwrap_or_default());
                let line = read.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let is_whole = line.len() < read.len() || count == 0;
                if is_whole || read.len() > QUESTION_MAX {
                    return match serde_json::from_slice(line) {
                        Ok(question) if is_whole => Next::Ask(question),
                        Ok(_) => failed(stream, "the question is too long"),
                        Err(error) => failed(stream, &error.to_string()),
                    };
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Next::Continue(State::Asking(read));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Next::Close,
        }
    }
}

fn failed(mut stream: &UnixStream, why: &str) -> Next {
    let _ = stream.write(&line(&Answer::Failed(why.to_owned())));
    Next::Close
}

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

fn write_answer(mut stream: &UnixStream, answer: Vec<u8>, mut written: usize) -> Next {
    while let Some(rest) = answer.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(0) => return Next::Close,
            Ok(count) => written = written.saturating_add(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Next::Continue(State::Answering(answer, written));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Next::Close,
        }
    }
    Next::Close
}

fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}
