//! Whole files: the shipped one, the original's, and bad ones with the exact messages they get.

use std::fs;

use super::*;

const SHIPPED: &str = include_str!("../../websock.ini");
const HANDLERS: &[&str] = &["relay", "echo"];

fn env(name: &str) -> Option<String> {
    match name {
        "LOG_FILE" => Some("D:/Temp/web#sock;.log".to_owned()),
        "PORT" => Some("99".to_owned()),
        "HOSTS" => Some("10.0.0.1, 10.0.0.2".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<(Config, Vec<Notice>), String> {
    Config::parse(text, Path::new("websock.ini"), HANDLERS, &env).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

fn good(text: &str) -> Config {
    parse(text).unwrap().0
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let (config, notices) = parse(SHIPPED).unwrap();
    assert_eq!(config, Config::default());
    assert!(notices.is_empty());
    assert_eq!(good(""), Config::default());
}

#[test]
fn the_shipped_file_names_and_explains_every_key() {
    let mut section = None;
    let mut named = Vec::new();
    let mut before = "";
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']');
            assert!(before.starts_with("# "), "{line}");
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, _) = line.split_once('=').unwrap();
            if section != Some("resources") {
                assert!(before.starts_with("# "), "{line}");
                named.push((section, key.trim()));
            }
        }
        before = line;
    }
    let known: Vec<_> = keys::KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(named, known);
}

#[test]
fn every_key_reaches_its_field() {
    let config = good(
        "address = ws://a:1, b\nlogfile = 'a b.log'\nconsole = Off\nlogFormat = json\npidFile = \"/run/p.pid\"\n\
         [resources]\n/ = echo\n/x = 'relay'\n",
    );
    assert_eq!(config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ws://a:1", "ws://b:80"]);
    assert_eq!(config.log_file, Some(PathBuf::from("a b.log")));
    assert!(!config.console);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.pid_file, Some(PathBuf::from("/run/p.pid")));
    let rows: Vec<_> = config.resources.iter().map(|row| (row.path.as_str(), row.handler.as_str())).collect();
    assert_eq!(rows, [("/", "echo"), ("/x", "relay")]);

    let limits = good(
        "[limits]\nmaxClients=1\nmaxPerIP=2\nmaxMessage=125\nmaxBacklog=1024\nmaxMemory=1048576\nmaxFragments=6\n\
         maxBacklogTime=7\nmaxRate=8\nhandshakeTimeout=9\nmessageTimeout=0\npingInterval=11\ndrainTimeout=12\n",
    )
    .limits;
    let expected = Limits {
        max_clients: 1,
        max_per_ip: 2,
        max_message: 125,
        max_backlog: 1024,
        max_memory: 1 << 20,
        max_fragments: 6,
        max_backlog_time: Duration::from_secs(7),
        max_rate: 8,
        handshake_timeout: Duration::from_secs(9),
        message_timeout: Duration::ZERO,
        ping_interval: Duration::from_secs(11),
        drain_timeout: Duration::from_secs(12),
    };
    assert_eq!(limits, expected);

    let access = good(
        "[access]\nallowedIP = 10.0.0.0/8 ,::1\nallowedOrigins = https://*.a.org\ntrustedProxies = 127.0.0.1\n\
         browsersMay = none\n",
    )
    .access;
    let none = BrowsersMay { feedback: false, broadcast: false, echo: false };
    let expected = Access {
        allowed_ip: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        allowed_origins: vec!["https://*.a.org".parse().unwrap()],
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        browsers_may: none,
    };
    assert_eq!(access, expected);

    let script = good("[script]\ngreetingDelay = 0\nframeGap = 10000\n").script;
    let expected = Script { greeting_delay: Duration::ZERO, frame_gap: Duration::from_secs(10) };
    assert_eq!(script, expected);

    let login = good("[jsauth]\nrequire=1\nssp=/var/s\ncookie_name='SID'\nkey=ok\nuser=name\n").session_login;
    let expected = SessionLogin {
        require: true,
        save_path: Some(SavePath { folder: PathBuf::from("/var/s"), levels: 0 }),
        cookie_name: "SID".to_owned(),
        key: "ok".to_owned(),
        user: "name".to_owned(),
    };
    assert_eq!(login, expected);
    let wamp = good("[wamp]\nrealm = com.example\nlockGrace = 30\n").wamp;
    assert_eq!(wamp, Wamp { realm: "com.example".to_owned(), lock_grace: Duration::from_secs(30) });

    let deflate = good("[deflate]\nenabled=yes\nthreshold=0\ncontextTakeover=on\n").deflate;
    assert_eq!(deflate, Deflate { enabled: true, threshold: 0, context_takeover: true });
    let sse = good("[sse]\nhistoryCount=0\nhistoryAge=1\nhistoryBytes=2\n").sse;
    assert_eq!(sse, Sse { history_count: 0, history_age: Duration::from_secs(1), history_bytes: 2 });
}

