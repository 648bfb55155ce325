//! Frames between processes, before and after it is known who speaks.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::wire::{self, Welcome};

/// How long a peer may take to connect, and to greet.
pub const HANDSHAKE: Duration = Duration::from_secs(2);

/// Sends an answer to a greeting.
pub async fn answer(io: &mut (impl AsyncWrite + Unpin), welcome: &Welcome) -> std::io::Result<()> {
    let mut out = Vec::new();
    wire::encode(welcome, &mut out);
    io.write_all(&out).await
}

/// The next frame. None: the peer closed the connection.
pub async fn read_frame(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<Option<BytesMut>> {
    loop {
        if let Some((content, used)) = wire::frame_within(buffer, limit)? {
            let header = used - content.len();
            let mut frame = buffer.split_to(used);
            frame.advance(header);
            return Ok(Some(frame));
        }
        buffer.reserve(16 * 1024);
        if io.read_buf(buffer).await? == 0 {
            match buffer.is_empty() {
                true => return Ok(None),
                false => bail!("it ended in the middle of a frame"),
            }
        }
    }
}
