//! Redis' wire format, as much of it as is needed. The server's side allocates as such a server does; the client's does not.

use std::io::{BufRead, Write};

use crate::Result;

/// What a client may ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Set(String, Vec<u8>),
    Get(String),
    Del(String),
}

/// Reads one command off the front of `input`: the command and its length, or nothing if it is not all there.
pub(super) fn parse(input: &[u8]) -> Result<Option<(Command, usize)>> {
    let mut rest = input;
    let Some(count) = number(&mut rest, b'*')? else { return Ok(None) };
    let mut arguments = Vec::new();
    for _ in 0..count {
        let Some(length) = number(&mut rest, b'$')? else { return Ok(None) };
        let Some((bytes, tail)) = rest.split_at_checked(length) else { return Ok(None) };
        let Some(tail) = tail.get(2..) else { return Ok(None) };
        arguments.push(bytes.to_vec());
        rest = tail;
    }
    Ok(Some((command(arguments)?, input.len() - rest.len())))
}

fn command(arguments: Vec<Vec<u8>>) -> Result<Command> {
    let mut arguments = arguments.into_iter();
    let (name, key) = (arguments.next().ok_or("no command")?, String::from_utf8(arguments.next().ok_or("no key")?)?);
    match (name.as_slice(), arguments.next()) {
        (b"SET", Some(value)) => Ok(Command::Set(key, value)),
        (b"GET", None) => Ok(Command::Get(key)),
        (b"DEL", None) => Ok(Command::Del(key)),
        _ => Err("no such command".into()),
    }
}

/// A line of the mark and a number.
fn number(rest: &mut &[u8], mark: u8) -> Result<Option<usize>> {
    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let (line, tail) = rest.split_at(end + 1);
    *rest = tail;
    let digits = line.strip_prefix(&[mark]).ok_or("not what was expected")?;
    Ok(Some(std::str::from_utf8(digits)?.trim_end().parse()?))
}

/// Appends a request.
pub(super) fn request(
    out: &mut Vec<u8>,
    name: &str,
    key: impl std::fmt::Display,
    key_len: usize,
    value: Option<&[u8]>,
) -> Result<()> {
    write!(out, "*{}\r\n${}\r\n{name}\r\n${key_len}\r\n{key}\r\n", 2 + usize::from(value.is_some()), name.len())?;
    if let Some(value) = value {
        write!(out, "${}\r\n", value.len())?;
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Reads past one answer; `line` is lent so that nothing is allocated.
pub(super) fn skip_answer(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<()> {
    line.clear();
    input.read_until(b'\n', line)?;
    let text = std::str::from_utf8(line)?.trim_end();
    match text.strip_prefix('$') {
        Some("-1") => Ok(()),
        Some(length) => skip(input, length.parse::<usize>()? + 2),
        None if text.starts_with(['+', ':']) => Ok(()),
        None => Err(format!("the server says '{text}'").into()),
    }
}

fn skip(input: &mut impl BufRead, mut bytes: usize) -> Result<()> {
    while bytes > 0 {
        let step = input.fill_buf()?.len().min(bytes);
        if step == 0 {
            return Err("the server is gone".into());
        }
        input.consume(step);
        bytes -= step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(name: &str, key: &str, value: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        request(&mut out, name, key, key.len(), value).unwrap();
        out
    }

    #[test]
    fn what_a_client_writes_a_server_reads() {
        let mut two = bytes("SET", "key", Some(b"a\r\nb"));
        let first = two.len();
        two.extend(bytes("DEL", "k", None));
        assert_eq!(parse(&two).unwrap(), Some((Command::Set("key".into(), b"a\r\nb".to_vec()), first)));
        assert_eq!(parse(&two[first..]).unwrap(), Some((Command::Del("k".into()), two.len() - first)));
    }

    #[test]
    fn a_part_of_a_command_is_none_yet() {
        let whole = bytes("SET", "key", Some(b"value"));
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(parse(b"GET key\r\n").is_err());
        assert!(parse(&bytes("GET", "key", Some(b"value"))).is_err());
    }

    #[test]
    fn answers_are_skipped_to_their_end() {
        let mut input: &[u8] = b"+OK\r\n$3\r\nab\n\r\n$-1\r\n:1\r\nrest";
        for _ in 0..4 {
            skip_answer(&mut input, &mut Vec::new()).unwrap();
        }
        assert_eq!(input, b"rest");
        assert!(skip_answer(&mut &b"-ERR\r\n"[..], &mut Vec::new()).is_err());
    }
}