#[test]
fn an_empty_value_means_none() {
    let config = good(
        "logfile =\ncertFile = ''\npkFile = \"\"\npidFile = ${EMPTY}\n[access]\nallowedIP =\nbrowsersMay =\n\
         [jsauth]\nkey =\ncookie_name =\n[api]\nkeys =\n[zmq]\nbind =\n",
    );
    assert_eq!((config.log_file, config.cert_file, config.key_file, config.pid_file), (None, None, None, None));
    assert!(config.access.allowed_ip.is_empty());
    assert!(!config.access.browsers_may.echo);
    assert_eq!(config.session_login.cookie_name, "");
}

#[test]
fn the_environment_is_taken_as_it_is() {
    let config =
        good("logfile = 'x/${LOG_FILE}'\nadress = ws://localhost:${PORT}${PORT}\n[access]\nallowedIP = ${HOSTS}\n");
    assert_eq!(config.log_file, Some(PathBuf::from("x/D:/Temp/web#sock;.log")));
    assert_eq!(config.listen[0].to_string(), "ws://localhost:9999");
    assert_eq!(config.access.allowed_ip.len(), 2);
}

/// The flat file of 2021: single quotes, a Windows path, no section.
#[test]
fn the_originals_flat_file_works() {
    let config = good(
        "\n\nadress='ws://localhost:8096'\r\nlogfile=D:/temp/websock.log\r\nconsole=false\r\ncertFile=''\r\npkFile=''\r\n\n",
    );
    let expected = Config { log_file: Some(PathBuf::from("D:/temp/websock.log")), console: false, ..Config::default() };
    assert_eq!(config, expected);
}

/// The file of 2026: sections, the environment, a comment behind a value.
#[test]
fn the_originals_file_with_sections_works() {
    let file = "#\n# for the server\n#\n[websocketserver]\nadress = 'ws://localhost:8095'\nlogfile = ${LOG_FILE}\n\
                console = true\ncertFile =\npkFile = \n#\n[jsauth] \nrequire=REQUIRE\nssp=${LOG_FILE}\n\
                cookie_name = \"PHPSESSID\"\nkey = allowconnect\n#\n[develop]\ndevelopsystem = true ; not in production\n\
                what follows means nothing to us: ${NOTHING}\n";
    let (config, notices) = parse(&file.replace("REQUIRE", "true")).unwrap();
    assert_eq!(config.listen[0].to_string(), "ws://localhost:8095");
    assert_eq!(config.log_file, Some(PathBuf::from("D:/Temp/web#sock;.log")));
    assert!(config.session_login.require);
    assert_eq!(config.session_login.key, "allowconnect");
    let notices: Vec<String> = notices.iter().map(ToString::to_string).collect();
    assert_eq!(notices, ["websock.ini:17: [develop]: ignored, its settings are for the original server"]);
}

