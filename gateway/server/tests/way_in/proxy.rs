//! Stands between a gateway and PostgreSQL and reads what the gateway says: it knows which durable point a COMMIT is about, and cuts
//! the connection there when told to. It changes no byte.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a transaction makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Messages of a group.
    Inbox,
    /// Signed cases.
    Intent,
    /// Cases that are signed again.
    Renewal,
    /// Receipts, cases, heads.
    Index,
    /// The ledger's state.
    Follow,
}

/// Where the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The COMMIT does not arrive: nothing is durable.
    Before,
    /// The COMMIT arrives, and nobody waits for it: it is durable sooner or later.
    Under,
    /// The COMMIT is done, and its answer is lost: all is durable.
    After,
}

/// Cuts that are still to be made.
type Cuts = Arc<Mutex<VecDeque<(Point, Cut)>>>;

pub struct Proxy {
    /// The database's URL through the proxy.
    pub url: String,
    cuts: Cuts,
}

impl Proxy {
    /// Listens until the test ends.
    pub async fn start(database: &str) -> Self {
        let at = database.find('@').expect("a user") + 1;
        let end = at + database[at..].find('/').expect("a database");
        let server: SocketAddr = database[at..end].parse().expect("an address");
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = socket.local_addr().expect("an address");
        let url = format!("{}{own}{}?sslmode=disable", &database[..at], &database[end..]);
        let cuts = Cuts::default();
        let planned = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = socket.accept().await {
                let server = TcpStream::connect(server).await.expect("PostgreSQL answers");
                // messages are passed on one by one: none waits for the next
                client.set_nodelay(true).and(server.set_nodelay(true)).expect("a socket");
                tokio::spawn(Conversation::new(client, server, planned.clone()).run());
            }
        });
        Self { url, cuts }
    }

    /// The next transaction of this kind ends so.
    pub fn cut(&self, point: Point, cut: Cut) {
        self.cuts.lock().expect("not poisoned").push_back((point, cut));
    }

    /// Whether every cut was made.
    pub fn is_spent(&self) -> bool {
        self.cuts.lock().expect("not poisoned").is_empty()
    }
}

struct Conversation {
    client: TcpStream,
    server: TcpStream,
    cuts: Cuts,
    /// Prepared statements by name.
    prepared: HashMap<Vec<u8>, String>,
    /// Statements of the transaction that is open.
    said: Vec<String>,
}

impl Conversation {
    fn new(client: TcpStream, server: TcpStream, cuts: Cuts) -> Self {
        Self { client, server, cuts, prepared: HashMap::new(), said: Vec::new() }
    }

    /// Until one side ends; then the other ends too.
    async fn run(mut self) -> Option<()> {
        let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
        let mut is_first = true;
        loop {
            tokio::select! {
                read = self.client.read_buf(&mut up) => if read.ok()? == 0 { return None },
                read = self.server.read_buf(&mut down) => if read.ok()? == 0 { return None },
            }
            self.client.write_all_buf(&mut down).await.ok()?;
            while let Some(message) = next_message(&mut up, is_first) {
                let cut = if is_first { None } else { self.listen(&message) };
                is_first = false;
                if cut == Some(Cut::Before) {
                    return None;
                }
                self.server.write_all(&message).await.ok()?;
                match cut {
                    Some(Cut::After) => return (self.server.read_buf(&mut down).await.ok()? == 0).then_some(()),
                    Some(_) => return self.server.shutdown().await.ok(),
                    None => {}
                }
            }
        }
    }

    /// Notes what is said; gives the cut that is planned for this moment.
    fn listen(&mut self, message: &[u8]) -> Option<Cut> {
        let mut texts = message[5..].split(|byte| *byte == 0);
        match message[0] {
            b'P' => {
                let (name, sql) = (texts.next()?.to_vec(), String::from_utf8_lossy(texts.next()?).into_owned());
                self.prepared.insert(name, sql);
            }
            // of which portal, then of which statement
            b'B' => self.said.extend(texts.nth(1).and_then(|name| self.prepared.get(name)).cloned()),
            b'Q' if texts.next()? == b"COMMIT" => return self.planned(),
            _ => {}
        }
        None
    }

    fn planned(&mut self) -> Option<Cut> {
        let point = point_of(&std::mem::take(&mut self.said))?;
        let mut cuts = self.cuts.lock().expect("not poisoned");
        let at = cuts.iter().position(|(planned, _)| *planned == point)?;
        cuts.remove(at).map(|(_, cut)| cut)
    }
}

/// A whole message of the client, if there is one; the first has no type.
fn next_message(from: &mut BytesMut, is_first: bool) -> Option<Bytes> {
    let typed = usize::from(!is_first);
    let mut head = from.get(typed..typed + 4)?;
    let length = typed + usize::try_from(head.get_u32()).expect("a length");
    (from.len() >= length).then(|| from.split_to(length).freeze())
}

fn point_of(said: &[String]) -> Option<Point> {
    let has = |begin: &str| said.iter().any(|sql| sql.starts_with(begin));
    match () {
        () if has("INSERT INTO inbox") => Some(Point::Inbox),
        () if has("INSERT INTO cases") => Some(Point::Index),
        () if has("INSERT INTO intent") && has("DELETE FROM submission") => Some(Point::Renewal),
        () if has("INSERT INTO intent") => Some(Point::Intent),
        () if has("INSERT INTO chain_cursor") => Some(Point::Follow),
        () => None,
    }
}
