//! The command line: what is to be done, and which settings it overrules.
//!
//! Arguments are read with `lexopt`. It takes a single dash for a bundle of one-letter options, so the words that the original
//! had with a single dash (`-adress`, `-logfile`, `-console`) get their second one first.
//! Nothing is printed here and nothing exits; that is the program's.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;

use lexopt::Arg::{Long, Short, Value};
use lexopt::Parser;

use crate::config::nearest::nearest;
use crate::config::{Config, ConfigError, ListenAddress, Mismatch, Notice, boolean};
use crate::id::{ClientId, MessageId};

#[cfg(test)]
mod tests;

/// The INI file where none is named, in the working directory.
const DEFAULT_INI: &str = "websock.ini";

/// What `websock send` and `websock why` say where they are to talk to a `wss://` address.
pub(crate) const SPEAKS_NO_TLS: &str =
    "TLS is not spoken here: let the server listen on ws://localhost:PORT or unix:/PATH as well, and ask there";

/// What `websock --help` prints.
const HELP: &str = "\
websock - push server for web applications whose backend can't hold a socket open

usage: websock [options]           serve until stopped
       websock [options] --check   read the settings, say what is wrong, and end
       websock [options] --health  ask the running server whether it is well, and end
       websock send ...            send a message; see websock send --help
       websock why ID              what became of a message; see websock why --help

A page connects and is issued a UUID. It passes that along in its AJAX calls, and the
script behind reports back to the page while it still runs: over a WebSocket, by HTTP,
or with \"websock send\".

  -i FILE            the settings (default: websock.ini in the current directory)
      --address A    listen on A instead, like ws://localhost:8096; several with commas
      --logfile F    append log lines to F instead; '' for no file
      --console      log to standard error; --console=false not to
      --check        only check the settings
      --health       exit code 0 if the server with these settings answers, else 1
  -h, --help         this text
  -V, --version      the version

The words of the original work too: -adress A, -logfile F, -console [true|false].
Every setting stands with its default and a line on it in the websock.ini shipped along.

Signals: TERM and INT let the clients go and stop, a second one stops at once;
HUP reads the settings again and reopens the log, and nobody is disconnected.
Environment: RUST_LOG=debug logs more, RUST_LOG=warn less; ${NAME} in the settings.
Exit codes: 0 stopped as asked; 1 could not listen, or failed; 2 wrong settings or usage.
";

/// What `websock send --help` prints.
const SEND_HELP: &str = "\
websock send - send a message to pages that are connected to a running websock

usage: websock send [options] (--uuid U | --ident I | --broadcast) MESSAGE

      --uuid U       to the page with this UUID, which it has from its greeting
      --ident I      to the page or script that connected under this name
      --broadcast    to every page
  -i FILE            the server's settings, to learn where it listens
                     (default: websock.ini in the current directory)
      --address A    where the server listens, like ws://localhost:8096
      --json         MESSAGE is JSON and is sent as such; without, it is sent as text
  -h, --help         this text

MESSAGE is one argument: quote it. After -- it may begin with a dash.
With - for MESSAGE each line of standard input is a message.

examples:
  websock send --broadcast 'Back in five minutes'
  websock send --ident billing --json '{\"invoice\": 7, \"paid\": true}'
  tail -f import.log | websock send --uuid 2f1c8f0e-5a0b-4b57-9a53-6f0f6d0c1a2b -
";

/// What `websock why --help` prints.
const WHY_HELP: &str = "\
websock why - ask a running websock why somebody did not get something

usage: websock why [options] UUID|MESSAGE-ID

For the UUID of a page: when it came and from where, which messages were for it and how
far each got, and who closed the connection and why. For the id of a message: who pushed
it, whom it was handed to, and what became of it there. The server remembers the last
events in a memory of fixed size ([recorder] size in its settings).

  -i FILE            the server's settings, to learn where it listens, and a key
                     (default: websock.ini in the current directory)
      --address A    where the server listens, like ws://localhost:8096
  -h, --help         this text
";

/// What the program is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Read the settings as the server would, report, and end.
    Check(ServeArgs),
    /// Ask the server that has these settings how it is, and end.
    Health(ServeArgs),
    /// Send a message to a running server.
    Send(SendArgs),
    /// Ask a running server what it knows of a page or a message.
    Why(WhyArgs),
    /// Print this text and end.
    Help(&'static str),
    /// Print the version and end.
    Version,
}

/// Where the settings of a server come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServeArgs {
    /// The INI file.
    pub ini: PathBuf,
    /// Whether `ini` was named, and isn't just the default.
    pub ini_given: bool,
    /// Overrules `address`.
    pub address: Option<String>,
    /// Overrules `logfile`; empty: no file.
    pub log_file: Option<PathBuf>,
    /// Overrules `console`.
    pub console: Option<bool>,
}

