//! docs/sockets.md says of each option what the code does.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use linux::errno::{ENETDOWN, ENOENT, ENOPROTOOPT, EOPNOTSUPP};
use linux::socket::Socket;

use crate::options::{IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, SOL_SOCKET};
use crate::tcp::TcpSocket;
use crate::udp::UdpSocket;

/// What the code does about an option, in the words of the table.
fn found(socket: &dyn Socket, level: i32, name: i32) -> &'static str {
    let can_be_told = !matches!(socket.option(level, name), Err(ENOPROTOOPT | EOPNOTSUPP));
    // Of any length that there is, with a number that is in most ranges: an option takes one of them, or lacks the network for it.
    let value = |number: u8| [number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let can_be_set = [0, 4, 16].iter().any(|&len| {
        [0, 1, 100].into_iter().any(|number| {
            let set = socket.set_option(level, name, &value(number)[..len]);
            matches!(set, Ok(()) | Err(ENETDOWN | ENOENT))
        })
    });
    match (can_be_told, can_be_set) {
        (_, true) => "works",
        (true, false) => "told",
        (false, false) => "refused",
    }
}

fn table() -> BTreeMap<(i32, i32), [String; 2]> {
    let text = include_str!("../../../docs/sockets.md");
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let key = (cells.first()?.parse().ok()?, cells.get(2)?.parse().ok()?);
        Some((key, [cells.get(3)?.to_string(), cells.get(4)?.to_string()]))
    };
    let rows: Vec<_> = text.lines().filter_map(row).collect();
    let table: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(table.len(), rows.len(), "an option stands there twice");
    table
}

#[test]
fn each_option_does_what_the_table_says() {
    let table = table();
    assert!(table.len() > 100, "the table was not understood");
    let (stream, datagram) = (TcpSocket::new(), UdpSocket::new());
    for level in [SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP] {
        for name in 0..256 {
            let found = [found(&*stream, level, name), found(&*datagram, level, name)];
            match table.get(&(level, name)) {
                None => assert_eq!(found, ["refused"; 2], "level {level}, option {name} is not in the table"),
                Some(said) => {
                    let is = |said: &String, found| said == found || said == "-" && found == "refused";
                    let right = said.iter().zip(found).all(|(said, found)| is(said, found));
                    assert!(right, "level {level}, option {name}: the table says {said:?}, it is {found:?}");
                }
            }
        }
    }
}
