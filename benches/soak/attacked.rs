//! What the benchmarks with hostile clients share: how they begin and end, and the server that is attacked.

use std::process::ExitCode;

use crate::crowd::hostile::Limits;
use crate::measure::Cpus;
use crate::server::{GIVES_BACK, Server, program};

/// What fails here ends the program, with words for whoever runs it.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Does the work of the benchmark `name` and says what has become of it. No options: `cargo test --benches` runs the
/// program without `--bench`, and there is nothing to test.
pub(crate) fn conclude<T>(
    name: &str,
    options: std::result::Result<Option<T>, lexopt::Error>,
    work: impl FnOnce(&T) -> Result<()>,
) -> ExitCode {
    let result = match options {
        Ok(Some(options)) => work(&options),
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server with these limits, on a CPU of its own if there are two; everyone else has the other.
pub(crate) fn start(limits: &Limits) -> Result<Server> {
    let start = || {
        let mut command = program();
        command.env("RUST_LOG", "error,websock::net::server=info").env(GIVES_BACK.0, GIVES_BACK.1);
        Server::start_as(command, &format!("[limits]\n{}", limits.ini()), "ws://127.0.0.1:0")
    };
    Ok(match Cpus::divide()? {
        Some(cpus) => cpus.beside(start)?,
        None => {
            eprintln!("there is one CPU: the server and everyone else share it, and the figures are worth little");
            start()
        }
    })
}
