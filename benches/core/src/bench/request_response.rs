//! rr: requests and responses, as netperf's TCP_RR has them. Pairs of threads send each other bursts of messages; who gets a message frees it
//! and allocates the answer, so that each block is allocated on one side and freed on the other.

use std::hint::black_box;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale};
use crate::block::Block;
use crate::crew::{Job, Kind, fail, race};
use crate::params::Params;
use crate::{Result, machine};

/// The benchmark.
pub(crate) struct RequestResponse;

/// The sweep goes over so many pairs per CPU.
pub(crate) const PER_CPU: std::ops::RangeInclusive<usize> = 1..=12;

/// Messages that are under way at once, so that the time is not that of waking a thread.
const BURST: usize = 128;
/// Bytes of a message's header and of its data: those of a small packet in the kernel.
const MESSAGE: [usize; 2] = [232, 512];

/// Name of the row with that many pairs per CPU.
pub(crate) fn row_name(per_cpu: usize) -> String {
    format!("{per_cpu} x the CPUs")
}

impl Bench for RequestResponse {
    fn name(&self) -> &'static str {
        "rr"
    }

    fn about(&self) -> &'static str {
        "requests and responses between pairs of threads, 1 to 12 per CPU"
    }

    /// The same number of bursts in each row, divided among the pairs.
    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let bursts = scale.pick(100, 6_000, 24_000);
        let row = |per_cpu| {
            let pairs = per_cpu * machine::cpus().max(1);
            Row::new(row_name(per_cpu)).with("pairs", pairs).with("bursts", (bursts / pairs).max(1))
        };
        Ok(PER_CPU.map(row).collect())
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let bursts = params.get("bursts")?;
        let pair = |_| {
            let (request, to_serve) = sync_channel(1);
            let (response, answers) = sync_channel(1);
            [client(request, answers, bursts), server(to_serve, response)]
        };
        Ok(race(Kind::Threads, (0..params.get("pairs")?).flat_map(pair).collect())?.into())
    }
}

/// Travels to and fro, empty but for the messages, so that nothing else is allocated.
type Burst = Vec<[Block; 2]>;

fn fill(burst: &mut Burst) {
    burst.extend((0..BURST).map(|_| MESSAGE.map(Block::new)));
}

/// Frees what has arrived.
fn read(burst: &mut Burst) {
    burst.drain(..).for_each(|message| drop(black_box(message)));
}

fn client(request: SyncSender<Burst>, answers: Receiver<Burst>, bursts: usize) -> Job<'static> {
    Box::new(move |line| {
        let mut burst = Burst::with_capacity(BURST);
        line.wait();
        for _ in 0..bursts {
            fill(&mut burst);
            request.send(burst).unwrap_or_else(|_| fail("the server is gone"));
            burst = answers.recv().unwrap_or_else(|_| fail("the server is gone"));
            read(&mut burst);
        }
    })
}

fn server(requests: Receiver<Burst>, response: SyncSender<Burst>) -> Job<'static> {
    Box::new(move |line| {
        line.wait();
        for mut burst in requests {
            read(&mut burst);
            fill(&mut burst);
            response.send(burst).unwrap_or_else(|_| fail("the client is gone"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_as_much_work() {
        let rows = RequestResponse.rows(&super::super::default_flags(&RequestResponse), Scale::Full).unwrap();
        assert_eq!(rows.len(), 12);
        let work = |row: &Row| row.params.get::<usize>("pairs").unwrap() * row.params.get::<usize>("bursts").unwrap();
        let first = work(&rows[0]);
        assert!(rows.iter().all(|row| work(row).abs_diff(first) * 50 < first));
    }
}
