//! A stream of events as a browser reads it, and a backend that pushes.

use serde_json::Value;

use super::server::{Client, Server};

/// The relay, the notification service, and streams.
pub(crate) const INI: &str = "[resources]\n/ = relay\n/webntf = webntf\n/sse = sse\n";

/// An event, as its lines say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
    pub(crate) comment: bool,
}

impl Event {
    /// The number that its id begins with.
    pub(crate) fn number(&self) -> u64 {
        self.id.split('-').next().and_then(|number| number.parse().ok()).expect("a number")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) client: Client,
    pub(crate) uuid: String,
    pub(crate) retry: u64,
    /// The id of the last event.
    pub(crate) id: String,
}

impl Stream {
    /// A stream that is greeted, and was not here before.
    pub(crate) fn open(server: &Server) -> Self {
        Self::open_as(server, "/sse", "")
    }

    /// The same by this target, with further fields.
    pub(crate) fn open_as(server: &Server, target: &str, fields: &str) -> Self {
        Self::begin(Client::connect(server.address()), target, fields)
    }

    /// The same with this id of the last event it got.
    pub(crate) fn again(server: &Server, id: &str) -> Self {
        Self::open_as(server, "/sse", &format!("Last-Event-ID: {id}\r\n"))
    }

    /// The same on this connection.
    pub(crate) fn begin(mut client: Client, target: &str, fields: &str) -> Self {
        ask(&mut client, "GET", target, fields);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"), "{head}");
        let mut stream = Self { client, uuid: String::new(), retry: 0, id: String::new() };
        stream.retry = stream.retry_time();
        let greeting = stream.event();
        assert_eq!((&*greeting.name, &greeting.json()["opcode"]), ("", &"ready".into()), "{greeting:?}");
        greeting.json()["uuid"].as_str().expect("a UUID").clone_into(&mut stream.uuid);
        assert!(greeting.id.contains(&stream.uuid), "{greeting:?}");
        stream
    }

    fn retry_time(&mut self) -> u64 {
        let text = String::from_utf8(self.client.through(b"\n\n")).expect("UTF-8");
        let millis = text.strip_prefix("retry: ").and_then(|rest| rest.trim_end().parse().ok());
        millis.unwrap_or_else(|| panic!("a retry, not {text:?}"))
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> Event {
        let bytes = self.client.through(b"\n\n");
        let text = std::str::from_utf8(&bytes).expect("UTF-8");
        let mut event = Event::default();
        let mut data = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("data", line)) => data.push(line),
                None if line == ":" => event.comment = true,
                _ => panic!("no field of an event: {line:?}"),
            }
        }
        event.data = data.join("\n");
        if !event.id.is_empty() {
            event.id.clone_into(&mut self.id);
        }
        event
    }

    /// The next events are messages with these data, in this order, and later ones each.
    pub(crate) fn expect(&mut self, data: &[&str]) {
        for data in data {
            let before = Event { id: self.id.clone(), ..Event::default() }.number();
            let event = self.event();
            assert_eq!((&*event.name, &*event.data), ("", *data));
            assert!(event.number() > before, "{event:?} after {before}");
        }
    }

    /// The next event says that something may be missing, and why.
    pub(crate) fn expect_gap(&mut self, why: &str) {
        let event = self.event();
        assert_eq!((&*event.name, &event.json()["opcode"]), ("gap", &"gap".into()), "{event:?}");
        assert!(event.json()["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{event:?}");
    }

    /// The next event says that the stream ends, and why; then it does.
    pub(crate) fn expect_close(&mut self, code: u16, why: &str) {
        let event = self.event();
        assert_eq!((&*event.name, &*event.id), ("close", ""), "{event:?}");
        assert_eq!((&event.json()["opcode"], &event.json()["code"]), (&"close".into(), &code.into()));
        assert!(event.json()["error"].as_str().is_some_and(|error| error.contains(why)), "{event:?}");
        self.client.expect_end();
    }

    /// Ends the connection, and waits until the server knows. Gives the id of the last event.
    pub(crate) fn lose(self, server: &Server) -> String {
        let Self { client, uuid, id, .. } = self;
        let gone = |line: &String| line.contains(&uuid) && line.contains("peer vanished");
        let before = server.lines_with("peer vanished").iter().filter(|line| gone(line)).count();
        drop(client);
        super::server::wait_until("the server knows that the stream has gone", || {
            server.lines_with("peer vanished").iter().filter(|line| gone(line)).count() > before
        });
        id
    }
}

/// Sends a request without a body.
pub(crate) fn ask(client: &mut Client, method: &str, target: &str, fields: &str) {
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes());
}

/// The head of the answer to a request for a stream.
pub(crate) fn head(server: &Server, method: &str, target: &str, fields: &str) -> String {
    let mut client = Client::connect(server.address());
    ask(&mut client, method, target, fields);
    client.head()
}

/// A call of the control API; gives its result.
pub(crate) fn call(server: &Server, path: &str, data: &Value) -> Value {
    let data = data.to_string();
    let mut client = Client::connect(server.address());
    let head = format!("POST /api/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", data.len());
    client.send(&[head.as_bytes(), data.as_bytes()].concat());
    let (head, body) = client.response();
    let mut said: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}{said}");
    said["result"].take()
}

/// Says something to one, by the control API; gives how many connections it was handed to.
pub(crate) fn feedback(server: &Server, uuid: &str, message: &str) -> Value {
    call(server, "relay/feedback", &serde_json::json!({"uuid": uuid, "message": message}))
}

/// How [`feedback`] arrives.
pub(crate) fn said(uuid: &str, message: &str) -> String {
    format!(r#"{{"opcode":"feedback","message":"{message}","uuid":"{uuid}"}}"#)
}

/// Says something to everyone, in the same way.
pub(crate) fn broadcast(server: &Server, message: &str) -> Value {
    call(server, "relay/broadcast", &serde_json::json!({"message": message}))
}

/// How [`broadcast`] arrives.
pub(crate) fn told(message: &str) -> String {
    format!(r#"{{"opcode":"broadcast","message":"{message}"}}"#)
}

/// The value of a metric.
pub(crate) fn metric(server: &Server, name: &str) -> u64 {
    let mut client = Client::connect(server.address());
    ask(&mut client, "GET", "/metrics", "");
    let body = String::from_utf8(client.response().1).expect("UTF-8");
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {body}"))
}
