//! Connections that carry nothing and break when a process ends: they tell a dead process from a late one.
//!
//! Each process listens at a door of its own and connects to all others. Nobody accepts: the system holds a connection
//! until the process behind the door is gone, whatever ended it.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Where this process listens.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    /// As the others find it: the address, empty for that of the store's host, and the port.
    pub(super) address: String,
}

impl Door {
    /// Opens a door for `processes`, found by the route to the store.
    pub(super) fn open(processes: usize, host: &str, port: u16) -> io::Result<Self> {
        // Both families at once where the machine has IPv6.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        let waiting = i32::try_from(processes).unwrap_or(i32::MAX);
        // std's listeners hold 128 connections that nobody accepts.
        // SAFETY: the descriptor is that of a live listening socket.
        if unsafe { libc::listen(listener.as_raw_fd(), waiting) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let own = address_towards(host, port)?;
        // A loopback address means another machine to another machine; the store's host is right for all.
        let own = if own.ip().is_loopback() { String::new() } else { own.ip().to_string() };
        let address = format!("{own} {}", listener.local_addr()?.port());
        Ok(Door { listener, address })
    }
}

/// The address that this machine sends from to reach `host`; sends nothing.
fn address_towards(host: &str, port: u16) -> io::Result<SocketAddr> {
    first_of(host, port, |target| {
        let unspecified: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(unspecified)?;
        socket.connect(target)?;
        socket.local_addr()
    })
}

/// Connects to the first address of `host` that answers.
pub(super) fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    first_of(host, port, |target| TcpStream::connect_timeout(&target, timeout))
}

/// What `body` gives for the first address of `host` that it does not refuse.
fn first_of<R>(host: &str, port: u16, body: impl Fn(SocketAddr) -> io::Result<R>) -> io::Result<R> {
    let mut outcome = Err(io::Error::new(ErrorKind::NotFound, format!("{host} has no address")));
    for target in (host, port).to_socket_addrs()? {
        outcome = body(target);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The connections of this process.
#[derive(Debug)]
pub(super) struct Lifelines {
    /// Kept open: others hold on to it.
    _door: TcpListener,
    /// By the number of the process; none to itself.
    to: Vec<Option<TcpStream>>,
}

impl Lifelines {
    /// Connects to the doors of all; the error names the process.
    pub(super) fn connect(
        door: Door,
        rank: usize,
        doors: &[String],
        host: &str,
        timeout: Duration,
    ) -> Result<Self, (usize, io::Error)> {
        let one = |address: &str| -> io::Result<TcpStream> {
            let invalid = || io::Error::new(ErrorKind::InvalidData, format!("no address: `{address}`"));
            let (ip, port) = address.split_once(' ').ok_or_else(invalid)?;
            let port = port.parse().map_err(|_| invalid())?;
            let stream = connect(if ip.is_empty() { host } else { ip }, port, timeout)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let mut to = Vec::with_capacity(doors.len());
        for (process, address) in doors.iter().enumerate() {
            let stream = (process != rank).then(|| one(address)).transpose();
            to.push(stream.map_err(|error| (process, error))?);
        }
        Ok(Lifelines { _door: door.listener, to })
    }

    /// Whether a process has ended.
    pub(super) fn is_gone(&self, process: usize) -> bool {
        let Some(Some(stream)) = self.to.get(process) else { return false };
        match stream.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}
