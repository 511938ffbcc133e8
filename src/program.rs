//! The program: arguments, configuration, logger, run, exit code.
//!
//! It stands in the library, so that a program with applications of its own has all of it: see the crate docs.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{self, ExitCode};
use std::time::Duration;

use crate::app::{HANDLERS, Handler, names_of};
use crate::cli::{self, Command, LoadError, SendArgs, ServeArgs, WhyArgs};
use crate::config::{Config, ListenAddress, Notice};
use crate::health;
use crate::logging::{self, LogHandle, LogSettings, LogState};
use crate::login;
use crate::net::check_certificate;
use crate::net::inherited::Inherited;
use crate::net::server::{Host, Server, StartError};
use crate::send;
use crate::systemd::Notifier;
use crate::why;
use log::{error, warn};

/// It could not bind, or the loop failed; for `send`: nobody got it; for `why`: nothing is known.
const FAILED: u8 = 1;
/// Something is wrong with the configuration or the command line.
const WRONG: u8 = 2;

/// Does what the command line says, as `websock` does. `own`: applications besides those of the house, which `[resources]`
/// may name as well; one with the name of another takes its place.
pub fn main(own: &[Handler]) -> ExitCode {
    let handlers = [own, HANDLERS].concat();
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help(text)) => {
            say(format_args!("{}", text.trim_end()));
            ExitCode::SUCCESS
        }
        Ok(Command::Version) => {
            say(format_args!("websock {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Ok(Command::Check(args)) => check(&args, &handlers),
        Ok(Command::Serve(args)) => serve(&args, &handlers),
        Ok(Command::Health(args)) => health(&args, &handlers),
        Ok(Command::Send(args)) => send(&args, &handlers),
        Ok(Command::Why(args)) => ask_why(&args, &handlers),
        Err(error) => {
            eprintln!("websock: {error}");
            ExitCode::from(WRONG)
        }
    }
}

/// Errors of the INI file name it themselves: they are the lines that editors can jump to.
fn wrong(error: &LoadError) -> ExitCode {
    match error {
        LoadError::File(_) => eprintln!("{error}"),
        LoadError::Usage(_) => eprintln!("websock: {error}"),
    }
    ExitCode::from(WRONG)
}

/// Reads the configuration, or says on standard error what is wrong with it, a line a problem.
fn load(args: &ServeArgs, handlers: &[Handler]) -> Result<(Config, Vec<Notice>), ExitCode> {
    args.load(&names_of(handlers)).map_err(|error| wrong(&error))
}

fn serve(args: &ServeArgs, handlers: &[Handler]) -> ExitCode {
    let (config, notices) = match load(args, handlers) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let log = logging::init(log_settings(&config));
    let mut host = Program { args, handlers, log, manager: Notifier::from_env() };
    for notice in notices {
        warn!("{notice}");
    }
    warn_of_login(&config);
    let pid_file = config.pid_file.clone();
    let inherited = match Inherited::from_env() {
        Ok(sockets) => sockets,
        Err(error) => return failed(&error),
    };
    let server = match Server::bind(config, handlers, inherited) {
        Ok(server) => server,
        Err(error @ StartError::Certificate(_)) => {
            failed(&error);
            return ExitCode::from(WRONG);
        }
        Err(error) => return failed(&error),
    };
    if let Some(file) = &pid_file
        && let Err(error) = fs::write(file, format!("{}\n", process::id()))
    {
        return failed(&format!("can't write the pid file {}: {error}", file.display()));
    }
    let result = server.run(&mut host);
    if let Some(file) = &pid_file {
        remove_pid_file(file);
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("the loop failed: {error}")),
    }
}

/// The program as the loop sees it.
struct Program<'a> {
    args: &'a ServeArgs,
    handlers: &'a [Handler],
    log: LogHandle,
    manager: Notifier,
}

impl Host for Program<'_> {
    fn after_turn(&mut self) -> LogState {
        self.log.flush()
    }

    fn reload(&mut self) -> Option<Config> {
        self.manager.reloading();
        match self.args.load(&names_of(self.handlers)) {
            Ok((config, notices)) => {
                self.log.configure(log_settings(&config));
                for notice in notices {
                    warn!("{notice}");
                }
                warn_of_login(&config);
                Some(config)
            }
            Err(problems) => {
                self.log.reopen();
                for problem in problems.to_string().lines() {
                    error!("{problem}");
                }
                error!("the configuration stays as it was");
                None
            }
        }
    }

    fn ready(&mut self) {
        self.manager.ready();
    }

    fn stopping(&mut self, within: Duration) {
        self.manager.stopping(within);
    }

    fn heartbeat(&self) -> Option<Duration> {
        self.manager.heartbeat()
    }

    fn alive(&mut self, connections: usize) {
        self.manager.alive(connections);
    }
}

