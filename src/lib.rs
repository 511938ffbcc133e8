//! websock
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod id;
pub mod logging;
pub mod net;
pub mod proto;
pub mod send;
