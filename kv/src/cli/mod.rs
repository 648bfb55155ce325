//! The command line.

mod backup;
mod check;
mod client;
mod dev;
mod members;
mod parts;
mod plot;
mod restore;
mod ring;
mod serve;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{
    core::{
        quorum::Level,
        types::{NodeId, is_address},
    },
    log,
};

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
        /// Print every second how it is and what it has still to do, in a few lines.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print the ring: its members, and what each has of it.
    Ring(ring::RingArgs),
    /// Examine the data folder of a node, and say what it holds and whether it is whole. Writes nothing. Exits with 1
    /// if something is damaged.
    Check(check::CheckArgs),
    /// Take a backup of the cluster into a folder, or go on with one. The cluster serves meanwhile.
    Backup(backup::BackupArgs),
    /// Write a backup into a cluster, of any size, each record with the version that it has: what is newer in the
    /// cluster stays.
    Restore(restore::RestoreArgs),
    /// Let a member hand over what it holds, and leave the ring. Its process ends with 0.
    Leave {
        /// The member. By default, the node connected to.
        node: Option<NodeId>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Put members out of the ring that are gone for good: the others make up for them.
    Evict {
        /// The members.
        #[arg(required = true)]
        nodes: Vec<NodeId>,
        /// Evict them though they seem alive: they hand over less than by `leave`, and join anew.
        #[arg(long)]
        force: bool,
        /// Let the node connected to decide alone, because so many are gone for good that the others cannot:
        /// no majority of the members is left, or none of some keys' owners. What only they held is lost.
        #[arg(long)]
        accept_loss: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Give up the change of the ring that is under way, and the joins that wait for their turn at the node
    /// connected to. A process whose join is given up ends with 1.
    Cancel {
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let a node that is alone and empty join the cluster of another. (To start one that joins: orrery
    /// serve --join.)
    Join {
        /// The peer address of a member.
        member: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

impl Command {
    /// Whether what a command has to say is for a program.
    fn wants_json(&self) -> bool {
        match self {
            Command::Serve(_) | Command::Dev(_) => false,
            Command::Get { client, .. }
            | Command::Put { client, .. }
            | Command::Del { client, .. }
            | Command::Status { client, .. } => client.json,
            Command::Ring(args) => args.wants_json(),
            Command::Check(args) => args.wants_json(),
            Command::Backup(args) => args.wants_json(),
            Command::Restore(args) => args.wants_json(),
            Command::Leave { change, .. }
            | Command::Evict { change, .. }
            | Command::Cancel { change }
            | Command::Join { change, .. } => change.node.json,
        }
    }
}

/// How a command reaches a node.
#[derive(Args)]
struct ClientArgs {
    /// The node's address for clients.
    #[arg(long, default_value = "127.0.0.1:7001", value_parser = client_address)]
    connect: String,
    /// What to wait for: one, session (here no more than one: this connection ends at once), quorum,
    /// all or linearizable. By default, what the node says.
    #[arg(long)]
    level: Option<Level>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How an operator reaches a node.
#[derive(Args)]
struct NodeArgs {
    /// The node's address for clients.
    #[arg(long, default_value = "127.0.0.1:7001", value_parser = client_address)]
    connect: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How an operator changes the ring.
#[derive(Args)]
struct ChangeArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Do not wait until the ring shows it.
    #[arg(long)]
    no_wait: bool,
}

/// Runs the command line. Exit codes: 0 done, 1 absent or failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let matches = taking_negative_numbers(Cli::command()).get_matches();
    let command = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command;
    let wants_json = command.wants_json();
    let done = match command {
        Command::Serve(args) => serve::run(args),
        Command::Dev(args) => dev::run(&args),
        Command::Get { key, client } => client::get(&client, &key),
        Command::Put { key, value, client } => client::put(&client, &key, &value),
        Command::Del { key, client } => client::delete(&client, &key),
        Command::Status { watch, client } => client::status(&client, watch),
        Command::Ring(args) => ring::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Leave { node, change } => members::leave(node, &change),
        Command::Evict { nodes, force, accept_loss, change } => {
            members::evict(&nodes, force, accept_loss, &change)
        }
        Command::Cancel { change } => members::cancel(&change),
        Command::Join { member, change } => members::join(&member, &change),
    };
    let code = match done {
        Err(error) if wants_json => {
            // A reader that went away is no error of ours.
            let _ = client::say(&serde_json::json!({ "error": format!("{error:#}") }));
            ExitCode::from(1)
        }
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            client::tell(&format_args!("error: {error:#}"));
            ExitCode::from(1)
        }
    };
    log::flush();
    code
}

/// A number below zero is a value that is refused with its bounds, not an unknown option.
fn taking_negative_numbers(command: clap::Command) -> clap::Command {
    let take = |arg: clap::Arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(take).mut_subcommands(taking_negative_numbers)
}

/// Ends this process as clap does where arguments make no sense.
fn wrong_usage(why: impl std::fmt::Display) -> ! {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{why}\n")).exit()
}

/// Why a text is no address that could be used.
#[derive(Debug, thiserror::Error)]
enum AddressError {
    #[error("a host and a port are wanted, such as 127.0.0.1:7001")]
    OfClients,
    #[error("a host and a port are wanted, such as 10.0.0.1:17001; 0 is no port for peers")]
    OfPeers,
    #[error("others connect to it: one address of this machine is wanted, not all of them")]
    Wildcard,
}

/// An address at which somebody listens.
fn client_address(text: &str) -> Result<String, AddressError> {
    match is_address(text) {
        true => Ok(text.to_string()),
        false => Err(AddressError::OfClients),
    }
}

/// Acts, on a thread of its own, at the first signal that asks this process to end. From its return on no such
/// signal ends the process otherwise.
fn on_signal(act: impl FnOnce() + Send + 'static) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        act();
    });
    Ok(())
}
