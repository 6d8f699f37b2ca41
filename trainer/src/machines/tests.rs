use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use super::*;

fn list(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|&address| address.to_owned()).collect()
}

fn refusal(addresses: &[&str], rank: Option<usize>) -> String {
    Machines::new(list(addresses), rank).unwrap_err().to_string()
}

/// Free ports of this machine, for as many machines.
fn ports(count: usize) -> Vec<String> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().to_string())
        .collect()
}

#[test]
fn a_list_that_cannot_be_used_is_refused_by_entry() {
    for (addresses, rank, expected) in [
        (&["a:1", "b"][..], None, "\"b\"; allowed: host:port"),
        (&["a:1", ":2"], None, "\":2\"; allowed: host:port"),
        (&["a:1", "b:0"], None, "\"b:0\"; allowed: host:port"),
        (&["a:1", "b:70000"], None, "\"b:70000\"; allowed: host:port"),
        (&["a:1", "b:2", "A:1"], None, "A:1 is listed twice"),
        (&["a:1"], Some(0), "1 machines; allowed: 2 to"),
        (&["a:1", "b:2"], Some(2), "--machine-rank: 2; allowed: 0 to 1"),
        (
            &["203.0.113.1:1", "203.0.113.2:1"],
            None,
            "none of them is an address of this machine",
        ),
        (
            &["127.0.0.1:1", "127.0.0.1:2"],
            None,
            "2 of them are addresses of this machine; say by --machine-rank",
        ),
    ] {
        let found = refusal(addresses, rank);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_machine_finds_itself_by_its_address() {
    for (addresses, expected) in [
        (["203.0.113.1:1", "127.0.0.1:1"], 1),
        (["localhost:1", "203.0.113.1:1"], 0),
        (["203.0.113.1:1", "[::1]:1"], 1),
    ] {
        assert_eq!(Machines::new(list(&addresses), None).unwrap().rank, expected);
    }
}

fn meshes(addresses: &[String], timeout: Duration) -> Vec<Result<Mesh, MeshError>> {
    let join = |rank: usize| {
        let machines = Machines::new(addresses.to_vec(), Some(rank)).unwrap();
        thread::spawn(move || Mesh::connect(machines, [7; 32], timeout))
    };
    let threads: Vec<_> = (0..addresses.len()).rev().map(join).collect();
    threads.into_iter().rev().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn every_machine_gets_every_block_even_large_ones() {
    let addresses = ports(4);
    // Larger than what the system keeps between two machines.
    let length = |from: usize| 3_000_000 + from;
    let threads: Vec<_> = meshes(&addresses, Duration::from_secs(60))
        .into_iter()
        .map(|mesh| {
            let mut mesh = mesh.unwrap();
            thread::spawn(move || {
                let own = mesh.rank();
                for round in 0..3_u8 {
                    let blocks: Vec<Vec<u8>> = (0..4)
                        .map(|to| vec![own as u8 * 40 + to * 3 + round; length(own)])
                        .collect();
                    let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
                    let lengths: Vec<usize> = (0..4).map(length).collect();
                    for (from, block) in mesh.exchange(&blocks, &lengths).unwrap().iter().enumerate() {
                        let expected = vec![from as u8 * 40 + own as u8 * 3 + round; length(from)];
                        assert!(*block == expected, "from {from} to {own}");
                    }
                }
                mesh.agree(b"the same").unwrap();
                own
            })
        })
        .collect();
    let ranks: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ranks, [0, 1, 2, 3]);
}

#[test]
fn a_machine_that_does_not_come_is_named_when_the_time_is_over() {
    let addresses = ports(3);
    let started = Instant::now();
    let machines = Machines::new(addresses.clone(), Some(1)).unwrap();
    let error = Mesh::connect(machines, [7; 32], Duration::from_secs(2))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!(
            "no connection with {}, {} within 2 s",
            addresses[0], addresses[2]
        )),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_machine_with_other_data_and_one_with_another_result_are_named() {
    let addresses = ports(2);
    let machines = |rank| Machines::new(addresses.clone(), Some(rank)).unwrap();
    let (first, second) = (machines(0), machines(1));
    let other = thread::spawn(move || Mesh::connect(first, [8; 32], Duration::from_secs(20)));
    let error = Mesh::connect(second, [7; 32], Duration::from_secs(20))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("machine {} trains something else", addresses[0])),
        "{error}"
    );
    let error = other.join().unwrap().unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("machine {} trains something else", addresses[1])),
        "{error}"
    );

    let addresses = ports(2);
    let mut meshes = meshes(&addresses, Duration::from_secs(20))
        .into_iter()
        .map(Result::unwrap);
    let (mut first, mut second) = (meshes.next().unwrap(), meshes.next().unwrap());
    let other = thread::spawn(move || second.agree(b"a model").unwrap_err().to_string());
    let error = first.agree(b"another").unwrap_err().to_string();
    assert!(
        error.contains(&addresses[1]) && error.contains("ended with another model"),
        "{error}"
    );
    assert!(other.join().unwrap().contains(&addresses[0]));
}

#[test]
fn a_machine_that_goes_away_and_one_that_is_silent_are_named() {
    let addresses = ports(2);
    let mut both = meshes(&addresses, Duration::from_secs(2))
        .into_iter()
        .map(Result::unwrap);
    let (mut first, second) = (both.next().unwrap(), both.next().unwrap());
    let error = first.agree(b"model").unwrap_err().to_string();
    assert!(
        error.contains(&addresses[1]) && error.contains("no answer within 2 s"),
        "{error}"
    );
    drop(second);

    let addresses = ports(2);
    let mut both = meshes(&addresses, Duration::from_secs(60))
        .into_iter()
        .map(Result::unwrap);
    let (first, mut second) = (both.next().unwrap(), both.next().unwrap());
    drop(first);
    let started = Instant::now();
    let error = second.agree(b"model").unwrap_err().to_string();
    assert!(error.contains(&addresses[0]) && error.contains("went away"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn strangers_are_ignored_and_a_taken_port_is_named() {
    let addresses = ports(2);
    let address = addresses[0].clone();
    let stranger = thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if let Ok(mut stream) = std::net::TcpStream::connect(&address) {
                return std::io::Write::write_all(&mut stream, &[b'G'; 200]).is_ok();
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    });
    let first = Machines::new(addresses.clone(), Some(0)).unwrap();
    let first = thread::spawn(move || Mesh::connect(first, [7; 32], Duration::from_secs(60)));
    assert!(stranger.join().unwrap(), "the stranger was heard");
    let second = Machines::new(addresses, Some(1)).unwrap();
    Mesh::connect(second, [7; 32], Duration::from_secs(60)).unwrap();
    first.join().unwrap().unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = vec!["127.0.0.1:1".to_owned(), taken.local_addr().unwrap().to_string()];
    let machines = Machines::new(addresses.clone(), Some(1)).unwrap();
    let error = Mesh::connect(machines, [7; 32], Duration::from_secs(2))
        .unwrap_err()
        .to_string();
    assert!(error.contains(&format!("cannot listen on {}", addresses[1])), "{error}");
}
