//! hackbench: groups of senders and receivers that flood each other with small messages.
//!
//! The kernel's scheduler and socket test, re-told: in each group every sender sends `loops` messages to each receiver.
//! Over sockets and pipes the kernel allocates the buffers in between; senders and receivers here also allocate theirs
//! per message, so that the allocator under test sees the same traffic. In a channel nothing but the message moves: the
//! sender allocates it, the receiver frees it.

mod channel;
mod mailbox;
mod stream;

use std::fmt::{self, Display};
use std::str::FromStr;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{Bench, Outcome, Row, Scale, count};
use crate::Result;
use crate::crew::Kind;
use crate::params::Params;

/// The benchmark.
pub(crate) struct Hackbench;

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Socket,
    Pipe,
    Channel,
}

impl Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "sockets",
            Self::Pipe => "pipes",
            Self::Channel => "channel",
        })
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        [Self::Socket, Self::Pipe, Self::Channel]
            .into_iter()
            .find(|transport| transport.to_string() == text)
            .ok_or_else(|| format!("unknown transport '{text}'"))
    }
}

/// One run: everything but the transport and the kind of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    groups: usize,
    /// Senders per group, and as many receivers.
    fds: usize,
    /// Messages from each sender to each receiver.
    loops: usize,
    datasize: usize,
}

impl Load {
    /// Messages that one receiver gets, and that one sender sends.
    fn messages_per_worker(self) -> usize {
        self.fds * self.loops
    }
}

#[derive(Args)]
#[command(next_help_heading = "hackbench (any of these replaces the default rows by one row)")]
struct Flags {
    /// Groups
    #[arg(short, long, value_name = "N", value_parser = positive())]
    groups: Option<u32>,
    /// Senders per group, and as many receivers
    #[arg(short, long, value_name = "N", value_parser = positive())]
    fds: Option<u32>,
    /// Messages from each sender to each receiver
    #[arg(short, long, value_name = "N", value_parser = positive())]
    loops: Option<u32>,
    /// Bytes per message
    #[arg(short = 's', long, value_name = "BYTES", value_parser = positive())]
    datasize: Option<u32>,
    /// Pipes instead of sockets
    #[arg(short, long)]
    pipe: bool,
    /// An in-process channel instead of sockets
    #[arg(long, conflicts_with_all = ["pipe", "process"])]
    channel: bool,
    /// Workers are threads
    #[arg(short = 'T', long, conflicts_with = "process")]
    threads: bool,
    /// Workers are processes (the default, as in the original)
    #[arg(short = 'P', long)]
    process: bool,
}

fn positive() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

impl Flags {
    fn any(&self) -> bool {
        let numbers = [self.groups, self.fds, self.loops, self.datasize];
        numbers.iter().any(Option::is_some) || self.pipe || self.channel || self.threads || self.process
    }

    /// The row that the flags describe, with the original's defaults for the rest.
    fn row(&self) -> Row {
        let number = |given: Option<u32>, default| given.map_or(default, |n| n as usize);
        let load = Load {
            groups: number(self.groups, 10),
            fds: number(self.fds, 20),
            loops: number(self.loops, 100),
            datasize: number(self.datasize, 100),
        };
        let transport = match (self.channel, self.pipe) {
            (true, _) => Transport::Channel,
            (_, true) => Transport::Pipe,
            _ => Transport::Socket,
        };
        let kind = if self.threads || self.channel { Kind::Threads } else { Kind::Processes };
        row(transport, kind, load)
    }
}

fn row(transport: Transport, kind: Kind, load: Load) -> Row {
    Row::new(format!("{transport}, {kind}, {}", count(load.groups, "group")))
        .with("transport", transport)
        .with("kind", kind)
        .with("groups", load.groups)
        .with("fds", load.fds)
        .with("loops", load.loops)
        .with("datasize", load.datasize)
}

/// Transport, kind, groups, and loops in quick (0: left out) and in full.
const DEFAULT_ROWS: &[(Transport, Kind, usize, usize, usize)] = &[
    (Transport::Channel, Kind::Threads, 1, 2_000, 20_000),
    (Transport::Channel, Kind::Threads, 10, 200, 2_000),
    (Transport::Channel, Kind::Threads, 100, 0, 200),
    (Transport::Socket, Kind::Threads, 1, 150, 1_000),
    (Transport::Socket, Kind::Threads, 10, 15, 100),
    (Transport::Socket, Kind::Processes, 10, 15, 100),
    (Transport::Pipe, Kind::Threads, 1, 150, 1_000),
    (Transport::Pipe, Kind::Threads, 10, 15, 100),
];

fn default_rows(scale: Scale) -> Vec<Row> {
    let row = |&(transport, kind, groups, quick, full): &(Transport, Kind, usize, usize, usize)| {
        let loops = scale.pick(quick.min(2), quick, full);
        let load = Load { groups, fds: scale.pick(2, 20, 20), loops, datasize: 100 };
        (loops != 0).then(|| row(transport, kind, load))
    };
    DEFAULT_ROWS.iter().filter_map(row).collect()
}

impl Bench for Hackbench {
    fn name(&self) -> &'static str {
        "hackbench"
    }

    fn about(&self) -> &'static str {
        "groups of senders and receivers over channels, sockets and pipes"
    }

    fn options(&self, command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn rows(&self, flags: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let flags = Flags::from_arg_matches(flags)?;
        Ok(if flags.any() { vec![flags.row()] } else { default_rows(scale) })
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let load = Load {
            groups: params.get("groups")?,
            fds: params.get("fds")?,
            loops: params.get("loops")?,
            datasize: params.get("datasize")?,
        };
        let time = match params.get("transport")? {
            Transport::Channel => channel::run(load),
            Transport::Socket => stream::run(load, params.get("kind")?, stream::socket_pair),
            Transport::Pipe => stream::run(load, params.get("kind")?, stream::pipe),
        };
        Ok(time?.into())
    }
}

/// A message as a sender makes it.
fn message(load: Load) -> Box<[u8]> {
    vec![0x5a; load.datasize].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> std::result::Result<ArgMatches, clap::Error> {
        Hackbench.options(Command::new("hackbench")).no_binary_name(true).try_get_matches_from(args)
    }

    #[test]
    fn the_original_flags_make_one_row() {
        let rows = Hackbench.rows(&parse(&["-g", "3", "-l", "7", "-p", "-T"]).unwrap(), Scale::Full).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].name, "pipes, threads, 3 groups");
        assert_eq!(rows[0].params.get::<usize>("loops").unwrap(), 7);
        assert_eq!(rows[0].params.get::<usize>("fds").unwrap(), 20);
    }

    #[test]
    fn the_original_default_is_sockets_and_processes() {
        let rows = Hackbench.rows(&parse(&["-f", "5"]).unwrap(), Scale::Full).unwrap();
        assert_eq!(rows[0].name, "sockets, processes, 10 groups");
    }

    #[test]
    fn a_channel_needs_threads() {
        assert!(parse(&["--channel", "-P"]).is_err());
        assert!(parse(&["--channel", "-p"]).is_err());
        assert!(parse(&["-g", "0"]).is_err());
    }

    #[test]
    fn quick_leaves_the_largest_row_out() {
        let flags = parse(&[]).unwrap();
        let quick = Hackbench.rows(&flags, Scale::Quick).unwrap();
        let full = Hackbench.rows(&flags, Scale::Full).unwrap();
        assert_eq!(quick.len() + 1, full.len());
    }
}
