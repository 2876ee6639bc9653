//! The command line: parse, run, render the error, exit code.

use savepoint::cancel::Cancel;
use savepoint::{app, cli, init, signals::Ends};
use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        return init::run().unwrap_or_else(|e| fail(&format!("error: cannot start: {e}\n"), 1));
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&format!("error: no threads to work with: {e}\n"), 1),
    };
    let code = runtime.block_on(async {
        // Before all else: what an interrupt leaves behind is to be removed, and told of.
        match interrupts() {
            Ok(cancel) => run(cancel).await,
            Err(e) => fail(&format!("error: signals cannot be caught: {e}\n"), 1),
        }
    });
    // A thread that still waits for a file or a name must not hold the exit up.
    runtime.shutdown_background();
    code
}

async fn run(cancel: Cancel) -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    if argv.len() < 2 {
        // Nothing was done: a script that forgot the command must not go on.
        return fail(cli::START, 2);
    }
    let env = |name: &str| std::env::var(name).ok();
    match cli::parse(argv.clone(), &env) {
        Ok(command) => app::run(command, &env, cancel).await.into(),
        Err(error) if error.use_stderr() => {
            let code = fail(&cli::safe_message(&error, &argv), 2);
            app::unreadable(&argv, &env).await;
            code
        }
        // Not an error: help or the version was asked for.
        Err(help) => {
            let _ = help.print();
            ExitCode::SUCCESS
        }
    }
}

/// A token that they cancel who ask a program to end.
fn interrupts() -> io::Result<Cancel> {
    let (mut ends, cancel) = (Ends::catch()?, Cancel::new());
    let token = cancel.clone();
    tokio::spawn(async move {
        ends.next().await;
        token.cancel();
    });
    Ok(cancel)
}

fn fail(text: &str, code: u8) -> ExitCode {
    let _ = io::stderr().write_all(text.as_bytes());
    code.into()
}
