//! The gateway between clients and a stand-in for the VMM's socket.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway with room for this many clients, before a guest that does what `serve` says with each connection.
async fn gateway<F, S>(limit: usize, serve: F) -> SocketAddr
where
    F: Fn(UnixStream) -> S + 'static,
    S: Future<Output = ()> + 'static,
{
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("casemate-gateway-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let socket = std::env::temp_dir().join(name);
    let guest = UnixListener::bind(&socket).unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = guest.accept().await {
            tokio::task::spawn_local(serve(stream));
        }
    });
    let listener = listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        match accept(&listener, Rc::default(), socket.into(), 8443, limit).await {}
    });
    address
}

/// Takes the CONNECT line as the VMM does; what follows is left to be read.
async fn admit(stream: UnixStream) -> BufReader<UnixStream> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert_eq!(line, "CONNECT 8443\n");
    stream.write_all(b"OK 1073741824\n").await.unwrap();
    stream
}

async fn echo(stream: UnixStream) {
    let mut stream = admit(stream).await;
    let mut bytes = vec![0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(3 * PATIENCE, test).await.expect("it hangs") })
}

/// A client's whole exchange: it sends, closes its half, and reads to the end.
async fn exchange(address: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let send = async {
        let _ = writer.write_all(&bytes).await;
        let _ = writer.shutdown().await;
    };
    let mut back = Vec::new();
    let receive = reader.read_to_end(&mut back);
    let (_, received) = tokio::join!(send, receive);
    received.unwrap();
    back
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as u8).collect()
}

#[test]
fn bytes_arrive_whole_in_both_directions_and_each_half_closes_alone() {
    run(async {
        let address = gateway(CLIENTS_MAX, echo).await;
        // What comes back after the client has closed its half still arrives.
        for len in [0, 1, relay::BUFFER, 5 * relay::BUFFER + 1, 8 << 20] {
            assert!(exchange(address, sample(len)).await == sample(len), "{len} bytes");
        }
    });
}

