//! The program: arguments in, an exit code out. Everything else is in the library.

use clap::Parser;
use redial::cli::{Arguments, Failure};
use std::alloc::System;
use std::io::Write;
use zeroizing_alloc::ZeroAlloc;

/// Memory is wiped when it is freed, so that no password outlives the buffer it came in, whoever's buffer that was.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() {
    std::process::exit(i32::from(run()));
}

/// Carries out what the command line asks; the exit code is 0, [`Failure::CONFIGURATION`] or [`Failure::FAULT`].
fn run() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to tell it to when this cannot be written.
            let _ = error.print();
            return if error.use_stderr() { Failure::CONFIGURATION } else { 0 };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::fault(format_args!("the runtime does not start: {error}"))),
    };
    let result = runtime.block_on(arguments.run());
    // What still runs now is a blocking read or hash; nobody waits for its result.
    runtime.shutdown_background();
    match result {
        Ok(()) => 0,
        Err(failure) => report(&failure),
    }
}

/// Says why it failed, where that has not been said, and returns the exit code.
fn report(failure: &Failure) -> u8 {
    let text = failure.to_string();
    if !text.is_empty() {
        // As above: standard error may be closed.
        let _ = writeln!(std::io::stderr(), "redial: {text}");
    }
    failure.exit_code()
}
