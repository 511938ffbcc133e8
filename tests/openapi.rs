//! `docs/openapi.json` against the built program: every path that it describes is served as it says, every example in it
//! works, and what comes back has the form that stands there.

use serde_json::{Value, json};

#[path = "common/server.rs"]
mod server;

use server::{Client, Server};

const INI: &str = "[resources]\n/ = relay\n/webntf = webntf\n/wamp = wamp\n[limits]\nmaxMessage = 2000\n";
const INIT: &str =
    r#"{"header":{"type":"init"},"body":{"domain":"shop.example","token":"5f0c2d","channels":["news"]}}"#;

/// What a `$ref` points to.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            document.pointer(pointer).unwrap_or_else(|| panic!("{reference} is there"))
        }
        None => value,
    }
}

/// What `value` has that `schema` does not allow; empty: nothing. It knows as much of JSON Schema as the document uses,
/// and refuses to pass over the rest.
fn misfit(document: &Value, schema: &Value, value: &Value) -> String {
    let schema = resolved(document, schema);
    for (keyword, wanted) in schema.as_object().expect("a schema") {
        let fits = match keyword.as_str() {
            "description" => true,
            "type" => match wanted.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_u64(),
                other => panic!("type {other}"),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64() >= wanted.as_f64(),
            "required" => wanted
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(Value::as_str)
                .all(|name| value.get(name).is_some()),
            "items" => {
                let misfits = value.as_array().into_iter().flatten().map(|item| misfit(document, wanted, item));
                match misfits.reduce(|all, more| all + &more) {
                    Some(misfits) if !misfits.is_empty() => return misfits,
                    _ => true,
                }
            }
            "properties" => {
                for (name, wanted) in wanted.as_object().expect("properties") {
                    let misfit = value.get(name).map(|value| misfit(document, wanted, value)).unwrap_or_default();
                    if !misfit.is_empty() {
                        return misfit;
                    }
                }
                true
            }
            other => panic!("keyword {other}"),
        };
        if !fits {
            return format!("{value} is not {keyword}: {wanted}; ");
        }
    }
    String::new()
}

/// The status and the answer of a request that is sent as it stands.
fn ask(server: &Server, request: &str) -> (String, Value) {
    let mut client = Client::connect(server.address());
    client.send(request.as_bytes());
    let (head, body) = client.response();
    let status = head["HTTP/1.1 ".len()..][..3].to_owned();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

fn post(path: &str, fields: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn the_server_does_what_its_description_says() {
    let document: Value = serde_json::from_str(include_str!("../docs/openapi.json")).expect("JSON");
    let open = Server::start(INI);
    let locked = Server::start(&format!("{INI}[api]\nkeys = sesame\n"));
    // Somebody for whom the examples are.
    let (_worker, uuid) = Client::greeted(open.address(), "/", "Ident: worker\r\n");
    let (_other, other) = Client::greeted(locked.address(), "/", "Ident: worker\r\n");
    let mut page = Client::open(open.address(), "/webntf", "");
    page.say(INIT);
    page.frame();
    let mut undocumented = json!({
        "relay": ["feedback", "broadcast", "clients", "why", "batch"],
        "webntf": ["send.to.channel", "send.to.token", "list.active.channels"],
        "wamp": ["publish"],
        "form-lock": ["check", "info"],
    });
    for (path, item) in document["paths"].as_object().expect("paths") {
        let (service, action) = path.strip_prefix("/api/").and_then(|rest| rest.split_once('/')).expect("an action");
        undocumented[service].as_array_mut().expect("a service").retain(|known| *known != action);
        let operation = &item["post"];
        let content = &operation["requestBody"]["content"]["application/json"];
        let check = |(status, answer): (String, Value), expected: &str, what: &str| {
            assert_eq!(status, expected, "{path}, {what}: {answer}");
            let response = resolved(&document, &operation["responses"][expected]);
            let schema = &response["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{path}: {expected} is described");
            assert_eq!(misfit(&document, schema, &answer), "", "{path}, {what}");
        };
        for (name, example) in content["examples"].as_object().expect("examples") {
            let value = &example["value"];
            assert_eq!(misfit(&document, &content["schema"], value), "", "{path}: the example {name}");
            for (server, fields, uuid) in [(&open, "", &uuid), (&locked, "Authorization: Bearer sesame\r\n", &other)] {
                let mut value = value.clone();
                if path == "/api/relay/why" {
                    value["uuid"] = json!(uuid);
                }
                check(ask(server, &post(path, fields, &value.to_string())), "200", name);
            }
        }
        check(ask(&locked, &post(path, "", "{}")), "401", "without a key");
        check(ask(&open, &post(path, "Origin: https://evil.example\r\n", "{}")), "403", "from another origin");
        for (status, body) in [("400", "]".to_owned()), ("413", " ".repeat(2001))] {
            if operation["responses"].get(status).is_some() {
                check(ask(&open, &post(path, "", &body)), status, "a bad body");
            }
        }
        if operation["requestBody"]["required"] == false {
            check(ask(&open, &format!("POST {path} HTTP/1.1\r\nHost: [::1]\r\n\r\n")), "200", "without a body");
        }
    }
    for (service, actions) in undocumented.as_object().expect("services") {
        assert_eq!(*actions, json!([]), "{service} is described");
    }
}
