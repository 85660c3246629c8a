//! Serves the control socket: many clients in one thread. A client that is slow or does not read delays no other.
//!
//! Only root may ask; the socket's mode does not matter. Clients, lengths and times are bounded.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, socketpair};

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
type ClientAnswer = (u64, Vec<u8>);

/// A client that waits for its answer.
#[derive(Debug)]
pub struct Client {
    number: u64,
    answers: Sender<ClientAnswer>,
    bell: Arc<UnixStream>,
}

#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    connections: Vec<Connection>,
    last_number: u64,
    answers: Receiver<ClientAnswer>,
    answer_sender: Sender<ClientAnswer>,
    bell: UnixStream,
    ringer: Arc<UnixStream>,
    /// No connection is accepted before this time.
    pause_until: Option<Instant>,
    closing: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(crate) struct Closer {
    closing: Arc<AtomicBool>,
    bell: Arc<UnixStream>,
}

impl Closer {
    /// Accepts no more connections. Those that are open have one second left.
    pub(crate) fn close(&self) {
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
        let (number, bell) = (0, Arc::new(bell));
        let client = Self {
            number,
            answers,
            bell,
        };
        Ok((client, answered))
    }
}

/// Answers a client, which may be gone. Never blocks.
pub(crate) fn answer(to: Client, answer: &Answer) {
    if to.answers.send((to.number, line(answer))).is_ok() {
        // A full pipe wakes the server, too.
        let _ = (&*to.bell).write(&[1]);
    }
}

impl Server {
    /// The listener comes from [`bind`](super::bind) and does not block.
    pub(crate) fn new(listener: UnixListener) -> io::Result<Self> {
        let (bell, ringer) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )?;
        let (bell, ringer) = (UnixStream::from(bell), UnixStream::from(ringer));
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

    pub(crate) fn closer(&self) -> Closer {
        Closer {
            closing: Arc::clone(&self.closing),
            bell: Arc::clone(&self.ringer),
        }
    }

    /// Passes questions to `take` until that returns `false`, or a [`Closer`] is used. `now` is the clock.
    pub(crate) fn serve(
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
                for one in &mut self.connections {
                    one.until = one.until.min(last);
                }
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
        let mut next = self.pause_until.filter(|_| !listens);
        for one in &self.connections {
            waited.push(PollFd::new(&one.stream, wanted(&one.state)));
            next = Some(next.map_or(one.until, |until| until.min(one.until)));
        }
        // One millisecond more, so that the deadline has passed afterwards.
        let left = next.map(|until| until.saturating_duration_since(now));
        let left = left.map(|left| left.saturating_add(Duration::from_millis(1)));
        let next = left.and_then(|time| Timespec::try_from(time).ok());
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
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match accept_with(&self.listener, flags).map_err(io::Error::from) {
                Ok(stream) => self.admit(stream.into(), now),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    ErrorKind::WouldBlock => return,
                    _ => {
                        self.pause_until = Some(now + PAUSE);
                        return;
                    }
                },
            }
        }
    }

    /// Admits root only. Nothing is read from others.
    fn admit(&mut self, stream: UnixStream, now: Instant) {
        let is_root = socket_peercred(&stream).is_ok_and(|peer| peer.uid.is_root());
        if !is_root {
            failed(&stream, "only root may ask");
            return;
        }
        if self.connections.len() >= CLIENTS_MAX {
            let mut all = self.connections.iter();
            let oldest = all.position(|one| matches!(one.state, State::Asking(_)));
            self.connections.remove(oldest.unwrap_or_default());
        }
        self.last_number = self.last_number.wrapping_add(1);
        self.connections.push(Connection {
            number: self.last_number,
            stream,
            state: State::Asking(Vec::new()),
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
                State::Waiting if is_gone(&one.stream) => Next::Close,
                State::Waiting => Next::Continue(State::Waiting),
                State::Answering(answer, written) => write_answer(&one.stream, answer, written),
            };
            match next {
                Next::Close => return false,
                Next::Continue(state) => one.state = state,
                Next::Ask(question) => {
                    let is_reload = question == Question::Reload;
                    one.until = now
                        + if is_reload {
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
                    match serde_json::from_slice(line) {
                        Ok(question) if is_whole => return Next::Ask(question),
                        Ok(_) => failed(stream, "the question is too long"),
                        Err(error) => failed(stream, &error.to_string()),
                    }
                    return Next::Close;
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

fn failed(mut stream: &UnixStream, why: &str) {
    let _ = stream.write(&line(&Answer::Failed(why.to_owned())));
}

fn is_gone(stream: &UnixStream) -> bool {
    let mut waited = [PollFd::new(stream, PollFlags::empty())];
    let done = poll(&mut waited, Some(&Timespec::default()));
    let [stream] = waited;
    done.is_ok() && stream.revents().intersects(PollFlags::HUP | PollFlags::ERR)
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
