//! The wires between validators: each connection from one to another goes through a proxy here, so that a direction can be
//! cut without either end being told more than that its connection is gone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Switches of all wires: from whom, to whom.
#[derive(Clone, Default)]
pub struct Wires(Arc<HashMap<(usize, usize), watch::Sender<bool>>>);

/// Lays a wire for every pair; gives the address that `from` must use to reach `to`.
pub async fn lay(addresses: &[String]) -> (Wires, HashMap<(usize, usize), SocketAddr>) {
    let (mut switches, mut ends) = (HashMap::new(), HashMap::new());
    for from in 0..addresses.len() {
        for to in (0..addresses.len()).filter(|to| *to != from) {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ends.insert((from, to), listener.local_addr().expect("an address"));
            let (switch, cut) = watch::channel(false);
            tokio::spawn(run(listener, addresses[to].clone(), cut));
            switches.insert((from, to), switch);
        }
    }
    (Wires(Arc::new(switches)), ends)
}

impl Wires {
    /// Cuts or mends the wire from one to another.
    pub fn set(&self, from: usize, to: usize, cut: bool) {
        if let Some(switch) = self.0.get(&(from, to)) {
            switch.send_replace(cut);
        }
    }
}

async fn run(listener: TcpListener, to: String, cut: watch::Receiver<bool>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let (to, mut cut) = (to.clone(), cut.clone());
        tokio::spawn(async move {
            if *cut.borrow_and_update() {
                return;
            }
            let Ok(mut far) = TcpStream::connect(&to).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}
