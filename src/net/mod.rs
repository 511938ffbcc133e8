//! Sockets and time: the only directory that has either.
//!
//! [`hub`] is a turn of the loop without the poll: connections, what is read from them and written to them, their
//! deadlines. It is generic over [`Socket`](socket::Socket), so that a simulation can run the very same code in virtual
//! time. [`server`] adds the poll, the listeners, the signals and the clock; [`inherited`] are listeners that somebody else
//! has opened; `queue.rs` is the one that backends push to; what a connection's bytes go through, TLS for one, is below the trait as well.

pub use certificates::{CertificateError, check as check_certificate};

pub mod hub;
pub mod inherited;
pub mod server;
pub mod socket;

mod admission;
mod backlog;
mod calls;
mod certificates;
mod connection;
mod delivery;
mod drain;
mod expiry;
mod listener;
mod outgoing;
mod process;
mod queue;
mod serving;
mod stopwatch;
mod streams;
mod tcp_info;
mod timers;
mod tls;
mod transport;
mod watches;
#[cfg(feature = "zmq")]
mod zeromq;
#[cfg(not(feature = "zmq"))]
#[path = "no_zeromq.rs"]
mod zeromq;
