//! What websock costs, end to end: server CPU time for each unit of work, over that of a raw loop that does nothing but
//! receive and send, and beside two Rust libraries that echo.
//!
//! ```text
//! cargo bench --bench endtoend                      all of it, five rounds, and the plots
//! cargo bench --bench endtoend -- --quick           one round of short runs, to try
//! cargo bench --bench endtoend -- --only broadcast  only work with that in its name; may be repeated
//! ```
//!
//! A round goes through all work, and each kind of work through all servers in an order that rotates, so that what
//! disturbs the machine falls on all of them. Every run gets a new server, on a CPU of its own, with the clients on
//! another. A ratio is taken within a round; the table gives the median of the rounds and how far they spread.
//!
//! Reading order: [`work`] (what is measured), [`load`] and [`wire`] (the clients), [`floor`] and [`servers`] (those
//! measured), [`measure`] (the kernel's figures), [`figures`], [`report`] and [`plot`] (what becomes of them).

mod figures;
mod floor;
mod load;
mod measure;
mod plot;
mod report;
mod servers;
mod wire;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use figures::{Spread, figure};
use lexopt::prelude::*;
use plot::Axes;
use report::Results;
use servers::{Programs, Subject};
use signal_hook::consts::{SIGINT, SIGTERM};
use work::{Windows, Work};

/// What fails here ends the program, with words for whoever runs it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "\
cargo bench --bench endtoend -- [OPTIONS]

  --quick        one round of short runs, to try: about a minute
  --only NAME    only work whose name contains NAME, like \"broadcast\" or \"50 x 20 B\"; may be repeated
  --rounds N     so many rounds instead of 5
  --plots DIR    where the plots go; without it docs/plots for a full run, target/tmp/plots for any other
";

/// The work of the table.
const TABLE: [Work; 9] = [
    Work::Echo { clients: 50, size: 20, depth: 1 },
    Work::Echo { clients: 50, size: 20, depth: 16 },
    Work::Echo { clients: 50, size: 1024, depth: 1 },
    Work::Echo { clients: 10, size: 65_536, depth: 1 },
    Work::Echo { clients: 500, size: 125, depth: 1 },
    broadcast(1000),
    broadcast(5000),
    Work::Relay { pairs: 10, size: 60 },
    Work::Connect { browsers: 10_000 },
];

/// What the plots need besides: how cost grows with the bytes of a message, with receivers, with idle connections.
const SIZES: [usize; 6] = [20, 125, 1024, 4096, 16_384, 65_536];
const RECEIVERS: [usize; 5] = [10, 100, 1000, 5000, 10_000];
const IDLE: [usize; 5] = [0, 1000, 5000, 10_000, 15_000];

const fn sized(size: usize) -> Work {
    Work::Echo { clients: 10, size, depth: 1 }
}

const fn broadcast(browsers: usize) -> Work {
    Work::Broadcast { browsers, size: 125 }
}

const fn beside(idle: usize) -> Work {
    if idle == 0 { TABLE[0] } else { Work::BesideIdle { idle } }
}

struct Options {
    quick: bool,
    only: Vec<String>,
    rounds: usize,
    plots: Option<PathBuf>,
}

enum Command {
    Measure(Options),
    Floor(floor::Kind),
    Help,
    /// `cargo test --benches` runs this program without `--bench`: there is nothing to test.
    Nothing,
}

fn parse() -> std::result::Result<Command, lexopt::Error> {
    let mut options = Options { quick: false, only: Vec::new(), rounds: 0, plots: None };
    let mut bench = false;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("bench") => bench = true,
            Long("quick") => options.quick = true,
            Long("only") => options.only.push(arguments.value()?.string()?),
            Long("rounds") => {
                options.rounds = arguments.value()?.parse_with(|text| match text.parse() {
                    Ok(0) | Err(_) => Err("a number of rounds"),
                    Ok(rounds) => Ok(rounds),
                })?
            }
            Long("plots") => options.plots = Some(arguments.value()?.into()),
            Long("floor") => return arguments.value()?.parse().map(Command::Floor),
            Long("help") => return Ok(Command::Help),
            argument => return Err(argument.unexpected()),
        }
    }
    if options.rounds == 0 {
        options.rounds = if options.quick { 1 } else { 5 };
    }
    Ok(if bench { Command::Measure(options) } else { Command::Nothing })
}