/// Where a running server is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerArgs {
    /// Its INI file; none: the default one.
    pub ini: Option<PathBuf>,
    /// Where it listens, a valid [`ListenAddress`]; overrules the INI file.
    pub address: Option<String>,
}

/// A message, to whom, and by which server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SendArgs {
    /// Where the server is.
    pub server: ServerArgs,
    /// Whether the message is JSON. It has not been looked at.
    pub json: bool,
    /// To whom.
    pub to: Recipient,
    /// What.
    pub message: Message,
}

/// What is asked, and which server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WhyArgs {
    /// Where the server is.
    pub server: ServerArgs,
    /// A page's UUID, or a message's id.
    pub subject: String,
}

/// To whom a message goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recipient {
    /// The browser with this UUID, in its hyphenated form.
    Uuid(String),
    /// The client with this ident, not empty.
    Ident(String),
    /// Every browser.
    Broadcast,
}

/// What is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// This text.
    Text(String),
    /// Each line of standard input.
    Lines,
}

/// A command line that can't be followed. Prints as one sentence and where to read on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageError {
    sentence: String,
    help: &'static str,
}

impl UsageError {
    fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), help: "websock --help" }
    }

    fn value(option: &str, mismatch: &Mismatch) -> Self {
        Self::new(format!("{option}: {mismatch}"))
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see {}", self.sentence, self.help)
    }
}

impl std::error::Error for UsageError {}

/// What `lexopt` finds wrong by itself.
impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        const OPTIONS: &[&str] = &[
            "--address",
            "--broadcast",
            "--check",
            "--console",
            "--health",
            "--help",
            "--ident",
            "--json",
            "--logfile",
            "--uuid",
            "--version",
        ];
        match &error {
            lexopt::Error::UnexpectedOption(option) => {
                let near = nearest(option, OPTIONS.iter().copied().filter(|known| known != option));
                let hint = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                Self::new(format!("{option} is not an option here{hint}"))
            }
            lexopt::Error::UnexpectedArgument(argument) => Self::new(format!("{argument:?} is one argument too many")),
            _ => Self::new(error.to_string()),
        }
    }
}

