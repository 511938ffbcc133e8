//! The load: many clients on one thread that say the same thing over and over, and compare every byte that comes back.
//!
//! What a client says is one message repeated, and what it must hear is one piece of bytes repeated; so there is nothing
//! to understand while it runs, and the load costs little beside what it measures. A byte that differs ends the run.
//!
//! Each run ends when everything that was asked for has come: no message is half inside the measured window.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};

use crate::Result;
use crate::wire::{Answer, Door};

/// Connections that are being opened at once.
const OPENING: usize = 64;

/// How long a server may say nothing while something is awaited.
const PATIENCE: Duration = Duration::from_secs(10);

const EVENTS: usize = 1024;
const READ: usize = 256 * 1024;

/// When the next message is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rhythm {
    /// Each client that speaks keeps so many on their way: one that has come back is followed by the next.
    Each {
        /// On their way at once.
        depth: usize,
    },
    /// The one client that speaks sends the next when everyone has heard the last.
    Together,
}

/// What a client does once it is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    /// The bytes of one message that it sends. Empty: it only listens.
    pub(crate) says: Vec<u8>,
    /// The bytes that must come for each. Empty: nothing may come.
    pub(crate) hears: Vec<u8>,
}

/// A part, as all clients that play it share it.
#[derive(Debug)]
struct Script {
    hears: Vec<u8>,
    /// Length of one message.
    length: usize,
    /// As many messages as are sent at once.
    batch: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    uuid: Option<String>,
    script: Option<Rc<Script>>,
    /// Bytes it has still to send, of messages repeated without end.
    owes: usize,
    /// Where in a message the next byte to send stands.
    said: usize,
    /// Where in what it must hear the next byte stands.
    heard: usize,
}

/// Clients of one server.
pub(crate) struct Load {
    address: SocketAddr,
    epoll: OwnedFd,
    events: Vec<Event>,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    interrupted: Arc<AtomicBool>,
}

