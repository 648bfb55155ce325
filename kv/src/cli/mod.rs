//! The command line.

mod client;
mod dev;
mod plot;
mod ring;
mod serve;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::quorum::Level;

/// A leaderless, replicated key-value store that speaks the Redis protocol.
#[derive(Parser)]
#[command(name = "orrery", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node.
    Serve(serve::ServeArgs),
    /// Run a cluster on this machine, each node a process of its own. Ctrl-C ends all.
    Dev(dev::DevArgs),
    /// Print the value of a key. Exits with 1 if there is none.
    Get {
        /// The key.
        key: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Store a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Delete a key. Exits with 1 if it had no value.
    Del {
        /// The key.
        key: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print what a node says of itself.
    Status {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Look at rings.
    Ring(ring::RingArgs),
}

/// How a command reaches a node.
#[derive(Args)]
struct ClientArgs {
    /// The node's address for clients.
    #[arg(long, default_value = "127.0.0.1:7001")]
    connect: String,
    /// What to wait for: one, session (here no more than one: this connection ends at once), quorum,
    /// all or linearizable. By default, what the node says.
    #[arg(long)]
    level: Option<Level>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command line. Exit codes: 0 done, 1 absent or failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Dev(args) => dev::run(&args),
        Command::Get { key, client } => client::get(&client, &key),
        Command::Put { key, value, client } => client::put(&client, &key, &value),
        Command::Del { key, client } => client::delete(&client, &key),
        Command::Status { client } => client::status(&client),
        Command::Ring(args) => ring::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}