/// Why there is no configuration. Prints as one line for each problem.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoadError {
    /// The INI file is wrong, or was named and can't be read. Never empty.
    File(Vec<ConfigError>),
    /// The command line is wrong, or neither names an INI file nor finds one.
    Usage(UsageError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(errors) => {
                for (at, error) in errors.iter().enumerate() {
                    let separator = if at == 0 { "" } else { "\n" };
                    write!(f, "{separator}{error}")?;
                }
                Ok(())
            }
            Self::Usage(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LoadError {}

impl ServeArgs {
    /// Reads the INI file and lays the command line over it: what the server starts with, and what it reads again on HUP.
    /// `handlers` as for [`Config::load`].
    ///
    /// # Errors
    ///
    /// Whatever keeps the settings from being used; exit code 2.
    pub fn load(&self, handlers: &[&str]) -> Result<(Config, Vec<Notice>), LoadError> {
        if !self.ini_given && is_missing(&self.ini) {
            let sentence = format!(
                "there is no {DEFAULT_INI} in the current directory: name a file with -i FILE, or copy the {DEFAULT_INI} shipped along here"
            );
            return Err(LoadError::Usage(UsageError::new(sentence)));
        }
        let (mut config, notices) = Config::load(&self.ini, handlers).map_err(LoadError::File)?;
        self.apply(&mut config).map_err(LoadError::Usage)?;
        Ok((config, notices))
    }

    /// Overrules a configuration with what the command line says.
    ///
    /// # Errors
    ///
    /// A value that would be an error in the INI file as well; the configuration is not to be used then.
    pub fn apply(&self, config: &mut Config) -> Result<(), UsageError> {
        if let Some(address) = &self.address {
            config.listen = Config::listen_on(address).map_err(|mismatches| {
                let told: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
                UsageError::new(format!("--address: {}", told.join("; ")))
            })?;
        }
        if let Some(file) = &self.log_file {
            config.log_file = (!file.as_os_str().is_empty()).then(|| file.clone());
        }
        if let Some(console) = self.console {
            config.console = console;
        }
        match config.complaints().first() {
            Some(complaint) => Err(UsageError::value(&format!("--{}", complaint.key), &complaint.mismatch)),
            None => Ok(()),
        }
    }
}

impl ServerArgs {
    /// Reads where the server listens and what it serves: from its INI file, or from the command line alone where that
    /// names an address and there is no INI file.
    ///
    /// # Errors
    ///
    /// As [`ServeArgs::load`].
    pub fn load(&self, handlers: &[&str]) -> Result<Config, LoadError> {
        let like_the_server = ServeArgs {
            ini: self.ini.clone().unwrap_or_else(|| DEFAULT_INI.into()),
            ini_given: self.ini.is_some(),
            address: self.address.clone(),
            log_file: None,
            console: None,
        };
        if self.address.is_some() && self.ini.is_none() && is_missing(&like_the_server.ini) {
            let mut config = Config::default();
            like_the_server.apply(&mut config).map_err(LoadError::Usage)?;
            return Ok(config);
        }
        like_the_server.load(handlers).map(|(config, _)| config)
    }
}

/// Whether there is nothing of this name. A file that is there and can't be read is another matter.
fn is_missing(path: &std::path::Path) -> bool {
    path.metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// Reads the arguments, without the program's own name: `parse(std::env::args_os().skip(1))`.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut args = args.into_iter().peekable();
    if args.next_if(|first| first == "send").is_some() {
        let send = parse_send(Parser::from_args(double_dashed(args)));
        return send.map_err(|e| UsageError { help: "websock send --help", ..e });
    }
    if args.next_if(|first| first == "why").is_some() {
        let why = parse_why(Parser::from_args(double_dashed(args)));
        return why.map_err(|e| UsageError { help: "websock why --help", ..e });
    }
    parse_serve(Parser::from_args(double_dashed(args)))
}

fn parse_serve(mut parser: Parser) -> Result<Command, UsageError> {
    let mut instead: Option<fn(ServeArgs) -> Command> = None;
    let mut ini = None;
    let mut address = None;
    let mut log_file = None;
    let mut console = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Short('i') => once("-i", &mut ini, file("-i", &mut parser)?)?,
            Long("address" | "adress") => once("--address", &mut address, text("--address", &mut parser)?)?,
            Long("logfile") => {
                let value = value("--logfile", &mut parser)?;
                once("--logfile", &mut log_file, PathBuf::from(value))?;
            }
            Long("console") => once("--console", &mut console, on_or_off("--console", &mut parser)?)?,
            Long("check") => one_task(&mut instead, Command::Check)?,
            Long("health") => one_task(&mut instead, Command::Health)?,
            Short('h') | Long("help") => return Ok(Command::Help(HELP)),
            Short('V') | Long("version") => return Ok(Command::Version),
            Value(word) if word == "send" => return Err(UsageError::new("send must be the first argument")),
            Value(word) if word == "why" => return Err(UsageError::new("why must be the first argument")),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let args = ServeArgs {
        ini_given: ini.is_some(),
        ini: ini.unwrap_or_else(|| PathBuf::from(DEFAULT_INI)),
        address,
        log_file,
        console,
    };
    Ok(instead.unwrap_or(Command::Serve)(args))
}

fn parse_send(mut parser: Parser) -> Result<Command, UsageError> {
    let mut ini = None;
    let mut address = None;
    let mut json = false;
    let mut to = None;
    let mut message = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Short('i') => once("-i", &mut ini, file("-i", &mut parser)?)?,
            Long("address" | "adress") => once("--address", &mut address, plain_address(&mut parser)?)?,
            Long("json") => json = true,
            Long("uuid") => one_target(&mut to, Recipient::Uuid(uuid(&mut parser)?))?,
            Long("ident") => {
                let ident = text("--ident", &mut parser)?;
                if ident.is_empty() {
                    return Err(UsageError::new("--ident needs a name that isn't empty"));
                }
                one_target(&mut to, Recipient::Ident(ident))?;
            }
            Long("broadcast") => one_target(&mut to, Recipient::Broadcast)?,
            Short('h') | Long("help") => return Ok(Command::Help(SEND_HELP)),
            Value(word) if message.is_none() => message = Some(message_of(&word)?),
            Value(_) => return Err(UsageError::new("there is more than one MESSAGE: quote it to make it one")),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let to =
        to.ok_or_else(|| UsageError::new("nobody to send to: one of --uuid U, --ident I and --broadcast is needed"))?;
    let message = message.ok_or_else(|| UsageError::new("there is no MESSAGE"))?;
    Ok(Command::Send(SendArgs { server: ServerArgs { ini, address }, json, to, message }))
}

fn parse_why(mut parser: Parser) -> Result<Command, UsageError> {
    let mut ini = None;
    let mut address = None;
    let mut subject = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Short('i') => once("-i", &mut ini, file("-i", &mut parser)?)?,
            Long("address" | "adress") => once("--address", &mut address, plain_address(&mut parser)?)?,
            Short('h') | Long("help") => return Ok(Command::Help(WHY_HELP)),
            Value(word) if subject.is_none() => {
                let word =
                    word.to_str().filter(|word| ClientId::parse(word).is_some() || MessageId::parse(word).is_some());
                let word = word.ok_or_else(|| UsageError::new("this is neither a page's UUID nor a message's id"))?;
                subject = Some(word.to_owned());
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let subject = subject.ok_or_else(|| UsageError::new("a page's UUID or a message's id is needed"))?;
    Ok(Command::Why(WhyArgs { server: ServerArgs { ini, address }, subject }))
}

/// The value of `--address`, where what speaks no TLS finds a server.
fn plain_address(parser: &mut Parser) -> Result<String, UsageError> {
    let text = text("--address", parser)?;
    match text.parse::<ListenAddress>() {
        Err(mismatch) => Err(UsageError::value("--address", &mismatch)),
        Ok(address) if address.is_secure() => Err(UsageError::new(format!("--address {address}: {SPEAKS_NO_TLS}"))),
        Ok(_) => Ok(text),
    }
}

fn message_of(word: &OsStr) -> Result<Message, UsageError> {
    match word.to_str() {
        Some("-") => Ok(Message::Lines),
        Some(text) => Ok(Message::Text(text.to_owned())),
        None => Err(UsageError::new("MESSAGE is not UTF-8")),
    }
}

fn one_task(instead: &mut Option<fn(ServeArgs) -> Command>, task: fn(ServeArgs) -> Command) -> Result<(), UsageError> {
    match instead.replace(task) {
        None => Ok(()),
        Some(_) => Err(UsageError::new("only one of --check and --health can be given, once")),
    }
}

fn one_target(to: &mut Option<Recipient>, recipient: Recipient) -> Result<(), UsageError> {
    match to.replace(recipient) {
        None => Ok(()),
        Some(_) => Err(UsageError::new("only one of --uuid, --ident and --broadcast can be given, once")),
    }
}

fn uuid(parser: &mut Parser) -> Result<String, UsageError> {
    let text = text("--uuid", parser)?;
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    if lengths.eq([8, 4, 4, 4, 12]) && groups.concat().bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text);
    }
    let expected = "a UUID like 2f1c8f0e-5a0b-4b57-9a53-6f0f6d0c1a2b";
    Err(UsageError::value("--uuid", &Mismatch::value(&text, expected)))
}

fn once<T>(option: &str, slot: &mut Option<T>, value: T) -> Result<(), UsageError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(UsageError::new(format!("{option} is given twice"))),
    }
}

