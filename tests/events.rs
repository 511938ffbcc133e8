//! Server-sent events against the built program, over real sockets: what a stream gets, and what it has missed when it
//! comes again.

#[path = "common/server.rs"]
mod server;

#[path = "common/tls.rs"]
mod tls;

#[path = "events/stream.rs"]
mod stream;

#[path = "events/again.rs"]
mod again;

#[path = "events/bounds.rs"]
mod bounds;

#[path = "events/doors.rs"]
mod doors;

#[path = "events/messages.rs"]
mod messages;

#[path = "events/secure.rs"]
mod secure;
