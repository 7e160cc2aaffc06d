//! The server's side: a thread per connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::protocol::{Command, parse};
use super::store::Store;
use crate::Result;
use crate::crew::{STACK, fail};

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// Serves so many connections, until the last of them is closed.
pub(super) fn serve(listener: &TcpListener, connections: usize, store: &Store) {
    thread::scope(|scope| {
        for _ in 0..connections {
            let stream = listener.accept().unwrap_or_else(|error| fail(&format!("server: {error}"))).0;
            let connection = move || talk(stream, store).unwrap_or_else(|error| fail(&format!("server: {error}")));
            let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, connection);
            thread.unwrap_or_else(|error| fail(&format!("cannot start a thread: {error}")));
        }
    });
}

/// Answers all commands that are there with one write.
fn talk(mut stream: TcpStream, store: &Store) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut chunk = vec![0; CHUNK];
    let mut input = Vec::new();
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..count]);
        let (mut used, mut answers) = (0, Vec::new());
        while let Some((command, length)) = parse(&input[used..])? {
            used += length;
            answer(command, store, &mut answers)?;
        }
        input.drain(..used);
        stream.write_all(&answers)?;
    }
}

fn answer(command: Command, store: &Store, out: &mut Vec<u8>) -> Result<()> {
    match command {
        Command::Set(key, value) => {
            store.set(key, &value);
            out.extend_from_slice(b"+OK\r\n");
        }
        Command::Get(key) => match store.get(&key) {
            Some(value) => {
                write!(out, "${}\r\n", value.len())?;
                out.extend_from_slice(&value);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(b"$-1\r\n"),
        },
        Command::Del(key) => write!(out, ":{}\r\n", u8::from(store.delete(&key)))?,
    }
    Ok(())
}