#[test]
fn three_hundred_clients_at_once() {
    run(async {
        let address = gateway(CLIENTS_MAX, echo).await;
        let clients: Vec<_> = (0..300)
            .map(|i| {
                tokio::task::spawn_local(async move {
                    for round in 0..3 {
                        let bytes = sample(1000 + 37 * i + round);
                        assert!(exchange(address, bytes.clone()).await == bytes);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn a_full_queue_at_the_guests_socket_makes_clients_wait_and_not_fail() {
    run(async {
        let name = format!("casemate-gateway-full-{}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let guest = tiny_listener(&socket);
        let listener = listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listener.local_addr().unwrap();
        let path = socket.clone();
        tokio::task::spawn_local(async move {
            match accept(&listener, Rc::default(), path.into(), 8443, CLIENTS_MAX).await {}
        });
        let clients: Vec<_> =
            (0..20).map(|_| tokio::task::spawn_local(exchange(address, sample(100)))).collect();
        // Nobody is let in for a while: the queue holds one or two, the others find it full.
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = guest.accept().await {
                tokio::task::spawn_local(echo(stream));
            }
        });
        for client in clients {
            assert!(client.await.unwrap() == sample(100));
        }
        std::fs::remove_file(socket).unwrap();
    });
}

/// A socket whose queue holds one connection.
fn tiny_listener(path: &std::path::Path) -> UnixListener {
    let address = rustix::net::SocketAddrUnix::new(path).unwrap();
    let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
    let kind = rustix::net::SocketType::STREAM;
    let socket = rustix::net::socket_with(rustix::net::AddressFamily::UNIX, kind, flags, None).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    UnixListener::from_std(std::os::unix::net::UnixListener::from(socket)).unwrap()
}

#[test]
fn a_client_that_does_not_read_waits_alone() {
    run(async {
        let address = gateway(CLIENTS_MAX, echo).await;
        let mut greedy = TcpStream::connect(address).await.unwrap();
        // It writes until everything between it and the guest is full, and never reads.
        let full = timeout(Duration::from_secs(1), async {
            let bytes = sample(1 << 20);
            loop {
                greedy.write_all(&bytes).await.unwrap();
            }
        });
        full.await.expect_err("nothing held it back");
        assert!(exchange(address, sample(100_000)).await == sample(100_000));
    });
}

#[test]
fn when_there_are_too_many_the_most_silent_one_goes() {
    run(async {
        let address = gateway(4, echo).await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
            clients.push(client);
        }
        // The first speaks again: now the second is the one that has been silent the longest.
        clients[0].write_all(b"y").await.unwrap();
        clients[0].read_exact(&mut [0]).await.unwrap();
        let mut fifth = TcpStream::connect(address).await.unwrap();
        fifth.write_all(b"z").await.unwrap();
        fifth.read_exact(&mut [0]).await.unwrap();
        assert_eq!(timeout(PATIENCE, clients[1].read(&mut [0])).await.unwrap().unwrap(), 0, "it was let go");
        for other in [0, 2, 3] {
            clients[other].write_all(b"w").await.unwrap();
            clients[other].read_exact(&mut [0]).await.unwrap();
        }
    });
}

#[test]
fn silent_clients_by_the_hundred_keep_nobody_out() {
    run(async {
        let address = gateway(50, echo).await;
        let mut silent = Vec::new();
        for _ in 0..400 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(exchange(address, sample(5000)).await == sample(5000));
    });
}

#[test]
fn a_guest_that_refuses_or_leaves_closes_the_client_and_nothing_else() {
    run(async {
        // As the VMM refuses: the end, without a word.
        let address = gateway(CLIENTS_MAX, |stream| async { drop(stream) }).await;
        for _ in 0..20 {
            let mut client = TcpStream::connect(address).await.unwrap();
            let mut byte = [0];
            assert!(!matches!(timeout(PATIENCE, client.read(&mut byte)).await.unwrap(), Ok(1..)));
        }
        // Something else than OK is not the guest's word.
        let address = gateway(CLIENTS_MAX, |mut stream| async move {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            std::future::pending::<()>().await;
        })
        .await;
        let mut client = TcpStream::connect(address).await.unwrap();
        assert!(!matches!(timeout(PATIENCE, client.read(&mut [0])).await.unwrap(), Ok(1..)));
        // A guest that answers and goes while the client keeps its half open: the client sees the end.
        let address = gateway(CLIENTS_MAX, |stream| async {
            admit(stream).await.write_all(b"bye").await.unwrap();
        })
        .await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut said = Vec::new();
        timeout(PATIENCE, client.read_to_end(&mut said)).await.unwrap().unwrap();
        assert_eq!(said, b"bye");
    });
}

#[test]
fn places_are_given_back() {
    let clients = Rc::new(Clients::default());
    let (one, other) = (clients.enter(2), clients.enter(2));
    assert_eq!(clients.len(), 2);
    drop(one);
    assert_eq!(clients.len(), 1);
    let _third = clients.enter(2);
    let _fourth = clients.enter(2);
    assert_eq!(clients.len(), 2, "`other` had to go");
    drop(other);
    assert_eq!(clients.len(), 2, "its place was somebody else's already");
}

#[test]
fn a_successor_gets_the_listener_and_requests_on_their_way_are_finished() {
    run(async {
        let folder = std::env::temp_dir().join(format!("casemate-handover-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // A guest that takes a second and a half for each answer.
        let slow = folder.join("guest.sock");
        let guest = UnixListener::bind(&slow).unwrap();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = guest.accept().await {
                tokio::task::spawn_local(async move {
                    let mut stream = admit(stream).await;
                    let mut byte = [0];
                    while let Ok(1) = stream.read(&mut byte).await {
                        tokio::time::sleep(Duration::from_millis(1500)).await;
                        let _ = stream.write_all(&byte).await;
                    }
                });
            }
        });
        let listener = listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listener.local_addr().unwrap();
        let door = handover::listen(&folder).unwrap();
        assert!(handover::listen(&folder).unwrap().is_none(), "two doors");
        let public = listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let public_address = public.local_addr().unwrap();
        let serving = tokio::task::spawn_local(serve(listener, Some(public), door, slow.into(), 8443));

        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut answered = TcpStream::connect(address).await.unwrap();
        answered.write_all(b"a").await.unwrap();
        answered.read_exact(&mut [0]).await.unwrap();
        let mut waiting = TcpStream::connect(address).await.unwrap();
        waiting.write_all(b"w").await.unwrap();

        let taken = tokio::task::spawn_blocking({
            let folder = folder.clone();
            move || handover::take(&folder)
        });
        let (listeners, predecessor) = taken.await.unwrap().unwrap();
        // Whoever comes now is the successor's.
        let mut new = TcpStream::connect(address).await.unwrap();
        for client in [&mut idle, &mut answered] {
            assert_eq!(timeout(PATIENCE, client.read(&mut [0])).await.unwrap().unwrap(), 0, "it was let go");
        }
        let mut byte = [0];
        waiting.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, *b"w", "a request was lost");
        assert_eq!(serving.await.unwrap().unwrap(), Ended::HandedOver);
        assert!(!predecessor.wait(Duration::from_millis(10)).unwrap(), "its process lives");

        let public = std::net::TcpListener::from(listeners.public.expect("both are handed over"));
        assert_eq!(public.local_addr().unwrap(), public_address);
        let successor = TcpListener::from_std(std::net::TcpListener::from(listeners.clients)).unwrap();
        assert_eq!(successor.local_addr().unwrap(), address);
        let (mut taken, _) = successor.accept().await.unwrap();
        taken.write_all(b"n").await.unwrap();
        new.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, *b"n");
        assert_eq!(handover::take(&folder).map(drop).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        std::fs::remove_dir_all(folder).unwrap();
    });
}
