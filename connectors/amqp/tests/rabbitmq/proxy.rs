//! A TCP proxy between a source and its broker: forwards until it is told to cut, refuses while unreachable, and can put one wrong frame
//! between those of the source, so that the broker closes the source's channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What goes before the frames of a connection.
const GREETING: usize = b"AMQP\0\0\x09\x01".len();
/// Type, channel and size before the payload of a frame, and the mark behind it.
const HEAD: usize = 7;
const TAIL: usize = 1;
/// Class and method of `basic.consume`.
const CONSUME: [u8; 4] = [0, 60, 0, 20];

pub struct Proxy {
    pub port: u16,
    pub reachable: Arc<AtomicBool>,
    /// Connections that were refused.
    pub refused: watch::Receiver<u64>,
    cuts: watch::Sender<u64>,
    mistakes: watch::Sender<u64>,
}

impl Proxy {
    pub async fn start(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cuts, cut) = watch::channel(0);
        let (mistakes, wrong) = watch::channel(0);
        let (refusing, refused) = watch::channel(0);
        let reachable = Arc::new(AtomicBool::new(true));
        let open = Arc::clone(&reachable);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !open.load(Ordering::SeqCst) {
                    refusing.send_modify(|refused| *refused += 1);
                    continue;
                }
                let (broker, mut cut, mut wrong) = (broker.clone(), cut.clone(), wrong.clone());
                cut.mark_unchanged();
                wrong.mark_unchanged();
                tokio::spawn(async move {
                    let server = TcpStream::connect(broker).await.expect("the broker");
                    tokio::select! {
                        () = forward(client, server, wrong) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port, reachable, refused, cuts, mistakes }
    }

    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Acknowledges on the source's channel what was never delivered.
    pub fn err(&self) {
        self.mistakes.send_modify(|mistakes| *mistakes += 1);
    }
}

async fn forward(client: TcpStream, server: TcpStream, wrong: watch::Receiver<u64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        _ = upwards(&mut from_client, &mut to_server, wrong) => {}
    }
}

async fn upwards(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    mut wrong: watch::Receiver<u64>,
) -> std::io::Result<()> {
    let (mut consuming, mut pending, mut owed) = (0, Vec::new(), false);
    // the greeting is no frame
    let mut greeting = [0; GREETING];
    from.read_exact(&mut greeting).await?;
    to.write_all(&greeting).await?;
    let mut chunk = vec![0; 1 << 16];
    loop {
        tokio::select! {
            read = from.read(&mut chunk) => match read? {
                0 => return Ok(()),
                n => {
                    to.write_all(&chunk[..n]).await?;
                    pending.extend_from_slice(&chunk[..n]);
                }
            },
            changed = wrong.changed() => owed |= changed.is_ok(),
        }
        while let Some(frame) = whole(&pending) {
            if pending[0] == 1 && pending[HEAD..frame].starts_with(&CONSUME) {
                consuming = u16::from_be_bytes([pending[1], pending[2]]);
            }
            pending.drain(..frame);
        }
        if owed && pending.is_empty() {
            owed = false;
            to.write_all(&bogus_ack(consuming)).await?;
        }
    }
}

/// Length of the first frame, where it is there whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let size = bytes.get(3..HEAD)?.try_into().map(u32::from_be_bytes).ok()?;
    Some(HEAD + size as usize + TAIL).filter(|frame| bytes.len() >= *frame)
}

/// `basic.ack` of a tag that is far away.
fn bogus_ack(channel: u16) -> Vec<u8> {
    let mut frame = vec![1];
    frame.extend(channel.to_be_bytes());
    frame.extend(13u32.to_be_bytes());
    frame.extend([0, 60, 0, 80]);
    frame.extend(u64::from(u32::MAX).to_be_bytes());
    frame.extend([0, 0xce]);
    frame
}