impl Load {
    /// No clients yet. `interrupted`: set from outside, it ends the run.
    pub(crate) fn new(address: SocketAddr, interrupted: &Arc<AtomicBool>) -> Result<Self> {
        Ok(Self {
            address,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; READ],
            clients: Vec::new(),
            interrupted: Arc::clone(interrupted),
        })
    }

    /// Connects so many clients through `door`, some at a time, and waits until all are let in.
    pub(crate) fn open(&mut self, count: usize, door: &Door) -> Result<Range<usize>> {
        let first = self.clients.len();
        let last = first + count;
        let request = door.request(self.address);
        // What has come so far of the answers that are not whole.
        let mut answers = HashMap::<usize, Vec<u8>>::with_capacity(OPENING);
        loop {
            while answers.len() < OPENING && self.clients.len() < last {
                answers.insert(self.clients.len(), Vec::new());
                self.connect(&request)?;
            }
            if answers.is_empty() {
                return Ok(first..last);
            }
            for index in self.wait()? {
                let Some(mut answer) = answers.remove(&index) else {
                    // Who is let in already may have more room to send, but nothing to hear.
                    self.read(index, |_, _| Err("it says something to a client that has asked for nothing".into()))?;
                    continue;
                };
                self.read(index, |_, bytes| {
                    answer.extend_from_slice(bytes);
                    Ok(())
                })?;
                match door.check(&answer)? {
                    Answer::Whole { uuid } => self.clients[index].uuid = uuid,
                    Answer::Part => {
                        answers.insert(index, answer);
                    }
                }
            }
        }
    }

    /// A loopback connects at once, as long as the listener's queue has room.
    fn connect(&mut self, request: &[u8]) -> Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        // Closing resets: ports that linger would run out after some rounds.
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        stream.write_all(request)?;
        stream.set_nonblocking(true)?;
        let index = EventData::new_u64(self.clients.len() as u64);
        epoll::add(&self.epoll, &stream, index, EventFlags::IN | EventFlags::OUT | EventFlags::ET)?;
        self.clients.push(Client { stream, uuid: None, script: None, owes: 0, said: 0, heard: 0 });
        Ok(())
    }

    /// The UUID that a client was greeted with.
    pub(crate) fn uuid(&self, client: usize) -> Result<&str> {
        Ok(self.clients[client].uuid.as_deref().ok_or("it has not greeted this client with a UUID")?)
    }

    /// Gives clients their part. `depth`: how many messages are sent at once at most.
    pub(crate) fn assign(&mut self, clients: Range<usize>, part: Part, depth: usize) {
        let script = Rc::new(Script { length: part.says.len(), batch: part.says.repeat(depth), hears: part.hears });
        for client in &mut self.clients[clients] {
            client.script = Some(Rc::clone(&script));
        }
    }

    /// Plays the parts for `time`, and longer until each speaker has sent `least` messages on the average; and then until
    /// all that was asked for has come. `answers`: how many pieces must come, to whomever, for each message. Gives the
    /// number of messages sent.
    pub(crate) fn play(&mut self, time: Duration, least: usize, rhythm: Rhythm, answers: u64) -> Result<u64> {
        let until = Instant::now() + time;
        let speaks = |client: &Client| client.script.as_ref().is_some_and(|script| script.length > 0);
        let speakers: Vec<usize> = (0..self.clients.len()).filter(|index| speaks(&self.clients[*index])).collect();
        let first = match rhythm {
            Rhythm::Each { depth } => depth,
            Rhythm::Together => 1,
        };
        let least = (speakers.len() * least) as u64;
        let mut sent = 0;
        let mut awaited = 0_u64;
        loop {
            let goes_on = sent < least || Instant::now() < until;
            if awaited == 0 {
                if sent > 0 && !goes_on {
                    return Ok(sent);
                }
                for index in &speakers {
                    self.say(*index, first)?;
                }
                sent += (speakers.len() * first) as u64;
                awaited = sent_units(speakers.len() * first, answers);
            }
            for index in self.wait()? {
                let mut came = 0;
                self.send(index)?;
                self.read(index, |client, bytes| {
                    came += client.hear(bytes)?;
                    Ok(())
                })?;
                awaited = awaited.checked_sub(came as u64).ok_or("more comes than was asked for")?;
                if came > 0 && goes_on && matches!(rhythm, Rhythm::Each { .. }) && speaks(&self.clients[index]) {
                    self.say(index, came)?;
                    sent += came as u64;
                    awaited += sent_units(came, answers);
                }
            }
        }
    }

    /// Waits for something to happen, and says to whom.
    fn wait(&mut self) -> Result<Vec<usize>> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.events.clear();
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            let result = epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&second));
            if self.interrupted.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            match result {
                Ok(0) | Err(Errno::INTR) if Instant::now() < until => {}
                Ok(0) | Err(Errno::INTR) => return Err("it does not answer any more".into()),
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.events.iter().map(|event| Ok(usize::try_from(event.data.u64())?)).collect()
    }

    /// Reads until the socket is empty, which a short read says.
    fn read(&mut self, index: usize, mut take: impl FnMut(&mut Client, &[u8]) -> Result<()>) -> Result<()> {
        let client = &mut self.clients[index];
        loop {
            match rustix::net::recv(&client.stream, &mut *self.buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Err("it has closed a connection".into()),
                Ok((count, _)) => {
                    take(client, &self.buffer[..count])?;
                    if count < self.buffer.len() {
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn say(&mut self, index: usize, messages: usize) -> Result<()> {
        let client = &mut self.clients[index];
        client.owes += messages * client.script.as_ref().map_or(0, |script| script.length);
        self.send(index)
    }

    /// Sends what is owed, as far as the kernel takes it; it tells when it takes more.
    fn send(&mut self, index: usize) -> Result<()> {
        let client = &mut self.clients[index];
        let Some(script) = &client.script else { return Ok(()) };
        while client.owes > 0 {
            let end = script.batch.len().min(client.said + client.owes);
            match rustix::net::send(&client.stream, &script.batch[client.said..end], SendFlags::NOSIGNAL) {
                Ok(count) => {
                    client.owes -= count;
                    client.said = (client.said + count) % script.length;
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

const fn sent_units(messages: usize, answers: u64) -> u64 {
    messages as u64 * answers
}

impl Client {
    /// Compares what has come with what must come, and counts the pieces that are whole.
    fn hear(&mut self, mut bytes: &[u8]) -> Result<usize> {
        let expected = self.script.as_ref().map_or(&[][..], |script| &script.hears);
        let mut whole = 0;
        while !bytes.is_empty() {
            let rest = &expected[self.heard..];
            let count = rest.len().min(bytes.len());
            if count == 0 || bytes[..count] != rest[..count] {
                let show = |bytes: &[u8]| bytes[..bytes.len().min(80)].escape_ascii().to_string();
                return Err(format!("it says \"{}\" for \"{}\"", show(bytes), show(rest)).into());
            }
            bytes = &bytes[count..];
            self.heard += count;
            if self.heard == expected.len() {
                self.heard = 0;
                whole += 1;
            }
        }
        Ok(whole)
    }
}
