//! A counter that all visitors share: whoever sends `+1` moves it on, and everyone who is connected sees where it stands.

use std::process::ExitCode;

use websock::app::{Application, Context, Opening};
use websock::proto::{CloseCode, Message};

#[derive(Debug, Default)]
struct Counter {
    count: u64,
}

impl Application for Counter {
    fn on_open(&mut self, ctx: &mut Context<'_>, _opening: &Opening<'_>) {
        let me = ctx.audience_of_me();
        ctx.send(me, &self.count.to_string());
    }

    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        if message.text() != Some("+1") {
            ctx.close(CloseCode::POLICY_VIOLATION, "only +1 is understood here");
            return;
        }
        self.count += 1;
        let everyone = ctx.audience_of_all();
        ctx.send(everyone, &self.count.to_string());
    }
}

fn main() -> ExitCode {
    websock::program::main(&[("counter", |_| Box::<Counter>::default())])
}
