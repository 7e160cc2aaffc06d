//! The `kmem` command.

mod library;
mod run;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs programs on kmem, the kernel's memory allocators for userspace.
#[derive(Parser)]
#[command(name = "kmem", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a program, unmodified, with libkmem.so as its allocator; ends with the program's exit status.
    Run(run::Run),
    /// Prints the path of the library that `run` uses.
    Library {
        /// This one instead of the first that is found.
        #[arg(long, env = library::VARIABLE, value_name = "PATH")]
        library: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(run) => run.run(),
        Command::Library { library } => library::find(library.as_deref()).map(|path| {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("kmem: {error}");
        // As env, nohup and time do when they cannot do their part.
        ExitCode::from(125)
    })
}
