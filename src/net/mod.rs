//! Sockets and time: the only directory that has either.
//!
//! [`hub`] is a turn of the loop without the poll: connections, what is read from them and written to them, their
//! deadlines. It is generic over [`Socket`](socket::Socket), so that a simulation can run the very same code in virtual
//! time. [`server`] adds the poll, the listeners, the signals and the clock.

pub mod hub;
pub mod server;
pub mod socket;

mod backlog;
mod connection;
mod delivery;
mod listener;
mod outgoing;
mod process;
mod serving;
mod timers;
