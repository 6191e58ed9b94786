//! `util/tar` and `util/tar_gz`: what is in an archive, plain and compressed; all header fields and the content of a file and of a
//! folder in it.

use std::fs::File;
use std::io::Read;

use flate2::read::GzDecoder;
use tar::{Archive, Entry};

pub fn cases() {
    println!("# util/tar");
    read(|| File::open("example.tar").expect("the archive is there"));
    println!("# util/tar_gz");
    read(|| GzDecoder::new(File::open("example.tar.gz").expect("the archive is there")));
}

const FILE: &str = "example/l1_f1/l2/README.md";
const FOLDER: &str = "example/l1_f1/l2/";

/// Reads an archive from its start; `open` opens it.
fn read<R: Read>(open: impl Fn() -> R) {
    let mut count = 0;
    for entry in Archive::new(open()).entries().expect("an archive") {
        let entry = entry.expect("an element");
        println!("{:?} {:?}", path_of(&entry), entry.header().entry_type());
        count += 1;
    }
    println!("{count} elements");
    for wanted in [FILE, FOLDER, "example/none"] {
        let mut archive = Archive::new(open());
        let mut entries = archive.entries().expect("an archive").map(|entry| entry.expect("an element"));
        match entries.find(|entry| path_of(entry) == wanted) {
            Some(mut entry) => print(&mut entry),
            None => println!("{wanted} is not in it"),
        }
    }
}

fn path_of<R: Read>(entry: &Entry<'_, R>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).into_owned()
}

/// Prints the seventeen fields of the header (ustar), and the first block of the content.
fn print<R: Read>(entry: &mut Entry<'_, R>) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim_end_matches(['\0', ' ']).to_owned();
    let header = entry.header().as_ustar().expect("it was made so");
    let fields: [(&str, &[u8]); 17] = [
        ("name", &header.name),
        ("mode", &header.mode),
        ("uid", &header.uid),
        ("gid", &header.gid),
        ("size", &header.size),
        ("mtime", &header.mtime),
        ("checksum", &header.cksum),
        ("typeflag", &header.typeflag),
        ("linkname", &header.linkname),
        ("magic", &header.magic),
        ("version", &header.version),
        ("uname", &header.uname),
        ("gname", &header.gname),
        ("devmajor", &header.dev_major),
        ("devminor", &header.dev_minor),
        ("prefix", &header.prefix),
        ("pad", &header.pad),
    ];
    for (name, octets) in fields {
        println!("{name}: {:?}", text(octets));
    }
    let mut content = String::new();
    entry.take(512).read_to_string(&mut content).expect("text");
    println!("first block: {content:?}");
}
