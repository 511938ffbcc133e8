//! What both peers share: one thread, a listener as websock's, and the line that says where it listens.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Connections that the kernel keeps while the server is busy: as many as websock asks for.
const QUEUE: u32 = 4096;

/// Listens on a port of the kernel's choice and serves each connection in a task of its own, on this thread, until the
/// process is ended.
pub fn serve<F>(connection: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        // Connections inherit it, which spares a call for each.
        socket.set_nodelay(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(QUEUE)?;
        eprintln!("listening on ws://{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(connection(stream));
        }
    })
}
