//! Stands where the queue's socket stands in a program that is built with the feature `zmq`. The configuration asks for no
//! queue here, so there is never one of these, and nothing that it can do is ever done.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::IpAddr;

use mio::{Registry, Token};

use super::queue::Received;
use crate::config::Config;

#[derive(Debug)]
pub(super) struct Inlet(Infallible);

impl Inlet {
    pub(super) fn bind(_config: &Config) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn register(&self, _registry: &Registry, _token: Token) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) const fn ip(&self) -> Option<IpAddr> {
        match self.0 {}
    }

    pub(super) fn receive(&self) -> io::Result<Option<Received<'_>>> {
        match self.0 {}
    }

    pub(super) fn close(&self, _registry: &Registry) -> io::Result<()> {
        match self.0 {}
    }
}

impl fmt::Display for Inlet {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}
