//! Every message comes back as it was, without greeting or acknowledgement: what protocol test suites and load
//! generators are pointed at.

use super::{Application, Context};
use crate::proto::Message;

/// The resource `echo`.
#[derive(Debug)]
pub(super) struct Echo;

impl Application for Echo {
    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        let to = ctx.audience_of_me();
        ctx.forward(to, message);
    }
}
