//! `websock`: a push server for web applications whose backend can't hold a socket open.
//!
//! A browser connects and is issued a UUID. The page hands it to its backend in its AJAX calls, and the script behind
//! reports back to that very browser while it works. One process, one thread, one poll loop, one INI file.
//!
//! # The house
//!
//! Three directories are the architecture. A file may use only what stands above it; `tests/layering.rs` holds that.
//!
//! | where     | knows                                                    | never names                                   |
//! |-----------|----------------------------------------------------------|-----------------------------------------------|
//! | [`proto`] | the RFCs: HTTP, handshake, frames, messages, the session | a socket, a clock, randomness, an application |
//! | [`app`]   | clients and messages: who is connected, who gets what    | `net`, a poll, a clock                        |
//! | [`net`]   | sockets and time: the loop, timers, write queues         | JSON                                          |
//!
//! In reading order: [`clock`], [`id`] and [`metrics`] (moments, UUIDs, keys, counters); [`proto::session`] (the state
//! machine of one connection; its contract of driving stands at its top, its words in [`proto::turn`]), below it [`proto::http`], [`proto::handshake`],
//! [`proto::reader`], [`proto::frame`], [`proto::message`], [`proto::pacing`], [`proto::events`]; [`app`] (what an application is; the table
//! of them), [`app::registry`], [`app::outbox`], `app/exchange.rs` (what an application works with), [`app::gate`] (who may come
//! in), [`app::recorder`] and [`app::fates`] (what has happened, and what becomes of a message), [`app::history`] (what was sent
//! lately), [`app::exposition`] (`/metrics`), `app/relay.rs`; [`net::hub`] (a turn), [`net::server`] (the poll around it), `net/transport.rs` and `net/tls.rs` (what
//! the bytes go through); [`config`], [`program`] (all of `main`), [`cli`], [`logging`], [`login`] (PHP sessions), [`machine`], [`send`],
//! [`health`] and [`systemd`] beside them.
//!
//! # One message, straight through
//!
//! ```text
//! socket readable
//!   net/server      event token -> slot
//!   net/hub         reads, once, into the loop's one read buffer
//!   proto/session   bytes -> frames, unmasked in place -> an event that borrows from the read buffer
//!   app/<handler>   looks at the registry, asks for things to be sent; nothing of any connection is borrowed
//!   net/delivery    encodes a frame once into the arena, links it to each target's chain, marks the target
//!   net/delivery    settles, once a turn: writes each chain, interest, timer; drops what is over
//! socket
//! ```
//!
//! One `epoll_wait`, one `recv`, one `send` a message and no allocation. An idle connection has no buffers. A message of
//! 4 KiB or more is not copied: it is written from where it lies in the read buffer, before the next read. What the
//! kernel does not take is copied into that connection's own backlog, and only then.
//!
//! # A turn
//!
//! The order is part of the design, and is held by the simulation in `tests/simulation.rs`, which runs this very code in
//! virtual time.
//!
//! 1. Poll: not at all where input is left over; until the nearest deadline else. `now` is read once.
//! 2. Input left over, then the poll's events: signals, and connections, each read followed by its dispatch and its
//!    delivery, so that messages keep their order. Then what wants to be accepted, and a bite of the queue.
//! 3. Deadlines that have come.
//! 4. Settle, until nothing is marked: applications are told who has left, output is written, interests and timers are
//!    brought up to date, connections that are over are dropped, and if all together hold too much memory the largest
//!    holder is closed.
//! 5. Log lines are written, as far as they are taken at once. Where the server is stopping and everyone has gone, or the
//!    time is up, it ends.
//!
//! # Decisions
//!
//! - A **key** is a slot and a serial. A key that no longer resolves is skipped; it is never an error.
//! - **Death is deferred**: nothing is removed outside settling. A client that is no longer open leaves the registry at
//!   once, so that nothing is handed to it and every count is true; its application hears of it when the turn settles.
//! - **Backpressure**: a connection with 64 KiB waiting is not read from. One that had more than `maxBacklog` waiting
//!   before this turn gets nothing more and is closed with 1013, and whoever sent is told that it was not delivered.
//! - **Fairness**: who sends much waits for the next turn once such as it have been a tenth of a millisecond's work, by the
//!   bytes and frames that they brought; who sends little is read from at once.
//! - **Standing still**: a loop that comes back later than it meant to (stopped, suspended) does not hold that time
//!   against anybody: its clock goes on from where it stood.
//! - **Stopping**: up to a thousand clients are told at once, more of them in waves, all within half of `drainTimeout`.
//! - **Reading and events**: sockets are registered edge-triggered. A read shorter than the buffer has emptied the socket,
//!   so there is no second read for would-block; where the poll has announced the peer's end, there is.
//! - **Accepting** is put off by the kernel until a client has sent something, or a second has passed
//!   (`TCP_DEFER_ACCEPT`), so that its request is read as it is accepted. A silent client is the kernel's for that second,
//!   counts for nothing, and is forgotten without a word when the server stops; the second is part of `handshakeTimeout`.
//! - **Stopping** is not accepting: whoever comes next waits for the server that takes this one's place, or finds nobody.
//!   What is connected already and asks something by HTTP gets 503, and isn't waited for.
//! - **The log** never keeps the loop waiting: what a sleeping reader doesn't take is kept up to 1 MiB, then lost and counted.
//! - **TLS** is a filter of bytes below the loop's trait of sockets, on rustls's unbuffered connection: it decrypts in the
//!   loop's read buffer and encrypts into one scratch buffer for all, so an idle connection has none, and large messages
//!   take no more reads. Plaintext is taken only while no ciphertext waits, 80 KiB at a time: our queue stays above it, and
//!   a backlog, an empty one if need be, stands for what waits below. Its provider is `ring`: it measures as `aws-lc-rs`
//!   does, is built in half of the time, and makes the program half as large.
//! - **Streams of events** are browsers that only listen. A message for them is encoded once, as for WebSockets; what differs is
//!   the id, which has the stream's UUID and a proof of it. Kept for those that come again is what was sent lately, once for
//!   all of them, and it is the first thing to go where memory is short.
//! - **Fates**: a connection counts the bytes of its output, modulo 2^32, and a message ends at one of them. How far it has got
//!   is a comparison: what waits here is known, and what the peer's kernel has not acknowledged is asked of ours (`TCP_INFO`),
//!   only while somebody waits for it and when a connection ends. With TLS the latter counts ciphertext, so less is said to
//!   have arrived than has. A call that waits is answered later; what comes behind it on its connection is kept or not read.
//! - **The recorder** is one ring of bytes of a fixed size, written to from the start so that it counts for no client. A push
//!   costs two records, about 60 bytes and 2 % of its CPU time; one to more than 64 clients is recorded as a whole.
//! - **The queue** (feature `zmq`) is a descriptor of the same poll, which libzmq writes to; a thread of libzmq reads from the
//!   senders, so none of them can stop the loop. It is drained until it is empty, in bites of a tenth of a millisecond's work,
//!   deliveries counted. The crate has libzmq with it, as C++ sources, so the feature is off by default.
//! - **Errors**: nothing a peer sends is an `Err` at the loop; it becomes output and an [`proto::session::End`]. What
//!   ends the process: an address that can't be listened on, a wrong configuration, the poll itself.
//!
//! # Conformance
//!
//! The Autobahn suite against `/echo` with `tests/autobahn.ini`, all of its 517 cases: none failed, none unimplemented,
//! none passed non-strictly.
//!
//! | section | what                                                | cases | OK  | informational |
//! |---------|-----------------------------------------------------|-------|-----|---------------|
//! | 1 to 5  | framing, pings, reserved bits, opcodes, fragments   | 64    | 64  | 0             |
//! | 6       | UTF-8                                               | 145   | 145 | 0             |
//! | 7       | closing                                             | 37    | 34  | 3             |
//! | 9, 10   | messages up to 16 MiB, in up to 65,536 pieces       | 55    | 55  | 0             |
//! | 12, 13  | permessage-deflate                                  | 216   | 216 | 0             |
//!
//! `tests/run` plays all of the first four rows and some of the last; `tests/autobahn URL '*'` plays the whole suite,
//! which takes minutes. `tests/fuzz` has a target for each thing that reads what a peer sends; its library says what each
//! of them permits.
//!
//! # Memory
//!
//! An idle client with its UUID takes about 195 bytes of user memory at 10,000 of them: its connection, its entry in the
//! registry, eight bytes in the table of UUIDs and a timer. Tables get their addresses at the start, so they don't leave
//! holes behind when they grow. A message in pieces holds what has come of it, up to `maxMessage`; a client that doesn't
//! read holds its backlog; both count towards `maxMemory`. With compression agreed on a client takes some 100 bytes more,
//! since one compressor and one decompressor serve all; with `contextTakeover` it has its own, about 350 KiB, from its first
//! packed message on. With TLS a client takes about 3.8 KiB, nearly all of it rustls's keys and state; an echo of 20 bytes
//! takes 1.2 times the CPU time that it takes without, one of 64 KiB twice, and an upgrade 250 µs in place of 50. A stream of
//! events takes about 740 bytes, most of it what stands in the ids of its events; the recorder 2 MiB, from the start and for all.
//!
//! # Writing your own
//!
//! An application is a type that implements [`app::Application`]. This is all of one, `docs/examples/counter.rs`, and of the
//! program that has it:
//!
#![doc = "```no_run"]
#![doc = include_str!("../docs/examples/counter.rs")]
#![doc = "```"]
//!
//! The program is `websock` with one application more: same arguments, same signals, same log. Here it is started by
//!
//! ```sh
//! cargo run --example counter -- -i counter.ini
//! ```
//!
//! and elsewhere the file is the `src/main.rs` of a crate that depends on this one. The name of the application is that of its
//! row; which paths it serves, the INI file says, beside all other settings:
//!
//! ```ini
//! [resources]
//! /counter = counter
//! /also    = counter
//! /echo    = echo
//! ```
//!
//! `tests/writing_your_own.rs` builds this file, starts the program with these rows, and holds it to what its first line says.
//!
//! What can be told to an application are the methods of [`app::Application`]; only `on_message` has to be there. What it sees and may ask for
//! stands in [`app::Exchange`] and, where a client is the cause, in [`app::Context`]. There is one instance for all the paths
//! that name it, and one thread: what it remembers is in plain fields. What it asks for is done when it has returned,
//! so it is never called from within itself, and nothing that it asks for can fail.
//!
//! - It remembers a client by its [`id::ConnectionKey`], and forgets it in `on_close`. What it keeps for a client it tells in
//!   `held_for`, so that it counts towards `maxMemory`.
//! - It waits for nothing, since everybody would wait with it. What is for later it does in `on_time`; what takes long is for
//!   a backend.
//! - What a client has sent may be anything: it is bounded before it is kept, and who sends what can't be used is closed with a
//!   reason.
//! - `POST /api/counter/ACTION` comes to `on_call`, and what backends push to the queue to `on_queue`.
//!
//! An application that is for everybody belongs into the house: its file into `src/app/`, without `main`, and two adjacent
//! lines into `src/app/mod.rs`, its `mod` and its row in [`app::HANDLERS`]. Nothing else knows of it, which
//! `tests/layering.rs` holds.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod health;
pub mod id;
pub mod logging;
pub mod login;
pub mod machine;
pub mod metrics;
pub mod net;
pub mod program;
pub mod proto;
pub mod send;
pub mod systemd;
pub mod why;
