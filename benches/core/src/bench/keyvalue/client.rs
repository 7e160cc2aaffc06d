//! The client's side. It allocates when it is made, and nothing after that.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::protocol::{request, skip_answer};
use crate::crew::fail;
use crate::rng::Rng;
use crate::{Result, sizes};

/// Requests sent at once, and the bytes after which none is added. So what is under way always fits the socket's
/// buffers: a client never waits for a server that waits for it.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 16 << 10;
/// Smallest and largest value; how fast their numbers fall with their size. On average about 320 bytes.
const VALUES: (usize, usize) = (10, 10 << 10);
const SLOPE: f64 = 0.5;
/// Value sizes drawn in advance.
const SIZES: usize = 1 << 14;
/// Of a hundred requests so many are SET, and so many DEL; the others are GET.
const SETS: usize = 30;
const DELS: usize = 5;
/// Length of a key; see `key`.
const KEY_LEN: usize = 21;

/// One connection and what it needs.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    index: usize,
    rng: Rng,
    keys: usize,
    /// Endless: the next is at `drawn`.
    sizes: Vec<u32>,
    drawn: usize,
    /// Every value is the beginning of this.
    value: Vec<u8>,
    out: Vec<u8>,
    line: Vec<u8>,
}

impl Client {
    /// A client with a sequence of its own.
    pub(super) fn connect(address: SocketAddr, index: usize, keys: usize) -> Self {
        let stream = TcpStream::connect(address).and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.unwrap_or_else(|error| fail(&format!("client: {error}")));
        let mut rng = Rng::new(index);
        let sizes = sizes::power_law(&mut rng, VALUES, SLOPE, SIZES);
        let value = (0..VALUES.1).map(|at| at as u8).collect();
        let out = Vec::with_capacity(BATCH_BYTES + VALUES.1 + 100);
        Self {
            stream: BufReader::with_capacity(16 << 10, stream),
            index,
            rng,
            keys,
            sizes,
            drawn: 0,
            value,
            out,
            line: Vec::with_capacity(64),
        }
    }

    /// Sets each key once, this client's share of them.
    pub(super) fn fill(&mut self, clients: usize) {
        let mut numbers = (self.index..self.keys).step_by(clients);
        self.talk(numbers.len(), |client| numbers.next().map_or(Ok(()), |number| client.set(number)));
    }

    /// Sends requests and waits for their answers, batch by batch.
    pub(super) fn send(&mut self, requests: usize) {
        self.talk(requests, Self::any);
    }

    fn talk(&mut self, mut requests: usize, mut one: impl FnMut(&mut Self) -> Result<()>) {
        while requests > 0 {
            let batch = self.batch(requests.min(BATCH), &mut one);
            requests -= batch.unwrap_or_else(|error| fail(&format!("client: {error}")));
        }
    }

    /// Sends up to `most` requests, reads the answers, and says how many it were.
    fn batch(&mut self, most: usize, one: &mut impl FnMut(&mut Self) -> Result<()>) -> Result<usize> {
        self.out.clear();
        let mut count = 0;
        while count < most && self.out.len() < BATCH_BYTES {
            one(self)?;
            count += 1;
        }
        self.stream.get_mut().write_all(&self.out)?;
        for _ in 0..count {
            skip_answer(&mut self.stream, &mut self.line)?;
        }
        Ok(count)
    }

    fn any(&mut self) -> Result<()> {
        // Low numbers are asked for oftener than high ones.
        let number = self.rng.below(self.keys);
        let number = self.rng.below(number + 1);
        match self.rng.below(100) {
            dice if dice < SETS => self.set(number),
            dice if dice < SETS + DELS => request(&mut self.out, "DEL", key(number), KEY_LEN, None),
            _ => request(&mut self.out, "GET", key(number), KEY_LEN, None),
        }
    }

    fn set(&mut self, number: usize) -> Result<()> {
        self.drawn = (self.drawn + 1) % SIZES;
        let value = &self.value[..self.sizes[self.drawn] as usize];
        request(&mut self.out, "SET", key(number), KEY_LEN, Some(value))
    }
}

fn key(number: usize) -> impl std::fmt::Display {
    std::fmt::from_fn(move |f| write!(f, "user:{number:08}:profile"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_length() {
        assert_eq!(key(123_456).to_string().len(), KEY_LEN);
    }
}
