//! keyvalue: a small key-value server over loopback TCP, and its clients, in one process.
//!
//! The server is written as Rust servers are: a thread per connection, a growing buffer for what arrives, a vector for
//! each argument, a string for the key, a reference-counted value, a vector for the answers. Clients send pipelined batches
//! of SET, GET and DEL out of buffers that they allocated before the start. The store begins full and evicts.

mod client;
mod protocol;
mod server;
mod store;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::ArgMatches;

use self::client::Client;
use self::store::Store;
use super::{Bench, Outcome, Row, Scale, Settled};
use crate::Result;
use crate::crew::{Job, Kind, STACK, fail, race};
use crate::params::Params;
use crate::settle::settled_rss;

/// The benchmark.
pub(crate) struct KeyValue;

impl Bench for KeyValue {
    fn name(&self) -> &'static str {
        "keyvalue"
    }

    fn about(&self) -> &'static str {
        "a small key-value server over loopback: SET, GET, DEL, eviction"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let mib = scale.pick(1, 16, 48);
        let row = |clients| {
            Row::new(format!("{clients} clients, {mib} MiB of values of 10 B to 10 KiB"))
                .with("clients", clients)
                .with("mib", mib)
                .with("keys", scale.pick(2_000, 80_000, 240_000))
                .with("requests", scale.pick(500, 150_000, 600_000) / clients)
                .with("settle_ms", scale.pick(20, 1_000, 2_000))
        };
        Ok(vec![row(4)])
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let (clients, keys): (usize, usize) = (params.get("clients")?, params.get("keys")?);
        let requests = params.get("requests")?;
        let store = Arc::new(Store::with_room_for(params.get::<usize>("mib")? << 20));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        // The clients and one more, which keeps the server awake afterwards.
        let server = thread::Builder::new().stack_size(STACK).spawn({
            let store = Arc::clone(&store);
            move || server::serve(&listener, clients + 1, &store)
        })?;
        let job = |index| -> Job<'_> {
            Box::new(move |line| {
                let mut client = Client::connect(address, index, keys);
                client.fill(clients);
                line.wait();
                client.send(requests);
            })
        };
        let time = race(Kind::Threads, (0..clients).map(job).collect())?;

        let mut late = Client::connect(address, clients, keys);
        let rss = settled_rss(Duration::from_millis(params.get("settle_ms")?), || late.send(1));
        let live = Some(store.live_bytes() as u64);
        drop(late);
        server.join().unwrap_or_else(|_| fail("the server panicked"));
        Ok(Outcome { time, settled: Some(Settled { rss, live }) })
    }
}