/// An option's value. One that begins with a dash is taken for the next option, unless it comes with `=`: to append
/// the log to a file called `--console` is not what anyone means.
fn value(option: &str, parser: &mut Parser) -> Result<OsString, UsageError> {
    if let Some(value) = parser.optional_value() {
        return Ok(value);
    }
    let is_value = |next: &OsStr| next == "-" || !next.as_encoded_bytes().starts_with(b"-");
    parser
        .try_raw_args()
        .and_then(|mut rest| rest.next_if(is_value))
        .ok_or_else(|| UsageError::new(format!("{option} needs a value")))
}

fn file(option: &str, parser: &mut Parser) -> Result<PathBuf, UsageError> {
    let value = value(option, parser)?;
    if value.is_empty() {
        return Err(UsageError::new(format!("{option} needs the name of a file")));
    }
    Ok(PathBuf::from(value))
}

fn text(option: &str, parser: &mut Parser) -> Result<String, UsageError> {
    let value = value(option, parser)?;
    value.into_string().map_err(|_| UsageError::new(format!("the value of {option} is not UTF-8")))
}

/// A switch that may have a boolean word after it.
fn on_or_off(option: &str, parser: &mut Parser) -> Result<bool, UsageError> {
    let word = |text: &OsStr| text.to_str().and_then(boolean);
    if let Some(value) = parser.optional_value() {
        return word(&value).ok_or_else(|| UsageError::new(format!("{option} takes true or false, not {value:?}")));
    }
    let next = parser.try_raw_args().and_then(|mut rest| rest.next_if(|next| word(next).is_some()));
    Ok(next.and_then(|next| word(&next)).unwrap_or(true))
}

/// Gives the original's words their second dash; what comes after `--` is left alone.
fn double_dashed(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const WORDS: &[&str] = &["-address", "-adress", "-console", "-logfile"];
    let mut options_end = false;
    let double = |arg: OsString| {
        options_end |= arg == "--";
        let name = arg.to_str().map(|text| text.split('=').next().unwrap_or(text));
        if options_end || !name.is_some_and(|name| WORDS.contains(&name)) {
            return arg;
        }
        let mut doubled = OsString::from("-");
        doubled.push(arg);
        doubled
    };
    args.map(double).collect()
}
