//! Messages from the queue: what a backend has pushed, to the application that it is for.
//!
//! A message is a JSON object. Where it has an `opcode` it is for the application that acts on that; else its `topic`, or
//! `form`, says to whose subscribers it goes. Its other members are not looked at here. Knows no queue: whoever takes
//! messages out of one hands them over.

use std::borrow::Cow;

use serde::Deserialize;

use super::api::quoted;
use super::outbox::Outbox;
use super::packet::{Member, is_object};
use super::{Exchange, Routes, World};

/// A message from the queue.
#[derive(Clone, Copy, Debug)]
pub struct Pushed<'m> {
    /// All of it: a JSON object.
    pub text: &'m str,
    /// What it is about.
    pub subject: Subject<'m>,
}

/// What a message from the queue is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject<'m> {
    /// What is to be done.
    Opcode(&'m str),
    /// Whose subscribers are to get it.
    Topic(&'m str),
}

/// Why a message can't be used, in one sentence.
pub type Unusable = Cow<'static, str>;

#[derive(Deserialize)]
struct Envelope<'m> {
    #[serde(borrow, default)]
    opcode: Member<'m>,
    #[serde(borrow, default)]
    topic: Member<'m>,
    #[serde(borrow, default)]
    form: Member<'m>,
}

impl Envelope<'_> {
    fn subject(&self) -> Result<Subject<'_>, Unusable> {
        match (self.opcode.as_str(), self.topic.as_str(), self.form.as_str()) {
            ("", "", "") => Err("it has neither an opcode nor a topic or form".into()),
            ("", topic, "") => Ok(Subject::Topic(topic)),
            ("", "", form) => Ok(Subject::Topic(form)),
            ("", ..) => Err("it has a topic and a form, and could be for either".into()),
            (opcode, ..) => Ok(Subject::Opcode(opcode)),
        }
    }
}

