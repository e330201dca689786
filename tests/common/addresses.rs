//! Loopback addresses for servers whose ports must be known before they start.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Loopback addresses on which nobody listened a moment ago. No two tests of this process are given the same, and the system gives ports as
/// low as these to no connection of its own accord (Linux: from 32768), so that hardly anybody else takes them before they are used.
pub(crate) fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    const PORTS: std::ops::Range<u32> = 10_000..30_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // Processes at the same time begin apart.
    let begin = std::process::id().wrapping_mul(331);
    let free = |_| loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        assert!(tried < PORTS.end - PORTS.start, "no port is free");
        let port = PORTS.start + begin.wrapping_add(tried) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap_or_default()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    };
    std::array::from_fn(free)
}
