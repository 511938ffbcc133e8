//! The command server: plain text in, plain text out, one command a message. Something to talk to from a terminal or a
//! page, and the place to look at how little a server of one's own takes.

use std::borrow::Cow;
use std::time::Duration;

use super::registry::Client;
use super::{Application, Context};
use crate::clock::Moment;
use crate::machine;
use crate::proto::{CloseCode, Message};

/// A temperature is good for so long: some sensors take their time, and everyone may ask.
const WARM: Duration = Duration::from_secs(1);

/// Narrow enough for a phone.
const HELP: &str = "\
hello     says hello
name      the server's host name
age       how long it has been up
date      the date there
time      the time there
temp      how warm it is there
id        your UUID
users     who is here, by UUID
all TEXT  says TEXT to all here
ping      pong
thanks    is polite
help      this list
bye       ends the connection";

/// The resource `commands`.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// The temperature last read, and until when it is good.
    temperature: Option<(Moment, Option<f64>)>,
}

impl Commands {
    fn temperature(&mut self, now: Moment) -> String {
        let read = match self.temperature {
            Some((until, read)) if now < until => read,
            _ => {
                let read = machine::temperature();
                self.temperature = Some((now.after(WARM), read));
                read
            }
        };
        match read {
            Some(degrees) => format!("the temperature is {degrees:.1} °C"),
            None => "the temperature can't be read on this machine".to_owned(),
        }
    }
}

impl Application for Commands {
    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        // Terminals send a line's end along.
        let command = message.text().map_or("a binary message", |text| text.trim_ascii());
        if let Some(text) = command.strip_prefix("all ") {
            let everyone = ctx.clients().iter().filter(here(ctx));
            let to = ctx.audience(everyone);
            return ctx.send(to, text.trim_ascii_start());
        }
        let answer = match command {
            "hello" => Cow::Borrowed("hello human"),
            "name" => Cow::Owned(format!("My Name is {}", machine::host_name())),
            "age" => Cow::Owned(format!("the server has been up for {}", words(Moment::START.until(ctx.now())))),
            "date" => Cow::Owned(format!("today is {}", local(ctx, "%Y.%m.%d"))),
            "time" => Cow::Owned(format!("server time is {}", local(ctx, "%H:%M:%S"))),
            "thanks" => Cow::Borrowed("you're welcome"),
            "id" => Cow::Owned(format!("your UUID is {}", ctx.me().id)),
            "users" => {
                let uuids = ctx.clients().iter().filter(here(ctx)).map(|client| client.id.to_string());
                Cow::Owned(uuids.collect::<Vec<_>>().join("\n"))
            }
            "ping" => Cow::Borrowed("pong"),
            "bye" => Cow::Borrowed("bye"),
            "temp" => Cow::Owned(self.temperature(ctx.now())),
            "help" => Cow::Borrowed(HELP),
            _ => Cow::Owned(format!("{command} not understood - {}", local(ctx, "%H:%M:%S"))),
        };
        let to = ctx.audience_of_me();
        ctx.send(to, &answer);
        if command == "bye" {
            ctx.close(CloseCode::NORMAL, "bye");
        }
    }
}

/// Whether a client is on the same resource as the one whose event is handled.
fn here(ctx: &Context<'_>) -> impl Fn(&&Client) -> bool + use<> {
    let resource = ctx.me().resource;
    move |client| client.resource == resource
}

/// The time of day where the machine stands, as `format` has it.
fn local(ctx: &Context<'_>, format: &str) -> String {
    machine::local_time(ctx.wall_clock()).strftime(format).to_string()
}

/// A time span in words, leading zeros left out.
fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let parts = [(days, if days == 1 { "day" } else { "days" }), (hours, "h"), (minutes, "min"), (seconds % 60, "s")];
    let from = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let said: Vec<String> = parts[from..].iter().map(|(count, unit)| format!("{count} {unit}")).collect();
    said.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_in_words() {
        for (seconds, said) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_605, "1 h 0 min 5 s"),
            (86_400, "1 day 0 h 0 min 0 s"),
            (2 * 86_400 + 7_384, "2 days 2 h 3 min 4 s"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), said);
        }
    }
}
