//! An application of one's own, as the crate docs tell to write it: `docs/examples/counter.rs` in a program of its own, with its
//! row in the INI file.

use std::env;
use std::path::Path;
use std::process::Command;

#[path = "common/server.rs"]
mod server;

use server::{Client, Server};

const INI: &str = "[resources]\n/counter = counter\n/also = counter\n/echo = echo\n";

/// The example, built, where that has not been done yet, and ready to be run.
fn counter() -> Command {
    // target/debug/websock
    let program = Path::new(env!("CARGO_BIN_EXE_websock"));
    let target = program.ancestors().nth(2).expect("a directory of builds");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--example", "counter", "--target-dir"]).arg(target);
    // What cargo tells a test of its crate would make build scripts take themselves for changed.
    for (name, _) in env::vars_os().filter(|(name, _)| of_this_crate(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be run");
    assert!(status.success(), "{status}");
    let mut command = Command::new(target.join("debug/examples/counter"));
    command.env_remove("RUST_LOG");
    command
}

fn of_this_crate(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|start| variable.starts_with(start))
}

#[test]
fn the_example_does_what_it_says() {
    let server = Server::start_as(counter(), INI, "ws://127.0.0.1:0");
    let mut first = Client::open(server.address(), "/counter", "");
    first.expect(&["0"]);
    first.say("+1");
    first.expect(&["1"]);
    // One application, on both of its paths.
    let mut second = Client::open(server.address(), "/also", "");
    second.expect(&["1"]);
    second.say("+1");
    first.expect(&["2"]);
    second.expect(&["2"]);
    first.say("-1");
    first.expect_closed(1008);
    // Beside it the house's own, which gets nothing of it.
    let mut echo = Client::open(server.address(), "/echo", "");
    second.say("+1");
    second.expect(&["3"]);
    echo.say("undisturbed");
    echo.expect(&["undisturbed"]);
}

#[test]
fn the_program_knows_it_by_the_name_of_its_row() {
    let check = |handler: &str| {
        let folder = server::Folder::new();
        let ini = folder.write("websock.ini", &format!("[resources]\n/counter = {handler}\n"));
        let output = counter().arg("--check").arg("-i").arg(ini).output().expect("it can be run");
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).expect("UTF-8"))
    };
    let (code, told) = check("counter");
    assert!(code == Some(0) && told.contains("serves /counter with counter\n"), "{told}");
    let (code, told) = check("countre");
    assert!(code == Some(2) && told.contains("did you mean counter?"), "{told}");
}
