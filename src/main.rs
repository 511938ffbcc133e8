//! The program, with the applications of the house and no others.

use std::process::ExitCode;

fn main() -> ExitCode {
    websock::program::main(&[])
}
