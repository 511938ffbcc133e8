//! An echo server with tokio-tungstenite, in the shape of the crate's own example.

use std::io;

use futures_util::{StreamExt, TryStreamExt, future};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Bytes of a connection's read buffer. The library fills all of it with zeros before each read; with its default of
/// 128 KiB it would take three times the CPU for small messages, and no less for large ones. This size does well at both.
const READ_BUFFER: usize = 8 * 1024;

fn main() -> io::Result<()> {
    peers::serve(echo)
}

/// A client that goes away ends its task; there is nobody to tell.
async fn echo(stream: TcpStream) {
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let Ok(socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else { return };
    // Forwarding flushes once nothing more is there to read, so several messages that came together leave together.
    let (write, read) = socket.split();
    let messages = read.try_filter(|message| future::ready(message.is_text() || message.is_binary()));
    let _ = messages.forward(write).await;
}
