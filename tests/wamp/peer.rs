//! A client of WAMP, of either version.

use serde_json::{Value, json};

use crate::pack::{pack, unpack};
use crate::server::{BINARY, Client, Server, TEXT, masked, upgrade};

pub(crate) const INI: &str = "[resources]\n/wamp = wamp\n";

/// A connection that has agreed on a subprotocol.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) client: Client,
    packed: bool,
    /// The id of its last request.
    request: u64,
    /// The id of its session.
    pub(crate) session: u64,
}

impl Peer {
    /// Connects, and says nothing yet.
    pub(crate) fn connect(server: &Server, subprotocol: &str) -> Self {
        let mut client = Client::connect(server.address());
        client.send(upgrade("/wamp", &format!("Sec-WebSocket-Protocol: {subprotocol}\r\n")).as_bytes());
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains(&format!("\r\nSec-WebSocket-Protocol: {subprotocol}\r\n")), "{head}");
        Self { client, packed: subprotocol == "wamp.2.msgpack", request: 0, session: 0 }
    }

    /// A client of version 2 in `realm1`, in JSON.
    pub(crate) fn json(server: &Server) -> Self {
        Self::joined(server, "wamp.2.json", "realm1")
    }

    /// A client of version 2 in `realm1`, in MessagePack.
    pub(crate) fn packed(server: &Server) -> Self {
        Self::joined(server, "wamp.2.msgpack", "realm1")
    }

    pub(crate) fn joined(server: &Server, subprotocol: &str, realm: &str) -> Self {
        let mut peer = Self::connect(server, subprotocol);
        peer.join(realm);
        peer
    }

    /// A client of version 1, welcomed.
    pub(crate) fn v1(server: &Server) -> Self {
        let mut peer = Self::connect(server, "wamp");
        let welcome = peer.hear();
        assert_eq!((&welcome[0], &welcome[2]), (&json!(0), &json!(1)), "{welcome}");
        assert!(welcome[3].as_str().is_some_and(|agent| agent.starts_with("websock/")), "{welcome}");
        peer.session = welcome[1].as_str().and_then(|id| id.parse().ok()).expect("a session id");
        peer
    }

    pub(crate) fn join(&mut self, realm: &str) -> Value {
        let features = json!({"call_canceling": true, "progressive_call_results": true});
        let roles = json!({"publisher": {}, "subscriber": {}, "caller": {}, "callee": {"features": features}});
        self.say(&json!([1, realm, {"roles": roles}]));
        let welcome = self.hear();
        assert_eq!(welcome[0], 2, "{welcome}");
        self.session = welcome[1].as_u64().expect("a session id");
        self.request = 0;
        welcome
    }

    pub(crate) fn say(&mut self, message: &Value) {
        let (first, payload) =
            if self.packed { (BINARY, pack(message)) } else { (TEXT, message.to_string().into_bytes()) };
        self.client.send(&masked(first, &payload));
    }

    pub(crate) fn hear(&mut self) -> Value {
        let frame = self.client.frame();
        if self.packed {
            assert_eq!(frame.first, BINARY, "{:?}", frame.payload.escape_ascii().to_string());
            unpack(&frame.payload)
        } else {
            serde_json::from_str(frame.text()).expect("JSON")
        }
    }

    pub(crate) fn expect(&mut self, message: &Value) {
        assert_eq!(self.hear(), *message);
    }

    /// Makes a request: `[code, next request id, …]`. Gives the id.
    pub(crate) fn ask(&mut self, code: u64, rest: &Value) -> u64 {
        self.request += 1;
        let rest = rest.as_array().expect("a list").iter().cloned();
        self.say(&[json!(code), json!(self.request)].into_iter().chain(rest).collect());
        self.request
    }

    /// Subscribes and gives the subscription's id.
    pub(crate) fn subscribe(&mut self, topic: &str) -> u64 {
        let request = self.ask(32, &json!([{}, topic]));
        let answer = self.hear();
        assert_eq!((&answer[0], &answer[1]), (&json!(33), &json!(request)), "{answer}");
        answer[2].as_u64().expect("an id")
    }

    /// Registers and gives the registration's id.
    pub(crate) fn register(&mut self, uri: &str) -> u64 {
        let request = self.ask(64, &json!([{}, uri]));
        let answer = self.hear();
        assert_eq!((&answer[0], &answer[1]), (&json!(65), &json!(request)), "{answer}");
        answer[2].as_u64().expect("an id")
    }

    /// Publishes with an acknowledgement and gives the publication's id.
    pub(crate) fn publish(&mut self, options: Value, topic: &str, payload: &[Value]) -> u64 {
        let mut options = options;
        options["acknowledge"] = json!(true);
        let rest = [options, json!(topic)].into_iter().chain(payload.iter().cloned()).collect();
        let request = self.ask(16, &rest);
        let answer = self.hear();
        assert_eq!((&answer[0], &answer[1]), (&json!(17), &json!(request)), "{answer}");
        answer[2].as_u64().expect("an id")
    }

    /// The next message is an event of this subscription; gives what it carries.
    pub(crate) fn event(&mut self, subscription: u64) -> Value {
        let event = self.hear();
        assert_eq!((&event[0], &event[1]), (&json!(36), &json!(subscription)), "{event}");
        assert!(event[2].as_u64().is_some_and(|id| (1..=1 << 53).contains(&id)), "{event}");
        event.as_array().expect("a list")[3..].to_vec().into()
    }

    /// Calls and waits for the answer: what follows the request's id.
    pub(crate) fn call(&mut self, uri: &str, payload: &[Value]) -> Value {
        let rest = [json!({}), json!(uri)].into_iter().chain(payload.iter().cloned()).collect();
        let request = self.ask(48, &rest);
        self.answer(request)
    }

    /// The answer to a call: details and payload of a result, or details, URI and payload of an error.
    pub(crate) fn answer(&mut self, request: u64) -> Value {
        let answer = self.hear();
        let items = answer.as_array().expect("a list");
        match items[0].as_u64() {
            Some(50) => {
                assert_eq!(items[1], request, "{answer}");
                items[2..].to_vec().into()
            }
            Some(8) => {
                assert_eq!((&items[1], &items[2]), (&json!(48), &json!(request)), "{answer}");
                items[3..].to_vec().into()
            }
            _ => panic!("an answer, not {answer}"),
        }
    }

    /// Nothing else has come: what is asked for now is answered next.
    pub(crate) fn expect_nothing(&mut self) {
        let request = self.ask(34, &json!([1_000_000]));
        let answer = self.hear();
        assert_eq!((&answer[1], &answer[2]), (&json!(34), &json!(request)), "{answer}");
    }
}
