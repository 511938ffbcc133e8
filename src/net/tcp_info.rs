//! How much of what was written to a TCP connection its peer has acknowledged (`TCP_INFO` of tcp(7)).
//!
//! That is the peer's kernel, or that of a proxy in between: it says nothing about the program behind.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};

sockopt_impl!(
    /// `TCP_INFO`, as far as we read it.
    Info,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    TcpInfo
);

/// `struct tcp_info` of Linux 4.19 and later, up to the last field that is of interest.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(unreachable_pub, reason = "it is the type of an option, which the macro makes public")]
pub struct TcpInfo {
    _to_max_pacing_rate: [u32; 30],
    bytes_acked: u64,
    _to_segs_in: [u32; 4],
    notsent_bytes: u32,
    _to_delivered_ce: [u32; 13],
    bytes_sent: u64,
    bytes_retrans: u64,
}

/// Whether the kernel fills all of [`TcpInfo`]: a shorter one is not to be had from `nix`.
fn is_known() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let system = rustix::system::uname();
        let release = system.release().to_string_lossy();
        let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
        cfg!(target_os = "linux") && (numbers.next(), numbers.next()) >= (Some(4), Some(19))
    })
}

/// Bytes written to a connection that its peer has not acknowledged yet, sent or not. `None`: the kernel doesn't say.
pub(super) fn unreceived(stream: &impl AsFd) -> Option<usize> {
    let info = is_known().then(|| getsockopt(stream, Info))?.ok()?;
    let first_time = info.bytes_sent.wrapping_sub(info.bytes_retrans);
    let in_flight = first_time.saturating_sub(info.bytes_acked);
    usize::try_from(in_flight + u64::from(info.notsent_bytes)).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::mem::offset_of;
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_fields_are_where_the_kernel_puts_them() {
        // include/uapi/linux/tcp.h
        assert_eq!(offset_of!(TcpInfo, bytes_acked), 120);
        assert_eq!(offset_of!(TcpInfo, notsent_bytes), 144);
        assert_eq!(offset_of!(TcpInfo, bytes_sent), 200);
        assert_eq!(offset_of!(TcpInfo, bytes_retrans), 208);
        assert_eq!(size_of::<TcpInfo>(), 216);
    }

    /// The kernel acknowledges what it has room for, read or not; beyond that it is told how much is missing.
    #[test]
    fn what_the_peer_has_no_room_for_is_not_received() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert_eq!(unreceived(&near), Some(0));
        near.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(more) = near.write(&[0; 65_536]) {
            written += more;
        }
        assert!(unreceived(&near).unwrap() > 0, "a full window");
        let until = Instant::now() + Duration::from_secs(10);
        let mut buffer = vec![0; 1 << 20];
        while written > 0 {
            written -= far.read(&mut buffer).unwrap();
        }
        while unreceived(&near) != Some(0) {
            assert!(Instant::now() < until, "{:?} bytes are still not acknowledged", unreceived(&near));
            std::thread::yield_now();
        }
    }

    /// What was not received is still known when the connection is broken.
    #[test]
    fn a_broken_connection_tells_what_was_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 65_536]).is_ok() {}
        let before = unreceived(&near).unwrap();
        // Closed with bytes that nobody has read: the peer resets the connection.
        drop(far);
        let until = Instant::now() + Duration::from_secs(10);
        while near.take_error().unwrap().is_none() {
            assert!(Instant::now() < until, "a reset");
            std::thread::yield_now();
        }
        let after = unreceived(&near).unwrap();
        assert!(after > 0 && after <= before, "{after} of {before}");
    }
}
