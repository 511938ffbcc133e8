//! WAMP against the built program, over sockets: both versions and both serializations, what they share, form locks, and
//! what a client can do wrong.

#[path = "common/server.rs"]
mod server;

#[path = "wamp/calls.rs"]
mod calls;
#[path = "wamp/events.rs"]
mod events;
#[path = "wamp/forms.rs"]
mod forms;
#[path = "wamp/pack.rs"]
mod pack;
#[path = "wamp/peer.rs"]
mod peer;
#[path = "wamp/version1.rs"]
mod version1;
#[path = "wamp/wrong.rs"]
mod wrong;
