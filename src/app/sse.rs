//! Streams of server-sent events: what the relay and the notification service send, for pages that only listen.
//!
//! A stream has no application of its own to talk to: it is a browser to the relay, and a page to the notification service
//! where its URL says what it wants. Here is what it gets at the start: the greeting, word of a gap, what it has missed.

use super::wanted::Wanted;
use super::{Application, Context, Opening, api, relay};
use crate::proto::Message;
use crate::proto::events::{Label, Name};
use crate::proto::session::End;

/// The resource `sse`.
#[derive(Debug)]
pub(super) struct Streams;

impl Application for Streams {
    fn is_stream(&self) -> bool {
        true
    }

    fn on_open(&mut self, ctx: &mut Context<'_>, opening: &Opening<'_>) {
        let start = opening.start;
        // The gate has read it before, and refused what can't be used.
        let wanted = Wanted::from_query(opening.query).unwrap_or_default();
        let label = Label { number: start.after, name: Name::Message };
        // It can't confirm anything, so it is not told that it may.
        ctx.reply_first_as(label, &[relay::READY, ctx.me().id.encode(&mut [0; 36]), "\"}"]);
        let me = ctx.audience_of_me().labelled(label);
        if wanted.is_some() {
            ctx.send(me, Wanted::TAKEN);
        }
        if let Some(why) = start.gap {
            let told = format!(r#"{{"opcode":"gap","reason":{}}}"#, api::json_string(why));
            ctx.send(me.labelled(Label { name: Name::Gap, ..label }), &told);
        }
        let id = ctx.me().id;
        let wanted = wanted.unwrap_or_default();
        ctx.replay(start.after, |whom| whom.includes(id, &wanted));
    }

    fn on_message(&mut self, _ctx: &mut Context<'_>, _message: &Message<'_>) {
        // What a stream sends is dropped before it is a message.
    }

    fn on_close(&mut self, ctx: &mut Context<'_>, _end: &End) {
        ctx.expect_back();
    }
}