/// Each file with what is printed for it, `websock.ini:` left out.
#[test]
fn bad_files_and_their_errors() {
    const UNCUT: &str = "neither # nor ; there: the value would end at it (a comment needs a blank in front; \
                         a value with either can come from the environment, as ${NAME})";
    for (text, expected) in [
        // Lines.
        ("nonsense", "1: found a line without =, expected KEY = VALUE"),
        ("[api]\nkeys # = x", "2: [api]: found a line without =, expected KEY = VALUE"),
        ("= x", "1: found nothing before =, expected KEY = VALUE"),
        ("console: on", "1: console: found a : after the key, expected an = there"),
        ("[limits\nmaxRate = x", "1: found \"[limits\", expected [section]"),
        ("logfile = a;b", "1: logfile: found ; inside the value, expected UNCUT"),
        ("[zmq]\nbind = \"a # b\"", "2: [zmq] bind: found # inside the quotes, expected UNCUT"),
        ("logfile = 'a", "1: logfile: found a single ', expected quotes on both sides of the value, or none"),
        (
            "logfile = 'a' b",
            "1: logfile: found text after the closing ', expected quotes around the whole value, or none",
        ),
        ("/a#b = relay", "1: found # in the key, expected a key without it (a comment needs a blank in front)"),
        // Sections and keys.
        ("[limit]\nx = y", "1: [limit]: found an unknown section, expected a known one (did you mean limits?)"),
        ("[Limits]", "1: [Limits]: found an unknown section, expected a known one (did you mean limits?)"),
        (
            "[colours]",
            "1: [colours]: found an unknown section, expected one of resources, limits, access, script, api, jsauth, \
             deflate, recorder, sse, zmq, wamp",
        ),
        (
            "[limits]\nmaxclients = 5",
            "2: [limits] maxclients: found an unknown key, expected a known one (did you mean maxClients?)",
        ),
        ("maxClients = 5", "1: maxClients: found an unknown key, expected maxClients in [limits]"),
        (
            "[limits]\nlogfile = x",
            "2: [limits] logfile: found an unknown key, expected logfile before the first section",
        ),
        ("[zmq]\ncolour = x", "2: [zmq] colour: found an unknown key, expected one of bind"),
        // Duplicates.
        ("console = on\n\nconsole = on", "3: console: found it in line 1 and again in line 3, expected it once"),
        ("adress = a\naddress = b", "2: address: found it in line 1 and again in line 2, expected it once"),
        (
            "adress = a\n[websocketserver]\nadress = b",
            "3: [websocketserver] adress: found it in line 1 and again in line 3, expected it once",
        ),
        (
            "[api]\nkeys =\n[zmq]\n[api]\nkeys =",
            "5: [api] keys: found it in line 2 and again in line 5, expected it once",
        ),
        (
            "[resources]\n/a = relay\n/a = echo",
            "3: [resources] /a: found it in line 2 and again in line 3, expected it once",
        ),
        // Values.
        (
            "[limits]\nmaxClients = 80o5",
            "2: [limits] maxClients: found \"80o5\", expected a whole number of clients, 0 for as many as descriptors allow",
        ),
        (
            "[limits]\nmaxMessage = 124",
            "2: [limits] maxMessage: found \"124\", expected a whole number of bytes, from 125 to 2147483648",
        ),
        (
            "[limits]\nmaxMessage = 2147483649",
            "2: [limits] maxMessage: found \"2147483649\", expected a whole number of bytes, from 125 to 2147483648",
        ),
        (
            "[limits]\nmaxRate = 18446744073709551616",
            "2: [limits] maxRate: found \"18446744073709551616\", \
             expected a whole number of messages a second, 0 for no limit, from 0 to 1000000",
        ),
        (
            "[script]\nframeGap = 10001",
            "2: [script] frameGap: found \"10001\", expected a whole number of milliseconds, from 0 to 10000",
        ),
        (
            "[limits]\nhandshakeTimeout =",
            "2: [limits] handshakeTimeout: found nothing, expected a whole number of seconds",
        ),
        ("logFormat = JSON", "1: logFormat: found \"JSON\", expected text or json"),
        ("console = ''", "1: console: found nothing, expected true or false, on or off, yes or no, 1 or 0"),
        ("adress =", "1: adress: found nothing, expected an address like ws://localhost:8096"),
        (
            "[access]\nallowedIP = 10.1.2.3/8",
            "2: [access] allowedIP: found \"10.1.2.3/8\", expected the range 10.0.0.0/8 or the address 10.1.2.3",
        ),
        (
            "[access]\nallowedIP = ::1,",
            "2: [access] allowedIP: found an empty item, expected an address between commas",
        ),
        (
            "[access]\nbrowsersMay = ehco",
            "2: [access] browsersMay: found \"ehco\", expected feedback, broadcast, echo or none",
        ),
        (
            "logfile = ${NOTHING}",
            "1: logfile: found \"${NOTHING}\", which isn't set, expected a variable that the environment has, in UTF-8",
        ),
        ("logfile = ${LOG_FILE", "1: logfile: found ${ without a }, expected ${NAME}"),
        // Resources.
        (
            "\n[resources]",
            "2: [resources]: found no resource, expected at least one PATH = HANDLER, or no such section",
        ),
        ("[resources]\nweb = relay", "2: [resources] web: found \"web\", expected a path beginning with /"),
        (
            "[resources]\nlogfile = x",
            "2: [resources] logfile: found \"logfile\", expected logfile before the first section",
        ),
        (
            "[resources]\n/a b = relay",
            "2: [resources] /a b: found \"/a b\", expected a path as it stands in a request, without a query or a blank",
        ),
        (
            "[resources]\n/a?b = relay",
            "2: [resources] /a?b: found \"/a?b\", expected a path as it stands in a request, without a query or a blank",
        ),
        (
            "[resources]\n/ = rellay",
            "2: [resources] /: found \"rellay\", expected a known handler (did you mean relay?)",
        ),
        ("[resources]\n/ = php", "2: [resources] /: found \"php\", expected one of relay, echo"),
        ("[resources]\n/ =", "2: [resources] /: found nothing, expected one of relay, echo"),
        (
            "[resources]\n/ = wamp",
            "2: [resources] /: found \"wamp\", expected one of relay, echo: this build does not have wamp yet",
        ),
        (
            "adress = ws://a, wss://b",
            "1: adress: found wss://b:443 and no certificate, expected certFile and pkFile to be set for wss://",
        ),
        ("socketMode = 8", "1: socketMode: found \"8\", expected permissions in octal, like 0660 or 666"),
    ] {
        let expected = format!("websock.ini:{}", expected.replace("UNCUT", UNCUT));
        assert_eq!(parse(text).map(|_| "no error"), Err(expected), "{text}");
    }
}

