//! A connection that ends when nothing moves on it for too long, in either direction: a client that went away, or one that
//! keeps its place for nothing. What moves slowly is not its concern.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream and when something last moved on it.
pub(crate) struct Idle<S> {
    stream: S,
    max: Duration,
    moved: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Idle<S> {
    /// Ends the stream after `max` without a byte.
    pub fn new(stream: S, max: Duration) -> Self {
        Self { stream, max, moved: Instant::now(), alarm: Box::pin(sleep(max)) }
    }

    /// Notes what moved, or ends what waits for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.moved = Instant::now();
            return polled;
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let due = self.moved + self.max;
            if due <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Idle<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(cx, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // there is often nothing to flush: that is no movement
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.watch(cx, Poll::Pending),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => self.watch(cx, Poll::Pending),
            closed => closed,
        }
    }
}

#[cfg(test)]
mod tests;
