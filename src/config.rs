//! What an administrator can set: `websock.ini` as a typed [`Config`].
//!
//! Text becomes a configuration in two steps. `lines` finds which line holds which key and what is wrong with it as INI;
//! `keys` is the table of the keys, each with the type, the range and the field of its value; `read` walks one along
//! the other and collects every problem, so that a wrong file takes one correction and not ten.
//! The defaults stand here, once, in the `Default` implementations; a test holds the shipped file against them.
//!
//! This module opens no socket, and no file but the INI file itself.

mod address;
mod checks;
mod keys;
mod lines;
pub(crate) mod nearest;
mod network;
mod origin;
mod read;
mod report;
mod save_path;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use address::{ListenAddress, TcpAddress};
pub use network::AddressRange;
pub use origin::OriginPattern;
pub use report::{ConfigError, Mismatch, Notice, Place};
pub use save_path::SavePath;
pub(crate) use values::boolean;

/// Everything that can be set. `Config::default()` is what an empty file gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen, at least one: `address`, also written `adress`.
    pub listen: Vec<ListenAddress>,
    /// The permissions of Unix sockets, as chmod(2) has them.
    pub socket_mode: u32,
    /// The file that log lines are appended to; none: no file.
    pub log_file: Option<PathBuf>,
    /// Whether log lines go to standard error.
    pub console: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The certificate chain, PEM, for addresses with TLS. Set exactly when `key_file` is.
    pub cert_file: Option<PathBuf>,
    /// The certificate's private key, PEM. Its key in the file is `pkFile`.
    pub key_file: Option<PathBuf>,
    /// The file that gets the process id while the server runs; none: no file.
    pub pid_file: Option<PathBuf>,
    /// Which handler answers on which path, in the order of the file. Never empty, no path twice.
    pub resources: Vec<ResourceRow>,
    /// What one client, and all of them together, may use.
    pub limits: Limits,
    /// Who may do what.
    pub access: Access,
    /// How old PHP clients are treated.
    pub script: Script,
    /// The HTTP control API.
    pub api: Api,
    /// Letting in only browsers with a PHP session: `[jsauth]`.
    pub session_login: SessionLogin,
    /// Compression of messages (permessage-deflate).
    pub deflate: Deflate,
    /// What is kept of what has happened.
    pub recorder: Recorder,
    /// Streams of server-sent events.
    pub sse: Sse,
    /// The ZeroMQ queue.
    pub zmq: Zmq,
    /// WAMP, and the form locks.
    pub wamp: Wamp,
}

/// `logFormat`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people: time, level, UUID, address, path, and what happened.
    #[default]
    Text,
    /// For programs: the same as members of a JSON object, one on each line.
    Json,
}

/// One row of `[resources]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResourceRow {
    /// The path of the request, without a query; begins with `/`.
    pub path: String,
    /// The name of the handler that answers there; one of those that the build has.
    pub handler: String,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections at once; 0: as many as the process may have descriptors for.
    pub max_clients: usize,
    /// Connections at once from one address, scripts not counted; 0: no limit.
    pub max_per_ip: usize,
    /// Bytes of one message, on the wire and inflated; 125 to 2^31.
    pub max_message: usize,
    /// Bytes that may wait for one client before it is closed with 1013.
    pub max_backlog: usize,
    /// Bytes that unfinished messages and waiting output of all clients together may hold.
    pub max_memory: usize,
    /// Frames of one message; past it 1008.
    pub max_fragments: u32,
    /// How long a client may have had output waiting without a moment of none, whole seconds; zero: no limit.
    pub max_backlog_time: Duration,
    /// Messages a second from one browser, past it 1008; 0: no limit.
    pub max_rate: u32,
    /// TLS and HTTP head together, whole seconds, never zero.
    pub handshake_timeout: Duration,
    /// How long a message or frame may stay unfinished, whole seconds; zero: no limit.
    pub message_timeout: Duration,
    /// Between two pings to a browser, whole seconds; zero: never.
    pub ping_interval: Duration,
    /// How long a stopping server waits for its clients, whole seconds; zero: not at all.
    pub drain_timeout: Duration,
}

/// `[access]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Who may be a script, or use a control API without keys.
    pub allowed_ip: Vec<AddressRange>,
    /// The pages that browsers may connect from; empty: any.
    pub allowed_origins: Vec<OriginPattern>,
    /// The proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<AddressRange>,
    /// What a browser may ask of the relay.
    pub browsers_may: BrowsersMay,
}

/// `browsersMay`: the opcodes that the relay acts on when a browser sends them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BrowsersMay {
    /// Send to another client by UUID or ident.
    pub feedback: bool,
    /// Send to every other browser.
    pub broadcast: bool,
    /// Have a message sent back.
    pub echo: bool,
}

/// `[script]`: both times are for PHP clients that lose what arrives too close together.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Between the `101` and the greeting, whole milliseconds, at most 10 s.
    pub greeting_delay: Duration,
    /// After which a frame counts as read by a silent script, whole milliseconds, at most 10 s.
    pub frame_gap: Duration,
}

/// `[api]`.
#[derive(Clone, Default, PartialEq)]
pub struct Api {
    /// The bearer keys of the control API, visible ASCII; empty: the allow list decides.
    pub keys: Vec<String>,
    /// Other sites whose pages may make calls and read the answers; empty: none. Never without keys.
    pub allowed_origins: Vec<OriginPattern>,
}

/// The keys are secrets, and configurations get logged.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<String> = self.allowed_origins.iter().map(ToString::to_string).collect();
        write!(f, "Api {{ keys: {} not shown, allowed_origins: {origins:?} }}", self.keys.len())
    }
}

