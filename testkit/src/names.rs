//! A name server that knows one address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long it takes at most to end.
const TICK: Duration = Duration::from_millis(100);

/// A server that answers every question for an IPv4 address with 127.0.0.1, and all others with nothing. It ends when it
/// is dropped.
#[derive(Debug)]
pub struct Names {
    ends: Arc<AtomicBool>,
}

impl Names {
    /// Starts it on port 53 of an address of this machine's own, `127.x.y.z`.
    ///
    /// # Errors
    /// The port is taken, or only root may take it.
    pub fn start(address: Ipv4Addr) -> io::Result<Names> {
        Names::at(SocketAddr::from((address, 53))).map(|(names, _)| names)
    }

    fn at(address: SocketAddr) -> io::Result<(Names, SocketAddr)> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(TICK))?;
        let bound = socket.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&ends);
        thread::spawn(move || {
            let mut question = [0; 512];
            while !theirs.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut question)
                    && let Some(answer) = question.get(..length).and_then(answer)
                {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok((Names { ends }, bound))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// The answer to a question (RFC 1035, section 4); none to what is no question.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut end = HEADER;
    loop {
        let length = usize::from(*message.get(end)?);
        end += 1 + length;
        if length == 0 {
            break;
        }
    }
    end += 4;
    let question = message.get(HEADER..end)?;
    let wants_address = question.ends_with(&[0, 1, 0, 1]);
    let mut answer = message.get(..2)?.to_vec();
    // A response without an error, to one question, with or without an answer.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(wants_address), 0, 0, 0, 0]);
    answer.extend(question);
    if wants_address {
        // The name that was asked for, an IPv4 address, good for a second, in four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_and_answered() {
        let (_names, at) = Names::at("127.0.0.1:0".parse().expect("an address")).expect("started");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let ask = |kind: u8| {
            let mut question = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            question.extend(b"\x05store\x04test\0\0");
            question.extend([kind, 0, 1]);
            socket.send_to(&question, at).expect("sent");
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).expect("answered");
            answer[..length].to_vec()
        };
        let address = ask(1);
        assert_eq!((&address[..2], &address[6..8]), (&[7, 7][..], &[0, 1][..]));
        assert!(address.ends_with(&[127, 0, 0, 1]));
        assert_eq!(&ask(28)[6..8], &[0, 0]);
        assert_eq!(answer(&[0; 12]), None);
    }
}