fn main() -> ExitCode {
    let result = match parse() {
        Ok(Command::Measure(options)) => measure(&options),
        Ok(Command::Floor(kind)) => floor::serve(kind).map_err(Into::into),
        Ok(Command::Help) => {
            print!("{HELP}");
            Ok(())
        }
        Ok(Command::Nothing) => Ok(()),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("endtoend: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    // A signal ends the run in good order, and so every server.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let works = choose(&options.only, raise_descriptors())?;
    let cpus = measure::Cpus::divide()?;
    if cpus.is_none() {
        eprintln!("there is one CPU: servers and clients share it, and the figures are worth little");
    }
    let programs = Programs::build(cpus)?;
    let windows = if options.quick {
        Windows { warm_up: Duration::from_millis(30), measured: Duration::from_millis(150) }
    } else {
        Windows { warm_up: Duration::from_millis(100), measured: Duration::from_millis(500) }
    };
    let began = Instant::now();
    let mut results = Results::default();
    for round in 0..options.rounds {
        for work in &works {
            let subjects = work.subjects();
            eprint!("round {} of {}, {work}:", round + 1, options.rounds);
            for index in 0..subjects.len() {
                let subject = subjects[(index + round) % subjects.len()];
                let sample = work.run(subject, &programs, windows, &interrupted).map_err(|error| {
                    eprintln!();
                    format!("{subject}, {work}: {error}")
                })?;
                eprint!("  {subject} {}", figure(sample.micros));
                results.add(*work, subject, sample);
            }
            eprintln!(" µs");
        }
    }
    println!("\nServer CPU time for each message, receiver or handshake; median of {} rounds,", options.rounds);
    println!("{} s in all. The ratio is to the floor of the same round.\n", began.elapsed().as_secs());
    print!("{}", results.table(&works));
    draw(&results, &plots_directory(options))
}

/// The work that was asked for, each once, and that there are descriptors for.
fn choose(only: &[String], descriptors: u64) -> Result<Vec<Work>> {
    let mut works = TABLE.to_vec();
    let further = SIZES.map(sized).into_iter().chain(RECEIVERS.map(broadcast)).chain(IDLE.map(beside));
    for work in further {
        if !works.contains(&work) {
            works.push(work);
        }
    }
    // On a keyboard, a name is typed without thousands set apart and signs of multiplication.
    let typed = |name: &str| name.replace(',', "").replace('×', "x");
    works.retain(|work| only.is_empty() || only.iter().any(|name| typed(&work.to_string()).contains(&typed(name))));
    if works.is_empty() {
        return Err(format!(
            "there is no work with a name like that, but: {}",
            TABLE.map(|w| w.to_string()).join("; ")
        )
        .into());
    }
    works.retain(|work| {
        let enough = work.descriptors() <= descriptors;
        if !enough {
            eprintln!("left out: {work}: it takes {} descriptors, and {descriptors} may be had", work.descriptors());
        }
        enough
    });
    Ok(works)
}

/// Raises the limit of descriptors as far as it goes, for this process and those it starts. Gives how far that is.
fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let descriptors = if raised.is_ok() { limit.maximum } else { limit.current };
    descriptors.unwrap_or(u64::MAX)
}

fn plots_directory(options: &Options) -> PathBuf {
    let full = !options.quick && options.only.is_empty();
    match &options.plots {
        Some(directory) => directory.clone(),
        None if full => Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plots"),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join("plots"),
    }
}

/// Draws what there are figures for.
fn draw(results: &Results, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let save = |name: &str, drawing: String| -> Result<()> {
        let file = directory.join(name);
        fs::write(&file, drawing)?;
        println!("drawn: {}", file.display());
        Ok(())
    };
    println!();
    let groups: Vec<(String, Vec<(Subject, Spread)>)> = TABLE
        .iter()
        .map(|work| {
            let others = work.subjects().iter().filter(|subject| **subject != Subject::Floor);
            let bars = others.filter_map(|subject| Some((*subject, results.ratio(*work, *subject)?)));
            (work.to_string(), bars.collect::<Vec<_>>())
        })
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    if !groups.is_empty() {
        let what =
            "Server CPU time over that of a raw epoll loop (the floor), which receives and sends and does no more";
        save("ratios.svg", plot::bars("What a WebSocket server costs", what, &groups))?;
    }
    let curve = |points: &[usize], work: &dyn Fn(usize) -> Work| {
        let mut series = Vec::new();
        for subject in work(points[points.len() - 1]).subjects() {
            let line = points.iter().filter_map(|x| Some((*x, results.cost(work(*x), *subject)?))).collect::<Vec<_>>();
            if line.len() > 1 {
                series.push((*subject, line));
            }
        }
        series
    };
    let curves = [
        (
            "size.svg",
            ("Cost of a message by its size", "Echo of 10 clients, server CPU time for each message"),
            Axes { x: "bytes of a message", x_log: true, y_log: true },
            curve(&SIZES, &sized),
        ),
        (
            "receivers.svg",
            ("Cost of a broadcast by its receivers", "125 bytes, server CPU time for each receiver"),
            Axes { x: "receivers", x_log: true, y_log: false },
            curve(&RECEIVERS, &broadcast),
        ),
        (
            "idle.svg",
            (
                "Cost of a message beside idle connections",
                "Echo of 50 clients, 20 bytes, server CPU time for each message",
            ),
            Axes { x: "idle connections", x_log: false, y_log: false },
            curve(&IDLE, &beside),
        ),
    ];
    for (name, (title, subtitle), axes, series) in curves {
        if !series.is_empty() {
            save(name, plot::lines(title, subtitle, axes, &series))?;
        }
    }
    Ok(())
}