#[test]
fn a_queue_needs_a_program_that_was_built_with_it() {
    let set = parse("[zmq]\nbind = tcp://*:5").map(|(config, _)| config.zmq.bind);
    if cfg!(feature = "zmq") {
        assert_eq!(set, Ok("tcp://*:5".to_owned()));
    } else {
        let expected = "websock.ini:2: [zmq] bind: found an endpoint, expected it unset: this program was built without \
                        the queue (cargo build --release --features zmq)";
        assert_eq!(set, Err(expected.to_owned()));
    }
}

#[test]
fn every_problem_is_told_in_the_order_of_the_lines() {
    let text = "certFile = a.pem\nbogus\n[limits]\nmaxRate = x\nmaxrate = 1\n[access]\nallowedIP = a, ,10.0.0.1/8\n\
                [nowhere]\nx\n[resources]\n/ = nobody\nconsole: no\n";
    let errors = parse(text).unwrap_err();
    let lines: Vec<&str> = errors.lines().map(|line| line.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["1", "2", "4", "5", "7", "7", "7", "8", "9", "11", "12"], "{errors}");
}

#[test]
fn certificate_and_key_need_each_other() {
    let partner = |text: &str| {
        let errors = parse(text).unwrap_err();
        errors.lines().filter(|line| line.contains("together")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        partner("certFile = a"),
        ["websock.ini:1: certFile: found no pkFile, expected certFile and pkFile together"]
    );
    assert_eq!(
        partner("pkFile = a"),
        ["websock.ini:1: pkFile: found no certFile, expected certFile and pkFile together"]
    );
    assert!(parse("address = ws://c, wss://d\ncertFile = a\npkFile = b").is_ok());
    assert!(partner("certFile = a\npkFile = ${NOTHING}").is_empty(), "pkFile is there, if unreadable");
    assert!(partner("certFile = a\npkFile = 'b").is_empty(), "pkFile is there, if unreadable");
}

#[test]
fn pages_of_other_sites_need_a_key() {
    let errors = parse("[api]\nallowedOrigins = https://a.org\n").unwrap_err();
    let expected = "2: [api] allowedOrigins: found no keys, expected keys as well: calls without one are never for pages of other sites";
    assert!(errors.ends_with(expected), "{errors}");
    assert!(parse("[api]\nkeys =\nallowedOrigins = https://a.org\n").is_err());
    let api = good("[api]\nkeys = a, b\nallowedOrigins = https://a.org\n").api;
    assert_eq!(
        api,
        Api { keys: vec!["a".into(), "b".into()], allowed_origins: vec!["https://a.org".parse().unwrap()] }
    );
    assert_eq!(format!("{api:?}"), r#"Api { keys: 2 not shown, allowed_origins: ["https://a.org"] }"#);
}

#[test]
fn a_required_session_needs_to_be_described() {
    let errors = parse("[jsauth]\nrequire = on\nssp = /s\n").unwrap_err();
    assert!(errors.contains("2: [jsauth] require: found no key, expected key to be set where a session is required"));
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert_eq!(parse("[jsauth]\nrequire = on\ncookie_name =\n").unwrap_err().lines().count(), 3);
}

#[test]
fn keys_of_the_api_are_shown_nowhere() {
    for keys in ["sekrit", "sek rit", "sekrit,", "'sekrit", "sekrit;", "sekrit#", "'sekrit' x", "\"sekrit;\""] {
        for sign in ["=", ":", ""] {
            let errors = parse(&format!("[api]\nkeys {sign} {keys}\nkeys = sekrit\n")).unwrap_err();
            assert!(!errors.contains("sek"), "{errors}");
        }
    }
    let config = Config { api: Api { keys: vec!["sekrit".to_owned()], ..Api::default() }, ..Config::default() };
    assert!(!format!("{config:?}").contains("sekrit"));
}

#[test]
fn any_text_is_read_or_refused() {
    // Pieces that mean something to the reader, in every order of four: nothing panics, and an error is one line.
    let pieces = ["[", "]", "=", ":", "#", "'", "\"", "${", "}", " ", "\n", "\r", "api", "ü", "\u{feff}", "/"];
    let n = pieces.len();
    for code in 0..n.pow(4) {
        let at = |power: u32| pieces[code / n.pow(power) % n];
        let text = [at(3), at(2), at(1), at(0)].concat();
        if let Err(errors) = Config::parse(&text, Path::new("f"), HANDLERS, &env) {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|e| e.to_string().lines().count() == 1), "{text:?}");
        }
    }
}

#[test]
fn a_file_is_loaded_or_the_reason_is_told() {
    let directory = std::env::temp_dir().join(format!("websock-config-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("websock.ini");
    let load = || Config::load(&file, HANDLERS).map_err(|errors| errors[0].to_string());
    let fail = |at: &str, what: &str| Err(format!("{}{at}: found {what}", file.display()));
    let missing = "No such file or directory (os error 2), expected a file that can be read";
    assert_eq!(load(), fail("", missing));

    fs::write(&file, b"\xef\xbb\xbfconsole = no\n").unwrap();
    assert!(!load().unwrap().0.console);
    fs::write(&file, b"console = no\n\n# \xff\n").unwrap();
    assert_eq!(load(), fail(":3", "bytes that are not UTF-8, expected UTF-8 text"));
    fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(load(), fail("", "too large a file, expected at most 1048576 bytes"));
    fs::write(&file, "logfile = ${PATH}\n").unwrap();
    assert_eq!(load().unwrap().0.log_file, std::env::var("PATH").ok().map(PathBuf::from));
    fs::remove_dir_all(&directory).unwrap();
}
