//! A door into the throwaway server for somebody else's program: TCP on this machine alone, as not every driver knows Unix sockets. The
//! server itself listens on no network, and its cage would not let it.

use crate::error::{Result, io};
use std::{net::Ipv4Addr, path::PathBuf, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// Before the next try where a connection could not be taken.
const AGAIN: Duration = Duration::from_millis(20);

/// An open door; dropping it closes it, and every connection that goes through it.
#[derive(Debug)]
pub struct Door {
    port: u16,
    _open: AbortOnDropHandle<()>,
}

impl Door {
    /// Opens one to the server behind this socket.
    pub async fn open(socket: PathBuf) -> Result<Door> {
        let failed = || io("no TCP port can be opened on 127.0.0.1");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed())?;
        let port = listener.local_addr().map_err(failed())?.port();
        let open = tokio::spawn(async move {
            let mut through = JoinSet::new();
            loop {
                tokio::select! {
                    came = listener.accept() => {
                        let Ok((mut outside, _)) = came else {
                            // Such as too many open files: it passes.
                            tokio::time::sleep(AGAIN).await;
                            continue;
                        };
                        let socket = socket.clone();
                        through.spawn(async move {
                            // Whoever came in sees what the server says, or that it is gone.
                            if let Ok(mut inside) = UnixStream::connect(&socket).await {
                                let _ = copy_bidirectional(&mut outside, &mut inside).await;
                            }
                        });
                    }
                    Some(_) = through.join_next() => {}
                }
            }
        });
        Ok(Door { port, _open: AbortOnDropHandle::new(open) })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}
