//! A request that comes in in any pieces: its head, and its body where somebody wants it.
//!
//! Most requests come in one piece: then nothing is kept. It refuses to know what a request says.

use std::borrow::Cow;

use super::body::BodyReader;
use super::http::{HeadScanner, Refusal};
use super::input::Input;

/// A request whose body was asked for.
#[derive(Debug)]
pub struct Posted {
    /// Its head, for [`http::Request::parse`](super::http::Request::parse).
    pub head: Vec<u8>,
    /// All of its body, or why that can't be had. What follows the latter is no request.
    pub body: Result<Vec<u8>, Refusal>,
}

/// What has come of a request that is not whole. Eight bytes while that is nothing.
#[derive(Debug, Default)]
pub(super) struct Incoming(Option<Box<Unfinished>>);

#[derive(Debug)]
enum Unfinished {
    /// The beginning of its head.
    Head(Vec<u8>, HeadScanner),
    /// Its head, and the beginning of its body.
    Body(Vec<u8>, BodyReader),
    /// What has come behind a request that is not answered yet.
    Kept(Vec<u8>),
}

impl Incoming {
    /// Whether nothing has come.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of memory held.
    pub(super) fn held(&self) -> usize {
        match self.0.as_deref() {
            None => 0,
            Some(Unfinished::Head(head, _) | Unfinished::Kept(head)) => head.capacity(),
            Some(Unfinished::Body(head, body)) => head.capacity() + body.held(),
        }
    }

    /// Gives back what is held.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// The head of a request, once it is whole.
    pub(super) fn head<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        if let Some(Unfinished::Head(head, scanner)) = self.0.as_deref_mut() {
            let before = head.len();
            head.extend_from_slice(input.peek());
            let Some(end) = scanner.scan(head)? else {
                input.clear();
                return Ok(None);
            };
            input.take(end - before);
            head.truncate(end);
            let head = std::mem::take(head);
            self.0 = None;
            return Ok(Some(Cow::Owned(head)));
        }
        let mut scanner = HeadScanner::default();
        let Some(end) = scanner.scan(input.peek())? else {
            self.0 = Some(Box::new(Unfinished::Head(input.peek().to_vec(), scanner)));
            input.clear();
            return Ok(None);
        };
        Ok(Some(Cow::Borrowed(input.take(end))))
    }

    /// Keeps what has come behind a request that is not answered yet.
    pub(super) fn keep(&mut self, rest: Vec<u8>) {
        self.0 = Some(Box::new(Unfinished::Kept(rest)));
    }

    /// Gives what was kept.
    pub(super) fn take_kept(&mut self) -> Vec<u8> {
        match self.0.take().map(|unfinished| *unfinished) {
            Some(Unfinished::Kept(rest)) => rest,
            other => {
                self.0 = other.map(Box::new);
                Vec::new()
            }
        }
    }

    /// A head was read; its body is wanted as well.
    pub(super) fn begin_body(&mut self, head: Vec<u8>, reader: BodyReader) {
        self.0 = Some(Box::new(Unfinished::Body(head, reader)));
    }

    /// The body that was begun, once it is whole or can't be taken any more.
    pub(super) fn body(&mut self, input: &mut Input<'_>) -> Option<Box<Posted>> {
        let Some(Unfinished::Body(head, mut reader)) = self.0.take().map(|unfinished| *unfinished) else {
            return None;
        };
        let body = match reader.take(input) {
            Ok(true) => Ok(reader.into_data()),
            Ok(false) => {
                self.begin_body(head, reader);
                return None;
            }
            Err(refusal) => Err(refusal),
        };
        Some(Box::new(Posted { head, body }))
    }

    /// Gives up the body that was begun, because of `refusal`.
    pub(super) fn give_up_body(&mut self, refusal: Refusal) -> Option<Box<Posted>> {
        match self.0.take().map(|unfinished| *unfinished) {
            Some(Unfinished::Body(head, _)) => Some(Box::new(Posted { head, body: Err(refusal) })),
            _ => None,
        }
    }
}