/// Hands a message to the application that it is for. Gives to how many clients that one handed it.
///
/// # Errors
///
/// It can't be used, and nothing came of it.
pub fn take(routes: &mut Routes, world: World<'_>, outbox: &mut Outbox, message: &[u8]) -> Result<usize, Unusable> {
    let text = std::str::from_utf8(message).map_err(|_| "it is not UTF-8")?;
    if !is_object(text) {
        return Err("it is not a JSON object".into());
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let pushed = Pushed { text, subject: envelope.subject()? };
    for (id, application) in routes.each_mut() {
        if let Some(outcome) = application.on_queue(&mut Exchange::new(id, world, outbox).without_waiting(), &pushed) {
            return outcome.map_err(|failure| failure.why);
        }
    }
    Err(match pushed.subject {
        Subject::Opcode(opcode) => format!("nothing here acts on the opcode {:?}", quoted(opcode)).into(),
        Subject::Topic(_) => "nothing here has topics".into(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::app::Load;
    use crate::app::fates::{Outlook, Progress};
    use crate::app::registry::Registry;
    use crate::clock::Moment;
    use crate::config::Config;
    use crate::id::ConnectionKey;
    use crate::metrics::Metrics;

    /// Nobody is connected.
    #[derive(Debug)]
    struct Nobody;

    impl Outlook for Nobody {
        fn progress(&self, _: ConnectionKey) -> Option<Progress> {
            None
        }
    }

    fn subject(text: &str) -> Result<String, String> {
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        envelope.subject().map(|subject| format!("{subject:?}")).map_err(Cow::into_owned)
    }

    #[test]
    fn the_opcode_decides_and_then_the_topic_or_the_form() {
        assert_eq!(subject(r#"{"x":{"opcode":1},"opcode":"feedback"}"#).unwrap(), r#"Opcode("feedback")"#);
        assert_eq!(subject(r#"{"topic":"t","opcode":"broadcast","form":"f"}"#).unwrap(), r#"Opcode("broadcast")"#);
        assert_eq!(subject(r#"{"topic":"a.b","opcode":""}"#).unwrap(), r#"Topic("a.b")"#);
        assert_eq!(subject(r#"{"form":"\u00e4.form","topic":null}"#).unwrap(), r#"Topic("ä.form")"#);
        // As backends send it that take whatever looks like a number for one.
        assert_eq!(subject(r#"{"form":42}"#).unwrap(), r#"Topic("42")"#);
        for nothing in ["{}", r#"{"opcode":[1],"topic":{},"form":true}"#, r#"{"Topic":"t"}"#] {
            assert!(subject(nothing).unwrap_err().contains("neither"), "{nothing}");
        }
        assert!(subject(r#"{"topic":"t","form":"f"}"#).unwrap_err().contains("either"));
        assert!(subject(r#"{"topic":"t","topic":"f"}"#).unwrap_err().contains("duplicate field"));
    }

    #[test]
    fn what_nobody_takes_is_told_with_why() {
        let deep = format!(r#"{{"opcode":"feedback","message":{}"#, "[".repeat(100_000));
        // With the list of arguments, which it becomes the only one of, this is one level too many.
        let deepest = format!(r#"{{"topic":"t","x":{}{}}}"#, "[".repeat(63), "]".repeat(63));
        let (relay, echo) = ("/ = relay", "/ = echo");
        for (resources, message, why) in [
            (relay, &b""[..], "it is not a JSON object"),
            (relay, b"[1]", "it is not a JSON object"),
            (relay, b"\"{}\"", "it is not a JSON object"),
            (relay, b"\xef\xbb\xbf{}", "it is not a JSON object"),
            (relay, b"{\xff}", "it is not UTF-8"),
            (relay, b"{\"opcode\":", "it is not JSON: EOF while parsing a value at line 1 column 10"),
            (relay, b"{} {}", "it is not JSON: trailing characters at line 1 column 4"),
            (relay, deep.as_bytes(), "it is not JSON: "),
            (relay, br#"{"opcode":"echo","message":1}"#, r#"nothing here acts on the opcode "echo""#),
            (relay, br#"{"opcode":"quit"}"#, r#"nothing here acts on the opcode "quit""#),
            (relay, br#"{"opcode":"feedback","uuid":"u"}"#, "the data can't be used: missing field `message`"),
            (relay, br#"{"opcode":"broadcast","message":1,"wait":5}"#, "neither a batch nor the queue can wait"),
            (relay, br#"{"opcode":"feedback","message":1}"#, "feedback needs a uuid or an ident"),
            (relay, br#"{"topic":"t"}"#, "nothing here has topics"),
            ("/ = wamp", deepest.as_bytes(), "lists and objects are nested too deeply"),
            ("/ = wamp", br#"{"topic":"a b"}"#, "the topic is not a URI that can be published to"),
            ("/ = wamp", br#"{"opcode":"feedback","message":1}"#, "nothing here acts on the opcode"),
            (echo, br#"{"opcode":"broadcast","message":1}"#, r#"nothing here acts on the opcode "broadcast""#),
        ] {
            let file = std::path::Path::new("test.ini");
            let ini = format!("[resources]\n{resources}\n");
            let config = Config::parse(&ini, file, &super::super::handler_names(), &|_| None).expect("a good file").0;
            let (mut routes, clients) = (Routes::new(&config), Registry::new(false, 0));
            let (metrics, mut outbox) = (Metrics::default(), Outbox::default());
            let world = World {
                clients: &clients,
                metrics: &metrics,
                outlook: &Nobody,
                now: Moment::START,
                wall_clock: || Duration::ZERO,
                load: Load::default(),
                random: |_| {},
            };
            let told = take(&mut routes, world, &mut outbox, message).expect_err("nobody takes it");
            assert!(told.starts_with(why), "{told} for {:.60}", String::from_utf8_lossy(message));
            assert!(outbox.commands.is_empty());
        }
    }
}
