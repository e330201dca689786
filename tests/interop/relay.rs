//! A TCP relay between Redial and a server, which counts what Redial sends and can be cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A relay to one server. Its threads end with their sockets, at the latest with the process.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    /// Where Redial connects.
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    sent: AtomicU64,
    cut: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// A relay to that address.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let relay = Self { address: listener.local_addr().expect("its address"), state: Arc::default() };
        let state = Arc::clone(&relay.state);
        thread::spawn(move || {
            for redial in listener.incoming().flatten() {
                // A machine that is away answers nobody; a closed socket says so at once.
                if !state.cut.load(Ordering::SeqCst)
                    && let Ok(server) = TcpStream::connect(server)
                {
                    state.carry(redial, server);
                }
            }
        });
        relay
    }

    /// Octets that Redial has sent to the server so far.
    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// The server is away from now on: connections end, and new ones end at once.
    pub(crate) fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        for socket in self.state.sockets.lock().expect("no panic under the lock").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// The server is back.
    pub(crate) fn mend(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

impl State {
    fn carry(self: &Arc<Self>, redial: TcpStream, server: TcpStream) {
        let both = [redial.try_clone(), server.try_clone()];
        self.sockets.lock().expect("no panic under the lock").extend(both.into_iter().flatten());
        let (Ok(back_from), Ok(back_to)) = (server.try_clone(), redial.try_clone()) else { return };
        let counting = Arc::clone(self);
        thread::spawn(move || copy(redial, server, |count| _ = counting.sent.fetch_add(count, Ordering::SeqCst)));
        thread::spawn(move || copy(back_from, back_to, |_| ()));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, count: impl Fn(u64)) {
    let mut piece = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        count(length as u64);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