/// `[jsauth]`: a browser is let in only when the PHP session of its cookie says so.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionLogin {
    /// Whether a session is asked for at all.
    pub require: bool,
    /// PHP's `session.save_path`, where the `sess_*` files are: `ssp`. Set where a session is required.
    pub save_path: Option<SavePath>,
    /// The cookie that carries the session's id.
    pub cookie_name: String,
    /// The session variable that must be true, as PHP's `if` takes it; empty: none is named.
    pub key: String,
    /// The session variable that says who is logged in; empty: that isn't known.
    pub user: String,
}

/// `[deflate]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Deflate {
    /// Whether compression is agreed to when a client offers it.
    pub enabled: bool,
    /// Bytes from which on a message is compressed.
    pub threshold: usize,
    /// Whether a client's messages, and ours to it, may refer to earlier ones: packs better, and takes about 350 KiB a client.
    pub context_takeover: bool,
}

/// `[recorder]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorder {
    /// Bytes in which the last events are kept; 0: none are.
    pub size: usize,
}

/// `[sse]`: what is kept for streams that come again. Nothing is where no resource is `sse`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sse {
    /// Messages; 0: none.
    pub history_count: usize,
    /// How old a message may get, whole seconds, never zero.
    pub history_age: Duration,
    /// Bytes of all of them.
    pub history_bytes: usize,
}

/// `[zmq]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zmq {
    /// The endpoint of the PULL socket, `tcp://ADDRESS:PORT` or `ipc:///PATH`; empty: no queue. Always empty where the
    /// program was built without the feature `zmq`.
    pub bind: String,
}

/// `[wamp]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Wamp {
    /// The realm of those who know of none: clients of WAMP v1, backends, the queue. A URI.
    pub realm: String,
    /// How long a form stays locked for a holder whose connection has ended, whole seconds; zero: not at all.
    pub lock_grace: Duration,
}

impl Config {
    /// Reads a configuration from the text of an INI file.
    ///
    /// `file` is what messages call it. `handlers` are the names that `[resources]` may use. `env` looks up `${NAME}`.
    ///
    /// # Errors
    ///
    /// Every problem of the text, in the order of its lines; never an empty list.
    pub fn parse(
        text: &str,
        file: &Path,
        handlers: &[&str],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Notice>), Vec<ConfigError>> {
        read::config(text, file, handlers, env)
    }

    /// Reads a configuration from an INI file, `${NAME}` from the environment of the process.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`]; besides, a file that can't be read, is over 1 MiB or isn't UTF-8.
    pub fn load(file: &Path, handlers: &[&str]) -> Result<(Self, Vec<Notice>), Vec<ConfigError>> {
        let text = read::text(file)?;
        Self::parse(&text, file, handlers, &|name| std::env::var(name).ok())
    }

    /// Reads what `address` and `--address` take: one address or several, separated by commas.
    pub(crate) fn listen_on(text: &str) -> Result<Vec<ListenAddress>, Vec<Mismatch>> {
        address::list(&values::Value::new(text))
    }

    /// What is set here and can't be kept; see `checks`.
    pub(crate) fn complaints(&self) -> Vec<checks::Complaint> {
        let mut complaints = checks::incomplete(self);
        complaints.extend(checks::not_built(self));
        complaints
    }
}

impl Default for Config {
    fn default() -> Self {
        let row = |path: &str, handler: &str| ResourceRow { path: path.to_owned(), handler: handler.to_owned() };
        Self {
            listen: vec![ListenAddress::Tcp(TcpAddress { secure: false, host: "localhost".to_owned(), port: 8096 })],
            socket_mode: 0o660,
            log_file: None,
            console: true,
            log_format: LogFormat::Text,
            cert_file: None,
            key_file: None,
            pid_file: None,
            resources: vec![row("/", "relay"), row("/web", "relay"), row("/php", "relay"), row("/echo", "echo")],
            limits: Limits::default(),
            access: Access::default(),
            script: Script::default(),
            api: Api::default(),
            session_login: SessionLogin::default(),
            deflate: Deflate::default(),
            recorder: Recorder::default(),
            sse: Sse::default(),
            zmq: Zmq::default(),
            wamp: Wamp::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_clients: 0,
            max_per_ip: 0,
            max_message: 5 << 20,
            max_backlog: 1 << 20,
            max_memory: 512 << 20,
            max_fragments: 1 << 17,
            max_backlog_time: Duration::from_secs(30),
            max_rate: 0,
            handshake_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(25),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self {
            allowed_ip: AddressRange::loopback().to_vec(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            browsers_may: BrowsersMay::default(),
        }
    }
}

impl Default for BrowsersMay {
    fn default() -> Self {
        Self { feedback: true, broadcast: true, echo: true }
    }
}

impl Default for Script {
    fn default() -> Self {
        Self { greeting_delay: Duration::from_millis(30), frame_gap: Duration::from_millis(20) }
    }
}

impl Default for SessionLogin {
    fn default() -> Self {
        Self {
            require: false,
            save_path: None,
            cookie_name: "PHPSESSID".to_owned(),
            key: String::new(),
            user: String::new(),
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self { size: 2 << 20 }
    }
}

impl Default for Wamp {
    fn default() -> Self {
        Self { realm: "realm1".to_owned(), lock_grace: Duration::ZERO }
    }
}

impl Default for Deflate {
    fn default() -> Self {
        Self { enabled: false, threshold: 1024, context_takeover: false }
    }
}

impl Default for Sse {
    fn default() -> Self {
        Self { history_count: 1000, history_age: Duration::from_secs(60), history_bytes: 1 << 20 }
    }
}