/// Problems that end nothing: the folder of the sessions may come later than the server.
fn warn_of_login(config: &Config) {
    for problem in login::problems(config) {
        warn!("{problem}");
    }
}

fn log_settings(config: &Config) -> LogSettings {
    LogSettings { file: config.log_file.clone(), console: config.console, format: config.log_format }
}

/// Says why on standard error, where whoever started it looks, and in the log, where whoever finds it stopped does.
fn failed(why: &dyn fmt::Display) -> ExitCode {
    eprintln!("websock: {why}");
    error!("{why}");
    ExitCode::from(FAILED)
}

/// Removes the pid file, unless another process has made it its own meanwhile.
fn remove_pid_file(file: &Path) {
    let ours = fs::read_to_string(file).is_ok_and(|text| text.trim() == process::id().to_string());
    if ours && let Err(error) = fs::remove_file(file) {
        warn!("can't remove the pid file {}: {error}", file.display());
    }
}

/// Says what a server with this configuration would do.
fn check(args: &ServeArgs, handlers: &[Handler]) -> ExitCode {
    let (config, notices) = match load(args, handlers) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    for notice in notices {
        say(format_args!("notice: {notice}"));
    }
    let mut code = ExitCode::SUCCESS;
    match check_certificate(&config) {
        Ok(None) => {}
        Ok(Some((true, outlook))) => say(format_args!("{outlook}")),
        Ok(Some((false, outlook))) => say(format_args!("notice: {outlook}")),
        Err(error) => {
            eprintln!("websock: {error}");
            code = ExitCode::from(WRONG);
        }
    }
    for listen in &config.listen {
        let ListenAddress::Tcp(address) = listen else {
            say(format_args!("listens on {listen} ({:04o})", config.socket_mode));
            continue;
        };
        match address.resolve() {
            Ok(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                say(format_args!("listens on {listen} ({})", addresses.join(", ")));
            }
            Err(error) => {
                eprintln!("websock: can't resolve {listen}: {error}");
                if code == ExitCode::SUCCESS {
                    code = ExitCode::from(FAILED);
                }
            }
        }
    }
    for row in &config.resources {
        say(format_args!("serves {} with {}", row.path, row.handler));
    }
    if !config.zmq.bind.is_empty() {
        say(format_args!("takes messages from the queue at {}", config.zmq.bind));
    }
    let login = &config.session_login;
    if let Some(path) = login.save_path.as_ref().filter(|_| login.require) {
        say(format_args!("lets in browsers whose session in {} has a true {}", path.folder.display(), login.key));
    }
    for problem in login::problems(&config) {
        say(format_args!("notice: {problem}"));
    }
    match &config.log_file {
        Some(file) => {
            say(format_args!("logs to {}{}", file.display(), if config.console { " and the console" } else { "" }))
        }
        None if config.console => say(format_args!("logs to the console")),
        None => say(format_args!("logs warnings and errors to the console")),
    }
    code
}

/// Says something on standard output. Whoever reads there may have had enough.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn health(args: &ServeArgs, handlers: &[Handler]) -> ExitCode {
    let (config, _) = match load(args, handlers) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match health::ask(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("websock: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn send(args: &SendArgs, handlers: &[Handler]) -> ExitCode {
    let config = match args.server.load(&names_of(handlers)) {
        Ok(config) => config,
        Err(error) => return wrong(&error),
    };
    match send::run(args, &config, io::stdin().lock(), &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("websock: nobody got it");
            ExitCode::from(FAILED)
        }
        Err(error) => {
            eprintln!("websock: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn ask_why(args: &WhyArgs, handlers: &[Handler]) -> ExitCode {
    let config = match args.server.load(&names_of(handlers)) {
        Ok(config) => config,
        Err(error) => return wrong(&error),
    };
    match why::run(&config, &args.subject, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("websock: {error}");
            ExitCode::from(FAILED)
        }
    }
}
